"""Who founds a group, who changes it, and who removes whom."""

from __future__ import annotations

from typing import Any

import pytest

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.groups import ID_COLUMNS
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import WAITS_MAX
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.records.tokens import key_token, member_token, token, tokens_of
from support.records import AT_MS, group_columns, member
from support.rulebook import MINUTE_MS, K, Shelf, key_columns, key_id, made

REMOVALS = {
    K.FAMILY: K.FAMILY_MEMBERSHIP_REVOCATION,
    K.COMMUNITY: K.COMMUNITY_MEMBERSHIP_REVOCATION,
}
EVERYBODY = ("alice", "bob", "carol", "dave", "erin")
#: alice's keys under another name: to make one up is free.
AN_ALIAS = member(f"nobody{key_id('alice').removeprefix('alice')}", founder=True)
INSIDE = CELL = "872830828ffffff"
OUTSIDE, WIDER = "871fb4662ffffff", "86283082fffffff"
GROUPS = pytest.mark.parametrize("kind", [K.FAMILY, K.COMMUNITY])


def roster(founders: str, others: str = "") -> list[dict[str, Any]]:
    """Members by name, words."""
    return [
        *(member(key_id(name), founder=True) for name in founders.split()),
        *(member(key_id(name)) for name in others.split()),
    ]


def founded(
    kind: EnvelopeKind, members: list[dict[str, Any]], *by: str, protocol: str, **more: Any
) -> Envelope:
    given = {"members": members, "consensus_protocol": protocol, **more}
    return made(kind, group_columns(kind, "us", given), *by)


def changed(group: Envelope, *by: str, after_ms: int = MINUTE_MS, **change: Any) -> Envelope:
    """A later roster under the id of `group`."""
    kept = {name: group.record[name] for name in group.record if name != "persist_row_hash"}
    at_ms = AT_MS + after_ms
    columns: dict[str, Any] = {**kept, "founded_at": from_unix_ms(at_ms), **change}
    return made(group.kind, columns, *by, at_ms=at_ms)


def removed(
    group: Envelope, who: str, *by: str, after_ms: int = 2 * MINUTE_MS, **more: Any
) -> Envelope:
    columns = {
        ID_COLUMNS[group.kind]: group.record[ID_COLUMNS[group.kind]],
        "removed_identity_key_id": key_id(who),
        **more,
    }
    return made(REMOVALS[group.kind], columns, *by, at_ms=AT_MS + after_ms)


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf()
    made.know(*EVERYBODY, "mallory")
    return made


# -- founding ------------------------------------------------------------------------------------


@GROUPS
def test_a_group_is_founded_as_its_protocol_asks(shelf: Shelf, kind: EnvelopeKind) -> None:
    members = roster("alice", "bob carol")
    assert shelf.reason(founded(kind, members, "alice", "bob", protocol="majority")) is Reason.NONE
    for by in (["alice"], ["bob", "carol"], ["mallory", "alice"]):
        finding = shelf.asks(founded(kind, members, *by, protocol="majority"))
        assert finding.reason is Reason.FOUNDERS_NOT_ENOUGH
        assert finding.waits_for == tokens_of(founded(kind, members, "bob", protocol="majority"))


@GROUPS
def test_its_members_are_known(shelf: Shelf, kind: EnvelopeKind) -> None:
    finding = shelf.asks(
        founded(kind, roster("alice", "zoe yan"), "alice", protocol="founder_only")
    )
    assert finding.reason is Reason.KEY_UNKNOWN
    assert set(finding.waits_for) == {key_token(key_id("yan")), key_token(key_id("zoe"))}


@GROUPS
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protocol": "quorum:3/2"}, Reason.CONSENSUS_MALFORMED),
        ({"members": roster("alice", "bob bob")}, Reason.MEMBERS_NOT_UNIQUE),
        ({"members": roster("", "alice bob")}, Reason.FOUNDER_MISSING),
        ({"members": [*roster("alice"), AN_ALIAS]}, Reason.MEMBERS_NOT_UNIQUE),
    ],
)
def test_a_roster_that_cannot_be_read_is_refused(
    shelf: Shelf, kind: EnvelopeKind, change: dict[str, Any], reason: Reason
) -> None:
    given: dict[str, Any] = {"members": roster("alice", "bob"), "protocol": "founder_only"}
    members, protocol = (given | change).values()
    assert shelf.reason(founded(kind, members, "alice", protocol=protocol)) is reason


