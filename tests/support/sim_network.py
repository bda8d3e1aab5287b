"""A mesh in virtual time: real coordinators, bridges, directories and frames; no threads.

Links behave worse than any transport may: frames are lost, doubled and overtaken. A frame carries
the number of its link; when a round breaks or stalls the link is dropped, as the runtime does it,
and frames of the old link are thrown away. One seed is one history, to the last event.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.errors import MeshError
from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.runtime.registry import ReplicationRegistry, Routed
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.messages import Diff, ReplicationMessage

CADENCE_MS = 30_000
TIMEOUT_MS = 10_000

Record = tuple[EnvelopeKind, bytes]


@dataclass(frozen=True)
class Faults:
    """How bad the links are. Probabilities per frame."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_ms_max: int = 1


PERFECT = Faults()
RADIO = Faults(loss=0.15, duplicate=0.05, delay_ms_max=900)


@dataclass
class SimNode:
    """One node. `directory` survives a crash; everything else does not."""

    name: str
    directory: DirectoryCore
    trusted: frozenset[str]
    wall_ms: Callable[[], int]
    send: Callable[[str, ReplicationMessage], None]
    offline_until_ms: int = 0
    wanted: Counter[bytes] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        """Start with nothing but the directory."""
        self.bridge = FederationDirectoryReplicationBridge(
            self.directory,
            lambda: self.trusted,
            unwanted=self.directory.closed(),
            clock=lambda: self.wall_ms() / 1000,
        )
        self.registry = ReplicationRegistry(lambda peer, kind: self._make(peer, kind, "responder"))

    def initiator(self, peer: str, kind: EnvelopeKind) -> ReplicationCoordinator:
        found = self.registry.lookup(RoundKey(peer, kind, SessionRole.INITIATOR))
        if found is None:
            found = self._make(peer, kind, "initiator")
            self.registry.register(found)
        return found

    def drop(self, peer: str) -> None:
        """The link to `peer` is gone."""
        for coordinator in self.registry.of_peer(peer):
            coordinator.reset()

    def is_active(self) -> bool:
        """True while any round is under way here."""
        coordinators = map(self.registry.lookup, self.registry.keys())
        return any(
            coordinator is not None and coordinator.is_active for coordinator in coordinators
        )

    def held(self) -> dict[EnvelopeKind, frozenset[bytes]]:
        return {
            kind: frozenset(ref.envelope_hash for ref in self.directory.holdings(kind))
            for kind in EnvelopeKind
        }

    def _make(self, peer: str, kind: EnvelopeKind, role: str) -> ReplicationCoordinator:
        def send(message: ReplicationMessage) -> None:
            if isinstance(message, Diff):
                self.wanted.update(message.want)
            self.send(peer, message)

        return ReplicationCoordinator(
            RoundKey(peer, kind, SessionRole(role)),
            bridge=self.bridge,
            send=send,
            wall_ms=self.wall_ms,
        )


