"""A peer in the book that means ill: what it can make a node do in reconciled rounds, and what not.

Whatever it does stays between the two, and costs no more than its allowance.
"""

from __future__ import annotations

from typing import cast

import pytest

from ciris_mesh.directory import peermemory
from ciris_mesh.directory.base import SetDigest
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.peermemory import GIVEN_S, GIVEN_TIMES
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import viewing
from ciris_mesh.runtime.allowance import ANSWERING_BURST_S, OPENING_COST_S
from ciris_mesh.runtime.node import Node
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_reconcile import Failed, IdList, More, Sketch, Turn, Wants
from ciris_mesh.wire.mesh_records import Records, Taken
from ciris_mesh.wire.messages import Summary
from ciris_mesh.wire.transcode import decode_batch, plain_batch
from support import forge
from support.keys import key
from support.mesh import Mesh, ScriptedPeer, compared, held, let_compare, settle
from support.records import sample
from support.scripted_rounds import (
    BOTH,
    SALT,
    Held,
    compare,
    connected,
    drops,
    opened,
    spend_all,
)
from support.waiting import wait_until

FAMILY = EnvelopeKind.FAMILY


@pytest.fixture
def bob(mesh: Mesh, alice: Node) -> ScriptedPeer:
    return connected(mesh, BOTH)


def differing(bob: ScriptedPeer, alice: Node) -> Held:
    """Bob compares, and has no families."""
    his: Held = {**held(alice), FAMILY: frozenset()}
    bob.say(bob.digests(dict(his), reply=False))
    bob.hear_reply()
    return his


def unreadable(round_id: int, salt: bytes) -> Sketch:
    """A sketch nothing comes of: more is asked for."""
    return Sketch(round_id, salt, 24, False, (1,), tuple(range(1, 25)))


# --- exchanges ------------------------------------------------------------------------------------