@GROUPS
def test_one_key_under_an_id_that_does_not_show_it_is_still_one(
    shelf: Shelf, kind: EnvelopeKind
) -> None:
    """As a registry's key may have one that was pinned here."""
    shelf.add(made(K.KEY, key_columns("bob") | {"key_id": "reg-1"}, "bob"))
    members = [*roster("alice", "bob"), member("reg-1")]
    twice = founded(kind, members, "alice", protocol="founder_only")
    assert shelf.reason(twice) is Reason.MEMBERS_NOT_UNIQUE
    once = founded(kind, [members[0], members[2]], "alice", protocol="founder_only")
    assert shelf.reason(once) is Reason.NONE


def test_a_policy_that_does_not_hold_is_refused(shelf: Shelf) -> None:
    record = founded(K.COMMUNITY, roster("alice"), "alice", protocol="founder_only", policy_blob=[])
    assert shelf.reason(record) is Reason.GROUP_POLICY_MALFORMED


@GROUPS
def test_an_id_that_commits_to_nothing_founds_nothing(shelf: Shelf, kind: EnvelopeKind) -> None:
    group = founded(kind, roster("alice"), "alice", protocol="founder_only")
    other: dict[str, Any] = {ID_COLUMNS[kind]: "fam-1"}
    named = changed(group, "alice", **other)
    assert shelf.reason(named) is Reason.GROUP_ID_NOT_SELF_CERTIFYING


@GROUPS
def test_nobody_founds_a_group_under_anothers_id(shelf: Shelf, kind: EnvelopeKind) -> None:
    """Whatever date the record bears and whether or not the real one is here yet."""
    group = founded(kind, roster("alice"), "alice", protocol="founder_only")
    taken = changed(group, "mallory", after_ms=-(10**9), members=roster("mallory"))
    finding = shelf.asks(taken)
    assert finding.reason is Reason.ROSTER_UNKNOWN
    assert finding.waits_for == (token(kind, str(group.record[ID_COLUMNS[kind]])),)
    shelf.add(group)
    assert shelf.reason(taken) is Reason.CONSENSUS_NOT_REACHED


# -- changing ------------------------------------------------------------------------------------


@GROUPS
def test_an_earlier_roster_decides_about_a_later_one(shelf: Shelf, kind: EnvelopeKind) -> None:
    group = founded(kind, roster("alice", "bob carol"), "alice", "bob", protocol="majority")
    more = roster("alice", "bob carol dave")
    assert shelf.reason(changed(group, "bob", "carol", members=more)) is Reason.ROSTER_UNKNOWN
    shelf.add(group)
    assert shelf.reason(changed(group, "bob", "carol", members=more)) is Reason.NONE
    for by in (["bob"], ["bob", "dave"], ["dave", "mallory"]):
        finding = shelf.asks(changed(group, *by, members=more))
        assert finding.reason is Reason.CONSENSUS_NOT_REACHED
        group_id = str(group.record[ID_COLUMNS[kind]])
        expected = {member_token(kind, group_id, key_id(name)) for name in by}
        if "bob" in by:
            expected.add(token(REMOVALS[kind], group_id))
        assert set(finding.waits_for) == expected, "who is listed nowhere gains by no removal"


@GROUPS
def test_a_roster_decides_about_later_ones_only(shelf: Shelf, kind: EnvelopeKind) -> None:
    group = shelf.add(founded(kind, roster("alice"), "alice", protocol="founder_only"))
    more = roster("alice", "bob")
    for after_ms in (0, -MINUTE_MS):
        early = changed(group, "alice", after_ms=after_ms, members=more)
        assert shelf.reason(early) is Reason.CONSENSUS_NOT_REACHED
    assert shelf.reason(changed(group, "alice", after_ms=1, members=more)) is Reason.NONE


