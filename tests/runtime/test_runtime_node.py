"""The facade for programs that embed a node: what its docstring shows is what it does."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import MalformedRecord, OperatorError
from ciris_mesh.records.binding import Binding
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime import node as module
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.wire.mesh import BindingOffer, BindingWanted, Hello
from support.keys import alice, bob, key
from support.mesh import NOW_MS, Mesh
from support.records import columns, sample

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY


def test_the_example_in_the_docstring_is_true() -> None:
    known = {
        **vars(module),
        "keys": (alice(), bob()),
        "PeerConfig": PeerConfig,
        "LoopbackNetwork": LoopbackNetwork,
        "LoopbackTransport": LoopbackTransport,
    }
    (example,) = doctest.DocTestFinder(recurse=False).find(Node, "Node", globs=known)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    runner.run(example, out=said.append)
    assert runner.summarize(verbose=False) == (0, 7), "".join(said)


def test_a_node_says_who_it_is(mesh: Mesh) -> None:
    node = mesh.node("alice")
    assert node.key_id == alice().key_id
    assert node.fingerprint == alice().public.fingerprint


def test_start_puts_the_nodes_own_key_on_its_shelf(mesh: Mesh) -> None:
    node = mesh.node("alice")
    with node:
        (ref,) = node.directory.holdings(KEY)
        row = node.get(KEY, ref.envelope_hash)
        assert row is not None
        assert row.signers == (alice().key_id,)
        assert row.envelope == node.key_envelope


def test_without_a_key_record_one_is_signed_once_and_found_again(tmp_path: Path) -> None:
    """A record signed at each start would be a new record each time."""

    def start() -> bytes:
        directory = SqliteDirectory(tmp_path / "records.db")
        transport = LoopbackTransport(LoopbackNetwork(), "alice")
        with Node(alice(), transport, directory=directory, wall_ms=lambda: NOW_MS) as node:
            assert len(directory.holdings(KEY)) == 1
            record = node.key_envelope
        directory.close()
        return record

    first = start()
    assert parse_envelope(KEY, first).signers == (alice().key_id,)
    assert start() == first


def test_another_nodes_key_record_is_not_taken_for_ours(mesh: Mesh) -> None:
    node = mesh.node("alice")
    with node:
        node.runtime.admit_own(KEY, mesh.key_record("bob"))
        directory = node.directory
    again = Node(alice(), LoopbackTransport(LoopbackNetwork(), "x"), directory=directory)
    assert again.key_envelope == mesh.key_record("alice")


def test_a_key_record_the_directory_refuses_stops_the_start_and_says_what_to_do() -> None:
    node = Node(alice(), LoopbackTransport(LoopbackNetwork(), "alice"), key_envelope=b"{}")
    with pytest.raises(OperatorError, match="restore the right") as caught:
        node.start()
    assert "\n" not in str(caught.value)
    node.stop()


def test_put_signs_admits_and_get_finds(mesh: Mesh) -> None:
    with mesh.node("alice") as node:
        verdict = node.put(FAMILY, columns(FAMILY, node.key_id, 1))
        assert verdict.outcome is Outcome.ADMITTED
        assert verdict.envelope_id is not None
        row = node.get(FAMILY, verdict.envelope_id)
        assert row is not None
        assert (row.signers, row.admitted_at_ms) == ((node.key_id,), NOW_MS)
        assert node.get(FAMILY, bytes(32)) is None


def test_put_of_columns_that_make_no_record_raises_and_stores_nothing(mesh: Mesh) -> None:
    with mesh.node("alice") as node:
        with pytest.raises(MalformedRecord):
            node.put(FAMILY, {"no_such_column": 1})
        assert node.directory.holdings(FAMILY) == []


def test_a_record_by_somebody_else_is_admitted_with_its_own_signer(mesh: Mesh) -> None:
    with mesh.node("alice") as node:
        verdict = node.runtime.admit_own(FAMILY, sample(FAMILY, bob()))
        assert verdict.outcome is Outcome.DEFERRED
        node.runtime.admit_own(KEY, mesh.key_record("bob"))
        assert len(node.directory.holdings(FAMILY)) == 1


def test_wait_converged_returns_what_is_missing(mesh: Mesh) -> None:
    node = mesh.node("alice")
    assert node.wait_converged(0.0) == []
    node.add_peer(mesh.config("bob"))
    assert node.wait_converged(0.0) == [f"{bob().key_id}: not connected (idle)"]


def test_stop_is_idempotent_and_leaves_the_directory_open(mesh: Mesh) -> None:
    node = mesh.node("alice")
    node.start()
    node.stop()
    node.stop()
    assert len(node.directory.holdings(KEY)) == 1


def test_kinds_are_shown_in_wire_order_whatever_the_order_given(mesh: Mesh) -> None:
    mesh.node("alice", kinds=[FAMILY, KEY]).start()
    bob_by_hand = mesh.script("bob")
    bob_by_hand.dial("alice")
    assert bob_by_hand.hear(Hello).kinds == (KEY, FAMILY)


def test_a_binding_signed_at_start_is_good_for_a_year(mesh: Mesh) -> None:
    transport = LoopbackTransport(mesh.network, "alice")
    with Node(alice(), transport, wall_ms=lambda: NOW_MS):
        eve = mesh.script("eve")
        eve.dial("alice")
        eve.say_hello()
        eve.say(BindingWanted())
        binding = Binding.decode(eve.hear(BindingOffer).binding)
    assert binding.key_id == key("alice").key_id
    assert binding.rns_public_key == transport.public_key
    assert 365 * 86_400 < binding.expiry_s - NOW_MS // 1000 < 367 * 86_400
