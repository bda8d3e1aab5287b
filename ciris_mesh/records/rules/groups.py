"""Families and communities, and removals from them.

    founding       signed as the roster's own protocol asks, a founder among the signers
    later roster   signed as some earlier roster's protocol asks; never of an entrenched group
    removal        of whom some roster lists: by the removed, or by one of its occurrences; else as
                   the protocol of some roster asks, this one or another

A roster's signers are counted among its members without those who have gone by then. Several later
rosters may be valid at once; which one counts is decided by whoever asks. Source:
records-and-protocol.md, sections 1.3, 4.1 and 4.1a.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.groups import ID_COLUMNS, Group, is_group_id, read_group
from ciris_mesh.records.h3cell import H3Cell
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import (
    FINE,
    Counted,
    Facts,
    Finding,
    Trust,
    deferred,
    deferred_until_all,
    first,
    made_at_ms,
    missing_keys,
    refused,
    text,
    time_ms,
)
from ciris_mesh.records.rules.locations import is_proven_within, location_token
from ciris_mesh.records.rules.occurrences import vouch_tokens, vouchers
from ciris_mesh.records.threshold import Member, distinct_members
from ciris_mesh.records.tokens import member_token, token

_FAMILY: Final = EnvelopeKind.FAMILY
_COMMUNITY: Final = EnvelopeKind.COMMUNITY
_REMOVALS: Final[Mapping[EnvelopeKind, EnvelopeKind]] = {
    _FAMILY: EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION,
    _COMMUNITY: EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION,
}
_GROUP_OF: Final = {removal: kind for kind, removal in _REMOVALS.items()}


def content(envelope: Envelope, trust: Trust) -> Finding:
    """The roster can be read: protocol, members each once, a founder, a policy that holds."""
    try:
        read_group(envelope)
    except MalformedRecord as error:
        return refused(Reason(error.reason), error.detail)
    return FINE


def standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """Those who may decide did, members are known, and live where the community is."""
    group = read_group(envelope)
    return first(_objections(group, envelope, facts))


def counted(envelope: Envelope, facts: Facts, trust: Trust) -> Counted:
    """Who votes: in the roster itself where it founds the group, else in those before it."""
    group = read_group(envelope)
    if group.is_founding:
        return Counted(group.voters.intersection(envelope.signers))
    voters = _voters(_before(group, _rosters(group.kind, group.group_id, facts)))
    return Counted(
        voters.intersection(envelope.signers),
        _listing_tokens(group.kind, group.group_id, envelope.signers),
    )


def removal_counted(envelope: Envelope, facts: Facts, trust: Trust) -> Counted:
    """Who vouches for the removed, and who votes in any roster of the group."""
    kind = _GROUP_OF[envelope.kind]
    group_id, removed = text(envelope, ID_COLUMNS[kind]), text(envelope, "removed_identity_key_id")
    vouching = vouchers(removed, envelope.signers, made_at_ms(envelope), facts)
    voters = _voters(_rosters(kind, group_id, facts))
    return Counted(
        vouching | voters.intersection(envelope.signers),
        (
            *_listing_tokens(kind, group_id, envelope.signers),
            *vouch_tokens(removed, envelope.signers),
        ),
    )


def removal_content(envelope: Envelope, trust: Trust) -> Finding:
    """A community does not remove members in advance."""
    effective_ms = time_ms(envelope, "effective_at") or 0
    if _GROUP_OF[envelope.kind] is _COMMUNITY and effective_ms > made_at_ms(envelope):
        return refused(Reason.REMOVAL_IN_ADVANCE, "effective_at lies after removed_at")
    return FINE


def removal_standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """A member of the group goes by itself, or the group decided so."""
    kind = _GROUP_OF[envelope.kind]
    group_id, removed = text(envelope, ID_COLUMNS[kind]), text(envelope, "removed_identity_key_id")
    if not any(removed in roster.members for roster in _rosters(kind, group_id, facts)):
        return deferred(
            Reason.ROSTER_UNKNOWN,
            f"no roster of {group_id} that lists {removed} is here",
            member_token(kind, group_id, removed),
        )
    at_ms = made_at_ms(envelope)
    if vouchers(removed, envelope.signers, at_ms, facts):
        return FINE
    rosters = partial(_rosters, kind, group_id, facts)
    if _decide(rosters, envelope.signers, at_ms, facts):
        return FINE
    return deferred(
        Reason.CONSENSUS_NOT_REACHED,
        f"neither {removed} nor enough of {group_id} signed this",
        *_decision_tokens(kind, group_id, rosters(), envelope.signers),
        *vouch_tokens(removed, envelope.signers),
    )


def _objections(group: Group, envelope: Envelope, facts: Facts) -> Iterator[Finding]:
    if group.is_founding:
        if not group.is_founded_by(envelope.signers):
            yield deferred(
                Reason.FOUNDERS_NOT_ENOUGH,
                f"{group.protocol} asks for more of those it lists to sign, and for a founder",
                token(group.kind, group.group_id),
            )
    elif not is_group_id(group.group_id):
        yield refused(Reason.GROUP_ID_NOT_SELF_CERTIFYING, "the id commits to no founding record")
    else:
        yield from _change_objections(group, envelope, facts)
    if missing := missing_keys(facts, sorted(group.members)):
        yield deferred_until_all(Reason.KEY_UNKNOWN, "keys of members are not here", missing)
    if _people(group, facts) < len(group.members):  # under ids that do not show it
        yield refused(Reason.MEMBERS_NOT_UNIQUE, "two members have one key")
    if group.cell is not None:
        yield from _place_objections(group, group.cell, facts)


def _change_objections(group: Group, envelope: Envelope, facts: Facts) -> Iterator[Finding]:
    rosters = partial(_rosters, group.kind, group.group_id, facts)
    founding = next((roster for roster in rosters() if roster.is_founding), None)
    if founding is None:
        yield deferred(
            Reason.ROSTER_UNKNOWN,
            f"the founding record of {group.group_id} is not here",
            token(group.kind, group.group_id),
        )
    elif founding.is_entrenched:
        yield refused(Reason.GROUP_ENTRENCHED, "nobody may change this group")

    def earlier() -> Iterator[Group]:
        return _before(group, rosters())

    if not _decide(earlier, envelope.signers, group.founded_at_ms, facts):
        yield deferred(
            Reason.CONSENSUS_NOT_REACHED,
            f"no earlier roster of {group.group_id} decided this",
            *_decision_tokens(group.kind, group.group_id, earlier(), envelope.signers),
        )


def _place_objections(group: Group, cell: H3Cell, facts: Facts) -> Iterator[Finding]:
    unproven = [
        name
        for name in sorted(group.members)
        if not is_proven_within(name, cell, group.founded_at_ms, facts)
    ]
    if unproven:
        yield deferred_until_all(
            Reason.LOCATION_UNPROVEN,
            f"{unproven[0]} has no location proof inside the community's cell",
            map(location_token, unproven),
        )


def _people(group: Group, facts: Facts) -> int:
    keys = ((name, facts.public_key(name)) for name in group.members)
    return len(distinct_members(Member.of(name, public) for name, public in keys if public))


def _rosters(kind: EnvelopeKind, group_id: str, facts: Facts) -> Iterator[Group]:
    for roster in facts.views(token(kind, group_id), _roster):
        if roster is not None:
            yield roster


def _roster(record: Envelope) -> Group | None:
    try:
        return read_group(record)
    except MalformedRecord:  # a row from before there were rules decides nothing
        return None


def _before(group: Group, rosters: Iterable[Group]) -> Iterator[Group]:
    """Those that may decide that the group shall be this."""
    for roster in rosters:
        if roster.founded_at_ms < group.founded_at_ms and not roster.is_entrenched:
            yield roster


def _voters(rosters: Iterable[Group]) -> frozenset[str]:
    return frozenset(name for roster in rosters for name in roster.voters)


def _removal(record: Envelope) -> tuple[str, int]:
    return text(record, "removed_identity_key_id"), time_ms(record, "effective_at") or 0


def _decide(
    rosters: Callable[[], Iterator[Group]], signers: tuple[str, ...], at_ms: int, facts: Facts
) -> bool:
    """Does one of these say that so many decide? Removals are asked for once, or not at all.

    The search stops at the roster that decides, so it is what this is known to rely on; and so are
    removals, where it takes them for so few to be enough.

    Args:
        rosters: read again for each search.
    """
    theirs = _listing(rosters(), signers)
    if not theirs:
        return False
    removals = token(_REMOVALS[theirs[0].kind], theirs[0].group_id)
    gone = {name for name, since_ms in facts.views(removals, _removal) if since_ms <= at_ms}
    if not any(roster.may_decide(signers, gone) for roster in theirs):
        return False
    if any(roster.may_decide(signers, frozenset()) for roster in rosters()):
        return True
    deciding = next(roster for roster in rosters() if roster.may_decide(signers, gone))
    return all(
        any(name == who and since_ms <= at_ms for name, since_ms in facts.views(removals, _removal))
        for who in sorted(gone & deciding.members)
    )


def _listing(rosters: Iterable[Group], signers: tuple[str, ...]) -> list[Group]:
    """Those of which a signer is a member; no other can have decided anything."""
    return [roster for roster in rosters if not roster.members.isdisjoint(signers)]


def _decision_tokens(
    kind: EnvelopeKind, group_id: str, rosters: Iterable[Group], signers: tuple[str, ...]
) -> Iterator[str]:
    """A roster that lists a signer; and if one does, a removal, after which fewer are enough."""
    yield from _listing_tokens(kind, group_id, signers)
    if _listing(rosters, signers):
        yield token(_REMOVALS[kind], group_id)


def _listing_tokens(kind: EnvelopeKind, group_id: str, signers: tuple[str, ...]) -> tuple[str, ...]:
    """Rosters that list one of these; no other is news to them. Without signers, any roster."""
    listing = tuple(member_token(kind, group_id, signer) for signer in signers)
    return listing or (token(kind, group_id),)