@GROUPS
def test_who_joined_later_decides_from_then_on(shelf: Shelf, kind: EnvelopeKind) -> None:
    group = shelf.add(founded(kind, roster("alice"), "alice", protocol="founder_only"))
    third = changed(group, "bob", after_ms=2 * MINUTE_MS, members=roster("bob"))
    assert shelf.reason(third) is Reason.CONSENSUS_NOT_REACHED
    shelf.add(changed(group, "alice", members=roster("alice bob")))
    assert shelf.reason(third) is Reason.NONE


@GROUPS
def test_who_has_left_is_not_asked(shelf: Shelf, kind: EnvelopeKind) -> None:
    members, by = roster("alice", "bob carol dave"), ("alice", "bob", "carol")
    group = shelf.add(founded(kind, members, *by, protocol="majority"))
    later = changed(group, "alice", "bob", after_ms=3 * MINUTE_MS, members=roster("alice", "bob"))
    assert shelf.reason(later) is Reason.CONSENSUS_NOT_REACHED
    shelf.add(removed(group, "carol", "carol", after_ms=4 * MINUTE_MS))
    assert shelf.reason(later) is Reason.CONSENSUS_NOT_REACHED, "she left afterwards"
    shelf.add(removed(group, "dave", "dave"))
    assert shelf.reason(later) is Reason.NONE


@GROUPS
def test_a_rule_from_elsewhere_changes_nothing_here(shelf: Shelf, kind: EnvelopeKind) -> None:
    group = shelf.add(founded(kind, roster("alice bob"), "alice", "bob", protocol="custom:charter"))
    change = changed(group, "alice", "bob", members=roster("alice"))
    assert shelf.reason(change) is Reason.CONSENSUS_NOT_REACHED


def test_nobody_changes_an_entrenched_family(shelf: Shelf) -> None:
    group = founded(
        K.FAMILY,
        roster("alice", "bob"),
        "alice",
        "bob",
        protocol="unanimous",
        consensus_protocol_entrenched=True,
    )
    change = changed(group, "alice", "bob", members=roster("alice", "bob carol"))
    assert shelf.reason(change) is Reason.ROSTER_UNKNOWN
    assert shelf.reason(group) is Reason.NONE
    shelf.add(group)
    assert shelf.reason(change) is Reason.GROUP_ENTRENCHED
    assert shelf.reason(removed(group, "bob", "bob")) is Reason.NONE, "leaving changes no roster"


def test_a_family_can_entrench_itself_later(shelf: Shelf) -> None:
    group = shelf.add(founded(K.FAMILY, roster("alice"), "alice", protocol="founder_only"))
    entrenched = shelf.add(changed(group, "alice", consensus_protocol_entrenched=True))
    assert shelf.reason(entrenched) is Reason.NONE
    bob_in = changed(entrenched, "bob", after_ms=2 * MINUTE_MS, members=roster("alice bob"))
    assert shelf.reason(bob_in) is Reason.CONSENSUS_NOT_REACHED
    later = changed(entrenched, "alice", after_ms=2 * MINUTE_MS, members=roster("alice bob"))
    assert shelf.reason(later) is Reason.NONE, (
        "the earlier roster allows it; that the entrenched one stands is decided by who asks"
    )


def test_only_an_entrenched_roster_behind_it_decides_nothing(shelf: Shelf) -> None:
    group = shelf.add(founded(K.FAMILY, roster("alice"), "alice", protocol="founder_only"))
    shelf.add(changed(group, "alice", members=roster("bob"), consensus_protocol_entrenched=True))
    later = changed(group, "bob", after_ms=2 * MINUTE_MS, members=roster("bob carol"))
    assert shelf.reason(later) is Reason.CONSENSUS_NOT_REACHED


def test_infrastructure_is_entrenched_and_its_founders_decide(shelf: Shelf) -> None:
    group = founded(
        K.COMMUNITY,
        roster("alice bob carol", "dave"),
        "alice",
        "bob",
        protocol="quorum:2/3",
        policy_blob={"cohort_subkind": "infrastructure"},
    )
    assert shelf.reason(group) is Reason.NONE
    shelf.add(group)
    assert shelf.reason(changed(group, "alice", "bob")) is Reason.GROUP_ENTRENCHED
    assert shelf.reason(removed(group, "dave", "alice", "bob")) is Reason.NONE
    assert shelf.reason(removed(group, "carol", "alice", "dave")) is Reason.CONSENSUS_NOT_REACHED


