"""Which coordinator a frame is for, and every way a frame may fail to find one."""

from __future__ import annotations

import threading

import pytest

from ciris_mesh.errors import BackPressure, DecodeError, UnknownVersion
from ciris_mesh.protocol.limits import INBOUND_QUEUE_MESSAGES
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.runtime.registry import (
    NoCoordinatorRegistered,
    NotAReplicationFrame,
    ReplicationRegistry,
    Routed,
)
from ciris_mesh.wire.frame import MAGIC, wrap
from ciris_mesh.wire.mesh import BindingWanted
from ciris_mesh.wire.messages import Deliver, Diff, Fetch, ReplicationMessage, Summary
from support.rounds import Side

KIND = EnvelopeKind.KEY
INITIATOR, RESPONDER = SessionRole.INITIATOR, SessionRole.RESPONDER
SUMMARY = wrap(Summary(KIND, ()))


def key(role: SessionRole, peer: str = "bob", kind: EnvelopeKind = KIND) -> RoundKey:
    return RoundKey(peer, kind, role)


def registered(*sides: Side) -> ReplicationRegistry:
    registry = ReplicationRegistry()
    for side in sides:
        registry.register(side.coordinator)
    return registry


def test_an_empty_registry_reports_not_a_replication_frame_for_other_bytes() -> None:
    registry = ReplicationRegistry()
    assert len(registry) == 0
    for frame in (b"", b"CRP", b"hello", b"\x00" * 40, b"crpl\x01{}"):
        assert registry.route_inbound_bytes("bob", frame) == NotAReplicationFrame()


def test_register_shows_in_len_lookup_and_keys() -> None:
    one = Side.make("bob", INITIATOR)
    two = Side.make("bob", RESPONDER)
    three = Side.make("carol", RESPONDER)
    registry = registered(one, two, three)
    assert len(registry) == 3
    assert registry.lookup(key(INITIATOR)) is one.coordinator
    assert registry.lookup(key(INITIATOR, "carol")) is None
    assert registry.keys() == [key(INITIATOR), key(RESPONDER), key(RESPONDER, "carol")]
    assert registry.of_peer("bob") == [one.coordinator, two.coordinator]


def test_registering_the_same_key_replaces() -> None:
    old, new = Side.make("bob", RESPONDER), Side.make("bob", RESPONDER)
    registry = registered(old, new)
    assert len(registry) == 1
    assert registry.lookup(key(RESPONDER)) is new.coordinator


def test_deregister_removes_and_the_second_time_returns_nothing() -> None:
    side = Side.make("bob", RESPONDER)
    registry = registered(side)
    assert registry.deregister(key(RESPONDER)) is side.coordinator
    assert registry.deregister(key(RESPONDER)) is None
    assert len(registry) == 0


def test_a_frame_is_routed_to_the_registered_coordinator() -> None:
    bob, carol = Side.make("bob", RESPONDER), Side.make("carol", RESPONDER)
    registry = registered(bob, carol)
    assert registry.route_inbound_bytes("carol", SUMMARY) == Routed(key(RESPONDER, "carol"))
    assert carol.coordinator.recv_inbound() == Summary(KIND, ())
    assert bob.coordinator.recv_inbound() is None


def test_an_unregistered_peer_has_no_coordinator_and_the_kind_is_told() -> None:
    registry = registered(Side.make("bob", RESPONDER))
    assert registry.route_inbound_bytes("eve", SUMMARY) == NoCoordinatorRegistered(KIND)


def test_the_right_peer_with_another_kind_has_no_coordinator() -> None:
    registry = registered(Side.make("bob", RESPONDER))
    frame = wrap(Summary(EnvelopeKind.FAMILY, ()))
    assert registry.route_inbound_bytes("bob", frame) == NoCoordinatorRegistered(
        EnvelopeKind.FAMILY
    )


