"""Paced packets on a Reticulum link: what `paced` decides, sent and heard.

Whatever is handed to Reticulum is handed over by one job at a time, so the last part of a window is
the last. A frame is sealed as a whole and unsealed as a whole, on the worker pool.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

from ciris_mesh.transport import carriers, patience
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.limits import FRAME_BYTES_MAX
from ciris_mesh.transport.medium import SLOW_MEDIA, is_local
from ciris_mesh.transport.outbox import Outbox, Sending
from ciris_mesh.transport.paced import (
    PACKED_MAX,
    Emission,
    Heard,
    Paced,
    Part,
    Speed,
    packed_bytes,
    read_part,
)
from ciris_mesh.transport.reasons import DownReason, DropReason
from ciris_mesh.transport.rns_host import Host
from ciris_mesh.transport.rns_intake import Intake
from ciris_mesh.transport.sealing import LinkSeal

log = logging.getLogger(__name__)


class PacedLink(Protocol):
    """What this carrier needs of the link it belongs to."""

    inbound: bool
    is_up: bool
    is_down: bool

    def go_down(self, reason: DownReason) -> None:
        """Close. Lock held."""
        ...

    def sent(self, sending: Sending) -> None:
        """A frame arrived. Lock held."""
        ...

    def introduce(self) -> None:
        """Tell the other end who we are, if we dialled it. Sends a packet."""
        ...


class PacedCarrier:
    """One link's. Methods run with the host's lock held unless they say not."""

    def __init__(
        self, host: Host, rns: seam.Link, link: PacedLink, outbox: Outbox, intake: Intake
    ) -> None:
        self._host = host
        self._rns = rns
        self._link = link
        self._outbox = outbox
        self._intake = intake
        self._paced = Paced()
        self._sending: Sending | None = None
        self._more: list[bytes] = []  # frames that travel with the one under way
        self._held_bytes = 0
        self._is_emitting = self._is_unsealing = self._is_introducing = False
        self._speed = Speed(1, 0.0, 0.0, 0.0)
        self._rtt_s = 0.0
        self._made_seal: LinkSeal | None = None

    def set_speed(self, rtt_s: float, medium: str) -> None:
        """Get to know the link. Before anything is sent.

        Args:
            medium: of the first hop. Where that is the slow one its bitrate counts; an rnsd between
                says nothing about it.
        """
        hop = self._rns.attached_interface
        is_own = hop is not None and not is_local(type(hop).__name__)
        bitrate_bps = hop.bitrate if hop is not None and is_own and medium in SLOW_MEDIA else None
        byte_s = patience.byte_s(rtt_s, bitrate_bps)
        self._rtt_s = rtt_s
        self._speed = Speed(
            window=patience.window_parts(carriers.PACKET_BYTES_MAX, byte_s),
            ack_delay_s=patience.ack_delay_s(rtt_s),
            wait_s=patience.ack_wait_s(rtt_s, 0, byte_s),
            byte_s=byte_s,
        )

    def _seal(self) -> LinkSeal | None:
        """None until the ends agreed on a key, and on a link that closes: Reticulum forgets it a
        moment before it says so. Lock held: two seals would number from 0, both.
        """
        key = None if self._made_seal is not None else seam.link_key(self._rns)
        if key is not None:
            self._made_seal = LinkSeal(key, is_initiator=self._rns.initiator)
        return self._made_seal

    @property
    def is_sending(self) -> bool:
        """A frame is under way by this carrier."""
        return self._sending is not None

    @property
    def is_waiting(self) -> bool:
        """Something has a deadline."""
        return self._paced.is_waiting

    @property
    def patience_s(self) -> float:
        """As long as the sender of a window takes to ask three times what came of it."""
        window_bytes = self._speed.window * carriers.PACKET_BYTES_MAX
        wait_s = patience.ack_wait_s(self._rtt_s, window_bytes, self._speed.byte_s)
        return patience.stall_s(self._rtt_s) + 3 * wait_s

    def is_stalled(self, now: float) -> bool:
        """A frame is missing parts, and nothing came for longer than its sender waits."""
        return self._paced.is_gathering and now - self._intake.arrived_s > self.patience_s

    def tick(self, now: float) -> None:
        """Look at the deadlines."""
        if not self._paced.tick(now):
            self._link.go_down(DownReason.STALLED)
        else:
            self._kick(now)

    def clear(self) -> None:
        """The link is down."""
        self._sending = None
        self._let_go()

    # Sending. Worker threads, no lock.

    def transmit(self, sending: Sending) -> None:
        """Put a frame under way, and further small ones that fit its packet."""
        room = carriers.PACKED_BYTES_MAX - packed_bytes((sending.frame,))
        sealed = b"" if room >= 0 else self._sealed(sending)
        with self._host.lock:
            if sealed is None or self._outbox.sending is not sending or self._link.is_down:
                return
            self._sending, self._more = sending, []
            if sealed:
                self._paced.begin_parts(sealed, carriers.PART_BYTES)
            else:
                self._paced.begin((sending.frame, *self._fill(room)))
            self._kick(time.monotonic())

    def _sealed(self, sending: Sending) -> bytes | None:
        """One frame is under way at a time, so the next number stays free until it begins; what is
        sealed and then not begun is never sent. None on a link that closes.
        """
        with self._host.lock:
            seal, number = self._seal(), self._paced.number
        return None if seal is None else seal.seal_frame(number, carriers.pack(sending.frame))

    def _fill(self, room: int) -> list[bytes]:
        """Lock held."""
        while len(self._more) + 1 < PACKED_MAX:
            more = self._outbox.take_more(room - 2)
            if more is None:
                break
            self._more.append(more)
            room -= 2 + len(more)
        return self._more

    def _kick(self, now: float) -> None:
        """Lock held."""
        if self._paced.is_due(now) and not self._is_emitting and not self._link.is_down:
            self._is_emitting = True
            self._host.submit(self._emit)

    def _emit(self) -> None:
        try:
            while (emission := self._next()) is not None:
                self._hand_over(emission)
        except Exception:  # Reticulum's, and whatever an interface raises
            if self._rns.status != seam.LINK_CLOSED:
                log.exception("a link cannot send")
            with self._host.lock:
                self._is_emitting = False
                self._link.go_down(DownReason.STALLED)
        self._host.wake()

    def _next(self) -> Emission | None:
        with self._host.lock:
            now = time.monotonic()
            emission = None if self._link.is_down else self._paced.emit(now, self._speed)
            if emission is None:
                self._is_emitting = False
            return emission

    def _hand_over(self, emission: Emission) -> None:
        if emission.is_repeat and not self._link.inbound and not self._paced.has_heard:
            # Not a word ever came: perhaps the other end waits for the end of the set-up.
            log.info("no word came on a link: the end of its set-up goes again")
            with self._host.lock:
                self._host.drop(DropReason.SET_UP_REPEATED)
            seam.repeat_set_up(self._rns)
            self._link.introduce()
        with self._host.lock:
            seal = self._seal()
        if seal is None:
            return
        if emission.packet:
            seam.send_packet(self._rns, seal.seal_packet(emission.packet))
        for part in emission.parts:
            seam.send_part(self._rns, seal.tag(emission.number, part))
        with self._host.lock:
            self._intake.progress_s = time.monotonic()

    # Hearing. The inbound thread, no lock.

    def packet(self, data: bytes) -> None:
        """A packet came, from whomever."""
        with self._host.lock:
            if not self._is_deaf():
                seal = self._seal()
                content = None if seal is None else seal.open_packet(data)
                if content is None:
                    self._host.drop(DropReason.PACKET_UNPROVEN)
                else:
                    self._heard(content, time.monotonic())
        self._host.wake()

    def _is_deaf(self) -> bool:
        return self._link.is_down or self._intake.closing is not None

    def _heard(self, content: bytes, now: float) -> None:
        heard = self._paced.hear(content, now)
        if heard is None:
            self._intake.misbehave(DropReason.FRAME_UNREADABLE)
            return
        self._intake.arrived(now)
        if heard.is_refused:
            self._link.go_down(DownReason.REFUSED)
            return
        if heard.is_acknowledged:
            self._acknowledged()
        if heard.wants_identity and not self._link.inbound:
            self._ask_to_introduce()
        self._take(heard, now)
        self._kick(now)

    def _acknowledged(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            self._host.tx_bytes += sum(map(len, self._more))
            self._link.sent(sending)

    def _ask_to_introduce(self) -> None:
        """One job at a time, and as often as a frame is sent: to ask costs next to nothing."""
        if self._paced.may_go_again and not self._is_introducing:
            self._is_introducing = True
            self._host.submit(self._introduce_again)

    def _introduce_again(self) -> None:
        """Worker thread, no lock."""
        try:
            self._link.introduce()
        finally:
            with self._host.lock:
                self._is_introducing = False
        with self._host.lock:
            self._paced.again()
            self._kick(time.monotonic())

    def _take(self, heard: Heard, now: float) -> None:
        for at, frame in enumerate(heard.frames):
            if not self._is_next(heard.sequence + at, now, asks=True):
                continue
            if not self._may_come(len(frame), now):
                return
            if not self._intake.inbox.take_next(frame):
                self._host.drop(DropReason.INBOUND_BUSY)
                return
            self._paced.took(now, self._speed)

    def _is_next(self, sequence: int, now: float, *, asks: bool) -> bool:
        is_new = self._paced.is_new(sequence)
        if is_new is None:
            self._intake.misbehave(DropReason.FRAME_UNREADABLE)
        elif not is_new and asks:
            self._paced.had(now)
        return bool(is_new)

    def _may_come(self, size_bytes: int, now: float) -> bool:
        """A frame that may not come is sent again by who doesn't know; who is refused is told."""
        if not self._link.is_up:
            return False
        if self._intake.address is None:
            self._host.drop(DropReason.LINK_NOT_READY)
            self._paced.ask_identity()
            return False
        if self._intake.asks_too_much(now, self._rtt_s) or self._intake.refuses(
            size_bytes, now, self._rtt_s
        ):
            self._paced.refuse()
            return False
        return True

    def part(self, data: bytes) -> None:
        """A part came, from whomever."""
        with self._host.lock:
            if not self._is_deaf():
                seal = self._seal()
                number = self._paced.number_of(data[0]) if data else -1
                content = None if seal is None else seal.untag(number, data)
                if content is None:
                    self._host.drop(DropReason.PACKET_UNPROVEN)
                else:
                    self._heard_part(read_part(content), time.monotonic())
        self._host.wake()

    def _heard_part(self, part: Part | None, now: float) -> None:
        if part is None:
            self._intake.misbehave(DropReason.FRAME_UNREADABLE)
            return
        self._intake.arrived(now)
        if self._paced.acknowledged_by(part):
            self._acknowledged()
        if self._is_next(part.sequence, now, asks=part.asks) and self._holds(part.count, now):
            sealed = self._paced.gather(part, now)
            if sealed is not None:
                self._is_unsealing = True
                number = self._paced.expected
                self._host.submit(lambda: self._unseal(number, sealed))
        self._kick(now)

    def _holds(self, count: int, now: float) -> bool:
        """Is there room for a frame of so many parts? Set aside with its first."""
        if self._is_unsealing:
            return False
        if self._paced.gathered_count == count:
            return True
        if not self._may_come((count - 1) * carriers.PART_BYTES, now):
            return False
        self._let_go()
        if not self._intake.inbox.hold(count * carriers.PART_BYTES):
            self._host.drop(DropReason.REASSEMBLY_FULL)
            return False
        self._held_bytes = count * carriers.PART_BYTES
        return True

    def _let_go(self) -> None:
        self._intake.inbox.let_go(self._held_bytes)
        self._held_bytes = 0

    def _unseal(self, number: int, sealed: bytes) -> None:
        """Worker thread, no lock."""
        seal = self._made_seal
        assert seal is not None, "it was needed to gather the parts"
        content = seal.open_frame(number, sealed)
        frame = None if content is None else carriers.unpack(content, FRAME_BYTES_MAX)
        with self._host.lock:
            self._is_unsealing = False
            if self._is_deaf():
                return
            now = time.monotonic()
            self._let_go()
            if frame is None or number != self._paced.expected:
                self._intake.misbehave(DropReason.FRAME_UNREADABLE)
                self._paced.spoiled(now)
            elif not self._intake.refuses(len(frame), now, self._rtt_s):
                self._fill_in(frame, now)
            else:
                self._paced.refuse()
            self._kick(now)
        self._host.wake()

    def _fill_in(self, frame: bytes, now: float) -> None:
        if self._intake.inbox.take_next(frame):
            self._paced.took(now, self._speed)
        else:
            self._host.drop(DropReason.INBOUND_BUSY)
            self._paced.spoiled(now)
