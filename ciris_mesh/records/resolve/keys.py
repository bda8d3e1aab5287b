"""Is this key valid, and who is revoked?

    unknown         no record of it on the federation shelf
    revoked         a revocation that counts was in effect by then
    suspect         two keys go by this id, or claims by keys known here reach the regions' quorum
    not_yet_valid, expired
    valid           none of these

Whether it is rooted is another question (`chains`). Source: records-and-protocol.md, sections 4.1,
4.1a and 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.checks import public_key_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.merge import REGION_QUORUM, RevocationAnswer
from ciris_mesh.records.names import ALL_REVOCATIONS, name
from ciris_mesh.records.provenance import (
    identity_types,
)
from ciris_mesh.records.resolve.base import (
    SHOWN_MAX,
    Reply,
    Rule,
    Status,
    Step,
    column,
    column_ns,
    record_id,
    shown,
    signed_at_ns,
    spelled,
)
from ciris_mesh.records.resolve.facts import known_speakers
from ciris_mesh.records.resolve.revocations import (
    REVOCATIONS_EACH_MAX,
    Revoked,
    Say,
    region_of,
)
from ciris_mesh.records.resolve.view import View

#: Records of a key that are all read. Each signer's own revocations are read as well.
RECORDS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Revoker:
    """One revocation.

    Attributes:
        why: why it counts or does not: self, steward, ancestor; no_say, revoker_revoked.
    """

    by: str
    why: str
    revoked_at: str
    effective_at: str
    region: str
    reason: str
    record: str


@dataclass(frozen=True, slots=True)
class Weight:
    """In which regions revocations were observed. Shown; one that counts revokes.

    Attributes:
        quorum_reached_at: when a second region had seen one; "" below the quorum.
    """

    weight: int
    regions: tuple[str, ...]
    quorum: int
    quorum_reached_at: str


@dataclass(frozen=True, slots=True)
class KeyFound:
    """About a key.

    Attributes:
        identity_types: what it says it is.
        valid_until: "" without an end.
        revoked_from: "" when it is not revoked, now or later.
        claims: revocations that do not count, and their weight among themselves; at most 100,
            none when there are too many to read (`claims_unread`).
    """

    identity_types: tuple[str, ...]
    valid_from: str
    valid_until: str
    revoked_from: str
    revocations: tuple[Revoker, ...]
    weight: Weight
    claims: tuple[Revoker, ...]
    claims_weight: Weight
    claims_count: int
    claims_unread: bool


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A revoked key in a list."""

    key_id: str
    revoked_from: str
    by: tuple[str, ...]
    weight: int
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevokedFound:
    """Who is revoked at that time.

    Attributes:
        claimed: keys of which it is only claimed.
        unread: there are more revocations than are read; only what known keys say is listed.
    """

    keys: tuple[RevokedKey, ...]
    claimed: tuple[str, ...]
    unread: bool


_Finding = tuple[Status, list[Step]]


def key_answer(view: View, key_id: str, more: str = "") -> Reply:
    """Is this key valid at that time, and why?"""
    reply = answer_from(view, key_id, _records(view, key_id))
    first, *others = reply.steps
    remarks = view.remarks(*record_names(view, key_id))
    remarks += [Step(Rule.STRANGERS_UNREAD)] if _is_flooded(view, key_id) else []
    return replace(reply, steps=(first, *remarks, *others))


def answer_from(view: View, key_id: str, records: list[Envelope]) -> Reply:
    """The same, if these are the key's records."""
    revoked = view.revocations.of(key_id)
    said = _own_word(records, key_id)
    steps = [_introduction(said, key_id)] if said else [Step(Rule.KEY_UNKNOWN, about=key_id)]
    status, reasons = _status(view, key_id, said, records, revoked)
    steps += reasons
    steps += [_claim_step(it, why) for it, why in revoked.claims[:SHOWN_MAX]]
    if revoked.unread:
        steps.append(Step(Rule.CLAIMS_UNREAD, about=key_id))
    return Reply(status, _key_found(said, revoked), tuple(steps))


def revoked_answer(view: View, key_id: str, more: str = "") -> Reply:
    """Is this key revoked, with which weight? Without a key: who is?"""
    if not key_id:
        return _everybody_revoked(view)
    revoked = view.revocations.of(key_id)
    steps = revocation_steps(view, revoked)
    status = Status.REVOKED if is_revoked(view, revoked) else Status.NOT_REVOKED
    if status is Status.NOT_REVOKED:
        steps.append(Step(Rule.NOT_REVOKED, about=key_id))
    steps += [_claim_step(it, why) for it, why in revoked.claims[:SHOWN_MAX]]
    steps += [Step(Rule.CLAIMS_UNREAD, about=key_id)] if revoked.unread else []
    is_known = any(map(view.is_known, record_names(view, key_id))) or bool(
        revoked.valid or revoked.claims
    )
    found = _key_found(_own_word(_records(view, key_id), key_id), revoked)
    return Reply(status if is_known else Status.UNKNOWN, found, tuple(steps))


