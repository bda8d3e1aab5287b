"""Bundles: records in a file, their bytes as they are, each with its own checksum.

    ciris-mesh bundle 1\\n
    key 5312 9f86d081...\\n              kind, length in bytes, SHA-256 over kind, 00, envelope
    {"record": ...}\\n                   the envelope, verbatim, and a line feed
    ...
    end 2 60303ae2...\\n                 how many, SHA-256 of their SHA-256 values in order

A checksum locates damage; it proves nothing about who signed. What stands in a bundle is admitted
like any other record. Damage costs the records it hits: reading goes on at the next line that
begins a record whose checksum is right.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from ciris_mesh.errors import DecodeError
from ciris_mesh.records.envelope import ENVELOPE_BYTES_MAX
from ciris_mesh.records.kinds import EnvelopeKind

MAGIC: Final = b"ciris-mesh bundle 1\n"
_ANY_VERSION: Final = re.compile(rb"ciris-mesh bundle ([1-9][0-9]{0,5})\n")

#: The longest line is a kind of at most 40 letters, a length and 64 hex digits.
LINE_BYTES_MAX: Final = 128
#: Every line that looks like a record's and is not costs hashing up to 64 KiB again. After this
#: many a file is not damaged but made to keep us busy, or beyond repair.
FALSE_STARTS_MAX: Final = 10_000

_RECORD: Final = re.compile(rb"([a-z][a-z_]{0,39}) (0|[1-9][0-9]{0,8}) ([0-9a-f]{64})\n")
_END: Final = re.compile(rb"end (0|[1-9][0-9]{0,17}) ([0-9a-f]{64})\n")
_LINE_FEED: Final = ord("\n")
_KIND_OF: Final = {kind.value.encode(): kind for kind in EnvelopeKind}


@dataclass(frozen=True, slots=True)
class BundledRecord:
    """One record whose bytes are as they were written.

    Attributes:
        offset: where its line begins in the file, in bytes.
        envelope_offset: where its envelope does.
    """

    kind: EnvelopeKind
    envelope: bytes
    offset: int
    envelope_offset: int


@dataclass(frozen=True, slots=True)
class UnknownRecord:
    """An intact record of a kind this program does not know. Nothing is done with it."""

    kind: str
    offset: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of the file that says nothing: `reason` is stable, the rest tells people where.

    Attributes:
        reason: "checksum", "not_a_record", "too_large", "cut_short", "after_end" or
            "records_missing" (the end line counts other records than were read).
    """

    reason: str
    offset: int
    size_bytes: int


Item: TypeAlias = BundledRecord | UnknownRecord | Damage


class _Found(Enum):
    """What the buffer starts with, when that is no item."""

    NEEDS_MORE = "needs more"  # not all of it is here
    NOTHING = "nothing"  # a line that was skipped
    END = "end"  # the end line


class BundleWriter:
    """Makes the bytes of a bundle, piece by piece."""

    def __init__(self) -> None:
        self._count = 0
        self._running = hashlib.sha256()

    @property
    def count(self) -> int:
        """Records so far."""
        return self._count

    def begin(self) -> bytes:
        """What a bundle starts with."""
        return MAGIC

    def record(self, kind: EnvelopeKind, envelope: bytes) -> bytes:
        """One record."""
        digest = _checksum(kind.value.encode(), envelope)
        self._count += 1
        self._running.update(digest.digest())
        head = f"{kind.value} {len(envelope)} {digest.hexdigest()}\n"
        return head.encode() + envelope + b"\n"

    def end(self) -> bytes:
        """What a bundle ends with; without it, it counts as cut short."""
        return f"end {self._count} {self._running.hexdigest()}\n".encode()


