"""Rows that others pile up: they must neither hide nor change what is asked about somebody else.

Whoever is asked about has a say over his own answers; everybody else here is a stranger.
"""

from __future__ import annotations

from functools import cache

import pytest

from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.resolve import keys, view, vouching
from ciris_mesh.records.resolve.base import (
    OTHERS_PER_NAME_MAX,
    ROWS_PER_NAME_MAX,
    Row,
    RowSet,
    Rule,
    Status,
)
from ciris_mesh.records.resolve.chains import ChainFound
from ciris_mesh.records.resolve.keys import KeyFound
from ciris_mesh.records.resolve.revocations import REVOCATIONS_EACH_MAX
from support.answers import World, family, revocation, rules, score, step
from support.rulebook import key_id, key_record, really_signed

BOB, CAROL = key_id("bob"), key_id("carol")
STRANGERS = ("eve", "mallory", "trudy", "oscar", "sybil")


def vouch(of: str, by: str, ref: str = "") -> Envelope:
    return key_record(of, by=by, ref=ref or f"{by} says")


@cache
def self_revocations(who: str, count: int) -> tuple[Envelope, ...]:
    return tuple(revocation(who, who, n, effective_ms=n + 100) for n in range(count))


@pytest.fixture
def world() -> World:
    """Bob is vouched for by the root, carol by bob; both speak for themselves."""
    made = World()
    made.add(key_record("root", "steward"), vouch("bob", "root"), vouch("carol", "bob"))
    made.know("bob", "carol", "chief", *STRANGERS)
    return made


def answers(world: World) -> list[tuple[Status, object]]:
    asked = [("key", BOB), ("key", CAROL), ("revoked", CAROL), ("attestations", CAROL)]
    return [(it.status, it.found) for it in (world.ask(*one) for one in asked)]


def test_five_vouchers_who_revoked_themselves_a_thousand_times_hide_nobody(world: World) -> None:
    before = answers(world)
    for name in STRANGERS:
        world.add(vouch("bob", name), vouch("carol", name))
        world.add(*self_revocations(name, ROWS_PER_NAME_MAX + 1))
    assert answers(world) == before
    assert world.status("chain", CAROL) is world.status("chain", BOB)


def test_who_revoked_himself_too_often_is_revoked_since_ever(world: World) -> None:
    said = self_revocations("eve", REVOCATIONS_EACH_MAX)
    world.add(*said)
    assert world.status("key", key_id("eve"), after_ms=50) is Status.VALID
    world.add(revocation("eve", "eve", 99, effective_ms=199))
    for after_ms in (50, 600_000):
        answer = world.ask("key", key_id("eve"), after_ms=after_ms)
        assert answer.status is Status.REVOKED
        told = step(answer, Rule.REVOKED_TOO_OFTEN)
        assert (told.by, told.count) == (key_id("eve"), REVOCATIONS_EACH_MAX)
        assert isinstance(answer.found, KeyFound)
        assert answer.found.revocations == ()
    assert key_id("eve") in {it.key_id for it in world.ask("revoked", "").found.keys}  # type: ignore[union-attr]


@pytest.mark.parametrize("by", ["chief", "bob"])
def test_a_steward_and_an_ancestor_may_say_it_so_often_a_stranger_may_not(
    world: World, by: str
) -> None:
    world.add(*(revocation("eve", "carol", n) for n in range(REVOCATIONS_EACH_MAX + 1)))
    assert world.status("key", CAROL) is Status.VALID
    often = range(REVOCATIONS_EACH_MAX + 1)
    world.add(*(revocation(by, "carol", n, effective_ms=n + 100) for n in often))
    assert world.status("key", CAROL, after_ms=50) is Status.REVOKED


def test_nobody_takes_a_revocation_back_by_revoking_himself_too_often(world: World) -> None:
    world.add(revocation("bob", "carol", 5))
    world.add(*self_revocations("bob", REVOCATIONS_EACH_MAX + 1))
    assert world.status("key", CAROL) is Status.REVOKED


