"""The messages of 0x81 frames that find out which records two views do not share.

Each is `[tag, bin]`: a msgpack array of a number and one packed byte string, because here every
byte is airtime. What is packed and in which order is in `WIRE.md`; what is said when, in
`protocol/reconcile.py`. As with the other mesh messages there is one spelling of each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.records.kinds import KINDS
from ciris_mesh.wire import bitpack

#: Capability bit of a Hello: "I understand tags 6 to 15". Nobody sends them to a node without it.
CAPABILITY_RECONCILE: Final = 1 << 0

#: Width of a short id in bits -> the largest prime below that power of two. Ids and symbols are
#: numbers modulo it. The narrow ones save airtime with small sets, where they collide rarely.
PRIMES: Final[dict[int, int]] = {24: 2**24 - 3, 28: 2**28 - 57, 32: 2**32 - 5}
WIDTHS: Final = tuple(PRIMES)

SALT_BYTES: Final = 4
CHECK_BYTES: Final = 4
#: Sizes of hash cells whose squares estimate the difference: 64 give it within 18 % (1 sigma).
HISTOGRAM_CELLS: Final = 64
#: 2**8 cells of about 32 differences each: 8,000 records are days of airtime and many radio links.
CELLS_LOG2_MAX: Final = 8
#: 2**8 cells of 64 symbols. An honest sketch of 8,000 differences has about 10,000.
SYMBOLS_MAX: Final = 2**14
#: Symbols of one cell in all. Decoding takes the square of them: 0.3 s for 256 on a desk machine.
EXTEND_TOTAL_MAX: Final = 256
#: A list of all short ids, for a set that shares little with the peer's: 150 kB.
LIST_IDS_MAX: Final = 2**16
#: Places among 2**18 ids, half of them named, are 32 kB; unlucky gaps make it more.
RANKS_BYTES_MAX: Final = 48 * 1024
#: A view has 256 buckets for each kind, by the first byte of the id.
BUCKETS_MAX: Final = 256 * len(KINDS)
BUCKET_DIGEST_BYTES: Final = 3
#: Room for the longest message, a list of 65,536 ids of 32 bits: about 18 bits each on average.
PACKED_BYTES_MAX: Final = 192 * 1024

ROUND_MAX: Final = 2**16 - 1
COUNT_MAX: Final = 2**32 - 1


def _check(ok: bool, text: str) -> None:  # noqa: FBT001 (an assertion's condition, not a flag)
    if not ok:
        raise LocalProtocolError(text)


def _check_round(value: int) -> None:
    _check(type(value) is int and 0 <= value <= ROUND_MAX, "round_id is not 0 .. 65535")


def _check_bytes(value: bytes, length: int, name: str) -> None:
    _check(isinstance(value, bytes) and len(value) == length, f"{name} is not {length} bytes")


def _check_numbers(values: tuple[int, ...], below: int, name: str) -> None:
    _check(
        isinstance(values, tuple) and all(type(v) is int and 0 <= v < below for v in values),
        f"{name} are not integers in 0 .. {below - 1}",
    )


def _check_symbols(values: tuple[int, ...], width: int) -> None:
    _check(width in PRIMES, "width is not 24, 28 or 32 bits")
    _check(1 <= len(values) <= SYMBOLS_MAX, f"not 1 to {SYMBOLS_MAX} symbols")
    _check_numbers(values, PRIMES[width], "symbols")


def _check_ascending(values: tuple[int, ...], below: int, name: str) -> None:
    _check_numbers(values, below, name)
    _check(all(a < b for a, b in pairwise(values)), f"{name} do not ascend")


@dataclass(frozen=True, slots=True)
class Sketch:
    """Power sums of the sender's short ids: opens an exchange, or cuts it into cells.

    Attributes:
        round_id: chosen by the opener, 0 .. 65535; the answers repeat it.
        salt: 4 bytes that, with both hello nonces, key the short ids.
        width: of a symbol, 24, 28 or 32 bits.
        over_buckets: the elements are bucket digests, not ids; then there is one cell.
        counts: of one cell, how many elements the sender has. Of 2**j cells (j in 1 .. 8), how
            many ids each holds, modulo 256.
        symbols: of each cell S_1, S_2, ...; as many for each, one cell after the other.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    salt: bytes
    width: int
    over_buckets: bool
    counts: tuple[int, ...]
    symbols: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        _check_bytes(self.salt, SALT_BYTES, "salt")
        _check_symbols(self.symbols, self.width)
        _check(type(self.over_buckets) is bool, "over_buckets is no boolean")
        cells = len(self.counts)
        _check(cells in _CELL_COUNTS, "counts are not a power of two up to 256")
        _check(not self.over_buckets or cells == 1, "buckets are not cut into cells")
        _check_numbers(self.counts, COUNT_MAX + 1 if cells == 1 else 256, "counts")
        _check(len(self.symbols) % cells == 0, "cells have different numbers of symbols")


