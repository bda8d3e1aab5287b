"""Nodes that are no peers: listed with what is known of them, met when a person asks, kept out."""

from __future__ import annotations

from functools import partial

from ciris_mesh.runtime.announcing import announce_data
from ciris_mesh.runtime.door import Door
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import Candidate
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.wire.announce import encode_announce
from ciris_mesh.wire.mesh import BindingWanted, Refusal
from support.keys import key
from support.mesh import Mesh, address, settle
from support.waiting import wait_until


def candidate(node: Node, name: str) -> Candidate | None:
    return node.runtime.peers.candidate(address(name))


def drops(node: Node, reason: str) -> int:
    return node.runtime.drops.snapshot().get(reason, 0)


def test_an_announced_node_is_a_candidate_whose_key_is_only_claimed(mesh: Mesh) -> None:
    alice, bob = mesh.node("alice"), mesh.node("bob")
    for node in (alice, bob):
        node.start()
    bob.runtime.transport.announce(encode_announce(announce_data(bob)))
    wait_until(lambda: candidate(alice, "bob") is not None, "bob is heard")
    found = candidate(alice, "bob")
    assert found is not None
    assert (found.key_id, found.hops) == ("", 1)
    assert found.claimed == key("bob").public.fingerprint[:8]


def test_an_announce_nobody_can_read_claims_nothing(mesh: Mesh, alice: Node) -> None:
    bob = mesh.node("bob")
    bob.start()
    bob.runtime.transport.announce(b"\x09 something else")
    wait_until(lambda: candidate(alice, "bob") is not None, "bob is heard")
    found = candidate(alice, "bob")
    assert found is not None
    assert found.claimed == b""


def test_who_is_called_shows_its_key_and_is_no_peer_yet(mesh: Mesh) -> None:
    """Both learn of each other; neither does more than that."""
    alice, bob = mesh.node("alice"), mesh.node("bob")
    for node in (alice, bob):
        node.start()
    alice.runtime.meet(address("bob"))
    for node, other in ((alice, "bob"), (bob, "alice")):

        def knows(node: Node = node, other: str = other) -> bool:
            found = candidate(node, other)
            return found is not None and found.key_id == key(other).key_id

        wait_until(knows, f"{other} is known")
        assert node.runtime.peers.all() == []
    assert alice.directory.public_key(key("bob").key_id) == key("bob").public


def test_who_is_called_and_refuses_at_once_is_asked_all_the_same(mesh: Mesh, alice: Node) -> None:
    """It knows this node from before, so its refusal comes ahead of its binding."""
    bob = mesh.script("bob")
    alice.runtime.meet(address("bob"))
    bob.wait_dialled()
    bob.shake_hands()
    bob.say(Refusal("not_a_peer"))
    bob.hear(BindingWanted)
    bob.offer()
    wait_until(lambda: (found := candidate(alice, "bob")) and found.key_id, "bob shows its key")


def test_why_nobody_answered_is_told(mesh: Mesh, alice: Node) -> None:
    alice.runtime.meet(address("carol"))
    wait_until(lambda: (found := candidate(alice, "carol")) and found.reason, "it fails")
    found = candidate(alice, "carol")
    assert found is not None
    assert (found.key_id, found.heard_s, found.reason) == ("", None, "no_path")


def kept(mesh: Mesh, door: Door) -> Node:
    node = mesh.node("alice", config=RuntimeConfig(door=door))
    node.start()
    return node


def test_the_ignored_are_not_listened_to(mesh: Mesh) -> None:
    alice = kept(mesh, Door(ignored=[address("eve").hex()]))
    eve = mesh.script("eve")
    eve.transport.dial(address("alice"))
    wait_until(lambda: eve.down, "eve is let go")
    assert eve.heard_nothing()
    assert drops(alice, "link_ignored") == 1
    eve.transport.announce(bytes(23))
    wait_until(lambda: drops(alice, "announce_ignored") == 1, "the announce is counted")
    assert candidate(alice, "eve") is None


def test_a_key_that_is_ignored_is_let_go_once_it_is_known(mesh: Mesh) -> None:
    alice = kept(mesh, Door(ignored=[key("eve").key_id]))
    eve = mesh.script("eve")
    eve.dial("alice")
    eve.introduce()
    eve.wait_down()
    assert drops(alice, "link_ignored") == 1
    assert candidate(alice, "eve") is None


def test_only_the_allowed_may_knock_and_peers_always(mesh: Mesh) -> None:
    alice = kept(mesh, Door(allowed=[address("carol").hex()]))
    alice.add_peer(mesh.config("bob"))
    for name, comes in (("bob", True), ("carol", True), ("eve", False)):
        script = mesh.script(name)
        script.transport.dial(address("alice"))
        if comes:
            script.wait_dialled()
            script.introduce()
        else:
            wait_until(partial(bool, script.down), f"{name} is let go")
    wait_until(lambda: candidate(alice, "carol") is not None, "carol is listed")
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "bob is connected")
    assert drops(alice, "link_not_allowed") == 1
    assert candidate(alice, "eve") is None


def test_a_friend_of_a_friend_is_no_friend(mesh: Mesh) -> None:
    """Alice gets to know carol's key through bob, hears her announce, and makes nothing of it."""
    for name in ("alice", "bob", "carol"):
        mesh.node(name)
    mesh.befriend("alice", "bob")
    mesh.befriend("bob", "carol")
    alice, bob, carol = (mesh.nodes[name] for name in ("alice", "bob", "carol"))
    for node in (alice, bob, carol):
        node.start()
    mesh.wait_converged()
    wait_until(lambda: alice.directory.public_key(key("carol").key_id) is not None, "her key comes")
    carol.runtime.transport.announce(encode_announce(announce_data(carol)))
    wait_until(lambda: candidate(alice, "carol") is not None, "she is heard")
    carol.runtime.meet(address("alice"))
    wait_until(lambda: (found := candidate(alice, "carol")) and found.key_id, "she calls")
    settle(alice)
    assert alice.runtime.peers.key_ids() == {key("bob").key_id}
    assert carol.runtime.peers.key_ids() == {key("bob").key_id}
