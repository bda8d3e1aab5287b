"""Organizations, memberships and partner records: stewards, admins, and quorums of stewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.operations import PARTNER_SETS, closed_kinds
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.records.tokens import key_token, token
from support.keys import key
from support.records import AT_MS, columns
from support.rulebook import MINUTE_MS, K, Shelf, key_id, made

STEWARDS = ("alice", "bob", "carol")
TRUST = Trust(
    root_stewards=frozenset({key_id("steward")}),
    partner_stewards=frozenset(map(key_id, STEWARDS)),
    partner_threshold=2,
)
LATER_MS = AT_MS + MINUTE_MS


def organization(by: str, org_id: str = "acme", at_ms: int = AT_MS, **more: Any) -> Envelope:
    given = {"org_id": org_id, "name": "Acme", "org_type": "internal", "status": "active"}
    return made(K.ORGANIZATION, given | more, by, at_ms=at_ms)


def grant(
    by: str,
    to: str,
    role: str = "org_admin",
    org_id: str = "acme",
    at_ms: int = AT_MS,
    **more: Any,
) -> Envelope:
    given = {"user_id": key_id(to), "org_id": org_id, "role": role, "status": "active"}
    return made(K.ORG_MEMBERSHIP, given | more, by, at_ms=at_ms)


def partner(*by: str, **more: Any) -> Envelope:
    return made(K.PARTNER_RECORD, columns(K.PARTNER_RECORD, "x", 1) | more, *by)


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf(TRUST)
    made.know("steward", "alice", "bob", "carol", "dave", "mallory")
    return made


# -- organizations -------------------------------------------------------------------------------


def test_a_root_steward_founds_an_organization(shelf: Shelf) -> None:
    assert shelf.reason(organization("steward")) is Reason.NONE
    finding = shelf.asks(organization("alice"))
    assert finding.reason is Reason.NOT_ORG_ADMIN
    assert finding.waits_for == (token(K.ORG_MEMBERSHIP, "acme", key_id("alice")),)


def test_its_admin_changes_it_afterwards(shelf: Shelf) -> None:
    shelf.add(organization("steward"), grant("steward", "alice"))
    assert shelf.reason(organization("alice", at_ms=LATER_MS, name="Acme Ltd")) is Reason.NONE
    other = organization("alice", "other", LATER_MS, parent_org_id="acme")
    assert shelf.reason(other) is Reason.NOT_ORG_ADMIN, "of this one only"


def test_a_membership_is_of_an_organization_that_is_here(shelf: Shelf) -> None:
    finding = shelf.asks(grant("steward", "alice"))
    assert finding.reason is Reason.ORGANIZATION_UNKNOWN
    assert finding.waits_for == (token(K.ORGANIZATION, "acme"),)
    shelf.add(organization("steward"))
    assert shelf.reason(grant("steward", "alice")) is Reason.NONE


def test_admins_appoint_and_others_do_not(shelf: Shelf) -> None:
    shelf.add(organization("steward"), grant("steward", "alice"), grant("alice", "bob", "operator"))
    assert shelf.reason(grant("alice", "carol", "viewer")) is Reason.NONE
    assert shelf.reason(grant("bob", "carol", "viewer")) is Reason.NOT_ORG_ADMIN
    assert shelf.reason(grant("mallory", "mallory")) is Reason.NOT_ORG_ADMIN


def test_an_admin_of_one_organization_is_none_of_another(shelf: Shelf) -> None:
    shelf.add(organization("steward"), organization("steward", "other"), grant("steward", "alice"))
    assert shelf.reason(grant("alice", "bob", org_id="other")) is Reason.NOT_ORG_ADMIN
    assert shelf.reason(grant("alice", "bob")) is Reason.NONE


def test_a_circle_of_grants_is_never_entered(shelf: Shelf) -> None:
    shelf.add(organization("steward"))
    circle = [grant("alice", "bob"), grant("bob", "carol"), grant("carol", "alice")]
    assert {shelf.reason(one) for one in circle} == {Reason.NOT_ORG_ADMIN}
    shelf.add(grant("steward", "bob"))
    assert [shelf.reason(one) for one in circle] == [
        Reason.NOT_ORG_ADMIN,
        Reason.NONE,
        Reason.NOT_ORG_ADMIN,
    ]


@pytest.mark.parametrize(
    ("granted", "reason"),
    [
        ({}, Reason.NONE),
        ({"status": "deactivated"}, Reason.NOT_ORG_ADMIN),
        ({"withdrawn_at": from_unix_ms(AT_MS)}, Reason.NOT_ORG_ADMIN),
        ({"role": "key_manager"}, Reason.NOT_ORG_ADMIN),
        ({"valid_until": from_unix_ms(LATER_MS)}, Reason.NOT_ORG_ADMIN),
        ({"valid_until": from_unix_ms(LATER_MS + 1)}, Reason.NONE),
        ({"at_ms": LATER_MS + 1}, Reason.NOT_ORG_ADMIN),
    ],
    ids=["fine", "ended", "withdrawn", "role", "over", "still", "later"],
)
def test_a_grant_is_active_and_in_force_when_it_is_used(
    shelf: Shelf, granted: dict[str, Any], reason: Reason
) -> None:
    shelf.add(organization("steward"), grant("steward", "alice", **granted))
    assert shelf.reason(organization("alice", at_ms=LATER_MS)) is reason
    assert shelf.reason(grant("alice", "bob", "viewer", at_ms=LATER_MS)) is reason


# -- payment ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [K.ORGANIZATION, K.ORG_MEMBERSHIP, K.PARTNER_RECORD])
@pytest.mark.parametrize(
    "extra",
    [{"note": "cus_12345"}, {"sub_9": 1}, {"deep": [{"list": ["x", "pi_1"]}]}],
    ids=["value", "name", "deep"],
)
def test_no_payment_processors_id_comes_in_anywhere(
    shelf: Shelf, kind: EnvelopeKind, extra: dict[str, Any]
) -> None:
    shelf.add(organization("steward"))
    makers: dict[EnvelopeKind, Callable[[dict[str, Any]], Envelope]] = {
        K.ORGANIZATION: lambda more: organization("steward", at_ms=LATER_MS, **more),
        K.ORG_MEMBERSHIP: lambda more: grant("steward", "alice", **more),
        K.PARTNER_RECORD: lambda more: partner("alice", "bob", **more),
    }
    make = makers[kind]
    assert shelf.reason(make({"signed_envelope": extra})) is Reason.PAYMENT_ID
    assert shelf.reason(make({"signed_envelope": {"note": "cus_"}})) is Reason.NONE
    assert shelf.reason(make({"org_id": "acct", "signed_envelope": {}})) is not Reason.PAYMENT_ID
    assert shelf.reason(make({"org_id": "cus_1", "signed_envelope": {}})) is Reason.PAYMENT_ID


# -- without configured stewards -----------------------------------------------------------------


def test_without_root_stewards_none_comes_in_and_none_waits() -> None:
    shelf = Shelf(Trust())
    shelf.know("steward", "alice")
    assert shelf.reason(organization("steward")) is Reason.ROOT_STEWARDS_UNSET
    assert shelf.reason(grant("steward", "alice")) is Reason.ROOT_STEWARDS_UNSET


@pytest.mark.parametrize(
    ("trust", "closed"),
    [
        (TRUST, set()),
        (Trust(), {K.ORGANIZATION, K.ORG_MEMBERSHIP, K.PARTNER_RECORD}),
        (Trust(root_stewards=TRUST.root_stewards), {K.PARTNER_RECORD}),
        (
            Trust(partner_stewards=TRUST.partner_stewards, partner_threshold=1),
            {K.ORGANIZATION, K.ORG_MEMBERSHIP},
        ),
    ],
    ids=["configured", "not at all", "roots alone", "partner stewards alone"],
)
def test_a_kind_is_closed_where_nobody_may_sign_it(trust: Trust, closed: set[EnvelopeKind]) -> None:
    assert closed_kinds(trust) == closed
    shelf = Shelf(trust)
    shelf.know("steward", *STEWARDS)
    shelf.add(organization("steward"))
    records = (organization("steward"), grant("steward", "alice"), partner(*STEWARDS))
    assert {it.kind for it in records if not shelf.asks(it).is_fine} == closed


# -- partners ------------------------------------------------------------------------------------


def test_enough_configured_stewards_sign_a_partner_record(shelf: Shelf) -> None:
    assert shelf.reason(partner("alice", "bob")) is Reason.NONE
    assert shelf.reason(partner("alice", "bob", "carol")) is Reason.NONE
    assert shelf.reason(partner("alice")) is Reason.STEWARDS_NOT_ENOUGH


def test_nobody_else_signs_one(shelf: Shelf) -> None:
    """Its id covers who signed: each stranger would make another record of it."""
    for by in (["alice", "bob", "mallory"], ["alice", "mallory"], ["mallory", "dave"]):
        assert shelf.reason(partner(*by)) is Reason.SIGNER_NOT_STEWARD


def test_a_stewards_key_is_here_when_it_is_counted() -> None:
    shelf = Shelf(TRUST)
    shelf.know("alice", "bob")
    finding = shelf.asks(partner("alice", "bob", "carol"))
    assert finding.reason is Reason.KEY_UNKNOWN
    assert finding.waits_for == (key_token(key_id("carol")),)


def test_the_threshold_a_record_states_means_nothing(shelf: Shelf) -> None:
    one = partner("alice")
    assert one.wrapper["threshold"] == partner("alice", "bob").wrapper["threshold"]
    assert shelf.reason(one) is Reason.STEWARDS_NOT_ENOUGH


@pytest.mark.parametrize(
    "trust",
    [Trust(), Trust(partner_stewards=TRUST.partner_stewards), Trust(partner_threshold=1)],
    ids=["nothing", "no threshold", "no stewards"],
)
def test_without_configured_stewards_none_comes_in(trust: Trust) -> None:
    shelf = Shelf(trust)
    shelf.know(*STEWARDS)
    assert shelf.reason(partner(*STEWARDS)) is Reason.PARTNER_STEWARDS_UNSET


def test_one_person_under_two_names_is_one(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    record = partner("alice", "bob")
    assert shelf.reason(record) is Reason.NONE
    monkeypatch.setattr(shelf, "public_key", lambda _: key("alice").public)
    assert shelf.reason(record) is Reason.STEWARDS_NOT_ENOUGH


@pytest.mark.parametrize("name", PARTNER_SETS)
@pytest.mark.parametrize("values", [["b", "a"], ["a", "a"], "a", [1], [["a"]], None])
def test_sets_are_sorted_sets(shelf: Shelf, name: str, values: Any) -> None:
    record = partner("alice", "bob", signed_envelope={name: values})
    assert shelf.reason(record) is Reason.SET_UNSORTED
    fine = partner("alice", "bob", signed_envelope={name: ["a", "b"]})
    assert shelf.reason(fine) is Reason.NONE


def test_sets_are_sorted_as_utf16(shelf: Shelf) -> None:
    record = partner("alice", "bob", signed_envelope={PARTNER_SETS[0]: ["\U0001f600", "\uffff"]})
    assert shelf.reason(record) is Reason.NONE
