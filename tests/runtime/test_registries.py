"""Rounds with a registry node that behaves as the captures show, in one process."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.directory.base import Shelf
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.registrybridge import IdBasis
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.meshmembers import for_registries
from ciris_mesh.runtime import registries as registries_module
from ciris_mesh.runtime.clock import ManualClock
from ciris_mesh.runtime.events import RoundEvent, RoundOutcome
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.registries import (
    GARBAGE_MAX,
    Registries,
    RegistryConfig,
    RegistrySettings,
)
from ciris_mesh.runtime.registrybook import RegistryBook
from ciris_mesh.runtime.registryoperations import RegistryOperations
from ciris_mesh.runtime.registryreport import registry_rows
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.runtime.scheduler import SchedulerConfig
from ciris_mesh.transport.base import Address, EdgeLost
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.wire.edge_announce import decode_attestation
from support.edge_model import V1_KINDS, EdgeModel, deliver, encode
from support.edge_port import ModelPort
from support.keys import alice, bob, carol, key
from support.mesh import NOW_MS, TRUST
from support.records import prerequisites, sample
from support.waiting import wait_until

K = EnvelopeKind


@dataclass
class World:
    """A running node with one registry, whose rounds start when a test says so."""

    node: Node
    port: ModelPort
    events: list[RoundEvent]

    @property
    def registries(self) -> Registries:
        assert self.node.runtime.registries is not None
        return self.node.runtime.registries

    def rounds(self, times: int = 1) -> None:
        """Complete a round of every kind, so many times."""
        for _ in range(times):
            begun = len(self.events)
            wait_until(partial(self._is_done, begun), self.outcomes)
            wait_until(lambda: not self.is_busy(), self.outcomes)

    def _is_done(self, begun: int) -> bool:
        """A round that is begun in the middle of another is skipped, so it is begun again."""
        since = self.events[begun:]
        done = {event.kind for event in since if event.outcome is RoundOutcome.COMPLETED}
        if not done.issuperset(V1_KINDS) and not self.is_busy():
            self.registries.sync()
        return done.issuperset(V1_KINDS)

    def is_busy(self) -> bool:
        return self.registries._scheduler.is_busy(self.port.key.key_id)

    def done(self) -> int:
        return sum(event.outcome is RoundOutcome.COMPLETED for event in self.events)

    def outcomes(self) -> list[str]:
        return [f"{event.kind} {event.outcome} {event.reason}" for event in self.events[-20:]]

    def drops(self) -> dict[str, int]:
        return self.node.runtime.drops.snapshot()

    def shelf(self, kind: EnvelopeKind, raw: bytes) -> Shelf | None:
        row = self.node.get(kind, parse_envelope(kind, raw).envelope_id)
        return row.shelf if row is not None else None


Make = Callable[..., World]


@pytest.fixture
def make() -> Iterator[Make]:
    nodes: list[Node] = []

    def build(
        *,
        configured: IdBasis | None = None,
        known: bool = True,
        pinned: bool = True,
        patience_s: float = 60.0,  # the clock is real, and nothing begins a round again
        **model: Any,
    ) -> World:
        port = ModelPort(carol(), EdgeModel(**model))
        config = RegistryConfig(carol().key_id, carol().public.ed25519, configured)
        node = Node(
            alice(),
            LoopbackTransport(LoopbackNetwork(), "alice"),
            directory=MemoryDirectory(trust=TRUST),
            config=RuntimeConfig(
                rounds=SchedulerConfig(cadence_s=3_600.0, no_progress_timeout_s=patience_s),
                registries=RegistrySettings((config,) if pinned else ()),
            ),
            wall_ms=lambda: NOW_MS,
            rng=random.Random(1),
            edge=port,
        )
        assert node.runtime.registries is not None
        port.handle = node.runtime.registries.handle
        events: list[RoundEvent] = []
        node.subscribe(events.append)
        nodes.append(node)
        node.start()
        world = World(node, port, events)
        if known:
            port.attest()
            wait_until(lambda: port.permitted)
            wait_until(lambda: world.done() >= len(V1_KINDS), world.outcomes)
            wait_until(lambda: not world.is_busy(), world.outcomes)
        return world

    yield build
    for node in nodes:
        node.stop()


def foreign(kind: EnvelopeKind, n: int = 0) -> bytes:
    """A record as a registry node has it: without what only this mesh adds."""
    return for_registries(kind, sample(kind, bob(), n))


def own(world: World, kind: EnvelopeKind, n: int = 0) -> bytes:
    for below, raw in prerequisites(kind, alice(), n):
        world.node.runtime.admit_own(below, raw)
    raw = sample(kind, alice(), n)
    assert world.node.runtime.admit_own(kind, raw).outcome.is_held
    return raw


def own_pin(world: World, tmp_path: Path) -> dict[str, Callable[[dict[str, Any]], object]]:
    """What a running node does when asked to pin or to forget a registry."""
    clock = ManualClock(wall_ms=NOW_MS)
    path = tmp_path / "registries"
    return dict(RegistryOperations(world.node.runtime, clock, path).table())


CAROL_PIN = {"key_id": carol().key_id, "ed25519": carol().public.ed25519.hex(), "basis": "row"}


def test_a_pin_made_while_the_node_runs_counts_at_once(make: Make, tmp_path: Path) -> None:
    """Also for a registry that announced itself before."""
    world = make(known=False, pinned=False)
    world.port.attest()
    wait_until(lambda: world.drops().get("edge_unpinned") == 1)
    assert not world.port.permitted
    raw = own(world, K.KEY)
    shown = own_pin(world, tmp_path)["registry_pin"]({**CAROL_PIN, "bootstrap": True})
    assert shown == {**CAROL_PIN, "bootstrap": True}
    ours = parse_envelope(K.KEY, raw).envelope_id
    wait_until(lambda: ours in world.port.model.held(K.KEY), world.outcomes)
    (row,) = registry_rows(world.node.runtime)
    assert (row.key_id, row.basis, row.basis_by) == (carol().key_id, "row", "configured")
    assert [it.pin.key_id for it in RegistryBook.load(tmp_path / "registries").pinned()] == [
        carol().key_id
    ]


def test_what_is_unpinned_is_let_go_at_once_and_may_come_back(make: Make, tmp_path: Path) -> None:
    world = make(known=False, pinned=False)
    operations = own_pin(world, tmp_path)
    operations["registry_pin"](CAROL_PIN)
    world.port.attest()
    wait_until(lambda: world.port.permitted)
    wait_until(lambda: world.done() >= len(V1_KINDS), world.outcomes)
    with pytest.raises(OperatorError, match="no registry"):
        operations["registry_unpin"]({"key_id": "nobody"})
    operations["registry_unpin"]({"key_id": carol().key_id})
    assert registry_rows(world.node.runtime) == ()
    unknown = world.drops().get("registry_unknown", 0)  # what waited is dropped as well
    world.port.say(b"CRPL")
    assert world.drops()["registry_unknown"] > unknown
    wait_until(lambda: not world.port.permitted and world.port.hung_up)
    world.port.attest()
    wait_until(lambda: world.drops().get("edge_unpinned") == 1)
    before = world.done()
    assert world.registries.sync() == 0
    operations["registry_pin"](CAROL_PIN)
    wait_until(lambda: world.done() > before, world.outcomes)


def at_once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """Hold whoever calls this until a second one is there too, or is kept from coming."""
    both, inner = threading.Barrier(2), getattr(where, name)

    def held(*args: Any, **named: Any) -> Any:
        found = inner(*args, **named)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        return found

    monkeypatch.setattr(where, name, held)


def together(task: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=task, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_pins_made_at_once_none_is_lost(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    operations = own_pin(make(known=False, pinned=False), tmp_path)
    at_once(monkeypatch, RegistryBook, "load")

    def pin(n: int) -> None:
        operations["registry_pin"]({"key_id": f"reg-{n}", "ed25519": f"{n:064x}", "basis": ""})

    together(pin)
    book = RegistryBook.load(tmp_path / "registries")
    assert [it.pin.key_id for it in book.pinned()] == [f"reg-{n}" for n in range(4)]


def test_the_node_exchanges_with_all_that_were_pinned_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(known=False, pinned=False)
    at_once(monkeypatch, registries_module, "Registry")
    together(lambda n: world.registries.pin(RegistryConfig(f"reg-{n}", bytes(32))))
    assert sorted(world.registries.peers) == [f"reg-{n}" for n in range(4)]


def test_a_pin_in_the_middle_of_an_unpin_has_its_rounds(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the rounds of the old pin leaves those of the new one alone."""
    world = make()
    config = RegistryConfig(carol().key_id, carol().public.ed25519)
    abort = world.registries._scheduler.abort_peer

    def pins(peer: str, reason: str) -> None:
        monkeypatch.undo()
        world.registries.pin(config)
        abort(peer, reason)

    monkeypatch.setattr(world.registries._scheduler, "abort_peer", pins)
    world.registries.unpin(carol().key_id)
    wait_until(lambda: carol().key_id in world.registries.peers)
    world.port.attest()
    wait_until(lambda: world.port.permitted)
    world.rounds()


