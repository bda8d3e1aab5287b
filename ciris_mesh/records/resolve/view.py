"""The records as one answer sees them: read once, bounded, and without what does not count.

A record does not count when its signer's key was revoked by the time it was signed; of a record
with several signers, those signatures do not count. Everything else that speaks against a record
(a removal, a withdrawal) is the business of the question.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.resolve.base import (
    FEDERATION,
    OTHERS_PER_ANSWER_MAX,
    OTHERS_PER_NAME_MAX,
    ROWS_PER_ANSWER_MAX,
    ROWS_PER_NAME_MAX,
    Row,
    Rows,
    Rule,
    Step,
    in_order,
    own_time,
    record_id,
    signed_at_ns,
)
from ciris_mesh.records.resolve.revocations import Revocations
from ciris_mesh.records.rules.base import Trust


class Reader:
    """Rows by name, each name read once and at most so many rows in all."""

    def __init__(self, rows: Rows, trust: Trust) -> None:
        self._rows = rows
        self._trust = trust
        self._rooted: Collection[str] | None = None
        self._read: dict[str, list[Row] | None] = {}
        self._vouched: dict[str, list[Row]] = {}
        self._count = self._others = self._vouched_count = 0

    def rows(self, name: str) -> list[Row]:
        """All rows of a name, in one order.

        Raises:
            TooManyRows: there are more than an answer may be made of.
        """
        found = self.some(name)
        if found is None:
            raise TooManyRows(f"records named {name}", ROWS_PER_NAME_MAX)
        return found

    def some(self, name: str) -> list[Row] | None:
        """The same, but None for a name with too many rows.

        Raises:
            TooManyRows: too many were read by other names.
        """
        if name not in self._read:
            others = max(0, min(OTHERS_PER_NAME_MAX, OTHERS_PER_ANSWER_MAX - self._others))
            found = self._rows.named(name, limit=ROWS_PER_NAME_MAX + 1, others=others)
            count = sum(row.shelf == FEDERATION for row in found)
            self._count += count
            self._others += len(found) - count
            if self._count > ROWS_PER_ANSWER_MAX:
                raise TooManyRows("records for one answer", ROWS_PER_ANSWER_MAX)
            self._read[name] = in_order(found) if count <= ROWS_PER_NAME_MAX else None
        return self._read[name]

    def vouched(self, name: str) -> list[Row]:
        """Rows of a name on other shelves for which a listed voucher ever vouched, in one order.

        Of what others brought there none counts, or whoever fills that shelf could silence them.

        Raises:
            TooManyRows: vouchers named more than an answer may be made of.
        """
        if name not in self._vouched:
            vouchers, limit = self._trust.vouchers, ROWS_PER_NAME_MAX
            found = self._rows.vouched(name, vouchers, limit=limit + 1)
            self._vouched_count += len(found)
            if len(found) > limit or self._vouched_count > ROWS_PER_ANSWER_MAX:
                raise TooManyRows(f"vouched records named {name}", limit)
            self._vouched[name] = in_order(found)
        return self._vouched[name]

    def signers(self, name: str, limit: int) -> list[tuple[str, ...]]:
        """Who signed those of the federation shelf; `limit` of them say that there may be more.

        No record is read for it, so it counts towards no limit.
        """
        return self._rows.signers(name, limit=limit)

    def rooted(self) -> Collection[str]:
        """Keys with a chain of signed records to a root of the configuration."""
        if self._rooted is None:
            self._rooted = self._rows.rooted(self._trust)
        return self._rooted

    def first(self, name: str) -> Envelope | None:
        """One of the federation shelf, where any will do."""
        return next((row.envelope for row in self._rows.named(name, limit=1)), None)

    def federation(self, name: str) -> list[Envelope]:
        """Those of the federation shelf. Raises as `rows`."""
        return [row.envelope for row in self.rows(name) if row.shelf == FEDERATION]


class View:
    """Records and trust at one instant.

    Args:
        at_ns: the instant asked about, Unix nanoseconds.
    """

    def __init__(self, rows: Rows, trust: Trust, at_ns: int) -> None:
        self._rows = rows
        self.reader = Reader(rows, trust)
        self.trust = trust
        self.at_ns = at_ns
        self.revocations = Revocations(self.reader, trust)
        self._counting: dict[str, tuple[list[Envelope], list[Envelope]]] = {}

    def counting(self, name: str) -> list[Envelope]:
        """Federation records of a name that count, each with those of its signers that do."""
        return self._split(name)[0]

    def discounted(self, name: str) -> list[Envelope]:
        """Those left with no signer: every one was revoked by the time it signed."""
        return self._split(name)[1]

    def remarks(self, *names: str) -> list[Step]:
        """Steps that say what was left aside of these names, and why."""
        steps = [
            Step(Rule.SIGNER_REVOKED, by=it.signers[0], at=own_time(it), record=record_id(it))
            for name in names
            for it in self.discounted(name)
        ]
        rows = [row for name in names for row in self.reader.rows(name)]
        aside = [row for row in rows if row.shelf != FEDERATION]
        return [*steps, Step(Rule.SET_ASIDE, count=len(aside))] if aside else steps

    def is_known(self, name: str) -> bool:
        """True when anything answers to the name, on any shelf, and be it too much to read."""
        found = self.reader.some(name)
        return found is None or bool(found)

    def afresh(self) -> View:
        """The same view with nothing read, to ask for less after it was too much."""
        return View(self._rows, self.trust, self.at_ns)

    def _split(self, name: str) -> tuple[list[Envelope], list[Envelope]]:
        if name not in self._counting:
            counting: list[Envelope] = []
            discounted: list[Envelope] = []
            for envelope in self.reader.federation(name):
                signed_ns = signed_at_ns(envelope)
                kept = tuple(
                    claim
                    for claim in envelope.claims
                    if self.revocations.counts(claim.key_id, signed_ns)
                )
                if kept:
                    counting.append(replace(envelope, claims=kept))
                else:
                    discounted.append(envelope)
            self._counting[name] = counting, discounted
        return self._counting[name]
