"""Members of groups and occurrences of identities: each step, and what it leads to."""

from __future__ import annotations

import pytest

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.resolve.base import Rule, Status
from ciris_mesh.records.resolve.groups import MembersFound
from ciris_mesh.records.resolve.occurrences import OccurrencesFound
from ciris_mesh.records.resolve.table import Answer
from support.answers import (
    World,
    at,
    changed,
    device_removal,
    family,
    hex_id,
    member_removal,
    occurrence,
    revocation,
    rules,
    step,
)
from support.records import AT_MS, group_columns
from support.rulebook import K, key_id, key_record, made

ALICE = key_id("alice")
GROUP = family("majority", "alice", "bob carol", "alice", "bob")
GROUP_ID = str(GROUP.record["family_key_id"])


@pytest.fixture
def world() -> World:
    """alice, bob and carol are a family that decides by majority."""
    world = World()
    world.know("alice", "bob", "carol", "dave", "erin")
    world.add(GROUP)
    return world


def members(world: World, after_ms: int = 600_000, group_id: str = GROUP_ID) -> str:
    """Names of the active members."""
    found = found_of(world.ask("members", group_id, after_ms=after_ms))
    return " ".join(sorted(it.key_id.rpartition("-")[0] for it in found.members))


def found_of(answer: Answer) -> MembersFound:
    assert isinstance(answer.found, MembersFound)
    return answer.found


def devices(world: World, after_ms: int = 600_000) -> str:
    """Names of alice's active occurrences."""
    found = world.ask("occurrences", ALICE, after_ms=after_ms).found
    assert isinstance(found, OccurrencesFound)
    return " ".join(it.key_id.rpartition("-")[0] for it in found.active)


# -- members ---------------------------------------------------------------------------------------


def test_the_founding_record_lists_the_members(world: World) -> None:
    answer = world.ask("members", GROUP_ID)
    assert answer.status is Status.ANSWERED
    founding = step(answer, Rule.FOUNDED)
    assert (founding.record, founding.note) == (hex_id(GROUP), "majority")
    told = found_of(answer)
    assert (told.kind, told.group_name, told.roster) == ("family", "us", hex_id(GROUP))
    assert [it.role for it in told.members if it.key_id == ALICE] == ["founder"]
    assert members(world) == "alice bob carol"
    assert world.status("members", GROUP_ID, after_ms=-1) is Status.UNKNOWN


def test_a_community_is_answered_the_same_way() -> None:
    world = World()
    entry = {"key_id": ALICE, "joined_at": at(0), "role": "founder"}
    given = {"members": [entry], "consensus_protocol": "founder_only"}
    group = world.add(made(K.COMMUNITY, group_columns(K.COMMUNITY, "place", given), "alice"))
    answer = world.ask("members", str(group.record["community_key_id"]))
    assert found_of(answer).kind == "community"
    assert found_of(answer).group_name == "place"


def test_what_nobody_founded_is_unknown(world: World) -> None:
    assert world.status("members", "us-abcdefghijklmnop") is Status.UNKNOWN
    world.rows = []
    world.add(changed(GROUP, 5, "alice", "bob", "alice", "bob", "carol"))
    answer = world.ask("members", GROUP_ID)
    assert answer.status is Status.UNKNOWN
    assert rules(answer) == {Rule.ROSTER_BEFORE_FOUNDING, Rule.FOUNDING_MISSING}


def test_a_founding_too_few_of_whose_signatures_count_is_none(world: World) -> None:
    world.add(revocation("bob", "bob", 0))
    answer = world.ask("members", GROUP_ID)
    assert answer.status is Status.UNKNOWN
    assert Rule.FOUNDING_MISSING in rules(answer)


def test_the_members_change_the_roster(world: World) -> None:
    later = world.add(changed(GROUP, 10, "alice", "bob carol dave", "alice", "carol"))
    answer = world.ask("members", GROUP_ID)
    assert step(answer, Rule.ROSTER_CHANGED).record == hex_id(later)
    assert found_of(answer).superseded == (hex_id(GROUP),)
    assert members(world) == "alice bob carol dave"
    assert members(world, 9) == "alice bob carol"


def test_a_roster_too_few_signed_is_passed_over(world: World) -> None:
    world.add(changed(GROUP, 10, "alice", "dave", "alice"))
    answer = world.ask("members", GROUP_ID)
    assert Rule.ROSTER_NOT_DECIDED in rules(answer)
    assert members(world) == "alice bob carol"


