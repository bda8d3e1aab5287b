"""Removals of which only the classical half is here: what they would change, if they counted.

They are no records, so they decide nothing. But an answer that would be another one with them is
told as suspect: of two readings the more restrictive one is shown until the record is here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.resolve.base import (
    FEDERATION,
    Reply,
    Row,
    Rows,
    RowSet,
    Rule,
    Status,
    Step,
    column,
)
from ciris_mesh.records.resolve.groups import members_answer
from ciris_mesh.records.resolve.occurrences import occurrences_answer
from ciris_mesh.records.resolve.view import View
from ciris_mesh.records.rules.base import Trust

_K = EnvelopeKind
#: What a removal is about, and whom it removes.
_COLUMNS = {
    _K.REVOCATION: ("revoked_key_id", "revoked_key_id"),
    _K.IDENTITY_OCCURRENCE_REVOCATION: ("identity_key_id", "occurrence_key_id"),
    _K.FAMILY_MEMBERSHIP_REVOCATION: ("family_key_id", "removed_identity_key_id"),
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: ("community_key_id", "removed_identity_key_id"),
}
#: Nothing is more restrictive, or nothing is known that could be restricted.
_FINAL = frozenset({Status.REVOKED, Status.ENDED, Status.UNKNOWN, Status.TOO_MANY})


@dataclass(frozen=True, slots=True)
class Pending:
    """A removal that was announced.

    Attributes:
        half: its envelope without post-quantum halves; the Ed25519 halves were verified.
        record: the envelope id it shall have, 64 hex digits.
        peer: who sent it ahead.
    """

    half: Envelope
    record: str
    peer: str

    @property
    def about(self) -> str:
        """The key, identity or group it is about."""
        return column(self.half, _COLUMNS[self.half.kind][0])

    @property
    def removed(self) -> str:
        """Whom it removes."""
        return column(self.half, _COLUMNS[self.half.kind][1])


class Besides:
    """Rows with some more, as if they were on the federation shelf, and without some."""

    def __init__(
        self, rows: Rows, more: Iterable[Envelope] = (), without: frozenset[bytes] = frozenset()
    ) -> None:
        self._rows = rows
        self._more = RowSet(map(Row, more))
        self._without = without

    def named(self, name: str, *, limit: int, others: int = 0) -> list[Row]:
        """See Rows."""
        rows = self._rows.named(name, limit=limit + len(self._without), others=others)
        kept = [row for row in rows if row.envelope.envelope_id not in self._without]
        decide = [row for row in kept if row.shelf == FEDERATION]
        aside = [row for row in kept if row.shelf != FEDERATION]
        return [*[*self._more.named(name, limit=limit), *decide][:limit], *aside]

    def vouched(self, name: str, vouchers: Collection[str], *, limit: int) -> list[Row]:
        """See Rows. A removal sent ahead vouches for nothing."""
        return self._rows.vouched(name, vouchers, limit=limit)

    def signers(self, name: str, *, limit: int) -> list[tuple[str, ...]]:
        """See Rows. Of rows left out the signers are told all the same: there are few."""
        more = self._more.signers(name, limit=limit)
        return [*more, *self._rows.signers(name, limit=limit)][:limit]

    def rooted(self, trust: Trust) -> Collection[str]:
        """See Rows. Removals root nobody."""
        return self._rows.rooted(trust)


def has_standing(rows: Rows, trust: Trust, at_ns: int, removal: Envelope) -> bool:
    """Would this removal count, if it was a record here? It may be one.

    False too when there is more to read than an answer may be made of.
    """
    view = View(Besides(rows, [removal], frozenset({removal.envelope_id})), trust, at_ns)
    about = column(removal, _COLUMNS[removal.kind][0])
    try:
        if removal.kind is _K.REVOCATION:
            valid = view.revocations.of(about).valid
            return any(it.envelope_id == removal.envelope_id for it, _ in valid)
        ask = (
            occurrences_answer
            if removal.kind is _K.IDENTITY_OCCURRENCE_REVOCATION
            else members_answer
        )
        removed = ask(view, about).found.removed
    except TooManyRows:
        return False
    return any(it.record == removal.envelope_id.hex() for it in removed)


def more_restrictive(
    reply: Reply,
    ask: Callable[[Rows], Reply],
    rows: Rows,
    trust: Trust,
    at_ns: int,
    pending: Sequence[Pending],
) -> Reply:
    """The reply, or a suspect one when pending removals that count would make it another.

    Args:
        ask: the question, put to other rows.
    """
    if reply.status in _FINAL:
        return reply
    standing = [it for it in pending if has_standing(rows, trust, at_ns, it.half)]
    if not standing:
        return reply
    other = ask(Besides(rows, [it.half for it in standing]))
    if (other.status, other.found) == (reply.status, reply.found):
        return reply
    steps = tuple(
        Step(
            Rule.REMOVAL_PENDING,
            about=it.removed,
            by=" ".join(it.half.signers),
            at=column(it.half, "effective_at"),
            record=it.record,
            note=it.about,
        )
        for it in standing
    )
    return replace(reply, status=Status.SUSPECT, steps=(*steps, *reply.steps))
