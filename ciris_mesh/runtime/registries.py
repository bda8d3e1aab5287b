"""Rounds with public registry nodes (CIRISEdge), over the `ciris.edge` destination.

A registry node is a peer of other software: pinned in the configuration, found by its attested
announce, spoken to in frames 0x01 and 0x02 by the flow of `protocol.registry_session`. All it
delivers goes through the one `admit` by the path "registry". Nothing it says makes a kind fresh
here, and nothing it sends is trusted because it sent it.

    EdgeHeard --> edgebindings --> permitted        cadence --> a round of each kind
    EdgeFrame --> room --> its strand --> decode --> coordinator --> RegistryBridge
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ciris_mesh.directory.registrybridge import DELIVER_BYTES_MAX, IdBasis, RegistryBridge
from ciris_mesh.errors import (
    LifecycleError,
    MeshError,
    PeerUnreachable,
    RemoteProtocolError,
)
from ciris_mesh.protocol.report import RoundReport, SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.runtime.edgebindings import EdgeBindings
from ciris_mesh.runtime.httpcredentials import Credentials
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.registry import ReplicationRegistry, Routed
from ciris_mesh.runtime.scheduler import ReplicationScheduler, SchedulerConfig
from ciris_mesh.transport.base import (
    Address,
    EdgeEvent,
    EdgeFrame,
    EdgeHeard,
    EdgeLost,
    EdgePort,
)
from ciris_mesh.transport.http_post import HttpPoster, Target
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.messages import ReplicationMessage

logger = logging.getLogger(__name__)

#: Frames and bytes of one registry node that may wait for a worker: a round of every kind opened
#: by both sides, and three frames of the largest size. What exceeds it is dropped and counted; the
#: flow asks again.
WAITING_FRAMES_MAX: Final = 64
WAITING_BYTES_MAX: Final = 24 * 1024 * 1024

#: Announces kept of registry nodes nobody pinned yet, 400 bytes each: they come seldom, and who
#: pins one wants it at once. Whoever floods this delays a pin until its next announce.
UNPINNED_MAX: Final = 64

#: Unreadable frames of one node before its links are closed, and counted from anew.
GARBAGE_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """One registry node, as configured.

    Attributes:
        ed25519: the classical half of its federation key, 32 bytes; what it attests with.
        basis: what its envelope hashes are of, when that is known.
    """

    key_id: str
    ed25519: bytes
    basis: IdBasis | None = None
    kinds: frozenset[EnvelopeKind] = frozenset(EnvelopeKind)


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What a person configures about registry nodes.

    Attributes:
        path: keeps where they were found.
        targets: key id -> where its frames are posted instead of sent over Reticulum.
        credentials: whose frames are taken over HTTP.
    """

    peers: tuple[RegistryConfig, ...] = ()
    path: Path | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=Credentials)


@dataclass(slots=True)
class Registry:
    """One registry node and what is going on with it. Changed on its strand, where not said else.

    Attributes:
        begun: its rounds are there.
        reason: why the last announce, dial or round came to nothing; "" when it did not.
        heard_s: monotonic time of its last frame or attested announce.
        epoch: of its last attested announce.
        waiting_frames, waiting_bytes: of frames not worked off yet; under the lock.
    """

    config: RegistryConfig
    begun: bool = False
    reason: str = "not_heard"
    heard_s: float | None = None
    epoch: int | None = None
    garbage: int = 0
    waiting_frames: int = 0
    waiting_bytes: int = 0


