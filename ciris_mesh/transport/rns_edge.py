"""The `ciris.edge` destination: what public registry nodes (CIRISEdge) link to.

    frame --> queue of its address --> their link to us, else ours to them, else a new one
                                          |         one Resource a frame, one at a time
                                          +--failed--> the same frame on a link of our own

A registry node that has a live inbound link sends on it (its "reverse path") and dials only when
it must, so both kinds of link carry frames both ways. Where a frame of ours fails on their link,
that link is left to their frames alone. On every link the Channel is opened at once.

Announced on every interface but radios. Facts: spec, registry-nodes.md section 4; seen with
ciris-edge 13.15.0 and rns 1.5.7.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ciris_mesh.errors import BackPressure, PayloadTooLarge, PeerUnreachable
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import patience
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address, EdgeHeard, EdgeLost
from ciris_mesh.transport.limits import (
    ANNOUNCES_WAITING_MAX,
    EDGE_LINKS_MAX,
    EDGE_QUEUE_BYTES_MAX,
    EDGE_QUEUE_FRAMES_MAX,
    EDGE_SEND_BYTES_MAX,
    INBOUND_LINKS_PER_IDENTITY_MAX,
)
from ciris_mesh.transport.medium import medium_of
from ciris_mesh.transport.reasons import DialReason, DownReason, DropReason
from ciris_mesh.transport.rns_announce import ANNOUNCE_SPACING_S
from ciris_mesh.transport.rns_channel import open_channel
from ciris_mesh.transport.rns_dial import Dialer, Dialled
from ciris_mesh.transport.rns_edge_link import EdgeLink
from ciris_mesh.transport.rns_halfopen import HalfOpenLinks
from ciris_mesh.transport.rns_host import Host, at_border
from ciris_mesh.transport.rns_media import has_radio, link_way

log = logging.getLogger(__name__)

#: What an announce can carry beside a ratchet; see wire.edge_announce.
APP_DATA_BYTES_MAX: Final = 300

#: Announces with app_data of one address passed on at most this often, and addresses remembered.
HEARD_SPACING_S: Final = 2.0
HEARD_ADDRESSES_MAX: Final = 1024

#: A frame is tried on their link and on one of ours, then on one more of ours.
ATTEMPTS_MAX: Final = 3

#: A registry node forgets us when it restarts, and without our announce turns our links away.
ANNOUNCE_AGAIN_S: Final = 600.0


@dataclass(eq=False, slots=True)
class _Sending:
    """A frame under way on a link."""

    frame: bytes
    link: EdgeLink
    progress_s: float


@dataclass(eq=False, slots=True)
class _Queue:
    """Frames for one registry node. `attempts` counts those of the first frame."""

    frames: deque[bytes] = field(default_factory=deque)
    queued_bytes: int = 0
    sending: _Sending | None = None
    attempts: int = 0
    moved_s: float | None = None


class RnsEdge:
    """Implements `base.EdgePort` on the host of a transport. `lock held` where it says so.

    Args:
        identity: this node's RNS identity, the same as for all its destinations.
    """

    #: Reticulum passes on announces of this name only; answers to path requests carry them too.
    aspect_filter = f"{seam.APP_NAME}.{'.'.join(seam.EDGE_ASPECTS)}"
    receive_path_responses = True

    def __init__(self, host: Host, identity: seam.Identity) -> None:
        self._host = host
        self._identity = identity
        self._own_address = Address(identity.hash)
        self._half_open = HalfOpenLinks(host)
        self._dialer = Dialer(
            host,
            self,
            self._own_address,
            names=_names,
            failed=self._dial_failed,
            opened=self._dialled,
        )
        self._destination: Any = None
        self._app_data: bytes | None = None
        self._announced_on: dict[int, seam.Interface] = {}  # kept, or its id might be another's
        self._all_again_s = 0.0
        self._permitted: frozenset[Address] = frozenset()
        self._links: list[EdgeLink] = []
        self._queues: dict[Address, _Queue] = {}
        self._heard_s: OrderedDict[Address, float] = OrderedDict()
        self._waiting = 0

    # Life.

    def open(self) -> None:
        """Listen. No lock held; Reticulum runs."""
        self._destination = seam.create_destination(
            self._identity, seam.EDGE_ASPECTS, handler=self.handle_request
        )
        self._destination.set_link_established_callback(at_border(self._inbound_link))
        seam.guard_link_requests(self._destination, at_border(self._admits))
        seam.listen_for_announces(self)

    def stop(self) -> None:
        """Close all links. Lock held."""
        self._dialer.stop()
        for link in list(self._links):
            link.go_down(DownReason.STOPPED)

    def close(self) -> None:
        """Stop listening. No lock held."""
        seam.stop_listening(self)
        seam.remove_destination(self._destination)

    def tick(self, now: float) -> bool:
        """Look at deadlines and announce where that is due; True while something waits."""
        self._half_open.sweep(list(self._destination.links), now)
        self._dialer.tick(now)
        self._announce_next(now)
        with self._host.lock:
            for link in list(self._links):
                link.tick(now)
            for address, queue in list(self._queues.items()):
                self._look(address, queue, now)
            sending = any(queue.sending for queue in self._queues.values())
            return sending or self._dialer.is_busy() or any(each.is_busy() for each in self._links)

    def count_links(self) -> int:
        """Links that are up. Lock held."""
        return sum(link.is_up for link in self._links)

    # What the runtime asks: `base.EdgePort`.

    def permit(self, addresses: frozenset[Address]) -> None:
        """Replace the set of verified registry nodes."""
        with self._host.lock:
            self._permitted = addresses
            for address in self._queues.keys() - addresses:
                self._drop(address, DownReason.CLOSED)
                del self._queues[address]

    def announce(self, app_data: bytes) -> None:
        """Announce on every interface but radios: now, on each that comes up, every ten minutes.

        Raises:
            PayloadTooLarge: over what an announce can carry.
        """
        if len(app_data) > APP_DATA_BYTES_MAX:
            raise PayloadTooLarge(len(app_data), APP_DATA_BYTES_MAX)
        with self._host.lock:
            self._app_data = app_data
            self._announced_on.clear()
        self._host.wake()

    def send(self, address: Address, frame: bytes) -> None:
        """Queue one frame.

        Raises:
            PayloadTooLarge: over `limits.EDGE_SEND_BYTES_MAX`.
            BackPressure: too much waits for this node already.
            PeerUnreachable: it is not permitted, or we are stopping.
        """
        if len(frame) > EDGE_SEND_BYTES_MAX:
            raise PayloadTooLarge(len(frame), EDGE_SEND_BYTES_MAX)
        with self._host.lock:
            if address not in self._permitted or self._host.stopping:
                raise PeerUnreachable(f"{address.hex()} is no verified registry node")
            queue = self._queues.setdefault(address, _Queue())
            is_full = len(queue.frames) >= EDGE_QUEUE_FRAMES_MAX
            if is_full or queue.queued_bytes + len(frame) > EDGE_QUEUE_BYTES_MAX:
                raise BackPressure(f"{len(queue.frames)} frames wait for {address.hex()}")
            queue.frames.append(frame)
            queue.queued_bytes += len(frame)
            self._start_next(address, queue)
        self._host.wake()

    def hang_up(self, address: Address) -> None:
        """Close all links with it and forget what is queued."""
        with self._host.lock:
            self._drop(address, DownReason.CLOSED)

    def progress_s(self, address: Address) -> float | None:
        """Monotonic time at which bytes last moved to or from it; None when never."""
        with self._host.lock:
            queue = self._queues.get(address)
            times = [link.heard_s for link in self._links if link.address == address]
            if queue is not None and queue.moved_s is not None:
                times.append(queue.moved_s)
            return max(times, default=None)

    def is_linked(self, address: Address) -> bool:
        """Say whether there is a link with it now."""
        with self._host.lock:
            return any(link.is_up and link.address == address for link in self._links)

    # Sending. Lock held unless it says not.

    def _start_next(self, address: Address, queue: _Queue) -> None:
        if queue.sending is not None or not queue.frames:
            return
        link = self._best_link(address)
        if link is None:
            self._dialer.dial(address, None)
            return
        sending = queue.sending = _Sending(queue.frames[0], link, time.monotonic())
        self._host.submit(lambda: self._transmit(address, queue, sending))

    def _best_link(self, address: Address) -> EdgeLink | None:
        """Theirs to us before ours; of several the one last heard: an older may be a corpse."""
        links = [
            link
            for link in self._links
            if link.address == address and link.is_up and link.takes_frames
        ]
        return max(links, key=lambda link: (link.inbound, link.heard_s), default=None)

    def _transmit(self, address: Address, queue: _Queue, sending: _Sending) -> None:
        """Hand a frame to Reticulum. Worker thread, no lock."""
        try:
            seam.send_resource(
                sending.link.rns,
                sending.frame,
                compress=True,
                timeout_s=patience.offer_s(sending.link.rtt_s()),
                progress=at_border(lambda _resource: self._moved(queue, sending)),
                concluded=at_border(lambda done: self._concluded(address, queue, sending, done)),
            )
        except Exception:
            log.info("a registry node's link cannot send", exc_info=True)
            with self._host.lock:
                self._failed(address, queue, sending)

    def _moved(self, queue: _Queue, sending: _Sending) -> None:
        """No lock held."""
        with self._host.lock:
            queue.moved_s = sending.progress_s = time.monotonic()

    def _concluded(
        self, address: Address, queue: _Queue, sending: _Sending, done: seam.Resource
    ) -> None:
        """A thread of Reticulum's; no lock held."""
        arrived = seam.has_arrived(done)
        with self._host.lock:
            if queue.sending is not sending:
                return
            if not arrived:
                self._failed(address, queue, sending)
                return
            queue.moved_s = time.monotonic()
            queue.sending, queue.attempts = None, 0
            self._host.tx_bytes += len(sending.frame)
            queue.queued_bytes -= len(queue.frames.popleft())
            self._start_next(address, queue)
        self._host.wake()

    def _failed(self, address: Address, queue: _Queue, sending: _Sending) -> None:
        """Try the frame on another link, or give up all that waits."""
        if queue.sending is not sending:
            return
        queue.sending = None
        queue.attempts += 1
        sending.link.takes_frames = False
        if not sending.link.inbound:
            sending.link.go_down(DownReason.STALLED)
        if queue.attempts >= ATTEMPTS_MAX:
            self._give_up(address, queue, DownReason.STALLED)
        else:
            self._start_next(address, queue)

    def _look(self, address: Address, queue: _Queue, now: float) -> None:
        sending = queue.sending
        if sending is None:
            return
        if now - sending.progress_s > patience.stall_s(sending.link.rtt_s()):
            self._failed(address, queue, sending)

    def _give_up(self, address: Address, queue: _Queue, reason: str) -> None:
        had = bool(queue.frames)
        queue.frames.clear()
        queue.queued_bytes, queue.attempts, queue.sending = 0, 0, None
        if had:
            self._host.pump.put(EdgeLost(address, reason))

    def _drop(self, address: Address, reason: DownReason) -> None:
        queue = self._queues.get(address)
        if queue is not None:
            self._give_up(address, queue, reason)
        for link in [each for each in self._links if each.address == address]:
            link.go_down(reason)

    # Dialling: `rns_dial.DialOwner`.

    def handle_request(self, _sequence: int, _body: object, _link_id: bytes) -> int | None:
        """Registry nodes send no requests: silence. A thread of Reticulum's for each."""
        with self._host.lock:
            self._host.drop(DropReason.FRAME_NOT_PERMITTED)
        return None

    def add_link(self, rns: seam.Link, address: Address | None) -> EdgeLink:
        """Remember a link. Lock held."""
        link = EdgeLink(self._host, rns, address=address, owner=self)
        self._links.append(link)
        return link

    def count_outbound(self) -> int:
        """Links to others that are up. Lock held."""
        return sum(link.is_up and not link.inbound for link in self._links)

    def identify(self, link: Dialled) -> None:
        """Tell the other end who we are. Sends a packet."""
        link.rns.identify(self._identity)

    def _dialled(self, link: Dialled) -> None:
        """No lock held; right when the link is set up."""
        assert isinstance(link, EdgeLink)
        open_channel(link.rns, at_border(link.channel_message))

    def _dial_failed(self, address: Address, reason: DialReason) -> None:
        queue = self._queues.get(address)
        if queue is not None:
            self._give_up(address, queue, reason)

    # Links others make, and those that end: `rns_edge_link.EdgeOwner`.

    def _admits(self) -> bool:
        """Inbound thread."""
        return self._half_open.admits(list(self._destination.links), time.monotonic())

    def _inbound_link(self, rns: seam.Link) -> None:
        """Somebody set up a link to us. Reticulum's inbound thread."""
        with self._host.lock:
            if self._host.stopping or not self._make_room():
                self._host.submit(rns.teardown)
                return
            link = self.add_link(rns, None)
        seam.attach(rns, link)
        open_channel(rns, at_border(link.channel_message))
        way = link_way(rns, None)
        with self._host.lock:
            link.bring_up(*way)
        self._host.wake()

    def _make_room(self) -> bool:
        """As `RnsTransport._make_room`: a stranger's link makes room, the oldest of them."""
        inbound = [link for link in self._links if link.inbound]
        if len(inbound) < EDGE_LINKS_MAX:
            return True
        self._host.drop(DropReason.TOO_MANY_LINKS)
        strangers = [link for link in inbound if not link.is_permitted()]
        if not strangers:
            return False
        oldest = min(strangers, key=lambda link: (link.address is not None, link.born_s))
        oldest.go_down(DownReason.TOO_MANY_LINKS)
        return True

    def permitted(self) -> frozenset[Address]:
        """The verified registry nodes. Lock held."""
        return self._permitted

    def edge_up(self, link: EdgeLink) -> None:
        """Send what waits for it. Lock held."""
        queue = self._queues.get(link.address) if link.address is not None else None
        if link.address is not None and queue is not None:
            self._start_next(link.address, queue)

    def edge_identified(self, link: EdgeLink) -> None:
        """Who dials before its announce was verified may have announced earlier. Lock held."""
        address = link.address
        assert address is not None
        same = [each for each in self._links if each.inbound and each.address == address]
        if len(same) > INBOUND_LINKS_PER_IDENTITY_MAX:
            self._host.drop(DropReason.TOO_MANY_LINKS)
            min(same, key=lambda each: each.heard_s).go_down(DownReason.TOO_MANY_LINKS)
        if address not in self._permitted:
            self._host.submit(lambda: self._recall(address))
        self.edge_up(link)

    def _recall(self, address: Address) -> None:
        """No lock held."""
        destination = seam.destination_hash(address, seam.EDGE_ASPECTS)
        identity, app_data = seam.recall(destination), seam.recall_app_data(destination)
        if identity is not None and app_data:
            self._received(destination, identity, app_data)

    def edge_gone(self, link: EdgeLink, reason: DownReason) -> None:
        """Forget a link; what was under way on it goes another way. Lock held."""
        if link in self._links:
            self._links.remove(link)
        self._dialer.link_gone(link)
        for address, queue in self._queues.items():
            if queue.sending is not None and queue.sending.link is link:
                self._failed(address, queue, queue.sending)

    # Announces.

    def _announce_next(self, now: float) -> None:
        """One announce at a time on each interface that has not got it. No lock held."""
        with self._host.lock:
            app_data = self._app_data
            if app_data is None or now < self._host.next_announce_s:
                return
        if seam.is_shared_client() and has_radio():
            # The rnsd would send it by radio, and only it could be told not to.
            with self._host.lock:
                self._app_data = None
                self._host.drop(DropReason.EDGE_RADIO)
            return
        online = {id(each): each for each in seam.interfaces() if each.online}
        with self._host.lock:
            if now >= self._all_again_s:
                self._announced_on.clear()
                self._all_again_s = now + ANNOUNCE_AGAIN_S
            fresh = [each for key, each in online.items() if key not in self._announced_on]
            self._announced_on = online
            if fresh:
                self._host.next_announce_s = now + ANNOUNCE_SPACING_S
        seam.set_app_data(self._destination, app_data)
        for interface in fresh:
            if medium_of(type(interface).__name__, interface.bitrate) != "radio":
                self._host.submit(partial(self._announce_on, interface, app_data))

    def _announce_on(self, interface: seam.Interface, app_data: bytes) -> None:
        self._destination.announce(app_data=app_data, attached_interface=interface)

    def received_announce(
        self, destination_hash: bytes, announced_identity: Any, app_data: bytes | None
    ) -> None:
        """Reticulum heard and checked an announce of `ciris.edge`. A thread for each.

        Registry nodes also announce without app_data: the path counts, there is nothing to read.
        """
        if app_data:
            at_border(self._received)(destination_hash, announced_identity, app_data)

    def _received(self, destination: bytes, identity: seam.Identity, app_data: bytes) -> None:
        address = Address(identity.hash)
        if address == self._own_address:
            return
        heard = EdgeHeard(address, identity.get_public_key(), app_data, seam.hops_to(destination))
        with self._host.lock:
            if len(app_data) > APP_DATA_BYTES_MAX:
                self._host.drop(DropReason.ANNOUNCE_UNREADABLE)
                return
            now, last_s = time.monotonic(), self._heard_s.get(address, float("-inf"))
            if now - last_s < HEARD_SPACING_S or self._waiting >= ANNOUNCES_WAITING_MAX:
                self._host.drop(DropReason.ANNOUNCE_FLOOD)
                return
            self._heard_s[address] = now
            self._heard_s.move_to_end(address)
            if len(self._heard_s) > HEARD_ADDRESSES_MAX:
                self._heard_s.popitem(last=False)
            self._waiting += 1
            self._host.pump.put(heard, then=self._taken)

    def _taken(self) -> None:
        with self._host.lock:
            self._waiting -= 1


def _names(_kind: EnvelopeKind | None) -> tuple[tuple[str, ...], ...]:
    return (seam.EDGE_ASPECTS,)