def test_who_was_revoked_before_gains_no_say_by_it(world: World) -> None:
    world.add(revocation("chief", "bob", 3), revocation("bob", "carol", 5))
    assert world.status("key", CAROL) is Status.VALID
    world.add(*self_revocations("bob", REVOCATIONS_EACH_MAX + 1))
    answer = world.ask("key", CAROL)
    assert answer.status is Status.VALID
    assert step(answer, Rule.CLAIM).note == "revoker_revoked"


def test_claims_about_those_who_signed_cost_an_answer_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "ROWS_PER_ANSWER_MAX", 40)
    group = family("majority", "bob carol", "chief", "bob", "carol")
    world.add(group, score("bob", "carol", 1))
    asked = [("members", str(group.record["family_key_id"])), ("attestations", CAROL)]
    before = [world.ask(*one).found for one in asked]
    for name in ("bob", "carol", "chief"):
        world.add(*(revocation("eve", name, n) for n in range(30)))
    assert [world.ask(*one).found for one in asked] == before
    assert world.status("revoked", "") is Status.TOO_MANY, "but not for who is claimed to be"


def test_those_known_here_are_listed_as_revoked_whatever_is_claimed_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "ROWS_PER_ANSWER_MAX", 40)
    for name in ("bob", "carol"):
        world.add(revocation("chief", name, 1))
        world.add(*(revocation("eve", name, n) for n in range(30)))
    found = world.ask("revoked", "").found
    assert [it.key_id for it in found.keys] == [BOB, CAROL]  # type: ignore[union-attr]


def test_what_is_set_aside_uses_up_no_room(world: World) -> None:
    before = answers(world)
    bridged = [revocation("eve", "carol", n) for n in range(ROWS_PER_NAME_MAX + 1)]
    bridged += [vouch("carol", "eve", f"{n}") for n in range(ROWS_PER_NAME_MAX + 1)]
    bridged += [score("eve", "carol", n) for n in range(ROWS_PER_NAME_MAX + 1)]
    world.add(*bridged, shelf="bridged")
    assert answers(world) == before
    told = step(world.ask("key", CAROL), Rule.SET_ASIDE)
    assert told.count == OTHERS_PER_NAME_MAX
    assert world.status("revoked", "") is Status.EMPTY


@pytest.mark.parametrize("many", [keys.RECORDS_MAX + 1, vouching.SIGNERS_MAX + 1])
def test_strangers_who_vouch_hide_neither_chain_nor_revocation(world: World, many: int) -> None:
    world.rows = [
        Row(parse_envelope(it.envelope.kind, really_signed(it.envelope))) for it in world.rows
    ]
    before = answers(world)
    chain = world.ask("chain", CAROL).found
    assert isinstance(chain, ChainFound)
    assert chain.path == (CAROL, BOB, key_id("root"))
    names = ("eve", "mallory")
    world.add(*(vouch("carol", names[n % 2], f"{n}") for n in range(many)))
    assert answers(world) == before
    assert Rule.STRANGERS_UNREAD in rules(world.ask("key", CAROL))
    assert world.ask("chain", CAROL).found == chain
    world.add(revocation("bob", "carol", 5))
    assert world.status("key", CAROL) is Status.REVOKED


def test_a_speaker_is_heard_however_many_vouch_for_him(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "ROWS_PER_NAME_MAX", 9)
    world.add(score("carol", "bob", 1))
    before = world.ask("attestations", BOB).found
    world.add(*(vouch("carol", "eve", f"{n}") for n in range(10)))
    assert world.ask("attestations", BOB).found == before


def test_an_answer_reads_a_claim_for_nobody_but_whom_it_is_about(world: World) -> None:
    """Else a thousand claims each about five who signed would end every answer they are in."""
    world.add(*(revocation("eve", "bob", n) for n in range(REVOCATIONS_EACH_MAX + 1)))
    seen = view.View(RowSet(world.rows), world.trust, 0)
    assert seen.revocations.counts(BOB, 0)
    assert seen.reader._count == 1, "the root's own record"