def test_a_roster_is_decided_by_the_one_before_not_by_any(world: World) -> None:
    """Admission takes it by any earlier roster; the one in force decides whether it counts."""
    world.add(changed(GROUP, 10, "dave", "erin", "alice", "bob"))
    world.add(changed(GROUP, 20, "alice", "bob", "alice", "bob"))
    assert members(world) == "dave erin"
    world.add(changed(GROUP, 30, "dave", "erin alice", "dave", "erin"))
    assert members(world) == "alice dave erin"


def test_who_was_revoked_by_then_signs_nothing(world: World) -> None:
    world.add(changed(GROUP, 10, "alice", "dave", "alice", "bob"), revocation("bob", "bob", 10))
    assert members(world) == "alice bob carol"
    answer = world.ask("members", GROUP_ID)
    assert {it.about: it.note for it in answer.steps if it.rule is Rule.MEMBER_ACTIVE} == {
        ALICE: "",
        key_id("bob"): "revoked",
        key_id("carol"): "",
    }


def test_of_two_rosters_at_one_time_the_smaller_id_counts(world: World) -> None:
    rivals = [
        changed(GROUP, 10, "alice", "bob dave", "alice", "bob", "carol"),
        changed(GROUP, 10, "alice", "bob erin", "alice", "bob", "carol"),
    ]
    world.add(*rivals)
    answer = world.ask("members", GROUP_ID)
    assert found_of(answer).roster == min(map(hex_id, rivals))
    assert step(answer, Rule.ROSTER_TIE).record == max(map(hex_id, rivals))


def test_an_entrenched_group_keeps_its_roster() -> None:
    world = World()
    fixed = family("founder_only", "alice", "bob", "alice", consensus_protocol_entrenched=True)
    world.add(fixed, changed(fixed, 10, "alice", "", "alice", "bob"))
    answer = world.ask("members", str(fixed.record["family_key_id"]))
    assert Rule.ROSTER_ENTRENCHED in rules(answer)
    assert len(found_of(answer).members) == 2


@pytest.mark.parametrize("protocol", ["weighted:by age", "custom:by lot"])
def test_a_protocol_this_node_does_not_have_is_never_met(protocol: str) -> None:
    world = World()
    group = world.add(family(protocol, "alice", "bob", "alice", "bob"))
    world.add(changed(group, 10, "alice", "", "alice", "bob"))
    world.add(member_removal(group, "bob", 20, "alice"))
    answer = world.ask("members", str(group.record["family_key_id"]))
    assert {Rule.ROSTER_NOT_DECIDED, Rule.REMOVAL_NOT_DECIDED} <= rules(answer)
    assert len(found_of(answer).members) == 2


# -- removals --------------------------------------------------------------------------------------


def test_a_member_leaves(world: World) -> None:
    gone = world.add(member_removal(GROUP, "carol", 10, "carol", effective_ms=20))
    answer = world.ask("members", GROUP_ID)
    left = step(answer, Rule.MEMBER_LEFT)
    assert (left.about, left.at, left.record) == (key_id("carol"), at(20), hex_id(gone))
    assert members(world, 19) == "alice bob carol"
    assert members(world, 20) == "alice bob"
    (told,) = found_of(answer).removed
    assert (told.key_id, told.since) == (key_id("carol"), at(20))


def test_a_member_leaves_by_a_device_that_is_active_then(world: World) -> None:
    world.add(occurrence("carol", "laptop", "carol"), member_removal(GROUP, "carol", 10, "laptop"))
    assert members(world) == "alice bob"
    world.add(device_removal("carol", "laptop", "carol", 5))
    assert members(world) == "alice bob carol"
    assert Rule.REMOVAL_NOT_DECIDED in rules(world.ask("members", GROUP_ID))


def test_the_others_remove_a_member(world: World) -> None:
    world.add(member_removal(GROUP, "carol", 10, "alice", "bob"))
    assert step(world.ask("members", GROUP_ID), Rule.MEMBER_REMOVED).about == key_id("carol")
    assert members(world) == "alice bob"


def test_too_few_remove_nobody(world: World) -> None:
    world.add(member_removal(GROUP, "carol", 10, "alice"))
    assert Rule.REMOVAL_NOT_DECIDED in rules(world.ask("members", GROUP_ID))
    assert members(world) == "alice bob carol"


def test_who_was_removed_neither_signs_nor_is_counted(world: World) -> None:
    """Of two who are left two are a majority; the one who left does not make it two."""
    world.add(member_removal(GROUP, "carol", 10, "carol"))
    world.add(changed(GROUP, 20, "alice", "bob dave", "alice", "carol"))
    assert members(world) == "alice bob"
    world.add(changed(GROUP, 30, "alice", "bob dave", "alice", "bob"))
    assert members(world) == "alice bob dave"


