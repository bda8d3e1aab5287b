"""Records over 0x81 between two nodes: who gets them, what they do, and what broken ones cost."""

from __future__ import annotations

import pytest

from ciris_mesh.protocol.limits import CADENCE_S
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.handshake import CAPABILITIES
from ciris_mesh.runtime.node import Node
from ciris_mesh.transport.base import LinkId
from ciris_mesh.wire.frame import AnyMessage, try_unwrap
from ciris_mesh.wire.mesh import CAPABILITY_TAKES_NOTHING, Digests, Hello
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS, Records
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, Summary
from ciris_mesh.wire.transcode import decode_batch, encode_batch
from support.keys import key
from support.mesh import Mesh, ScriptedPeer, collect, held, let_compare, settle
from support.records import sample
from support.waiting import wait_until

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY
#: What later versions may state, and nothing that counts today.
UNKNOWN_BITS = 0xFFFF & ~CAPABILITY_RECORDS & ~CAPABILITY_TAKES_NOTHING


@pytest.fixture
def alice(mesh: Mesh) -> Node:
    node = mesh.node("alice", capabilities=CAPABILITY_RECORDS)
    node.start()
    return node


def connected(mesh: Mesh, *, capabilities: int) -> ScriptedPeer:
    mesh.nodes["alice"].add_peer(mesh.config("bob"))
    bob = mesh.script("bob")
    bob.capabilities = capabilities
    bob.dial("alice")
    bob.introduce()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed")
    settle(mesh.nodes["alice"])
    return bob


def drops(node: Node, reason: str) -> int:
    return node.runtime.drops.snapshot().get(reason, 0)


def id_of(envelope: bytes) -> bytes:
    return parse_envelope(FAMILY, envelope).envelope_id


def differing(bob: ScriptedPeer, alice: Node, *ids: bytes) -> None:
    """Let the node compare, and answer that we differ in families."""
    let_compare(bob, alice)
    bob.hear(Digests)
    bob.say(bob.digests({**held(alice), FAMILY: frozenset(ids)}, reply=True))


# --- sending --------------------------------------------------------------------------------------


def test_who_states_it_gets_records_and_who_does_not_gets_json(mesh: Mesh, alice: Node) -> None:
    envelope_id = mesh.put("alice", FAMILY)
    row = alice.get(FAMILY, envelope_id)
    assert row is not None
    bob = connected(mesh, capabilities=CAPABILITY_RECORDS)
    bob.say(Fetch(FAMILY, (envelope_id,)))
    message = bob.hear(Records)
    assert decode_batch(message.batch) == ((FAMILY, row.envelope),)
    assert message.round_id == 0
    alice.runtime.transport.hang_up(mesh.peer("alice", "bob").link.link)  # type: ignore[union-attr]
    bob.wait_down()
    bob.capabilities = UNKNOWN_BITS
    bob.dial("alice")
    bob.shake_hands()
    bob.say(Fetch(FAMILY, (envelope_id,)))
    assert bob.hear(Deliver) == Deliver(FAMILY, (row.envelope,))


def test_a_node_that_speaks_01_only_states_nothing_and_sends_json(mesh: Mesh) -> None:
    node = mesh.node("alice", capabilities=0)
    node.start()
    envelope_id = mesh.put("alice", FAMILY)
    bob = connected(mesh, capabilities=UNKNOWN_BITS | CAPABILITY_RECORDS)
    assert bob.hello is not None
    assert bob.hello.capabilities == 0
    bob.say(Fetch(FAMILY, (envelope_id,)))
    assert len(bob.hear(Deliver).envelopes) == 1


def test_a_node_states_what_it_can(mesh: Mesh, alice: Node) -> None:
    eve = mesh.script("eve")
    eve.dial("alice")
    assert eve.hear(Hello).capabilities == CAPABILITY_RECORDS
    assert CAPABILITIES & CAPABILITY_RECORDS


def test_nothing_to_serve_is_said_in_json_for_the_sake_of_its_kind(mesh: Mesh, alice: Node) -> None:
    bob = connected(mesh, capabilities=CAPABILITY_RECORDS)
    bob.say(Fetch(FAMILY, (b"x" * 32,)))
    assert bob.hear(Deliver) == Deliver(FAMILY, ())


# --- receiving ------------------------------------------------------------------------------------


