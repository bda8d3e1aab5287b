"""What was only announced decides nothing, and makes every answer it would change a suspect one."""

from __future__ import annotations

import pytest

from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.preview import first_half
from ciris_mesh.records.resolve import view
from ciris_mesh.records.resolve.base import RowSet, Rule, Status
from ciris_mesh.records.resolve.pending import Pending, has_standing
from ciris_mesh.records.resolve.table import Answer, resolve
from support.answers import (
    NS_PER_MS,
    TAU_S,
    World,
    changed,
    device_removal,
    family,
    hex_id,
    member_removal,
    occurrence,
    revocation,
    score,
    step,
)
from support.records import AT_MS
from support.rulebook import key_id, key_record

ALICE, BOB, CAROL = map(key_id, ("alice", "bob", "carol"))
AFTER_MS = 600_000


@pytest.fixture
def world() -> World:
    """Root vouched for bob, and bob for carol; alice has a laptop."""
    world = World()
    world.know("alice", "bob", "carol", "dave", "laptop", "mallory")
    world.add(key_record("root", "steward"))
    world.add(key_record("bob", by="root", ref="vouched", at_ms=AT_MS + 1))
    world.add(key_record("carol", by="bob", ref="vouched", at_ms=AT_MS + 1))
    world.add(occurrence("alice", "laptop", "alice"))
    return world


def half(record: Envelope) -> Pending:
    bare = parse_envelope(record.kind, first_half(record.kind, record.raw))
    return Pending(bare, hex_id(record), "peer")


def ask(world: World, question: str, subject: str, *pending: Pending) -> Answer:
    at_ns = (AT_MS + AFTER_MS) * NS_PER_MS
    return resolve(
        question, subject, RowSet(world.rows), world.trust, at_ns,
        tau_partial_s=TAU_S, pending=pending,
    )  # fmt: skip


def stands(world: World, record: Envelope) -> bool:
    at_ns = (AT_MS + AFTER_MS) * NS_PER_MS
    return has_standing(RowSet(world.rows), world.trust, at_ns, half(record).half)


@pytest.mark.parametrize("by", ["carol", "bob", "root", "chief"])
def test_a_revocation_by_who_has_the_say_makes_its_key_suspect(world: World, by: str) -> None:
    world.know("chief")
    removal = revocation(by, "carol", 10)
    assert stands(world, removal)
    for question in ("key", "revoked"):
        answer = ask(world, question, CAROL, half(removal))
        assert answer.status is Status.SUSPECT
        told = step(answer, Rule.REMOVAL_PENDING)
        assert (told.about, told.by, told.record) == (CAROL, key_id(by), hex_id(removal))
    assert ask(world, "key", ALICE, half(removal)).status is Status.VALID, "of nobody else"
    assert ask(world, "revoked", "", half(removal)).status is Status.SUSPECT


def test_a_claim_by_a_stranger_changes_nothing(world: World) -> None:
    removal = revocation("mallory", "carol", 10)
    assert not stands(world, removal)
    plain, told = (ask(world, "key", CAROL, *it) for it in ((), (half(removal),)))
    assert told == plain


def test_it_never_makes_an_answer_less_restrictive(world: World) -> None:
    """A pending revocation of the revoker would take back the revocation that counts."""
    world.add(revocation("bob", "carol", 10))
    before = ask(world, "key", CAROL)
    assert before.status is Status.REVOKED
    assert ask(world, "key", CAROL, half(revocation("root", "bob", 5))) == before


def test_a_device_that_is_to_go_makes_its_identity_suspect(world: World) -> None:
    removal = device_removal("alice", "laptop", "alice", 10)
    assert stands(world, removal)
    assert not stands(world, device_removal("alice", "laptop", "mallory", 10))
    assert ask(world, "occurrences", ALICE).status is Status.ANSWERED
    answer = ask(world, "occurrences", ALICE, half(removal))
    assert answer.status is Status.SUSPECT
    assert step(answer, Rule.REMOVAL_PENDING).about == key_id("laptop")


def test_a_member_that_is_to_go_makes_the_group_suspect(world: World) -> None:
    group = world.add(family("founder_only", "alice", "bob", "alice"))
    group_id = str(group.record["family_key_id"])
    removal = member_removal(group, "bob", 10, "alice")
    assert stands(world, removal)
    assert not stands(world, member_removal(group, "bob", 10, "mallory"))
    assert ask(world, "members", group_id).status is Status.ANSWERED
    answer = ask(world, "members", group_id, half(removal))
    assert answer.status is Status.SUSPECT
    told = step(answer, Rule.REMOVAL_PENDING)
    assert (told.about, told.note) == (BOB, group_id)
    assert ask(world, "members", group_id, half(revocation("carol", "carol", 10))).status is (
        Status.ANSWERED
    )


def test_what_the_removed_had_signed_afterwards_is_suspect(world: World) -> None:
    world.add(score("carol", "alice", 20))
    answer = ask(world, "attestations", ALICE, half(revocation("carol", "carol", 10)))
    assert answer.status is Status.SUSPECT


def test_when_the_record_is_here_it_decides_by_itself(world: World) -> None:
    removal = revocation("carol", "carol", 10)
    world.add(removal)
    answer = ask(world, "key", CAROL, half(removal))
    assert answer.status is Status.REVOKED
    assert Rule.REMOVAL_PENDING not in {it.rule for it in answer.steps}


def test_where_there_is_too_much_to_read_nobody_has_standing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = world.add(family("founder_only", "alice", "bob", "alice"))
    world.add(changed(group, 5, "alice", "bob carol", "alice"))
    removal = member_removal(group, "bob", 10, "alice")
    monkeypatch.setattr(view, "ROWS_PER_NAME_MAX", 1)
    assert not stands(world, removal)


def test_a_removal_that_is_already_a_record_has_standing_as_such(world: World) -> None:
    """What may be sent ahead is asked of records here."""
    removal = revocation("bob", "carol", 10)
    world.add(removal)
    at_ns = (AT_MS + AFTER_MS) * NS_PER_MS
    assert has_standing(RowSet(world.rows), world.trust, at_ns, removal)
    idle = revocation("mallory", "carol", 10)
    world.add(idle)
    assert not has_standing(RowSet(world.rows), world.trust, at_ns, idle)