def test_a_removal_is_for_good(world: World) -> None:
    world.add(member_removal(GROUP, "carol", 10, "carol"))
    world.add(changed(GROUP, 20, "alice", "bob carol", "alice", "bob"))
    assert members(world) == "alice bob"


def test_a_removal_of_nobody_is_passed_over(world: World) -> None:
    world.add(member_removal(GROUP, "dave", 10, "dave"))
    world.add(changed(GROUP, 20, "alice", "bob carol dave", "alice", "bob"))
    assert Rule.REMOVAL_OF_NOBODY in rules(world.ask("members", GROUP_ID))
    assert members(world) == "alice bob carol dave"


def test_two_founders_who_remove_each_other_at_once_end_as_the_ids_say() -> None:
    world = World()
    group = world.add(family("founder_only", "alice bob", "", "alice"))
    both = [member_removal(group, "alice", 10, "bob"), member_removal(group, "bob", 10, "alice")]
    world.add(*both)
    first = min(both, key=lambda it: it.envelope_id)
    left = members(world, group_id=str(group.record["family_key_id"]))
    assert left == first.signers[0].rpartition("-")[0]


def test_a_removal_at_the_founding_counts(world: World) -> None:
    world.add(member_removal(GROUP, "carol", 0, "carol"))
    assert members(world) == "alice bob"


def test_a_group_everybody_left_is_empty(world: World) -> None:
    world.add(*(member_removal(GROUP, name, 10, name) for name in ("alice", "bob", "carol")))
    assert world.status("members", GROUP_ID) is Status.EMPTY


def test_who_joins_later_is_no_member_yet() -> None:
    world = World()
    later = {"key_id": key_id("bob"), "joined_at": at(50)}
    first = {"key_id": ALICE, "joined_at": at(0), "role": "founder"}
    given = {"members": [first, later], "consensus_protocol": "founder_only"}
    group = world.add(made(K.FAMILY, group_columns(K.FAMILY, "us", given), "alice"))
    group_id = str(group.record["family_key_id"])
    assert members(world, 49, group_id) == "alice"
    assert members(world, 50, group_id) == "alice bob"


# -- occurrences -----------------------------------------------------------------------------------


def test_an_identity_vouches_for_its_devices(world: World) -> None:
    record = world.add(occurrence("alice", "laptop", "alice", 5, valid_until=at(50)))
    answer = world.ask("occurrences", ALICE, after_ms=10)
    assert answer.status is Status.ANSWERED
    told = step(answer, Rule.OCCURRENCE)
    assert (told.about, told.by, told.record) == (key_id("laptop"), ALICE, hex_id(record))
    assert [devices(world, when) for when in (4, 5, 49, 50)] == ["", "laptop", "laptop", ""]
    over = world.ask("occurrences", ALICE)
    assert over.status is Status.EMPTY
    assert Rule.OCCURRENCE_NOT_IN_FORCE in rules(over)