# -- whose signatures can matter -----------------------------------------------------------------


@GROUPS
@pytest.mark.parametrize(
    ("protocol", "voters"),
    [("founder_only", "alice"), ("majority", "alice bob carol"), ("custom:x", "alice bob carol")],
)
def test_who_votes_counts_when_a_group_is_founded(
    shelf: Shelf, kind: EnvelopeKind, protocol: str, voters: str
) -> None:
    group = founded(kind, roster("alice", "bob carol"), "alice", protocol=protocol)
    assert shelf.counts(group, *EVERYBODY) == set(voters.split())
    assert shelf.asks(group).reason is not Reason.NONE or voters == "alice"


def test_of_infrastructure_only_founders_count(shelf: Shelf) -> None:
    group = founded(
        K.COMMUNITY,
        roster("alice bob", "carol"),
        "alice",
        "bob",
        protocol="quorum:2/2",
        policy_blob={"cohort_subkind": "infrastructure"},
    )
    assert shelf.counts(group, *EVERYBODY) == {"alice", "bob"}


@GROUPS
def test_who_voted_before_counts_when_a_roster_changes(shelf: Shelf, kind: EnvelopeKind) -> None:
    """Not those whom the new one lets in, or its author could crowd out who must sign."""
    group = founded(kind, roster("alice", "bob"), "alice", "bob", protocol="majority")
    change = changed(group, "alice", members=roster("alice", "bob carol"))
    assert shelf.counts(change, *EVERYBODY) == set()
    shelf.add(group)
    assert shelf.counts(change, *EVERYBODY) == {"alice", "bob"}
    shelf.add(changed(group, "alice", after_ms=MINUTE_MS + 1, members=roster("erin")))
    assert shelf.counts(change, *EVERYBODY) == {"alice", "bob"}, "that one came later"
    shelf.add(changed(group, "alice", after_ms=1, members=roster("alice", "dave")))
    assert shelf.counts(change, *EVERYBODY) == {"alice", "bob", "dave"}


def test_an_entrenched_roster_has_no_say_in_the_next(shelf: Shelf) -> None:
    group = shelf.add(founded(K.FAMILY, roster("alice"), "alice", protocol="founder_only"))
    shelf.add(
        changed(
            group, "alice", after_ms=1, members=roster("bob"), consensus_protocol_entrenched=True
        )
    )
    change = changed(group, "alice", members=roster("alice", "carol"))
    assert shelf.counts(change, *EVERYBODY) == {"alice"}


@GROUPS
def test_who_votes_in_any_roster_counts_when_a_member_goes(
    shelf: Shelf, kind: EnvelopeKind
) -> None:
    group = founded(kind, roster("alice", "bob"), "alice", "bob", protocol="majority")
    record, everybody = removed(group, "bob", "bob"), (*EVERYBODY, "mallory")
    assert shelf.counts(record, *everybody) == {"bob"}
    shelf.add(group, changed(group, "alice", "bob", after_ms=10**9, members=roster("carol", "bob")))
    assert shelf.counts(record, *everybody) == {"alice", "bob", "carol"}
    columns = {
        "identity_key_id": key_id("bob"),
        "occurrence_key_id": key_id("erin"),
        "device_class": "phone",
    }
    shelf.add(made(K.IDENTITY_OCCURRENCE, columns, "bob"))
    assert shelf.counts(record, *everybody) == {"alice", "bob", "carol", "erin"}


# -- removing ------------------------------------------------------------------------------------


@GROUPS
def test_a_removal_is_of_a_member_of_a_roster_that_is_here(
    shelf: Shelf, kind: EnvelopeKind
) -> None:
    group = founded(kind, roster("alice", "bob"), "alice", protocol="founder_only")
    for record in (removed(group, "bob", "bob"), removed(group, "mallory", "mallory")):
        finding = shelf.asks(record)
        assert finding.reason is Reason.ROSTER_UNKNOWN
        gone = str(record.record["removed_identity_key_id"])
        group_id = str(group.record[ID_COLUMNS[kind]])
        assert finding.waits_for == (member_token(kind, group_id, gone),)
    shelf.add(group)
    assert shelf.reason(removed(group, "bob", "bob")) is Reason.NONE
    assert shelf.reason(removed(group, "mallory", "mallory")) is Reason.ROSTER_UNKNOWN


