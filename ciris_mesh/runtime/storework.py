"""Work on whole stores: checking one, and copying one into another, of whatever engine.

A copy is no copy of tables. Every record is admitted by the target as from anywhere else, in the
order in which it came in here; afterwards ids and shelves of both are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from ciris_mesh.directory.base import COPIED, OWN, UNATTRIBUTED, Shelf, Source, StoredRow
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import FIRST_CONTACT
from ciris_mesh.records.cosigning import copy_id
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason

#: Rows read and admitted at a time: a megabyte.
PAGE_ROWS: Final = 256

#: Faults kept to be shown; all are counted.
SHOWN_MAX: Final = 100

#: Rounds of looking again at what waited for something that came behind it.
AGAIN_MAX: Final = 64

#: What depends on the configuration and the clock. A row that fails for anything else is broken.
CONFIGURED: Final = frozenset(
    {
        Reason.ROOT_STEWARDS_UNSET,
        Reason.PARTNER_STEWARDS_UNSET,
        Reason.SIGNER_NOT_STEWARD,
        Reason.STEWARDS_NOT_ENOUGH,
        Reason.HARDWARE_TYPE_NOT_ACCEPTED,
        Reason.ACCORD_EVIDENCE_STALE,
        Reason.NOT_ROOTED,
        Reason.DELEGATE_TYPE_NOT_ALLOWED,
        Reason.TIME_AHEAD,
    }
)

#: By which path a row of a shelf comes in again.
_PATHS: Final = {
    Shelf.LOCAL: OWN,
    Shelf.BRIDGED: COPIED,
    Shelf.FEDERATION: Source("import"),
}

#: (rows done, rows in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row that is not as it should be, or did not arrive."""

    kind: str
    envelope_id: str
    reason: str


@dataclass(slots=True)
class CheckReport:
    """What a store is like.

    Attributes:
        rows: looked at.
        broken: rows whose bytes, signatures or prerequisites are not what they must be.
        digests_wrong: kinds whose kept digest is not that of their rows.
        not_today: rows that today's configuration would not let in; they stay.
    """

    rows: int = 0
    broken: int = 0
    digests_wrong: tuple[str, ...] = ()
    not_today: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Nothing is broken."""
        return not self.broken and not self.digests_wrong


@dataclass(slots=True)
class CopyReport:
    """What became of a copy.

    Attributes:
        rows: read from the source.
        waiting: envelopes outside the shelves, copied with them.
        outcomes: "outcome" or "outcome:reason" -> how many rows.
        missing: rows that are not in the target, or on a lower shelf than in the source.
    """

    rows: int = 0
    waiting: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Every row stands in the target as it does in the source, or higher."""
        return not self.missing


def check_store(directory: DirectoryCore, progress: Progress, *, now_ms: int) -> CheckReport:
    """Judge every row again, and compute every digest anew. Changes nothing."""
    report = CheckReport()
    total = sum(directory.counts().values())
    for rows in _pages(directory):
        for row in rows:
            verdict = directory.would_admit(row, now_ms)
            if verdict.outcome is Outcome.ADMITTED:
                continue
            if verdict.reason in CONFIGURED:
                report.not_today += 1
            else:
                report.broken += 1
                _note(report.faults, row, verdict.reason)
        report.rows += len(rows)
        progress(report.rows, total)
    report.digests_wrong = tuple(
        kind.value
        for kind in EnvelopeKind
        if directory.digest(kind)
        != digest_of(copy_id(kind, *each) for each in directory.signers(kind).items())
    )
    return report


def copy_store(
    source: DirectoryCore, target: DirectoryCore, progress: Progress, *, now_ms: int
) -> CopyReport:
    """Admit all of `source` into `target`, then compare. What is there already stays."""
    report = CopyReport()
    total = sum(source.counts().values())
    for rows in _pages(source):
        for (kind, shelf), group in groupby(rows, key=lambda row: (row.kind, row.shelf)):
            envelopes = [row.envelope for row in group]
            target.admit_many(kind, envelopes, _PATHS[shelf], now_ms=now_ms)
        report.rows += len(rows)
        progress(report.rows, total)
    for entry, raw in source.waiting_envelopes():
        came_from = UNATTRIBUTED if entry.pool == FIRST_CONTACT else entry.source
        target.admit(entry.kind, raw, came_from, now_ms=now_ms)
        report.waiting += 1
    for _ in range(AGAIN_MAX):
        if not target.retry_due(now_ms):
            break
    _compare(source, target, report, now_ms)
    return report


def _compare(source: DirectoryCore, target: DirectoryCore, report: CopyReport, now_ms: int) -> None:
    for rows in _pages(source):
        for row in rows:
            there = target.get(row.kind, row.envelope_id)
            if there is not None and there.shelf >= row.shelf:
                _count(report.outcomes, "held")
                continue
            verdict = source.would_admit(row, now_ms)
            reason = verdict.reason or Reason.ROW_DIFFERS
            _count(report.outcomes, f"missing:{reason.value}")
            report.missing += 1
            _note(report.faults, row, reason)


def _pages(directory: DirectoryCore) -> Iterator[list[StoredRow]]:
    after = 0
    while page := list(directory.rows(limit=PAGE_ROWS, after=after)):
        after, _ = page[-1]
        yield [row for _, row in page]


def _note(faults: list[Fault], row: StoredRow, reason: Reason) -> None:
    if len(faults) < SHOWN_MAX:
        faults.append(Fault(row.kind.value, row.envelope_id.hex(), reason.value))


def _count(outcomes: dict[str, int], name: str) -> None:
    outcomes[name] = outcomes.get(name, 0) + 1
