"""Mesh messages: pinned both ways, one spelling each, small, and bounded before they are read.

`pytest tests/wire/test_wire_mesh.py --rewrite -n 0` writes the golden file anew.
"""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.scope import SCOPE_BYTES_MAX
from ciris_mesh.wire import mesh
from ciris_mesh.wire.frame import Unwrapped, try_unwrap, wrap
from ciris_mesh.wire.mesh import (
    BINDING_BYTES_MAX,
    BODY_BYTES_MAX,
    KEY_ENVELOPE_BYTES_MAX,
    PREVIEW_BATCH_BYTES_MAX,
    BindingOffer,
    BindingWanted,
    Digests,
    Hello,
    KindDigest,
    MeshMessage,
    Preview,
    Refusal,
    ScopeOffer,
    ScopeWanted,
    decode,
    encode,
)
from support import crpl, strategies

FILE = "mesh_frames.json"
ALL = tuple(EnvelopeKind)
CLASSES = {
    cls.__name__: cls
    for cls in (
        Hello,
        BindingWanted,
        BindingOffer,
        Digests,
        Refusal,
        ScopeWanted,
        ScopeOffer,
        Preview,
    )
}

#: What fits a single Reticulum request on a link, the carrier first contact goes by.
REQUEST_BYTES_MAX = 400


def eight(start: int) -> bytes:
    return bytes(range(start, start + 8))


HELLO = Hello(
    wire_versions=(0x01, 0x02, 0x81),
    capabilities=0x0103,
    kinds=ALL,
    scope_hash=eight(0x10),
    nonce=eight(0x20),
    day=20_700,
    view_digest=eight(0x30),
    binding_hash=eight(0x40),
)
LARGEST_HELLO = Hello(
    tuple(range(0xF8, 0x100)), 2**16 - 1, ALL, eight(0), eight(1), 2**16 - 1, eight(2), eight(3)
)
LARGEST_DIGESTS = Digests(tuple(KindDigest(kind, 2**32 - 1, eight(9)) for kind in ALL), True)

#: The golden messages, by name.
GOLDEN: dict[str, MeshMessage] = {
    "hello": HELLO,
    "hello with everything at its least": Hello(
        (0x81,), 0, (), bytes(8), bytes(8), 0, bytes(8), bytes(8)
    ),
    "hello with everything at its most": LARGEST_HELLO,
    "hello of a leaf that serves three kinds": dataclasses.replace(
        HELLO, kinds=(EnvelopeKind.KEY, EnvelopeKind.REVOCATION, EnvelopeKind.PARTNER_RECORD)
    ),
    "hello that states records, reconciliation, previews and mixed records": dataclasses.replace(
        HELLO, capabilities=0x0017
    ),
    "binding wanted": BindingWanted(),
    "binding offer": BindingOffer(bytes(range(40)), b'{"record":{}}'),
    "binding offer without a key": BindingOffer(b"\xff", b""),
    "digests of nothing": Digests((), False),
    "digests of two kinds": Digests(
        (
            KindDigest(EnvelopeKind.KEY, 3, eight(0x50)),
            KindDigest(EnvelopeKind.COMMUNITY, 70_000, eight(0x60)),
        ),
        False,
    ),
    "digests of all kinds, a reply": LARGEST_DIGESTS,
    "refusal": Refusal("no_common_version"),
    "refusal of the longest name": Refusal("x" * 32),
    "scope wanted": ScopeWanted(),
    "scope of two communities": ScopeOffer(b"hill-2abc\0river-3def"),
    "the longest scope": ScopeOffer(b"x" * SCOPE_BYTES_MAX),
    "preview": Preview(bytes(range(32)), b"\x01batch"),
    "the longest preview": Preview(bytes(32), bytes(PREVIEW_BATCH_BYTES_MAX)),
}

BODY = encode(HELLO)


def packed(*values: Any) -> bytes:
    body: bytes = msgpack.packb(list(values))
    return body