@dataclass(frozen=True, slots=True)
class More:
    """ "Your sketch was too short." `histogram` lets the peer estimate by how much.

    Attributes:
        histogram: how many of the sender's ids fall into each of 64 cells, modulo 256; empty
            when the sketch was one of buckets, and their digests are asked for.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    histogram: bytes

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        if self.histogram:
            _check_bytes(self.histogram, HISTOGRAM_CELLS, "histogram")


@dataclass(frozen=True, slots=True)
class Extend:
    """ "Of these cells, send symbols up to S_total." Cells ascend; there is one at least.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    total: int
    cells: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        _check(
            type(self.total) is int and 1 <= self.total <= EXTEND_TOTAL_MAX, "total is not 1 .. 256"
        )
        _check_ascending(self.cells, 1 << CELLS_LOG2_MAX, "cells")
        _check(bool(self.cells), "no cell is named")


@dataclass(frozen=True, slots=True)
class Symbols:
    """Further symbols of each cell asked for, one cell after the other; nothing is sent again.

    Attributes:
        width: as in the sketch they continue.
        start: how many symbols of each of these cells were sent before, 0 .. 255.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    width: int
    start: int
    symbols: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        _check(type(self.start) is int and 0 <= self.start <= 255, "start is not 0 .. 255")
        _check_symbols(self.symbols, self.width)


@dataclass(frozen=True, slots=True)
class Wants:
    """The result: which of the reader's short ids differ. All others are held by both.

    Attributes:
        check: 4 bytes of a salted digest over the full ids of what both hold.
        ranks: places in the reader's sorted list of different short ids, as `pack_distinct` packs
            them; only the reader knows how many it has, so they are unpacked later.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    check: bytes
    ranks: bytes

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        _check_bytes(self.check, CHECK_BYTES, "check")
        _check(
            isinstance(self.ranks, bytes) and 1 <= len(self.ranks) <= RANKS_BYTES_MAX,
            f"ranks are not 1 to {RANKS_BYTES_MAX} bytes",
        )


@dataclass(frozen=True, slots=True)
class IdList:
    """All short ids of the sender, ascending, equal ones side by side. Empty: "send me all".

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    salt: bytes
    width: int
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        _check_bytes(self.salt, SALT_BYTES, "salt")
        _check(self.width in PRIMES, "width is not 24, 28 or 32 bits")
        _check(len(self.ids) <= LIST_IDS_MAX, f"more than {LIST_IDS_MAX} ids")
        _check_numbers(self.ids, PRIMES[self.width], "ids")
        _check(all(a <= b for a, b in pairwise(self.ids)), "ids do not ascend")


@dataclass(frozen=True, slots=True)
class Turn:
    """ "You hold much less than I: open the exchange yourself, your list is the shorter." """

    round_id: int

    def __post_init__(self) -> None:
        _check_round(self.round_id)


@dataclass(frozen=True, slots=True)
class Narrow:
    """ "Only these buckets differ: sketch what is in them."

    Attributes:
        count: ids the sender holds in them.
        buckets: their numbers, ascending: 256 for each kind both serve. None: nothing differs.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    count: int
    buckets: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        _check(type(self.count) is int and 0 <= self.count <= COUNT_MAX, "count is out of range")
        _check_ascending(self.buckets, BUCKETS_MAX, "buckets")


