"""Records go one way when an operator says so, and both ends still come to agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.direction import Direction
from ciris_mesh.runtime.handshake import CAPABILITIES
from ciris_mesh.runtime.node import Node
from ciris_mesh.wire.mesh import CAPABILITY_TAKES_NOTHING
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE
from ciris_mesh.wire.mesh_records import Records
from ciris_mesh.wire.messages import Deliver, Diff, Summary
from support.keys import key
from support.mesh import Mesh, settle
from support.radio_mesh import RadioMesh, settings
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


def said_to(mesh: Mesh, name: str, other: str) -> int:
    """Capability bits that one stated to the other on the link in use."""
    link = mesh.peer(other, name).link
    assert link is not None
    assert link.hello is not None
    return link.hello.capabilities


def test_who_takes_nothing_says_so_and_is_sent_nothing_for_nothing(mesh: Mesh) -> None:
    """By sketches as well: Summaries of a few hundred records are more than an hour by radio."""
    pair(mesh, Direction.SEND)
    mesh.wait_converged()
    assert said_to(mesh, "alice", "bob") & CAPABILITY_TAKES_NOTHING
    assert said_to(mesh, "alice", "bob") & CAPABILITY_RECONCILE
    assert not said_to(mesh, "bob", "alice") & CAPABILITY_TAKES_NOTHING
    bridge = mesh.nodes["bob"].runtime.bridge
    alice, bob = (key(name).key_id for name in ("alice", "bob"))
    assert bridge.offer(alice, KIND) == ()
    assert mesh.nodes["alice"].runtime.bridge.view_digest(bob, KIND).count == 1
    drops = mesh.nodes["alice"].runtime.drops.snapshot()
    assert "record_not_taken" not in drops, "bob sent none"
    assert "reconcile_fell_back" not in drops


def test_a_node_that_does_not_know_the_word_is_not_believed_either(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends what nobody wants, which is named and not kept, and they come to agree."""
    pair(mesh, Direction.SEND)
    monkeypatch.setattr(mesh.nodes["bob"].runtime.bridge, "_gives", lambda _peer: True)
    mesh.wait_converged()
    alice = mesh.nodes["alice"]
    assert signers(alice) == {key("alice").key_id}
    assert alice.runtime.drops.snapshot()["record_not_taken"] >= 1


def test_by_radio_nothing_is_spent_on_what_is_not_taken() -> None:
    """No Summary, and no record of his."""
    cell = RadioMesh("alice", "bob", radio=settings("10%"))
    try:
        mine, his = (cell.put(name, KIND) for name in ("alice", "bob"))
        cell.nodes["alice"].add_peer(replace(cell.config("bob"), direction=Direction.SEND))
        cell.start()
        cell.let_pass_until(lambda: cell.has("bob", KIND, mine), 6, "bob has the record")
        cell.let_pass(3_600.0)
        said = [(name, type(message)) for name, message in cell.said]
        assert {kind for _, kind in said}.isdisjoint({Summary, Diff, Deliver})
        assert ("alice", Records) in said
        assert ("bob", Records) not in said
        assert not cell.has("alice", KIND, his)
    finally:
        cell.stop()


def test_unasked_records_are_not_taken_from_whom_nothing_is_taken(mesh: Mesh) -> None:
    alice = mesh.node("alice")
    alice.add_peer(replace(mesh.config("bob"), direction=Direction.SEND))
    alice.start()
    bob = mesh.script("bob")
    bob.capabilities = CAPABILITIES
    bob.dial("alice")
    bob.introduce()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "bob is attributed")
    bob.say(Deliver(KIND, (sample(KIND, key("bob")),)))
    wait_until(lambda: alice.runtime.drops.snapshot().get("record_not_taken"), "it is counted")
    settle(alice)
    assert not alice.directory.holdings(KIND)


@pytest.mark.parametrize("kind", [KIND, EnvelopeKind.COMMUNITY], ids=["record", "copy"])
def test_by_radio_an_older_peer_sends_what_is_not_taken_once(
    monkeypatch: pytest.MonkeyPatch, kind: EnvelopeKind
) -> None:
    """It does not know the word that nothing is taken; the view says that its record was met."""
    cell = RadioMesh("alice", "bob", radio=settings("10%"))
    try:
        mine, his = (cell.put(name, kind) for name in ("alice", "bob"))
        cell.nodes["alice"].add_peer(replace(cell.config("bob"), direction=Direction.SEND))
        monkeypatch.setattr(cell.nodes["bob"].runtime.bridge, "_gives", lambda _peer: True)
        cell.start()
        cell.let_pass(6 * 3_600.0)
        assert cell.has("bob", kind, mine)
        assert not cell.has("alice", kind, his)
        said = [name for name, message in cell.said if isinstance(message, Records)]
        assert said.count("bob") == 1
        drops = cell.nodes["alice"].runtime.drops.snapshot()
        assert drops["record_not_taken"] == 1
    finally:
        cell.stop()