def test_announces_of_whom_nobody_pinned_are_few(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registries_module, "UNPINNED_MAX", 0)
    world = make(known=False, pinned=False)
    world.port.attest()
    wait_until(lambda: world.drops().get("edge_unpinned") == 1)
    config = RegistryConfig(carol().key_id, carol().public.ed25519)
    world.registries.pin(config)
    world.registries.pin(config)
    wait_until(lambda: not world.is_busy())
    assert not world.port.permitted, "it is known by its next announce"
    world.port.attest()
    wait_until(lambda: world.port.permitted)


# --- meeting --------------------------------------------------------------------------------------


def test_the_node_attests_itself(make: Make) -> None:
    world = make(known=False)
    (announced,) = world.port.announced
    attestation = decode_attestation(announced)
    rns_key = world.node.runtime.transport.public_key
    assert attestation.key_id == alice().key_id
    assert attestation.is_signed(alice().public.ed25519, rns_key)


def test_nothing_is_said_to_a_registry_nobody_has_heard(make: Make) -> None:
    world = make(known=False)
    world.registries.sync()
    registry = world.registries.peers[carol().key_id]
    wait_until(lambda: registry.reason == "not_heard")
    assert not world.port.sent
    assert world.events == []


def test_a_lie_in_an_announce_is_named_and_counted(make: Make) -> None:
    world = make(known=False)
    world.port.key = key("steward")
    world.port.attest()
    wait_until(lambda: world.drops().get("edge_unpinned") == 1)
    assert world.port.permitted == frozenset()