@dataclass(frozen=True, slots=True)
class BucketDigests:
    """Three bytes of each bucket's salted digest: when too many differ for a sketch of them.

    Raises:
        LocalProtocolError: a field is out of range; DecodeError when it came from a peer.
    """

    round_id: int
    digests: bytes

    def __post_init__(self) -> None:
        _check_round(self.round_id)
        count, rest = divmod(len(self.digests), BUCKET_DIGEST_BYTES)
        _check(
            isinstance(self.digests, bytes) and 1 <= count <= BUCKETS_MAX and not rest,
            "digests are not three bytes each of 1 to 3,328 buckets",
        )


@dataclass(frozen=True, slots=True)
class Failed:
    """ "This exchange came to nothing or to something wrong; what I heard of it is forgotten." """

    round_id: int

    def __post_init__(self) -> None:
        _check_round(self.round_id)


ReconcileMessage: TypeAlias = (
    Sketch | More | Extend | Symbols | Wants | IdList | Turn | Narrow | BucketDigests | Failed
)

_CELL_COUNTS: Final = tuple(1 << log2 for log2 in range(CELLS_LOG2_MAX + 1))
_OVER_BUCKETS: Final = 0x04
_HEAD: Final = struct.Struct(">H")
_HEAD_BYTES: Final = _HEAD.size


def _flags(width: int) -> int:
    return WIDTHS.index(width)


def _width(code: int) -> int:
    if code >= len(WIDTHS):
        raise DecodeError("an unknown width")
    return WIDTHS[code]


