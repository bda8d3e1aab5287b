"""A mesh in virtual time whose nodes run the real `Exchange`: digests, sketches, records, rounds.

Links keep the transport's promise, as bad as it may be: frames arrive in order, late, or the link
goes down, and the two ends hear of that at different times. Partitions, crashes and lost frames
are drawn from the seed; so is everything the nodes draw. One seed is one history.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.errors import BackPressure, LinkGone
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.scope import ALL, Scope
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.runtime.counters import DropCounter
from ciris_mesh.runtime.events import EventHub
from ciris_mesh.runtime.exchange import Exchange
from ciris_mesh.runtime.handshake import CAPABILITIES, WIRE_VERSIONS, LinkState
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer, PeerConfig, PeerTable
from ciris_mesh.runtime.recoding import delivers_of
from ciris_mesh.runtime.registry import ReplicationRegistry
from ciris_mesh.runtime.scheduler import ReplicationScheduler
from ciris_mesh.runtime.staleness import StalenessBoard
from ciris_mesh.transport.base import Address, LinkId, Transport
from ciris_mesh.wire.frame import AnyMessage, try_unwrap
from ciris_mesh.wire.mesh import Digests, Hello
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage
from ciris_mesh.wire.mesh_records import Records, Taken
from ciris_mesh.wire.messages import ReplicationMessage
from support.sim_network import Faults, Record
from support.virtual_time import InlinePool, VirtualTimer

DAY_MS = 86_400_000

#: Frames one link holds at most on the way, as the real outbox.
FRAMES_MAX = 64


@dataclass(eq=False)
class SimLink:
    """A link between two nodes: when the last frame each way arrives, and whether it is up."""

    number: LinkId
    ends: dict[str, SimNode]
    arrives_s: dict[str, float]
    moved_s: float
    under_way: Counter[str] = field(default_factory=Counter)
    is_up: bool = True

    def other(self, name: str) -> SimNode:
        (other,) = (node for key, node in self.ends.items() if key != name)
        return other


class SimTransport:
    """What `Exchange` needs of a transport, for one life of one node."""

    def __init__(self, network: SimExchange, name: str) -> None:
        self._network = network
        self.name = name
        self.address = _address(name)
        self.links: dict[LinkId, SimLink] = {}

    def dial(self, address: Address, _kind: EnvelopeKind | None) -> None:
        self._network.dial(self.name, address.rstrip(b"\0").decode())

    def send(self, link: LinkId, frame: bytes) -> None:
        found = self.links.get(link)
        if found is None or not found.is_up:
            raise LinkGone(f"link {link} is down")
        if found.under_way[self.name] >= FRAMES_MAX:
            raise BackPressure(f"{FRAMES_MAX} frames wait")
        self._network.carry(found, self.name, frame)

    def hang_up(self, link: LinkId) -> None:
        if link in self.links:
            self._network.break_link(self.links[link])

    def progress_s(self, link: LinkId) -> float | None:
        found = self.links.get(link)
        return found.moved_s if found is not None else None

    def patience_s(self, _link: LinkId) -> float:
        return 0.0


@dataclass(eq=False)
class SimNode:
    """One node. `directory` survives a crash; everything else does not."""

    network: SimExchange
    name: str
    directory: DirectoryCore
    trusted: frozenset[str]
    capabilities: int
    scope: Scope = ALL
    ahead_days: int = 0
    offline_until_s: float = 0.0
    said: Counter[str] = field(default_factory=Counter)
    heard: Callable[[AnyMessage], None] = lambda _message: None

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        """Start with nothing but the directory."""
        network, timer = self.network, self.network.timer
        self.transport = SimTransport(network, self.name)
        self.peers = PeerTable(timer.clock)
        self.bridge = FederationDirectoryReplicationBridge(
            self.directory,
            lambda: self.trusted,
            unwanted=self.directory.closed(),
            scope=self.scope,
            clock=timer.clock,
        )
        self.registry = ReplicationRegistry(
            lambda peer, kind: self._make(RoundKey(peer, kind, SessionRole.RESPONDER))
        )
        self.board = StalenessBoard(timer.clock)
        self.counts = DropCounter()
        parts = Parts(
            transport=cast(Transport, self.transport),
            directory=self.directory,
            bridge=self.bridge,
            registry=self.registry,
            peers=self.peers,
            board=self.board,
            drops=self.counts,
            events=EventHub(),
            pool=network.pool,
            timer=timer,
            clock=timer.clock,
            wall_ms=self.wall_ms,
            rng=random.Random(network.rng.random()),
        )
        self.exchange = Exchange(parts)
        self.scheduler = ReplicationScheduler(
            pool=network.pool,
            timer=timer,
            events=parts.events,
            clock=timer.clock,
            rng=parts.rng,
            check=self.exchange.check,
            on_stalled=self.exchange.give_up,
        )
        self.exchange.join(self.scheduler)

    def wall_ms(self) -> int:
        return self.network.wall_ms() + self.ahead_days * DAY_MS

    def befriend(self, name: str) -> None:
        self.peers.put(PeerConfig(name, _address(name), kinds=frozenset(self.network.kinds)))
        for kind in self.scope.kinds & set(self.network.kinds):
            coordinator = self._make(RoundKey(name, kind, SessionRole.INITIATOR))
            self.registry.register(coordinator)
            self.scheduler.add_initiator(coordinator)

    def peer(self, name: str) -> Peer:
        found = self.peers.get(name)
        assert found is not None
        return found

    def held(self) -> dict[EnvelopeKind, frozenset[bytes]]:
        return {
            kind: frozenset(ref.envelope_hash for ref in self.directory.holdings(kind))
            for kind in EnvelopeKind
        }

    def is_active(self) -> bool:
        """True while any round is under way here."""
        return any(
            peer.round is not None or self.scheduler.is_busy(peer.config.key_id)
            for peer in self.peers.all()
        )

    def link_up(self, link: SimLink, nonces: Mapping[str, bytes], *, inbound: bool) -> None:
        other = link.other(self.name)
        hello = Hello(
            WIRE_VERSIONS, other.capabilities, tuple(self.network.kinds), other.scope.hash8,
            nonces[other.name], other.wall_ms() // DAY_MS, bytes(8), bytes(8),
        )  # fmt: skip
        state = LinkState(
            link.number, inbound, nonces[self.name], key_id=other.name, hello=hello,
            is_slow=False, kinds=self.scope.kinds & other.scope.kinds & set(self.network.kinds),
            capabilities=self.capabilities & other.capabilities, scope=other.scope,
            day=self.wall_ms() // DAY_MS,
        )  # fmt: skip
        self.bridge.agree(other.name, state.terms(self.scope))
        self.transport.links[link.number] = link
        peer = self.peer(other.name)
        peer.link, peer.dialing = state, False
        if not inbound:
            self.exchange.check(other.name)

    def link_down(self, link: SimLink) -> None:
        peer = self.peer(link.other(self.name).name)
        if self.transport.links.pop(link.number, None) is None or peer.link is None:
            return
        if peer.link.link == link.number:
            peer.link, peer.check_out = None, 0
            self.exchange.abort(peer, "link_down")

    def hear(self, link: SimLink, frame: bytes) -> None:
        """What `Links` does with a frame of a known peer."""
        peer = self.peer(link.other(self.name).name)
        state = peer.link
        if state is None or state.link != link.number:
            return
        unwrapped = try_unwrap(frame)
        assert unwrapped is not None
        self.heard(unwrapped.message)
        match unwrapped.message:
            case Digests() as digests:
                self.exchange.compared(state, digests)
            case Records() as records:
                self.exchange.took(peer, state, records, delivers_of(records))
            case message if isinstance(message, ReconcileMessage | Taken):
                self.exchange.reconciled(peer, state, message)
            case message:
                assert isinstance(message, ReplicationMessage)
                self.exchange.received(peer, state, message)

    def _make(self, key: RoundKey) -> ReplicationCoordinator:
        def send(message: ReplicationMessage) -> None:
            self.exchange.tell(key.peer, message)

        return ReplicationCoordinator(key, bridge=self.bridge, send=send, wall_ms=self.wall_ms)


class SimExchange:
    """The network and its time.

    Args:
        capabilities: of each node; those not named have all.
        directories: of nodes that are configured otherwise than the rest.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        seed: int,
        faults: Faults,
        kinds: tuple[EnvelopeKind, ...],
        trusted: frozenset[str],
        epoch_ms: int,
        capabilities: Mapping[str, int] | None = None,
        directories: Mapping[str, DirectoryCore] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.timer = VirtualTimer(start_s=0.0)
        self.pool = InlinePool()
        self.faults = faults
        self.kinds = kinds
        self.epoch_ms = epoch_ms
        self.partitioned: set[frozenset[str]] = set()
        self.broken = 0
        self._numbers = itertools.count(1)
        self.links: dict[frozenset[str], SimLink] = {}
        can, kept = capabilities or {}, directories or {}
        self.nodes = {
            name: SimNode(
                self,
                name,
                kept.get(name) or MemoryDirectory(trust=Trust(root_stewards=trusted)),
                trusted,
                can.get(name, CAPABILITIES),
            )
            for name in names
        }
        for node in self.nodes.values():
            self._begin(node)

    def wall_ms(self) -> int:
        return self.epoch_ms + int(self.timer.now_s * 1000)

    # -- what a test does ----------------------------------------------------------------------

    def put(self, name: str, record: Record) -> None:
        kind, envelope = record
        node = self.nodes[name]
        verdict = node.directory.admit(kind, envelope, OWN, now_ms=self.wall_ms())
        assert verdict.outcome in (Outcome.ADMITTED, Outcome.DUPLICATE, Outcome.DEFERRED), verdict
        if self.is_up(name) and verdict.outcome.is_change:
            node.exchange.spread()

    def crash(self, name: str, for_s: float, directory: DirectoryCore | None = None) -> None:
        """Stop a node now; later it starts with its directory, or this one, and nothing else."""
        node = self.nodes[name]
        node.directory = directory or node.directory
        node.offline_until_s = self.timer.now_s + for_s
        for pair in [pair for pair in self.links if name in pair]:
            self.break_link(self.links[pair])
        node.scheduler.stop()
        for peer in node.peers.all():
            node.scheduler.forget(peer.config.key_id)
            node.peers.remove(peer.config.key_id)
        node.boot()
        self.timer.after(for_s, lambda: self._begin(node))

    def part(self, pairs: Iterable[frozenset[str]]) -> None:
        self.partitioned = set(pairs)
        for pair in self.partitioned & self.links.keys():
            self.break_link(self.links[pair])

    def run_s(self, seconds: float) -> None:
        self.timer.advance(seconds)

    def is_up(self, name: str) -> bool:
        return self.nodes[name].offline_until_s <= self.timer.now_s

    # -- links ---------------------------------------------------------------------------------

    def dial(self, one: str, two: str) -> None:
        pair = frozenset((one, two))
        nonces = {name: self.rng.randbytes(8) for name in sorted(pair)}

        def answered() -> None:
            peer = self.nodes[one].peers.get(two)
            if peer is None:
                return
            peer.dialing = False
            if pair in self.partitioned or not (self.is_up(one) and self.is_up(two)):
                return
            if pair in self.links or self.nodes[two].peers.get(one) is None:
                return
            now_s = self.timer.now_s
            ends = {name: self.nodes[name] for name in (one, two)}
            link = SimLink(LinkId(next(self._numbers)), ends, dict.fromkeys(ends, now_s), now_s)
            self.links[pair] = link
            ends[two].link_up(link, nonces, inbound=True)
            ends[one].link_up(link, nonces, inbound=False)

        self.timer.after(self._delay_s(), answered)

    def carry(self, link: SimLink, source: str, frame: bytes) -> None:
        node = self.nodes[source]
        node.said[type(_message(frame)).__name__] += 1
        if self.rng.random() < self.faults.loss / 10:  # a carrier repeats; then it gives up
            self.broken += 1
            self.break_link(link)
            return
        due_s = max(link.arrives_s[source], self.timer.now_s) + self._delay_s()
        link.arrives_s[source] = due_s
        link.under_way[source] += 1

        def arrive() -> None:
            link.under_way[source] -= 1
            if link.is_up:
                link.moved_s = self.timer.now_s
                target = link.other(source)
                self.pool.submit(target.name, lambda: target.hear(link, frame))

        self.timer.at(due_s, arrive)

    def break_link(self, link: SimLink) -> None:
        """The link is down; each end hears of it in its own time."""
        if not link.is_up:
            return
        link.is_up = False
        self.links.pop(frozenset(link.ends), None)
        for node in link.ends.values():
            life = node.transport

            def hear(node: SimNode = node, life: SimTransport = life) -> None:
                if node.transport is life and node.peers.all():
                    self.pool.submit(node.name, lambda: node.link_down(link))

            self.timer.after(self._delay_s(), hear)

    def _delay_s(self) -> float:
        return self.rng.randint(1, self.faults.delay_ms_max) / 1000

    def _begin(self, node: SimNode) -> None:
        if not self.is_up(node.name) or node.peers.all():
            return
        for name in self.nodes:
            if name != node.name:
                node.befriend(name)
        node.scheduler.start()


def _address(name: str) -> Address:
    return Address(name.encode().ljust(16, b"\0"))


def _message(frame: bytes) -> AnyMessage:
    unwrapped = try_unwrap(frame)
    assert unwrapped is not None
    return unwrapped.message
