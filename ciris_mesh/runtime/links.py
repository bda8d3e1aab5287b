"""Links come up, are greeted, get a key id, and go down.

Transport events arrive on transport threads; `handle` only notes the link and queues a task on the
peer's strand. Everything else in this class runs on strands: one peer's messages in order, peers
beside each other. What peers say in rounds is for `Exchange`, what strangers say for `Strangers`.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final

from ciris_mesh.errors import BackPressure, BatchRefused, LifecycleError, RemoteProtocolError
from ciris_mesh.runtime import previewing
from ciris_mesh.runtime.arrivals import Arrived
from ciris_mesh.runtime.exchange import Exchange
from ciris_mesh.runtime.handshake import Greeter, LinkState
from ciris_mesh.runtime.parting import is_brief, meets_another, watch
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.radiocheck import note_failure
from ciris_mesh.runtime.recoding import delivers_of
from ciris_mesh.runtime.scheduler import ReplicationScheduler
from ciris_mesh.runtime.strangers import REFUSAL_LINGER_S, Strangers
from ciris_mesh.transport.base import (
    DialFailed,
    FrameReceived,
    LinkDown,
    LinkId,
    LinkIdentified,
    LinkUp,
    MeshEvent,
    NodeHeard,
)
from ciris_mesh.transport.reasons import DownReason
from ciris_mesh.wire.frame import try_unwrap
from ciris_mesh.wire.mesh import Digests, MeshMessage, NoAir, Preview, Refusal
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage
from ciris_mesh.wire.mesh_records import Records, Taken
from ciris_mesh.wire.messages import ReplicationMessage

logger = logging.getLogger(__name__)

#: Bytes of frames that may wait for a worker, all links together: eight frames of the largest
#: size. The link whose frame finds no room is closed, so a Pi's memory is never a peer's to fill.
QUEUED_BYTES_MAX: Final = 64 * 1024 * 1024

#: Of those, what one peer's links may take together, or one stranger's link: three frames of the
#: largest size, which is more than batches come at once. A flood ends at its own share;
#: a new link does not get a new one while the frames of the old still wait.
QUEUED_BYTES_SHARE_MAX: Final = 24 * 1024 * 1024

#: Dials that failed here and say nothing of the peer.
_OWN_REASONS: Final = ("too_many_links", "stopped")

#: A lost link is dialled again after this, plus what `Exchange.dial_soon` adds.
REDIAL_S: Final = 1.0


class Links:
    """One node's links. Built and owned by ReplicationRuntime."""

    def __init__(
        self, parts: Parts, greeter: Greeter, exchange: Exchange, scheduler: ReplicationScheduler
    ) -> None:
        self._parts = parts
        self._greeter = greeter
        self._exchange = exchange
        self._scheduler = scheduler
        self._strangers = Strangers(parts)
        self._lock = threading.Lock()  # guards the four fields below
        self._links: dict[LinkId, LinkState] = {}
        self._queued_bytes = 0
        self._shares: Counter[Hashable] = Counter()  # the same bytes, by strand
        self._queued: dict[Hashable, deque[Arrived]] = {}  # what they are, by strand

    # -- transport threads: note and queue ---------------------------------------------------

    def handle(self, event: MeshEvent) -> None:
        """Take one transport event. A frame for which there is no room takes its link along."""
        match event:
            case LinkUp():
                self._link_up(event)
            case LinkIdentified(link=link, address=address):
                state = self._state(link)
                if state is not None and not self._strangers.is_kept_out(link, address):
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
                peer = self._parts.peers.at(address)
                if peer is not None:
                    self._parts.submit(peer.config.key_id, lambda: self._dial_failed(peer, reason))
                else:
                    self._parts.peers.note_unreached(address, reason)
            case NodeHeard():
                self._node_heard(event)

    def _link_up(self, event: LinkUp) -> None:
        state = LinkState(
            event.link,
            event.inbound,
            self._parts.rng.randbytes(8),
            address=event.address,
            medium=event.medium,
            is_slow=event.is_slow,
            interface=event.interface,
        )
        with self._lock:
            self._links[event.link] = state
        self._expect_handshake(state)
        if state.address is not None:
            self._queue(state, lambda: self._greet(state))

    def _frame_received(self, link: LinkId, frame: bytes) -> None:
        state = self._state(link)
        if state is None:
            self._parts.drops.count("frame_of_unknown_link")
            return
        if state.broken or not self._queue_frame(state, frame):
            state.broken = True
            self._parts.drops.count("frame_no_room", f"{len(frame)} bytes")
            self._parts.transport.hang_up(link)

    def _queue_frame(self, state: LinkState, raw: bytes) -> bool:
        frame = Arrived(state, self._strand(state), raw)
        if not self._reserve(frame):
            return False
        try:
            self._parts.pool.submit(frame.strand, lambda: self._work_off(frame))
        except LifecycleError as error:
            self._release(frame)
            frame.forget(self._parts)
            return not isinstance(error, BackPressure)  # else we are stopping, and so is the link
        return True

    def _reserve(self, frame: Arrived) -> bool:
        strand, size_bytes = frame.strand, len(frame.raw)
        with self._lock:
            if self._queued_bytes + size_bytes > QUEUED_BYTES_MAX:
                return False
            if self._shares[strand] + size_bytes > QUEUED_BYTES_SHARE_MAX:
                return False
            self._queued_bytes += size_bytes
            self._shares[strand] += size_bytes
            self._queued.setdefault(strand, deque()).append(frame)
            return True

    def _release(self, frame: Arrived) -> None:
        strand = frame.strand
        with self._lock:
            self._queued_bytes -= len(frame.raw)
            self._shares[strand] -= len(frame.raw)
            self._queued[strand].remove(frame)
            if not self._queued[strand]:
                del self._shares[strand], self._queued[strand]

    def _work_off(self, frame: Arrived) -> None:
        self._release(frame)
        try:
            self._frame(frame)
        finally:
            frame.forget(self._parts)

    def forget_frames(self) -> None:
        """No worker is left for those that wait."""
        with self._lock:
            left = [frame for queued in self._queued.values() for frame in queued]
        for frame in left:
            self._release(frame)
            frame.forget(self._parts)

    def _read_ahead(self, frame: Arrived, peer: Peer) -> float:
        """The frame that comes after this one on its strand. Returns seconds spent."""
        following = self._following(frame)
        spent_s = following.read_ahead(self._parts, peer) if following else 0.0
        if following and self._following(frame) is not following:  # the pool had no room for it
            following.forget(self._parts)
        return spent_s

    def _following(self, frame: Arrived) -> Arrived | None:
        with self._lock:
            queued = self._queued.get(frame.strand)
            return queued[0] if queued else None

    def _node_heard(self, event: NodeHeard) -> None:
        now_s = self._parts.clock()
        peer = self._parts.peers.at(event.address)
        if peer is None:
            self._strangers.heard(event)
            return
        peer.heard_s = now_s
        if peer.link is None and not peer.dialing:
            self._scheduler.trigger(peer.config.key_id, self._parts.rng.random())

    def _state(self, link: LinkId) -> LinkState | None:
        with self._lock:
            return self._links.get(link)

    def _strand(self, state: LinkState) -> Hashable:
        peer = self._parts.peers.at(state.address)
        return peer.config.key_id if peer is not None else ("link", state.link)

    def _queue(self, state: LinkState, task: Callable[[], None]) -> None:
        self._parts.submit(self._strand(state), task)

    # -- strands: links ------------------------------------------------------------------------

    def _expect_handshake(self, state: LinkState) -> None:
        """A link whose other end does not say who it is: its dialler must be able to try again."""

        def give_up() -> None:
            self._parts.drops.count("link_no_handshake")
            peer = self._parts.peers.at(state.address)
            if peer is not None and peer.link is None:
                peer.reason = "no_handshake"
            self._parts.transport.hang_up(state.link)

        self._parts.when_still(
            state.link,
            self._scheduler.config.no_progress_timeout_s,
            queue=lambda task: self._queue(state, task),
            is_over=lambda: state.is_known or self._state(state.link) is None,
            then=give_up,
        )

    def _greet(self, state: LinkState) -> None:
        peer = self._parts.peers.at(state.address)
        if peer is not None and peer.link is None and not meets_another(self._parts, peer, state):
            return
        if state.inbound and is_brief(state):
            return  # the hello of who dialled is on its way, and ours will acknowledge it
        if not state.hello_sent and not state.replaced:
            self._parts.try_say(state, self._greeter.hello(state))

    def _link_down(self, state: LinkState, reason: str) -> None:
        peer = self._parts.peers.get(state.key_id) or self._parts.peers.at(state.address)
        if peer is None:
            return
        peer.dialing = False
        if not state.inbound and state.key_id is None and not state.replaced:
            peer.reach.failed(self._parts.clock(), state.medium)
        if peer.greeting is state:
            peer.greeting = None
        if peer.link is None and not state.inbound and not state.replaced:
            note_failure(self._parts, peer)
            peer.reason = peer.reason or reason
        if peer.link is None and self._parts.air is not None:
            self._parts.air.fail(peer.config.key_id)  # nobody said who it is: nothing was sent
        if peer.link is not state:
            return
        peer.link = None
        is_over = is_brief(state) and not peer.check_out and peer.round is None
        peer.check_out = 0
        key_id = peer.config.key_id
        if is_over and reason == DownReason.PEER_CLOSED and not peer.reason:
            logger.info("link.over peer=%s", key_id)
            peer.rests = True
            return
        note_failure(self._parts, peer)
        peer.reason = peer.reason or reason
        logger.info("link.down peer=%s reason=%s", key_id, reason)
        self._exchange.abort(peer, "link_down")
        if self._parts.clock() >= peer.patient_until_s:
            self._be_patient(peer)
            self._exchange.dial_soon(peer, REDIAL_S)

    def _be_patient(self, peer: Peer) -> None:
        """One hurried redial a cadence: a peer that ends every link is not worth more."""
        peer.patient_until_s = self._parts.clock() + self._scheduler.config.cadence_s

    def _dial_failed(self, peer: Peer, reason: str) -> None:
        peer.dialing = False
        if reason not in _OWN_REASONS:
            peer.reach.failed(self._parts.clock())
        if peer.link is None:
            note_failure(self._parts, peer)
            peer.reason, peer.rests = reason, False
        if self._parts.air is not None:
            self._parts.air.fail(peer.config.key_id)

    # -- strands: frames -------------------------------------------------------------------------

    def _frame(self, frame: Arrived) -> None:
        state = frame.state
        peer = self._parts.peers.get(state.key_id)
        if peer is not None:
            peer.heard_s = self._parts.clock()
        if frame.records is not None:
            self._records(frame, frame.records)
            return
        try:
            unwrapped = try_unwrap(frame.raw)
        except RemoteProtocolError as error:
            self._garbage(state, type(error).__name__, str(error))
            return
        if unwrapped is None:
            self._garbage(state, "NotAReplicationFrame", f"{len(frame.raw)} bytes")
        elif isinstance(unwrapped.message, Records):
            self._records(frame, unwrapped.message)
        elif isinstance(unwrapped.message, ReplicationMessage):
            self._replication(state, peer, unwrapped.message)
        else:
            self._mesh(state, unwrapped.message)

    def _garbage(self, state: LinkState, name: str, detail: str) -> None:
        """Unreadable bytes on an ordered, checked link are a bug or an attack: drop the link."""
        self._parts.drops.count(f"frame_{name.lower()}", detail)
        peer = self._parts.peers.get(state.key_id)
        if peer is not None and peer.link is state:
            peer.reason = "sent_garbage"
        if peer is not None and self._parts.air is not None:
            self._parts.air.penalize(peer.config.key_id, "garbage")
        self._parts.transport.hang_up(state.link)

    def _mesh(self, state: LinkState, message: MeshMessage) -> None:
        match message:
            case Refusal(reason=reason):
                self._refused(state, reason)
            case NoAir(wait_s=wait_s):
                self._hushed(state, wait_s)
            case Digests() if not state.is_known:
                state.early = message  # the peer knows us already; we wait for its word
            case Digests():
                self._exchange.compared(state, message)
            case _ if isinstance(message, ReconcileMessage | Taken | Preview):
                self._reconciled(state, message)
            case _:
                self._introduced(state, message)

    def _introduced(self, state: LinkState, message: MeshMessage) -> None:
        """The other end says who it is, or asks who we are."""
        if state.replaced:
            return  # said before the other link of two was chosen; there it is said as well
        for reply in self._greeter.received(state, message):
            self._parts.try_say(state, reply)
            if isinstance(reply, Refusal):
                self._turn_away(state, reply.reason)
                return
        if state.key_id is not None and state.is_known:
            self._attributed(state, state.key_id)

    def _records(self, frame: Arrived, message: Records) -> None:
        """Nothing is unpacked for a stranger: it needs no more than one Deliver to be met."""
        state = frame.state
        peer = self._parts.peers.get(state.key_id)
        if peer is None:
            self._parts.drops.count("frame_unattributed")
            return
        if not peer.waste.is_open():
            peer.waste.spend(frame.spent_s)
            self._garbage(state, "batches_for_nothing", f"{len(message.batch)} bytes")
            return
        begun_s = peer.waste.work_s() - frame.spent_s
        is_of_use = False
        try:
            delivers = frame.delivers or delivers_of(message)
            try:
                begun_s += self._read_ahead(frame, peer)  # which pays for itself
            finally:
                is_of_use = self._exchange.took(peer, state, message, delivers)
        except BatchRefused as error:
            self._garbage(state, f"batch_{error.reason}", str(error))
        if not is_of_use:
            peer.waste.spend(peer.waste.work_s() - begun_s)

    def _reconciled(self, state: LinkState, message: ReconcileMessage | Taken | Preview) -> None:
        peer = self._parts.peers.get(state.key_id)
        if peer is None:
            self._parts.drops.count("frame_unattributed")
        elif isinstance(message, Preview):
            previewing.heard(self._parts, peer, state, message)
        else:
            self._exchange.reconciled(peer, state, message)

    def _hushed(self, state: LinkState, wait_s: int) -> None:
        peer = self._parts.peers.get(state.key_id) or self._parts.peers.at(state.address)
        if peer is None:
            self._parts.drops.count("frame_unattributed")
        else:
            self._exchange.hushed(peer, state, wait_s)

    def _refused(self, state: LinkState, reason: str) -> None:
        peer = self._parts.peers.get(state.key_id) or self._parts.peers.at(state.address)
        logger.warning("link.refused_by_peer link=%d reason=%s", state.link, reason)
        if peer is not None:
            peer.reason = f"refused_{reason}"
            self._be_patient(peer)
        elif not state.inbound and state.binding_wanted and state.key_id is None:
            return  # only who it is was to be learned, and that is still to come
        self._parts.transport.hang_up(state.link)

    def _turn_away(self, state: LinkState, reason: str) -> None:
        """Let the refusal be read, then close."""
        self._parts.drops.count(f"link_{reason}")
        self._parts.timer.after(REFUSAL_LINGER_S, lambda: self._parts.transport.hang_up(state.link))

    def _attributed(self, state: LinkState, key_id: str) -> None:
        """The link has a key id. A peer's link is put to use; a stranger is shown and let go."""
        peer = self._parts.peers.get(key_id)
        if peer is None:
            self._strangers.met(state, key_id, turn_away=self._turn_away)
            return
        if peer.link is state:
            return
        public = self._parts.directory.public_key(key_id)
        expected = peer.config.fingerprint
        if public is None or expected not in (None, public.fingerprint):
            self._parts.try_say(state, Refusal("fingerprint_mismatch"))
            self._turn_away(state, "fingerprint_mismatch")
            return
        peer.heard_s = now_s = self._parts.clock()
        (peer.reach.came_in if state.inbound else peer.reach.answered)(state.medium, now_s)
        if state.address != peer.config.address:
            self._moved(peer, state)
            return
        promoted = self._parts.directory.promote_first_contact(key_id, now_ms=self._parts.wall_ms())
        if promoted is not None:
            self._exchange.spread(exclude=key_id)
        if self._settle_on(peer, state):
            self._start_talking(peer, state)

    def _moved(self, peer: Peer, state: LinkState) -> None:
        """The peer's key now speaks through another RNS identity: look for it there.

        The link is closed, not used: tasks of its own strand wait on it, and one peer's are to be
        on one strand.
        """
        assert state.address is not None, "a link without an identity gets no key id"
        logger.info("peer.moved peer=%s address=%s", peer.config.key_id, state.address.hex())
        self._parts.peers.put(replace(peer.config, address=state.address))
        self._parts.transport.permit(self._parts.peers.addresses())
        old = peer.link
        for link in (state, old) if old is not None else (state,):
            self._parts.transport.hang_up(link.link)
        self._exchange.dial_soon(peer)

    def _settle_on(self, peer: Peer, new: LinkState) -> bool:
        """Choose between two links to one peer; both ends come to the same choice.

        Of two the same side dialled the newer counts: the older is a corpse its dialler gave up.
        Of two dialled at once, the one dialled by the smaller address stays.
        """
        old = peer.link
        if old is not None:
            mine_is_smaller = self._parts.transport.address < peer.config.address
            dialled_by_smaller = mine_is_smaller is not new.inbound
            if old.inbound is not new.inbound and not dialled_by_smaller:
                self._replaced(new)
                return False
            peer.link = None
            self._exchange.abort(peer, "link_replaced")
            self._replaced(old)
        peer.link = new
        return True

    def _replaced(self, state: LinkState) -> None:
        state.replaced = True
        self._parts.transport.hang_up(state.link)

    def _start_talking(self, peer: Peer, state: LinkState) -> None:
        peer.dialing = False
        peer.greeting, peer.rests, peer.kinds = None, False, state.kinds
        peer.takes_nothing = state.takes_nothing
        peer.reason = ""
        peer.check_out = 0
        self._settle_radio(peer, state)
        self._parts.bridge.agree(peer.config.key_id, state.terms(self._greeter.scope))
        logger.info("link.ready peer=%s medium=%s", peer.config.key_id, state.medium)
        early, state.early = state.early, None
        if early is not None:
            self._exchange.compared(state, early)
        if not state.inbound:
            self._exchange.check_now(peer)
        watch(self._parts, peer, self._scheduler)

    def _settle_radio(self, peer: Peer, state: LinkState) -> None:
        if self._parts.air is not None:
            peer.radio = self._parts.air.covers(state)
            peer.needs_s = 0.0
            self._parts.air.reach(peer.config.key_id, peer.radio)

    def _replication(
        self, state: LinkState, peer: Peer | None, message: ReplicationMessage
    ) -> None:
        if peer is None:
            self._strangers.said(state, message)
        else:
            self._exchange.received(peer, state, message)
