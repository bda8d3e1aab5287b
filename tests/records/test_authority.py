"""Roles in an organization: granted down a chain from a root steward, or not held."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.authoring import author
from ciris_mesh.records.authority import (
    GRANT_CHAIN_MAX,
    Authority,
    AuthorityReason,
    MembershipGrant,
    OrgRole,
    grant_from_members,
    grant_of,
    resolve_role_authority,
)
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature
from ciris_mesh.records.jsontext import from_plain
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from support.chains import chain_key
from support.forge import no_pqc, wrong_classical, wrong_pqc
from support.keys import alice
from support.records import AT_MS, sample

A = AuthorityReason
ORG = "org-1"
STEWARD = chain_key("steward").key_id
ROOTS = [STEWARD]
NAMES = ("steward", "ada", "ben", "cid", "dan", "mallory")


def who(name: str) -> str:
    return chain_key(name).key_id


def keys(key_id: str) -> HybridPublicKey | None:
    return next((chain_key(name).public for name in NAMES if who(name) == key_id), None)


@cache
def envelope(granter: str, user: str, role: str, org: str = ORG, status: str = "active") -> bytes:
    columns = {"user_id": who(user), "org_id": org, "role": role, "status": status}
    return author(EnvelopeKind.ORG_MEMBERSHIP, columns, chain_key(granter), at_ms=AT_MS)


def grant(granter: str, user: str, role: str = "org_admin", org: str = ORG) -> MembershipGrant:
    made = grant_of(parse_envelope(EnvelopeKind.ORG_MEMBERSHIP, envelope(granter, user, role, org)))
    assert made is not None
    return made


def spoiled(good: MembershipGrant, spoil: Any) -> MembershipGrant:
    return MembershipGrant(
        good.user_id, good.org_id, good.role, good.attesting_key_id, good.message,
        spoil(good.signature),
    )  # fmt: skip


def resolved(actor: str, *grants: MembershipGrant, role: OrgRole = OrgRole.OPERATOR) -> Authority:
    return resolve_role_authority(who(actor), ORG, role, grants, ROOTS, keys)


def authorized(*names: str) -> Authority:
    return Authority(A.AUTHORIZED, tuple(who(name) for name in names))


# -- roles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("required", list(OrgRole))
def test_an_org_admin_satisfies_every_role_and_others_their_own(required: OrgRole) -> None:
    for held in OrgRole:
        expected = held is OrgRole.ORG_ADMIN or held is required
        assert held.satisfies(required) is expected
        answer = resolved("ada", grant("steward", "ada", held.value), role=required)
        assert answer.is_authorized is expected


def test_the_roles_are_the_columns() -> None:
    column = KINDS[EnvelopeKind.ORG_MEMBERSHIP].field("role")
    assert column is not None
    assert column.allowed == frozenset(role.value for role in OrgRole)


# -- chains --------------------------------------------------------------------------------------


def test_a_root_steward_needs_no_grant() -> None:
    assert resolved("steward") == authorized("steward")


def test_a_steward_grants_and_an_admin_grants_on() -> None:
    grants = [grant("steward", "ada"), grant("ada", "ben"), grant("ben", "cid", "operator")]
    assert resolved("ada", *grants) == authorized("steward", "ada")
    assert resolved("cid", *grants) == authorized("steward", "ada", "ben", "cid")
    assert resolved("cid", *grants).is_authorized


def test_nobody_granted_anything() -> None:
    assert resolved("ada") == Authority(A.NO_QUALIFYING_GRANT)
    assert resolved("ben", grant("steward", "ada")) == Authority(A.NO_QUALIFYING_GRANT)


@pytest.mark.parametrize("role", ["viewer", "key_manager"])
def test_another_role_does_not_qualify(role: str) -> None:
    assert resolved("ada", grant("steward", "ada", role)).reason is A.NO_QUALIFYING_GRANT


@pytest.mark.parametrize("role", ["viewer", "operator", "key_manager"])
def test_only_admins_grant(role: str) -> None:
    grants = [grant("steward", "ada", role), grant("ada", "ben", "operator")]
    assert resolved("ben", *grants).reason is A.CHAIN_NOT_ANCHORED


def test_a_grant_by_somebody_who_holds_nothing_is_not_anchored() -> None:
    assert resolved("ada", grant("mallory", "ada")).reason is A.CHAIN_NOT_ANCHORED


def test_granting_oneself_leads_nowhere() -> None:
    assert resolved("mallory", grant("mallory", "mallory")).reason is A.CHAIN_NOT_ANCHORED
    grants = [grant("steward", "mallory", "viewer"), grant("mallory", "mallory")]
    assert resolved("mallory", *grants).reason is A.CHAIN_NOT_ANCHORED


def test_grants_in_a_circle_are_not_anchored_and_end() -> None:
    circle = [grant("ada", "ben"), grant("ben", "cid"), grant("cid", "ada")]
    assert resolved("ada", *circle).reason is A.CHAIN_NOT_ANCHORED
    anchored = [*circle, grant("steward", "cid")]
    assert resolved("ben", *anchored) == authorized("steward", "cid", "ada", "ben")


def test_an_organization_is_not_another() -> None:
    assert resolved("ada", grant("steward", "ada", org="org-2")).reason is A.NO_QUALIFYING_GRANT
    grants = [grant("steward", "ada", org="org-2"), grant("ada", "ben")]
    assert resolved("ben", *grants).reason is A.CHAIN_NOT_ANCHORED


def test_the_shortest_chain_is_told() -> None:
    grants = [grant("steward", "ada"), grant("ada", "ben"), grant("steward", "ben")]
    assert resolved("ben", *grants) == authorized("steward", "ben")


def test_without_root_stewards_nobody_may_do_anything() -> None:
    answer = resolve_role_authority(
        who("ada"), ORG, OrgRole.VIEWER, [grant("steward", "ada")], [], keys
    )
    assert answer.reason is A.CHAIN_NOT_ANCHORED


def test_a_chain_has_an_end() -> None:
    names = ["steward", *(f"admin{n}" for n in range(GRANT_CHAIN_MAX + 1))]

    def all_keys(key_id: str) -> HybridPublicKey | None:
        return next((chain_key(it).public for it in names if who(it) == key_id), None)

    grants = [grant(one, other) for one, other in itertools.pairwise(names)]

    def reason(name: str) -> AuthorityReason:
        return resolve_role_authority(
            who(name), ORG, OrgRole.VIEWER, grants, ROOTS, all_keys
        ).reason

    assert reason(names[GRANT_CHAIN_MAX]) is A.AUTHORIZED
    assert reason(names[GRANT_CHAIN_MAX + 1]) is A.CHAIN_NOT_ANCHORED


# -- signatures bind to the directory ------------------------------------------------------------


@pytest.mark.parametrize("spoil", [wrong_classical, wrong_pqc, no_pqc])
def test_a_grant_needs_both_halves(spoil: Any) -> None:
    good = grant("steward", "ada")
    assert resolved("ada", good).is_authorized
    assert resolved("ada", spoiled(good, spoil)).reason is A.NO_QUALIFYING_GRANT


def test_a_grant_in_the_stewards_name_needs_the_stewards_key() -> None:
    members = from_plain(
        {
            "user_id": who("mallory"),
            "org_id": ORG,
            "role": "org_admin",
            "status": "active",
            "attesting_key_id": STEWARD,
            "pubkey_ed25519_base64": "a key of my own",
        }
    )
    unsigned = grant_from_members(members, HybridSignature(bytes(64), bytes(3309)))
    assert unsigned is not None
    own = chain_key("mallory").sign(unsigned.message)
    forged = grant_from_members(members, own)
    assert forged is not None
    assert resolved("mallory", forged).reason is A.NO_QUALIFYING_GRANT
    real = grant_from_members(members, chain_key("steward").sign(unsigned.message))
    assert real is not None
    assert resolved("mallory", real).is_authorized


def test_a_granter_the_directory_does_not_know_grants_nothing() -> None:
    def nobody(key_id: str) -> None:
        return None

    answer = resolve_role_authority(
        who("ada"), ORG, OrgRole.VIEWER, [grant("steward", "ada")], ROOTS, nobody
    )
    assert answer.reason is A.NO_QUALIFYING_GRANT


def test_strangers_cost_no_signature_check() -> None:
    asked: list[str] = []

    def counting(key_id: str) -> HybridPublicKey | None:
        asked.append(key_id)
        return keys(key_id)

    flood = [grant("mallory", "ben"), grant("mallory", "cid"), grant("cid", "dan")]
    answer = resolve_role_authority(
        who("ada"), ORG, OrgRole.VIEWER, [*flood, grant("steward", "ada")], ROOTS, counting
    )
    assert answer.is_authorized
    assert asked == [STEWARD]


def test_admins_who_all_grant_each_other_cost_one_check_a_grant() -> None:
    asked: list[str] = []

    def counting(key_id: str) -> HybridPublicKey | None:
        asked.append(key_id)
        return keys(key_id)

    admins = ("ada", "ben", "cid", "dan")
    grants = [grant("steward", it) for it in admins]
    grants += [grant(one, other) for one in admins for other in admins if one != other]
    answer = resolve_role_authority(who("mallory"), ORG, OrgRole.VIEWER, grants, ROOTS, counting)
    assert answer.reason is A.NO_QUALIFYING_GRANT
    assert len(asked) == len(grants)


# -- reading grants ------------------------------------------------------------------------------


def test_a_membership_reads_as_a_grant() -> None:
    made = grant("steward", "ada", "key_manager")
    assert (made.user_id, made.org_id, made.role) == (who("ada"), ORG, OrgRole.KEY_MANAGER)
    assert made.attesting_key_id == STEWARD


def test_a_deactivated_membership_grants_nothing() -> None:
    raw = envelope("steward", "ada", "org_admin", ORG, "deactivated")
    assert grant_of(parse_envelope(EnvelopeKind.ORG_MEMBERSHIP, raw)) is None


def test_a_withdrawn_membership_grants_nothing() -> None:
    columns = {
        "user_id": who("ada"),
        "org_id": ORG,
        "role": "org_admin",
        "status": "active",
        "withdrawn_at": "2026-06-10T12:00:00Z",
    }
    raw = author(EnvelopeKind.ORG_MEMBERSHIP, columns, chain_key("steward"), at_ms=AT_MS)
    assert grant_of(parse_envelope(EnvelopeKind.ORG_MEMBERSHIP, raw)) is None


@pytest.mark.parametrize("column", ["user_id", "org_id", "role"])
def test_altered_columns_grant_nothing(column: str) -> None:
    wrapper = json.loads(envelope("steward", "ada", "viewer"))
    wrapper["org_membership"][column] = "org_admin"
    raw = json.dumps(wrapper).encode()
    assert grant_of(parse_envelope(EnvelopeKind.ORG_MEMBERSHIP, raw)) is None


def test_another_kind_is_the_callers_mistake() -> None:
    raw = sample(EnvelopeKind.FAMILY, alice())
    with pytest.raises(LocalProtocolError):
        grant_of(parse_envelope(EnvelopeKind.FAMILY, raw))


GOOD = {
    "user_id": "u",
    "org_id": "o",
    "role": "viewer",
    "status": "active",
    "attesting_key_id": "a",
}
SIGNATURE = HybridSignature(bytes(64), None)


def test_a_grant_has_five_members() -> None:
    assert grant_from_members(from_plain(GOOD), SIGNATURE) is not None


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("value", [None, "", 7, ["x"], "ACTIVE", "owner"])
def test_a_member_missing_or_wrong_grants_nothing(name: str, value: object) -> None:
    missing = {key: item for key, item in GOOD.items() if key != name}
    assert grant_from_members(from_plain(missing), SIGNATURE) is None
    if name in ("role", "status") or not isinstance(value, str) or not value:
        changed = from_plain({**GOOD, name: value})
        assert grant_from_members(changed, SIGNATURE) is None


@pytest.mark.parametrize("members", [None, [], "x", {}])
def test_what_is_no_object_grants_nothing(members: Any) -> None:
    assert grant_from_members(members, SIGNATURE) is None


# -- laws ----------------------------------------------------------------------------------------

POOL = [
    grant("steward", "ada"),
    grant("ada", "ben"),
    grant("ben", "ada"),
    grant("ben", "cid", "operator"),
    grant("steward", "ben", "viewer"),
    grant("mallory", "cid"),
    grant("cid", "dan"),
    spoiled(grant("steward", "cid"), wrong_pqc),
]


@given(st.sampled_from(NAMES), st.lists(st.sampled_from(POOL), max_size=9), st.randoms())
def test_only_the_set_of_grants_matters(actor: str, grants: list[Any], random: Any) -> None:
    expected = resolved(actor, *grants)
    again = [*grants, *grants[:2]]
    random.shuffle(again)
    assert resolved(actor, *again) == expected


@given(st.sampled_from(NAMES), st.lists(st.sampled_from(POOL), max_size=6), st.sampled_from(POOL))
def test_one_more_grant_never_takes_a_role_away(actor: str, grants: list[Any], extra: Any) -> None:
    if resolved(actor, *grants).is_authorized:
        assert resolved(actor, *grants, extra).is_authorized


@given(st.lists(st.sampled_from(POOL), max_size=9))
def test_an_authorized_chain_is_made_of_grants(grants: list[MembershipGrant]) -> None:
    edges = {(it.attesting_key_id, it.user_id) for it in grants}
    for name in NAMES[1:]:
        chain = resolved(name, *grants).chain
        if chain:
            assert chain[0] == STEWARD
            assert chain[-1] == who(name)
            assert set(itertools.pairwise(chain)) <= edges
