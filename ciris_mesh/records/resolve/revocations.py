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
from ciris_mesh.records.resolve.ancestry import Ancestry, shortest_chains
from ciris_mesh.records.resolve.base import FEDERATION, Row, column, column_ns, signed_at_ns
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.keys import is_root

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
    """

    answer: RevocationAnswer
    against: RevocationAnswer
    valid: tuple[tuple[Envelope, Say], ...]
    claims: tuple[tuple[Envelope, Say], ...]
    unread: bool

    @property
    def from_ns(self) -> int | None:
        """From when on the key is revoked; None when it is not."""
        return self.answer.effective_from_ns


def region_of(revocation: Envelope) -> str:
    """Where it was observed, as it says."""
    return column(revocation, "observed_region") or _DEFAULT_REGION


class BoundedRows(Protocol):
    """What is read from; `view.Reader` is one."""

    def rows(self, name: str) -> list[Row]:
        """All rows of a name, in one order. Raises TooManyRows."""
        ...

    def some(self, name: str) -> list[Row] | None:
        """The same, None when there are too many."""
        ...


class Revocations:
    """The revocations of keys, judged once each.

    Args:
        reader: what rows are read from.
    """

    def __init__(self, reader: BoundedRows, trust: Trust) -> None:
        self._reader = reader
        self._trust = trust
        self._stewards = frozenset(trust.roots) | trust.root_stewards
        self._ancestries: dict[str, Ancestry] = {}
        self._entitled: dict[str, list[tuple[Envelope, Say]]] = {}
        self._standing: dict[bytes, bool] = {}
        self._judged: dict[str, Revoked] = {}

    def counts(self, key_id: str, signed_ns: int) -> bool:
        """True when what the key signed at that time is not undone by a revocation of it."""
        from_ns = self.of(key_id).from_ns
        return from_ns is None or signed_ns < from_ns

    def of(self, key_id: str) -> Revoked:
        """All about the revocations of a key.

        Raises:
            TooManyRows: those who may revoke it did so too often, or cannot be told.
        """
        if key_id not in self._judged:
            self._judged[key_id] = self._judge(key_id)
        return self._judged[key_id]

    def ancestry(self, key_id: str) -> Ancestry:
        """The key's rooting chain, from the signed records alone. Raises as `of`."""
        if key_id not in self._ancestries:
            roots = [root for root in self._trust.roots if self._is_root(root)]
            self._ancestries[key_id] = shortest_chains(
                key_id, self._vouchers, self._is_vouched_by, roots
            )
        return self._ancestries[key_id]

    def _judge(self, key_id: str) -> Revoked:
        rows = self._reader.some(name("revoked", key_id))
        told = [] if rows is None else _federation(rows)
        entitled = self._may_revoke(key_id)
        says = {it.envelope_id: Say.NO_SAY for it in told}
        for it, say in entitled:
            says[it.envelope_id] = say if self._stands(it, key_id) else Say.REVOKER_REVOKED
        every = {it.envelope_id: it for it in (*told, *(it for it, _ in entitled))}.values()
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
        )

    def _may_revoke(self, key_id: str) -> list[tuple[Envelope, Say]]:
        """Revocations of a key by those who have a say over it, their own standing left aside."""
        if key_id not in self._entitled:
            rows = self._reader.some(name("revoked", key_id))
            if rows is None:  # somebody floods it with claims: ask for those that matter
                told = [
                    it for by in sorted(self._entitled_to(key_id)) for it in self._by(key_id, by)
                ]
            else:
                told = _federation(rows)
            self._entitled[key_id] = [
                (it, say) for it in told if (say := self._say(it, key_id)) in _COUNTING
            ]
        return self._entitled[key_id]

    def _entitled_to(self, key_id: str) -> frozenset[str]:
        return self._stewards | self.ancestry(key_id).above | {key_id}

    def _by(self, key_id: str, revoker: str) -> list[Envelope]:
        return _federation(self._reader.rows(name("revoked", key_id, revoker)))

    def _say(self, revocation: Envelope, key_id: str) -> Say:
        revoker = column(revocation, "revoking_key_id")
        if revoker == key_id:
            return Say.SELF
        if revoker in self._stewards:
            return Say.STEWARD
        return Say.ANCESTOR if revoker in self.ancestry(key_id).above else Say.NO_SAY

    def _stands(self, revocation: Envelope, key_id: str, depth: int = 0) -> bool:
        """False when an earlier revocation of the revoker was in effect when this was made."""
        revoker, made_ns = column(revocation, "revoking_key_id"), signed_at_ns(revocation)
        if revoker == key_id:  # a key that is out of its owner's hands may still be given up
            return True
        if depth == REVOKERS_DEPTH_MAX:
            raise TooManyRows("revokers who revoke each other", REVOKERS_DEPTH_MAX)
        if revocation.envelope_id not in self._standing:
            self._standing[revocation.envelope_id] = not any(
                signed_at_ns(it) < made_ns
                and (column_ns(it, "effective_at") or 0) <= made_ns
                and self._stands(it, revoker, depth + 1)
                for it, _ in self._may_revoke(revoker)
            )
        return self._standing[revocation.envelope_id]

    def _is_root(self, root: str) -> bool:
        records = _federation(self._reader.rows(name("vouch", root, root)))
        return any(is_root(record, self._trust) for record in records)

    def _is_vouched_by(self, key_id: str, root: str) -> bool:
        return bool(_federation(self._reader.rows(name("vouch", key_id, root))))

    def _vouchers(self, key_id: str) -> set[str]:
        records = _federation(self._reader.rows(name("key", key_id)))
        return {record.signers[0] for record in records}


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