class Registries:
    """All registry nodes of one runtime.

    Args:
        spread: called when something new came to the federation shelf.
    """

    def __init__(
        self,
        parts: Parts,
        port: EdgePort,
        settings: RegistrySettings,
        *,
        served: frozenset[EnvelopeKind],
        rounds: SchedulerConfig,
        spread: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._port = port
        self._served = served
        self._spread = spread
        self._lock = threading.Lock()  # guards the two counts of waiting frames
        self._changing = threading.Lock()  # one pin or unpin at a time; the port's threads wait not
        self.peers = {each.key_id: Registry(each) for each in settings.peers}
        pinned = {each.key_id: each.ed25519 for each in settings.peers}
        self.bindings = EdgeBindings(pinned, settings.path)
        self.bridge = RegistryBridge(parts.directory, parts.bridge, clock=parts.clock)
        self._table = ReplicationRegistry(self._responder)
        self._scheduler = ReplicationScheduler(
            pool=parts.pool,
            timer=parts.timer,
            events=parts.events,
            clock=parts.clock,
            rng=parts.rng,
            config=rounds,
            check=self._check,
            on_stalled=self._stalled,
            progress_s=self._progress_s,
        )
        self._targets = settings.targets
        self._poster = HttpPoster(self._not_posted)
        self._unpinned: OrderedDict[str, EdgeHeard] = OrderedDict()  # of the strand "registries"
        for registry in self.peers.values():
            self._add(registry)

    def pin(self, config: RegistryConfig) -> None:
        """Exchange with this one from now on; what it announced of late counts."""
        key_id = config.key_id
        with self._changing:
            known = self.peers.get(key_id)
            if known is None:
                self.bindings.pin(key_id, config.ed25519)
                self.peers = {**self.peers, key_id: Registry(config)}  # others go through it
                self._parts.submit(key_id, lambda: self._renew(key_id))
            elif config.basis is not None:
                known.config = replace(known.config, basis=config.basis)
                self.bridge.assume(key_id, config.basis, "configured")

    def unpin(self, key_id: str) -> None:
        """Exchange with this one no longer, from now on. Its links are closed a moment later."""
        with self._changing:
            address = self.bindings.address(key_id)
            self.peers = {known: it for known, it in self.peers.items() if known != key_id}
            self.bindings.unpin(key_id)
            self._parts.submit("registries", lambda: self._unlink(address))
            self._parts.submit(key_id, lambda: self._renew(key_id))

    def start(self) -> None:
        """Begin rounds; before that, every verified address is permitted."""
        self._port.permit(frozenset(self.bindings.addresses()))
        self._scheduler.start()
        for key_id in self.peers:
            self._scheduler.trigger(key_id, self._parts.rng.random())

    def stop(self) -> None:
        """Start no more rounds, post no more frames."""
        self._scheduler.stop()
        self._poster.stop()

    def sync(self) -> int:
        """A round with each now; returns how many were queued."""
        for key_id in self.peers:
            self._scheduler.trigger(key_id)
        return len(self.peers)

    def is_linked(self, key_id: str) -> bool:
        """Say whether there is a link with it."""
        address = self.bindings.address(key_id)
        return address is not None and self._port.is_linked(address)

    # -- transport's threads ---------------------------------------------------------------------

    def handle(self, event: EdgeEvent) -> None:
        """Take one event of the port: note it, and queue what is to be done."""
        match event:
            case EdgeHeard():
                self._parts.submit("registries", lambda: self._heard(event))
            case EdgeFrame(address=address, frame=frame):
                self._arrived(address, frame)
            case EdgeLost(address=address, reason=reason):
                registry = self._at(address)
                if registry is not None:
                    key_id = registry.config.key_id
                    self._parts.submit(key_id, lambda: self._lost(registry, reason))

    def take(self, key_id: str, frame: bytes) -> str:
        """Queue a frame that is known to be this registry's. Returns "" or why it was not."""
        registry = self.peers.get(key_id)
        if registry is None:  # unpinned a moment ago
            self._parts.drops.count("registry_unknown", key_id)
            return "registry_unknown"
        with self._lock:
            is_full = registry.waiting_frames >= WAITING_FRAMES_MAX
            if is_full or registry.waiting_bytes + len(frame) > WAITING_BYTES_MAX:
                self._parts.drops.count("registry_no_room", f"{key_id}: {len(frame)} bytes")
                return "registry_no_room"
            registry.waiting_frames += 1
            registry.waiting_bytes += len(frame)
        try:
            self._parts.pool.submit(key_id, lambda: self._work_off(registry, frame))
        except LifecycleError:
            self._release(registry, frame)
            self._parts.drops.count("registry_no_room", key_id)
            return "registry_no_room"
        return ""

    def _arrived(self, address: Address, frame: bytes) -> None:
        registry = self._at(address)
        if registry is None:  # it moved between the frame and here
            self._parts.drops.count("registry_unknown", address.hex())
        else:
            self.take(registry.config.key_id, frame)

    def _release(self, registry: Registry, frame: bytes) -> None:
        with self._lock:
            registry.waiting_frames -= 1
            registry.waiting_bytes -= len(frame)

    def _at(self, address: Address) -> Registry | None:
        key_id = self.bindings.addresses().get(address)
        return self.peers.get(key_id) if key_id is not None else None

    # -- strands -----------------------------------------------------------------------------------

    def _pinned(self, key_id: str) -> None:
        self._port.permit(frozenset(self.bindings.addresses()))
        heard = self._unpinned.pop(key_id, None)
        if heard is not None:
            self._heard(heard)
        self._scheduler.trigger(key_id)

    def _unlink(self, address: Address | None) -> None:
        if address is not None:
            self._port.hang_up(address)
        self._port.permit(frozenset(self.bindings.addresses()))

    def _renew(self, key_id: str) -> None:
        """Make its rounds those of the pin there is now, whatever pins came and went before."""
        registry = self.peers.get(key_id)
        if registry is not None and registry.begun:
            return
        self._end(key_id)
        if registry is not None:
            self._add(registry)
            self._parts.submit("registries", lambda: self._pinned(key_id))

    def _end(self, key_id: str) -> None:
        self._scheduler.abort_peer(key_id, "unpinned")
        for coordinator in self._table.of_peer(key_id):
            self._scheduler.remove_initiator(coordinator.key)
            self._table.deregister(coordinator.key)
        self._scheduler.forget(key_id)
        self.bridge.forget(key_id)

    def _heard(self, heard: EdgeHeard) -> None:
        judged = self.bindings.judge(heard)
        registry = self.peers.get(judged.key_id)
        if judged.reason == "edge_unpinned":
            self._unpinned[judged.key_id] = heard
            while len(self._unpinned) > UNPINNED_MAX:
                self._unpinned.popitem(last=False)
        if judged.reason or registry is None:  # or it was unpinned a moment ago
            self._parts.drops.count(judged.reason or "edge_unpinned", judged.key_id)
            return
        self._port.permit(frozenset(self.bindings.addresses()))
        if judged.attestation is not None:
            if judged.attestation.commitment is not None:
                self.bridge.assume(judged.key_id, IdBasis.BYTES, "announced")
            if registry.epoch not in (None, judged.attestation.epoch):
                self.bridge.begin_anew(judged.key_id)
            registry.epoch = judged.attestation.epoch
        is_news = registry.heard_s is None or registry.reason != ""
        registry.heard_s, registry.reason = self._parts.clock(), ""
        if is_news:
            self._scheduler.trigger(judged.key_id, self._parts.rng.random())

    def _work_off(self, registry: Registry, frame: bytes) -> None:
        self._release(registry, frame)
        if self.peers.get(registry.config.key_id) is not registry:  # unpinned while it waited
            self._parts.drops.count("registry_unknown", registry.config.key_id)
            return
        registry.heard_s = self._parts.clock()
        try:
            unwrapped = try_unwrap(frame)
        except RemoteProtocolError as error:
            self._garbage(registry, type(error).__name__, str(error))
            return
        if unwrapped is None or not isinstance(unwrapped.message, ReplicationMessage):
            self._garbage(registry, "NotAReplicationFrame", f"{len(frame)} bytes")
            return
        message = unwrapped.message
        if message.kind not in self._served & registry.config.kinds:
            self._parts.drops.count("kind_not_served", message.kind)
            return
        routed = self._table.route(registry.config.key_id, message)
        coordinator = self._table.lookup(routed.key) if isinstance(routed, Routed) else None
        if coordinator is not None:
            self._drive(registry, coordinator)

    def _garbage(self, registry: Registry, name: str, detail: str) -> None:
        key_id = registry.config.key_id
        self._parts.drops.count(f"registry_{name.lower()}", f"{key_id}: {detail}")
        registry.garbage += 1
        if registry.garbage >= GARBAGE_MAX:
            registry.garbage, registry.reason = 0, "sent_garbage"
            self._hang_up(key_id)

    def _drive(self, registry: Registry, coordinator: ReplicationCoordinator) -> None:
        key_id, kind = registry.config.key_id, coordinator.key.kind
        before = self._parts.directory.generation(kind)
        try:
            reports = coordinator.drive()
        except MeshError as error:
            self._parts.drops.count(f"round_{type(error).__name__.lower()}", str(error))
            self._scheduler.failed(coordinator, error)
            return
        if self._parts.directory.generation(kind) != before:
            self._spread()
        if reports:
            registry.reason = ""
        self._scheduler.drove(coordinator, reports)
        if any(_moved(report) for report in reports) and self.bridge.left(key_id, kind):
            self._scheduler.run(key_id, [kind])  # it had more to give than one Diff names

    def _lost(self, registry: Registry, reason: str) -> None:
        registry.reason = reason
        self._scheduler.abort_peer(registry.config.key_id, reason)

    def _check(self, key_id: str) -> None:
        """The scheduler's: a round of every kind, when we know where the node is."""
        registry = self.peers.get(key_id)
        if registry is None:
            return
        if self.bindings.address(key_id) is None and key_id not in self._targets:
            registry.reason = registry.reason or "not_heard"
            return
        self._scheduler.run(key_id, sorted(self._served & registry.config.kinds, key=_order))

    def _stalled(self, key_id: str, reason: str) -> None:
        registry = self.peers.get(key_id)
        if registry is not None:
            registry.reason = reason
            self._hang_up(key_id)

    def _hang_up(self, key_id: str) -> None:
        address = self.bindings.address(key_id)
        if address is not None:
            self._port.hang_up(address)

    def _progress_s(self, key_id: str) -> float | None:
        address = self.bindings.address(key_id)
        return None if address is None else self._port.progress_s(address)

    def _not_posted(self, key_id: str, reason: str) -> None:
        self._parts.drops.count(reason, key_id)
        registry = self.peers.get(key_id)
        if registry is not None:
            self._parts.submit(key_id, lambda: self._lost(registry, reason))

    def _send(self, key_id: str, message: ReplicationMessage) -> None:
        target = self._targets.get(key_id)
        if target is not None:
            self._poster.send(key_id, target, wrap(message))
            return
        address = self.bindings.address(key_id)
        if address is None:
            raise PeerUnreachable(f"no announce of {key_id} was heard yet")
        self._port.send(address, wrap(message))

    def _add(self, registry: Registry) -> None:
        config, registry.begun = registry.config, True
        if config.basis is not None:
            self.bridge.assume(config.key_id, config.basis, "configured")
        for kind in sorted(self._served & config.kinds, key=_order):
            coordinator = self._make(RoundKey(config.key_id, kind, SessionRole.INITIATOR))
            self._table.register(coordinator)
            self._scheduler.add_initiator(coordinator)

    def _responder(self, key_id: str, kind: EnvelopeKind) -> ReplicationCoordinator | None:
        return self._make(RoundKey(key_id, kind, SessionRole.RESPONDER))

    def _make(self, key: RoundKey) -> ReplicationCoordinator:
        return ReplicationCoordinator(
            key,
            bridge=self.bridge,
            send=lambda message: self._send(key.peer, message),
            wall_ms=self._parts.wall_ms,
            room=lambda _in_round: DELIVER_BYTES_MAX,
            registry_peer=True,
        )


def _moved(report: RoundReport) -> bool:
    return report.admitted > 0 or report.held > 0


def _order(kind: EnvelopeKind) -> int:
    return list(EnvelopeKind).index(kind)