def hello_with(at: int, value: Any) -> bytes:
    """HELLO's array with one element replaced; 0 is the tag."""
    values = msgpack.unpackb(BODY)
    values[at] = value
    return packed(*values)


def entry(number: Any = 1, count: Any = 0, digest: Any = b"12345678") -> list[Any]:
    return [number, count, digest]


#: Bodies no node may take.
REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "no array": packed()[:0] + b"\x01",
    "an empty array": b"\x90",
    "nil": b"\xc0",
    "the reserved byte": b"\xc1",
    "a map": b"\x81\x01\x02",
    "an unknown tag": packed(6),
    "tag zero": packed(0),
    "a negative tag": packed(-1),
    "a tag true": packed(True),
    "a tag 2.0": packed(2.0),
    "a tag as a string": packed("2"),
    "a tag as an array": packed([2]),
    "binding wanted with a field": packed(2, 0),
    "binding wanted twice": b"\x91\x02\x91\x02",
    "a byte behind": b"\x91\x02\x00",
    "a tag in two bytes": b"\x91\xcc\x02",
    "an array length in three bytes": b"\xdc\x00\x01\x02",
    "an array length in five bytes": b"\xdd\x00\x00\x00\x01\x02",
    "a cut hello": BODY[:-1],
    "hello, one field short": packed(*msgpack.unpackb(BODY)[:-1]),
    "hello, one field more": packed(*msgpack.unpackb(BODY), 0),
    "hello without versions": hello_with(1, []),
    "hello with nine versions": hello_with(1, list(range(1, 10))),
    "hello with versions descending": hello_with(1, [2, 1]),
    "hello with a version twice": hello_with(1, [1, 1]),
    "hello with version 256": hello_with(1, [256]),
    "hello with version -1": hello_with(1, [-1]),
    "hello with version true": hello_with(1, [True]),
    "hello with versions as bytes": hello_with(1, b"\x01\x02"),
    "hello with 17 capability bits": hello_with(2, 2**16),
    "hello with negative capabilities": hello_with(2, -1),
    "hello with capabilities nil": hello_with(2, None),
    "hello with a 14th kind": hello_with(3, 2**13),
    "hello with negative kinds": hello_with(3, -1),
    "hello with kinds as an array": hello_with(3, [1]),
    "hello with kinds true": hello_with(3, True),
    "hello with a short scope": hello_with(4, bytes(7)),
    "hello with a long nonce": hello_with(5, bytes(9)),
    "hello with a nonce as text": hello_with(5, "12345678"),
    "hello with a nonce as an integer": hello_with(5, 8),
    "hello with a day before 1970": hello_with(6, -1),
    "hello with a day after 2149": hello_with(6, 2**16),
    "hello with a day 1.5": hello_with(6, 1.5),
    "hello with a view digest nil": hello_with(7, None),
    "hello with a binding hash of 16": hello_with(8, bytes(16)),
    "hello with its capabilities in five bytes": BODY.replace(b"\xcd\x01\x03", b"\xce\0\0\x01\x03"),
    "hello with a nonce of a two-byte length": BODY.replace(
        b"\xc4\x08" + HELLO.nonce, b"\xc5\x00\x08" + HELLO.nonce
    ),
    "an offer with text": packed(3, "a", b""),
    "an offer with nil": packed(3, b"", None),
    "an offer of one": packed(3, b""),
    "an offer with a binding over 4 KiB": packed(3, bytes(BINDING_BYTES_MAX + 1), b""),
    "digests with a reply 1": packed(4, [], 1),
    "digests with a reply nil": packed(4, [], None),
    "digests as a map": packed(4, {}, False),
    "digests with an entry of two": packed(4, [[1, 0]], False),
    "digests with an entry of four": packed(4, [[*entry(), 0]], False),
    "digests with an entry nil": packed(4, [None], False),
    "digests of kind 0": packed(4, [entry(0)], False),
    "digests of kind 14": packed(4, [entry(14)], False),
    "digests of kind true": packed(4, [entry(True)], False),
    "digests of a kind by name": packed(4, [entry("key")], False),
    "digests out of order": packed(4, [entry(2), entry(1)], False),
    "digests of one kind twice": packed(4, [entry(1), entry(1)], False),
    "digests with a negative count": packed(4, [entry(1, -1)], False),
    "digests with a count over 32 bits": packed(4, [entry(1, 2**32)], False),
    "digests with a count true": packed(4, [entry(1, True)], False),
    "digests with a long digest": packed(4, [entry(1, 0, bytes(32))], False),
    "digests with a digest as text": packed(4, [entry(1, 0, "12345678")], False),
    "a refusal of nothing": packed(5, ""),
    "a refusal of 33 characters": packed(5, "x" * 33),
    "a refusal with a space": packed(5, "not a peer"),
    "a refusal with a newline at its end": packed(5, "not_a_peer\n"),
    "a refusal in capitals": packed(5, "NO"),
    "a refusal in another script": packed(5, "نهي"),
    "a refusal with an escape": packed(5, "\x1b[2j"),
    "a refusal in bytes": packed(5, b"not_a_peer"),
    "a refusal in broken UTF-8": b"\x92\x05\xa1\xff",
    "a refusal in a two-byte length": b"\x92\x05\xd9\x02no",
    "scope wanted with a field": packed(19, 0),
    "a scope of nothing": packed(20, b""),
    "a scope in text": packed(20, "river-3def"),
    "a scope that is too long": packed(20, bytes(SCOPE_BYTES_MAX + 1)),
    "a preview of an id too short": packed(21, bytes(31), b"\x01"),
    "a preview of nothing": packed(21, bytes(32), b""),
    "a preview that is too long": packed(21, bytes(32), bytes(PREVIEW_BATCH_BYTES_MAX + 1)),
    "a preview in text": packed(21, bytes(32), "batch"),
    "an extension": b"\x92\x05\xd4\x01\x00",
    "a timestamp": b"\x92\x05\xd6\xff\x00\x00\x00\x00",
    "an array of four billion": b"\xdd\xff\xff\xff\xff",
    "text of four billion": b"\x92\x05\xdb\xff\xff\xff\xff",
    "bytes of four billion": b"\x93\x03\xc6\xff\xff\xff\xff",
    "a map of four billion": b"\xdf\xff\xff\xff\xff",
    "an array in an array in an array": b"\x91" * 5000,
}


