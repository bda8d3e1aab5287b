"""Frames: which bytes are ours, in which version, and how large they may be.

Names follow upstream's own checklist for its wire frame, with our set of versions.
"""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, LocalProtocolError, UnknownVersion
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire import codec, mesh
from ciris_mesh.wire.frame import (
    FRAME_BYTES_MAX,
    HEADER_BYTES,
    MAGIC,
    AnyMessage,
    Unwrapped,
    try_unwrap,
    wrap,
    wrap_at_version,
)
from ciris_mesh.wire.mesh import BindingWanted, MeshMessage, Refusal
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, ReplicationMessage, Summary
from support import strategies

KEY = EnvelopeKind.KEY
EMPTY = Summary(KEY, ())
EMPTY_BODY = b'{"type":"summary","kind":"key","refs":[]}'
REF = EnvelopeRef(bytes(range(32)), 7)
OPERATIONAL = frozenset(
    {EnvelopeKind.ORGANIZATION, EnvelopeKind.ORG_MEMBERSHIP, EnvelopeKind.PARTNER_RECORD}
)
SPOKEN = (0x01, 0x02, 0x81)
ONE_OF_EACH: tuple[ReplicationMessage, ...] = (
    Summary(KEY, (REF,)),
    Diff(KEY, (bytes(32),)),
    Fetch(KEY, (bytes(32),)),
    Deliver(KEY, (b"one", b"")),
)


# --- upstream's checklist ---


def test_wrap_unwrap_is_identity_with_magic_and_version() -> None:
    frame = wrap(EMPTY)
    assert frame == b"CRPL\x01" + EMPTY_BODY
    assert MAGIC == b"CRPL"
    assert try_unwrap(frame) == Unwrapped(1, EMPTY)


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda m: type(m).__name__.lower())
def test_all_four_variants_round_trip(message: ReplicationMessage) -> None:
    assert try_unwrap(wrap(message)) == Unwrapped(1, message)


@pytest.mark.parametrize(
    "junk",
    [b"", b"C", b"CRP", b"crpl\x01{}", b"hello world", EMPTY_BODY, b"\0CRPL\x01", b"CRPK\x01"],
)
def test_anything_without_the_magic_is_not_ours(junk: bytes) -> None:
    assert try_unwrap(junk) is None


def test_bare_json_is_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "decode", None)
    assert try_unwrap(EMPTY_BODY) is None


def test_magic_without_version_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="version byte"):
        try_unwrap(b"CRPL")


@pytest.mark.parametrize("version", SPOKEN)
@pytest.mark.parametrize("body", [b"", b"not json", b"{}", b'{"type":"hostile","x":1}', b"\xff"])
def test_magic_with_a_bad_body_is_a_decode_error(version: int, body: bytes) -> None:
    with pytest.raises(DecodeError):
        try_unwrap(MAGIC + bytes([version]) + body)


@pytest.mark.parametrize("version", [0x00, 0x03, 0x7F, 0x80, 0x82, 0xFF])
def test_an_unknown_version_is_typed(version: int) -> None:
    with pytest.raises(UnknownVersion) as caught:
        try_unwrap(MAGIC + bytes([version]) + EMPTY_BODY)
    assert caught.value.version == version
    assert f"{version:#04x}" in str(caught.value)


def test_a_forged_version_is_read_as_what_it_says() -> None:
    frame = bytearray(wrap(EMPTY))
    frame[4] = 0x02
    assert try_unwrap(bytes(frame)) == Unwrapped(2, EMPTY)
    frame[4] = 0x81
    with pytest.raises(DecodeError):
        try_unwrap(bytes(frame))
    frame[4] = 0x09
    with pytest.raises(UnknownVersion):
        try_unwrap(bytes(frame))


def test_a_mesh_message_is_not_read_at_a_json_version() -> None:
    frame = wrap(BindingWanted())
    assert frame == b"CRPL\x81\x91\x02"
    with pytest.raises(DecodeError):
        try_unwrap(MAGIC + b"\x01" + frame[HEADER_BYTES:])


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_the_version_follows_the_kind(kind: EnvelopeKind) -> None:
    assert wrap(Summary(kind, ()))[4] == (2 if kind in OPERATIONAL else 1)


@pytest.mark.parametrize("kind", EnvelopeKind)
@pytest.mark.parametrize("version", [1, 2])
def test_either_json_version_carries_every_kind(version: int, kind: EnvelopeKind) -> None:
    message = Diff(kind, (bytes(32),))
    assert try_unwrap(wrap_at_version(message, version)) == Unwrapped(version, message)


def test_messages_only_go_at_versions_that_carry_them() -> None:
    wrong: list[tuple[AnyMessage, int]] = [
        (EMPTY, 0x81),
        (EMPTY, 0),
        (EMPTY, 3),
        (EMPTY, -1),
        (EMPTY, 0x101),
        (BindingWanted(), 1),
        (Refusal("no_common_version"), 0x82),
        (BindingWanted(), 0x181),
    ]
    for message, version in wrong:
        with pytest.raises(LocalProtocolError, match="does not carry"):
            wrap_at_version(message, version)


