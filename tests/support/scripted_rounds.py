"""Reconciled rounds with a peer played by hand: connect, compare, open, answer."""

from __future__ import annotations

from ciris_mesh.protocol.reconcile import Exchange, step
from ciris_mesh.protocol.reconcile_events import Loaded, Received, Resolved, Send, Start
from ciris_mesh.protocol.shortid import Item, item
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.allowance import ANSWERING_BURST_S
from ciris_mesh.runtime.node import Node
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE, ReconcileMessage
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS
from support.mesh import Mesh, ScriptedPeer, held, let_compare, settle
from support.waiting import wait_until

BOTH = CAPABILITY_RECONCILE | CAPABILITY_RECORDS
SALT = b"salt"
Held = dict[EnvelopeKind, frozenset[bytes]]
KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY


def connected(mesh: Mesh, capabilities: int) -> ScriptedPeer:
    alice = mesh.nodes["alice"]
    alice.add_peer(mesh.config("bob"))
    peer = mesh.script("bob")
    peer.capabilities = capabilities
    peer.dial("alice")
    peer.introduce()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed")
    his = parse_envelope(KEY, mesh.key_record("bob")).envelope_id
    wait_until(lambda: his in held(alice)[KEY], "bob's key is on the shelf")
    settle(alice)
    return peer


def drops(node: Node, reason: str) -> int:
    return node.runtime.drops.snapshot().get(reason, 0)


def id_of(envelope: bytes) -> bytes:
    return parse_envelope(FAMILY, envelope).envelope_id


def compare(bob: ScriptedPeer, alice: Node, families: frozenset[bytes]) -> Held:
    """Let alice compare; bob holds what she does, of families these. Returns what he holds."""
    let_compare(bob, alice)
    bob.hear(Digests)
    his: Held = {**held(alice), FAMILY: families}
    bob.say(bob.digests(dict(his), reply=True))
    return his


def items(of: Held) -> list[Item]:
    return [item(kind, one) for kind in EnvelopeKind for one in of.get(kind, ())]


def exchange(bob: ScriptedPeer) -> Exchange:
    assert bob.hello is not None
    return Exchange(b"".join(sorted((bob.nonce, bob.hello.nonce))))


def answered(bob: ScriptedPeer, message: ReconcileMessage, his: Held) -> Resolved:
    """Answer alice's first word as a peer that holds these; what bob is to send."""
    state, _ = step(exchange(bob), Received(message))
    _, actions = step(state, Loaded(items(his)))
    for action in actions:
        if isinstance(action, Send):
            bob.say(action.message)
    (resolved,) = (action for action in actions if isinstance(action, Resolved))
    return resolved


def opened(bob: ScriptedPeer, his: Held, alice: Node, round_id: int = 7) -> Exchange:
    """Open an exchange as a peer that holds these."""
    counts = len(items(his)), sum(map(len, held(alice).values()))
    state, _ = step(exchange(bob), Start(round_id, SALT, *counts))
    state, actions = step(state, Loaded(items(his)))
    for action in actions:
        assert isinstance(action, Send)
        bob.say(action.message)
    return state


def spend_all(mesh: Mesh) -> None:
    """Alice has worked for bob as long as he may make her, and as long again."""
    mesh.peer("alice", "bob").allowance.spend(2 * ANSWERING_BURST_S)
