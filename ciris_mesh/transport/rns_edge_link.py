"""One Reticulum link with a registry node: frames in as Resources or Channel messages.

Sending is `rns_edge`'s, which chooses among the links there are. What a stranger sends is turned
away before a byte of it is put together; a link whose end does not identify, or is no verified
registry node, is closed after its time.
"""

from __future__ import annotations

import logging
import time
from typing import Final, Protocol

from ciris_mesh.transport import patience
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.admittance import FirstContact, Misbehaviour
from ciris_mesh.transport.base import Address, EdgeFrame
from ciris_mesh.transport.inbox import Inbox
from ciris_mesh.transport.limits import EDGE_CHANNEL_WAITING_MAX, FRAME_BYTES_MAX
from ciris_mesh.transport.reasons import DownReason, DropReason
from ciris_mesh.transport.rns_host import Host, at_border
from ciris_mesh.transport.rns_offer import Offer, read_offer, unpacked_bytes_max
from ciris_mesh.transport.threads import Job

log = logging.getLogger(__name__)


#: Other software may count a hash or a header into the size it offers a Resource with.
SLACK_BYTES: Final = 64


class EdgeOwner(Protocol):
    """What a link needs of the port it belongs to. Lock held."""

    def permitted(self) -> frozenset[Address]:
        """The verified registry nodes."""
        ...

    def edge_up(self, link: EdgeLink) -> None:
        """It may carry frames now."""
        ...

    def edge_identified(self, link: EdgeLink) -> None:
        """The other end of an inbound link is known now."""
        ...

    def edge_gone(self, link: EdgeLink, reason: DownReason) -> None:
        """The link is down; called once."""
        ...


