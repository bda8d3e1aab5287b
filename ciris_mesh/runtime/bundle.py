"""Bundles on disk: every federation record of a node into one file, and back in through admission.

Both directions stream, so the size of a file never matters. What is read from a bundle is admitted
like anything else; a bundle is a carrier, not an authority. An import that was interrupted is
simply run again: what is held already costs a comparison each.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from ciris_mesh.directory.base import ReplicationDirectory, Shelf, Source
from ciris_mesh.errors import DecodeError, OperatorError
from ciris_mesh.records.bundle import (
    BundledRecord,
    BundleReader,
    BundleWriter,
    Damage,
    Item,
    UnknownRecord,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.runtime.files import sync_directory

#: Envelopes admitted in one go: as much as one Deliver, so that a node asked to import spends no
#: longer on it than on a peer's batch, and a hex- or base64-coded request stays below 1 MiB.
BATCH_BYTES_MAX: Final = 512 * 1024
BATCH_RECORDS_MAX: Final = 500

#: Rows looked at for one page of an export: at most 4 MiB of envelopes, 5.6 MiB in base64, in an
#: answer of at most 8 MiB.
PAGE_ROWS: Final = 64

#: Deferred records remembered by their place in the file, to be looked at again: 10 MB at worst.
LATER_MAX: Final = 100_000

#: Times they are looked at again. The directory itself releases what waits for a key; only what
#: fell out of its bounded pool needs this, and then a chain of prerequisites one pass a link.
LATER_PASSES_MAX: Final = 8

#: Damaged stretches listed one by one; all are counted.
DAMAGE_LISTED_MAX: Final = 100

_READ_BYTES: Final = 256 * 1024
_IMPORT: Final = Source("import")
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})

#: (records done, bytes done)
Progress: TypeAlias = Callable[[int, int], None]
Offered: TypeAlias = tuple[EnvelopeKind, bytes]
Answer: TypeAlias = tuple[Outcome, Reason]


@dataclass(frozen=True, slots=True)
class Page:
    """Some federation rows in admission order.

    Attributes:
        rows: (position, kind, envelope).
        after: the position looked at last; where the next page begins.
        is_last: there is nothing after it.
    """

    rows: tuple[tuple[int, EnvelopeKind, bytes], ...]
    after: int
    is_last: bool


#: (kind or None for all, after position) -> the next page.
Pages: TypeAlias = Callable[[EnvelopeKind | None, int], Page]


def page_of(directory: ReplicationDirectory, kind: EnvelopeKind | None, after: int) -> Page:
    """Read one page of what a bundle may hold: the federation shelf."""
    found = list(directory.rows(kind, limit=PAGE_ROWS, after=after))
    rows = tuple(
        (position, row.kind, row.envelope)
        for position, row in found
        if row.shelf is Shelf.FEDERATION
    )
    return Page(rows, found[-1][0] if found else after, len(found) < PAGE_ROWS)


def bundled_rows(pages: Pages, kinds: Collection[EnvelopeKind]) -> Iterator[Offered]:
    """What goes into a bundle: all keys first, then the rest in the order it was admitted.

    So a fresh node admits a bundle in one pass: whatever a record needs came before it.
    """
    keys_until = 0
    if EnvelopeKind.KEY in kinds:
        for position, kind, envelope in _walk(pages, EnvelopeKind.KEY):
            keys_until = position
            yield kind, envelope
    if set(kinds) == {EnvelopeKind.KEY}:
        return
    only = next(iter(kinds)) if len(kinds) == 1 else None
    for position, kind, envelope in _walk(pages, only):
        came_late = kind is not EnvelopeKind.KEY or position > keys_until
        if kind in kinds and came_late:
            yield kind, envelope


def _walk(pages: Pages, kind: EnvelopeKind | None) -> Iterator[tuple[int, EnvelopeKind, bytes]]:
    page = Page((), 0, is_last=False)
    while not page.is_last:
        page = pages(kind, page.after)
        yield from page.rows


def write_bundle(sink: BinaryIO, rows: Iterator[Offered], progress: Progress) -> int:
    """Write a bundle to an open file or pipe; returns how many records it holds."""
    writer = BundleWriter()
    done = sink.write(writer.begin())
    for kind, envelope in rows:
        done += sink.write(writer.record(kind, envelope))
        progress(writer.count, done)
    sink.write(writer.end())
    sink.flush()
    return writer.count


def export_bundle(
    path: Path, rows: Iterator[Offered], progress: Progress, *, replace: bool = False
) -> int:
    """Write a bundle to `path`, whole or not at all, mode 0600, read back before it gets its name.

    Returns:
        How many records it holds.

    Raises:
        OperatorError: the file is there and `replace` is False, or reads back differently.
        OSError: the disk said no; nothing of the new file remains.
    """
    if not replace and os.path.lexists(path):
        raise OperatorError(_there_already(path))
    staged = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(staged, flags, 0o600), "w+b") as file:
            count = write_bundle(file, rows, progress)
            os.fsync(file.fileno())
            file.seek(0)
            _read_back(path, file, count)
        give_name(staged, path, replace=replace)
    except BaseException:
        with contextlib.suppress(OSError):
            staged.unlink()
        raise
    return count


def _read_back(path: Path, file: BinaryIO, count: int) -> None:
    reader = BundleReader()
    records = sum(isinstance(item, BundledRecord) for item in items(reader, file))
    if not reader.is_complete or records != count:
        raise OperatorError(f"{path} does not read back as written; check the disk and try again")


def give_name(staged: Path, path: Path, *, replace: bool) -> None:
    """Let a file written beside its place become `path`, durably.

    Raises:
        OperatorError: the name was taken meanwhile, and `replace` is False.
        OSError: the disk said no.
    """
    if replace:
        os.replace(staged, path)
    else:
        _take_name(staged, path)
    sync_directory(path.parent)


def _take_name(staged: Path, path: Path) -> None:
    try:
        os.link(staged, path)  # unlike rename, this fails when the name is taken meanwhile
        staged.unlink()
    except FileExistsError:
        raise OperatorError(_there_already(path)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(staged, path)  # a card or stick whose file system has no links


def _there_already(path: Path) -> str:
    return f"{path} is there already; choose another name, or add --force to replace it"


def items(reader: BundleReader, source: BinaryIO) -> Iterator[Item]:
    """What a reader finds in the rest of an open file."""
    while data := source.read(_READ_BYTES):
        yield from reader.feed(data)
    yield from reader.close()


@dataclass(slots=True)
class ImportReport:
    """What became of a bundle.

    Attributes:
        read: records read from the file, intact ones of any kind.
        outcomes: (outcome, reason) -> records. What was deferred and let in later in the same
            import counts as admitted.
        damage: the first stretches of the file that could not be read.
        damaged: how many there are.
        gave_up: why reading ended before the file did; "" when it did not.
    """

    read: int = 0
    outcomes: Counter[Answer] = field(default_factory=Counter)
    damage: list[Damage] = field(default_factory=list)
    damaged: int = 0
    gave_up: str = ""

    @property
    def is_clean(self) -> bool:
        """True when the whole file was read and nothing in it was malformed or refused."""
        bad = (Outcome.MALFORMED, Outcome.REFUSED)
        return not (self.damaged or self.gave_up or any(one in bad for one, _ in self.outcomes))

    def of(self, outcome: Outcome) -> int:
        """Records with this outcome, whatever the reason."""
        return sum(count for (one, _), count in self.outcomes.items() if one is outcome)


#: Admits records of mixed kinds; one answer each, in order.
Admit: TypeAlias = Callable[[Sequence[Offered]], Sequence[Answer]]


def admit_mixed(
    directory: ReplicationDirectory, offered: Sequence[Offered], *, now_ms: int
) -> list[Answer]:
    """Admit records of several kinds, keys first; one answer each, in the order given."""
    answers: list[Answer | None] = [None] * len(offered)
    for kind in EnvelopeKind:
        places = [place for place, (one, _) in enumerate(offered) if one is kind]
        if places:
            envelopes = [offered[place][1] for place in places]
            verdicts = directory.admit_many(kind, envelopes, _IMPORT, now_ms=now_ms)
            for place, verdict in zip(places, verdicts, strict=True):
                answers[place] = verdict.outcome, verdict.reason
    return [answer for answer in answers if answer is not None]


def import_bundle(source: BinaryIO, admit: Admit, progress: Progress) -> ImportReport:
    """Read a bundle to its end and admit what it holds, in batches.

    Raises:
        DecodeError: not a bundle, or one of a newer version. Nothing was admitted.
        MeshError: what `admit` raised; everything it answered before is stored.
    """
    return _Import(source, admit, progress).run()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the file an envelope stands that was deferred, and what was said of it."""

    kind: EnvelopeKind
    offset: int
    size: int
    answer: Answer