def _cut(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise DecodeError("a message is cut short")
    return data[:length], data[length:]


def _dump_sketch(message: Sketch) -> bytes:
    cells_log2 = len(message.counts).bit_length() - 1
    flags = _flags(message.width) | _OVER_BUCKETS * message.over_buckets | cells_log2 << 4
    counts = bytes(message.counts) if cells_log2 else bitpack.write_varint(message.counts[0])
    symbols = bitpack.pack_fixed(message.symbols, message.width)
    return bytes((flags,)) + message.salt + counts + symbols


def _load_sketch(round_id: int, data: bytes) -> Sketch:
    head, data = _cut(data, 1 + SALT_BYTES)
    flags, salt = head[0], head[1:]
    cells_log2 = flags >> 4
    if cells_log2 > CELLS_LOG2_MAX or flags & 0x08:
        raise DecodeError("unknown flags of a sketch")
    if cells_log2:
        packed, data = _cut(data, 1 << cells_log2)
        counts = tuple(packed)
    else:
        count, at = bitpack.read_varint(data)
        counts, data = (count,), data[at:]
    width = _width(flags & 0x03)
    symbols = _load_symbols(data, width)
    return Sketch(round_id, salt, width, bool(flags & _OVER_BUCKETS), counts, symbols)


def _load_symbols(data: bytes, width: int) -> tuple[int, ...]:
    if len(data) * 8 // width > SYMBOLS_MAX:
        raise DecodeError(f"more than {SYMBOLS_MAX} symbols")
    return bitpack.unpack_fixed(data, width)


def _dump_extend(message: Extend) -> bytes:
    cells = bitpack.pack_distinct(message.cells, 1 << CELLS_LOG2_MAX)
    return bytes((message.total - 1,)) + cells


def _load_extend(round_id: int, data: bytes) -> Extend:
    head, data = _cut(data, 1)
    most = 1 << CELLS_LOG2_MAX
    return Extend(round_id, head[0] + 1, bitpack.unpack_distinct(data, most, count_max=most))


def _dump_symbols(message: Symbols) -> bytes:
    head = bytes((_flags(message.width), message.start))
    return head + bitpack.pack_fixed(message.symbols, message.width)


def _load_more_symbols(round_id: int, data: bytes) -> Symbols:
    head, data = _cut(data, 2)
    width = _width(head[0])
    return Symbols(round_id, width, head[1], _load_symbols(data, width))


def _load_wants(round_id: int, data: bytes) -> Wants:
    check, ranks = _cut(data, CHECK_BYTES)
    return Wants(round_id, check, ranks)


def _dump_list(message: IdList) -> bytes:
    ids = bitpack.pack_sorted(message.ids, PRIMES[message.width])
    return bytes((_flags(message.width),)) + message.salt + ids


def _load_list(round_id: int, data: bytes) -> IdList:
    head, data = _cut(data, 1 + SALT_BYTES)
    width = _width(head[0])
    ids = bitpack.unpack_sorted(data, PRIMES[width], count_max=LIST_IDS_MAX)
    return IdList(round_id, head[1:], width, ids)


def _load_round_only(cls: type[Any]) -> Callable[[int, bytes], Any]:
    def load(round_id: int, data: bytes) -> Any:
        if data:
            raise DecodeError("bytes are left over")
        return cls(round_id)

    return load


def _dump_narrow(message: Narrow) -> bytes:
    buckets = bitpack.pack_distinct(message.buckets, BUCKETS_MAX)
    return bitpack.write_varint(message.count) + buckets


def _load_narrow(round_id: int, data: bytes) -> Narrow:
    count, at = bitpack.read_varint(data)
    buckets = bitpack.unpack_distinct(data[at:], BUCKETS_MAX, count_max=BUCKETS_MAX)
    return Narrow(round_id, count, buckets)


#: Tag -> (message class, what is packed behind the round id, and back). Tags are only ever added.
_TABLE: Final[dict[int, tuple[type[Any], Callable[[Any], bytes], Callable[[int, bytes], Any]]]] = {
    6: (Sketch, _dump_sketch, _load_sketch),
    7: (More, lambda message: message.histogram, More),
    8: (Extend, _dump_extend, _load_extend),
    9: (Symbols, _dump_symbols, _load_more_symbols),
    10: (Wants, lambda message: message.check + message.ranks, _load_wants),
    11: (IdList, _dump_list, _load_list),
    12: (Turn, lambda _: b"", _load_round_only(Turn)),
    13: (Narrow, _dump_narrow, _load_narrow),
    14: (BucketDigests, lambda message: message.digests, BucketDigests),
    15: (Failed, lambda _: b"", _load_round_only(Failed)),
}
TAGS: Final = frozenset(_TABLE)
_TAG_OF: Final = {cls: tag for tag, (cls, _, _) in _TABLE.items()}


def pack(message: ReconcileMessage) -> tuple[int, bytes]:
    """Return (tag, packed bytes). Total."""
    tag = _TAG_OF[type(message)]
    packed: bytes = _HEAD.pack(message.round_id) + _TABLE[tag][1](message)
    return tag, packed


def unpack(tag: int, packed: bytes) -> ReconcileMessage:
    """Read the packed bytes of a message whose tag is one of `TAGS`.

    Raises:
        DecodeError: too long, cut short, too many of something, or numbers out of range.
        LocalProtocolError: a value the message class refuses; `mesh.decode` makes it a
            DecodeError.
    """
    if len(packed) > PACKED_BYTES_MAX:
        raise DecodeError(f"a message of {len(packed)} bytes exceeds {PACKED_BYTES_MAX}")
    head, rest = _cut(packed, _HEAD_BYTES)
    message: ReconcileMessage = _TABLE[tag][2](_HEAD.unpack(head)[0], rest)
    return message