# --- records --------------------------------------------------------------------------------------


def test_our_records_are_stored_there_with_our_ids(make: Make) -> None:
    world = make()
    ids = {}
    for kind in (K.COMMUNITY, K.LOCATION_PROOF, K.REVOCATION, K.FAMILY):
        ids[kind] = parse_envelope(kind, own(world, kind)).envelope_id
    world.rounds()
    for kind, envelope_id in ids.items():
        assert world.port.model.held(kind) == {envelope_id}
        stored = world.port.model.rows[kind][envelope_id]
        assert b"authority" not in stored
    assert len(world.port.model.held(K.KEY)) == 1


@pytest.mark.parametrize("basis", ["row", "bytes"])
@pytest.mark.parametrize("pushes", [False, True], ids=["asked", "pushed"])
def test_its_records_come_and_are_only_bridged(make: Make, basis: str, *, pushes: bool) -> None:
    world = make(basis=basis, pushes=pushes)
    for kind in (K.COMMUNITY, K.LOCATION_PROOF, K.FAMILY):
        world.port.model.publish(kind, foreign(kind))
    whole = sample(K.KEY, bob())
    world.port.model.publish(K.KEY, whole)
    if pushes:
        for kind in V1_KINDS:
            for frame in world.port.model.open_round(kind):
                world.port.say(frame)
    world.rounds()
    for kind in (K.COMMUNITY, K.LOCATION_PROOF, K.FAMILY):
        assert world.shelf(kind, foreign(kind)) is Shelf.BRIDGED
    assert world.shelf(K.KEY, whole) is Shelf.FEDERATION, "it holds by our own rules"


@pytest.mark.parametrize(
    ("basis", "flags"),
    [("row", {}), ("bytes", {}), ("row", {"pushes": True}), ("bytes", {"forgets": True})],
    ids=["row", "bytes", "pushing", "forgetting"],
)
def test_a_hundred_rounds_of_ten_kinds_ask_for_nothing_twice(
    make: Make, basis: str, flags: dict[str, bool]
) -> None:
    """Held, bridged, refused, unreadable, or offered under a name its bytes do not have."""
    world = make(basis=basis, stored_kinds=frozenset(V1_KINDS), **flags)
    model = world.port.model
    for kind in V1_KINDS:
        own(world, kind, 1)
        model.publish(kind, foreign(kind, 2))
    forged = sample(K.REVOCATION, bob()).replace(b'"reason":"lost"', b'"reason":"lies"')
    model.publish(K.REVOCATION, forged)
    model.lie(K.FAMILY, b"f" * 32, b"{no record")
    model.lie(K.COMMUNITY, b"c" * 32, foreign(K.COMMUNITY, 7))
    rounds = 100
    for n in range(rounds):
        if n % 3 == 0:  # both open rounds; some cross each other
            for kind in V1_KINDS:
                for frame in model.open_round(kind):
                    world.port.say(frame)
        world.rounds()
    assert set(model.asked.values()) == {1}, "no Diff names an id for the second time"
    assert len(model.asked) >= len(V1_KINDS) + (0 if flags.get("pushes") else 3)
    assert {event.outcome for event in world.events} == {RoundOutcome.COMPLETED}
    assert world.done() >= rounds * len(V1_KINDS)
    for kind in V1_KINDS:
        assert world.shelf(kind, foreign(kind, 2)) is not None
    assert world.port.hung_up == []


