"""Which organization, membership and partner record counts?

    organization, membership   the latest asserted_at, ties to the smallest attestation id; once
                               one of its records is withdrawn or deactivated, none, for good
    partner record             the highest revision, then revoked before suspended before active

Organizations and memberships count only when whoever signed them could say so then: a root steward
of this node's configuration, or an admin whose own grant counted and had not ended before. Grants
are gone through in the order of their times, so every admin leads back to a root steward. Source:
records-and-protocol.md, sections 3.7, 4.1a and 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from ciris_mesh.records.authority import OrgRole, grant_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.jsontext import JsonNumber
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.merge import (
    OperationalRow,
    PartnerRow,
    first_withdrawal,
    monotonic_quorum,
    withdrawal_forward_only,
)
from ciris_mesh.records.names import name
from ciris_mesh.records.resolve.base import (
    SHOWN_MAX,
    Reply,
    Rule,
    Status,
    Step,
    column,
    column_ns,
    made_at_ns,
    own_time,
    record_id,
    shown,
)
from ciris_mesh.records.resolve.facts import Judge
from ciris_mesh.records.resolve.view import View

_ENDED: Final = "deactivated"

#: What a record is asked for first.
_TOLD: Final[Mapping[EnvelopeKind, tuple[str, ...]]] = {
    EnvelopeKind.ORGANIZATION: ("name", "org_type", "status"),
    EnvelopeKind.ORG_MEMBERSHIP: ("role", "status"),
    EnvelopeKind.PARTNER_RECORD: ("license_type", "max_autonomy_tier", "status"),
}


@dataclass(frozen=True, slots=True)
class Winner:
    """The record that counts. `columns`: what it says, without signatures and signed bytes."""

    record: str
    attestation_id: str
    asserted_at: str
    by: tuple[str, ...]
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Loser:
    """A record that lost. `why`: later, tie, revision, stricter, ended or not_entitled."""

    record: str
    attestation_id: str
    asserted_at: str
    why: str


@dataclass(frozen=True, slots=True)
class WinnerFound:
    """Which record counts at that time.

    Attributes:
        winner: None when there is none, or the group was ended.
        ended_by: the envelope id that ended it for good; "" when none did.
        superseded: at most 100; `superseded_count` is exact.
    """

    winner: Winner | None
    ended_by: str
    superseded: tuple[Loser, ...]
    superseded_count: int


def organization_answer(view: View, org_id: str, more: str = "") -> Reply:
    """Which record of this organization counts at that time?"""
    named = name("organization", org_id)
    return _operational(view, named, Admins(view, org_id))


def membership_answer(view: View, org_id: str, more: str = "") -> Reply:
    """Which membership of the key `more` in this organization counts at that time?"""
    admins = Admins(view, org_id)
    reply = _operational(view, name("membership", org_id, more), admins)
    found = reply.found
    end = _organization_end(view, org_id, admins)
    if end is None or not isinstance(found, WinnerFound) or found.winner is None:
        return reply
    ended = replace(found, winner=None, ended_by=record_id(end))
    return Reply(Status.ENDED, ended, (*reply.steps, _step(Rule.ORGANIZATION_ENDED, end)))


def partner_answer(view: View, license_id: str, more: str = "") -> Reply:
    """Which partner record of this license counts at that time?"""
    named = name("license", license_id)
    if not view.is_known(named):
        return Reply(Status.UNKNOWN, WinnerFound(None, "", (), 0))
    judge = Judge(view)
    steps = view.remarks(named)
    records, others = _made_by_then(view, named)
    signed = [it for it in records if judge.finding(it).is_fine]
    unsigned = [it for it in records if it not in signed]
    rows = {_partner_row(it, view.at_ns): it for it in signed}
    best = monotonic_quorum(rows)
    gone = min((row for row in rows if row.is_withdrawn), key=_tie, default=None)
    winner = rows[best] if best is not None else None
    losers = [_loser(it, _partner_why(it, winner)) for it in signed if it is not winner]
    losers += [_loser(it, "stewards") for it in unsigned]
    steps += [_step(Rule.STEWARDS_SHORT, it) for it in unsigned[:SHOWN_MAX]]
    if gone is not None:
        steps.append(_step(Rule.WITHDRAWN_FOR_GOOD, rows[gone]))
        losers = [it for it in losers if it.record != rows[gone].envelope_id.hex()]
        return _reply(Status.ENDED, steps, None, rows[gone], losers)
    if winner is None:
        return _reply(Status.EMPTY, [*steps, *_nothing(others)], None, None, losers)
    revision = _number(winner, "revision")
    stewards = len(set(winner.signers) & view.trust.partner_stewards)
    steps.append(_step(Rule.STEWARDS_ENOUGH, winner, stewards, view.trust.partner_threshold))
    steps.append(_wins(Rule.REVISION_WINS, winner, revision))
    return _reply(*_partner_status(view, winner, steps), winner, None, losers)


# -- organizations and memberships -----------------------------------------------------------------


class Admins:
    """Who could appoint in one organization, at any time.

    Records at one instant are looked at together, and an end counts for what comes after its
    instant: so their order says nothing.
    """

    def __init__(self, view: View, org_id: str) -> None:
        self._view = view
        self._org_id = org_id
        self._counting: dict[str, list[Envelope]] = {}
        self._grow()

    def may_sign(self, record: Envelope) -> bool:
        """True when the signer of a record could say it when it was made."""
        return self.is_admin(column(record, "attesting_key_id"), made_at_ns(record))

    def is_admin(self, key_id: str, at_ns: int) -> bool:
        """True for a root steward, and for whoever held org_admin and had not lost it before."""
        return self.granter(key_id, at_ns) is not None

    def granter(self, key_id: str, at_ns: int) -> str | None:
        """Who made the key an admin: itself for a root steward; None when it is none."""
        if key_id in self._view.trust.root_stewards:
            return key_id
        records = [it for it in self._counting.get(key_id, ()) if made_at_ns(it) <= at_ns]
        if any((ended_ns := _ended_ns(it)) is not None and ended_ns < at_ns for it in records):
            return None
        standing = {_operational_row(it, at_ns): it for it in records if _ended_ns(it) is None}
        winner = withdrawal_forward_only(standing)
        if winner is None or not _grants_admin(standing[winner], at_ns):
            return None
        return column(standing[winner], "attesting_key_id")

    def _grow(self) -> None:
        admins = {column(it, "user_id") for it in self._view.counting(name("admins", self._org_id))}
        records = [
            it
            for user_id in sorted(admins)
            for it in self._view.counting(name("membership", self._org_id, user_id))
        ]
        records.sort(key=lambda it: (made_at_ns(it), it.envelope_id))
        for _, at_once in groupby(records, key=made_at_ns):
            self._take(list(at_once))

    def _take(self, waiting: list[Envelope]) -> None:
        progress = True
        while progress:
            now = [it for it in waiting if self.may_sign(it)]
            waiting = [it for it in waiting if it not in now]
            for record in now:
                self._counting.setdefault(column(record, "user_id"), []).append(record)
            progress = bool(now)


def _operational(view: View, named: str, admins: Admins) -> Reply:
    if not view.is_known(named):
        return Reply(Status.UNKNOWN, WinnerFound(None, "", (), 0))
    steps = view.remarks(named)
    records, others = _made_by_then(view, named)
    entitled = [it for it in records if admins.may_sign(it)]
    refused = [it for it in records if it not in entitled]
    steps += [_step(Rule.NOT_ENTITLED, it) for it in refused[:SHOWN_MAX]]
    rows = {_operational_row(it, view.at_ns): it for it in entitled}
    best, end = withdrawal_forward_only(rows), first_withdrawal(rows)
    winner = rows[best] if best is not None else None
    losers = [_loser(it, _why(it, winner)) for it in entitled if it is not winner]
    losers += [_loser(it, "not_entitled") for it in refused]
    if end is not None:
        ending = rows[end]
        steps.append(_step(Rule.ENDED_FOR_GOOD, ending))
        losers = [it for it in losers if it.record != record_id(ending)]
        return _reply(Status.ENDED, steps, None, ending, losers)
    if winner is None:
        return _reply(Status.EMPTY, [*steps, *_nothing(others)], None, None, losers)
    steps += _authority_steps(admins, winner)
    is_alone = len(rows) == 1
    steps.append(_wins(Rule.ONLY_RECORD if is_alone else Rule.LATEST_WINS, winner, len(rows)))
    return _reply(*_winner_status(view, winner, steps), winner, None, losers)


def _organization_end(view: View, org_id: str, admins: Admins) -> Envelope | None:
    records, _ = _made_by_then(view, name("organization", org_id))
    rows = {_operational_row(it, view.at_ns): it for it in records if admins.may_sign(it)}
    end = first_withdrawal(rows)
    return rows[end] if end is not None else None


def _authority_steps(admins: Admins, winner: Envelope) -> list[Step]:
    """Who let the signer say this, up to a root steward."""
    steps: list[Step] = []
    actor, at_ns = column(winner, "attesting_key_id"), made_at_ns(winner)
    seen: set[str] = set()
    while actor not in seen:
        seen.add(actor)
        granter = admins.granter(actor, at_ns)
        if granter is None or granter == actor:
            steps.append(Step(Rule.ROOT_STEWARD, about=actor))
            break
        steps.append(Step(Rule.ADMIN_BY, about=actor, by=granter))
        actor = granter
    return steps


def _made_by_then(view: View, named: str) -> tuple[list[Envelope], int]:
    """Records made by the time asked about, and how many were made later."""
    found = view.counting(named)
    made = [it for it in found if made_at_ns(it) <= view.at_ns]
    return made, len(found) - len(made)


def _nothing(later: int) -> list[Step]:
    return [Step(Rule.MADE_LATER, count=later)] if later else [Step(Rule.NOTHING_COUNTS)]


def _winner_status(view: View, winner: Envelope, steps: list[Step]) -> tuple[Status, list[Step]]:
    until_ns = column_ns(winner, "valid_until")
    if until_ns is not None and until_ns <= view.at_ns:
        return Status.EXPIRED, [*steps, Step(Rule.EXPIRED, at=column(winner, "valid_until"))]
    if column(winner, "status") == "suspended":
        return Status.SUSPENDED, [*steps, _step(Rule.SUSPENDED, winner)]
    return Status.VALID, steps


def _operational_row(record: Envelope, at_ns: int) -> OperationalRow:
    ended_ns = _ended_ns(record)
    return OperationalRow(
        envelope_id=record.envelope_id,
        attestation_id=column(record, "attestation_id"),
        asserted_at_ns=made_at_ns(record),
        is_final=ended_ns is not None and ended_ns <= at_ns,
    )


def _ended_ns(record: Envelope) -> int | None:
    """From when on this record ends its group; None when it does not."""
    made_ns = made_at_ns(record)
    if column(record, "status") == _ENDED:
        return made_ns
    withdrawn_ns = column_ns(record, "withdrawn_at")
    return None if withdrawn_ns is None else max(made_ns, withdrawn_ns)


def _grants_admin(membership: Envelope, at_ns: int) -> bool:
    grant = grant_of(membership)
    until_ns = column_ns(membership, "valid_until")
    is_over = until_ns is not None and until_ns <= at_ns
    return grant is not None and grant.role is OrgRole.ORG_ADMIN and not is_over


def _why(loser: Envelope, winner: Envelope | None) -> str:
    if winner is None:
        return "ended"
    return "tie" if made_at_ns(loser) == made_at_ns(winner) else "later"


# -- partner records -------------------------------------------------------------------------------


def _partner_row(record: Envelope, at_ns: int) -> PartnerRow:
    withdrawn_ns = column_ns(record, "withdrawn_at")
    return PartnerRow(
        envelope_id=record.envelope_id,
        attestation_id=column(record, "attestation_id"),
        asserted_at_ns=made_at_ns(record),
        revision=_number(record, "revision"),
        status=column(record, "status"),
        is_withdrawn=withdrawn_ns is not None and withdrawn_ns <= at_ns,
    )


def _tie(row: PartnerRow) -> tuple[int, bytes]:
    return row.asserted_at_ns, row.envelope_id


def _partner_why(loser: Envelope, winner: Envelope | None) -> str:
    if winner is None:
        return "ended"
    if _number(loser, "revision") != _number(winner, "revision"):
        return "revision"
    if column(loser, "status") != column(winner, "status"):
        return "stricter"
    return _why(loser, winner)


def _partner_status(view: View, winner: Envelope, steps: list[Step]) -> tuple[Status, list[Step]]:
    if column(winner, "status") == "revoked":
        return Status.REVOKED, [*steps, _step(Rule.PARTNER_REVOKED, winner)]
    if (column_ns(winner, "expires_at") or 0) <= view.at_ns:
        return Status.EXPIRED, [*steps, Step(Rule.EXPIRED, at=column(winner, "expires_at"))]
    return _winner_status(view, winner, steps)


# -- what is shown ---------------------------------------------------------------------------------


def _reply(
    status: Status,
    steps: Sequence[Step],
    winner: Envelope | None,
    ending: Envelope | None,
    losers: list[Loser],
) -> Reply:
    ended_by = record_id(ending) if ending is not None else ""
    shown = tuple(sorted(losers, key=lambda it: it.record)[:SHOWN_MAX])
    told = _winner(winner) if winner is not None else None
    return Reply(status, WinnerFound(told, ended_by, shown, len(losers)), tuple(steps))


def _winner(record: Envelope) -> Winner:
    spec = KINDS[record.kind]
    hidden = {spec.envelope_field, "persist_row_hash"}
    columns = {
        field.name: _shown(record.record[field.name])
        for field in spec.fields
        if field.name in record.record
        and field.name not in hidden
        and "signature" not in field.name
    }
    return Winner(
        record=record_id(record),
        attestation_id=shown(column(record, "attestation_id")),
        asserted_at=own_time(record),
        by=record.signers,
        columns=columns,
    )


def _shown(value: object) -> str:
    match value:
        case JsonNumber(token):
            return token
        case bool():
            return "true" if value else "false"
        case _:
            return shown(str(value))


def _loser(record: Envelope, why: str) -> Loser:
    return Loser(record_id(record), shown(column(record, "attestation_id")), own_time(record), why)


def _step(
    rule: Rule, record: Envelope, count: int | None = None, needed: int | None = None
) -> Step:
    return Step(
        rule,
        about=shown(column(record, "attestation_id")),
        by=" ".join(record.signers),
        at=own_time(record),
        record=record_id(record),
        count=count,
        needed=needed,
    )


def _wins(rule: Rule, record: Envelope, count: int) -> Step:
    """The step that names the winner, with what people ask such a record for."""
    told = [column(record, name_) for name_ in _TOLD[record.kind]]
    return replace(_step(rule, record, count), note=shown(", ".join(filter(None, told))))


def _number(record: Envelope, name_: str) -> int:
    value = record.record[name_]
    assert isinstance(value, JsonNumber), "the structure check saw to that"
    return int(value.token)