class _Import:
    """One import under way."""

    def __init__(self, source: BinaryIO, admit: Admit, progress: Progress) -> None:
        self._source = source
        self._admit = admit
        self._progress = progress
        self._report = ImportReport()
        self._batch: list[BundledRecord] = []
        self._batch_bytes = 0
        self._later: list[_Place] = []
        self._can_seek = source.seekable()

    def run(self) -> ImportReport:
        reader = BundleReader()
        begun = False
        try:
            for item in items(reader, self._source):
                begun = True
                self._take(item)
        except DecodeError as error:
            if not begun:
                raise
            self._report.gave_up = str(error)
        self._flush()
        self._look_again()
        return self._report

    def _take(self, item: Item) -> None:
        match item:
            case BundledRecord():
                size = len(item.envelope)
                is_full = len(self._batch) >= BATCH_RECORDS_MAX
                if is_full or self._batch_bytes + size > BATCH_BYTES_MAX:
                    self._flush()
                self._batch.append(item)
                self._batch_bytes += size
                self._report.read += 1
            case UnknownRecord():
                self._report.read += 1
                self._report.outcomes[Outcome.REFUSED, Reason.UNKNOWN_KIND] += 1
            case Damage():
                self._report.damaged += 1
                if len(self._report.damage) < DAMAGE_LISTED_MAX:
                    self._report.damage.append(item)

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        answers = self._admit([(item.kind, item.envelope) for item in batch])
        for item, answer in zip(batch, answers, strict=True):
            self._report.outcomes[answer] += 1
            if _may_change(answer) and self._can_seek and len(self._later) < LATER_MAX:
                self._later.append(
                    _Place(item.kind, item.envelope_offset, len(item.envelope), answer)
                )
        self._progress(self._report.read, batch[-1].envelope_offset + len(batch[-1].envelope))

    def _look_again(self) -> None:
        """Ask once more for what had to wait, as long as that lets something in."""
        for _ in range(LATER_PASSES_MAX):
            waiting, self._later = self._later, []
            for batch in _batches(waiting):
                self._ask_again(batch)
            if len(self._later) in (0, len(waiting)):
                return

    def _ask_again(self, batch: Sequence[_Place]) -> None:
        offered = []
        for place in batch:
            self._source.seek(place.offset)
            offered.append((place.kind, self._source.read(place.size)))
        for place, answer in zip(batch, self._admit(offered), strict=True):
            self._report.outcomes[place.answer] -= 1
            if answer[0] is Outcome.DUPLICATE:  # it came in meanwhile, when its key did
                answer = Outcome.ADMITTED, Reason.NONE
            self._report.outcomes[answer] += 1
            if _may_change(answer):
                self._later.append(_Place(place.kind, place.offset, place.size, answer))
        self._report.outcomes = +self._report.outcomes


def _may_change(answer: Answer) -> bool:
    return answer[0] is Outcome.DEFERRED or answer[1] is Reason.POOL_FULL


def _batches(places: Sequence[_Place]) -> Iterator[list[_Place]]:
    batch: list[_Place] = []
    size = 0
    for place in places:
        if batch and (len(batch) >= BATCH_RECORDS_MAX or size + place.size > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += place.size
    if batch:
        yield batch