@GROUPS
def test_a_later_roster_removes_whom_only_an_earlier_one_lists(
    shelf: Shelf, kind: EnvelopeKind
) -> None:
    """Who handed a group over is removed by those who have it now."""
    group = shelf.add(founded(kind, roster("mallory", "alice"), "mallory", protocol="founder_only"))
    record = removed(group, "mallory", "alice")
    assert shelf.reason(record) is Reason.CONSENSUS_NOT_REACHED
    shelf.add(changed(group, "mallory", members=roster("alice", "bob")))
    assert shelf.reason(record) is Reason.NONE
    assert shelf.reason(removed(group, "erin", "alice")) is Reason.ROSTER_UNKNOWN


@GROUPS
def test_a_member_goes_by_one_vouch_of_its_own(shelf: Shelf, kind: EnvelopeKind) -> None:
    group = shelf.add(
        founded(kind, roster("alice", "bob carol"), "alice", "bob", protocol="majority")
    )
    record = removed(group, "bob", "dave")
    finding = shelf.asks(record)
    assert finding.reason is Reason.CONSENSUS_NOT_REACHED
    assert token(K.IDENTITY_OCCURRENCE, key_id("bob"), key_id("dave")) in finding.waits_for
    columns = {
        "identity_key_id": key_id("bob"),
        "occurrence_key_id": key_id("dave"),
        "device_class": "phone",
    }
    shelf.add(made(K.IDENTITY_OCCURRENCE, columns, "bob"))
    assert shelf.reason(record) is Reason.NONE
    assert shelf.reason(removed(group, "carol", "dave")) is Reason.CONSENSUS_NOT_REACHED


@GROUPS
@pytest.mark.parametrize(
    ("protocol", "by", "reason"),
    [
        ("founder_only", "alice", Reason.NONE),
        ("founder_only", "bob carol", Reason.CONSENSUS_NOT_REACHED),
        ("majority", "alice bob carol", Reason.NONE),
        ("majority", "alice bob", Reason.CONSENSUS_NOT_REACHED),
        ("majority", "alice bob mallory", Reason.CONSENSUS_NOT_REACHED),
        ("quorum:1/4", "carol", Reason.NONE),
        ("unanimous", "alice bob carol", Reason.CONSENSUS_NOT_REACHED),
        ("custom:x", "alice bob carol", Reason.CONSENSUS_NOT_REACHED),
    ],
)
def test_a_group_removes_as_its_protocol_asks(
    shelf: Shelf, kind: EnvelopeKind, protocol: str, by: str, reason: Reason
) -> None:
    members = roster("alice", "bob carol dave")
    group = founded(kind, members, "alice", "bob", "carol", "dave", protocol=protocol)
    assert shelf.reason(group) is Reason.NONE
    shelf.add(group)
    assert shelf.reason(removed(group, "dave", *by.split())) is reason


def test_a_community_removes_nobody_in_advance(shelf: Shelf) -> None:
    later: dict[str, Any] = {"effective_at": from_unix_ms(AT_MS + 3 * MINUTE_MS)}
    for kind, reason in (
        (K.COMMUNITY, Reason.REMOVAL_IN_ADVANCE),
        (K.FAMILY, Reason.NONE),
    ):
        group = shelf.add(founded(kind, roster("alice", "bob"), "alice", protocol="founder_only"))
        assert shelf.reason(removed(group, "bob", "alice", **later)) is reason
        assert shelf.reason(removed(group, "bob", "alice")) is Reason.NONE


# -- places --------------------------------------------------------------------------------------


def proof(name: str, cell: str, resolution: int = 7, **more: Any) -> Envelope:
    columns = {
        "subject_key_id": key_id(name),
        "cell_id": cell,
        "cell_resolution": resolution,
        "asserted_at": from_unix_ms(AT_MS - MINUTE_MS),
        **more,
    }
    return made(K.LOCATION_PROOF, columns, name)


