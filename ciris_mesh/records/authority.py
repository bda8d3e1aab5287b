"""Who may act for an organization: a chain of grants down from a root steward.

    root steward (local configuration)
      └─ grants org_admin ──> a      signed by the steward's key
           └─ grants org_admin ──> b      signed by a's key
                └─ grants operator ──> actor

The walk starts at the root stewards and follows only grants by somebody already found, so grants
by strangers cost no signature check, and grants in a circle are never entered. A signature is
verified with the directory's key of `attesting_key_id`, never with a key found in the grant.
Source: records-and-protocol.md, section 3.7.

The caller hands in what stands now: the winners of `merge.withdrawal_forward_only`, none expired.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.checks import KeyLookup
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.hybrid import HybridSignature, verify_hybrid
from ciris_mesh.records.jsontext import JsonValue
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.signing import mirror_problem

ACTIVE_STATUS: Final = "active"

#: Grants between a root steward and an actor; more is no organization but an attack.
GRANT_CHAIN_MAX: Final = 64
#: Signature checks spent on telling "no grant" from "a grant by nobody": only the word differs.
UNANCHORED_CHECKS_MAX: Final = 16


class OrgRole(StrEnum):
    """What a membership allows. Closed set."""

    ORG_ADMIN = "org_admin"
    KEY_MANAGER = "key_manager"
    OPERATOR = "operator"
    VIEWER = "viewer"

    def satisfies(self, required: OrgRole) -> bool:
        """org_admin stands for every role, any other for itself alone."""
        return self is OrgRole.ORG_ADMIN or self is required


_ROLES: Final[Mapping[str, OrgRole]] = {role.value: role for role in OrgRole}


class AuthorityReason(StrEnum):
    """The answer's word."""

    AUTHORIZED = "authorized"
    NO_QUALIFYING_GRANT = "no_qualifying_grant"
    CHAIN_NOT_ANCHORED = "chain_not_anchored"


@dataclass(frozen=True, slots=True)
class MembershipGrant:
    """One membership as a grant of a role. `message` are the bytes the granter signed."""

    user_id: str
    org_id: str
    role: OrgRole
    attesting_key_id: str
    message: bytes = field(repr=False)
    signature: HybridSignature = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authority:
    """The answer.

    Attributes:
        chain: key ids from the root steward down to the actor; empty unless authorized.
    """

    reason: AuthorityReason
    chain: tuple[str, ...] = ()

    @property
    def is_authorized(self) -> bool:
        """True when the actor may do what the role allows."""
        return self.reason is AuthorityReason.AUTHORIZED


def grant_of(envelope: Envelope) -> MembershipGrant | None:
    """Read a membership as a grant; None when it grants nothing.

    It grants nothing when it is not active, was withdrawn, names no known role, or when its
    signed envelope does not say all that its columns say.

    Raises:
        LocalProtocolError: the envelope is of another kind.
        MalformedRecord: the signed envelope holds a number no double can hold.
    """
    if envelope.kind is not EnvelopeKind.ORG_MEMBERSHIP:
        raise LocalProtocolError(f"a {envelope.kind.value} grants no membership")
    record = envelope.record
    if mirror_problem(envelope.kind, record) is not None or record.get("withdrawn_at") is not None:
        return None
    inner = record["signed_envelope"]
    return grant_from_members(inner, envelope.claims[0].signature)


def grant_from_members(members: JsonValue, signature: HybridSignature) -> MembershipGrant | None:
    """Read a signed envelope: user_id, org_id, role, status `active` and attesting_key_id.

    Raises:
        MalformedRecord: a number in it no double can hold.
    """
    if not isinstance(members, dict) or members.get("status") != ACTIVE_STATUS:
        return None
    texts = [members.get(name) for name in ("user_id", "org_id", "role", "attesting_key_id")]
    match texts:
        case [str(user_id), str(org_id), str(role), str(granter)] if all(texts):
            known = _ROLES.get(role)
            if known is None:
                return None
            return MembershipGrant(user_id, org_id, known, granter, jcs(members), signature)
        case _:
            return None


def resolve_role_authority(
    actor: str,
    org_id: str,
    required: OrgRole,
    grants: Iterable[MembershipGrant],
    root_stewards: Collection[str],
    keys: KeyLookup,
) -> Authority:
    """May `actor` act in `org_id` as `required`? A root steward may, in every organization.

    The answer and its chain depend on the set of grants, not on their order; of several chains
    the shortest is told.

    Returns:
        NO_QUALIFYING_GRANT when nobody granted the actor such a role, CHAIN_NOT_ANCHORED when
        those who did are no admins of the organization themselves.
    """
    if actor in root_stewards:
        return Authority(AuthorityReason.AUTHORIZED, (actor,))
    by_granter: dict[str, list[MembershipGrant]] = defaultdict(list)
    for grant in sorted(set(grants), key=_grant_order):
        if grant.org_id == org_id:
            by_granter[grant.attesting_key_id].append(grant)
    for grant, chain in _anchored(by_granter, root_stewards, keys):
        if grant.user_id == actor and grant.role.satisfies(required):
            return Authority(AuthorityReason.AUTHORIZED, chain)
    offered = (
        grant
        for known in by_granter.values()
        for grant in known
        if grant.user_id == actor and grant.role.satisfies(required)
    )
    if any(_stands(grant, keys) for grant in islice(offered, UNANCHORED_CHECKS_MAX)):
        return Authority(AuthorityReason.CHAIN_NOT_ANCHORED)
    return Authority(AuthorityReason.NO_QUALIFYING_GRANT)


def _anchored(
    by_granter: Mapping[str, list[MembershipGrant]],
    root_stewards: Collection[str],
    keys: KeyLookup,
) -> Iterator[tuple[MembershipGrant, tuple[str, ...]]]:
    """Every standing grant by an anchored admin, nearest to the roots first, with its chain."""
    waiting: deque[tuple[str, ...]] = deque((it,) for it in sorted(set(root_stewards)))
    admins = set(root_stewards)
    while waiting:
        chain = waiting.popleft()
        for grant in by_granter.get(chain[-1], ()):
            if not _stands(grant, keys):
                continue
            longer = (*chain, grant.user_id)
            yield grant, longer
            is_new_admin = grant.role is OrgRole.ORG_ADMIN and grant.user_id not in admins
            if is_new_admin and len(longer) <= GRANT_CHAIN_MAX:
                admins.add(grant.user_id)
                waiting.append(longer)


def _stands(grant: MembershipGrant, keys: KeyLookup) -> bool:
    public = keys(grant.attesting_key_id)
    if public is None:
        return False
    return verify_hybrid(public, grant.message, grant.signature) is Reason.NONE


def _grant_order(grant: MembershipGrant) -> tuple[str, str, str, bytes, bytes]:
    return (
        grant.attesting_key_id,
        grant.user_id,
        grant.role.value,
        grant.message,
        grant.signature.ed25519,
    )
