"""Rosters as values, and ids that commit to how a group began."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.consensus import Electorate
from ciris_mesh.records.envelope import SIGNERS_FIT, Envelope, parse_envelope
from ciris_mesh.records.groups import (
    DIGEST_CHARS,
    ID_COLUMNS,
    founding_digest,
    is_group_id,
    new_group_id,
    read_group,
)
from ciris_mesh.records.outcome import Reason
from support.records import AT_MS, group_columns, member
from support.rulebook import K, countersigned, key_id, made

ALICE, BOB, CAROL = (key_id(name) for name in ("alice", "bob", "carol"))
ROSTER = [member(ALICE, founder=True), member(BOB)]
GEO = {
    "cohort_subkind": "geographic",
    "geographic_constraint": {"cell_id": "872830828ffffff", "cell_resolution": 7},
}


def family(**changes: Any) -> dict[str, Any]:
    return group_columns(K.FAMILY, "smiths", {"members": ROSTER, **changes})


def community(policy: Any, **changes: Any) -> Envelope:
    given = {"members": ROSTER, "policy_blob": policy, **changes}
    return made(K.COMMUNITY, group_columns(K.COMMUNITY, "riverside", given), "alice")


def test_a_founding_record_is_known_by_its_id() -> None:
    group = read_group(made(K.FAMILY, family(), "alice"))
    assert group.is_founding
    assert group.members == {ALICE, BOB}
    assert group.founders == {ALICE}
    assert (group.founded_at_ms, group.is_entrenched, group.cell) == (AT_MS, False, None)
    assert group.basis is Electorate.MEMBERS


def test_the_label_is_free() -> None:
    columns = family()
    digest = columns["family_key_id"].removeprefix("smiths-")
    for label in ("family", "a-b-c", "Smîths & Co"):
        assert read_group(made(K.FAMILY, columns | {"family_key_id": f"{label}-{digest}"}, "bob"))


@pytest.mark.parametrize("label", ["", "smiths", "-"])
def test_the_digest_alone_is_no_id(label: str) -> None:
    digest = family()["family_key_id"].removeprefix("smiths-")
    columns = family() | {"family_key_id": f"{label}{digest}"}
    assert not read_group(made(K.FAMILY, columns, "alice")).is_founding


@pytest.mark.parametrize(
    "change",
    [
        {"family_name": "others"},
        {"members": [member(ALICE, founder=True)]},
        {"members": [member(ALICE), member(BOB, founder=True)]},
        {"members": [member(ALICE, AT_MS - 1, founder=True), member(BOB)]},
        {"founded_at": "2020-01-01T00:00:00Z"},
        {"consensus_protocol": "majority"},
        {"consensus_protocol_entrenched": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_id_commits_to_everything_else(change: dict[str, Any]) -> None:
    assert not read_group(made(K.FAMILY, family() | change, "alice")).is_founding
    assert read_group(made(K.FAMILY, family(**change), "alice")).is_founding


def test_the_policy_of_a_community_and_the_kind_are_in_it_too() -> None:
    columns = group_columns(K.COMMUNITY, "riverside", {"members": ROSTER, "policy_blob": GEO})
    assert read_group(made(K.COMMUNITY, columns, "alice")).is_founding
    assert not read_group(made(K.COMMUNITY, columns | {"policy_blob": None}, "alice")).is_founding
    record = made(K.COMMUNITY, columns, "alice").record
    assert founding_digest(K.FAMILY, record) != founding_digest(K.COMMUNITY, record)


def test_the_example_stays_what_it_is() -> None:
    """Frozen: another value would make every group that exists a stranger."""
    columns = {
        "family_name": "Acme",
        "members": [{"key_id": "a", "joined_at": "2026-06-10T12:00:00Z", "role": "founder"}],
        "founded_at": "2026-06-10T12:00:00Z",
        "consensus_protocol": "founder_only",
    }
    assert (
        new_group_id(K.FAMILY, "family-acme", columns)
        == "family-acme-z3aq22no4ur2qux4pkrzf5hcpnj3ybnu"
    )
    later = columns | {"founded_at": "2026-06-10T14:00:00.000+02:00"}
    assert (
        new_group_id(K.FAMILY, "family-acme", later)
        == "family-acme-z3aq22no4ur2qux4pkrzf5hcpnj3ybnu"
    ), "same instant"


CROWD = [member(f"m{n}", founder=n < 15) for n in range(30)]


@pytest.mark.parametrize(
    ("members", "protocol", "policy", "is_refused"),
    [
        (CROWD[:27], "majority", None, False),
        (CROWD[:28], "majority", None, True),
        (CROWD[:14], "unanimous", None, False),
        (CROWD[:15], "unanimous", None, True),
        (CROWD, "quorum:14/30", None, False),
        (CROWD, "quorum:15/30", None, True),
        (CROWD, "founder_only", None, False),
        (CROWD[:14], "custom:charter", None, False),
        (CROWD[:15], "custom:charter", None, True),
        (CROWD[1:], "quorum:14/14", {"cohort_subkind": "infrastructure"}, False),
        (CROWD, "quorum:15/15", {"cohort_subkind": "infrastructure"}, True),
    ],
)
def test_what_more_must_decide_than_one_record_has_room_for_is_refused(
    members: list[dict[str, Any]], protocol: str, policy: Any, is_refused: bool
) -> None:
    given = {"members": members, "consensus_protocol": protocol, "policy_blob": policy}
    record = made(K.COMMUNITY, group_columns(K.COMMUNITY, "many", given), "alice")
    if is_refused:
        assert refusal(record) == Reason.CONSENSUS_OUT_OF_REACH
    else:
        assert read_group(record).signers_needed <= SIGNERS_FIT


def test_a_rule_from_elsewhere_is_no_obstacle_where_an_earlier_roster_decides() -> None:
    columns = group_columns(K.FAMILY, "few", {"members": CROWD[:1]})
    change = columns | {"members": CROWD, "consensus_protocol": "custom:charter"}
    assert not read_group(made(K.FAMILY, change, "alice")).is_founding


def test_so_many_signatures_fit_around_a_small_record() -> None:
    given = {"identity_key_id": "alice", "occurrence_key_id": "phone"}
    record = made(K.IDENTITY_OCCURRENCE_REVOCATION, given, "alice")
    names = [f"a{n:02d}" for n in range(SIGNERS_FIT + 1)]
    assert len(countersigned(record, *names[1:], alone=True).signers) == SIGNERS_FIT
    with pytest.raises(MalformedRecord) as caught:
        countersigned(record, *names, alone=True)
    assert caught.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("x-" + "a" * 32, True),
        ("a-b-" + "a2" * 16, True),
        ("-" + "a" * 32, False),
        ("a" * 32, False),
        ("x-" + "a" * 31, False),
        ("x-" + "a" * 33, False),
        ("x-" + "A" * 32, False),
        ("x-" + "a" * 31 + "1", False),
        ("fam-1", False),
        ("", False),
    ],
)
def test_what_could_be_an_id(text: str, is_one: bool) -> None:
    assert is_group_id(text) is is_one


@given(st.text(max_size=40))
def test_an_id_made_here_could_be_one(label: str) -> None:
    made_id = new_group_id(K.FAMILY, label, family() | {"family_key_id": None})
    assert is_group_id(made_id) is bool(label)
    assert len(made_id) == len(label) + 1 + DIGEST_CHARS


def refusal(envelope: Envelope) -> str:
    with pytest.raises(MalformedRecord) as caught:
        read_group(envelope)
    return caught.value.reason


@pytest.mark.parametrize("protocol", ["", "quorum:3/2", "quorum:0/0", "vote", "quorum:2/3 "])
def test_a_protocol_is_one_of_the_grammar(protocol: str) -> None:
    record = made(K.FAMILY, family(consensus_protocol=protocol), "alice")
    assert refusal(record) == Reason.CONSENSUS_MALFORMED


def test_members_are_listed_once() -> None:
    twice = [member(ALICE, founder=True), member(ALICE)]
    assert refusal(made(K.FAMILY, family(members=twice), "alice")) == Reason.MEMBERS_NOT_UNIQUE


@pytest.mark.parametrize("members", [[], [member(ALICE)], [member(ALICE) | {"role": "Founder"}]])
def test_somebody_is_a_founder(members: list[dict[str, Any]]) -> None:
    assert refusal(made(K.FAMILY, family(members=members), "alice")) == Reason.FOUNDER_MISSING


def test_a_geographic_community_has_a_cell() -> None:
    group = read_group(community(GEO))
    assert str(group.cell) == "872830828ffffff"
    assert not group.is_entrenched
    assert read_group(community({"cohort_subkind": "choir"})).cell is None
    assert read_group(community(None)).cell is None


@pytest.mark.parametrize(
    "policy",
    [
        [],
        "geographic",
        {"cohort_subkind": "geographic"},
        GEO | {"geographic_constraint": None},
        GEO | {"geographic_constraint": {"cell_id": "872830828ffffff"}},
        GEO | {"geographic_constraint": {"cell_id": "872830828ffffff", "cell_resolution": 6}},
        GEO | {"geographic_constraint": {"cell_id": "872830828ffffff", "cell_resolution": -7}},
        GEO | {"geographic_constraint": {"cell_id": "872830828ffffff", "cell_resolution": 7.5}},
        GEO | {"geographic_constraint": {"cell_id": "8828308281fffff", "cell_resolution": 8}},
        GEO | {"geographic_constraint": {**GEO["geographic_constraint"], "more": 1}},  # type: ignore[dict-item]
        GEO | {"cohort_subkind": "choir"},
    ],
)
def test_a_policy_that_does_not_hold_is_refused(policy: Any) -> None:
    assert refusal(community(policy)) == Reason.GROUP_POLICY_MALFORMED


@pytest.mark.parametrize(
    ("protocol", "is_fine"),
    [("quorum:2/2", True), ("quorum:1/2", False), ("quorum:2/3", False), ("unanimous", False)],
)
def test_infrastructure_is_decided_by_most_of_its_founders(protocol: str, is_fine: bool) -> None:
    founders = [member(ALICE, founder=True), member(BOB, founder=True), member(CAROL)]
    envelope = community(
        {"cohort_subkind": "infrastructure"}, members=founders, consensus_protocol=protocol
    )
    if not is_fine:
        assert refusal(envelope) == Reason.GROUP_POLICY_MALFORMED
        return
    group = read_group(envelope)
    assert group.is_entrenched
    assert group.basis is Electorate.FOUNDERS
    assert group.is_founded_by({ALICE, BOB})
    assert not group.is_founded_by({ALICE, CAROL}), "only founders are counted"


@pytest.mark.parametrize(
    ("protocol", "signers", "is_enough"),
    [
        ("founder_only", {ALICE}, True),
        ("founder_only", {BOB, CAROL}, False),
        ("majority", {ALICE, BOB}, True),
        ("majority", {ALICE}, False),
        ("majority", {BOB, CAROL}, False),
        ("quorum:1/3", {ALICE}, True),
        ("quorum:1/3", {BOB}, False),
        ("unanimous", {ALICE, BOB}, False),
        ("unanimous", {ALICE, BOB, CAROL}, True),
        ("weighted:tenure", {ALICE, BOB}, False),
        ("weighted:tenure", {ALICE, BOB, CAROL}, True),
        ("custom:charter", {ALICE, BOB, CAROL}, True),
    ],
)
def test_founding_takes_what_the_protocol_asks_and_a_founder(
    protocol: str, signers: set[str], is_enough: bool
) -> None:
    members = [*ROSTER, member(CAROL)]
    columns = family(members=members, consensus_protocol=protocol)
    group = read_group(made(K.FAMILY, columns, "alice"))
    assert group.is_founded_by(signers) is is_enough
    assert group.is_founded_by(signers | {"stranger"}) is is_enough


def test_who_has_gone_is_not_counted_unless_it_signs() -> None:
    members = [*ROSTER, member(CAROL), member("dave"), member("erin")]
    columns = family(members=members, consensus_protocol="majority")
    group = read_group(made(K.FAMILY, columns, "alice"))
    assert not group.may_decide({ALICE, BOB}, [])
    assert group.may_decide({ALICE, BOB}, ["dave", "erin"])
    assert not group.may_decide({ALICE}, ["dave", "erin"])
    assert group.may_decide({ALICE, "dave"}, ["dave", "erin", BOB])
    assert not group.may_decide({ALICE, "stranger"}, ["erin"])


def test_a_rule_from_elsewhere_decides_nothing_here() -> None:
    group = read_group(made(K.FAMILY, family(consensus_protocol="custom:x"), "alice"))
    assert not group.may_decide({ALICE, BOB}, [])


def test_each_kind_names_its_groups() -> None:
    for kind, column in ID_COLUMNS.items():
        assert parse_envelope(
            kind, made(kind, group_columns(kind, "x", {"members": ROSTER}), "alice").raw
        ).record[column]


def test_a_roster_is_read_once_and_never_taken_for_another() -> None:
    one = made(K.FAMILY, family(), "alice")
    group = read_group(one)
    assert read_group(one) is group
    assert read_group(countersigned(one, "bob")) == group
    other = replace(one, record={**one.record, "consensus_protocol": "majority"})
    assert other.raw == one.raw
    assert read_group(other).protocol != group.protocol
    bad = replace(one, record={**one.record, "consensus_protocol": "nonsense:9"})
    for _ in range(2):
        with pytest.raises(MalformedRecord):
            read_group(bad)
    for n in range(20):  # more than are kept
        read_group(made(K.FAMILY, family(family_name=f"{n}"), "alice"))
    assert read_group(one) == group
