"""Records go one way when an operator says so, and both ends still come to agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.direction import Direction
from ciris_mesh.runtime.handshake import CAPABILITIES
from ciris_mesh.runtime.node import Node
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE
from ciris_mesh.wire.messages import Deliver
from support.keys import key
from support.mesh import Mesh, settle
from support.records import sample
from support.waiting import wait_until

KIND = EnvelopeKind.ATTESTATION


def pair(mesh: Mesh, direction: Direction, *, capabilities: int = CAPABILITIES) -> None:
    """Alice holds bob at that direction; he knows nothing of it. Both have a record."""
    for name in ("alice", "bob"):
        mesh.node(name, capabilities=capabilities)
        mesh.put(name, KIND)
    mesh.nodes["alice"].add_peer(replace(mesh.config("bob"), direction=direction))
    mesh.nodes["bob"].add_peer(mesh.config("alice"))
    for node in mesh.nodes.values():
        node.start()


def signers(node: Node) -> set[str]:
    return {signer for ids in node.directory.signers(KIND).values() for signer in ids}


@pytest.mark.parametrize("capabilities", [CAPABILITIES, 0], ids=["sketches", "summaries"])
@pytest.mark.parametrize(
    ("direction", "alice_has", "bob_has"),
    [
        (Direction.BOTH, {"alice", "bob"}, {"alice", "bob"}),
        (Direction.SEND, {"alice"}, {"alice", "bob"}),
        (Direction.RECEIVE, {"alice", "bob"}, {"bob"}),
    ],
)
def test_what_each_side_gets(
    mesh: Mesh, direction: Direction, alice_has: set[str], bob_has: set[str], capabilities: int
) -> None:
    pair(mesh, direction, capabilities=capabilities)
    mesh.wait_converged()
    assert signers(mesh.nodes["alice"]) == {key(name).key_id for name in alice_has}
    assert signers(mesh.nodes["bob"]) == {key(name).key_id for name in bob_has}


def test_later_news_goes_one_way_too(mesh: Mesh) -> None:
    pair(mesh, Direction.SEND)
    mesh.wait_converged()
    for name in ("alice", "bob"):
        mesh.put(name, KIND, 1)
    mesh.wait_converged()
    assert len(mesh.nodes["alice"].directory.holdings(KIND)) == 2
    assert len(mesh.nodes["bob"].directory.holdings(KIND)) == 4


def test_a_change_takes_effect_at_once_and_what_was_left_out_comes(mesh: Mesh) -> None:
    pair(mesh, Direction.SEND)
    mesh.wait_converged()
    link = mesh.peer("alice", "bob").link
    mesh.nodes["alice"].add_peer(mesh.config("bob"))
    wait_until(lambda: mesh.peer("alice", "bob").link is not link, "greeted anew, on another link")
    mesh.clock.leap(5.0)
    wait_until(lambda: key("bob").key_id in signers(mesh.nodes["alice"]), "bob's record comes")
    mesh.wait_converged()


def test_unasked_records_are_not_taken_from_whom_nothing_is_taken(mesh: Mesh) -> None:
    """And nothing is stated to it that would make it send some."""
    alice = mesh.node("alice")
    alice.add_peer(replace(mesh.config("bob"), direction=Direction.SEND))
    alice.start()
    bob = mesh.script("bob")
    bob.capabilities = CAPABILITIES
    bob.dial("alice")
    bob.introduce()
    assert bob.hello is not None
    assert not bob.hello.capabilities & CAPABILITY_RECONCILE
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "bob is attributed")
    bob.say(Deliver(KIND, (sample(KIND, key("bob")),)))
    wait_until(lambda: alice.runtime.drops.snapshot().get("record_not_taken"), "it is counted")
    settle(alice)
    assert not alice.directory.holdings(KIND)
