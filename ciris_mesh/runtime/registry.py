"""Which coordinator a frame is for: `ReplicationRegistry`, keyed (peer, kind, role)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ciris_mesh.protocol.report import SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.wire.frame import try_unwrap
from ciris_mesh.wire.messages import Deliver, Diff, Fetch, ReplicationMessage, Summary


@dataclass(frozen=True, slots=True)
class Routed:
    """The message waits in this coordinator's queue."""

    key: RoundKey


@dataclass(frozen=True, slots=True)
class NotAReplicationFrame:
    """The bytes do not carry our magic, or carry a message that is not about records."""


@dataclass(frozen=True, slots=True)
class NoCoordinatorRegistered:
    """A good message, but nobody here takes that kind from that peer."""

    kind: EnvelopeKind


RouteOutcome: TypeAlias = Routed | NotAReplicationFrame | NoCoordinatorRegistered
ResponderFactory: TypeAlias = Callable[[str, EnvelopeKind], ReplicationCoordinator | None]


class ReplicationRegistry:
    """Thread-safe table of coordinators.

    Args:
        responder_factory: makes the responder of a (peer, kind) on its first message, so a node
            that initiates nothing still answers. None: only registered coordinators are used.
    """

    def __init__(self, responder_factory: ResponderFactory | None = None) -> None:
        self._responder_factory = responder_factory
        self._lock = threading.Lock()  # guards the table
        self._table: dict[RoundKey, ReplicationCoordinator] = {}

    def __len__(self) -> int:
        with self._lock:
            return len(self._table)

    def register(self, coordinator: ReplicationCoordinator) -> None:
        """Add, or replace the one with the same key."""
        with self._lock:
            self._table[coordinator.key] = coordinator

    def deregister(self, key: RoundKey) -> ReplicationCoordinator | None:
        """Take one out; None when there was none."""
        with self._lock:
            return self._table.pop(key, None)

    def lookup(self, key: RoundKey) -> ReplicationCoordinator | None:
        """Find one."""
        with self._lock:
            return self._table.get(key)

    def keys(self) -> list[RoundKey]:
        """Every key, in order of registration."""
        with self._lock:
            return list(self._table)

    def of_peer(self, peer: str) -> list[ReplicationCoordinator]:
        """Every coordinator of one peer."""
        with self._lock:
            return [found for key, found in self._table.items() if key.peer == peer]

    def route_inbound_bytes(self, peer: str, frame: bytes) -> RouteOutcome:
        """Decode a frame of `peer` and queue its message at the right coordinator.

        Raises:
            DecodeError, UnknownVersion: the peer sent something this build cannot read.
            BackPressure: the coordinator's queue is full.
        """
        unwrapped = try_unwrap(frame)
        if unwrapped is None or not isinstance(unwrapped.message, Summary | Diff | Fetch | Deliver):
            return NotAReplicationFrame()
        return self.route(peer, unwrapped.message)

    def route(self, peer: str, message: ReplicationMessage) -> RouteOutcome:
        """As `route_inbound_bytes`, for a message decoded already."""
        coordinator = self._pick(peer, message)
        if coordinator is None:
            return NoCoordinatorRegistered(message.kind)
        coordinator.deliver_inbound(message)
        return Routed(coordinator.key)

    def _pick(self, peer: str, message: ReplicationMessage) -> ReplicationCoordinator | None:
        """A Summary answers my initiator when it awaits one, else it opens a responder round.

        Everything else belongs to the round under way; outside one, to the responder.
        """
        initiator = self.lookup(RoundKey(peer, message.kind, SessionRole.INITIATOR))
        if initiator is not None:
            mine = initiator.awaits_summary if isinstance(message, Summary) else initiator.is_active
            if mine:
                return initiator
        return self._responder(peer, message.kind) or initiator

    def _responder(self, peer: str, kind: EnvelopeKind) -> ReplicationCoordinator | None:
        found = self.lookup(RoundKey(peer, kind, SessionRole.RESPONDER))
        if found is None and self._responder_factory is not None:
            found = self._responder_factory(peer, kind)
            if found is not None:
                self.register(found)
        return found