class SimNetwork:
    """Discrete-event loop over (due_ms, ticket, callback)."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        seed: int,
        faults: Faults,
        kinds: tuple[EnvelopeKind, ...],
        trusted: frozenset[str],
        epoch_ms: int,
    ) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.kinds = kinds
        self.epoch_ms = epoch_ms
        self.now_ms = 0
        self.partitioned: set[frozenset[str]] = set()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._ticket = itertools.count()
        self._link: Counter[frozenset[str]] = Counter()
        self._moved_ms: dict[frozenset[str], int] = {}
        self.nodes = {name: self._make_node(name, trusted) for name in names}
        for one, two in itertools.permutations(self.nodes, 2):
            self._at(self.rng.randrange(CADENCE_MS), self._cadence(one, two))

    # -- what a test does ------------------------------------------------------------------

    def put(self, name: str, record: Record) -> None:
        kind, envelope = record
        now_ms = self.epoch_ms + self.now_ms
        verdict = self.nodes[name].directory.admit(kind, envelope, OWN, now_ms=now_ms)
        assert verdict.outcome in (Outcome.ADMITTED, Outcome.DUPLICATE, Outcome.DEFERRED), verdict

    def crash(self, name: str, for_ms: int) -> None:
        """Stop a node now; later it starts with its directory and nothing else."""
        node = self.nodes[name]
        node.offline_until_ms = self.now_ms + for_ms
        for pair in list(self._link):
            if name in pair:
                self._link[pair] += 1
        node.boot()

    def run_ms(self, duration_ms: int) -> None:
        """Advance virtual time."""
        end_ms = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, callback = heapq.heappop(self._queue)
            callback()
        self.now_ms = end_ms

    def is_up(self, name: str) -> bool:
        return self.nodes[name].offline_until_ms <= self.now_ms

    # -- inside ------------------------------------------------------------------------------

    def _make_node(self, name: str, trusted: frozenset[str]) -> SimNode:
        def send(peer: str, message: ReplicationMessage) -> None:
            self._transmit(name, peer, message)

        directory = MemoryDirectory(trust=Trust(root_stewards=trusted))
        return SimNode(name, directory, trusted, lambda: self.epoch_ms + self.now_ms, send)

    def _at(self, delay_ms: int, callback: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + delay_ms, next(self._ticket), callback))

    def _cadence(self, one: str, two: str) -> Callable[[], None]:
        def due() -> None:
            self._at(CADENCE_MS, due)
            if self.is_up(one):
                for kind in self.kinds:
                    self._open(one, two, kind)

        return due

    def _open(self, one: str, two: str, kind: EnvelopeKind) -> None:
        node = self.nodes[one]
        coordinator = node.initiator(two, kind)
        busy = any(c.is_active and c.key.kind is kind for c in node.registry.of_peer(two))
        if not busy:
            self._moved_ms[frozenset((one, two))] = self.now_ms  # a round's time begins with it
            self._guard(one, two, coordinator.start_round)
            self._watch(one, two)

    def _watch(self, one: str, two: str) -> None:
        """Give up, and drop the link, when nothing moved between the two for the timeout."""
        pair = frozenset((one, two))

        def look() -> None:
            active = any(c.is_active for c in self.nodes[one].registry.of_peer(two))
            idle_ms = self.now_ms - self._moved_ms.get(pair, 0)
            if active and idle_ms >= TIMEOUT_MS:
                self.nodes[one].errors["timed_out"] += 1
                self._drop_link(one, two)
            elif active:
                self._at(max(1, TIMEOUT_MS - idle_ms), look)

        self._at(TIMEOUT_MS, look)

    def _drop_link(self, one: str, two: str) -> None:
        """One end closes; the other hears of it, unless that word is lost as well."""
        pair = frozenset((one, two))
        self._link[pair] += 1
        self.nodes[one].drop(two)
        number = self._link[pair]

        def hear() -> None:
            if self._link[pair] == number and self.is_up(two):
                self.nodes[two].drop(one)

        if self.rng.random() >= self.faults.loss:
            self._at(self.rng.randint(1, self.faults.delay_ms_max), hear)

    def _guard(self, one: str, two: str, work: Callable[[], object]) -> None:
        try:
            work()
        except MeshError as error:
            self.nodes[one].errors[type(error).__name__] += 1
            self._drop_link(one, two)

    def _transmit(self, source: str, target: str, message: ReplicationMessage) -> None:
        frame = wrap(message)
        pair = frozenset((source, target))
        number = self._link[pair]
        for _ in range(1 + (self.rng.random() < self.faults.duplicate)):
            if pair not in self.partitioned and self.rng.random() >= self.faults.loss:
                delay_ms = self.rng.randint(1, self.faults.delay_ms_max)
                self._at(delay_ms, lambda: self._arrive(source, target, frame, number))

    def _arrive(self, source: str, target: str, frame: bytes, number: int) -> None:
        pair = frozenset((source, target))
        if self._link[pair] != number or not self.is_up(target):
            return
        self._moved_ms[pair] = self.now_ms
        node = self.nodes[target]
        unwrapped = try_unwrap(frame)
        assert unwrapped is not None
        assert isinstance(unwrapped.message, ReplicationMessage)
        message = unwrapped.message

        def take() -> None:
            routed = node.registry.route(source, message)
            assert isinstance(routed, Routed)
            coordinator = node.registry.lookup(routed.key)
            assert coordinator is not None
            coordinator.drive()

        before = sum(node.directory.counts().values())
        self._guard(target, source, take)
        after = sum(node.directory.counts().values())
        assert after >= before, f"{target} forgot a record at {self.now_ms} ms"
        self._watch(target, source)
