"""Keys, chains and revocations: each step of the reasoning, and what it leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ciris_mesh.errors import TooManyRows
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.resolve import ancestry
from ciris_mesh.records.resolve.ancestry import Ancestry, shortest_chains
from ciris_mesh.records.resolve.base import Row, Rule, Status
from ciris_mesh.records.resolve.chains import ChainFound
from ciris_mesh.records.resolve.keys import KeyFound, RevokedFound
from ciris_mesh.records.resolve.table import Answer
from support.answers import World, at, hex_id, revocation, rules, step
from support.federation import TRUST
from support.records import AT_MS
from support.rulebook import K, key_columns, key_id, key_record, made, really_signed

ALICE, BOB, CAROL, ROOT = map(key_id, ("alice", "bob", "carol", "root"))


@pytest.fixture
def world() -> World:
    """Everybody introduced themselves; root vouched for bob, and bob for carol."""
    world = World()
    world.know("alice", "bob", "carol", "dave", "mallory", "chief")
    world.add(key_record("root", "steward"), vouch("bob", "root"), vouch("carol", "bob"))
    return world


def vouch(of: str, by: str, after_ms: int = 1, **more: str) -> Envelope:
    """`by` vouches for the key of `of`."""
    return key_record(of, by=by, ref=f"vouched by {by}", at_ms=AT_MS + after_ms, **more)


def found(answer: Answer) -> KeyFound:
    assert isinstance(answer.found, KeyFound)
    return answer.found


# -- valid? ----------------------------------------------------------------------------------------


def test_a_key_speaks_for_itself(world: World) -> None:
    answer = world.ask("key", ALICE)
    assert answer.status is Status.VALID
    assert rules(answer) == {Rule.SELF_SIGNED, Rule.IN_FORCE}
    own = step(answer, Rule.SELF_SIGNED)
    assert (own.about, own.by, own.record) == (ALICE, ALICE, hex_id(key_record("alice")))
    assert found(answer).identity_types == ("agent",)
    assert (found(answer).valid_from, found(answer).valid_until) == (at(0), "")


def test_a_key_nobody_has_heard_of_is_unknown(world: World) -> None:
    answer = world.ask("key", "eve-abcdefghijklmnop")
    assert answer.status is Status.UNKNOWN
    assert rules(answer) == {Rule.KEY_UNKNOWN}


def test_a_key_others_vouched_for_says_so() -> None:
    world = World()
    world.add(key_record("root", "steward"), vouch("bob", "root"))
    answer = world.ask("key", BOB)
    assert answer.status is Status.VALID
    assert step(answer, Rule.VOUCHED_ONLY).by == ROOT


def test_a_key_is_valid_from_and_until(world: World) -> None:
    columns = key_columns("erin", ref="timed", valid_from=at(10), valid_until=at(20))
    world.add(made(K.KEY, columns, "erin"))
    expected = {
        9: (Status.NOT_YET_VALID, Rule.VALID_LATER, at(10)),
        10: (Status.VALID, Rule.IN_FORCE, at(10)),
        19: (Status.VALID, Rule.IN_FORCE, at(10)),
        20: (Status.EXPIRED, Rule.EXPIRED, at(20)),
    }
    for after_ms, (status, rule, when) in expected.items():
        answer = world.ask("key", key_id("erin"), after_ms=after_ms)
        assert (answer.status, step(answer, rule).at) == (status, when)
    assert step(world.ask("key", key_id("erin"), after_ms=15), Rule.IN_FORCE).note == at(20)


def test_the_latest_word_of_the_key_itself_says_how_long(world: World) -> None:
    shorter = key_columns("alice", ref="shorter", valid_until=at(100))
    longer = key_columns("alice", ref="longer", valid_until=at(900))
    world.add(made(K.KEY, longer, "alice", at_ms=AT_MS + 5))
    world.add(made(K.KEY, shorter, "alice", at_ms=AT_MS + 9))
    world.add(vouch("alice", "mallory", 50, valid_until=at(700)))
    assert world.status("key", ALICE, after_ms=99) is Status.VALID
    assert world.status("key", ALICE, after_ms=100) is Status.EXPIRED
    assert found(world.ask("key", ALICE, after_ms=8)).valid_until == at(900), "what was said then"


def test_two_keys_under_one_id_are_suspect(world: World) -> None:
    """Cannot be admitted; a set of records might hold it all the same."""
    other = key_columns("bob") | {"key_id": ALICE, "identity_ref": "not alice"}
    world.add(made(K.KEY, other, "alice"))
    answer = world.ask("key", ALICE)
    assert answer.status is Status.SUSPECT
    assert step(answer, Rule.KEY_COLLISION).count == 2


def test_what_is_not_on_the_federation_shelf_is_counted_and_no_more(world: World) -> None:
    world.add(vouch("alice", "root"), shelf="bridged")
    answer = world.ask("key", ALICE)
    assert answer.status is Status.VALID
    assert step(answer, Rule.SET_ASIDE).count == 1


# -- revoked? --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "of", "why"),
    [
        ("alice", "alice", "self"),
        ("chief", "alice", "steward"),
        ("root", "alice", "steward"),
        ("bob", "carol", "ancestor"),
    ],
)
def test_who_may_revoke(world: World, by: str, of: str, why: str) -> None:
    world.add(revocation(by, of, 50, effective_ms=40))
    assert world.status("key", key_id(of), after_ms=39) is Status.VALID, "not yet in effect"
    answer = world.ask("key", key_id(of), after_ms=40)
    assert answer.status is Status.REVOKED
    done = step(answer, Rule.REVOKED_BY)
    assert (done.by, done.at, done.note) == (key_id(by), at(40), why)
    assert found(answer).revoked_from == at(40)
    (shown,) = found(answer).revocations
    assert (shown.why, shown.region, shown.reason) == (why, "us", "lost")


@pytest.mark.parametrize(("by", "of"), [("mallory", "alice"), ("carol", "bob"), ("bob", "alice")])
def test_what_others_say_is_a_claim(world: World, by: str, of: str) -> None:
    world.add(revocation(by, of, 5))
    answer = world.ask("key", key_id(of))
    assert answer.status is Status.VALID
    claim = step(answer, Rule.CLAIM)
    assert (claim.by, claim.note) == (key_id(by), "no_say")
    assert found(answer).revoked_from == ""
    assert found(answer).claims_count == 1


def test_the_earliest_that_counts_decides(world: World) -> None:
    world.add(revocation("alice", "alice", 5, effective_ms=90))
    world.add(revocation("chief", "alice", 50, effective_ms=60))
    world.add(revocation("mallory", "alice", 1))
    assert found(world.ask("key", ALICE)).revoked_from == at(60)


def test_what_will_be_in_effect_later_is_told(world: World) -> None:
    world.add(revocation("alice", "alice", 5, effective_ms=90))
    answer = world.ask("key", ALICE, after_ms=50)
    assert answer.status is Status.VALID
    assert step(answer, Rule.REVOKED_LATER).at == at(90)


def test_regions_are_weighed_and_shown(world: World) -> None:
    world.add(revocation("alice", "alice", 5, region="us"))
    answer = world.ask("key", ALICE)
    weight = step(answer, Rule.WEIGHT)
    assert (weight.count, weight.needed, weight.note) == (1, 2, "us")
    assert found(answer).weight.quorum_reached_at == ""
    world.add(revocation("chief", "alice", 7, region="apac"))
    weighed = found(world.ask("key", ALICE)).weight
    assert (weighed.weight, weighed.regions) == (2, ("apac", "us"))
    assert weighed.quorum_reached_at == at(7)


def test_claims_from_enough_regions_by_several_make_a_key_suspect(world: World) -> None:
    world.add(vouch("dave", "root"))
    world.add(revocation("dave", "alice", 5, region="us"))
    world.add(revocation("dave", "alice", 6, region="eu"))
    assert world.status("key", ALICE) is Status.VALID, "one voice, however loud"
    world.add(revocation("carol", "alice", 7, region="eu"))
    answer = world.ask("key", ALICE)
    assert answer.status is Status.SUSPECT
    quorum = step(answer, Rule.CLAIMS_QUORUM)
    assert (quorum.count, quorum.needed) == (2, 2)
    assert found(answer).claims_weight.regions == ("eu", "us")


def test_strangers_make_nobody_suspect(world: World) -> None:
    """Two keys that nobody introduced, and a region each, cost nothing."""
    world.know("mallory", "eve")
    world.add(revocation("mallory", "alice", 5, region="us"))
    world.add(revocation("eve", "alice", 6, region="eu"))
    world.add(revocation("carol", "alice", 6, region="eu"))
    answer = world.ask("key", ALICE)
    assert answer.status is Status.VALID, "carol, whom the configuration names, is alone"
    assert found(answer).claims_count == 3
    assert Rule.CLAIM in rules(answer)


def test_voices_from_one_region_do_not(world: World) -> None:
    world.add(vouch("dave", "root"))
    world.add(revocation("carol", "alice", 5), revocation("dave", "alice", 7))
    assert world.status("key", ALICE) is Status.VALID


def test_whoever_was_revoked_before_revokes_nobody(world: World) -> None:
    world.add(revocation("root", "bob", 10), revocation("bob", "carol", 20))
    answer = world.ask("key", CAROL)
    assert answer.status is Status.VALID
    assert step(answer, Rule.CLAIM).note == "revoker_revoked"
    world.add(revocation("bob", "carol", 9))
    assert world.status("key", CAROL) is Status.REVOKED


def test_two_stewards_who_revoke_each_other_at_once_are_both_revoked(world: World) -> None:
    world.add(revocation("chief", "root", 10), revocation("root", "chief", 10))
    assert world.status("key", ROOT) is world.status("key", key_id("chief")) is Status.REVOKED


def test_of_two_stewards_the_one_who_revoked_first_stays(world: World) -> None:
    world.add(revocation("chief", "root", 10))
    world.add(revocation("root", "chief", 11, effective_ms=1), key_record("chief", ref="again"))
    assert world.status("key", ROOT) is Status.REVOKED
    assert world.status("key", key_id("chief")) is Status.VALID


def test_stewards_revoking_each_other_without_an_end_are_not_followed(world: World) -> None:
    names = [f"steward{n}" for n in range(35)]
    world.trust = replace(TRUST, root_stewards=frozenset(map(key_id, names)))
    world.add(*(revocation(names[n + 1], names[n], 100 - n) for n in range(34)))
    assert world.status("key", key_id(names[0])) is Status.TOO_MANY
    assert world.status("key", key_id(names[30])) is not Status.TOO_MANY


def test_records_signed_after_the_revocation_do_not_count(world: World) -> None:
    world.add(revocation("alice", "alice", 60, effective_ms=50))
    world.add(made(K.KEY, key_columns("alice", ref="late"), "alice", at_ms=AT_MS + 50))
    answer = world.ask("key", ALICE)
    late = step(answer, Rule.SIGNER_REVOKED)
    assert (late.by, late.at) == (ALICE, at(50))
    assert step(answer, Rule.SELF_SIGNED).record == hex_id(key_record("alice"))


# -- who is revoked? -------------------------------------------------------------------------------


def test_is_it_revoked_and_with_which_weight(world: World) -> None:
    assert rules(world.ask("revoked", ALICE)) == {Rule.NOT_REVOKED}
    world.add(revocation("alice", "alice", 5), revocation("mallory", "bob", 5))
    answer = world.ask("revoked", ALICE)
    assert answer.status is Status.REVOKED
    assert rules(answer) == {Rule.REVOKED_BY, Rule.WEIGHT}
    answer = world.ask("revoked", BOB)
    assert answer.status is Status.NOT_REVOKED
    assert rules(answer) == {Rule.NOT_REVOKED, Rule.CLAIM}
    assert world.status("revoked", "eve-abcdefghijklmnop") is Status.UNKNOWN


def test_who_is_revoked(world: World) -> None:
    assert world.status("revoked", "") is Status.EMPTY
    world.add(revocation("alice", "alice", 5), revocation("chief", "alice", 6, region="eu"))
    world.add(revocation("mallory", "bob", 5), revocation("dave", "dave", 5, effective_ms=90))
    answer = world.ask("revoked", "", after_ms=50)
    assert isinstance(answer.found, RevokedFound)
    (one,) = answer.found.keys
    assert (one.key_id, one.weight, one.by) == (ALICE, 2, tuple(sorted([ALICE, key_id("chief")])))
    assert answer.found.claimed == (BOB,)
    assert step(answer, Rule.IS_REVOKED).about == ALICE
    assert step(answer, Rule.ONLY_CLAIMED).about == BOB
    assert len(world.ask("revoked", "").found.keys) == 2  # type: ignore[union-attr]


# -- to which root? --------------------------------------------------------------------------------


def signed(world: World) -> World:
    """The same with signatures that stand."""
    rows = [
        Row(parse_envelope(it.envelope.kind, really_signed(it.envelope)), it.shelf)
        for it in world.rows
    ]
    return World(world.trust, rows)


def chain(world: World, key_id: str, after_ms: int = 600_000) -> tuple[Answer, ChainFound]:
    answer = signed(world).ask("chain", key_id, after_ms=after_ms)
    assert isinstance(answer.found, ChainFound)
    return answer, answer.found


def test_a_chain_leads_to_a_root_of_the_configuration(world: World) -> None:
    answer, told = chain(world, CAROL)
    assert answer.status is Status.ROOTED
    assert (told.root, told.path, told.reason) == (ROOT, (CAROL, BOB, ROOT), "")
    links = [(it.about, it.by) for it in answer.steps if it.rule is Rule.LINK]
    assert links == [(CAROL, BOB), (BOB, ROOT)]
    assert step(answer, Rule.ROOT).count == 3
    assert chain(world, ROOT)[1].path == (ROOT,)


def test_the_shortest_chain_is_told(world: World) -> None:
    world.add(vouch("dave", "carol"), vouch("dave", "bob"))
    assert chain(world, key_id("dave"))[1].path == (key_id("dave"), BOB, ROOT)


def test_valid_and_rooted_are_two_questions(world: World) -> None:
    assert world.status("key", ALICE) is Status.VALID
    answer, told = chain(world, ALICE)
    assert answer.status is Status.NOT_ROOTED
    assert told.reason == "chain_root_not_steward"
    assert step(answer, Rule.NO_CHAIN).note == told.reason


def test_calling_oneself_a_steward_roots_nothing(world: World) -> None:
    world.add(key_record("mallory", "steward", ref="self-made"), vouch("alice", "mallory"))
    _, told = chain(world, ALICE)
    assert told.reason in ("chain_untrusted_anchor", "chain_root_not_steward")
    assert told.root == ""


def test_a_signature_that_does_not_stand_roots_nothing(world: World) -> None:
    answer = world.ask("chain", BOB)  # signed in name only
    assert answer.status is Status.NOT_ROOTED
    assert step(answer, Rule.NO_CHAIN).note == "chain_link_signature_invalid"


def test_a_circle_and_a_missing_link_are_named(world: World) -> None:
    world.rows = []
    world.add(vouch("alice", "dave"), vouch("dave", "alice"), vouch("carol", "bob"))
    assert chain(world, ALICE)[1].reason == "chain_cycle"
    answer, told = chain(world, CAROL)
    assert (told.reason, told.at) == ("chain_parent_unknown", BOB)
    assert answer.status is Status.NOT_ROOTED
    assert chain(world, BOB)[0].status is Status.UNKNOWN


def test_a_voucher_who_was_revoked_before_vouches_for_nobody(world: World) -> None:
    world.add(revocation("bob", "bob", 1))
    answer, _ = chain(world, CAROL)
    assert answer.status is Status.NOT_ROOTED
    assert step(answer, Rule.SIGNER_REVOKED).by == BOB


def test_what_was_vouched_before_stays(world: World) -> None:
    world.add(revocation("bob", "bob", 2))
    answer, _ = chain(world, CAROL)
    assert answer.status is Status.ROOTED
    assert step(answer, Rule.LINK_SIGNED_BEFORE_REVOCATION).by == BOB


def test_a_link_counts_while_it_is_in_force(world: World) -> None:
    world.add(vouch("dave", "root", 5, valid_until=at(50)))
    dave = key_id("dave")
    assert chain(world, dave, 4)[0].status is Status.NOT_ROOTED
    assert chain(world, dave, 49)[0].status is Status.ROOTED
    assert chain(world, dave, 50)[0].status is Status.NOT_ROOTED


def test_a_lapsed_chain_still_says_who_could_revoke(world: World) -> None:
    world.add(vouch("dave", "bob", 5, valid_until=at(50)), revocation("bob", "dave", 60))
    assert world.status("key", key_id("dave"), after_ms=70) is Status.REVOKED


# -- climbing --------------------------------------------------------------------------------------

GRAPH = {"d": "bc", "b": "a", "c": "a", "x": "d", "lost": "lost"}


def climb(key: str, roots: str = "r", top: str = "a") -> Ancestry:
    def is_vouched_by(one: str, root: str) -> bool:
        return one in top and root in roots

    return shortest_chains(key, lambda one: GRAPH.get(one, ""), is_vouched_by, roots)


def test_all_shortest_chains_are_known_and_one_is_told() -> None:
    assert climb("d") == Ancestry(("d", "b", "a", "r"), frozenset("bcar"))
    assert climb("r") == Ancestry(("r",))
    assert climb("lost") == Ancestry()
    assert climb("nobody") == Ancestry()
    assert climb("d", roots="rq").path == ("d", "b", "a", "q")


def test_a_root_that_vouched_itself_makes_every_other_way_longer() -> None:
    assert climb("d", top="ad") == Ancestry(("d", "r"), frozenset("r"))


def test_the_climb_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ancestry, "KEYS_VISITED_MAX", 3)
    with pytest.raises(TooManyRows, match="keys above x"):
        climb("x", top="")
    long = {str(n): [str(n + 1)] for n in range(200)}
    monkeypatch.setattr(ancestry, "KEYS_VISITED_MAX", 256)

    def at_link(last: int) -> Ancestry:
        return shortest_chains("0", lambda one: long[one], lambda one, _: one == str(last), "r")

    assert len(at_link(62).path) == 64
    assert at_link(63) == Ancestry()


def test_a_chain_does_not_let_a_revocation_be_overlooked(world: World) -> None:
    """Rooted it stays: what it signed before still counts."""
    world.add(revocation("bob", "bob", 100))
    (before, _), (after, _) = chain(world, BOB, 99), chain(world, BOB, 100)
    assert before.status is after.status is Status.ROOTED
    assert Rule.REVOKED_BY not in rules(before)
    assert step(after, Rule.REVOKED_BY).about == BOB


def test_a_direct_word_of_a_root_needs_no_list_of_vouchers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of vouchers does not hide who introduced a key, nor who may revoke it."""
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_NAME_MAX", 3)
    monkeypatch.setattr("ciris_mesh.records.resolve.keys.RECORDS_MAX", 3)
    world.add(*(key_record("bob", by="mallory", ref=f"{n}") for n in range(4)))
    assert world.status("key", BOB) is Status.VALID
    assert chain(world, BOB)[0].status is Status.ROOTED
    world.add(revocation("root", "bob", 5), revocation("bob", "carol", 4))
    assert world.status("key", BOB) is world.status("revoked", BOB) is Status.REVOKED
    assert world.status("revoked", CAROL) is Status.REVOKED