def test_a_peer_cannot_go_on_opening_for_ever_by_keeping_a_round_open(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    mesh.put("alice", FAMILY)
    differing(bob, alice)
    bob.say(unreadable(7, b"0000"))
    bob.hear(More)
    spend_all(mesh)
    for number in (8, 9):
        bob.say(unreadable(number, b"%04d" % number))
        assert bob.hear(Failed) == Failed(number)
    bob.say(Turn(10))
    assert bob.hear(Failed) == Failed(10)
    assert drops(alice, "reconcile_too_often") == 3
    mesh.peer("alice", "bob").allowance.spend(-2 * ANSWERING_BURST_S)  # as time would
    bob.say(unreadable(11, b"0011"))
    assert bob.hear(More).round_id == 11, "after a while it may again"


def test_another_number_with_the_same_salt_is_another_exchange(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    mesh.put("alice", FAMILY)
    differing(bob, alice)
    bob.say(unreadable(7, SALT))
    bob.hear(More)
    spend_all(mesh)
    bob.say(unreadable(8, SALT))
    assert bob.hear(Failed) == Failed(8)


def test_what_an_exchange_under_way_needs_is_allowed_whatever_it_costs(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    mesh.put("alice", FAMILY)
    his = differing(bob, alice)
    bob.say(unreadable(7, SALT))
    bob.hear(More)
    spend_all(mesh)
    opened(bob, his, alice, round_id=7)  # the whole sketch anew, as an answer to More
    assert bob.hear(Wants).round_id == 7


def test_its_own_sketch_does_not_give_a_peer_more_openings(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    """Whoever opened the round: an exchange of the peer's is one, and alice's own goes on."""
    mesh.put("alice", FAMILY)
    compare(bob, alice, frozenset())
    round_id = bob.hear(Sketch).round_id
    spend_all(mesh)
    bob.say(unreadable(round_id + 1, b"\xff" * 4))
    assert bob.hear(Failed) == Failed(round_id + 1)
    assert mesh.peer("alice", "bob").round is not None
    bob.say(Failed(round_id))
    assert bob.hear(Sketch).width == 32, "the second attempt of her own"


def test_each_opening_is_paid_for_though_it_takes_no_time(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    differing(bob, alice)
    bob.say(Turn(7))
    wait_until(lambda: mesh.peer("alice", "bob").round is not None, "a round")
    left_s = mesh.peer("alice", "bob").allowance.left_s
    assert left_s <= ANSWERING_BURST_S - OPENING_COST_S
    bob.say(Failed(mesh.peer("alice", "bob").round.round_id))  # type: ignore[union-attr]


def test_a_peer_that_will_not_open_ends_the_round_by_saying_so(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    """Alice holds far more, so she asks bob to open; he is out of patience with her."""
    for n in range(4):
        mesh.put("alice", FAMILY, n)
    let_compare(bob, alice)
    bob.hear(Digests)
    bob.say(bob.digests({EnvelopeKind.KEY: [b"x" * 32]}, reply=True))
    turn = bob.hear(Turn)
    assert mesh.peer("alice", "bob").round is not None
    bob.say(Failed(turn.round_id))
    wait_until(lambda: mesh.peer("alice", "bob").round is None, "the round is over")
    assert bob.link is not None


def test_a_peer_that_took_its_turn_and_failed_ends_the_round_as_well(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    """His own exchange, under a number alice has not heard of, came to nothing before it began."""
    for n in range(4):
        mesh.put("alice", FAMILY, n)
    let_compare(bob, alice)
    bob.hear(Digests)
    bob.say(bob.digests({EnvelopeKind.KEY: [b"x" * 32]}, reply=True))
    turn = bob.hear(Turn)
    bob.say(Failed(turn.round_id ^ 1))
    wait_until(lambda: mesh.peer("alice", "bob").round is None, "the round is over")
    assert drops(alice, "reconcile_no_progress") == 0, "and not because nothing moved"


# --- records --------------------------------------------------------------------------------------


def test_batches_that_bring_nothing_cost_the_link_in_the_end(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    envelope = sample(FAMILY, key("bob"))
    bob.say(Records(9, plain_batch([(FAMILY, envelope)])))
    bob.hear(Taken)
    peer = mesh.peer("alice", "bob")
    before_s = peer.waste.left_s
    bob.say(Records(9, plain_batch([(FAMILY, envelope)])))
    bob.hear(Taken)
    settle(alice)
    assert peer.waste.left_s < before_s, "the same again is of no use"
    peer.waste.spend(2 * ANSWERING_BURST_S)
    bob.say(Records(9, plain_batch([(FAMILY, envelope)])))
    bob.wait_down()
    assert drops(alice, "frame_batches_for_nothing") == 1


@pytest.mark.parametrize("round_id", [0, 9])
def test_what_is_new_or_has_to_wait_here_is_no_waste(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, round_id: int
) -> None:
    peer = mesh.peer("alice", "bob")
    early = [sample(FAMILY, key("bob"), 1, at_ms=2_000_000_000_000)] if round_id else []
    for envelope in (sample(FAMILY, key("bob")), *early):
        known = held(alice)[FAMILY]
        bob.say(Records(round_id, plain_batch([(FAMILY, envelope)])))
        if round_id:
            bob.hear(Taken)
        else:
            wait_until(lambda known=known: held(alice)[FAMILY] != known, "taken")  # type: ignore[misc]
        settle(alice)
    assert peer.waste.left_s == ANSWERING_BURST_S


def test_a_batch_nobody_can_read_is_paid_for_over_all_links(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    peer = mesh.peer("alice", "bob")
    bob.say(Records(9, b"\x01garbage"))
    bob.wait_down()
    wait_until(lambda: peer.waste.left_s < ANSWERING_BURST_S, "paid")


def test_forged_records_get_nowhere_and_keep_nothing_from_a_third_node(mesh: Mesh) -> None:
    """A record of carol's reaches alice though bob spoiled it first, in every way he can."""
    alice, carol = mesh.started("alice", "carol")
    bob = connected(mesh, BOTH)
    forged = forge.signed(FAMILY, key("carol"), n=1, spoil=forge.wrong_pqc)
    bob.say(Records(9, plain_batch([(FAMILY, forged)])))
    bob.hear(Taken)
    assert held(alice)[FAMILY] == frozenset()
    one = mesh.put("carol", FAMILY, 1)
    wait_until(lambda: one in held(alice)[FAMILY], "it came, from her who has it")
    assert carol.runtime.peers.get(key("alice").key_id) is not None
    settle(alice)


# --- what is looked at ----------------------------------------------------------------------------


def test_what_is_held_besides_is_looked_at_by_who_answers_only_and_never_all(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def spare_ids(_peer: str, _kind: EnvelopeKind, *, at_most: int) -> frozenset[bytes]:
        asked.append(at_most)
        return frozenset()

    monkeypatch.setattr(alice.runtime.bridge, "spare_ids", spare_ids)
    mesh.put("alice", FAMILY)
    compare(bob, alice, frozenset())
    bob.say(Failed(bob.hear(Sketch).round_id))
    bob.say(Failed(bob.hear(Sketch).round_id))
    bob.hear(Summary)
    assert asked == [viewing.SPARE_MAX], "looked at to decide who opens, not for either sketch"
    his = differing(bob, alice)
    opened(bob, his, alice)
    bob.hear(Records)
    assert asked == [viewing.SPARE_MAX] * 2


def test_a_view_too_large_to_look_at_is_not_looked_at() -> None:
    class Bridge:
        def view_digest(self, _peer: str, _kind: EnvelopeKind) -> SetDigest:
            return SetDigest(6, bytes(32))

        def view_ids(self, _peer: str, _kind: EnvelopeKind) -> frozenset[bytes]:
            raise AssertionError("looked at")

    bridge = cast(FederationDirectoryReplicationBridge, Bridge())
    assert viewing.items_of(bridge, "bob", [EnvelopeKind.KEY, FAMILY], None, at_most=11) is None


# --- asking for everything again ------------------------------------------------------------------


def test_a_peer_that_agrees_and_asks_again_gets_no_more_than_its_share(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who echoes our digests is taken to have everything; then it says that it has nothing."""
    monkeypatch.setattr(peermemory, "GIVEN_MIN", 0)
    for n in range(2):
        mesh.put("alice", FAMILY, n)
    for number in range(1, GIVEN_TIMES + 1):
        everything_again(bob, alice, number)
        given = decode_batch(bob.hear(Records).batch)
        assert sum(kind is FAMILY for kind, _ in given) == 2
        bob.say(Taken(number))
    assert alice.runtime.bridge.counts().get(("withheld", "too_often"), 0) == 0
    served = alice.runtime.bridge.counts()["served", ""]
    everything_again(bob, alice, GIVEN_TIMES + 1)
    wait_until(
        lambda: alice.runtime.bridge.counts().get(("withheld", "too_often"), 0) >= 2, "withheld"
    )
    settle(alice)
    assert alice.runtime.bridge.counts()["served", ""] == served
    mesh.clock.leap(GIVEN_S)
    settle(alice)
    assert alice.runtime.bridge.to_send(key("bob").key_id, FAMILY, None)[0], "after a while it may"


def everything_again(bob: ScriptedPeer, alice: Node, number: int) -> None:
    """Bob says that he has all that alice has, and then that he has nothing."""
    bob.say(bob.digests(dict(compared(alice)), reply=False))
    bob.hear_reply()
    bob.say(IdList(number, b"%04d" % number, 24, ()))
    settle(alice)
