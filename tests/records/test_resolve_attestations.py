"""Attestations and places: what is said, what was taken back, and by whom it may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.resolve import facts
from ciris_mesh.records.resolve.attestations import AttestationsFound, Attested
from ciris_mesh.records.resolve.base import Rule, Status
from ciris_mesh.records.resolve.locations import LocationFound
from ciris_mesh.records.resolve.table import Answer
from support.answers import (
    World,
    at,
    attestation,
    hex_id,
    proof,
    revocation,
    rules,
    score,
    step,
    taking,
)
from support.federation import ACT
from support.records import AT_MS
from support.rulebook import K, key_id, key_record

ALICE, BOB = key_id("alice"), key_id("bob")
SCORE = score("alice", "bob")


@pytest.fixture
def world() -> World:
    """alice said something about bob."""
    world = World()
    world.know("alice", "bob", "carol", "dave", "erin", "mallory")
    world.add(SCORE)
    return world


def found(answer: Answer) -> AttestationsFound:
    assert isinstance(answer.found, AttestationsFound)
    return answer.found


def told(world: World, record: Envelope = SCORE, subject: str = BOB, **asked: Any) -> Attested:
    """What the answer says of one record."""
    all_ = found(world.ask("attestations", subject, **asked))
    (one,) = [it for it in (*all_.current, *all_.past) if it.record == hex_id(record)]
    return one


def delegation(by: str, to: str, after_ms: int = -1000, **more: Any) -> Envelope:
    return attestation(by, to, "delegates_to", after_ms, {"delegated_scope": [ACT]}, **more)


# -- what is said ----------------------------------------------------------------------------------


def test_a_statement_stands_until_it_is_taken_back(world: World) -> None:
    answer = world.ask("attestations", BOB)
    assert answer.status is Status.ANSWERED
    said = step(answer, Rule.ATTESTATION_CURRENT)
    assert (said.by, said.about) == (ALICE, BOB)
    assert said.note == "scores identity:continuity:v1 = 1"
    (one,) = found(answer).current
    assert (one.dimension, one.score, one.state) == ("identity:continuity:v1", "1", "current")


def test_who_is_listed_as_a_subject_is_spoken_of_too(world: World) -> None:
    listed = world.add(score("alice", "bob", 5, subject_key_ids=[key_id("erin")]))
    assert told(world, listed, key_id("erin")).state == "current"


def test_nothing_said_is_not_unknown(world: World) -> None:
    assert world.status("attestations", ALICE) is Status.EMPTY
    assert world.status("attestations", "eve-abcdefghijklmnop") is Status.UNKNOWN


def test_a_statement_holds_from_its_time_to_its_end(world: World) -> None:
    timed = world.add(score("alice", "bob", 10, expires_at=at(20)))
    early = world.ask("attestations", BOB, after_ms=9)
    assert step(early, Rule.MADE_LATER).count == 1
    assert told(world, timed, after_ms=19).state == "current"
    assert told(world, timed, after_ms=20).state == "expired"
    assert step(world.ask("attestations", BOB), Rule.ATTESTATION_EXPIRED).at == at(20)


def test_what_a_revoked_key_says_is_left_out(world: World) -> None:
    late = world.add(score("alice", "bob", 10), revocation("alice", "alice", 10))
    world.add(late)
    answer = world.ask("attestations", BOB)
    assert step(answer, Rule.SIGNER_REVOKED).by == ALICE
    assert [it.record for it in found(answer).current] == [hex_id(SCORE)]


def test_of_the_same_reference_by_the_same_attester_the_latest_counts(world: World) -> None:
    first, second = taking("alice", "supersedes", SCORE, 5), taking("alice", "supersedes", SCORE, 9)
    world.add(first, second, score("alice", "bob", 7))
    assert told(world, first).state == "duplicate"
    assert told(world, first).ended_by == hex_id(second)
    assert told(world, second).state == "current"
    assert Rule.ATTESTATION_DUPLICATE in rules(world.ask("attestations", BOB))
    assert told(world, score("alice", "bob", 7)).state == "current", (
        "without a reference nothing is"
    )


# -- what is taken back ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "type_", "rule", "state", "reason"),
    [
        ("alice", "supersedes", None, "superseded", Rule.ATTESTATION_SUPERSEDED),
        ("alice", "recants", None, "recanted", Rule.ATTESTATION_RECANTED),
        ("alice", "withdraws", 1, "withdrawn", Rule.ATTESTATION_WITHDRAWN),
        ("bob", "withdraws", 2, "withdrawn", Rule.ATTESTATION_WITHDRAWN),
    ],
)
def test_who_may_take_back(
    world: World, by: str, type_: str, rule: int | None, state: str, reason: Rule
) -> None:
    taker = world.add(taking(by, type_, SCORE, 10, rule))
    assert told(world, after_ms=9).state == "current"
    assert (told(world).state, told(world).ended_by) == (state, hex_id(taker))
    assert reason in rules(world.ask("attestations", BOB))


@pytest.mark.parametrize(
    ("by", "type_", "rule"),
    [
        ("mallory", "supersedes", None),
        ("bob", "recants", None),
        ("bob", "withdraws", 1),
        ("mallory", "withdraws", 2),
        ("mallory", "withdraws", 3),
        ("mallory", "withdraws", 4),
    ],
)
def test_who_may_not(world: World, by: str, type_: str, rule: int | None) -> None:
    taker = world.add(taking(by, type_, SCORE, 10, rule))
    assert told(world).state == "current"
    about = str(taker.record["attested_key_id"])
    assert told(world, taker, about).state == "not_entitled"
    assert Rule.ATTESTATION_NOT_ENTITLED in rules(world.ask("attestations", about))


def test_what_took_something_back_being_taken_back_brings_nothing_back(world: World) -> None:
    taker = world.add(taking("alice", "supersedes", SCORE, 10))
    world.add(taking("alice", "withdraws", taker, 20, 1))
    assert told(world, taker).state == "withdrawn"
    assert told(world).state == "superseded"


def test_another_record_under_the_same_id_is_not_meant(world: World) -> None:
    """mallory may take her own back, not alice's that happens to share the id."""
    name = SCORE.record["attestation_id"]
    world.add(score("mallory", "bob", 1, attestation_id=name))
    world.add(taking("mallory", "withdraws", SCORE, 10, 1))
    assert told(world).state == "current"
    assert told(world, score("mallory", "bob", 1, attestation_id=name)).state == "withdrawn"