# --- upstream's five properties, 256 examples each ---


@settings(max_examples=256)
@given(strategies.messages)
def test_property_1_any_message_wraps_and_unwraps_equal(message: AnyMessage) -> None:
    unwrapped = try_unwrap(wrap(message))
    assert unwrapped is not None
    assert unwrapped.message == message


@settings(max_examples=256)
@given(st.binary(max_size=512))
@example(b"CRP")
@example(b"CRPl\x01{}")
def test_property_2_bytes_without_the_magic_are_not_ours(junk: bytes) -> None:
    assume(not junk.startswith(b"CRPL"))
    assert try_unwrap(junk) is None


@settings(max_examples=256)
@given(st.integers(0, 255).filter(lambda version: version not in SPOKEN), st.binary(max_size=512))
def test_property_3_every_other_version_is_unknown(version: int, body: bytes) -> None:
    with pytest.raises(UnknownVersion) as caught:
        try_unwrap(b"CRPL" + bytes([version]) + body)
    assert caught.value.version == version


@settings(max_examples=256)
@given(strategies.kinds)
def test_property_4_every_kind_tag_round_trips(kind: EnvelopeKind) -> None:
    frame = wrap(Summary(kind, ()))
    assert f'"kind":"{kind.value}"'.encode() in frame
    unwrapped = try_unwrap(frame)
    assert unwrapped is not None
    assert unwrapped.message == Summary(kind, ())


@settings(max_examples=256)
@given(strategies.messages)
def test_property_5_wrap_is_wrap_at_the_current_version(message: AnyMessage) -> None:
    frame = wrap(message)
    assert wrap_at_version(message, frame[4]) == frame


# --- size ---


def padded(size: int) -> bytes:
    """A valid frame of exactly `size` bytes: white space behind the message."""
    return (MAGIC + b"\x01" + EMPTY_BODY).ljust(size)


def test_a_frame_of_exactly_8_mib_is_read() -> None:
    assert FRAME_BYTES_MAX == 8 * 1024 * 1024
    assert try_unwrap(padded(FRAME_BYTES_MAX)) == Unwrapped(1, EMPTY)


@pytest.mark.parametrize("version", SPOKEN)
def test_a_frame_of_8_mib_and_one_byte_is_refused_unparsed(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "decode", None)
    monkeypatch.setattr(mesh, "decode", None)
    frame = padded(FRAME_BYTES_MAX + 1).replace(b"CRPL\x01", b"CRPL" + bytes([version]), 1)
    with pytest.raises(DecodeError, match=f"{FRAME_BYTES_MAX + 1} bytes exceed"):
        try_unwrap(frame)


def test_the_codec_itself_refuses_what_no_frame_can_hold() -> None:
    with pytest.raises(DecodeError, match="exceeds"):
        codec.decode(EMPTY_BODY.ljust(codec.BODY_BYTES_MAX + 1))


def test_512_kib_of_envelopes_fit_a_frame() -> None:
    """A Deliver's budget: even if every byte takes the longest spelling."""
    message = Deliver(KEY, (b"\xff" * (512 * 1024),))
    frame = wrap(message)
    assert len(frame) < FRAME_BYTES_MAX
    assert try_unwrap(frame) == Unwrapped(1, message)


