"""Paced packets: how frames travel where bytes are dear. Pure bookkeeping of one link.

One frame, or some small ones in one packet, is under way at a time in each direction. What has
arrived is said with the next packet that goes the other way, so question and answer are two packets
in all. A frame that does not fit one packet is sealed once and cut into parts; the receiver says
which it lacks, and nothing else is sent again.

    part(s), the last of a window asks ------>            at most `window` are out at once
                                       <------ gaps       or an answer, which acknowledges
    what was missing, and further ones ------>

    silence: small frames go again, for parts it is asked what is there

A packet, before it is sealed (`sealing`; numbers are bytes, in network order):

    flags   80 acknowledges, 40 asks, 20 say who you are, 10 refused, 08 with gaps; 07: frames in it
    [seq]                   of the last frame that came whole, or of which parts are missing
    [next  bitmap(2)]       with gaps: the first part that is missing; which after it are there
    [seq]                   asks: of the frame
    [seq  (length(2) frame)...  frame]      the last frame goes to the end of the packet

A part, in the clear but for what it carries, before it gets its tag:

    seq   index, 80 when it asks   count, 80 with [seq] of the last frame that came   sealed bytes

seq is the low byte of a frame's number: both ends count all frames of a direction from 0.

No lock, thread or clock: the caller holds its lock around every call and passes time in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

ACK, ASK, IDENTIFY, REFUSED, GAPS = 0x80, 0x40, 0x20, 0x10, 0x08
_FRAMES: Final = 0x07

#: Flags, what has come with its gaps, number of the first frame. Without gaps it is three less.
HEAD_BYTES: Final = 6
#: Frames in one packet at most: what fits the three bits.
PACKED_MAX: Final = 7

#: With what it acknowledges.
PART_HEAD_BYTES: Final = 4
#: Parts of one frame at most. Some 60 kB; what is larger goes as a Resource.
PARTS_MAX: Final = 127
_ASKS = _ACKS = 0x80
#: Parts after the first missing one that an acknowledgement tells of.
_BITMAP_PARTS: Final = 16

_SEQUENCES: Final = 256
#: Numbers up to so far back are frames that came before; the others never were.
_PAST: Final = 128

#: Times that something is sent, or asked about, without an answer. At 10 % lost LoRa frames a
#: packet of two fails with its answer three times in ten, so five times in a row 2 in 1,000.
ATTEMPTS_MAX: Final = 5

#: Times that all of a frame goes again because its receiver says it has nothing of it any more: it
#: had no room, or a part was not what was sent. Who says so without an end would have us send
#: without an end, 4 kB for each of its packets.
RESTARTS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """What of a link's speed matters here.

    Attributes:
        window: parts that may be out at once.
        ack_delay_s: how long an acknowledgement waits for something to travel with.
        wait_s, byte_s: what was sent is asked about after the first and twice the second a byte.
    """

    window: int
    ack_delay_s: float
    wait_s: float
    byte_s: float


@dataclass(frozen=True, slots=True)
class Emission:
    """What to hand to Reticulum now.

    Attributes:
        packet: of the link; empty for none.
        parts: each without its tag; number: of the frame they are of.
        is_repeat: it went out before and nothing came back.
    """

    packet: bytes = b""
    parts: tuple[bytes, ...] = ()
    number: int = 0
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What a packet says.

    Attributes:
        sequence, frames: those it carries; the number is the first one's.
        is_acknowledged: what was under way has arrived.
    """

    sequence: int = 0
    frames: tuple[bytes, ...] = ()
    is_acknowledged: bool = False
    wants_identity: bool = False
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it came."""

    sequence: int
    index: int
    count: int
    asks: bool
    body: bytes
    acknowledges: int | None = None


@dataclass(slots=True)
class _Sending:
    """What is under way: a packet of small frames, or the parts of a large one.

    Attributes:
        most: parts that had arrived at best, since it last went again as a whole.
    """

    frames: tuple[bytes, ...] = ()
    parts: tuple[bytes, ...] = ()
    arrived: set[int] = field(default_factory=set)
    most: int = 0
    restarts: int = 0
    sent_up_to: int = 0
    due: bool = True
    asks: bool = False
    attempt: int = 0
    deadline_s: float | None = None


@dataclass(slots=True)
class _Gathering:
    """Parts of the frame that comes next."""

    count: int
    bodies: dict[int, bytes] = field(default_factory=dict)


class Paced:
    """Both directions of one link."""

    def __init__(self) -> None:
        self.number = 0  # of the first frame that is under way, or will be next
        self.expected = 0  # number of the frame that comes next
        self._sending: _Sending | None = None
        self._gathering: _Gathering | None = None
        self._ack_at_s: float | None = None
        self._wants = 0  # IDENTIFY or REFUSED, to be said with the next packet
        self._has_heard = False

    # -- sending ---------------------------------------------------------------------------------

    @property
    def is_sending(self) -> bool:
        """Something is under way that was not acknowledged."""
        return self._sending is not None

    @property
    def is_waiting(self) -> bool:
        """Something has a deadline, or parts of a frame are missing."""
        return self.is_sending or self._ack_at_s is not None or self.is_gathering

    @property
    def is_gathering(self) -> bool:
        """Some parts of a frame came, and not all."""
        return self._gathering is not None and bool(self._gathering.bodies)

    @property
    def has_heard(self) -> bool:
        """The other side said something on this link."""
        return self._has_heard

    def begin(self, frames: tuple[bytes, ...]) -> None:
        """Put frames under way that fit one packet together."""
        assert self._sending is None
        assert 0 < len(frames) <= PACKED_MAX
        self._sending = _Sending(frames=frames)

    def begin_parts(self, sealed: bytes, part_bytes: int) -> None:
        """Put a sealed frame under way, cut into parts of that size."""
        assert self._sending is None
        cut = tuple(sealed[at : at + part_bytes] for at in range(0, len(sealed), part_bytes))
        assert 0 < len(cut) <= PARTS_MAX
        self._sending = _Sending(parts=cut)

    def emit(self, now_s: float, speed: Speed) -> Emission | None:
        """What is to go out now; None for nothing. Call until it is None."""
        sending = self._sending
        if sending is not None and sending.due:
            return self._emit_sending(sending, now_s, speed)
        return Emission(self._packet()) if self.is_due(now_s) else None

    def is_due(self, now_s: float) -> bool:
        """Whether `emit` has something."""
        is_late = self._ack_at_s is not None and now_s >= self._ack_at_s
        return (self._sending is not None and self._sending.due) or is_late or bool(self._wants)

    def tick(self, now_s: float) -> bool:
        """Look at the deadline of what is under way; False when it is time to give up."""
        sending = self._sending
        if sending is None or sending.deadline_s is None or now_s < sending.deadline_s:
            return True
        if sending.attempt >= ATTEMPTS_MAX:
            return False
        sending.deadline_s = None
        sending.due = True
        sending.asks = bool(sending.parts)
        return True

    @property
    def may_go_again(self) -> bool:
        """Something is under way that was not sent too often yet."""
        return self._sending is not None and self._sending.attempt < ATTEMPTS_MAX

    def again(self) -> None:
        """Send what is under way once more: the other side did not know whose it was."""
        if self._sending is not None and self.may_go_again:
            self._sending.due, self._sending.asks, self._sending.sent_up_to = True, False, 0

    def _emit_sending(self, sending: _Sending, now_s: float, speed: Speed) -> Emission:
        sending.due = False
        sending.attempt += 1
        is_repeat = sending.attempt > 1
        parts: tuple[bytes, ...] = ()
        packet = b""
        if sending.parts and not sending.asks:
            parts = self._window(sending, speed.window)
            sending.asks = not parts  # all is there, it says, and not that it has the frame
        if not parts:
            packet = self._packet(sending)
        size_bytes = len(packet) + sum(map(len, parts))
        sending.deadline_s = now_s + speed.wait_s + 2 * size_bytes * speed.byte_s
        if sending.asks:
            sending.asks = False
        return Emission(packet, parts, self.number, is_repeat)

    def _window(self, sending: _Sending, window: int) -> tuple[bytes, ...]:
        """The next parts: those known to be missing, then those not sent yet. The last asks."""
        count = len(sending.parts)
        missing = [each for each in range(sending.sent_up_to) if each not in sending.arrived]
        fresh = range(sending.sent_up_to, count)
        chosen = [*missing, *fresh][:window]
        if not chosen:
            return ()
        sending.sent_up_to = max(sending.sent_up_to, chosen[-1] + 1)
        acks = self._ack_at_s is not None and self._gathering is None
        tail = self._state() if acks else b""
        self._ack_at_s = None if acks else self._ack_at_s
        heads = (
            bytes(
                (
                    self.number % _SEQUENCES,
                    index | (_ASKS if index == chosen[-1] else 0),
                    count | (_ACKS if acks else 0),
                )
            )
            + tail
            for index in chosen
        )
        return tuple(head + sending.parts[index] for head, index in zip(heads, chosen, strict=True))

    def _packet(self, sending: _Sending | None = None) -> bytes:
        """A packet with all there is to say: frames or a question, and what has come."""
        flags, body = self._wants, b""
        self._wants = 0
        if self._ack_at_s is not None:
            self._ack_at_s = None
            flags |= ACK
            body += self._state()
            flags |= GAPS if self._gathering is not None else 0
        if sending is not None and sending.asks:
            flags |= ASK
            body += bytes((self.number % _SEQUENCES,))
        elif sending is not None:
            flags |= len(sending.frames)
            *first, last = sending.frames
            packed = b"".join(len(each).to_bytes(2, "big") + each for each in first)
            body += bytes((self.number % _SEQUENCES,)) + packed + last
        return bytes((flags,)) + body

    def _state(self) -> bytes:
        if self._gathering is None:
            return bytes(((self.expected - 1) % _SEQUENCES,))
        there = self._gathering.bodies
        missing = next(each for each in range(PARTS_MAX + 1) if each not in there)
        bits = sum(1 << at for at in range(_BITMAP_PARTS) if missing + 1 + at in there)
        return bytes((self.expected % _SEQUENCES, missing)) + bits.to_bytes(2, "big")

    # -- hearing ---------------------------------------------------------------------------------

    def hear(self, packet: bytes, now_s: float) -> Heard | None:
        """Read a packet; None when it can't be read. Frames it carries are not taken yet."""
        try:
            return self._read(packet, now_s)
        except (IndexError, ValueError):
            return None

    def _read(self, packet: bytes, now_s: float) -> Heard:
        flags, rest = packet[0], packet[1:]
        acknowledged = False
        self._has_heard = True
        if flags & ACK:
            size = 4 if flags & GAPS else 1
            state, rest = rest[:size], rest[size:]
            if len(state) < size:
                raise ValueError("ends within what it acknowledges")
            acknowledged = self._acknowledge(state)
        if flags & ASK:
            asked, rest = rest[0], rest[1:]
            self._answer(asked, now_s)
        sequence = 0
        frames: tuple[bytes, ...] = ()
        if count := flags & _FRAMES:
            sequence, frames = rest[0], _unpack(rest[1:], count)
        return Heard(sequence, frames, acknowledged, bool(flags & IDENTIFY), bool(flags & REFUSED))

    def _acknowledge(self, state: bytes) -> bool:
        sending = self._sending
        if sending is None:
            return False
        if len(state) == 1:
            last = self.number + max(len(sending.frames), 1) - 1
            if state[0] != last % _SEQUENCES:
                return False
            self.number = last + 1
            self._sending = None
            return True
        if state[0] == self.number % _SEQUENCES and sending.parts:
            self._note_gaps(sending, state[1], int.from_bytes(state[2:], "big"))
        return False

    def _note_gaps(self, sending: _Sending, missing: int, bits: int) -> None:
        told = range(missing + 1, missing + 1 + _BITMAP_PARTS)
        there = {*range(missing)} | {each for at, each in enumerate(told) if bits >> at & 1}
        if there:  # of what is further on it says nothing; of nothing at all it says that
            there |= {each for each in sending.arrived if each >= told.stop}
        sending.arrived = {each for each in there if each < sending.sent_up_to}
        if not sending.arrived and sending.most and sending.restarts < RESTARTS_MAX:
            sending.restarts += 1
            sending.most = sending.attempt = 0
        elif len(sending.arrived) > sending.most:
            sending.most, sending.attempt = len(sending.arrived), 0
        elif sending.attempt >= ATTEMPTS_MAX:
            return  # it hears us and takes nothing: the deadline ends it
        sending.due, sending.asks = True, False

    def _answer(self, asked: int, now_s: float) -> None:
        """It is asked what of a frame is there: at once, and of none when none came."""
        if asked == self.expected % _SEQUENCES and self._gathering is None:
            self._gathering = _Gathering(0)
        self._ack_at_s = now_s

    def is_new(self, sequence: int) -> bool | None:
        """Say of a frame whether it is the next; False when it came before, None when neither."""
        ahead = (sequence - self.expected) % _SEQUENCES
        if ahead == 0:
            return True
        return False if ahead >= _SEQUENCES - _PAST else None

    def number_of(self, sequence: int) -> int:
        """The number of a frame of the other side, the nearest to what comes next; below 0 for one
        that never was.
        """
        return self.expected + (sequence - self.expected + _PAST) % _SEQUENCES - _PAST

    def took(self, now_s: float, speed: Speed) -> None:
        """The next frame was taken: say so soon, with something else if there is anything."""
        self.expected += 1
        self._gathering = None
        self._ack_at_s = now_s + speed.ack_delay_s

    def had(self, now_s: float) -> None:
        """A frame came again: our word that it came was lost, and what went with it."""
        self._ack_at_s = now_s
        if self._sending is not None and self._sending.frames and self._sending.deadline_s:
            self._sending.due = self._sending.attempt < ATTEMPTS_MAX

    def ask_identity(self) -> None:
        """A frame came of which nobody knows whose it is."""
        self._wants |= IDENTIFY

    def refuse(self) -> None:
        """What comes is more than may come; the link is about to close."""
        self._wants |= REFUSED

    def acknowledged_by(self, part: Part) -> bool:
        """Whether a part says that what was under way has arrived."""
        self._has_heard = True
        return part.acknowledges is not None and self._acknowledge(bytes((part.acknowledges,)))

    # -- parts -----------------------------------------------------------------------------------

    @property
    def gathered_count(self) -> int:
        """Parts of the frame that is being gathered, those missing included; 0 for none."""
        return self._gathering.count if self._gathering is not None else 0

    def gather(self, part: Part, now_s: float) -> bytes | None:
        """Put a part of the next frame by; returns the sealed frame when it was the last.

        Call `took` then, or `spoiled`.
        """
        gathering = self._gathering
        if gathering is None or gathering.count != part.count:
            gathering = self._gathering = _Gathering(part.count)
        gathering.bodies.setdefault(part.index, part.body)
        if len(gathering.bodies) == part.count:
            return b"".join(gathering.bodies[index] for index in range(part.count))
        if part.asks:
            self._ack_at_s = now_s
        return None

    def spoiled(self, now_s: float) -> None:
        """What was gathered is not what was sent: all of it again."""
        self._gathering = _Gathering(0)
        self._ack_at_s = now_s


def read_part(data: bytes) -> Part | None:
    """Read a part without its tag; None when it is none."""
    if len(data) < PART_HEAD_BYTES:
        return None
    sequence, index, count, after = data[:PART_HEAD_BYTES]
    acks = after if count & _ACKS else None
    count &= PARTS_MAX
    body = data[PART_HEAD_BYTES - (acks is None) :]
    if index & ~_ASKS >= count or not body:
        return None
    return Part(sequence, index & ~_ASKS, count, bool(index & _ASKS), body, acks)


def packed_bytes(frames: tuple[bytes, ...]) -> int:
    """What frames take in one packet, at most."""
    return HEAD_BYTES + sum(map(len, frames)) + 2 * (len(frames) - 1)


def _unpack(content: bytes, count: int) -> tuple[bytes, ...]:
    frames = []
    for _ in range(count - 1):
        size = int.from_bytes(content[:2], "big")
        frames.append(content[2 : 2 + size])
        content = content[2 + size :]
        if len(frames[-1]) < size:
            raise ValueError("ends within a frame")
    if not content:
        raise ValueError("a frame is empty")
    return (*frames, content)
