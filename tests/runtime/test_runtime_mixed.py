"""Who is sent mixed records: peers that say they read them, on links where bytes are not dear."""

from __future__ import annotations

import pytest

from ciris_mesh.protocol.limits import CADENCE_S
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.handshake import CAPABILITIES
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.recoding import batch_of, delivers_of
from ciris_mesh.transport.base import LinkId
from ciris_mesh.wire.frame import try_unwrap
from ciris_mesh.wire.mesh import CAPABILITY_MIXED, Hello
from ciris_mesh.wire.mesh_reconcile import Sketch
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS, Records
from ciris_mesh.wire.messages import Deliver, Fetch
from ciris_mesh.wire.transcode import encode_batch, mixed_batch, plain_batch
from support.keys import key
from support.mesh import Mesh, held
from support.records import sample
from support.scripted_rounds import BOTH, answered, compare, connected
from support.transcode import first_operation
from support.waiting import wait_until

FAMILY, REVOCATION = EnvelopeKind.FAMILY, EnvelopeKind.REVOCATION
PLAIN, MIXED = 0x20, 0x60


def form_of(message: Records) -> int:
    """Of its first record."""
    return first_operation(message.batch) & 0x60


# --- which form -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "form"),
    [
        (BOTH | CAPABILITY_MIXED, MIXED),
        (BOTH, PLAIN),
        (0xFFFF & ~CAPABILITY_MIXED & ~8, PLAIN),
        (CAPABILITIES, MIXED),
    ],
)
def test_who_states_it_is_sent_mixed_records_in_a_round_and_who_does_not_plain_ones(
    mesh: Mesh, alice: Node, capabilities: int, form: int
) -> None:
    mesh.put("alice", FAMILY)
    bob = connected(mesh, capabilities)
    his = compare(bob, alice, frozenset())
    answered(bob, bob.hear(Sketch), his)
    message = bob.hear(Records)
    assert form_of(message) == form
    (deliver,) = delivers_of(message)
    rows = alice.directory.get_many(FAMILY, list(held(alice)[FAMILY]))
    assert deliver == Deliver(FAMILY, tuple(row.envelope for row in rows.values()))


@pytest.mark.parametrize("states", [0, CAPABILITY_MIXED])
def test_what_is_fetched_goes_in_the_form_that_was_stated(
    mesh: Mesh, alice: Node, states: int
) -> None:
    envelope_id = mesh.put("alice", FAMILY)
    bob = connected(mesh, CAPABILITY_RECORDS | states)
    bob.say(Fetch(FAMILY, (envelope_id,)))
    assert form_of(bob.hear(Records)) == (MIXED if states else PLAIN)


def test_a_node_that_does_not_state_it_sends_none_and_reads_them_all_the_same(mesh: Mesh) -> None:
    alice = mesh.node("alice", capabilities=BOTH)
    alice.start()
    envelope_id = mesh.put("alice", FAMILY)
    bob = connected(mesh, BOTH | CAPABILITY_MIXED)
    bob.say(Fetch(FAMILY, (envelope_id,)))
    assert form_of(bob.hear(Records)) == PLAIN
    bob.say(Records(9, mixed_batch([(FAMILY, sample(FAMILY, key("bob")))])))
    wait_until(lambda: len(held(alice)[FAMILY]) == 2, "read")


def test_every_node_states_it(mesh: Mesh, alice: Node) -> None:
    eve = mesh.script("eve")
    eve.dial("alice")
    assert eve.hear(Hello).capabilities & CAPABILITY_MIXED
    assert alice.capabilities & CAPABILITY_MIXED


def test_where_bytes_are_dear_records_are_coded_whatever_is_stated() -> None:
    items = [(FAMILY, sample(FAMILY, key("alice")))]
    for capabilities in (0, CAPABILITY_MIXED, 0xFFFF):
        coded = batch_of(items, is_slow=True, capabilities=capabilities)
        assert coded == encode_batch(items) != mixed_batch(items)
    assert batch_of(items, is_slow=False, capabilities=0xFFFF) == mixed_batch(items)
    assert batch_of(items, is_slow=False) == plain_batch(items) != mixed_batch(items)


# --- two nodes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("medium", "knows", "form"),
    [
        ("loopback", (CAPABILITIES, CAPABILITIES), MIXED),
        ("loopback", (CAPABILITIES, CAPABILITIES & ~CAPABILITY_MIXED), PLAIN),
        ("loopback", (CAPABILITIES & ~CAPABILITY_MIXED, CAPABILITIES), PLAIN),
        ("radio", (CAPABILITIES, CAPABILITIES), 0),
    ],
)
def test_both_ends_of_an_exchange_use_the_form_that_both_know(
    medium: str, knows: tuple[int, int], form: int
) -> None:
    mesh = Mesh(medium=medium)
    try:
        for name, capabilities in zip(("alice", "bob"), knows, strict=True):
            mesh.node(name, capabilities=capabilities)
        mesh.befriend("alice", "bob")
        sent: dict[str, list[Records]] = {"alice": [], "bob": []}
        for name, node in mesh.nodes.items():
            _listen(node, sent[name])
            node.start()
        for n in range(3):
            mesh.put("alice", FAMILY, n)
            mesh.put("bob", REVOCATION, n)
        mesh.clock.leap(CADENCE_S)
        mesh.wait_converged()
        alice, bob = mesh.nodes.values()
        assert held(alice) == held(bob)
        assert len(held(alice)[FAMILY]) == len(held(bob)[REVOCATION]) == 3
        for messages in sent.values():
            assert {form_of(message) for message in messages} == {form}
    finally:
        mesh.stop()


def _listen(node: Node, to: list[Records]) -> None:
    """Note every batch the node sends."""
    transport = node.runtime.transport
    send = transport.send

    def listening(link: LinkId, frame: bytes) -> None:
        unwrapped = try_unwrap(frame)
        if unwrapped is not None and isinstance(unwrapped.message, Records):
            to.append(unwrapped.message)
        send(link, frame)

    transport.send = listening  # type: ignore[method-assign]