def fill(unit: bytes, size: int) -> bytes:
    """A frame of almost `size` bytes: an unknown member holding `unit` again and again."""
    start = MAGIC + b'\x01{"type":"summary","kind":"key","refs":[],"z":['
    return start + unit * ((size - len(start) - 4) // len(unit)) + b"0]}"


MIB = 1024 * 1024

#: Parsed values a hostile frame can ask for: text, frame size, peak memory over frame size.
#: What costs most per byte of text is bounded by count, so a long frame cannot consist of it.
EXPANDING = {
    "empty lists": (b"[],", FRAME_BYTES_MAX, 4),
    "empty objects": (b"{},", FRAME_BYTES_MAX, 4),
    "short lists": (b"[0],", MIB, 32),
    "short objects": (b'{"":0},', MIB, 24),
    "short strings": (b'"ab",', MIB, 24),
    "short floats": (b"0.5,", MIB, 16),
    "nulls": (b"null,", MIB, 16),
    "fresh integers": (b"257,", 2 * MIB, 16),
}


def filled_deliver(unit: bytes, size: int) -> bytes:
    """One envelope of nothing but this, spelled as `encode` spells a Deliver."""
    head, tail = b'{"type":"deliver","kind":"key","envelopes":[[', b"]]}"
    count = (size - HEADER_BYTES - len(head) - len(tail)) // len(unit)
    return MAGIC + b"\x01" + head + (unit * count)[:-1] + tail


#: As above, inside an envelope. Octets become numbers, eight bytes each, before they are octets.
EXPANDING_DELIVERS = {
    "objects": (b"{},", FRAME_BYTES_MAX, 4),
    "short objects": (b'{"a":0},', FRAME_BYTES_MAX, 4),
    "nested objects": (b'{"":{"":{}}},', FRAME_BYTES_MAX, 4),
    "short strings": (b'"ab",', FRAME_BYTES_MAX, 4),
    "octets": (b"0,", FRAME_BYTES_MAX, 8),
    "too large": (b"999,", 2 * MIB, 16),
}


@pytest.mark.parametrize("name", EXPANDING_DELIVERS)
def test_memory_for_a_hostile_deliver_is_a_small_multiple_of_its_size(name: str) -> None:
    unit, size, multiple = EXPANDING_DELIVERS[name]
    frame = filled_deliver(unit, size)
    program = """
import contextlib, resource, sys
from ciris_mesh.errors import DecodeError
from ciris_mesh.wire.frame import try_unwrap
frame = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with contextlib.suppress(DecodeError):
    try_unwrap(frame)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run(  # tracemalloc does not see what a parser of others takes
        [sys.executable, "-c", program], input=frame, capture_output=True, check=True
    )
    assert int(done.stdout) < multiple * size


@pytest.mark.parametrize("name", EXPANDING)
def test_memory_for_a_hostile_frame_is_a_small_multiple_of_its_size(name: str) -> None:
    unit, size, multiple = EXPANDING[name]
    frame = fill(unit, size)
    tracemalloc.start()
    try:
        with contextlib.suppress(DecodeError):
            try_unwrap(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < multiple * size


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"deliver","kind":"key","envelopes":[4000000000]}',
        b'{"type":"deliver","kind":"key","envelopes":4000000000}',
        b'{"type":"diff","kind":"key","want":[4000000000]}',
        b'{"type":"summary","kind":"key","refs":[[4000000000,0]]}',
    ],
)
def test_nothing_is_allocated_to_a_size_the_wire_names(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            try_unwrap(MAGIC + b"\x01" + body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


# --- whatever comes ---


def read_whatever(frame: bytes) -> None:
    """Only the three documented answers; what a mesh frame says is said in one spelling only."""
    try:
        unwrapped = try_unwrap(frame)
    except (DecodeError, UnknownVersion):
        return
    if unwrapped is not None and isinstance(unwrapped.message, MeshMessage):
        assert wrap(unwrapped.message) == frame


@settings(max_examples=512)
@given(st.sampled_from(SPOKEN), st.binary(max_size=512))
@example(1, b"[" * 100_000)
@example(1, b'{"type":["summary"]}')
@example(1, b'{"type":{"a":1}}')
@example(1, b'{"type":"summary","kind":"key","refs":[{"envelope_hash":[256],"seq":0}]}')
@example(0x81, b"\xdd\xff\xff\xff\xff")
@example(0x81, b"\xc1")
@example(0x81, b"\x91" * 4000)
def test_hostile_bytes_raise_only_what_is_documented(version: int, body: bytes) -> None:
    read_whatever(MAGIC + bytes([version]) + body)


_json_pieces = (
    *'{}[],:"\\-.0159eE \n',
    *('"type"', '"summary"', '"deliver"', '"kind"', '"key"', '"refs"', '"envelopes"'),
    *('"envelope_hash"', '"seq"', "true", "null", "NaN", "\\ud800", "1e999"),
)
_json_soup = st.lists(st.sampled_from(_json_pieces), max_size=60).map("".join)


@settings(max_examples=512)
@given(_json_soup)
def test_json_soup_raises_only_what_is_documented(soup: str) -> None:
    read_whatever(MAGIC + b"\x01" + soup.encode())
    read_whatever(
        MAGIC + b'\x01{"type":"summary","kind":"key","refs":[],"z":' + soup.encode() + b"}"
    )


@settings(max_examples=512)
@given(strategies.messages, st.data())
def test_a_damaged_frame_raises_only_what_is_documented(
    message: AnyMessage, data: st.DataObject
) -> None:
    frame = bytearray(wrap(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(frame) - 1)))
        match data.draw(st.sampled_from(["set", "insert", "delete", "cut", "double"])):
            case "set" if frame:
                frame[at] = data.draw(st.integers(0, 255))
            case "insert":
                frame[at:at] = data.draw(st.binary(min_size=1, max_size=4))
            case "delete":
                del frame[at : at + data.draw(st.integers(1, 8))]
            case "cut":
                del frame[at:]
            case _:
                frame[at:at] = frame[at : at + 40]
    read_whatever(bytes(frame))


def test_a_caller_deep_in_its_own_stack_still_gets_a_decode_error() -> None:
    """The parser recurses up to 127 levels; a caller near Python's limit may have fewer left."""
    frame = MAGIC + b'\x01{"z":' + b"[" * 120 + b"]" * 120 + b"}"
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 60)
    try:
        with pytest.raises(DecodeError):
            try_unwrap(frame)
    finally:
        sys.setrecursionlimit(limit)