def geographic(cell: str = CELL, resolution: int = 7) -> Envelope:
    policy = {
        "cohort_subkind": "geographic",
        "geographic_constraint": {"cell_id": cell, "cell_resolution": resolution},
    }
    return founded(
        K.COMMUNITY, roster("alice", "bob"), "alice", protocol="founder_only", policy_blob=policy
    )


def test_members_of_a_place_live_there(shelf: Shelf) -> None:
    finding = shelf.asks(geographic())
    assert finding.reason is Reason.LOCATION_UNPROVEN
    assert set(finding.waits_for) == {
        token(K.LOCATION_PROOF, key_id(name)) for name in ("alice", "bob")
    }
    shelf.add(proof("alice", INSIDE))
    finding = shelf.asks(geographic())
    assert finding.waits_for == (token(K.LOCATION_PROOF, key_id("bob")),)
    shelf.add(proof("bob", INSIDE))
    assert shelf.reason(geographic()) is Reason.NONE
    assert shelf.reason(geographic(WIDER, 6)) is Reason.NONE, "a finer cell lies in a wider one"


@pytest.mark.parametrize(
    "wrong",
    [
        {"cell_id": OUTSIDE},
        {"cell_id": WIDER, "cell_resolution": 6},
        {"asserted_at": from_unix_ms(AT_MS + 1)},
        {"valid_until": from_unix_ms(AT_MS)},
        {"withdrawn_at": from_unix_ms(AT_MS)},
        {"cell_id": "nowhere"},
    ],
    ids=["elsewhere", "too vague", "later", "over", "withdrawn", "no cell"],
)
def test_a_proof_is_inside_and_in_force_when_the_roster_was_made(
    shelf: Shelf, wrong: dict[str, Any]
) -> None:
    given: dict[str, Any] = {"cell_id": INSIDE, "cell_resolution": 7}
    shelf.add(proof("alice", INSIDE))
    chosen = given | wrong
    shelf.add(proof("bob", chosen.pop("cell_id"), chosen.pop("cell_resolution"), **chosen))
    assert shelf.reason(geographic()) is Reason.LOCATION_UNPROVEN
    shelf.add(
        proof("bob", INSIDE, asserted_at=from_unix_ms(AT_MS), valid_until=from_unix_ms(AT_MS + 1))
    )
    assert shelf.reason(geographic()) is Reason.NONE


def test_rows_from_before_there_were_rules_decide_nothing(shelf: Shelf) -> None:
    group = founded(K.FAMILY, roster("alice"), "alice", protocol="founder_only")
    shelf.add(changed(group, "bob", after_ms=-1, members=roster("", "bob"), consensus_protocol="?"))
    assert shelf.reason(changed(group, "bob")) is Reason.ROSTER_UNKNOWN


# -- what it costs -------------------------------------------------------------------------------


def test_many_missing_members_are_waited_for_a_few_at_a_time(shelf: Shelf) -> None:
    names = [f"n{number:02}" for number in range(40)]
    members = [member(key_id("alice"), founder=True), *(member(f"{n}-x") for n in names)]
    finding = shelf.asks(founded(K.FAMILY, members, "alice", protocol="founder_only"))
    assert finding.reason is Reason.KEY_UNKNOWN
    assert finding.needs_all
    assert finding.waits_for == tuple(key_token(f"{n}-x") for n in names[:WAITS_MAX])


def test_removals_are_read_for_members_alone(shelf: Shelf) -> None:
    group = shelf.add(
        founded(K.FAMILY, roster("alice", "bob carol"), "alice", "bob", protocol="majority")
    )
    removals = token(K.FAMILY_MEMBERSHIP_REVOCATION, str(group.record["family_key_id"]))
    shelf.asked_for.clear()
    assert shelf.reason(changed(group, "mallory")) is Reason.CONSENSUS_NOT_REACHED
    assert removals not in shelf.asked_for
    assert shelf.reason(changed(group, "bob")) is Reason.CONSENSUS_NOT_REACHED
    assert shelf.asked_for.count(removals) == 1