# -- is it valid? ----------------------------------------------------------------------------------


def _status(
    view: View,
    key_id: str,
    said: Envelope | None,
    records: list[Envelope],
    revoked: Revoked,
) -> _Finding:
    if is_revoked(view, revoked):
        return Status.REVOKED, revocation_steps(view, revoked)
    later = revocation_steps(view, revoked)
    if said is None:
        return Status.UNKNOWN, later
    publics = {public.fingerprint for it in records if (public := public_key_of(it)) is not None}
    if len(publics) > 1:
        return Status.SUSPECT, [*later, Step(Rule.KEY_COLLISION, about=key_id, count=len(publics))]
    weight = _weight_against(view, revoked)
    if weight >= REGION_QUORUM:
        return Status.SUSPECT, [
            *later,
            Step(Rule.CLAIMS_QUORUM, about=key_id, count=weight, needed=REGION_QUORUM),
        ]
    status, step = _window(view, said)
    return status, [*later, step]


def _window(view: View, said: Envelope) -> tuple[Status, Step]:
    from_, until = column(said, "valid_from"), column(said, "valid_until")
    if (column_ns(said, "valid_from") or 0) > view.at_ns:
        return Status.NOT_YET_VALID, Step(Rule.VALID_LATER, at=from_, record=record_id(said))
    until_ns = column_ns(said, "valid_until")
    if until_ns is not None and until_ns <= view.at_ns:
        return Status.EXPIRED, Step(Rule.EXPIRED, at=until, record=record_id(said))
    return Status.VALID, Step(Rule.IN_FORCE, at=from_, note=until, record=record_id(said))


def _weight_against(view: View, revoked: Revoked) -> int:
    """From how many regions several keys that are known here claim it; 0 when one or none does.

    Keys are free to make, and a claim names its region itself: strangers could make anybody
    suspect.
    """
    if revoked.against.weight < REGION_QUORUM:
        return 0
    known = known_speakers(view)
    claims = [
        it
        for it, why in revoked.claims
        if why is Say.NO_SAY and column(it, "revoking_key_id") in known
    ]
    several = len({column(it, "revoking_key_id") for it in claims}) > 1
    return len(set(map(region_of, claims))) if several else 0


def is_revoked(view: View, revoked: Revoked) -> bool:
    """Was the key revoked by the time asked about?"""
    return revoked.from_ns is not None and revoked.from_ns <= view.at_ns


def revocation_steps(view: View, revoked: Revoked) -> list[Step]:
    """Who revoked it, whether or not by then, and with which weight."""
    steps = [
        Step(Rule.REVOKED_TOO_OFTEN, by=by, count=REVOCATIONS_EACH_MAX) for by in revoked.too_often
    ]
    for it, why in revoked.valid[:SHOWN_MAX]:
        is_due = (column_ns(it, "effective_at") or 0) <= view.at_ns
        steps.append(_revocation_step(Rule.REVOKED_BY if is_due else Rule.REVOKED_LATER, it, why))
    if revoked.valid:
        steps.append(_weight_step(Rule.WEIGHT, revoked.answer))
    return steps


def _claim_step(revocation: Envelope, why: Say) -> Step:
    return _revocation_step(Rule.CLAIM, revocation, why)


def _revocation_step(rule: Rule, revocation: Envelope, why: Say) -> Step:
    return Step(
        rule,
        about=column(revocation, "revoked_key_id"),
        by=column(revocation, "revoking_key_id"),
        at=column(revocation, "effective_at"),
        record=record_id(revocation),
        note=why.value,
    )


def _weight_step(rule: Rule, answer: RevocationAnswer) -> Step:
    regions = " ".join(answer.regions)
    return Step(rule, count=answer.weight, needed=REGION_QUORUM, note=regions)


# -- what a key says of itself ---------------------------------------------------------------------


def record_names(view: View, key_id: str) -> list[str]:
    """The name of all its records; where many vouched, of those by itself and by rooted keys.

    All that a stranger can put here are records of his own, and revocations of himself.
    """
    if not _is_flooded(view, key_id):
        return [name("key", key_id)]
    rooted = view.revocations.vouching.vouchers(key_id)
    return [name("vouch", key_id, by) for by in dict.fromkeys((key_id, *rooted))]


