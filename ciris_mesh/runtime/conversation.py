"""What is said on links: greetings, comparisons, frames of rounds, and what strangers may say.

Transport events arrive on transport threads; `handle` only notes the link and queues a task on the
peer's strand. Everything else in this class runs on strands: one peer's messages in order, peers
beside each other.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Hashable
from typing import Final

from ciris_mesh.directory.base import UNATTRIBUTED, ReplicationDirectory
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.errors import (
    BackPressure,
    LifecycleError,
    MeshError,
    RemoteProtocolError,
    TransportError,
)
from ciris_mesh.protocol.limits import NO_PROGRESS_TIMEOUT_S
from ciris_mesh.protocol.report import BoundedBy, InSync
from ciris_mesh.records.kinds import BOOTSTRAP_KINDS, EnvelopeKind
from ciris_mesh.runtime.comparison import own_digests, split
from ciris_mesh.runtime.coordinator import ReplicationCoordinator
from ciris_mesh.runtime.counters import DropCounter
from ciris_mesh.runtime.handshake import Greeter, LinkState
from ciris_mesh.runtime.peers import Candidate, Peer, PeerTable
from ciris_mesh.runtime.registry import NoCoordinatorRegistered, ReplicationRegistry, Routed
from ciris_mesh.runtime.scheduler import ReplicationScheduler
from ciris_mesh.runtime.staleness import StalenessBoard
from ciris_mesh.runtime.worker import Timer, WorkerPool
from ciris_mesh.transport.base import (
    DialFailed,
    FrameReceived,
    LinkDown,
    LinkId,
    LinkIdentified,
    LinkUp,
    NodeHeard,
    Transport,
    TransportEvent,
)
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.mesh import Digests, MeshMessage, Refusal
from ciris_mesh.wire.messages import Deliver, ReplicationMessage

logger = logging.getLogger(__name__)

#: Bytes of frames that may wait for a worker, all links together: eight frames of the largest
#: size. Beyond it a sender is told to wait, so a Pi's memory is never a peer's to fill.
QUEUED_BYTES_MAX: Final = 64 * 1024 * 1024

#: Frames an unattributed link may send that are looked at: a key and an occurrence, with room.
UNATTRIBUTED_FRAMES_MAX: Final = 8

#: Envelopes of an unattributed Deliver that are looked at.
UNATTRIBUTED_ENVELOPES_MAX: Final = 4

#: Time a refused peer's link stays open so that the refusal can be read, in seconds.
REFUSAL_LINGER_S: Final = 3.0

#: A lost link is dialled again after this plus a random second. The node with the larger address
#: waits REDIAL_YIELD_S more, so that the two seldom dial each other at once.
REDIAL_S: Final = 1.0
REDIAL_YIELD_S: Final = 2.0


class Conversation:
    """One node's side of every link. Built and owned by ReplicationRuntime."""

    def __init__(
        self,
        *,
        transport: Transport,
        directory: ReplicationDirectory,
        bridge: FederationDirectoryReplicationBridge,
        registry: ReplicationRegistry,
        peers: PeerTable,
        greeter: Greeter,
        board: StalenessBoard,
        drops: DropCounter,
        pool: WorkerPool,
        timer: Timer,
        clock: Callable[[], float],
        wall_ms: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._transport = transport
        self._directory = directory
        self._bridge = bridge
        self._registry = registry
        self._peers = peers
        self._greeter = greeter
        self._board = board
        self._drops = drops
        self._pool = pool
        self._timer = timer
        self._clock = clock
        self._wall_ms = wall_ms
        self._rng = rng
        self.scheduler: ReplicationScheduler  # set by the runtime; the two know each other
        self._lock = threading.Lock()  # guards the two fields below
        self._links: dict[LinkId, LinkState] = {}
        self._queued_bytes = 0

    # -- transport threads: note and queue ---------------------------------------------------

    def handle(self, event: TransportEvent) -> None:
        """Take one transport event.

        Raises:
            BackPressure: a frame for which there is no room; the transport tells the sender.
        """
        match event:
            case LinkUp():
                self._link_up(event)
            case LinkIdentified(link=link, address=address):
                state = self._state(link)
                if state is not None:
                    state.address = address
                    self._queue(state, lambda: self._greet(state))
            case FrameReceived(link=link, frame=frame):
                self._frame_received(link, frame)
            case LinkDown(link=link, reason=reason):
                with self._lock:
                    gone = self._links.pop(link, None)
                if gone is not None:
                    self._queue(gone, lambda: self._link_down(gone, reason))
            case DialFailed(address=address, reason=reason):
                peer = self._peers.at(address)
                if peer is not None:
                    self._submit(peer.config.key_id, lambda: self._dial_failed(peer, reason))
            case NodeHeard():
                self._node_heard(event)

    def _link_up(self, event: LinkUp) -> None:
        state = LinkState(
            event.link,
            event.inbound,
            self._rng.randbytes(8),
            address=event.address,
            medium=event.medium,
        )
        with self._lock:
            self._links[event.link] = state
        if state.address is not None:
            self._queue(state, lambda: self._greet(state))

    def _frame_received(self, link: LinkId, frame: bytes) -> None:
        state = self._state(link)
        if state is None:
            self._drops.count("frame_of_unknown_link")
            return
        with self._lock:
            if self._queued_bytes + len(frame) > QUEUED_BYTES_MAX:
                raise BackPressure(f"{QUEUED_BYTES_MAX} bytes of frames wait")
            self._queued_bytes += len(frame)
        try:
            self._pool.submit(self._strand(state), lambda: self._work_off(state, frame))
        except MeshError:
            with self._lock:
                self._queued_bytes -= len(frame)
            raise

    def _work_off(self, state: LinkState, frame: bytes) -> None:
        with self._lock:
            self._queued_bytes -= len(frame)
        self._frame(state, frame)

    def _node_heard(self, event: NodeHeard) -> None:
        now_s = self._clock()
        peer = self._peers.at(event.address)
        if peer is None:
            self._peers.note_candidate(Candidate(event.address, "", event.hops, now_s))
            return
        peer.heard_s = now_s
        if peer.link is None and not peer.dialing:
            self.scheduler.trigger(peer.config.key_id, self._rng.random())

    def _state(self, link: LinkId) -> LinkState | None:
        with self._lock:
            return self._links.get(link)

    def _strand(self, state: LinkState) -> Hashable:
        peer = self._peers.at(state.address)
        return peer.config.key_id if peer is not None else ("link", state.link)

    def _queue(self, state: LinkState, task: Callable[[], None]) -> None:
        self._submit(self._strand(state), task)

    def _submit(self, strand: Hashable, task: Callable[[], None]) -> None:
        """Queue what must not be lost: a full strand tries again shortly instead of dropping."""
        try:
            self._pool.submit(strand, task)
        except BackPressure:
            self._timer.after(0.1, lambda: self._submit(strand, task))
        except LifecycleError:
            logger.debug("task.dropped strand=%s reason=stopping", strand)

    # -- strands: links ------------------------------------------------------------------------

    def say(self, state: LinkState, message: MeshMessage | ReplicationMessage) -> None:
        """Put one message on a link.

        Raises:
            TransportError, BackPressure: it can't go out.
        """
        self._transport.send(state.link, wrap(message))

    def tell(self, key_id: str, message: ReplicationMessage) -> None:
        """Put one message of a round on the peer's link.

        Raises:
            TransportError, BackPressure: it can't go out, or there is no link.
        """
        peer = self._peers.get(key_id)
        if peer is None or peer.link is None:
            raise TransportError(f"no link to {key_id}")
        self.say(peer.link, message)

    def _try_say(self, state: LinkState, message: MeshMessage) -> None:
        try:
            self.say(state, message)
        except (TransportError, LifecycleError) as error:
            logger.info("link.send_failed link=%d error=%s", state.link, error)
            self._transport.hang_up(state.link)

    def _greet(self, state: LinkState) -> None:
        if not state.hello_sent:
            self._try_say(state, self._greeter.hello(state))

    def _link_down(self, state: LinkState, reason: str) -> None:
        peer = self._peers.get(state.key_id) or self._peers.at(state.address)
        if peer is None:
            return
        peer.dialing = False
        if peer.link is None and not state.inbound and not peer.reason:
            peer.reason = reason
        if peer.link is not state:
            return
        peer.link = None
        peer.check_out = 0
        peer.reason = peer.reason or reason
        key_id = peer.config.key_id
        logger.info("link.down peer=%s reason=%s", key_id, reason)
        self.scheduler.abort_peer(key_id, "link_down")
        yields = self._transport.address > peer.config.address
        delay_s = REDIAL_S + self._rng.random() + (REDIAL_YIELD_S if yields else 0.0)
        self.scheduler.trigger(key_id, delay_s)

    def _dial_failed(self, peer: Peer, reason: str) -> None:
        peer.dialing = False
        if peer.link is None:
            peer.reason = reason

    def drop_link(self, key_id: str, reason: str) -> None:
        """Close the peer's link: nothing said on it may reach a later round. Peer's strand."""
        peer = self._peers.get(key_id)
        if peer is not None and peer.link is not None:
            peer.reason = reason
            self._transport.hang_up(peer.link.link)

    # -- strands: frames -------------------------------------------------------------------------

    def _frame(self, state: LinkState, frame: bytes) -> None:
        peer = self._peers.get(state.key_id)
        if peer is not None:
            peer.heard_s = self._clock()
        try:
            unwrapped = try_unwrap(frame)
        except RemoteProtocolError as error:
            self._garbage(state, type(error).__name__, str(error))
            return
        if unwrapped is None:
            self._garbage(state, "NotAReplicationFrame", f"{len(frame)} bytes")
        elif isinstance(unwrapped.message, ReplicationMessage):
            self._replication(state, peer, unwrapped.message)
        else:
            self._mesh(state, unwrapped.message)

    def _garbage(self, state: LinkState, name: str, detail: str) -> None:
        """Unreadable bytes on an ordered, checked link are a bug or an attack: drop the link."""
        self._drops.count(f"frame_{name.lower()}", detail)
        peer = self._peers.get(state.key_id)
        if peer is not None and peer.link is state:
            peer.reason = "sent_garbage"
        self._transport.hang_up(state.link)

    def _mesh(self, state: LinkState, message: MeshMessage) -> None:
        match message:
            case Refusal(reason=reason):
                self._refused(state, reason)
            case Digests() if state.key_id is None:
                state.early = message  # the peer knows us already; we wait for its binding
            case Digests():
                self._digests(state, message)
            case _:
                for reply in self._greeter.received(state, message):
                    self._try_say(state, reply)
                    if isinstance(reply, Refusal):
                        self._turn_away(state, reply.reason)
                        return
                if state.key_id is not None:
                    self._attributed(state, state.key_id)

    def _refused(self, state: LinkState, reason: str) -> None:
        peer = self._peers.get(state.key_id) or self._peers.at(state.address)
        logger.warning("link.refused_by_peer link=%d reason=%s", state.link, reason)
        if peer is not None:
            peer.reason = f"refused_{reason}"
        self._transport.hang_up(state.link)

    def _turn_away(self, state: LinkState, reason: str) -> None:
        """Let the refusal be read, then close."""
        self._drops.count(f"link_{reason}")
        self._timer.after(REFUSAL_LINGER_S, lambda: self._transport.hang_up(state.link))

    def _attributed(self, state: LinkState, key_id: str) -> None:
        """The link has a key id. A peer's link is put to use; a stranger is shown and let go."""
        peer = self._peers.get(key_id)
        if peer is None:
            if state.address is not None:
                self._peers.note_candidate(Candidate(state.address, key_id, None, self._clock()))
            self._try_say(state, Refusal("not_a_peer"))
            self._turn_away(state, "not_a_peer")
            return
        if peer.link is state:
            return
        self._directory.promote_first_contact(key_id, now_ms=self._wall_ms())
        if self._settle_on(peer, state):
            self._start_talking(peer, state)

    def _settle_on(self, peer: Peer, new: LinkState) -> bool:
        """Choose between two links to one peer; both ends come to the same choice.

        Of two the same side dialled the newer counts: the older is a corpse its dialler gave up.
        Of two dialled at once, the one dialled by the smaller address stays.
        """
        old = peer.link
        if old is not None:
            mine_is_smaller = self._transport.address < peer.config.address
            dialled_by_smaller = mine_is_smaller is not new.inbound
            if old.inbound is not new.inbound and not dialled_by_smaller:
                self._transport.hang_up(new.link)
                return False
            peer.link = None
            self.scheduler.abort_peer(peer.config.key_id, "link_replaced")
            self._transport.hang_up(old.link)
        peer.link = new
        return True

    def _start_talking(self, peer: Peer, state: LinkState) -> None:
        peer.dialing = False
        peer.reason = ""
        peer.check_out = 0
        logger.info("link.ready peer=%s medium=%s", peer.config.key_id, state.medium)
        early, state.early = state.early, None
        if early is not None:
            self._digests(state, early)
        if not state.inbound:
            self.check(peer.config.key_id)

    # -- strands: comparisons and rounds --------------------------------------------------------

    def check(self, key_id: str) -> None:
        """Compare with one peer, or dial it first. Called by the scheduler on its strand."""
        peer = self._peers.get(key_id)
        if peer is None:
            return
        peer.spreading = False
        if peer.link is None:
            if not peer.dialing:
                peer.dialing = True
                self._transport.dial(peer.config.address)
            return
        if peer.check_out:
            return
        peer.checks += 1
        peer.check_out = peer.checks
        self._try_say(peer.link, self._own_digests(peer, peer.link, reply=False))
        self._expect_answer(peer, peer.link, peer.checks)

    def _expect_answer(self, peer: Peer, state: LinkState, number: int) -> None:
        """A comparison nobody answers is a dead link, however alive it looks."""

        def look() -> None:
            if peer.link is state and peer.check_out == number:
                self._drops.count("check_unanswered", peer.config.key_id)
                self.drop_link(peer.config.key_id, "no_answer")

        limit_s = max(NO_PROGRESS_TIMEOUT_S, self.scheduler.config.no_progress_timeout_s)
        self._timer.after(limit_s, lambda: self._submit(peer.config.key_id, look))

    def _own_digests(self, peer: Peer, state: LinkState, *, reply: bool) -> Digests:
        kinds = state.kinds & peer.config.kinds
        return own_digests(self._bridge, peer.config.key_id, kinds, state.salt(), reply=reply)

    def _digests(self, state: LinkState, theirs: Digests) -> None:
        peer = self._peers.get(state.key_id)
        if peer is None or peer.link is not state:
            return
        if theirs.reply and not peer.check_out:
            self._drops.count("digests_unasked")
            return
        ours = self._own_digests(peer, state, reply=not theirs.reply)
        equal, differ = split(ours, theirs)
        for kind in equal:
            self._agree(peer, kind)
        if not theirs.reply:
            self._try_say(state, ours)
            self.scheduler.postpone(peer.config.key_id)
            return
        peer.check_out = 0
        self.scheduler.run(
            peer.config.key_id, [kind for kind in differ if peer.worth_a_round(kind)]
        )

    def _agree(self, peer: Peer, kind: EnvelopeKind) -> None:
        peer.agreed[kind] = self._directory.generation(kind)
        peer.fruitless.pop(kind, None)
        self._board.post(peer.config.key_id, kind, InSync())

    def _replication(
        self, state: LinkState, peer: Peer | None, message: ReplicationMessage
    ) -> None:
        if peer is None:
            self._unattributed(state, message)
        elif peer.link is not state:
            self._drops.count("frame_on_spare_link")
        elif message.kind not in state.kinds & peer.config.kinds:
            self._drops.count("kind_not_served", message.kind)
        else:
            self._route(peer, message)

    def _route(self, peer: Peer, message: ReplicationMessage) -> None:
        outcome = self._registry.route(peer.config.key_id, message)
        match outcome:
            case Routed(key=key):
                coordinator = self._registry.lookup(key)
                if coordinator is not None:
                    self._drive(peer, coordinator)
            case NoCoordinatorRegistered(kind=kind):
                self._drops.count("no_coordinator", kind)

    def _drive(self, peer: Peer, coordinator: ReplicationCoordinator) -> None:
        before = self._directory.generation(coordinator.key.kind)
        try:
            reports = coordinator.drive()
        except MeshError as error:
            self._drops.count(f"round_{type(error).__name__.lower()}", str(error))
            self.scheduler.failed(coordinator, error)
            return
        for report in reports:
            self._board.post(peer.config.key_id, report.kind, report.staleness)
            fruitful = bool(report.admitted or report.sent or report.deferred)
            peer.moved = peer.moved or fruitful
            if not fruitful:
                peer.fruitless[report.kind] = peer.fruitless.get(report.kind, 0) + 1
        if self._directory.generation(coordinator.key.kind) != before:
            self.spread(exclude=peer.config.key_id)
        self.scheduler.drove(coordinator, reports)
        if peer.moved and not self.scheduler.is_busy(peer.config.key_id):
            peer.moved = False
            self.check(peer.config.key_id)

    def spread(self, exclude: str = "") -> None:
        """Something new is here: compare with the other peers soon, not at their cadence."""
        for peer in self._peers.all():
            if peer.config.key_id != exclude and not peer.spreading:
                peer.spreading = True
                self.scheduler.trigger(peer.config.key_id, 0.1 + 0.4 * self._rng.random())

    def _unattributed(self, state: LinkState, message: ReplicationMessage) -> None:
        """What a stranger may say: here is my key. Verified, pooled, bounded; all else counted."""
        state.unattributed_frames += 1
        if (
            state.unattributed_frames > UNATTRIBUTED_FRAMES_MAX
            or not isinstance(message, Deliver)
            or message.kind not in BOOTSTRAP_KINDS
        ):
            self._drops.count("frame_unattributed")
            return
        for envelope in message.envelopes[:UNATTRIBUTED_ENVELOPES_MAX]:
            self._directory.admit(message.kind, envelope, UNATTRIBUTED, now_ms=self._wall_ms())

    def missing(self, key_id: str) -> int:
        """Records known to be missing from this peer, all kinds."""
        standings = (self._board.standing(key_id, kind).signal for kind in EnvelopeKind)
        return sum(signal.missing for signal in standings if isinstance(signal, BoundedBy))
