"""Numbers in few bits: varints, fixed-width symbols, and Rice-coded sorted lists. All bounded.

Everything has one spelling: a reader refuses what the writer here would not write, and works no
longer and holds no more than the caller's limits and the bytes it was given allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ciris_mesh.errors import DecodeError, LocalProtocolError

#: Five groups of seven bits hold 32.
VARINT_BYTES_MAX: Final = 5
#: The largest universe is a prime of 32 bits; anything above would be a mistake of the caller.
UNIVERSE_MAX: Final = 2**32


def write_varint(value: int) -> bytes:
    """Seven bits a byte, lowest first, the top bit set on all but the last. 0 .. 2**32 - 1."""
    if not 0 <= value < 2**32:
        raise LocalProtocolError(f"{value} is not in 0 .. 2**32 - 1")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """Return (value, position behind it).

    Raises:
        DecodeError: cut short, longer than needed, or over 32 bits.
    """
    value = 0
    for index, byte in enumerate(data[at : at + VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if (byte == 0 and index) or value >= 2**32:
                raise DecodeError("a varint is not in its shortest form or exceeds 32 bits")
            return value, at + index + 1
    raise DecodeError("a varint does not end")


def pack_fixed(values: Sequence[int], width_bits: int) -> bytes:
    """Values side by side, highest bit first, the last byte filled up with zero bits."""
    return _bytes("".join([format(value, f"0{width_bits}b") for value in values]))


def unpack_fixed(data: bytes, width_bits: int) -> tuple[int, ...]:
    """As many whole values as the bytes hold.

    Raises:
        DecodeError: bits are left over that are not the zeros of the last byte.
    """
    bits = _bits(data)
    count = len(bits) // width_bits
    _check_padding(bits, count * width_bits)
    return tuple(
        [int(bits[at : at + width_bits], 2) for at in range(0, count * width_bits, width_bits)]
    )


def rice_bits(count: int, universe: int) -> int:
    """Low bits of each gap that are written as they are.

    The mean gap times ln 2, rounded down to a power of two: within 3 % of the best (Rice's rule).
    """
    if not count:
        return 0
    return max(0, (universe * 69 // (count * 100)).bit_length() - 1)


def pack_sorted(values: Sequence[int], universe: int) -> bytes:
    """A varint of how many, then each gap to the one before, Rice-coded.

    With gaps near one this is a bitmap: it never costs more than one bit for each of `universe`
    and one for each value.

    Args:
        values: not descending, each in 0 .. universe - 1; equal ones may follow each other.
        universe: known to both sides, 1 .. 2**32.
    """
    _check_universe(universe)
    low_bits = rice_bits(len(values), universe)
    parts: list[str] = []
    last = 0
    for value in values:
        if not last <= value < universe:
            raise LocalProtocolError(f"{value} is not in {last} .. {universe - 1}")
        gap = value - last
        low = format(gap & (1 << low_bits) - 1, f"0{low_bits}b") if low_bits else ""
        parts.append("1" * (gap >> low_bits) + "0" + low)
        last = value
    return write_varint(len(values)) + _bytes("".join(parts))


def unpack_sorted(data: bytes, universe: int, *, count_max: int) -> tuple[int, ...]:
    """The inverse.

    Raises:
        DecodeError: more than `count_max` values, a value outside the universe, or bytes that are
            not exactly as many as the values need.
    """
    _check_universe(universe)
    count, at = read_varint(data)
    if count > count_max:
        raise DecodeError(f"a list of {count} numbers exceeds {count_max}")
    low_bits = rice_bits(count, universe)
    bits_max = count * (low_bits + 1) + (universe >> low_bits)
    if len(data) - at > (bits_max + 7) // 8:
        raise DecodeError(f"{len(data) - at} bytes are too many for {count} numbers")
    bits = _bits(data[at:])
    values, at = [], 0
    last = 0
    for _ in range(count):
        end = bits.find("0", at)
        if end < 0 or end + 1 + low_bits > len(bits):
            raise DecodeError("a list of numbers is cut short")
        low = int(bits[end + 1 : end + 1 + low_bits], 2) if low_bits else 0
        last += (end - at << low_bits) + low
        if last >= universe:
            raise DecodeError("a number of a list is too large")
        values.append(last)
        at = end + 1 + low_bits
    _check_padding(bits, at)
    return tuple(values)


def pack_distinct(values: Sequence[int], universe: int) -> bytes:
    """As `pack_sorted`, for values that ascend strictly: a place taken is not paid for again."""
    if len(values) > universe:
        raise LocalProtocolError(f"{len(values)} different values of {universe}")
    room = _room(universe, len(values))
    return pack_sorted([value - index for index, value in enumerate(values)], room)


def unpack_distinct(data: bytes, universe: int, *, count_max: int) -> tuple[int, ...]:
    """The inverse.

    Raises:
        DecodeError: as `unpack_sorted`, or more values than the universe has.
    """
    count, _ = read_varint(data)
    if count > min(universe, count_max):
        raise DecodeError(f"a list of {count} numbers exceeds {min(universe, count_max)}")
    values = unpack_sorted(data, _room(universe, count), count_max=count_max)
    return tuple([value + index for index, value in enumerate(values)])


def _room(universe: int, count: int) -> int:
    """What so many different values may be, less 0, 1, 2, ...; of none it does not matter."""
    return max(1, min(universe - count + 1, UNIVERSE_MAX))


def _check_universe(universe: int) -> None:
    if not 1 <= universe <= UNIVERSE_MAX:
        raise LocalProtocolError(f"a universe of {universe} is not in 1 .. 2**32")


def _check_padding(bits: str, used: int) -> None:
    if len(bits) - used >= 8 or "1" in bits[used:]:
        raise DecodeError("bits are left over")


def _bytes(bits: str) -> bytes:
    """Bits as text to bytes; parsing base 2 is linear, and faster than shifting one by one."""
    if not bits:
        return b""
    size = (len(bits) + 7) // 8
    return int(bits.ljust(size * 8, "0"), 2).to_bytes(size)


def _bits(data: bytes) -> str:
    return format(int.from_bytes(data), f"0{len(data) * 8}b") if data else ""