def test_the_basis_is_found_out_when_configured_wrong(make: Make) -> None:
    world = make(basis="bytes")
    world.registries.bridge.assume(carol().key_id, IdBasis.ROW, "configured")
    world.port.model.publish(K.FAMILY, foreign(K.FAMILY))
    world.rounds()
    assert world.registries.bridge.basis(carol().key_id) == (IdBasis.BYTES, "seen", 1)
    own(world, K.LOCATION_PROOF)
    world.rounds(3)
    assert len(world.port.model.held(K.LOCATION_PROOF)) == 1
    (held,) = world.port.model.rows[K.LOCATION_PROOF].items()
    assert hashlib.sha256(held[1]).digest() == held[0]


def test_more_than_one_diff_names_comes_round_after_round(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ciris_mesh.directory.registrybridge.WANT_MAX", 3)
    world = make()
    for n in range(10):
        world.port.model.publish(K.FAMILY, foreign(K.FAMILY, n))
    world.registries.sync()
    counts = world.node.directory.counts
    wait_until(lambda: counts().get((K.FAMILY, Shelf.BRIDGED)) == 10, world.outcomes)
    assert set(world.port.model.asked.values()) == {1}


def test_what_a_registry_brings_is_spread_at_once(make: Make) -> None:
    world = make()
    before = world.node.directory.generation(K.KEY)
    world.port.say(encode(deliver(K.KEY, [sample(K.KEY, bob())])))
    wait_until(lambda: world.node.directory.generation(K.KEY) > before)


# --- faults ---------------------------------------------------------------------------------------


def test_a_silent_registry_is_given_up_and_tried_again(make: Make) -> None:
    world = make(known=False, patience_s=0.5)
    world.port.is_silent = True
    world.port.attest()
    wait_until(lambda: world.port.address in world.port.hung_up)
    registry = world.registries.peers[carol().key_id]
    assert registry.reason == "no_progress"
    world.port.is_silent = False

    def is_well() -> bool:
        """A machine that stands still for so short a patience may cost another round."""
        if not world.is_busy():
            world.registries.sync()
        return registry.reason == ""

    wait_until(is_well, world.outcomes)
    wait_until(lambda: world.done() > 0, world.outcomes)


def test_a_lost_link_ends_the_rounds_and_says_why(make: Make) -> None:
    world = make()
    world.port.is_silent = True
    world.registries.sync()
    wait_until(world.is_busy)
    world.port.handle(EdgeLost(world.port.address, "no_path"))
    wait_until(lambda: world.registries.peers[carol().key_id].reason == "no_path")
    wait_until(lambda: world.events[-1].reason == "no_path", world.outcomes)


def test_garbage_is_counted_and_ends_the_links(make: Make) -> None:
    world = make()
    for frame in (b"no frame", b"CRPL\x01{", b"CRPL\x09{}", b"CRPL\x81\xc0"):
        world.port.say(frame)
    wait_until(lambda: sum(n for name, n in world.drops().items() if "registry_" in name) == 4)
    for _ in range(GARBAGE_MAX):
        world.port.say(b"CRPL\x01{")
    wait_until(lambda: world.port.hung_up == [world.port.address])
    assert world.registries.peers[carol().key_id].reason == "sent_garbage"


def test_a_kind_that_is_not_served_is_counted(make: Make) -> None:
    world = make()
    world.port.say(b'CRPL\x02{"type":"summary","kind":"organization","refs":[]}')
    world.port.say(b'CRPL\x01{"type":"summary","kind":"transport_destination","refs":[]}')
    wait_until(lambda: world.drops().get("registry_decodeerror") == 1)


def test_a_flood_takes_no_more_than_its_room(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    monkeypatch.setattr(registries_module, "WAITING_FRAMES_MAX", 0)
    assert world.registries.take(carol().key_id, b"CRPL") == "registry_no_room"
    monkeypatch.setattr(registries_module, "WAITING_FRAMES_MAX", 64)
    monkeypatch.setattr(registries_module, "WAITING_BYTES_MAX", 3)
    assert world.registries.take(carol().key_id, b"CRPL") == "registry_no_room"
    assert world.drops()["registry_no_room"] == 2


def test_a_frame_of_an_address_that_is_nobody_is_counted(make: Make) -> None:
    world = make()
    world.port.address = Address(b"?" * 16)
    world.port.say(b"CRPL")
    wait_until(lambda: world.drops().get("registry_unknown", 0) >= 1)