class EdgeLink:
    """One link. Implements `rns_seam.LinkEvents` and `rns_dial.Dialled`.

    Attributes:
        address: the other end: known when we dialled, else once it identified.
        takes_frames: False once a frame of ours failed on it: it is for the other side's only.
        heard_s: monotonic time of the last byte that arrived.
    """

    def __init__(
        self, host: Host, rns: seam.Link, *, address: Address | None, owner: EdgeOwner
    ) -> None:
        self.rns = rns
        self.inbound = not rns.initiator
        self.address = address
        self.is_up = False
        self.is_down = False
        self.takes_frames = True
        self.medium = "unknown"
        self.born_s = self.heard_s = time.monotonic()
        self._host = host
        self._owner = owner
        self._inbox = Inbox(self._report, host.budget, sequences=1, slack_bytes=SLACK_BYTES)
        self._first_contact = FirstContact(self.born_s)
        self._misbehaviour = Misbehaviour(host.drop)
        self._unsplit: set[bytes] = set()  # Resources in one segment over Reticulum's size
        self._channel_waiting = 0

    def bring_up(self, medium: str, interface: str = "") -> None:
        """It may carry frames. Lock held."""
        if not self.is_down:
            self.medium, self.is_up = medium, True
            self._owner.edge_up(self)

    def go_down(self, reason: DownReason) -> None:
        """Close. Lock held. Only the first call counts."""
        if self.is_down:
            return
        self.is_down = True
        partial = self._inbox.clear()
        log.info("edge link is down: %s", reason)
        self._owner.edge_gone(self, reason)
        if reason is not DownReason.STOPPED or self.is_permitted():
            # A crowd of strangers is not told that we stop: that would take a packet for each.
            self._host.submit(lambda: self._tear_down(partial))

    def is_busy(self) -> bool:
        """Something arrives that has a deadline. Lock held."""
        return self._inbox.is_waiting

    def is_permitted(self) -> bool:
        """Say whether the other end is a verified registry node. Lock held."""
        return self.address is not None and self.address in self._owner.permitted()

    def tick(self, now: float) -> None:
        """Look at the deadlines. Lock held."""
        if self.is_down:
            return
        permitted, rtt_s = self._owner.permitted(), self.rtt_s()
        reason = self._first_contact.overdue(self.address, now, rtt_s, permitted)
        if self.inbound and reason is not None:
            self._host.drop(DropReason(f"edge_{reason}"))
            self.go_down(reason)
        elif self._inbox.is_waiting and now - self.heard_s > patience.stall_s(rtt_s):
            self.go_down(DownReason.STALLED)

    def rtt_s(self) -> float:
        """The round trip to reckon with."""
        return patience.believed_rtt_s(self.rns.rtt, self.medium)

    # Receiving.

    def channel_message(self, frame: bytes) -> None:
        """A frame came as a Channel message, proved already. Inbound thread."""
        with self._host.lock:
            if self.is_down:
                return
            if not self.is_permitted():
                self._misbehave(DropReason.EDGE_STRANGER)
                return
            if self._channel_waiting >= EDGE_CHANNEL_WAITING_MAX:
                self._host.drop(DropReason.INBOUND_BUSY)
                self.go_down(DownReason.FLOODED)
                return
            self._channel_waiting += 1
            self._hand_on(frame, self._channel_taken)

    def _channel_taken(self) -> None:
        with self._host.lock:
            self._channel_waiting -= 1

    def _report(self, frame: bytes) -> None:
        """The inbox hands a frame out. Lock held."""
        self._hand_on(frame, self._frame_taken)

    def _frame_taken(self) -> None:
        with self._host.lock:
            self._inbox.delivered()

    def _hand_on(self, frame: bytes, taken: Job) -> None:
        assert self.address is not None
        self.heard_s = time.monotonic()
        self._host.rx_bytes += len(frame)
        self._host.pump.put(EdgeFrame(self.address, frame), then=taken)

    def accepts(self, advertisement: seam.Advertisement) -> bool:
        """Decide on an offered Resource, from what its sender claims. Inbound thread."""
        repeated = seam.is_receiving(self.rns, advertisement.h)
        with self._host.lock:
            accepted = self._accepts(advertisement, repeated=repeated)
        self._host.wake()
        return accepted

    def _accepts(self, claim: seam.Advertisement, *, repeated: bool) -> bool:
        if self.is_down:
            return False
        if self._first_contact.asks_too_much(self.address, self._owner.permitted()):
            self.go_down(DownReason.FLOODED)
            return False
        if not self.is_permitted():
            self._host.drop(DropReason.EDGE_STRANGER)
            return False
        offer = read_offer(claim, unsplit=True)
        if offer is None:
            self._misbehave(DropReason.FRAME_UNREADABLE)
            return False
        if repeated and self._inbox.size_of(offer.key) is not None:
            return True
        if offer.segment > 1:
            return self._inbox.offer_segment(
                offer.key, offer.segment_key, offer.segment, offer.segments, offer.size_bytes
            )
        return self._accepts_first(offer)

    def _accepts_first(self, offer: Offer) -> bool:
        if offer.size_bytes > FRAME_BYTES_MAX:
            self._misbehave(DropReason.FRAME_TOO_LARGE)
            return False
        if not self._inbox.offer(offer.key, offer.segment_key, offer.size_bytes, offer.segments):
            self._host.drop(DropReason.REASSEMBLY_FULL)
            return False
        if offer.segments == 1:
            self._unsplit.add(offer.key)
        self.heard_s = time.monotonic()
        return True

    def resource_started(self, resource: seam.Resource) -> None:
        """Bound what may be unpacked, and stop what nobody agreed to. Inbound thread."""
        with self._host.lock:
            size = self._inbox.size_of(resource.original_hash)
            wanted = size is not None and resource.request_id is None
            is_whole = wanted and resource.original_hash in self._unsplit
            if not wanted:
                self._misbehave(DropReason.FRAME_NOT_PERMITTED, repr(resource.hash))
        if not wanted or size is None:
            resource.cancel()
            return
        whole_bytes = size + SLACK_BYTES + 1
        resource.max_decompressed_size = whole_bytes if is_whole else unpacked_bytes_max(size)
        resource.progress_callback(at_border(lambda _resource: self._moved_in()))

    def resource_concluded(self, resource: seam.Resource) -> None:
        """Fill the slot. A thread of Reticulum's for each."""
        frame = seam.received_bytes(resource, FRAME_BYTES_MAX)
        with self._host.lock:
            if self.is_down or not self._inbox.awaits(resource.original_hash, resource.hash):
                return
            self._unsplit.discard(resource.original_hash)
            if frame is None:
                self.go_down(DownReason.STALLED)
            elif not self._inbox.fill(resource.original_hash, frame):
                self._host.drop(DropReason.FRAME_UNREADABLE)
                self.go_down(DownReason.FLOODED)

    def _moved_in(self) -> None:
        with self._host.lock:
            self.heard_s = time.monotonic()

    # The rest of `rns_seam.LinkEvents`.

    def identified(self, address: Address) -> None:
        """The initiator proved its identity. Inbound thread."""
        with self._host.lock:
            if not self.is_down and self.address is None:
                self.address = address
                self._owner.edge_identified(self)

    def closed(self, reason: int) -> None:
        """Reticulum closed the link. Any thread."""
        ours = seam.LINK_CLOSED_BY_DESTINATION if self.inbound else seam.LINK_CLOSED_BY_INITIATOR
        with self._host.lock:
            if self.is_down:
                return
            if reason == seam.LINK_TIMEOUT:
                self.go_down(DownReason.TIMEOUT)
            elif reason == ours:  # Reticulum itself closes a link over what is no Resource
                self._host.drop(DropReason.FRAME_UNREADABLE)
                self.go_down(DownReason.FLOODED)
            else:
                self.go_down(DownReason.PEER_CLOSED)

    def _misbehave(self, reason: DropReason, resource: str = "") -> None:
        if self._misbehaviour.is_too_much(reason, resource):
            self.go_down(DownReason.FLOODED)

    def _tear_down(self, partial: list[bytes]) -> None:
        self.rns.teardown()
        for key in partial:
            seam.discard_partial(key)