def test_a_device_vouches_for_another_while_it_is_active(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice", 5), occurrence("alice", "phone", "laptop", 9))
    assert devices(world) == "laptop phone"
    world.add(device_removal("alice", "laptop", "alice", 9))
    answer = world.ask("occurrences", ALICE)
    assert step(answer, Rule.OCCURRENCE_UNVOUCHED).about == key_id("phone")
    assert devices(world) == ""


def test_devices_that_vouch_for_each_other_hold_nothing_up(world: World) -> None:
    world.add(occurrence("alice", "laptop", "phone", 5), occurrence("alice", "phone", "laptop", 5))
    assert devices(world) == ""


def test_a_removed_device_stays_removed(world: World) -> None:
    gone = device_removal("alice", "laptop", "laptop", 10, effective_ms=20)
    world.add(occurrence("alice", "laptop", "alice", 5), gone)
    assert devices(world, 19) == "laptop"
    early = world.ask("occurrences", ALICE, after_ms=19)
    assert step(early, Rule.OCCURRENCE_REMOVED_LATER).at == at(20)
    assert step(world.ask("occurrences", ALICE), Rule.OCCURRENCE_REMOVED).record == hex_id(gone)
    world.add(occurrence("alice", "laptop", "alice", 30))
    assert devices(world) == ""


def test_the_removal_in_effect_first_counts(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice"))
    world.add(device_removal("alice", "laptop", "alice", 10, effective_ms=40))
    world.add(device_removal("alice", "laptop", "laptop", 11, effective_ms=30))
    assert devices(world, 29) == "laptop"
    assert devices(world, 30) == ""


def test_a_stranger_removes_no_device(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice"))
    world.add(device_removal("alice", "laptop", "mallory", 10))
    assert devices(world) == "laptop"


@pytest.mark.parametrize("order", [1, -1])
def test_who_vouched_may_shorten_it_and_lengthen_it_again(world: World, order: int) -> None:
    """In whichever order the words come: the latest says until when."""
    said = [(5, None), (10, 40), (60, 90)]
    for when, until in said[::order]:
        more = {} if until is None else {"valid_until": at(until)}
        world.add(occurrence("alice", "laptop", "alice", when, **more))
    assert [devices(world, when) for when in (5, 39)] == ["laptop"] * 2
    assert [devices(world, when) for when in (40, 59)] == [""] * 2
    assert [devices(world, when) for when in (60, 89, 90)] == ["laptop", "laptop", ""]


def test_of_two_words_at_one_time_the_shorter_counts(world: World) -> None:
    for until in (20, 90, 30):
        world.add(occurrence("alice", "laptop", "alice", 5, valid_until=at(until)))
    world.add(occurrence("alice", "laptop", "alice", 5))
    assert [devices(world, when) for when in (19, 20)] == ["laptop", ""]


def test_no_device_outlasts_what_the_identity_said_last(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice", 5), occurrence("alice", "phone", "alice", 5))
    world.add(occurrence("alice", "phone", "alice", 10, valid_until=at(50)))
    for by, when in (("phone", 20), ("laptop", 30)):
        world.add(occurrence("alice", "phone", by, when, valid_until=at(900)))
    assert devices(world, 49) == "laptop phone"
    shown = world.ask("occurrences", ALICE, after_ms=49).found
    assert isinstance(shown, OccurrencesFound)
    assert [it.until for it in shown.active] == ["", at(50)]
    told = world.ask("occurrences", ALICE, after_ms=49).steps
    assert [it.note for it in told if it.rule is Rule.OCCURRENCE] == ["", at(50)]
    assert devices(world, 50) == "laptop"


def test_a_device_shortens_anothers_time(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice", 5), occurrence("alice", "phone", "alice", 5))
    world.add(occurrence("alice", "phone", "laptop", 10, valid_until=at(50)))
    assert [devices(world, when) for when in (49, 50)] == ["laptop phone", "laptop"]
    world.add(occurrence("alice", "tablet", "phone", 49), occurrence("alice", "tv", "phone", 50))
    assert devices(world, 60) == "laptop tablet", "what it vouched for in time"


def test_the_laptop_removes_the_stolen_phone(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice", 5), occurrence("alice", "phone", "alice", 5))
    gone = world.add(device_removal("alice", "phone", "laptop", 10, effective_ms=7))
    assert [devices(world, when) for when in (9, 10)] == ["laptop phone", "laptop"]
    told = step(world.ask("occurrences", ALICE), Rule.OCCURRENCE_REMOVED)
    assert (told.about, told.by, told.at) == (key_id("phone"), key_id("laptop"), at(10))
    assert told.record == hex_id(gone)
    world.add(device_removal("alice", "laptop", "phone", 11))
    answer = world.ask("occurrences", ALICE)
    assert step(answer, Rule.OCCURRENCE_REMOVAL_UNVOUCHED).about == key_id("laptop")
    assert devices(world) == "laptop"


def test_devices_that_remove_each_other_at_once_both_go(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice", 5), occurrence("alice", "phone", "alice", 5))
    world.add(device_removal("alice", "phone", "laptop", 10))
    world.add(device_removal("alice", "laptop", "phone", 10))
    assert [devices(world, when) for when in (9, 10)] == ["laptop phone", ""]


def test_what_a_revoked_identity_vouches_for_is_nothing(world: World) -> None:
    world.add(occurrence("alice", "laptop", "alice", 5), revocation("alice", "alice", 5))
    answer = world.ask("occurrences", ALICE)
    assert Rule.SIGNER_REVOKED in rules(answer)
    assert answer.status is Status.EMPTY


def test_an_identity_without_devices_is_known_by_its_key(world: World) -> None:
    assert world.status("occurrences", ALICE) is Status.EMPTY
    assert world.status("occurrences", "eve-abcdefghijklmnop") is Status.UNKNOWN


def test_the_latest_record_of_a_device_is_told(world: World) -> None:
    def record(when: int, device_class: str) -> Envelope:
        return occurrence("alice", "laptop", "alice", when, device_class=device_class)

    world.add(record(5, "laptop"), record(9, "server"), key_record("laptop", at_ms=AT_MS))
    found = world.ask("occurrences", ALICE).found
    assert isinstance(found, OccurrencesFound)
    assert [it.device_class for it in found.active] == ["server"]
