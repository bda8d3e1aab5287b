"""A whole runtime: its life, its peers coming and going, and meshes that converge."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import LifecycleError, ShutdownTimeout
from ciris_mesh.protocol.limits import CADENCE_S
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.bindings import BindingStore
from ciris_mesh.runtime.coordinator import RoundKey
from ciris_mesh.runtime.events import RoundEvent, RoundOutcome
from ciris_mesh.runtime.handle import ReplicationHandle
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.runtime.runtime import WORKER_THREADS, RuntimeConfig
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.loopback import LoopbackTransport
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.messages import Diff, EnvelopeRef, Summary
from support.keys import key
from support.mesh import Mesh, address, collect, held, settle
from support.waiting import wait_until

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY


def admitted(event: RoundEvent) -> int:
    return event.report.admitted if event.report else 0


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("ciris-")}


# --- life -----------------------------------------------------------------------------------------


def test_an_empty_peer_set_starts_and_stops(mesh: Mesh) -> None:
    runtime = mesh.node("alice").runtime
    assert isinstance(runtime.start(), ReplicationHandle)
    assert len(runtime.registry) == 0
    runtime.shutdown()
    assert ours() == set()


def test_one_configured_initiator_is_in_the_registry(mesh: Mesh) -> None:
    runtime = mesh.node("alice").runtime
    runtime.register_peer(replace(mesh.config("bob"), kinds=frozenset({KEY})))
    assert runtime.registry.keys() == [RoundKey(key("bob").key_id, KEY, SessionRole.INITIATOR)]
    assert len(runtime.scheduler) == 1


def test_shutdown_twice_is_fine(mesh: Mesh) -> None:
    runtime = mesh.node("alice").runtime
    runtime.start()
    runtime.shutdown()
    runtime.shutdown()


def test_a_runtime_is_used_once(mesh: Mesh) -> None:
    runtime = mesh.node("alice").runtime
    runtime.start()
    with pytest.raises(LifecycleError):
        runtime.start()
    runtime.shutdown()
    with pytest.raises(LifecycleError):
        runtime.start()


def test_a_runtime_shut_down_before_its_start_stays_down(mesh: Mesh) -> None:
    runtime = mesh.node("alice").runtime
    runtime.shutdown()
    with pytest.raises(LifecycleError):
        runtime.start()
    assert ours() == set()


def test_shutdown_has_a_deadline_and_ends_all_other_parts_all_the_same(mesh: Mesh) -> None:
    node = mesh.node("alice")
    node.start()
    entered, opened = threading.Event(), threading.Event()

    def stuck() -> None:
        entered.set()
        opened.wait()

    node.runtime._pool.submit("stuck", stuck)
    assert entered.wait(240)
    with pytest.raises(ShutdownTimeout, match="ciris-worker"):
        node.runtime.shutdown(timeout_s=0.05)
    wait_until(lambda: len(ours()) == 1, ours)
    opened.set()


def test_a_transport_that_does_not_end_leaves_no_other_thread_behind(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = mesh.node("alice")
    node.start()
    stop = LoopbackTransport.stop

    def stop_late(self: LoopbackTransport, timeout_s: float = 5.0) -> None:
        stop(self, timeout_s)
        raise ShutdownTimeout("ciris-transport", timeout_s)

    monkeypatch.setattr(LoopbackTransport, "stop", stop_late)
    with pytest.raises(ShutdownTimeout, match="ciris-transport"):
        node.runtime.shutdown()
    assert ours() == set()


def test_a_start_that_fails_leaves_no_thread_behind(mesh: Mesh) -> None:
    mesh.node("alice").start()
    twin = Mesh()
    twin.network = mesh.network  # the address is taken
    with pytest.raises(LifecycleError, match="is on this network already"):
        twin.node("alice").start()
    mesh.stop()
    assert ours() == set()


def test_fifty_peers_times_thirteen_kinds_never_are_more_than_a_handful_of_threads(
    mesh: Mesh,
) -> None:
    node = mesh.node("alice")
    for n in range(50):
        node.add_peer(PeerConfig(f"peer-{n}", Address(bytes([n]) * 16)))
    assert len(node.runtime.scheduler) == 50 * 13
    before = threading.active_count()
    node.start()
    for _ in range(3):
        mesh.clock.leap(CADENCE_S)
        settle(node)
    wait_until(lambda: all(peer.reason == "no_path" for peer in node.runtime.peers.all()))
    assert threading.active_count() - before <= WORKER_THREADS + 2  # and timer, and transport


def test_the_number_of_threads_is_configurable(mesh: Mesh) -> None:
    mesh.node("alice", config=RuntimeConfig(worker_threads=1)).start()
    assert len([name for name in ours() if "worker" in name]) == 1


# --- peers come and go ----------------------------------------------------------------------------


def test_register_peer_hot_adds_an_active_peer(mesh: Mesh) -> None:
    alice, bob = mesh.node("alice"), mesh.node("bob")
    alice.start()
    bob.start()
    mesh.put("alice", FAMILY)
    mesh.befriend("alice", "bob")
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    assert held(alice) == held(bob)
    assert len(held(bob)[FAMILY]) == 1


def test_adding_a_peer_on_one_side_only_waits_for_the_other_side(mesh: Mesh) -> None:
    alice, bob = mesh.node("alice"), mesh.node("bob")
    for node in (alice, bob):
        node.start()
    alice.add_peer(mesh.config("bob"))
    mesh.clock.leap(5.0)
    wait_until(lambda: mesh.peer("alice", "bob").reason == "refused_not_a_peer", "refused")
    assert held(alice).keys() == held(bob).keys()
    assert [c.key_id for c in bob.runtime.peers.candidates()] == [alice.key_id]
    bob.add_peer(mesh.config("alice"))
    mesh.clock.leap(5.0)
    mesh.wait_converged()


def test_set_peers_converges_by_difference(mesh: Mesh) -> None:
    alice = mesh.node("alice")
    alice.start()
    bob, carol, dave = (mesh.config(name) for name in ("bob", "carol", "dave"))
    alice.runtime.set_peers([bob, carol])
    kept = alice.runtime.peers.get(carol.key_id)
    coordinators = alice.runtime.registry.of_peer(carol.key_id)
    alice.runtime.set_peers([carol, dave])
    assert alice.runtime.peers.key_ids() == {carol.key_id, dave.key_id}
    assert alice.runtime.peers.get(carol.key_id) is kept
    assert alice.runtime.registry.of_peer(carol.key_id) == coordinators, "untouched"
    assert alice.runtime.registry.of_peer(bob.key_id) == []
    assert len(alice.runtime.scheduler) == 2 * 13
    alice.runtime.set_peers([])
    assert len(alice.runtime.registry) == 0
    assert alice.runtime.scheduler.is_empty()


def test_a_changed_configuration_is_taken_over(mesh: Mesh) -> None:
    alice = mesh.node("alice")
    alice.start()
    config = mesh.config("bob")
    alice.runtime.set_peers([config])
    narrow = replace(config, alias="Bob", kinds=frozenset({KEY}))
    alice.runtime.set_peers([narrow])
    assert mesh.peer("alice", "bob").config == narrow
    assert [c.key.kind for c in alice.runtime.registry.of_peer(config.key_id)] == [KEY]
    assert len(alice.runtime.scheduler) == 1


def test_a_new_alias_keeps_the_link_and_a_new_address_does_not(mesh: Mesh) -> None:
    alice, _ = mesh.started("alice", "bob")
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    mesh.wait_one_link("alice", "bob")
    link = mesh.peer("alice", "bob").link
    alice.add_peer(replace(mesh.config("bob"), alias="Bob"))
    settle(alice)
    assert mesh.peer("alice", "bob").link is link
    alice.add_peer(replace(mesh.config("bob"), address=address("elsewhere")))
    wait_until(lambda: mesh.peer("alice", "bob").link is not link, "closed")


def test_removing_a_peer_ends_its_link_its_rounds_and_its_board(mesh: Mesh) -> None:
    alice, bob = mesh.started("alice", "bob")
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    assert alice.is_fresh(KEY)
    assert alice.runtime.remove_peer(bob.key_id)
    assert not alice.runtime.remove_peer(bob.key_id)
    wait_until(lambda: alice.runtime.transport.stats().links == 0, "the link is closed")
    assert not alice.is_fresh(KEY)
    assert alice.handle.waiting_for() == []
    assert alice.runtime.events.outcomes(bob.key_id) == {}
    wait_until(lambda: mesh.peer("bob", "alice").link is None, "bob noticed")


# --- answering ------------------------------------------------------------------------------------


def test_a_pure_responder_answers(mesh: Mesh) -> None:
    """It registers a peer and starts nothing itself: rounds must not vanish in it."""
    alice = mesh.node("alice")
    alice.start()
    alice.add_peer(mesh.config("bob"))
    for kind in EnvelopeKind:
        alice.runtime.scheduler.remove_initiator(
            RoundKey(key("bob").key_id, kind, SessionRole.INITIATOR)
        )
    assert alice.runtime.scheduler.is_empty()
    mine = mesh.put("alice", FAMILY)
    events = collect(alice)
    bob = mesh.script("bob")
    bob.dial("alice")
    bob.introduce()
    bob.say(bob.digests(reply=False))
    assert bob.hear_reply().entries
    bob.say(Summary(FAMILY, ()))
    row = alice.get(FAMILY, mine)
    assert row is not None
    assert [ref.envelope_hash for ref in bob.hear(Summary).refs] == [row.copy_id]
    assert bob.hear(Diff).want == ()
    bob.say(Diff(FAMILY, ()))
    wait_until(lambda: events, "the round is over")
    assert (events[0].outcome, events[0].role) == (RoundOutcome.COMPLETED, SessionRole.RESPONDER)


def test_a_node_that_only_answers_converges_with_one_that_dials(mesh: Mesh) -> None:
    """The usual leaf and hub: the hub cannot reach the leaf."""
    hub, leaf = mesh.node("hub"), mesh.node("leaf")
    hub.add_peer(replace(mesh.config("leaf"), address=address("nowhere")))
    leaf.add_peer(mesh.config("hub"))
    for node in (hub, leaf):
        node.start()
    mesh.put("hub", FAMILY)
    mesh.put("leaf", FAMILY)
    for _ in range(3):
        mesh.clock.leap(CADENCE_S)
        settle(hub)
    mesh.wait_converged()
    assert held(hub) == held(leaf)


def test_nobody_who_is_no_peer_gets_a_responder(mesh: Mesh) -> None:
    alice = mesh.node("alice")
    assert alice.runtime.registry.route("eve", Summary(KEY, ())).__class__.__name__ == (
        "NoCoordinatorRegistered"
    )
    assert len(alice.runtime.registry) == 0


# --- meshes ---------------------------------------------------------------------------------------


def test_three_nodes_converge_with_all_thirteen_kinds(mesh: Mesh) -> None:
    nodes = mesh.started("alice", "bob", "carol")
    for name in ("alice", "bob", "carol"):
        for kind in EnvelopeKind:
            mesh.put(name, kind, 1)
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    one, two, three = (held(node) for node in nodes)
    assert one == two == three
    assert {kind: len(ids) for kind, ids in one.items()} == {
        kind: 6 if kind is KEY else 3 for kind in EnvelopeKind
    }
    for node in nodes:
        assert all(node.is_fresh(kind) for kind in EnvelopeKind)
        assert node.runtime.drops.snapshot() == {}


def test_a_converged_mesh_stays_silent_but_for_one_comparison_a_cadence(mesh: Mesh) -> None:
    alice, bob = mesh.started("alice", "bob")
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    mesh.wait_one_link("alice", "bob")
    for node in (alice, bob):
        settle(node)
    events = collect(alice)
    before = alice.runtime.transport.stats().tx_bytes
    for _ in range(4):
        mesh.clock.leap(CADENCE_S)
        settle(alice)
        settle(bob)
    assert events == []
    spent = alice.runtime.transport.stats().tx_bytes - before
    assert 0 < spent < 4 * 2 * 400


def test_a_mesh_with_lossy_slow_links_converges(mesh: Mesh) -> None:
    lossy = Mesh(seed=3, delay_s=(0.0, 0.002), loss=0.02)
    try:
        one, two = lossy.started("alice", "bob")
        for kind in EnvelopeKind:
            lossy.put("alice", kind, 1)
            lossy.put("bob", kind, 2)
        for _ in range(60):
            if held(one) == held(two) and not one.handle.waiting_for():
                break
            lossy.clock.leap(CADENCE_S)
            settle(one)
            settle(two)
            threading.Event().wait(0.02)
        assert held(one) == held(two)
    finally:
        lossy.stop()


def test_a_restarted_node_with_its_directory_goes_on_where_it_was(
    mesh: Mesh, tmp_path: Path
) -> None:
    def start_bob() -> None:
        directory = SqliteDirectory(tmp_path / "bob.db")
        node = mesh.node("bob", directory=directory, bindings=BindingStore(tmp_path / "bindings"))
        node.add_peer(mesh.config("alice"))
        node.start()

    alice = mesh.node("alice")
    alice.add_peer(mesh.config("bob"))
    alice.start()
    start_bob()
    mesh.put("alice", FAMILY, 1)
    mesh.put("bob", FAMILY, 2)
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    mesh.nodes["bob"].stop()
    mesh.nodes["bob"].directory.close()
    mesh.put("alice", FAMILY, 3)
    start_bob()
    bob = mesh.nodes["bob"]
    events = collect(bob)
    assert len(held(bob)[FAMILY]) == 2
    mesh.clock.leap(CADENCE_S)
    wait_until(lambda: held(bob) == held(alice), "what was missed came")
    mesh.wait_converged()
    assert len(held(bob)[KEY]) == 2, "the restart made no new key record"
    wait_until(lambda: any(map(admitted, events)), "told after it was agreed")
    assert sum(map(admitted, events)) == 1
    mesh.stop()
    bob.directory.close()


def test_a_comparison_dropped_by_a_restart_is_made_again(mesh: Mesh) -> None:
    """The node was restarted in mid-round: its peer gives the round up and starts over."""
    alice = mesh.node("alice")
    alice.add_peer(mesh.config("bob"))
    alice.start()
    bob = mesh.script("bob")
    bob.dial("alice")
    bob.introduce()
    bob.say(Summary(FAMILY, (EnvelopeRef(b"x" * 32, 1),)))
    bob.hear(Diff)
    bob.transport.stop()
    wait_until(lambda: mesh.peer("alice", "bob").link is None, "noticed")
    assert not alice.runtime.scheduler.is_busy(key("bob").key_id)
    again = mesh.script("bob")
    again.dial("alice")
    again.shake_hands()
    again.say(again.digests(reply=False))
    assert isinstance(again.hear_reply(), Digests)


# --- the handle -----------------------------------------------------------------------------------


def test_sync_compares_now_with_one_or_all(mesh: Mesh) -> None:
    alice, bob, carol = mesh.started("alice", "bob", "carol")
    assert alice.handle.sync() == 2
    assert alice.handle.sync(bob.key_id) == 1
    assert alice.handle.sync("eve") == 0
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "no waiting for a cadence")
    wait_until(lambda: mesh.peer("alice", "carol").link is not None, "nor here")
    assert carol.handle.sync() == 2


def test_waiting_for_says_who_and_why(mesh: Mesh) -> None:
    alice = mesh.node("alice")
    assert alice.handle.waiting_for() == []
    alice.add_peer(replace(mesh.config("bob"), alias="Bob"))
    assert alice.handle.waiting_for() == ["Bob: not connected (idle)"]
    alice.start()
    mesh.clock.leap(5.0)
    wait_until(lambda: alice.handle.waiting_for() == ["Bob: not connected (no_path)"])
    bob = mesh.script("bob")
    bob.dial("alice")
    bob.introduce()
    wait_until(lambda: "not compared equal yet: key, attestation" in alice.handle.waiting_for()[0])


def test_a_subscriber_that_fails_disturbs_nothing(mesh: Mesh) -> None:
    alice, bob = mesh.started("alice", "bob")
    end = alice.subscribe(lambda _event: 1 / 0)  # type: ignore[arg-type]
    events = collect(alice)
    mesh.put("alice", FAMILY)
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    assert held(alice) == held(bob)
    assert events
    end()


def test_handle_shutdown_ends_the_runtime(mesh: Mesh) -> None:
    alice = mesh.node("alice")
    alice.start()
    alice.handle.shutdown()
    assert ours() == set()