def test_records_are_to_a_round_what_a_deliver_is(mesh: Mesh, alice: Node) -> None:
    events = collect(alice)
    bob = connected(mesh, capabilities=CAPABILITY_RECORDS)
    envelope = sample(FAMILY, key("bob"))
    differing(bob, alice, id_of(envelope))
    bob.hear(Summary)
    bob.say(Summary(FAMILY, (EnvelopeRef(id_of(envelope), 1),)))
    assert bob.hear(Diff).want == (id_of(envelope),)
    bob.say(Records(0, encode_batch([(FAMILY, envelope)])), Diff(FAMILY, ()))
    wait_until(lambda: events, "the round is over")
    assert events[0].report is not None
    assert events[0].report.admitted == 1
    row = alice.get(FAMILY, id_of(envelope))
    assert row is not None
    assert row.envelope == envelope


def test_records_outside_a_round_are_welcome_whatever_their_kinds(mesh: Mesh, alice: Node) -> None:
    bob = connected(mesh, capabilities=0)
    family, removal = sample(FAMILY, key("bob")), sample(EnvelopeKind.REVOCATION, key("bob"))
    bob.say(Records(7, encode_batch([(FAMILY, family), (EnvelopeKind.REVOCATION, removal)])))
    wait_until(lambda: len(held(alice)[FAMILY]) == 1, "the first kind")
    wait_until(lambda: len(held(alice)[EnvelopeKind.REVOCATION]) == 1, "the second kind")


def test_a_kind_that_is_not_served_is_counted_within_records_too(mesh: Mesh) -> None:
    node = mesh.node("alice", kinds=[KEY])
    node.start()
    bob = connected(mesh, capabilities=CAPABILITY_RECORDS)
    bob.say(Records(0, encode_batch([(FAMILY, b"{}")])))
    wait_until(lambda: drops(node, "kind_not_served") == 1, "counted")
    assert bob.link is not None


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (b"\x02", "frame_batch_unknown_table"),
        (b"\x01\x03", "frame_batch_truncated"),
        (encode_batch([]), "frame_batch_truncated"),
        (encode_batch([(FAMILY, b"{}")]) + b"x", "frame_batch_trailing_bytes"),
    ],
)
def test_a_batch_that_cannot_be_read_costs_the_link_and_is_counted_by_name(
    mesh: Mesh, alice: Node, batch: bytes, reason: str
) -> None:
    bob = connected(mesh, capabilities=CAPABILITY_RECORDS)
    bob.say(Records(0, batch))
    bob.wait_down()
    assert drops(alice, reason) == 1
    wait_until(lambda: mesh.peer("alice", "bob").reason == "sent_garbage", "said why")


def test_nothing_is_unpacked_for_a_stranger(mesh: Mesh, alice: Node) -> None:
    eve = mesh.script("eve")
    eve.dial("alice")
    eve.shake_hands()
    eve.say(Records(0, b"\x02 no batch"), Records(0, encode_batch([(KEY, mesh.key_record("eve"))])))
    wait_until(lambda: drops(alice, "frame_unattributed") == 2, "counted")
    assert eve.link is not None
    assert alice.directory.pools().first_contact == 0


# --- two nodes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaks", [(CAPABILITIES, CAPABILITIES), (CAPABILITIES, 0), (0, 0)])
@pytest.mark.parametrize("medium", ["loopback", "radio"])
def test_two_nodes_converge_whatever_each_of_them_speaks(
    speaks: tuple[int, int], medium: str
) -> None:
    mesh = Mesh(medium=medium)
    try:
        for name, capabilities in zip(("alice", "bob"), speaks, strict=True):
            mesh.node(name, capabilities=capabilities)
        sent: list[AnyMessage] = []
        mesh.befriend("alice", "bob")
        for node in mesh.nodes.values():
            _listen(node, sent)
            node.start()
        for n in range(3):
            mesh.put("alice", FAMILY, n)
            mesh.put("bob", EnvelopeKind.REVOCATION, n)
        mesh.clock.leap(CADENCE_S)
        mesh.wait_converged()
        alice, bob = mesh.nodes.values()
        assert held(alice) == held(bob)
        assert len(held(alice)[FAMILY]) == len(held(bob)[EnvelopeKind.REVOCATION]) == 3
        both = all(each & CAPABILITY_RECORDS for each in speaks)
        assert any(isinstance(message, Records) for message in sent) is both
        assert any(isinstance(message, Deliver) and message.envelopes for message in sent) is (
            not both
        )
    finally:
        mesh.stop()


def _listen(node: Node, to: list[AnyMessage]) -> None:
    """Note every message the node sends."""
    transport = node.runtime.transport
    send = transport.send

    def listening(link: LinkId, frame: bytes) -> None:
        unwrapped = try_unwrap(frame)
        assert unwrapped is not None
        to.append(unwrapped.message)
        send(link, frame)

    transport.send = listening  # type: ignore[method-assign]
