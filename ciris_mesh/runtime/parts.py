"""The parts of a runtime that its classes share, made once and handed to each of them."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.errors import BackPressure, LifecycleError, NoAir, TransportError
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.runtime.air import Air
from ciris_mesh.runtime.counters import DropCounter
from ciris_mesh.runtime.door import Door
from ciris_mesh.runtime.events import EventHub
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.peers import Peer, PeerTable
from ciris_mesh.runtime.previews import Previews
from ciris_mesh.runtime.registry import ReplicationRegistry
from ciris_mesh.runtime.staleness import StalenessBoard
from ciris_mesh.runtime.worker import STRAND_RETRY_S, Timer, WorkerPool
from ciris_mesh.transport.base import LinkId, Transport
from ciris_mesh.wire import mesh
from ciris_mesh.wire.frame import AnyMessage, wrap
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE

logger = logging.getLogger(__name__)

#: A link stays open for so long after "no air", that the word may arrive: two packets at SF12.
NO_AIR_LINGER_S: Final = 10.0
#: As long as airtime counts. A peer that says more is asked again all the same.
HUSH_S_MAX: Final = 3_600.0


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
    air: Air | None = None
    previews: Previews | None = None
    limits: Limits = field(default_factory=Limits)
    door: Door = field(default_factory=Door)

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

        Progress counts, not age: a slow link that moves is let alone. On slow links it may be
        longer until anything can move; the transport knows how long.

        Args:
            queue: puts a task on the strand that `is_over` and `then` belong to.
        """
        begun_s = self.clock()

        def look() -> None:
            if is_over():
                return
            moved_s = max(self.transport.progress_s(link) or 0.0, begun_s)
            due_s = moved_s + max(limit_s, self.transport.patience_s(link))
            if due_s <= self.clock():
                then()
            else:
                self.timer.at(due_s, lambda: queue(look))

        self.timer.after(limit_s, lambda: queue(look))

    def say(self, state: LinkState, message: AnyMessage, *, is_paid: bool = False) -> None:
        """Put one message on a link. All that this node says passes here, and pays for its air.

        Args:
            is_paid: the planner has reserved for it.

        Raises:
            NoAir: there is none on this link's radio.
            TransportError, BackPressure: it can't go out.
        """
        frame = wrap(message)
        if self.air is not None and not is_paid:
            self.air.pay(state, frame, once=isinstance(message, mesh.BindingOffer))
        self.transport.send(state.link, frame)

    def try_say(self, state: LinkState, message: AnyMessage, *, is_paid: bool = False) -> None:
        """As `say`, but a link that can't take a message is closed instead."""
        if state.is_hushed:
            return  # it is about to close
        try:
            self.say(state, message, is_paid=is_paid)
        except NoAir as error:
            self.no_air(state, error)
        except (TransportError, LifecycleError) as error:
            logger.info("link.send_failed link=%d error=%s", state.link, error)
            self.transport.hang_up(state.link)

    def no_air(self, state: LinkState, error: NoAir) -> None:
        """Something can't be said on a radio: tell the peer for how long, and close.

        It is told once in that time; who comes back nevertheless finds the link closed.
        """
        self.drops.count("no_air", str(error))
        state.is_hushed = True
        peer = self.peers.get(state.key_id) or self.peers.at(state.address)
        now_s, wait_s = self.clock(), min(max(error.wait_s, 1.0), HUSH_S_MAX)
        may_tell = state.hello is not None
        if peer is not None:
            peer.reason = "no_air"
            peer.needs_s = error.needed_s
            peer.next_check_s = max(peer.next_check_s, now_s + wait_s)
            may_tell = may_tell and now_s >= peer.told_until_s
        if not may_tell or self.air is None:
            self.transport.hang_up(state.link)
            return
        if peer is not None:
            peer.told_until_s = now_s + wait_s
        knows = state.capabilities & CAPABILITY_RECONCILE
        word = wrap(mesh.NoAir(math.ceil(wait_s)) if knows else mesh.Refusal("no_air"))
        try:
            self.air.pay(state, word, in_any_case=True)
            self.transport.send(state.link, word)
        except (TransportError, LifecycleError) as failed:
            logger.info("link.send_failed link=%d error=%s", state.link, failed)
        self.timer.after(NO_AIR_LINGER_S, lambda: self.transport.hang_up(state.link))

    def drop_link(self, peer: Peer, reason: str) -> None:
        """Close the peer's link: nothing said on it may reach a later round. Peer's strand."""
        if peer.link is not None:
            peer.reason = reason
            self.transport.hang_up(peer.link.link)
