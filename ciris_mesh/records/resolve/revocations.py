"""Whose revocations of a key count, and from when on its signatures do not.

Counting: by the key itself, by a key above it in its rooting chain, by a root or root steward of
this node's configuration. All others are claims, shown with the regions they were observed in.

A revoker may be revoked too. Its revocation counts unless one of itself, *made earlier*, was in
effect when it was made; then it is a claim. So what counts once is never undone by a later record,
as there is no way back from a revocation, and two keys cannot cancel each other. The chain is read
without regard to revocations and expiry, for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.merge import RevocationAnswer, RevocationRow, revocation_answer
from ciris_mesh.records.names import name
from ciris_mesh.records.resolve.base import FEDERATION, Row, column, column_ns, signed_at_ns
from ciris_mesh.records.resolve.vouching import NamedRows, Vouching
from ciris_mesh.records.rules.base import Trust

#: Revocations of one key by one key that are read. Honest ones are few: one, again with an earlier
#: date, again after a restore. Who says it more often is taken at the worst that could be meant:
#: whoever can fill this could revoke the key anyway, and must not cost what others ask about.
REVOCATIONS_EACH_MAX: Final = 16
#: Before everything that was ever signed.
EVER_NS: Final = 0

#: Revocations of revokers of revokers: stewards who revoke each other in turn are no more.
REVOKERS_DEPTH_MAX: Final = 32

_DEFAULT_REGION: Final = "us"


class Say(StrEnum):
    """Why a revocation counts, or does not."""

    SELF = "self"
    STEWARD = "steward"
    ANCESTOR = "ancestor"
    NO_SAY = "no_say"
    REVOKER_REVOKED = "revoker_revoked"


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a key's revocations add up to.

    Attributes:
        answer: those that count.
        against: what the others add up to among themselves.
        valid, claims: the records, each with why, in the order of `merge.ballot_order`.
        unread: there are more claims than are read; none of them is listed.
        too_often: who has a say over the key and revoked it more often than is read. It counts as
            revoked since ever, and theirs are not listed.
    """

    answer: RevocationAnswer
    against: RevocationAnswer
    valid: tuple[tuple[Envelope, Say], ...]
    claims: tuple[tuple[Envelope, Say], ...]
    unread: bool
    too_often: tuple[str, ...] = ()

    @property
    def from_ns(self) -> int | None:
        """From when on the key is revoked; None when it is not."""
        return EVER_NS if self.too_often else self.answer.effective_from_ns


def region_of(revocation: Envelope) -> str:
    """Where it was observed, as it says."""
    return column(revocation, "observed_region") or _DEFAULT_REGION


class BoundedRows(NamedRows, Protocol):
    """What is read from; `view.Reader` is one."""

    def some(self, name: str) -> list[Row] | None:
        """Rows of every shelf, None when there are too many that decide."""
        ...


@dataclass(frozen=True, slots=True)
class _Told:
    """Revocations of one key by those who have a say over it, their own standing left aside.

    Attributes:
        too_often: who said it more often than is read; none of theirs is in `revocations`.
    """

    revocations: tuple[tuple[Envelope, Say], ...] = ()
    too_often: tuple[str, ...] = ()