def _is_flooded(view: View, key_id: str) -> bool:
    return len(view.reader.signers(name("key", key_id), RECORDS_MAX + 1)) > RECORDS_MAX


def _records(view: View, key_id: str) -> list[Envelope]:
    """Its records that count and were signed by the time asked about; without one, the first."""
    names = record_names(view, key_id)
    found = [it for named in names for it in view.counting(named)]
    if not found:  # revoked before it signed
        found = [it for named in names for it in view.reader.federation(named)]
    signed = [it for it in found if signed_at_ns(it) <= view.at_ns]
    return signed or sorted(found, key=lambda it: (signed_at_ns(it), it.envelope_id))[:1]


def _own_word(records: list[Envelope], key_id: str) -> Envelope | None:
    """The record that says how long the key is valid: its own latest; else a voucher's latest."""

    def order(record: Envelope) -> tuple[bool, int, bytes]:
        return record.signers != (key_id,), -signed_at_ns(record), record.envelope_id

    return min(records, key=order, default=None)


def _introduction(said: Envelope, key_id: str) -> Step:
    rule = Rule.SELF_SIGNED if said.signers == (key_id,) else Rule.VOUCHED_ONLY
    at = column(said, "scrub_timestamp")
    return Step(rule, about=key_id, by=said.signers[0], at=at, record=record_id(said))


def _key_found(said: Envelope | None, revoked: Revoked) -> KeyFound:
    types = identity_types(column(said, "identity_type")) if said else frozenset()
    return KeyFound(
        identity_types=tuple(sorted(types)),
        valid_from=column(said, "valid_from") if said else "",
        valid_until=column(said, "valid_until") if said else "",
        revoked_from=_spelled(revoked.from_ns),
        revocations=tuple(_revoker(it, why) for it, why in revoked.valid[:SHOWN_MAX]),
        weight=_weight(revoked.answer),
        claims=tuple(_revoker(it, why) for it, why in revoked.claims[:SHOWN_MAX]),
        claims_weight=_weight(revoked.against),
        claims_count=len(revoked.claims),
        claims_unread=revoked.unread,
    )


def _revoker(revocation: Envelope, why: Say) -> Revoker:
    return Revoker(
        by=column(revocation, "revoking_key_id"),
        why=why.value,
        revoked_at=column(revocation, "revoked_at"),
        effective_at=column(revocation, "effective_at"),
        region=region_of(revocation),
        reason=shown(column(revocation, "reason")),
        record=record_id(revocation),
    )


def _weight(answer: RevocationAnswer) -> Weight:
    reached = _spelled(answer.quorum_reached_at_ns)
    return Weight(answer.weight, answer.regions, REGION_QUORUM, reached)


def _spelled(at_ns: int | None) -> str:
    return "" if at_ns is None else spelled(at_ns)


def _everybody_revoked(view: View) -> Reply:
    try:
        return _revoked_by(view, [ALL_REVOCATIONS], unread=False)
    except TooManyRows:  # anybody may claim of anybody that it is revoked
        reply = _revoked_by_known(view.afresh())
        if reply.status is not Status.ANSWERED:  # that nobody is revoked would not be true
            raise
        return reply


def _revoked_by_known(view: View) -> Reply:
    names = [name("revocations", by) for by in sorted(known_speakers(view))]
    read = [one for one in names if view.reader.some(one) is not None]
    return _revoked_by(view, read, unread=True)


def _revoked_by(view: View, names: Sequence[str], *, unread: bool) -> Reply:
    keys: list[RevokedKey] = []
    claimed: list[str] = []
    told = {column(it, "revoked_key_id") for one in names for it in view.reader.federation(one)}
    for key_id in sorted(told):
        revoked = view.revocations.of(key_id, claims=False)
        if is_revoked(view, revoked):
            said = {column(it, "revoking_key_id") for it, _ in revoked.valid}
            by = tuple(sorted(said.union(revoked.too_often)))
            from_, answer = _spelled(revoked.from_ns), revoked.answer
            keys.append(RevokedKey(key_id, from_, by, answer.weight, answer.regions))
        elif revoked.from_ns is None:
            claimed.append(key_id)
    steps = [
        Step(
            Rule.IS_REVOKED,
            about=it.key_id,
            at=it.revoked_from,
            count=it.weight,
            by=" ".join(it.by),
        )
        for it in keys
    ]
    steps += [Step(Rule.ONLY_CLAIMED, about=key_id) for key_id in claimed]
    steps += [Step(Rule.STRANGERS_UNREAD)] if unread else []
    status = Status.ANSWERED if keys or claimed else Status.EMPTY
    return Reply(status, RevokedFound(tuple(keys), tuple(claimed), unread), tuple(steps))