def test_a_revoked_key_takes_nothing_back(world: World) -> None:
    world.add(taking("alice", "recants", SCORE, 10), revocation("alice", "alice", 10))
    assert told(world).state == "current"


# -- by somebody's delegate ------------------------------------------------------------------------


def test_a_delegate_takes_back_while_the_delegation_stands(world: World) -> None:
    given = world.add(delegation("bob", "erin"))
    world.add(taking("erin", "withdraws", SCORE, 10, 3))
    assert told(world).state == "withdrawn"
    world.add(taking("bob", "withdraws", given, 9, 1))
    assert told(world).state == "current", "the delegation was taken back before"


def test_a_delegation_taken_back_afterwards_undoes_nothing(world: World) -> None:
    given = world.add(delegation("bob", "erin"))
    world.add(taking("erin", "withdraws", SCORE, 10, 3), taking("bob", "recants", given, 10))
    assert told(world).state == "withdrawn"


def test_delegates_of_delegates_act_for_the_producer(world: World) -> None:
    world.add(delegation("alice", "carol"), delegation("carol", "dave"))
    world.add(taking("dave", "withdraws", SCORE, 10, 4, between="carol"))
    assert told(world).state == "withdrawn"
    world.add(revocation("carol", "carol", -1000))
    assert told(world).state == "current"


def test_withdrawals_that_rest_on_each_other_come_to_an_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = world.add(delegation("bob", "erin"))
    for after_ms in range(9, 0, -1):
        world.add(taking("erin", "withdraws", given, after_ms, 4))
        given = world.add(delegation("bob", "erin", after_ms - 1000))
    world.add(taking("erin", "withdraws", SCORE, 10, 3))
    assert told(world).state in ("withdrawn", "current")
    monkeypatch.setattr(facts, "DEPTH_MAX", 1)
    assert world.status("attestations", BOB) is Status.TOO_MANY


def test_a_reserved_dimension_needs_the_chain_it_came_in_by(world: World) -> None:
    """bob is a witness because root says so; what root said after its revocation is nothing."""
    world.trust = replace(world.trust, root_stewards=frozenset())
    vouched = key_record("bob", "witness", by="root", ref="vouched")
    world.add(key_record("root", "steward"), vouched)
    inner = {"dimension": "transparency_log:cosigned"}
    witnessed = world.add(attestation("bob", "alice", "scores", 5, inner))
    assert told(world, witnessed, ALICE).state == "current"
    world.add(revocation("root", "root", 0))
    assert told(world, witnessed, ALICE).state == "not_entitled"


WITNESSED = {"dimension": "transparency_log:cosigned"}


def steward_world(**steward: Any) -> World:
    """root makes dave a steward, from which time on dave says that bob is a witness."""
    world = World()
    world.know("alice", "bob", "dave")
    made = key_record("dave", "steward", by="root", at_ms=AT_MS, ref="steward", **steward)
    world.add(key_record("root", "steward"), made)
    return world