class BundleReader:
    """Takes the bytes of a bundle in pieces of any size and tells what they hold.

    Holds at most one envelope, one line and the piece just given. Items come in file order.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0  # of the buffer's first byte in the file
        self._begun = False
        self._ended = False
        self._count = 0
        self._running = hashlib.sha256()
        self._after_record = False  # what separates records comes next
        self._in_line = False  # the buffer starts within a line that is skipped
        self._damaged_from: int | None = None
        self._damaged_why = ""
        self._any_damage = False
        self._false_starts = 0

    @property
    def is_complete(self) -> bool:
        """True when the end line came and everything before it was intact."""
        return self._ended and not self._any_damage

    def feed(self, data: bytes) -> Iterator[Item]:
        """Take the next bytes. Exhaust the iterator before feeding again.

        Raises:
            DecodeError: not a bundle, one of a newer version, or damaged beyond repair.
        """
        self._buffer += data
        return self._items(is_last=False)

    def close(self) -> Iterator[Item]:
        """Say that there are no more bytes. Raises as `feed`."""
        return self._items(is_last=True)

    def _items(self, *, is_last: bool) -> Iterator[Item]:
        if not self._begun and not self._begin(is_last=is_last):
            return
        while self._buffer:
            offset = self._offset
            found = self._next(is_last=is_last)
            if found is _Found.NEEDS_MORE:
                break
            if found is not _Found.NOTHING:
                yield from self._settle_damage(offset)
            if not isinstance(found, _Found):
                yield found
        if is_last:
            was_cut = self._damaged_from is not None and self._damaged_why == "cut_short"
            yield from self._settle_damage(self._offset)
            if not self._ended and not was_cut:
                self._any_damage = True
                yield Damage("cut_short", self._offset, 0)

    def _begin(self, *, is_last: bool) -> bool:
        line = bytes(self._buffer[:LINE_BYTES_MAX]).partition(b"\n")
        if not line[1] and len(self._buffer) < LINE_BYTES_MAX and not is_last:
            return False
        version = _ANY_VERSION.fullmatch(line[0] + line[1])
        if version is None:
            raise DecodeError("this is no ciris-mesh bundle (its first line says otherwise)")
        if line[0] + line[1] != MAGIC:
            number = version[1].decode()
            raise DecodeError(f"bundle version {number} needs a newer ciris-mesh; this one reads 1")
        self._drop(len(MAGIC))
        self._begun = True
        return True

    def _next(self, *, is_last: bool) -> Item | _Found:
        """Take what the buffer starts with."""
        if self._after_record:
            return self._line_feed()
        if self._in_line:
            return self._skip_line()
        end = self._buffer.find(b"\n", 0, LINE_BYTES_MAX)
        if end < 0 and len(self._buffer) < LINE_BYTES_MAX and not is_last:
            return _Found.NEEDS_MORE
        line = bytes(self._buffer[: end + 1])
        if self._ended:
            return self._skip("after_end")
        closing = _END.fullmatch(line)
        if closing is not None:
            return self._end(closing, is_last=is_last)
        record = _RECORD.fullmatch(line)
        if record is not None:
            return self._record(record, is_last=is_last)
        return self._skip("cut_short" if is_last and end < 0 else "not_a_record")

    def _record(self, line: re.Match[bytes], *, is_last: bool) -> Item | _Found:
        size = int(line[2])
        if size > ENVELOPE_BYTES_MAX:
            return self._skip("too_large")
        start, end = line.end(), line.end() + size
        if len(self._buffer) < end:
            return self._false_start("cut_short") if is_last else _Found.NEEDS_MORE
        envelope = bytes(self._buffer[start:end])
        digest = _checksum(line[1], envelope)
        if digest.hexdigest().encode() != line[3]:
            return self._false_start("checksum")
        self._count += 1
        self._running.update(digest.digest())
        offset = self._offset
        self._drop(end)
        self._after_record = True
        kind = _KIND_OF.get(line[1])
        if kind is None:
            return UnknownRecord(line[1].decode(), offset)
        return BundledRecord(kind, envelope, offset, offset + start)

    def _end(self, line: re.Match[bytes], *, is_last: bool) -> Item | _Found:
        if self._damaged_from is None:
            return self._close_with(line)
        # Within damage it may be part of a record: it is the end when nothing follows.
        if len(self._buffer) > line.end():
            return self._skip("not_a_record")
        return self._close_with(line) if is_last else _Found.NEEDS_MORE

    def _close_with(self, line: re.Match[bytes]) -> Item | _Found:
        offset, self._ended = self._offset, True
        said = int(line[1]), line[2].decode()
        self._drop(line.end())
        if self._any_damage or said == (self._count, self._running.hexdigest()):
            return _Found.END
        self._any_damage = True
        return Damage("records_missing", offset, line.end())

    def _false_start(self, reason: str) -> _Found:
        self._false_starts += 1
        if self._false_starts > FALSE_STARTS_MAX:
            raise DecodeError(
                f"damaged beyond repair: {FALSE_STARTS_MAX} broken records by byte {self._offset}; "
                "get another copy of this bundle"
            )
        return self._skip(reason)

    def _skip(self, reason: str) -> _Found:
        """Give up on the line the buffer starts with: it belongs to a damaged stretch."""
        self._note_damage(reason)
        return self._skip_line()

    def _note_damage(self, reason: str) -> None:
        if self._damaged_from is None:
            self._damaged_from, self._damaged_why = self._offset, reason
            self._any_damage = True

    def _line_feed(self) -> _Found:
        """Take what separates a record from the next line. Another byte there costs no record."""
        self._after_record = False
        if self._buffer[0] != _LINE_FEED:
            self._note_damage("not_a_record")
        self._drop(1)
        return _Found.NOTHING

    def _skip_line(self) -> _Found:
        end = self._buffer.find(b"\n")
        self._in_line = end < 0  # the rest of a long line has not come yet
        self._drop(len(self._buffer) if end < 0 else end + 1)
        return _Found.NOTHING

    def _settle_damage(self, until: int) -> Iterator[Damage]:
        """Name the damaged stretch that ends before `until`."""
        if self._damaged_from is not None:
            start, self._damaged_from = self._damaged_from, None
            yield Damage(self._damaged_why, start, until - start)

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size


def _checksum(kind: bytes, envelope: bytes) -> hashlib._Hash:
    return hashlib.sha256(kind + b"\0" + envelope)
