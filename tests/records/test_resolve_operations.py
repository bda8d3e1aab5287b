"""Organizations, memberships, partner records: who could say it, and which of several counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.resolve.base import Rule, Status
from ciris_mesh.records.resolve.operations import Winner, WinnerFound
from ciris_mesh.records.resolve.table import Answer
from support.answers import World, at, grant, hex_id, organization, revocation, rules, step
from support.federation import TRUST
from support.records import AT_MS, columns
from support.rulebook import K, key_id, made

LICENSE = "license-1-x"


@pytest.fixture
def world() -> World:
    """chief is a root steward; alice, bob and carol are partner stewards, two are needed."""
    world = World()
    world.know("alice", "bob", "carol", "dave", "mallory", "chief")
    return world


def found(answer: Answer) -> WinnerFound:
    assert isinstance(answer.found, WinnerFound)
    return answer.found


def winner(answer: Answer) -> Winner:
    told = found(answer).winner
    assert told is not None, answer
    return told


def why(answer: Answer, loser: Envelope) -> str:
    (told,) = [it.why for it in found(answer).superseded if it.record == hex_id(loser)]
    return told


# -- organizations ---------------------------------------------------------------------------------


def test_one_record_by_a_root_steward_counts(world: World) -> None:
    record = world.add(organization("chief", 0))
    answer = world.ask("org", "acme")
    assert answer.status is Status.VALID
    assert (step(answer, Rule.ONLY_RECORD).note, step(answer, Rule.ROOT_STEWARD).about) == (
        "Acme, internal, active",
        key_id("chief"),
    )
    told = winner(answer)
    assert (told.record, told.by) == (hex_id(record), (key_id("chief"),))
    assert told.columns["name"] == "Acme"
    assert not [name for name in told.columns if "signature" in name or "envelope" in name]
    assert world.status("org", "evil") is Status.UNKNOWN


def test_the_latest_wins_and_ties_go_to_the_smallest_id(world: World) -> None:
    first = organization("chief", 0)
    rivals = [organization("chief", 9, name=name) for name in ("Acme A", "Acme B")]
    world.add(first, *rivals)
    answer = world.ask("org", "acme")
    assert step(answer, Rule.LATEST_WINS).count == 3
    ids = sorted(str(it.record["attestation_id"]) for it in rivals)
    assert winner(answer).attestation_id == ids[0]
    loser = next(it for it in rivals if it.record["attestation_id"] == ids[1])
    assert (why(answer, first), why(answer, loser)) == ("later", "tie")
    assert found(answer).superseded_count == 2
    assert winner(world.ask("org", "acme", after_ms=8)).record == hex_id(first), "as of then"


def test_before_the_first_record_nothing_counts(world: World) -> None:
    world.add(organization("chief", 10))
    answer = world.ask("org", "acme", after_ms=9)
    assert answer.status is Status.EMPTY
    assert step(answer, Rule.MADE_LATER).count == 1


@pytest.mark.parametrize(
    "ending", [{"status": "deactivated"}, {"withdrawn_at": at(10)}], ids=["status", "withdrawn"]
)
def test_an_end_is_for_good(world: World, ending: dict[str, Any]) -> None:
    world.add(organization("chief", 0))
    end = world.add(organization("chief", 10, **ending))
    world.add(organization("chief", 20, name="Acme again"))
    assert world.status("org", "acme", after_ms=9) is Status.VALID
    answer = world.ask("org", "acme")
    assert answer.status is Status.ENDED
    assert (found(answer).winner, found(answer).ended_by) == (None, hex_id(end))
    assert step(answer, Rule.ENDED_FOR_GOOD).record == hex_id(end)
    assert {it.why for it in found(answer).superseded} == {"ended"}


def test_a_suspension_is_none_and_a_time_may_be_over(world: World) -> None:
    world.add(organization("chief", 0, valid_until=at(50)))
    assert world.status("org", "acme", after_ms=49) is Status.VALID
    assert step(world.ask("org", "acme", after_ms=50), Rule.EXPIRED).at == at(50)
    world.add(organization("chief", 60, status="suspended"))
    answer = world.ask("org", "acme")
    assert answer.status is Status.SUSPENDED
    assert Rule.SUSPENDED in rules(answer)


# -- who could say it ------------------------------------------------------------------------------


def test_an_admin_says_it_and_the_chain_is_told(world: World) -> None:
    world.add(organization("chief", 0), grant("chief", "alice", 1), grant("alice", "bob", 2))
    world.add(organization("bob", 10, name="Acme Ltd"))
    answer = world.ask("org", "acme")
    assert winner(answer).columns["name"] == "Acme Ltd"
    made_by = [(it.about, it.by) for it in answer.steps if it.rule is Rule.ADMIN_BY]
    assert made_by == [(key_id("bob"), key_id("alice")), (key_id("alice"), key_id("chief"))]
    assert step(answer, Rule.ROOT_STEWARD).about == key_id("chief")


@pytest.mark.parametrize(
    "before",
    [
        (),
        (grant("chief", "alice", 1, "operator"),),
        (grant("chief", "alice", 11),),
        (grant("chief", "alice", 1, valid_until=at(10)),),
        (grant("chief", "alice", 1), grant("chief", "alice", 5, status="deactivated")),
        (grant("chief", "alice", 1), grant("chief", "alice", 5, withdrawn_at=at(5))),
        (grant("chief", "alice", 1), grant("chief", "alice", 5, "viewer")),
        (grant("dave", "alice", 1), grant("alice", "dave", 1)),
        (grant("chief", "alice", 1), revocation("chief", "alice", 5)),
        (grant("chief", "alice", 6), revocation("chief", "chief", 5)),
    ],
    ids=[
        "nobody",
        "no admin",
        "not yet",
        "no longer",
        "ended",
        "withdrawn",
        "demoted",
        "circle",
        "revoked",
        "by a revoked steward",
    ],
)
def test_who_was_no_admin_then_says_nothing(world: World, before: tuple[Envelope, ...]) -> None:
    world.add(organization("chief", 0), *before)
    late = world.add(organization("alice", 10, name="Mine"))
    answer = world.ask("org", "acme")
    assert winner(answer).columns["name"] == "Acme"
    passed_over = {it.record for it in answer.steps if it.rule in _PASSED_OVER}
    assert hex_id(late) in passed_over


_PASSED_OVER = (Rule.NOT_ENTITLED, Rule.SIGNER_REVOKED)


@pytest.mark.parametrize(
    "after",
    [grant("chief", "alice", 11, status="deactivated"), revocation("chief", "alice", 11)],
    ids=["ended", "revoked"],
)
def test_what_an_admin_said_before_its_end_stays(world: World, after: Envelope) -> None:
    world.add(organization("chief", 0), grant("chief", "alice", 1))
    world.add(organization("alice", 10, name="Ours"), after)
    assert winner(world.ask("org", "acme")).columns["name"] == "Ours"


def test_an_ex_admin_ends_nobody(world: World) -> None:
    world.add(organization("chief", 0), grant("chief", "alice", 1), grant("chief", "bob", 1))
    world.add(grant("chief", "alice", 5, status="deactivated"))
    world.add(grant("alice", "bob", 9, status="deactivated"))
    assert world.status("membership", "acme", key_id("bob")) is Status.VALID
    assert world.status("membership", "acme", key_id("alice")) is Status.ENDED


def test_two_admins_who_end_each_other_at_once_are_both_ended(world: World) -> None:
    """Of things at one instant none comes first."""
    world.add(organization("chief", 0), grant("chief", "alice", 1), grant("chief", "bob", 1))
    world.add(grant("alice", "bob", 9, status="deactivated"))
    world.add(grant("bob", "alice", 9, status="deactivated"))
    for name in ("alice", "bob"):
        assert world.status("membership", "acme", key_id(name)) is Status.ENDED


# -- memberships -----------------------------------------------------------------------------------


def test_a_membership_is_told_with_its_role(world: World) -> None:
    world.add(organization("chief", 0), grant("chief", "alice", 1))
    world.add(grant("alice", "bob", 2, "viewer"), grant("alice", "bob", 3, "operator"))
    answer = world.ask("membership", "acme", key_id("bob"))
    assert answer.status is Status.VALID
    assert step(answer, Rule.LATEST_WINS).note == "operator, active"
    assert world.status("membership", "acme", key_id("dave")) is Status.UNKNOWN
    world.add(grant("alice", "bob", 4, "operator", valid_until=at(50)))
    assert world.status("membership", "acme", key_id("bob")) is Status.EXPIRED


def test_a_membership_nobody_could_grant_counts_for_nothing(world: World) -> None:
    world.add(organization("chief", 0), grant("mallory", "mallory", 1))
    answer = world.ask("membership", "acme", key_id("mallory"))
    assert answer.status is Status.EMPTY
    assert rules(answer) == {Rule.NOT_ENTITLED, Rule.NOTHING_COUNTS}
    assert [it.why for it in found(answer).superseded] == ["not_entitled"]


def test_memberships_end_with_their_organization(world: World) -> None:
    world.add(organization("chief", 0), grant("chief", "alice", 1))
    end = world.add(organization("chief", 9, status="deactivated"))
    answer = world.ask("membership", "acme", key_id("alice"))
    assert answer.status is Status.ENDED
    assert step(answer, Rule.ORGANIZATION_ENDED).record == hex_id(end)
    assert found(answer).winner is None
    assert world.status("membership", "acme", key_id("alice"), after_ms=8) is Status.VALID


# -- partner records -------------------------------------------------------------------------------


def partner(after_ms: int, revision: int, *by: str, **more: Any) -> Envelope:
    given = columns(K.PARTNER_RECORD, "x", 1) | {"revision": revision, **more}
    return made(K.PARTNER_RECORD, given, *by or ("alice", "bob"), at_ms=AT_MS + after_ms)


def test_the_highest_revision_wins(world: World) -> None:
    old, new = partner(9, 1), partner(0, 2)
    world.add(old, new)
    answer = world.ask("partner", LICENSE)
    assert answer.status is Status.VALID
    assert winner(answer).record == hex_id(new)
    assert step(answer, Rule.REVISION_WINS).count == 2
    enough = step(answer, Rule.STEWARDS_ENOUGH)
    assert (enough.count, enough.needed) == (2, 2)
    assert why(answer, old) == "revision"
    assert world.status("partner", "license-9") is Status.UNKNOWN


@pytest.mark.parametrize(
    ("strict", "status", "rule"),
    [
        ("revoked", Status.REVOKED, Rule.PARTNER_REVOKED),
        ("suspended", Status.SUSPENDED, Rule.SUSPENDED),
    ],
)
def test_of_one_revision_the_stricter_wins(
    world: World, strict: str, status: Status, rule: Rule
) -> None:
    loose = partner(9, 1)
    world.add(loose, partner(0, 1, status=strict))
    answer = world.ask("partner", LICENSE)
    assert answer.status is status
    assert rule in rules(answer)
    assert why(answer, loose) == "stricter"


def test_of_equals_the_latest_wins(world: World) -> None:
    world.add(partner(0, 1), partner(5, 1, license_type="gold"))
    assert winner(world.ask("partner", LICENSE)).columns["license_type"] == "gold"


def test_a_license_expires_and_a_withdrawal_is_for_good(world: World) -> None:
    world.add(partner(0, 1, expires_at=at(50)))
    assert world.status("partner", LICENSE, after_ms=49) is Status.VALID
    assert world.status("partner", LICENSE, after_ms=50) is Status.EXPIRED
    gone = world.add(partner(60, 2, withdrawn_at=at(70)))
    world.add(partner(90, 3))
    assert world.status("partner", LICENSE, after_ms=69) is Status.VALID
    answer = world.ask("partner", LICENSE)
    assert answer.status is Status.ENDED
    assert step(answer, Rule.WITHDRAWN_FOR_GOOD).record == hex_id(gone)
    assert hex_id(gone) not in {it.record for it in found(answer).superseded}


def test_the_configuration_says_how_many_stewards(world: World) -> None:
    short = partner(5, 2, "alice", "mallory")
    world.add(partner(0, 1), short)
    answer = world.ask("partner", LICENSE)
    assert winner(answer).columns["revision"] == "1"
    assert step(answer, Rule.STEWARDS_SHORT).record == hex_id(short)
    assert why(answer, short) == "stewards"
    world.trust = replace(TRUST, partner_threshold=3)
    answer = world.ask("partner", LICENSE)
    assert answer.status is Status.EMPTY
    assert Rule.NOTHING_COUNTS in rules(answer)


def test_a_steward_revoked_by_then_is_not_counted(world: World) -> None:
    world.add(partner(5, 1, "alice", "bob"), revocation("bob", "bob", 5))
    assert world.status("partner", LICENSE) is Status.EMPTY
    world.add(partner(6, 1, "alice", "bob", "carol"))
    assert world.status("partner", LICENSE) is Status.VALID