# --- golden bytes ---


def spelled(value: Any) -> Any:
    """A message as the golden file spells it: bytes in hex, kinds by name."""
    if dataclasses.is_dataclass(value):
        return {f.name: spelled(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    return [spelled(item) for item in value] if isinstance(value, tuple) else value


def understood(name: str, members: dict[str, Any]) -> MeshMessage:
    """The message a golden line describes, without our codec."""
    texts = {"reason"}
    built: dict[str, Any] = {}
    for member, value in members.items():
        match value:
            case str() if member not in texts:
                built[member] = bytes.fromhex(value)
            case [*items] if member == "kinds":
                built[member] = tuple(map(EnvelopeKind, items))
            case [*items] if member == "entries":
                built[member] = tuple(
                    KindDigest(EnvelopeKind(i["kind"]), i["count"], bytes.fromhex(i["digest"]))
                    for i in items
                )
            case [*items]:
                built[member] = tuple(items)
            case _:
                built[member] = value
    message: MeshMessage = CLASSES[name](**built)
    return message


def golden_file() -> dict[str, Any]:
    return {
        "provenance": "Made by ciris_mesh (tests/wire/test_wire_mesh.py --rewrite). Whole frames:"
        " CRPL, 81, a msgpack array. Kinds by name, byte strings in hex. Every frame in"
        " decode_cases must be refused as malformed.",
        "valid_frames": [
            {
                "name": name,
                "type": type(message).__name__,
                "message": spelled(message),
                "frame_hex": wrap(message).hex(),
            }
            for name, message in GOLDEN.items()
        ],
        "decode_cases": [
            {"name": name, "frame_hex": (b"CRPL\x81" + body).hex(), "result": "malformed"}
            for name, body in REFUSED.items()
        ],
    }


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Any:
    path = crpl.VECTORS / FILE
    if request.config.getoption("--rewrite"):
        path.write_text(json.dumps(golden_file(), indent=1) + "\n")
    return json.loads(path.read_bytes())


def test_the_golden_frames_are_written_and_read_byte_for_byte(golden: Any) -> None:
    assert [case["name"] for case in golden["valid_frames"]] == list(GOLDEN)
    for case in golden["valid_frames"]:
        frame = bytes.fromhex(case["frame_hex"])
        message = understood(case["type"], case["message"])
        assert message == GOLDEN[case["name"]], case["name"]
        assert wrap(message) == frame, case["name"]
        assert try_unwrap(frame) == Unwrapped(0x81, message), case["name"]


def test_the_golden_hostile_frames_are_refused(golden: Any) -> None:
    assert [case["name"] for case in golden["decode_cases"]] == list(REFUSED)
    for case in golden["decode_cases"]:
        frame = bytes.fromhex(case["frame_hex"])
        assert frame[5:] == REFUSED[case["name"]], case["name"]
        with pytest.raises(DecodeError):
            try_unwrap(frame)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(REFUSED[name])
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_a_hello_spelt_by_hand() -> None:
    """The layout again, byte by byte, so that it does not rest on msgpack's word alone."""
    assert wrap(HELLO).hex(" ") == " ".join(
        [
            "43 52 50 4c 81",  # CRPL, mesh profile
            "99 01",  # nine elements: tag 1
            "93 01 02 cc 81",  # three versions
            "cd 01 03",  # capabilities
            "cd 1f ff",  # thirteen kinds
            "c4 08 10 11 12 13 14 15 16 17",  # scope
            "c4 08 20 21 22 23 24 25 26 27",  # nonce
            "cd 50 dc",  # day 20,700
            "c4 08 30 31 32 33 34 35 36 37",  # view digest
            "c4 08 40 41 42 43 44 45 46 47",  # binding hash
        ]
    )


# --- sizes ---


def test_a_hello_is_small_and_never_outgrows_a_request() -> None:
    assert len(wrap(HELLO)) == 61
    assert len(wrap(LARGEST_HELLO)) == 73
    assert len(wrap(LARGEST_HELLO)) <= REQUEST_BYTES_MAX


def test_digests_of_all_kinds_never_outgrow_a_request() -> None:
    assert len(LARGEST_DIGESTS.entries) == 13
    assert len(wrap(LARGEST_DIGESTS)) == 230
    assert len(wrap(LARGEST_DIGESTS)) <= REQUEST_BYTES_MAX


def test_a_preview_never_outgrows_a_request() -> None:
    longest = Preview(bytes(32), bytes(PREVIEW_BATCH_BYTES_MAX))
    assert len(wrap(longest)) == REQUEST_BYTES_MAX


def test_the_largest_offer_fits_and_one_byte_more_does_not() -> None:
    largest = BindingOffer(bytes(BINDING_BYTES_MAX), bytes(KEY_ENVELOPE_BYTES_MAX))
    assert decode(encode(largest)) == largest
    assert len(encode(largest)) <= BODY_BYTES_MAX
    with pytest.raises(DecodeError):
        decode(packed(3, b"", bytes(KEY_ENVELOPE_BYTES_MAX + 1)))


def test_a_body_over_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "_unpack", None)
    with pytest.raises(DecodeError, match="exceeds"):
        decode(b"\x91" * (BODY_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x40\x00\x00",
        b"\xdf\x00\x40\x00\x00",
        b"\xc6\xff\xff\xff\xff",
        b"\x9d" * 1000,
        b"\x91" * BODY_BYTES_MAX,
    ],
    ids=["huge array", "large array", "large map", "bytes", "wide", "deep"],
)
def test_lengths_on_the_wire_allocate_nothing(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


# --- values ---


@pytest.mark.parametrize(
    "build",
    [
        lambda: dataclasses.replace(HELLO, wire_versions=()),
        lambda: dataclasses.replace(HELLO, wire_versions=(2, 1)),
        lambda: dataclasses.replace(HELLO, kinds=(EnvelopeKind.REVOCATION, EnvelopeKind.KEY)),
        lambda: dataclasses.replace(HELLO, kinds=(EnvelopeKind.KEY, EnvelopeKind.KEY)),
        lambda: dataclasses.replace(HELLO, nonce=b"short"),
        lambda: dataclasses.replace(HELLO, day=-1),
        lambda: BindingOffer(bytes(BINDING_BYTES_MAX + 1), b""),
        lambda: BindingOffer(b"", bytes(KEY_ENVELOPE_BYTES_MAX + 1)),
        lambda: KindDigest(EnvelopeKind.KEY, -1, bytes(8)),
        lambda: KindDigest(EnvelopeKind.KEY, 0, bytes(7)),
        lambda: Digests(tuple(reversed(LARGEST_DIGESTS.entries)), False),
        lambda: Refusal("Not a name"),
        lambda: Refusal("x" * 33),
    ],
)
def test_a_bad_value_is_our_own_fault_when_we_build_it(build: Any) -> None:
    with pytest.raises(LocalProtocolError):
        build()


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_a_kind_is_the_bit_of_its_number(kind: EnvelopeKind) -> None:
    hello = dataclasses.replace(HELLO, kinds=(kind,))
    assert msgpack.unpackb(encode(hello))[3] == 1 << (KINDS[kind].number - 1)
    assert decode(encode(hello)) == hello


def test_unknown_capability_bits_are_kept() -> None:
    hello = dataclasses.replace(HELLO, capabilities=0xFFFF)
    assert decode(encode(hello)) == hello


# --- laws ---


@settings(max_examples=256)
@given(strategies.mesh_messages)
def test_every_message_survives(message: MeshMessage) -> None:
    assert decode(encode(message)) == message


@given(strategies.mesh_messages, st.integers(0))
def test_no_proper_prefix_is_a_message(message: MeshMessage, cut: int) -> None:
    body = encode(message)
    with pytest.raises(DecodeError):
        decode(body[: cut % len(body)])


@given(strategies.mesh_messages, st.binary(min_size=1, max_size=16))
def test_nothing_may_follow_a_message(message: MeshMessage, rest: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(encode(message) + rest)


def spellings(value: Any) -> Iterator[bytes]:
    """The same msgpack value with one of its own headers one size too wide."""
    match value:
        case bool():
            return
        case int():
            yield b"\xcf" + value.to_bytes(8)
        case bytes():
            yield b"\xc6" + len(value).to_bytes(4) + value
        case str():
            yield b"\xdb" + len(value).to_bytes(4) + value.encode()
        case [*items]:
            parts = [msgpack.packb(item) for item in items]
            yield b"\xdd" + len(items).to_bytes(4) + b"".join(parts)
            for at, item in enumerate(items):
                for wide in spellings(item):
                    body = b"".join([*parts[:at], wide, *parts[at + 1 :]])
                    yield msgpack.packb(items)[:1] + body
        case _:
            raise AssertionError(f"a message holds {value!r}")


@given(strategies.mesh_messages)
def test_every_wider_spelling_is_refused(message: MeshMessage) -> None:
    value = msgpack.unpackb(encode(message))
    for body in spellings(value):
        assert msgpack.unpackb(body) == value, "the same value, spelt otherwise"
        with pytest.raises(DecodeError):
            decode(body)


msgpack_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=40),
        st.binary(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=10), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=256)
@given(st.integers(0, 6), st.lists(msgpack_values, max_size=9))
def test_well_formed_nonsense_is_refused_or_the_one_spelling(tag: int, values: list[Any]) -> None:
    body = packed(tag, *values)
    try:
        message = decode(body)
    except DecodeError:
        return
    assert encode(message) == body
