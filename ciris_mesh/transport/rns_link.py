"""One Reticulum link carrying frames both ways.

On a fast link a frame that fits one packet goes as a request, answered by one small integer once
it is queued at the other side; a larger one goes as a Resource. On a slow link both go as paced
packets (`rns_paced`). Each side chooses for what it sends, and takes whatever comes: the
initiator's own OUT destination object has request handlers too. `outbox` keeps one frame under
way, `inbox` puts what arrives into the order it was sent in; both modules say why that is enough
although Reticulum calls back on many threads.

Callbacks enqueue and return; what may block on a device, bz2 or encryption runs on the worker pool,
one job that sends per link. So a stalled send never keeps frames from arriving or holds up RNS.

A link that makes no progress is taken down; `patience` says when.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

from ciris_mesh.errors import LinkGone, PayloadTooLarge
from ciris_mesh.transport import carriers, patience
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, LinkDown, LinkId, LinkIdentified, LinkUp
from ciris_mesh.transport.inbox import Taken
from ciris_mesh.transport.limits import FRAME_BYTES_MAX
from ciris_mesh.transport.medium import SLOW_MEDIA
from ciris_mesh.transport.outbox import Outbox, Sending
from ciris_mesh.transport.reasons import DownReason, DropReason
from ciris_mesh.transport.rns_host import Host, at_border
from ciris_mesh.transport.rns_intake import Intake
from ciris_mesh.transport.rns_offer import Offer, read_offer, unpacked_bytes_max
from ciris_mesh.transport.rns_paced import PacedCarrier

log = logging.getLogger(__name__)


class LinkOwner(Protocol):
    """What a link needs of the transport it belongs to."""

    def link_gone(self, link: MeshLink, reason: DownReason) -> None:
        """The link is down; called once, lock held."""
        ...

    def link_identified(self, link: MeshLink) -> None:
        """The other end of an inbound link is known now; lock held."""
        ...

    def identify(self, link: MeshLink) -> None:
        """Tell the other end who we are, if we dialled it. Sends a packet."""
        ...


class MeshLink:
    """One link. Methods named in `base.Transport` terms; `lock held` where it says so.

    Args:
        address: the other end, known when we dialled.
    """

    def __init__(
        self,
        host: Host,
        link_id: LinkId,
        rns: seam.Link,
        *,
        address: Address | None,
        owner: LinkOwner,
    ) -> None:
        self.id = link_id
        self.rns = rns
        self.inbound = not rns.initiator
        self.medium = "unknown"
        self.is_up = False
        self.is_down = False
        self.born_s = time.monotonic()
        self._host = host
        self._owner = owner
        self._outbox = Outbox(sequences=seam.SEQUENCES)
        self._intake = Intake(
            host,
            link_id,
            address=address,
            born_s=self.born_s,
            sequences=seam.SEQUENCES,
            flooded=lambda: self.go_down(DownReason.FLOODED),
        )
        self._inbox = self._intake.inbox
        self.paced = PacedCarrier(host, rns, self, self._outbox, self._intake)
        self.is_paced = self._ends = False
        self._was_rejected = False

    @property
    def address(self) -> Address | None:
        """The proven identity at the other end."""
        return self._intake.address

    @property
    def progress_s(self) -> float:
        """Monotonic time at which something last moved, either way."""
        return self._intake.progress_s

    # What the transport asks of a link.

    def bring_up(self, medium: str, interface: str = "") -> None:
        """Report LinkUp. Lock held."""
        if self.is_down:
            return
        self.medium = medium
        self.is_up = True
        self._intake.progress_s = time.monotonic()
        self.is_paced = self._is_radio()
        self.paced.set_speed(self._rtt(), medium)
        address = None if self.inbound else self.address
        up = LinkUp(self.id, self.inbound, address, medium, self._is_slow(), interface)
        self._host.pump.put(up)

    def send(self, frame: bytes) -> None:
        """Queue a frame. Lock held.

        Raises:
            BackPressure, PayloadTooLarge, LinkGone: as `Transport.send`.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise PayloadTooLarge(len(frame), FRAME_BYTES_MAX)
        if not self.is_up or self.is_down or self._intake.closing is not None:
            raise LinkGone(f"link {self.id} is down")
        self._outbox.put(frame)
        self._start_next()

    def finish(self) -> None:
        """Close once all that was queued has arrived. Lock held."""
        self._ends = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._ends and self._outbox.is_idle:
            self.go_down(DownReason.CLOSED)

    def go_down(self, reason: DownReason) -> None:
        """Report LinkDown and close. Lock held. Only the first call counts."""
        if self.is_down:
            return
        self.is_down = True
        if self._intake.closing is not None:
            reason = self._intake.closing[1]
        log.info("link %d is down: %s, %r", self.id, reason, self._outbox)
        self._outbox.clear()
        self.paced.clear()
        partial = self._inbox.clear()
        if self.is_up:
            self._host.pump.put(LinkDown(self.id, reason))
        self._owner.link_gone(self, reason)
        if reason is not DownReason.HANDED_OVER:
            self._host.submit(lambda: self._tear_down(partial))

    def is_busy(self) -> bool:
        """Something is under way that has a deadline. Lock held."""
        under_way = self._outbox.sending is not None or self._inbox.is_waiting
        return under_way or self.paced.is_waiting or self._intake.closing is not None

    def tick(self, now: float) -> None:
        """Look at the deadlines. Lock held."""
        if self.is_down:
            return
        if self._intake.closing is not None:
            if now >= self._intake.closing[0]:
                self.go_down(self._intake.closing[1])
            return
        reason = self._intake.overdue(now, self._rtt())
        if self.inbound and reason is not None:
            self._host.drop(DropReason(reason))
            self.go_down(reason)
            return
        self._tick_sending(now)
        self.paced.tick(now)
        silent_s = now - self._intake.arrived_s
        is_late = self._inbox.is_waiting and silent_s > patience.stall_s(self._rtt())
        if is_late or self.paced.is_stalled(now):
            self.go_down(DownReason.STALLED)

    # Sending.

    def _tick_sending(self, now: float) -> None:
        sending = self._outbox.sending
        if sending is None or self.paced.is_sending:
            return
        if self._outbox.resume(now) is not None:
            self._host.submit(lambda: self._transmit(sending))
        elif sending.resume_at is not None:
            return
        elif sending.deadline is not None:
            if now > sending.deadline:
                self._lost(now)
        elif now - sending.progress_s > patience.stall_s(self._rtt()):
            self.go_down(DownReason.STALLED)

    def _start_next(self) -> None:
        sending = self._outbox.start(time.monotonic())
        if sending is not None:
            self._host.submit(lambda: self._transmit(sending))
            self._host.wake()

    def _transmit(self, sending: Sending) -> None:
        """Hand a frame to Reticulum. Worker thread, no lock."""
        try:
            if sending.identify_first:
                self._owner.identify(self)
            if self.is_paced and carriers.fits_parts(len(sending.frame)):
                self.paced.transmit(sending)
            elif carriers.fits_request(len(sending.frame), self.rns.mdu):
                self._transmit_small(sending)
            else:
                self._transmit_resource(sending)
        except Exception:
            if self.rns.status != seam.LINK_CLOSED:
                log.exception("link %d cannot send", self.id)
            with self._host.lock:
                self.go_down(DownReason.STALLED)

    def _transmit_small(self, sending: Sending) -> None:
        attempt = sending.attempt
        timeout_s = patience.answer_s(self._rtt(), slow=self._is_slow())
        with self._host.lock:
            # Twice Reticulum's own: it reports first unless it lost the receipt.
            sending.deadline = time.monotonic() + 2 * timeout_s + 1
        taken = seam.send_request(
            self.rns,
            sending.sequence,
            sending.frame,
            timeout_s=timeout_s,
            answered=at_border(lambda answer: self._answered(sending, answer)),
            failed=at_border(lambda: self._unanswered(sending, attempt)),
        )
        if not taken:
            self._unanswered(sending, attempt)

    def _answered(self, sending: Sending, answer: object) -> None:
        now = time.monotonic()
        with self._host.lock:
            if self._outbox.sending is not sending or self.is_down:
                return
            self._intake.progress_s = now
            match answer:
                case carriers.ANSWER_QUEUED:
                    self._sent(sending, small=True)
                case carriers.ANSWER_BUSY:
                    self._rest(now)
                case carriers.ANSWER_IDENTIFY:
                    sending.identify_first = True
                    self._rest(now)
                case carriers.ANSWER_REFUSED:
                    self.go_down(DownReason.REFUSED)
                case _:
                    self.go_down(DownReason.STALLED)
        self._host.wake()

    def _rest(self, now: float) -> None:
        if not self._outbox.busy(now):
            self.go_down(DownReason.STALLED)

    def _unanswered(self, sending: Sending, attempt: int) -> None:
        with self._host.lock:
            current = self._outbox.sending is sending and sending.attempt == attempt
            if current and not self.is_down and sending.resume_at is None:
                self._lost(time.monotonic())
        self._host.wake()

    def _lost(self, now: float) -> None:
        if not self._outbox.lost(now):
            self.go_down(DownReason.STALLED)

    def _transmit_resource(self, sending: Sending) -> None:
        attempt = sending.attempt
        sending.offered_s = time.monotonic()
        seam.send_resource(
            self.rns,
            sending.frame,
            compress=self._is_slow() and carriers.is_worth_compressing(sending.frame),
            timeout_s=patience.offer_s(self._rtt()),
            progress=at_border(lambda _resource: self._part_taken(sending)),
            concluded=at_border(lambda done: self._resource_sent(sending, attempt, done)),
        )
        self._moved_out(sending)

    def _resource_sent(self, sending: Sending, attempt: int, done: seam.Resource) -> None:
        now = time.monotonic()
        with self._host.lock:
            current = self._outbox.sending is sending and sending.attempt == attempt
            if not current or self.is_down:
                return
            if seam.has_arrived(done):
                self._was_rejected = False
                self._sent(sending, small=False)
                return
            if done.status != seam.RESOURCE_REJECTED:
                self._failed("sending a Resource")
                return
            self._was_rejected = True
            if self._outbox.rejected(now):
                sending.identify_first = not self.inbound
            else:
                self.go_down(DownReason.REFUSED)
        self._host.wake()

    def sent(self, sending: Sending) -> None:
        """Paced packets brought a frame over. Lock held."""
        self._sent(sending, small=False)

    def introduce(self) -> None:
        """Tell the other end who we are, if we dialled it. Sends a packet."""
        self._owner.identify(self)

    def _sent(self, sending: Sending, *, small: bool) -> None:
        self._intake.progress_s = time.monotonic()
        self._host.tx_bytes += len(sending.frame)
        self._outbox.acknowledged(small=small)
        self._end_if_idle()
        self._start_next()

    # Receiving small frames.

    def take_request(self, sequence: int, body: object) -> int | None:
        """Take a frame that came as a request. A thread of Reticulum's for each.

        Returns:
            The answer, or None to stay silent.
        """
        with self._host.lock:
            if self.is_down or self._intake.closing is not None:
                return None
            if not self.is_up:
                return carriers.ANSWER_BUSY
            if self._intake.asks_too_much(time.monotonic(), self._rtt()):
                return carriers.ANSWER_REFUSED
            if not isinstance(body, bytes):
                self._intake.misbehave(DropReason.FRAME_UNREADABLE)
                return None
            if self.address is None:
                self._host.drop(DropReason.LINK_NOT_READY)
                return carriers.ANSWER_IDENTIFY
            return self._take_small(sequence, body)

    def _take_small(self, sequence: int, frame: bytes) -> int | None:
        self._intake.arrived(time.monotonic())
        if self._intake.refuses(len(frame), time.monotonic(), self._rtt()):
            return carriers.ANSWER_REFUSED
        taken = self._inbox.take_small(sequence, frame)
        match taken:
            case Taken.QUEUED | Taken.DUPLICATE:
                return carriers.ANSWER_QUEUED
            case Taken.BUSY:
                self._host.drop(DropReason.INBOUND_BUSY)
                return carriers.ANSWER_BUSY
            case Taken.OUT_OF_ORDER:
                self._intake.misbehave(DropReason.FRAME_UNREADABLE)
                return None

    # Receiving Resources: `rns_seam.LinkEvents`.

    def accepts(self, advertisement: seam.Advertisement) -> bool:
        """Decide on an offered Resource, from what its sender claims. Inbound thread."""
        repeated = seam.is_receiving(self.rns, advertisement.h)
        with self._host.lock:
            accepted = self._accepts(advertisement, repeated=repeated)
        self._host.wake()
        return accepted

    def _accepts(self, claim: seam.Advertisement, *, repeated: bool) -> bool:
        if (
            self.is_down
            or self._intake.closing is not None
            or self._intake.asks_too_much(time.monotonic(), self._rtt())
        ):
            return False
        offer = read_offer(claim)
        if offer is None:
            self._intake.misbehave(DropReason.FRAME_UNREADABLE)
            return False
        if repeated and self._inbox.size_of(offer.key) is not None:
            return True  # the request for its parts was lost; Reticulum goes on with it
        if offer.segment > 1:
            return self._inbox.offer_segment(
                offer.key, offer.segment_key, offer.segment, offer.segments, offer.size_bytes
            )
        return self._accepts_first(offer)

    def _accepts_first(self, offer: Offer) -> bool:
        if not self.is_up or self.address is None:
            self._host.drop(DropReason.LINK_NOT_READY)
            return False
        if self._intake.refuses(offer.size_bytes, time.monotonic(), self._rtt()):
            return False
        taken = self._inbox.offer(offer.key, offer.segment_key, offer.size_bytes, offer.segments)
        if not taken:
            self._host.drop(DropReason.REASSEMBLY_FULL)
            return False
        self._intake.arrived(time.monotonic())
        return True

    def resource_started(self, resource: seam.Resource) -> None:
        """Bound what may be unpacked, and stop what nobody agreed to. Inbound thread."""
        with self._host.lock:
            size = self._inbox.size_of(resource.original_hash)
            # A request or an answer of several packets: Reticulum does not ask us about those,
            # and none of ours is that large.
            wanted = size is not None and resource.request_id is None
            if not wanted:
                # Of no certain type: the hash is what the peer says it is.
                self._intake.misbehave(DropReason.FRAME_NOT_PERMITTED, repr(resource.hash))
        if not wanted or size is None:
            resource.cancel()
            return
        resource.max_decompressed_size = unpacked_bytes_max(size)
        resource.progress_callback(at_border(lambda _resource: self._moved_in()))

    def resource_concluded(self, resource: seam.Resource) -> None:
        """Fill the slot. A thread of Reticulum's for each."""
        frame = seam.received_bytes(resource, FRAME_BYTES_MAX)
        if self._is_radio():
            seam.forget_last_rate(self.rns)
        with self._host.lock:
            # Reticulum may conclude a Resource twice: its watchdog gives up on one that was
            # complete before (see `rns_seam.has_arrived`).
            if self.is_down or not self._inbox.awaits(resource.original_hash, resource.hash):
                return
            self._intake.arrived(time.monotonic())
            if frame is None:
                self._failed("receiving a Resource")
            elif not self._inbox.fill(resource.original_hash, frame):
                self._host.drop(DropReason.FRAME_UNREADABLE)
                self.go_down(DownReason.FLOODED)

    # The rest of `rns_seam.LinkEvents`.

    def identified(self, address: Address) -> None:
        """The initiator proved its identity. Inbound thread."""
        with self._host.lock:
            if self.is_down or self.address is not None:
                return
            self._intake.address = address
            self._host.pump.put(LinkIdentified(self.id, address))
            self._owner.link_identified(self)

    def closed(self, reason: int) -> None:
        """Reticulum closed the link. Any thread."""
        ours = seam.LINK_CLOSED_BY_DESTINATION if self.inbound else seam.LINK_CLOSED_BY_INITIATOR
        with self._host.lock:
            if self.is_down:
                return
            if reason == seam.LINK_TIMEOUT:
                self.go_down(DownReason.TIMEOUT)
            elif reason == ours:
                # We did not ask for it: Reticulum itself closes a link over what is no Resource,
                # or unpacks to more than was agreed.
                self._host.drop(DropReason.FRAME_UNREADABLE)
                self.go_down(DownReason.FLOODED)
            elif self._was_rejected or self._was_ignored():
                self.go_down(DownReason.REFUSED)
            else:
                self.go_down(DownReason.PEER_CLOSED)

    def _was_ignored(self) -> bool:
        sending = self._outbox.sending
        if sending is None or sending.offered_s is None:
            return False
        return patience.was_ignored(time.monotonic() - sending.offered_s, self._rtt())

    def _part_taken(self, sending: Sending) -> None:
        sending.offered_s = None
        self._moved_out(sending)

    def _moved_out(self, sending: Sending) -> None:
        with self._host.lock:
            self._intake.progress_s = sending.progress_s = time.monotonic()

    def _moved_in(self) -> None:
        with self._host.lock:
            self._intake.arrived(time.monotonic())

    def _tear_down(self, partial: list[bytes]) -> None:
        self.rns.teardown()
        for key in partial:
            seam.discard_partial(key)

    def _failed(self, what: str) -> None:
        # A link that closes fails its transfers first; `closed` then knows the reason.
        if self.rns.status != seam.LINK_CLOSED:
            log.info("link %d: %s failed", self.id, what)
            self.go_down(DownReason.STALLED)

    def _rtt(self) -> float:
        return patience.believed_rtt_s(self.rns.rtt, self.medium)

    def _is_radio(self) -> bool:
        return self.medium in SLOW_MEDIA or self._rtt() > patience.SLOW_RTT_S

    def _is_slow(self) -> bool:
        return self._is_radio() or self.rns.mtu <= carriers.SLOW_MTU_BYTES
