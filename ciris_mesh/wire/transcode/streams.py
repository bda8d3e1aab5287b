"""The four streams of a batch and the bytes they travel in.

    batch    = table version, deflate(low), raw
    low      = varint length of ops, varint length of nums, ops, nums, text

Operations, small numbers and words compress; signatures, keys and hashes don't and lie beside
them. Apart, each stream resembles itself, so one deflate over all records finds what they share.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, TypeAlias

from ciris_mesh.errors import BatchRefused
from ciris_mesh.wire.transcode.grammar import BatchReason
from ciris_mesh.wire.transcode.shapes import TABLE_VERSION
from ciris_mesh.wire.transcode.words import DICTIONARY, TEXT_END

#: 256 hybrid records are 1.6 MB of JSON and 970 kB coded: most of an hour of LoRa without a pause.
RECORDS_MAX: Final = 256
#: The largest envelope anybody admits; `records.envelope` says why.
RECORD_BYTES_MAX: Final = 64 * 1024
#: Records of one batch together, decoded: what a decoder may be made to hold.
DECODED_BYTES_MAX: Final = 2 * 1024 * 1024
#: Signed records take 5 to 60 each. Deflate lets a peer ask for this many with a few hundred bytes,
#: and the costliest known, numbers under two hashes, take 0.1 s on a PC.
OPERATIONS_MAX: Final = 16 * 1024
#: Ops and nums beside the text: an operation has at most two numbers, nearly always of one byte.
LOW_OVERHEAD_MAX: Final = 4 * OPERATIONS_MAX

#: A zigzag varint of nanoseconds in the years 0 to 9999 takes ten bytes.
_VARINT_BYTES_MAX: Final = 10
#: Numbers count bytes, digits, entries or ids, none above 2**28 - 1.
_NUM_BYTES_MAX: Final = 4
_RAW_DEFLATE: Final = -15
_MEMORY: Final = 9

#: How hard deflate tries: its level and its strategy.
Press: TypeAlias = tuple[int, int]
#: Until nothing smaller is found.
SMALL: Final[Press] = (9, zlib.Z_DEFAULT_STRATEGY)
#: What repeats at first sight. Leaves a tenth more of envelopes without their base64 than `SMALL`,
#: in half the time; less of it than `HASTY`, in less time.
QUICK: Final[Press] = (3, zlib.Z_DEFAULT_STRATEGY)
#: Nothing that repeats is looked for: right where hardly anything does.
HASTY: Final[Press] = (9, zlib.Z_HUFFMAN_ONLY)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may hold: records, bytes of each decoded, bytes of all decoded."""

    records: int = RECORDS_MAX
    record_bytes: int = RECORD_BYTES_MAX
    decoded_bytes: int = DECODED_BYTES_MAX

    @property
    def low_bytes(self) -> int:
        """Most that the deflated part may inflate to."""
        return self.decoded_bytes + LOW_OVERHEAD_MAX

    @property
    def coded_bytes(self) -> int:
        """Most that a coded batch may measure."""
        return self.decoded_bytes + LOW_OVERHEAD_MAX


LIMITS: Final = BatchLimits()


def varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; the high bit says that more follow. Not for negatives."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def unzigzag(number: int) -> int:
    """The number `zigzag` was given."""
    return -(number // 2) - 1 if number % 2 else number // 2


class Sink:
    """What an encoder writes to."""

    __slots__ = ("nums", "ops", "raw", "text")

    def __init__(self) -> None:
        self.ops = bytearray()
        self.nums = bytearray()
        self.text = bytearray()
        self.raw = bytearray()

    def num(self, number: int) -> None:
        """Write a number."""
        self.nums += varint(number)

    def words(self, text: str) -> None:
        """Write a text."""
        self.text += text.encode("utf-8") + TEXT_END

    def mark(self) -> tuple[int, int, int, int]:
        """A place to go back to."""
        return len(self.ops), len(self.nums), len(self.text), len(self.raw)

    def back(self, mark: tuple[int, int, int, int]) -> None:
        """Forget what was written since `mark`."""
        streams = (self.ops, self.nums, self.text, self.raw)
        for stream, length in zip(streams, mark, strict=True):
            del stream[length:]

    def pack(self, press: Press = SMALL) -> bytes:
        """The batch."""
        lengths = varint(len(self.ops)) + varint(len(self.nums))
        level, strategy = press
        deflate = zlib.compressobj(
            level, zlib.DEFLATED, _RAW_DEFLATE, _MEMORY, strategy, DICTIONARY
        )
        low = deflate.compress(lengths + self.ops + self.nums + self.text) + deflate.flush()
        return b"".join((bytes([TABLE_VERSION]), low, self.raw))


class _Stream:
    """One stream being read."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise BatchRefused(BatchReason.TRUNCATED, f"{count} bytes wanted at {self.at}")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise BatchRefused(BatchReason.TRUNCATED, f"a byte wanted at {self.at}")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self, bytes_max: int) -> int:
        number = 0
        for shift in range(0, 7 * bytes_max, 7):
            byte = self.byte()
            if byte < 0x80:
                return number | byte << shift
            number |= (byte & 0x7F) << shift
        raise BatchRefused(BatchReason.BAD_VALUE, f"a number of more than {bytes_max} bytes")


class Source:
    """What a decoder reads from. Every read is paid for from the record's allowance of bytes.

    Raises:
        BatchRefused: the reason names what is wrong.
    """

    __slots__ = ("_left", "_nums", "_ops", "_raw", "_text", "limits")

    def __init__(self, batch: bytes, limits: BatchLimits) -> None:
        self.limits = limits
        low, raw = _inflate(batch, limits)
        head = _Stream(low)
        ops_bytes, nums_bytes = head.varint(_NUM_BYTES_MAX), head.varint(_NUM_BYTES_MAX)
        if ops_bytes > OPERATIONS_MAX:
            raise BatchRefused(BatchReason.TOO_MANY_OPERATIONS, str(ops_bytes))
        self._ops = _Stream(head.take(ops_bytes))
        self._nums = _Stream(head.take(nums_bytes))
        self._text = _Stream(low[head.at :])
        self._raw = _Stream(raw)
        self._left = 0

    def begin(self) -> None:
        """Give the next record its allowance."""
        self._left = self.limits.record_bytes

    def spend(self, size_bytes: int) -> None:
        """Take what a value will measure off the allowance, before it is made."""
        self._left -= size_bytes
        if self._left < 0:
            limit = self.limits.record_bytes
            raise BatchRefused(BatchReason.RECORD_TOO_LARGE, f"more than {limit} bytes")

    @property
    def is_at_end(self) -> bool:
        """True when no operation is left."""
        return self._ops.at == len(self._ops.data)

    @property
    def operations_left(self) -> int:
        """How many operations have not been read."""
        return len(self._ops.data) - self._ops.at

    def check_end(self) -> None:
        """Refuse what no operation asked for."""
        for stream in (self._nums, self._text, self._raw):
            if stream.at != len(stream.data):
                left = len(stream.data) - stream.at
                raise BatchRefused(BatchReason.TRAILING_BYTES, f"{left} bytes belong to nothing")

    def op(self) -> int:
        """The next operation."""
        return self._ops.byte()

    def num(self) -> int:
        """The next number, below 2**28."""
        return self._nums.varint(_NUM_BYTES_MAX)

    def words(self) -> str:
        """The next text."""
        try:
            return self.piece().decode("utf-8")
        except UnicodeDecodeError:
            raise BatchRefused(BatchReason.BAD_VALUE, "a text is not UTF-8") from None

    def piece(self) -> bytes:
        """The next text, which may be no UTF-8."""
        data, start = self._text.data, self._text.at
        end = data.find(TEXT_END, start, start + self._left + 1)
        if end < 0:
            self.spend(len(data) - start)
            raise BatchRefused(BatchReason.TRUNCATED, "a text does not end")
        self.spend(end - start)
        self._text.at = end + 1
        return data[start:end]

    def verbatim(self, count: int) -> bytes:
        """Bytes of the text stream as they are."""
        self.spend(count)
        return self._text.take(count)

    def raw(self, count: int) -> bytes:
        """Bytes of the raw stream."""
        self.spend(count)
        return self._raw.take(count)

    def raw_varint(self) -> int:
        """A number of the raw stream, below 2**70."""
        return self._raw.varint(_VARINT_BYTES_MAX)


def _inflate(batch: bytes, limits: BatchLimits) -> tuple[bytes, bytes]:
    """The deflated part, inflated, and the raw part that follows it."""
    if len(batch) > limits.coded_bytes:
        raise BatchRefused(BatchReason.TOO_LARGE, f"{len(batch)} bytes")
    if not batch:
        raise BatchRefused(BatchReason.TRUNCATED, "no table version")
    if batch[0] != TABLE_VERSION:
        raise BatchRefused(BatchReason.UNKNOWN_TABLE, str(batch[0]))
    inflate = zlib.decompressobj(_RAW_DEFLATE, DICTIONARY)
    try:
        low = inflate.decompress(memoryview(batch)[1:], limits.low_bytes + 1)
    except zlib.error as error:
        raise BatchRefused(BatchReason.NOT_DEFLATED, str(error)) from None
    if len(low) > limits.low_bytes:
        raise BatchRefused(BatchReason.INFLATES_TOO_FAR, f"beyond {limits.low_bytes} bytes")
    if not inflate.eof:
        raise BatchRefused(BatchReason.TRUNCATED, "the deflated part does not end")
    return low, inflate.unused_data