@pytest.mark.parametrize(
    "frame",
    [
        MAGIC,
        MAGIC + b"\x01",
        MAGIC + b"\x01{}",
        MAGIC + b'\x01{"type":"gossip"}',
        MAGIC + b"\x02[",
        MAGIC + b"\x81\x00",
    ],
    ids=["no version", "no body", "no type", "unknown type", "cut", "broken mesh body"],
)
def test_malformed_frames_raise(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        registered(Side.make("bob", RESPONDER)).route_inbound_bytes("bob", frame)


@pytest.mark.parametrize("version", [0x00, 0x03, 0x80, 0xFF])
def test_unknown_versions_raise_and_say_which(version: int) -> None:
    frame = MAGIC + bytes([version]) + SUMMARY[5:]
    with pytest.raises(UnknownVersion) as caught:
        registered(Side.make("bob", RESPONDER)).route_inbound_bytes("bob", frame)
    assert caught.value.version == version


def test_a_mesh_message_is_not_about_records() -> None:
    registry = registered(Side.make("bob", RESPONDER))
    assert registry.route_inbound_bytes("bob", wrap(BindingWanted())) == NotAReplicationFrame()


def test_the_ninth_undelivered_message_is_back_pressure_with_the_peer_id() -> None:
    registry = registered(Side.make("bob", RESPONDER))
    for _ in range(INBOUND_QUEUE_MESSAGES):
        registry.route_inbound_bytes("bob", SUMMARY)
    with pytest.raises(BackPressure, match="bob"):
        registry.route_inbound_bytes("bob", SUMMARY)


# --- which of two roles ---------------------------------------------------------------------------


def test_a_summary_answers_my_initiator_when_it_awaits_one_else_it_opens_a_round() -> None:
    mine, theirs = Side.make("bob", INITIATOR), Side.make("bob", RESPONDER)
    registry = registered(mine, theirs)
    assert registry.route_inbound_bytes("bob", SUMMARY) == Routed(key(RESPONDER))
    mine.coordinator.start_round()
    assert registry.route_inbound_bytes("bob", SUMMARY) == Routed(key(INITIATOR))
    mine.coordinator.drive()
    assert mine.coordinator.is_active
    assert registry.route_inbound_bytes("bob", SUMMARY) == Routed(key(RESPONDER))


@pytest.mark.parametrize("message", [Diff(KIND, ()), Deliver(KIND, ()), Fetch(KIND, ())])
def test_all_else_belongs_to_the_round_under_way_and_outside_one_to_the_responder(
    message: ReplicationMessage,
) -> None:
    mine, theirs = Side.make("bob", INITIATOR), Side.make("bob", RESPONDER)
    registry = registered(mine, theirs)
    assert registry.route("bob", message) == Routed(key(RESPONDER))
    mine.coordinator.start_round()
    assert registry.route("bob", message) == Routed(key(INITIATOR))


def test_without_a_responder_an_idle_initiator_takes_what_comes() -> None:
    """It refuses it then, out of turn, which is said; swallowing it would not be."""
    registry = registered(Side.make("bob", INITIATOR))
    assert registry.route_inbound_bytes("bob", SUMMARY) == Routed(key(INITIATOR))


def test_another_peers_initiator_is_never_picked() -> None:
    mine = Side.make("bob", INITIATOR)
    mine.coordinator.start_round()
    assert registered(mine).route_inbound_bytes("eve", SUMMARY) == NoCoordinatorRegistered(KIND)
    assert mine.coordinator.awaits_summary


# --- the factory ----------------------------------------------------------------------------------


def test_a_factory_makes_the_responder_on_the_first_message_and_only_then() -> None:
    made: list[tuple[str, EnvelopeKind]] = []

    def factory(peer: str, kind: EnvelopeKind) -> ReplicationCoordinator | None:
        made.append((peer, kind))
        return Side.make(peer, RESPONDER, kind=kind).coordinator

    registry = ReplicationRegistry(factory)
    assert registry.route_inbound_bytes("bob", SUMMARY) == Routed(key(RESPONDER))
    assert registry.route_inbound_bytes("bob", SUMMARY) == Routed(key(RESPONDER))
    assert made == [("bob", KIND)]
    assert registry.keys() == [key(RESPONDER)]


def test_a_factory_may_decline() -> None:
    registry = ReplicationRegistry(lambda _peer, _kind: None)
    assert registry.route_inbound_bytes("eve", SUMMARY) == NoCoordinatorRegistered(KIND)
    assert len(registry) == 0


def test_frames_of_many_threads_all_arrive() -> None:
    sides = [Side.make(f"peer-{n}", RESPONDER) for n in range(8)]
    registry = registered(*sides)

    def send(peer: str) -> None:
        for _ in range(INBOUND_QUEUE_MESSAGES):
            registry.route_inbound_bytes(peer, SUMMARY)

    threads = [threading.Thread(target=send, args=(f"peer-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for side in sides:
        taken = [side.coordinator.recv_inbound() for _ in range(INBOUND_QUEUE_MESSAGES + 1)]
        assert taken.count(None) == 1
