"""Organizations, memberships and partner records: who may act for whom in business.

    organization     a root steward of this node's configuration; then its admins
    org_membership   of an organization that is here: a root steward, or an admin of it
    partner_record   enough of the configured stewards and nobody else, whatever threshold it states

Without such stewards nothing of these kinds can ever come in: see `closed_kinds`.

An admin is who holds an admitted, active grant of org_admin in force when the record was made.
Grants were judged the same way when they came, so every admitted one goes back to a root steward
and a circle of grants is never entered. What was withdrawn since is asked when answers are made.
Source: records-and-protocol.md, sections 3.4, 3.7, 4.1 and 4.1a.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ciris_mesh.records.authority import OrgRole, grant_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.payment import find_payment_id
from ciris_mesh.records.rules.base import (
    FINE,
    Facts,
    Finding,
    Trust,
    deferred,
    exists,
    first,
    is_in_force,
    is_sorted_set,
    made_at_ms,
    missing_keys,
    refused,
    signed_members,
    text,
)
from ciris_mesh.records.threshold import Member, distinct_members
from ciris_mesh.records.tokens import token

#: Members of a partner record's signed envelope that are sets.
PARTNER_SETS: Final = (
    "allowed_identity_templates",
    "capabilities_denied",
    "capabilities_granted",
    "geographic_restrictions",
)


def content(envelope: Envelope, trust: Trust) -> Finding:
    """No payment processor's id, anywhere."""
    where = find_payment_id(envelope.record)
    if where is not None:
        return refused(Reason.PAYMENT_ID, f"{where} is a payment processor's id")
    return FINE


def partner_content(envelope: Envelope, trust: Trust) -> Finding:
    """As `content`, and sets are written as sets, since the stewards sign identical bytes."""
    return first(_partner_problems(envelope, trust))


def closed_kinds(trust: Trust) -> frozenset[EnvelopeKind]:
    """Kinds of which this configuration admits nothing; it makes no sense to ask for them."""
    closed: set[EnvelopeKind] = set()
    if not trust.root_stewards:
        closed |= {EnvelopeKind.ORGANIZATION, EnvelopeKind.ORG_MEMBERSHIP}
    if trust.partner_threshold < 1 or not trust.partner_stewards:
        closed.add(EnvelopeKind.PARTNER_RECORD)
    return frozenset(closed)


def organization_standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """A root steward signed, or an admin of this organization."""
    return first(_authority_objections(envelope, facts, trust))


def membership_standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """The organization is here, and who signed may appoint in it."""
    return first(_membership_objections(envelope, facts, trust))


def partner_standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """Enough of the configured stewards signed, each person counted once, and nobody else.

    Its id covers who signed: a stranger's signature would make another record of the same.
    """
    if envelope.kind in closed_kinds(trust):
        return refused(Reason.PARTNER_STEWARDS_UNSET, "no partner stewards are configured here")
    strangers = sorted(set(envelope.signers) - trust.partner_stewards)
    if strangers:
        return refused(Reason.SIGNER_NOT_STEWARD, f"{strangers[0]} is no partner steward here")
    keys = {name: facts.public_key(name) for name in envelope.signers}
    stewards = [Member.of(name, public) for name, public in keys.items() if public is not None]
    if len(stewards) < len(keys):
        missing = missing_keys(facts, keys)
        return deferred(Reason.KEY_UNKNOWN, "a steward's key is not here", *missing)
    count = len(distinct_members(stewards))
    if count < trust.partner_threshold:
        return refused(
            Reason.STEWARDS_NOT_ENOUGH,
            f"{count} of {trust.partner_threshold} configured partner stewards signed",
        )
    return FINE


def _partner_problems(envelope: Envelope, trust: Trust) -> Iterator[Finding]:
    finding = content(envelope, trust)
    if not finding.is_fine:
        yield finding
    members = signed_members(envelope)
    for name in PARTNER_SETS:
        if not is_sorted_set(members.get(name, [])):
            yield refused(Reason.SET_UNSORTED, f"{name} must be sorted, each value once")


def _membership_objections(envelope: Envelope, facts: Facts, trust: Trust) -> Iterator[Finding]:
    yield from _closed_objections(envelope, trust)
    organization = token(EnvelopeKind.ORGANIZATION, text(envelope, "org_id"))
    if not exists(facts, organization):
        yield deferred(
            Reason.ORGANIZATION_UNKNOWN, f"{text(envelope, 'org_id')} is not here", organization
        )
    yield from _authority_objections(envelope, facts, trust)


def _closed_objections(envelope: Envelope, trust: Trust) -> Iterator[Finding]:
    if envelope.kind in closed_kinds(trust):
        yield refused(Reason.ROOT_STEWARDS_UNSET, "no root stewards are configured here")


def _authority_objections(envelope: Envelope, facts: Facts, trust: Trust) -> Iterator[Finding]:
    yield from _closed_objections(envelope, trust)
    actor, org_id = text(envelope, "attesting_key_id"), text(envelope, "org_id")
    if actor in trust.root_stewards:
        return
    granted = token(EnvelopeKind.ORG_MEMBERSHIP, org_id, actor)
    at_ms = made_at_ms(envelope)
    if not any(_makes_admin(record, at_ms) for record in facts.named(granted)):
        yield deferred(
            Reason.NOT_ORG_ADMIN,
            f"{actor} is neither a root steward here nor an admin of {org_id}",
            granted,
        )


def _makes_admin(membership: Envelope, at_ms: int) -> bool:
    grant = grant_of(membership)
    is_admin = grant is not None and grant.role is OrgRole.ORG_ADMIN
    return is_admin and is_in_force(membership, at_ms, until="valid_until")
