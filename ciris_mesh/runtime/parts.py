"""The parts of a runtime that its classes share, made once and handed to each of them."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ciris_mesh.directory.base import ReplicationDirectory
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.errors import BackPressure, LifecycleError, TransportError
from ciris_mesh.runtime.counters import DropCounter
from ciris_mesh.runtime.events import EventHub
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.peers import Peer, PeerTable
from ciris_mesh.runtime.registry import ReplicationRegistry
from ciris_mesh.runtime.staleness import StalenessBoard
from ciris_mesh.runtime.worker import STRAND_RETRY_S, Timer, WorkerPool
from ciris_mesh.transport.base import LinkId, Transport
from ciris_mesh.wire.frame import AnyMessage, wrap

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What `Links` and `Exchange` work with. Each part is thread-safe by itself."""

    transport: Transport
    directory: ReplicationDirectory
    bridge: FederationDirectoryReplicationBridge
    registry: ReplicationRegistry
    peers: PeerTable
    board: StalenessBoard
    drops: DropCounter
    events: EventHub
    pool: WorkerPool
    timer: Timer
    clock: Callable[[], float]
    wall_ms: Callable[[], int]
    rng: random.Random

    def submit(self, strand: Hashable, task: Callable[[], None]) -> None:
        """Queue what must not be lost: a full strand tries again shortly instead of dropping."""
        try:
            self.pool.submit(strand, task)
        except BackPressure:
            self.timer.after(STRAND_RETRY_S, lambda: self.submit(strand, task))
        except LifecycleError:
            logger.debug("task.dropped strand=%s reason=stopping", strand)

    def when_still(
        self,
        link: LinkId,
        limit_s: float,
        *,
        queue: Callable[[Callable[[], None]], None],
        is_over: Callable[[], bool],
        then: Callable[[], None],
    ) -> None:
        """Call `then` once nothing has moved on a link for `limit_s`, unless `is_over` by then.

        Progress counts, not age: a slow link that moves is let alone.

        Args:
            queue: puts a task on the strand that `is_over` and `then` belong to.
        """
        begun_s = self.clock()

        def look() -> None:
            if is_over():
                return
            due_s = max(self.transport.progress_s(link) or 0.0, begun_s) + limit_s
            if due_s <= self.clock():
                then()
            else:
                self.timer.at(due_s, lambda: queue(look))

        self.timer.after(limit_s, lambda: queue(look))

    def say(self, state: LinkState, message: AnyMessage) -> None:
        """Put one message on a link.

        Raises:
            TransportError, BackPressure: it can't go out.
        """
        self.transport.send(state.link, wrap(message))

    def try_say(self, state: LinkState, message: AnyMessage) -> None:
        """As `say`, but a link that can't take a message is closed instead."""
        try:
            self.say(state, message)
        except (TransportError, LifecycleError) as error:
            logger.info("link.send_failed link=%d error=%s", state.link, error)
            self.transport.hang_up(state.link)

    def drop_link(self, peer: Peer, reason: str) -> None:
        """Close the peer's link: nothing said on it may reach a later round. Peer's strand."""
        if peer.link is not None:
            peer.reason = reason
            self.transport.hang_up(peer.link.link)
