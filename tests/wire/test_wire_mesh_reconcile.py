"""Reconciliation messages: pinned both ways, one spelling each, and small.

The golden file also pins what the bytes mean: short ids, symbols and checks of a set everyone can
make. `pytest tests/wire/test_wire_mesh_reconcile.py --rewrite -n 0` writes it anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tracemalloc
from typing import Any, get_args

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.protocol.reconcile_events import Resolved
from ciris_mesh.protocol.shortid import Item, SaltedSet, check_of, item, kind_of
from ciris_mesh.protocol.sketch import PowerSums
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire import mesh_reconcile
from ciris_mesh.wire.bitpack import pack_distinct
from ciris_mesh.wire.frame import Unwrapped, try_unwrap, wrap
from ciris_mesh.wire.mesh import RECONCILE_BODY_BYTES_MAX, decode, encode
from ciris_mesh.wire.mesh_reconcile import (
    BUCKETS_MAX,
    LIST_IDS_MAX,
    PACKED_BYTES_MAX,
    PRIMES,
    RANKS_BYTES_MAX,
    SYMBOLS_MAX,
    BucketDigests,
    Extend,
    Failed,
    IdList,
    More,
    Narrow,
    ReconcileMessage,
    Sketch,
    Symbols,
    Turn,
    Wants,
)
from support import crpl, strategies
from support.reconciling import NONCES, Side, converse

FILE = "mesh_reconcile.json"
CLASSES = {cls.__name__: cls for cls in get_args(ReconcileMessage)}
SALT = b"salt"

#: The golden messages, by name.
GOLDEN: dict[str, ReconcileMessage] = {
    "sketch of 24 bits": Sketch(0x1234, SALT, 24, False, (10_000,), (1, 2, PRIMES[24] - 1)),
    "sketch of 28 bits, an odd number": Sketch(0, bytes(4), 28, False, (0,), (0x1234567,)),
    "sketch of 28 bits, an even number": Sketch(1, SALT, 28, False, (1,), (0x1234567, 0x89ABCDE)),
    "sketch of 32 bits": Sketch(2**16 - 1, SALT, 32, False, (2**32 - 1,), (2**32 - 6,)),
    "sketch over buckets": Sketch(7, SALT, 24, True, (3_328,), (5, 6)),
    "sketch of two cells": Sketch(7, SALT, 24, False, (0, 255), (1, 2, 3, 4)),
    "sketch of 256 cells": Sketch(7, SALT, 28, False, tuple(range(256)), tuple(range(256))),
    "more": More(7, bytes(range(64))),
    "more of buckets": More(7, b""),
    "extend one sketch": Extend(7, 30, (0,)),
    "extend some cells": Extend(7, 256, (0, 3, 255)),
    "symbols": Symbols(7, 28, 24, (1, 2, 3)),
    "wants": Wants(7, b"chck", pack_distinct((0, 17, 9_999), 10_000)),
    "wants nothing": Wants(7, b"chck", pack_distinct((), 10_000)),
    "ids": IdList(7, SALT, 24, (1, 1, 5, PRIMES[24] - 1)),
    "no ids": IdList(7, SALT, 32, ()),
    "turn": Turn(7),
    "narrow": Narrow(7, 300, (0, 255, 3_327)),
    "nothing to narrow": Narrow(7, 0, ()),
    "bucket digests": BucketDigests(7, b"abcdef"),
    "failed": Failed(7),
}


def body(tag: Any, packed: Any) -> bytes:
    out: bytes = msgpack.packb([tag, packed])
    return out


def sketch(flags: int, rest: bytes) -> bytes:
    return body(6, b"\x00\x07" + bytes([flags]) + SALT + rest)


#: Bodies no node may take.
REFUSED: dict[str, bytes] = {
    "no packed bytes": b"\x91\x06",
    "three elements": b"\x93\x06\xc4\x00\x00",
    "text for bytes": body(12, "\0\7"),
    "an integer for bytes": body(12, 7),
    "nil for bytes": body(12, None),
    "an array for bytes": body(12, [0, 7]),
    "nothing packed": body(12, b""),
    "half a round id": body(15, b"\0"),
    "a turn with something behind": body(12, b"\0\7\0"),
    "failed with something behind": body(15, b"\0\7\0"),
    "tag 16": body(16, b"\0\7"),
    "sketch of nothing": sketch(0, b"\x01"),
    "sketch without a count": sketch(0, b""),
    "sketch of width 3": sketch(3, b"\x01" + bytes(6)),
    "sketch with bit 3": sketch(0x08, b"\x01" + bytes(3)),
    "sketch of 512 cells": sketch(0x90, bytes(600 * 3)),
    "sketch over buckets in two cells": sketch(0x14, bytes(2 + 6)),
    "sketch with a wide count": sketch(0, b"\x81\x00" + bytes(3)),
    "sketch with a count over 32 bits": sketch(0, b"\xff\xff\xff\xff\x1f" + bytes(3)),
    "sketch with a symbol of p": sketch(0, b"\x01" + PRIMES[24].to_bytes(3)),
    "sketch with a cut symbol": sketch(0, b"\x01" + bytes(4)),
    "sketch of 28 bits with a bit in the filling": sketch(1, b"\x01" + b"\0\0\0\1"),
    "sketch of two cells with three symbols": sketch(0x10, bytes(2 + 9)),
    "sketch of two cells with one count": sketch(0x10, b"\0"),
    "sketch with a symbol too many": sketch(0, b"\x01" + bytes(3 * (SYMBOLS_MAX + 1))),
    "more with 63 cells": body(7, b"\0\7" + bytes(63)),
    "more with 65 cells": body(7, b"\0\7" + bytes(65)),
    "extend of nothing": body(8, b"\0\7"),
    "extend of no cell": body(8, b"\0\7\x1d\0"),
    "extend of cell 256": body(8, b"\0\7\x1d" + b"\x01\xff\xff\xff"),
    "extend with a byte too many": body(8, b"\0\7\x1d" + pack_distinct((0,), 256) + b"\0"),
    "extend of 257 cells": body(8, b"\0\7\x1d\x81\x02" + bytes(33)),
    "symbols of nothing": body(9, b"\0\7\0\x18"),
    "symbols without a start": body(9, b"\0\7\0"),
    "symbols of width 3": body(9, b"\0\7\3\x18" + bytes(4)),
    "symbols with a value of p": body(9, b"\0\7\2\x18" + PRIMES[32].to_bytes(4)),
    "wants without ranks": body(10, b"\0\7chck"),
    "wants with too many ranks": body(10, b"\0\7chck" + bytes(RANKS_BYTES_MAX + 1)),
    "wants with half a check": body(10, b"\0\7ch"),
    "ids without a salt": body(11, b"\0\7\0sal"),
    "ids of width 3": body(11, b"\0\7\3salt\0"),
    "ids with bits behind": body(11, b"\0\7\0salt\0\0"),
    "ids without a list": body(11, b"\0\7\0salt"),
    "ids, four billion of them": body(11, b"\0\7\0salt\xff\xff\xff\xff\x0f"),
    "ids, 65,537 of them": body(11, b"\0\7\0salt\x81\x80\x04" + bytes(PACKED_BYTES_MAX - 20)),
    "narrow to bucket 3,328": body(13, b"\0\7\1" + pack_distinct((3_328,), 4_096)),
    "narrow to more buckets than there are": body(13, b"\0\7\1\x81\x1a"),
    "narrow without buckets": body(13, b"\0\7\1"),
    "digests of no bucket": body(14, b"\0\7"),
    "digests of two thirds of a bucket": body(14, b"\0\7ab"),
    "digests of too many buckets": body(14, b"\0\7" + bytes(3 * (BUCKETS_MAX + 1))),
    "bytes in a wide header": b"\x92\x0c\xc5\x00\x02\x00\x07",
    "a tag in two bytes": b"\x92\xcc\x0c\xc4\x02\x00\x07",
    "an array in a wide header": b"\xdc\x00\x02\x0c\xc4\x02\x00\x07",
    "bytes of four billion": b"\x92\x0c\xc6\xff\xff\xff\xff",
}


# --- golden bytes ---


def spelled(message: ReconcileMessage) -> dict[str, Any]:
    fields = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }


def understood(name: str, members: dict[str, Any]) -> ReconcileMessage:
    built: dict[str, Any] = {}
    for member, value in members.items():
        match value:
            case str():
                built[member] = bytes.fromhex(value)
            case [*items]:
                built[member] = tuple(items)
            case _:
                built[member] = value
    message: ReconcileMessage = CLASSES[name](**built)
    return message


def shared_items(count: int) -> list[Item]:
    """Items everyone can make: SHA-256 of "0", "1", ...; their kinds go round."""
    kinds = tuple(EnvelopeKind)
    return [
        item(kinds[number % len(kinds)], hashlib.sha256(str(number).encode()).digest())
        for number in range(count)
    ]


def exchange() -> dict[str, Any]:
    """Items 0 .. 19 meet items 2 .. 20: frames, and the numbers behind them."""
    everything = shared_items(21)
    one, two = Side(everything[:20]), Side(everything[2:])
    frames: list[str] = []
    one.open(len(two.items), salt=SALT)

    def noted(message: ReconcileMessage) -> ReconcileMessage:
        frames.append(wrap(message).hex())
        return message

    converse(one, two, change=noted)
    assert isinstance(one.end, Resolved)
    key = SALT + NONCES
    own = SaltedSet(one.items, key)
    return {
        "nonces_hex": NONCES.hex(),
        "salt_hex": SALT.hex(),
        "items": "number n is sha256 of its decimal digits, kind (n mod 13) + 1",
        "opener_holds": [0, 19],
        "answerer_holds": [2, 20],
        "short_ids_of_opener": {str(width): own.values(width) for width in PRIMES},
        "cells_of_opener_of_8": [value >> 32 for value in own.values(24, 3)],
        "power_sums_of_opener_24_bits": PowerSums(own.values(24), PRIMES[24]).first(24),
        "histogram_of_opener_hex": own.histogram().hex(),
        "check_of_2_to_19_hex": check_of(everything[2:20], key).hex(),
        "frames_hex": frames,
        "opener_sends": sorted(everything.index(one_item) for one_item in one.end.offer),
        "answerer_sends": sorted(everything.index(one_item) for one_item in two.offer),
    }


def golden_file() -> dict[str, Any]:
    return {
        "provenance": "Made by ciris_mesh (tests/wire/test_wire_mesh_reconcile.py --rewrite)."
        " Whole frames: CRPL, 81, [tag, bin]. Byte strings in hex. Every frame in decode_cases must"
        " be refused as malformed. `exchange` pins how short ids, symbols and checks are computed.",
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
            {"name": name, "frame_hex": (b"CRPL\x81" + one).hex(), "result": "malformed"}
            for name, one in REFUSED.items()
            if len(one) < 1_000
        ],
        "exchange": exchange(),
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
    for case in golden["decode_cases"]:
        frame = bytes.fromhex(case["frame_hex"])
        assert frame[5:] == REFUSED[case["name"]], case["name"]
        with pytest.raises(DecodeError):
            try_unwrap(frame)


def test_the_golden_exchange_is_reproduced(golden: Any) -> None:
    pinned = golden["exchange"]
    assert exchange() == pinned
    assert (pinned["opener_sends"], pinned["answerer_sends"]) == ([0, 1], [20])


def test_the_golden_numbers_follow_from_blake2b_and_arithmetic_alone(golden: Any) -> None:
    """As an implementer reads WIRE.md, without our code."""
    pinned = golden["exchange"]
    key = bytes.fromhex(pinned["salt_hex"] + pinned["nonces_hex"])
    short: dict[int, list[int]] = {24: [], 28: [], 32: []}
    cells, histogram = [], [0] * 64
    for number in range(20):
        element = hashlib.sha256(str(number).encode()).digest() + bytes([number % 13 + 1])
        digest = hashlib.blake2b(element, digest_size=8, key=key, person=b"ciris-mesh ids").digest()
        high, low = int.from_bytes(digest[:2]), int.from_bytes(digest[2:])
        for width, p in ((24, 2**24 - 3), (28, 2**28 - 57), (32, 2**32 - 5)):
            short[width].append(1 + low % (p - 1))
        cells.append(high >> 13)
        histogram[high % 64] += 1
    p = 2**24 - 3
    assert {int(width): ids for width, ids in pinned["short_ids_of_opener"].items()} == short
    assert pinned["cells_of_opener_of_8"] == cells
    assert bytes.fromhex(pinned["histogram_of_opener_hex"]) == bytes(histogram)
    assert pinned["power_sums_of_opener_24_bits"] == [
        sum(pow(value, power, p) for value in short[24]) % p for power in range(1, 25)
    ]
    common = sorted(
        hashlib.sha256(str(number).encode()).digest() + bytes([number % 13 + 1])
        for number in range(2, 20)
    )
    check = hashlib.blake2b(b"".join(common), digest_size=4, key=key, person=b"ciris-mesh check")
    assert pinned["check_of_2_to_19_hex"] == check.hexdigest()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(REFUSED[name])
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_a_sketch_spelt_by_hand() -> None:
    assert wrap(GOLDEN["sketch of 24 bits"]).hex(" ") == " ".join(
        [
            "43 52 50 4c 81",  # CRPL, mesh profile
            "92 06 c4 12",  # tag 6, 18 packed bytes
            "12 34",  # round
            "00",  # 24 bits, one cell, ids
            "73 61 6c 74",  # salt
            "90 4e",  # 10,000 ids
            "00 00 01 00 00 02 ff ff fc",  # three symbols
        ]
    )


def test_extend_spelt_by_hand() -> None:
    """Gaps 0, 2 and 251 in a universe of 254: 5 low bits, since 254 / 3 * ln 2 is 58."""
    gaps = "0 000000 000101111111 0 11011"
    bits = gaps.replace(" ", "").ljust(32, "0")
    packed = bytes.fromhex("0007 ff 03") + int(bits, 2).to_bytes(4)
    assert mesh_reconcile.pack(GOLDEN["extend some cells"]) == (8, packed)


# --- sizes ---


def test_ten_differences_of_ten_thousand_fit_135_bytes_with_all_framing() -> None:
    first = Sketch(1, SALT, 28, False, (10_000,), (1,) * 24)
    answer = Wants(1, b"chck", pack_distinct([999 * n for n in range(1, 11)], 10_010))
    assert len(wrap(first)) == 102
    assert len(wrap(answer)) == 30
    assert len(wrap(first)) - 84 == 18, "header of all layers together"


def test_the_smallest_messages_are_eleven_bytes() -> None:
    assert {len(wrap(message)) for message in (Turn(7), Failed(7), More(7, b""))} == {11}


def test_the_longest_messages_fit() -> None:
    ids = tuple(range(0, 2**32 - 5, 2**16))[:LIST_IDS_MAX]
    for message in (
        IdList(1, SALT, 32, ids),
        Sketch(1, SALT, 32, False, (255,) * 256, (2**32 - 6,) * SYMBOLS_MAX),
        Symbols(1, 32, 0, (2**32 - 6,) * SYMBOLS_MAX),
        BucketDigests(1, bytes(3 * BUCKETS_MAX)),
        Narrow(1, 1, tuple(range(BUCKETS_MAX))),
        Extend(1, 256, tuple(range(256))),
    ):
        packed = encode(message)
        assert len(packed) <= RECONCILE_BODY_BYTES_MAX
        assert decode(packed) == message


def test_a_body_over_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_reconcile, "_HEAD", None)
    with pytest.raises(DecodeError, match="exceeds"):
        decode(b"\x92\x0b\xc6" + bytes(RECONCILE_BODY_BYTES_MAX))
    with pytest.raises(DecodeError, match="exceeds"):
        decode(body(11, bytes(PACKED_BYTES_MAX + 1)))


@pytest.mark.parametrize("tag", sorted(mesh_reconcile.TAGS))
def test_hostile_bodies_allocate_little(tag: int) -> None:
    """16 times what came in, for the bits of a list as text, is the most."""
    tracemalloc.start()
    try:
        for filler in (b"\0", b"\xff", b"\x80", b"\x55"):
            with pytest.raises(DecodeError):
                decode(body(tag, filler * (PACKED_BYTES_MAX - 1)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * PACKED_BYTES_MAX


# --- values ---


@pytest.mark.parametrize(
    "build",
    [
        lambda: Sketch(-1, SALT, 24, False, (1,), (1,)),
        lambda: Sketch(2**16, SALT, 24, False, (1,), (1,)),
        lambda: Sketch(1, b"sal", 24, False, (1,), (1,)),
        lambda: Sketch(1, SALT, 25, False, (1,), (1,)),
        lambda: Sketch(1, SALT, 24, False, (), (1,)),
        lambda: Sketch(1, SALT, 24, False, (1, 2, 3), (1, 2, 3)),
        lambda: Sketch(1, SALT, 24, False, (256, 0), (1, 2)),
        lambda: Sketch(1, SALT, 24, False, (2**32,), (1,)),
        lambda: Sketch(1, SALT, 24, False, (1,), ()),
        lambda: Sketch(1, SALT, 24, False, (1,), (2**24 - 3,)),
        lambda: Sketch(1, SALT, 24, False, (1,), (-1,)),
        lambda: Sketch(1, SALT, 24, True, (1, 1), (1, 1)),
        lambda: Sketch(1, SALT, 24, False, (1, 1), (1, 1, 1)),
        lambda: More(1, bytes(63)),
        lambda: Extend(1, 0, (0,)),
        lambda: Extend(1, 257, (0,)),
        lambda: Extend(1, 30, ()),
        lambda: Extend(1, 30, (1, 1)),
        lambda: Extend(1, 30, (256,)),
        lambda: Symbols(1, 24, 256, (1,)),
        lambda: Symbols(1, 24, 0, ()),
        lambda: Wants(1, b"chk", b"\0"),
        lambda: Wants(1, b"chck", b""),
        lambda: IdList(1, SALT, 24, (2, 1)),
        lambda: IdList(1, SALT, 24, (2**24,)),
        lambda: IdList(1, SALT, 24, (1,) * (LIST_IDS_MAX + 1)),
        lambda: Narrow(1, -1, (1,)),
        lambda: Narrow(1, 1, (BUCKETS_MAX,)),
        lambda: BucketDigests(1, b""),
        lambda: BucketDigests(1, b"four"),
        lambda: Turn(-1),
        lambda: Failed(True),
    ],
)
def test_a_bad_value_is_our_own_fault_when_we_build_it(build: Any) -> None:
    with pytest.raises(LocalProtocolError):
        build()


# --- laws ---


@settings(max_examples=256)
@given(strategies.reconcile_messages)
def test_every_message_survives(message: ReconcileMessage) -> None:
    assert decode(encode(message)) == message


@settings(max_examples=512)
@given(st.sampled_from(sorted(mesh_reconcile.TAGS)), st.binary(max_size=120))
@example(6, b"\0\7\xf0salt")
@example(11, b"\0\7\2salt\x80\x80\x04")
def test_packed_nonsense_is_refused_or_the_one_spelling(tag: int, packed: bytes) -> None:
    try:
        message = decode(body(tag, packed))
    except DecodeError:
        return
    assert encode(message) == body(tag, packed)


@given(strategies.reconcile_messages, st.integers(0), st.integers(1, 255))
def test_one_changed_byte_is_another_message_or_none(
    message: ReconcileMessage, at: int, change: int
) -> None:
    changed = bytearray(encode(message))
    changed[at % len(changed)] ^= change
    try:
        other = decode(bytes(changed))
    except DecodeError:
        return
    assert other != message


def test_every_kind_of_record_has_its_number_in_an_item() -> None:
    assert [kind_of(one) for one in shared_items(13)] == list(EnvelopeKind)
