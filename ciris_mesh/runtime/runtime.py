"""`ReplicationRuntime`: builds every part of replication, owns its threads, starts and ends them.

Directory and transport are given; they do not know each other, and only this package knows both.
The runtime starts the transport and stops it; the directory is closed by whoever opened it.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ciris_mesh.directory.base import OWN, ReplicationDirectory
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.vouches import Vouches
from ciris_mesh.errors import LifecycleError
from ciris_mesh.protocol.limits import TAU_PARTIAL_S
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.records.scope import ALL, Scope
from ciris_mesh.runtime import previewing
from ciris_mesh.runtime.air import TICK_S, Air
from ciris_mesh.runtime.airfile import AirFile
from ciris_mesh.runtime.bindings import BindingStore
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.bundle import Answer, Offered, admit_mixed
from ciris_mesh.runtime.clock import local_minute
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.runtime.counters import DropCounter
from ciris_mesh.runtime.door import Door
from ciris_mesh.runtime.events import EventHub, log_sink
from ciris_mesh.runtime.exchange import Exchange
from ciris_mesh.runtime.handle import ReplicationHandle
from ciris_mesh.runtime.handshake import Greeter, LinkState, OwnSelf
from ciris_mesh.runtime.hearing import Hearing
from ciris_mesh.runtime.links import Links
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer, PeerConfig, PeerTable
from ciris_mesh.runtime.previews import Previews
from ciris_mesh.runtime.radioroom import room_on_air
from ciris_mesh.runtime.radiosettings import RadioSettings
from ciris_mesh.runtime.registries import Registries, RegistrySettings
from ciris_mesh.runtime.registry import ReplicationRegistry
from ciris_mesh.runtime.scheduler import ReplicationScheduler, SchedulerConfig
from ciris_mesh.runtime.sharing import Sharing
from ciris_mesh.runtime.staleness import StalenessBoard
from ciris_mesh.runtime.worker import Timer, WorkerPool
from ciris_mesh.transport.base import (
    Address,
    EdgeFrame,
    EdgeHeard,
    EdgeLost,
    EdgePort,
    InterfaceRow,
    Transport,
    TransportEvent,
)
from ciris_mesh.wire.mesh import CAPABILITY_TAKES_NOTHING

#: How often an idle node looks whether a record dated ahead of its clock is due.
RETRY_DUE_S = 60.0

#: Threads that verify and answer. Two per core of the smallest board worth having would be eight;
#: four keep a Pi's other work alive, and verification releases the interpreter.
WORKER_THREADS = 4


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """What a person may set. Defaults are for TCP.

    Attributes:
        scope: what this node wants of the federation.
        limits: of what a peer's sketches may take.
        radio: what may be sent by radio; None for no account and no limit.
        door: which strangers may knock.
        air_file: where the last hour of the radios is kept over a restart; None to forget it.
        registries: registry nodes this node speaks to; it needs an `EdgePort` for them.
    """

    rounds: SchedulerConfig = field(default_factory=SchedulerConfig)
    tau_partial_s: float = TAU_PARTIAL_S
    pinned: frozenset[str] = frozenset()
    worker_threads: int = WORKER_THREADS
    scope: Scope = ALL
    limits: Limits = field(default_factory=Limits)
    radio: RadioSettings | None = None
    door: Door = field(default_factory=Door)
    air_file: Path | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)


class ReplicationRuntime:
    """Replication with a set of peers, from start() to shutdown().

    Args:
        own: what this node shows on links; `own.binding.key_id` is its key id.
        wall_ms: Unix milliseconds, for admission and hellos. `clock` is monotonic seconds.
        rng: jitter and nonces; seed it in tests.
        edge: where registry nodes link to; its events come with those of `transport`.
    """

    def __init__(
        self,
        *,
        directory: ReplicationDirectory,
        transport: Transport,
        own: OwnSelf,
        edge: EdgePort | None = None,
        bindings: BindingStore | None = None,
        config: RuntimeConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config or RuntimeConfig()
        self.key_id = own.binding.key_id
        own = own.limited(self.config.scope, directory)
        self.kinds = frozenset(own.kinds)
        self.directory = directory
        self.transport = transport
        self.clock = clock
        self.wall_ms = wall_ms
        self.peers, self.hearing = PeerTable(clock), Hearing(clock)
        self.events, self.drops = EventHub(), DropCounter()
        self.board = StalenessBoard(clock, tau_partial_s=self.config.tau_partial_s)
        self._pinned = self.config.pinned
        self._passed_on: tuple[frozenset[str], frozenset[str], frozenset[str]] | None = None
        directory.favour(self._friends)
        self.bridge = self._make_bridge(own.scope)
        self.registry = ReplicationRegistry(self._make_responder)
        self._pool = WorkerPool(self.config.worker_threads)
        self._timer = Timer(clock)
        self._rng = rng or random.SystemRandom()
        self.budget, self._air = self._make_air(self.config.radio)
        self.previews = Previews(directory, clock=clock, wall_ms=wall_ms)
        self._parts = parts = Parts(
            transport=transport,
            directory=directory,
            bridge=self.bridge,
            registry=self.registry,
            peers=self.peers,
            board=self.board,
            drops=self.drops,
            events=self.events,
            pool=self._pool,
            timer=self._timer,
            clock=clock,
            wall_ms=wall_ms,
            rng=self._rng,
            air=self._air,
            previews=self.previews,
            limits=self.config.limits,
            door=self.config.door,
        )
        self._exchange = Exchange(parts)
        self.scheduler = self._make_scheduler()
        self._exchange.join(self.scheduler)
        greeter = self._make_greeter(own, bindings or BindingStore())
        self._links = Links(parts, greeter, self._exchange, self.scheduler)
        self.registries = self._make_registries(edge)
        self._lock = threading.Lock()  # guards the two flags
        self._started = self._stopped = False

    # -- life ------------------------------------------------------------------------------

    def start(self) -> ReplicationHandle:
        """Start threads and transport; peers registered before are dialled within a second.

        Raises:
            LifecycleError: started or shut down before; a runtime is used once.
        """
        with self._lock:
            if self._started or self._stopped:
                raise LifecycleError("the runtime was used before; make a new one")
            self._started = True
        self.events.subscribe(log_sink)
        self._pool.start()
        self._timer.start()
        self.transport.permit(self.peers.addresses())
        try:
            self.install_replication_routing()
        except BaseException:
            self.shutdown()
            raise
        self.scheduler.start()
        if self.registries is not None:
            self.registries.start()
        for peer in self.peers.all():
            self._exchange.dial_soon(peer)
        self._timer.after(RETRY_DUE_S, self._retry_due)
        Sharing(self._parts, self._exchange.spread).start()
        if self._air is not None:
            self._air.start()
            self._timer.after(TICK_S, self._tick_air)
        return ReplicationHandle(self)

    def install_replication_routing(self) -> None:
        """Let the transport's events reach the registry and the coordinators."""
        self.transport.start(self._handle)

    def _handle(self, event: TransportEvent) -> None:
        if not isinstance(event, EdgeHeard | EdgeFrame | EdgeLost):
            self._links.handle(event)
        elif self.registries is not None:
            self.registries.handle(event)

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Stop everything this runtime started. Idempotent.

        Raises:
            ShutdownTimeout: a thread did not end within `timeout_s` seconds in all.
        """
        with self._lock:
            if self._stopped or not self._started:
                self._stopped = True
                return
            self._stopped = True
        deadline_s = time.monotonic() + timeout_s

        def left_s() -> float:
            return max(0.1, deadline_s - time.monotonic())

        with ExitStack() as ends:  # last one first, and each whatever became of those before
            ends.callback(self._links.forget_frames)
            ends.callback(lambda: self._pool.stop(left_s()))
            ends.callback(lambda: self._timer.stop(left_s()))
            ends.callback(lambda: self.transport.stop(left_s()))
            if self._air is not None:
                ends.callback(self._air.stop)
            ends.callback(self.scheduler.stop)
            if self.registries is not None:
                ends.callback(self.registries.stop)

    # -- peers -----------------------------------------------------------------------------

    def register_peer(self, config: PeerConfig) -> None:
        """Add an *active* peer, running or not: it is dialled, compared with, and answered.

        A peer that is one already gets the new configuration, and a new link when that says where
        or who it is.
        """
        known = self.peers.get(config.key_id)
        before = known.config if known is not None else config
        peer = self.peers.put(config)
        kinds = self.kinds & config.kinds
        self._end_rounds(config.key_id, keep=kinds)
        for kind in sorted(kinds):
            key = RoundKey(config.key_id, kind, SessionRole.INITIATOR)
            if self.registry.lookup(key) is None:
                coordinator = self._make(key)
                self.registry.register(coordinator)
                self.scheduler.add_initiator(coordinator)
        if _of_link(before) != _of_link(config):
            peer.dialing = False  # a dial to the old address will never be answered here
            self._hang_up(peer)
        if self._started and not self._stopped:
            self.transport.permit(self.peers.addresses())
            self._exchange.dial_soon(peer)
            if known is None:  # whose records may be offered has changed for all the others
                self._exchange.spread(exclude=config.key_id)

    def remove_peer(self, key_id: str) -> bool:
        """Stop converging with a peer; False when it was none."""
        peer = self.peers.remove(key_id)
        if peer is None:
            return False
        self._end_rounds(key_id)
        self.scheduler.forget(key_id)
        self.board.forget(key_id)
        self.events.forget(key_id)
        self.bridge.forget(key_id)
        if self._air is not None:
            self._air.forget(key_id)
        if self._started and not self._stopped:
            self.transport.permit(self.peers.addresses())
        self._hang_up(peer)
        return True

    def pin(self, key_id: str) -> None:
        """Go on passing on what a key signed; until the end of this runtime."""
        self._pinned = self._pinned | {key_id}
        self._exchange.spread()

    def set_peers(self, configs: Iterable[PeerConfig]) -> None:
        """Make the set of peers exactly this, touching only what differs."""
        wanted = {config.key_id: config for config in configs}
        for key_id in self.peers.key_ids() - wanted.keys():
            self.remove_peer(key_id)
        for key_id, config in wanted.items():
            known = self.peers.get(key_id)
            if known is None or known.config != config:
                self.register_peer(config)

    def meet(self, address: Address) -> None:
        """Call a stranger to learn who it is: `PeerTable.candidate` will say so, or why not."""
        self.peers.note_unreached(address, "")
        self.transport.dial(address)

    # -- records -----------------------------------------------------------------------------

    def admit_own(self, kind: EnvelopeKind, envelope: bytes) -> Verdict:
        """Admit a record made here; peers are told at once, not at their cadence."""
        verdict = self.directory.admit(kind, envelope, OWN, now_ms=self.wall_ms())
        if verdict.outcome.is_change:
            self._exchange.spread()
        return verdict

    def admit_imported(self, offered: Sequence[Offered]) -> list[Answer]:
        """Admit records of mixed kinds from a bundle; peers are told as of own ones."""
        answers = admit_mixed(self.directory, offered, now_ms=self.wall_ms())
        if any(outcome.is_change for outcome, _ in answers):
            self._exchange.spread()
        return answers

    def interfaces(self) -> Sequence[InterfaceRow]:
        """Those of the transport; what radios among them sent is counted first."""
        return self.transport.stats().interfaces if self._air is None else self._air.look()

    def beat(self, done: Callable[[], None]) -> None:
        """Call `done` by way of the timer and a worker, as everything of a round goes.

        Raises:
            LifecycleError: stopping, or no room for one more timer.
        """

        def submit() -> None:
            with contextlib.suppress(LifecycleError):
                self._pool.submit("beat", done)

        self._timer.after(0.0, submit)

    # -- inside ----------------------------------------------------------------------------

    def _takes(self, key_id: str) -> bool:
        peer = self.peers.get(key_id)
        return peer is None or peer.config.direction.takes

    def _gives(self, key_id: str) -> bool:
        peer = self.peers.get(key_id)
        return peer is None or (peer.config.direction.gives and not peer.takes_nothing)

    def _stated(self, state: LinkState) -> int:
        """To whom nothing is taken from: in a reconciled round records come unasked."""
        peer = self.peers.at(state.address)
        return 0 if peer is None or peer.config.direction.takes else CAPABILITY_TAKES_NOTHING

    def _make_bridge(self, scope: Scope) -> FederationDirectoryReplicationBridge:
        return FederationDirectoryReplicationBridge(
            self.directory,
            self._trusted,
            unwanted=self.directory.closed(),
            scope=scope,
            gives=self._gives,
            takes=self._takes,
            vouches=Vouches.of(self.directory, self.key_id),
            clock=self.clock,
        )

    def _make_greeter(self, own: OwnSelf, bindings: BindingStore) -> Greeter:
        return Greeter(
            own,
            bindings,
            self.directory,
            wall_ms=self.wall_ms,
            peers=self.peers.key_ids,
            off=self._air.off if self._air is not None else None,
            more=self._stated,
        )

    def _make_scheduler(self) -> ReplicationScheduler:
        return ReplicationScheduler(
            pool=self._pool,
            timer=self._timer,
            events=self.events,
            clock=self.clock,
            rng=self._rng,
            config=self.config.rounds,
            check=self._exchange.check,
            on_stalled=self._exchange.give_up,
            progress_s=self._progress_s,
        )

    def _make_air(self, radio: RadioSettings | None) -> tuple[RadioBudget | None, Air | None]:
        if radio is None:
            return None, None
        budget, path = RadioBudget(radio), self.config.air_file
        air = Air(
            budget,
            rows=lambda: self.transport.stats().interfaces,
            clock=self.clock,
            minute=lambda: local_minute(self.wall_ms()),
            file=None if path is None else AirFile(path),
        )
        # On the peer's strand, like all that concerns it; parts and exchange exist by then.
        air.on_batch = lambda key_id: self._parts.submit(
            key_id, lambda: self._exchange.send_batches(key_id)
        )
        return budget, air

    def _make_registries(self, edge: EdgePort | None) -> Registries | None:
        if edge is None:
            return None
        return Registries(
            self._parts,
            edge,
            self.config.registries,
            served=self.kinds,
            rounds=self.config.rounds,
            spread=self._exchange.spread,
        )

    def _tick_air(self) -> None:
        """Look at the radios, on a strand of their own: an rnsd may take its time to answer."""
        air = self._air
        if air is not None:
            with contextlib.suppress(LifecycleError):  # stopping, or still at it
                self._pool.submit("air", lambda: self.hearing.look(air.tick()))
            self._timer.after(TICK_S, self._tick_air)

    def _retry_due(self) -> None:
        """Look again at records that were dated ahead of our clock; admits do so as well."""

        def look() -> None:
            verdicts = self.directory.retry_due(self.wall_ms())
            if any(verdict.outcome.is_change for verdict in verdicts):
                self._exchange.spread()
            previewing.lapse(self._parts)

        with contextlib.suppress(LifecycleError):  # stopping, or busy: the next time will do
            self._pool.submit("directory", look)
        self._timer.after(RETRY_DUE_S, self._retry_due)

    def _friends(self) -> frozenset[str]:
        return self.peers.key_ids() | self._pinned | {self.key_id}

    def _trusted(self) -> frozenset[str]:
        """Whose records may be offered: this node's, its peers', the pinned and the rooted ones'.

        The same object while nothing changed: on a registry node it names many.
        """
        friends, rooted = self._friends(), self.directory.rooted()
        known = self._passed_on  # read once: any thread may ask
        if known is not None and known[0] == friends and known[1] is rooted:
            return known[2]
        union = friends | rooted
        self._passed_on = (friends, rooted, union)
        return union

    def _end_rounds(self, key_id: str, *, keep: frozenset[EnvelopeKind] = frozenset()) -> None:
        for coordinator in self.registry.of_peer(key_id):
            if coordinator.key.kind not in keep:
                self.scheduler.remove_initiator(coordinator.key)
                self.registry.deregister(coordinator.key)

    def _hang_up(self, peer: Peer) -> None:
        link = peer.link
        if link is not None:
            self.transport.hang_up(link.link)

    def _make_responder(self, peer: str, kind: EnvelopeKind) -> ReplicationCoordinator | None:
        if self.peers.get(peer) is None or kind not in self.kinds:
            return None
        return self._make(RoundKey(peer, kind, SessionRole.RESPONDER))

    def _make(self, key: RoundKey) -> ReplicationCoordinator:
        return ReplicationCoordinator(
            key,
            bridge=self.bridge,
            send=lambda message: self._exchange.tell(key.peer, message),
            wall_ms=self.wall_ms,
            room=lambda in_round: room_on_air(self._parts, key.peer, in_round=in_round),
        )

    def _progress_s(self, key_id: str) -> float | None:
        peer = self.peers.get(key_id)
        if peer is None or peer.link is None:
            return None
        moved_s, link = self.transport.progress_s(peer.link.link), peer.link.link
        limit_s = self.config.rounds.no_progress_timeout_s
        # A slow link may stand still for longer than others and be well.
        later_s = max(self.transport.patience_s(link) - limit_s, 0.0)
        return None if moved_s is None else moved_s + later_s


def _of_link(config: PeerConfig) -> tuple[object, ...]:
    """What a link was made and greeted for."""
    return config.address, config.fingerprint, config.direction