@pytest.mark.parametrize(
    ("said_ms", "state"), [(99, "current"), (100, "not_entitled"), (150, "not_entitled")]
)
def test_a_steward_who_expired_is_believed_what_he_said_before(said_ms: int, state: str) -> None:
    """Asked long after: the end of his term takes nothing back, and lets him say nothing more."""
    world = steward_world(valid_until=at(100))
    world.add(key_record("bob", "witness", by="dave", at_ms=AT_MS + said_ms, ref="witness"))
    witnessed = world.add(attestation("bob", "alice", "scores", 200, WITNESSED))
    assert told(world, witnessed, ALICE).state == state
    word = world.ask("attestations", ALICE, after_ms=201)
    assert bool(found(word).current) is (state == "current"), "whenever it is asked"


def test_who_was_made_a_steward_by_an_expired_one_is_none() -> None:
    for said_ms, state in ((99, "current"), (100, "not_entitled")):
        world = steward_world(valid_until=at(100))
        world.add(key_record("erin", "steward", by="dave", at_ms=AT_MS + said_ms, ref="steward"))
        world.add(key_record("bob", "witness", by="erin", at_ms=AT_MS + 150, ref="witness"))
        witnessed = world.add(attestation("bob", "alice", "scores", 200, WITNESSED))
        assert told(world, witnessed, ALICE).state == state


@pytest.mark.parametrize(("made_ms", "state"), [(49, "current"), (50, "not_entitled")])
def test_a_stewards_word_holds_while_it_says_it_does(made_ms: int, state: str) -> None:
    world = steward_world()
    word = key_record("bob", "witness", by="dave", ref="witness", valid_until=at(50))
    witnessed = attestation("bob", "alice", "scores", made_ms, WITNESSED)
    world.add(word, witnessed)
    assert told(world, witnessed, ALICE).state == state


def test_a_steward_says_nothing_before_his_term() -> None:
    world = steward_world(valid_from=at(100))
    world.add(key_record("bob", "witness", by="dave", ref="witness"))
    witnessed = world.add(attestation("bob", "alice", "scores", 200, WITNESSED))
    assert told(world, witnessed, ALICE).state == "not_entitled"


def test_stewards_who_make_each_other_stewards_come_to_an_end() -> None:
    world = steward_world()
    world.add(key_record("erin", "steward", by="dave", ref="by dave"))
    world.add(key_record("dave", "steward", by="erin", ref="by erin"))
    world.add(key_record("bob", "witness", by="erin", ref="witness"))
    witnessed = world.add(attestation("bob", "alice", "scores", 200, WITNESSED))
    assert told(world, witnessed, ALICE).state == "current"


# -- places ----------------------------------------------------------------------------------------


def place(world: World, after_ms: int = 600_000) -> tuple[Answer, str]:
    answer = world.ask("location", ALICE, after_ms=after_ms)
    assert isinstance(answer.found, LocationFound)
    return answer, answer.found.place.cell if answer.found.place else ""


HERE, THERE = "872830828ffffff", "872830829ffffff"


def test_the_latest_place_is_told(world: World) -> None:
    assert world.status("location", ALICE) is Status.EMPTY
    world.add(proof("alice", "alice", 5, HERE), proof("alice", "alice", 9, THERE))
    answer, cell = place(world)
    assert (answer.status, cell) == (Status.ANSWERED, THERE)
    assert step(answer, Rule.PLACE).about == THERE
    assert place(world, 8)[1] == HERE
    assert place(world, 4)[1] == ""
    assert world.status("location", "eve-abcdefghijklmnop") is Status.UNKNOWN


def test_a_place_that_is_over_or_withdrawn_uncovers_the_one_before(world: World) -> None:
    world.add(proof("alice", "alice", 1, HERE))
    world.add(proof("alice", "alice", 5, THERE, valid_until=at(20)))
    assert place(world, 19)[1] == THERE
    answer, cell = place(world, 20)
    assert (cell, step(answer, Rule.PLACE_OVER).about) == (HERE, THERE)
    world.add(proof("alice", "alice", 5, THERE, withdrawn_at=at(10)))
    assert place(world, 9)[1] == THERE
    answer, cell = place(world, 10)
    assert cell == HERE
    assert Rule.PLACE_WITHDRAWN in rules(answer)


def test_a_delegate_says_where_somebody_is_while_it_may(world: World) -> None:
    given = world.add(delegation("alice", "carol"))
    world.add(proof("alice", "carol", 5))
    assert place(world)[1] == HERE
    world.add(taking("alice", "recants", given, 4))
    answer, cell = place(world)
    assert (answer.status, cell) == (Status.EMPTY, "")
    assert Rule.PLACE_NOT_ENTITLED in rules(answer)


def test_a_stranger_does_not(world: World) -> None:
    world.add(proof("alice", "alice", 1, HERE), proof("alice", "mallory", 5, THERE))
    assert place(world)[1] == HERE


def test_a_revoked_subject_is_nowhere_new(world: World) -> None:
    world.add(proof("alice", "alice", 1, HERE), proof("alice", "alice", 5, THERE))
    world.add(revocation("alice", "alice", 5))
    assert place(world)[1] == HERE
    assert K.LOCATION_PROOF.value == "location_proof"