class Revocations:
    """The revocations of keys, judged once each.

    Args:
        reader: what rows are read from.
    """

    def __init__(self, reader: BoundedRows, trust: Trust) -> None:
        self._reader = reader
        self._trust = trust
        self._stewards = frozenset(trust.roots) | trust.root_stewards
        self.vouching = Vouching(reader, trust)
        self._told: dict[str, _Told] = {}
        self._standing: dict[bytes, bool] = {}
        self._from_ns: dict[str, int | None] = {}
        self._judged: dict[tuple[str, bool], Revoked] = {}

    def counts(self, key_id: str, signed_ns: int) -> bool:
        """True when what the key signed at that time is not undone by a revocation of it.

        Raises as `from_ns`.
        """
        from_ns = self.from_ns(key_id)
        return from_ns is None or signed_ns < from_ns

    def from_ns(self, key_id: str) -> int | None:
        """From when on a key is revoked. Claims are not read for it: anybody may make those.

        Raises:
            TooManyRows: who may revoke it cannot be told.
        """
        if key_id not in self._from_ns:
            told = self._may_revoke(key_id)
            stands = [it for it, _ in told.revocations if self._stands(it, key_id)]
            effective = [column_ns(it, "effective_at") or 0 for it in stands]
            self._from_ns[key_id] = EVER_NS if told.too_often else min(effective, default=None)
        return self._from_ns[key_id]

    def of(self, key_id: str, *, claims: bool = True) -> Revoked:
        """All about the revocations of a key. Raises as `from_ns`.

        Args:
            claims: read also what does not count.
        """
        if (key_id, claims) not in self._judged:
            rows = self._reader.some(name("revoked", key_id)) if claims else []
            self._judged[key_id, claims] = self._judge(key_id, rows)
        return self._judged[key_id, claims]

    def _judge(self, key_id: str, rows: list[Row] | None) -> Revoked:
        may = self._may_revoke(key_id)
        told = [] if rows is None else _federation(rows)
        told = [it for it in told if column(it, "revoking_key_id") not in may.too_often]
        says = {it.envelope_id: Say.NO_SAY for it in told}
        for it, say in may.revocations:
            says[it.envelope_id] = say if self._stands(it, key_id) else Say.REVOKER_REVOKED
        every = {it.envelope_id: it for it in (*told, *(it for it, _ in may.revocations))}.values()
        valid = [it for it in every if says[it.envelope_id] in _COUNTING]
        claims = [it for it in every if says[it.envelope_id] not in _COUNTING]
        answer, valid = _added_up(key_id, valid)
        against, claims = _added_up(key_id, claims)
        return Revoked(
            answer=answer,
            against=against,
            valid=tuple((it, says[it.envelope_id]) for it in valid),
            claims=tuple((it, says[it.envelope_id]) for it in claims),
            unread=rows is None,
            too_often=may.too_often,
        )

    def _may_revoke(self, key_id: str) -> _Told:
        if key_id not in self._told:
            named = name("revoked", key_id)
            count = len(self._reader.signers(named, REVOCATIONS_EACH_MAX + 1))
            if count > REVOCATIONS_EACH_MAX:  # perhaps a flood of claims: ask for those that matter
                self._told[key_id] = self._by_each(key_id)
            else:
                told = self._reader.federation(named) if count else []
                said = ((it, self._say(it, key_id)) for it in told)
                self._told[key_id] = _Told(tuple((it, say) for it, say in said if say in _COUNTING))
        return self._told[key_id]

    def _by_each(self, key_id: str) -> _Told:
        revocations: list[tuple[Envelope, Say]] = []
        too_often: list[str] = []
        entitled = self._stewards | self.vouching.ancestry(key_id).above | {key_id}
        for by in sorted(entitled):
            named = name("revoked", key_id, by)
            count = len(self._reader.signers(named, REVOCATIONS_EACH_MAX + 1))
            if count > REVOCATIONS_EACH_MAX:
                too_often.append(by)
            elif count:
                told = self._reader.federation(named)
                revocations += [(it, self._say(it, key_id)) for it in told]
        return _Told(tuple(revocations), tuple(too_often))

    def _say(self, revocation: Envelope, key_id: str) -> Say:
        revoker = column(revocation, "revoking_key_id")
        if revoker == key_id:
            return Say.SELF
        if revoker in self._stewards:
            return Say.STEWARD
        return Say.ANCESTOR if revoker in self.vouching.ancestry(key_id).above else Say.NO_SAY

    def _stands(self, revocation: Envelope, key_id: str, depth: int = 0) -> bool:
        """False when an earlier revocation of the revoker was in effect when this was made.

        Of those that were said too often none can have been: what counts once stays.
        """
        revoker, made_ns = column(revocation, "revoking_key_id"), signed_at_ns(revocation)
        if revoker == key_id:  # a key that is out of its owner's hands may still be given up
            return True
        if depth == REVOKERS_DEPTH_MAX:
            raise TooManyRows("revokers who revoke each other", REVOKERS_DEPTH_MAX)
        if revocation.envelope_id not in self._standing:
            told = self._may_revoke(revoker)
            self._standing[revocation.envelope_id] = not any(
                signed_at_ns(it) < made_ns
                and (column_ns(it, "effective_at") or 0) <= made_ns
                and self._stands(it, revoker, depth + 1)
                for it, _ in told.revocations
            )
        return self._standing[revocation.envelope_id]


_COUNTING: Final = frozenset({Say.SELF, Say.STEWARD, Say.ANCESTOR})


def _federation(rows: list[Row]) -> list[Envelope]:
    return [row.envelope for row in rows if row.shelf == FEDERATION]


def _added_up(
    key_id: str, revocations: Sequence[Envelope]
) -> tuple[RevocationAnswer, list[Envelope]]:
    """What these add up to if all of them counted, and the records in the order of the ballot."""
    by_row: dict[RevocationRow, Envelope] = {}
    for it in sorted(revocations, key=lambda it: it.envelope_id):
        by_row.setdefault(_row(it), it)
    revokers = {row.revoking_key_id for row in by_row}
    answer = revocation_answer(by_row, key_id, revokers, ())
    return answer, [by_row[row] for row in answer.valid]


def _row(revocation: Envelope) -> RevocationRow:
    return RevocationRow(
        revoking_key_id=column(revocation, "revoking_key_id"),
        revoked_at_ns=column_ns(revocation, "revoked_at") or 0,
        effective_at_ns=column_ns(revocation, "effective_at") or 0,
        region=region_of(revocation),
        content_hash=bytes.fromhex(column(revocation, "original_content_hash")),
    )
