"""The sending half of a link: one frame under way at a time, retried while that makes sense.

    waiting --start--> under way --acknowledged--> (next)
                          |  ^
             busy, lost   v  | its time came
                        resting --too often--> stalled

Stop-and-wait keeps the order although both carriers report on their own threads, and it is what
a half-duplex channel wants anyway. Pure bookkeeping: no lock, thread or clock; the caller holds
its lock around every call and passes the monotonic time in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import BackPressure
from ciris_mesh.transport.limits import SEND_QUEUE_BYTES_MAX, SEND_QUEUE_FRAMES_MAX

#: Packets per small frame: Reticulum never repeats a request itself. At 10 % frame loss, three
#: fail together once in a hundred.
ATTEMPTS_MAX: Final = 3

#: Answers "busy" per frame before the link counts as stalled; with the rests below 20 s.
BUSY_MAX: Final = 8
BUSY_REST_S: Final = 0.25
BUSY_REST_MAX_S: Final = 4.0

#: Times a Resource may be turned away. The other side says no in the same way when it has no room
#: now and when it will never take it, but in the latter case it closes the link meanwhile.
REJECTED_MAX: Final = 4
REJECTED_REST_S: Final = 3.0


@dataclass(eq=False, slots=True)
class Sending:
    """The frame under way.

    Attributes:
        sequence: which small frame it is; meaningless for a Resource.
        attempt: times it was handed to the carrier.
        deadline: when a small frame counts as lost, Reticulum's own report failing.
        resume_at: when to hand it over again; None while it is under way.
        identify_first: the other side did not learn who we are.
        offered_s: when it was offered as a Resource of which nothing was taken yet.
        progress_s: when a part last moved.
    """

    frame: bytes
    sequence: int
    attempt: int = 0
    busy: int = 0
    rejected: int = 0
    deadline: float | None = None
    resume_at: float | None = None
    identify_first: bool = False
    offered_s: float | None = None
    progress_s: float = 0.0


class Outbox:
    """Frames of one link on their way out.

    Args:
        sequences: small frames are numbered modulo this.
    """

    def __init__(self, *, sequences: int) -> None:
        self._sequences = sequences
        self._sequence = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self.sending: Sending | None = None

    def __repr__(self) -> str:
        state = "idle"
        if (sending := self.sending) is not None:
            state = f"sending {len(sending.frame)} bytes, attempt {sending.attempt}"
        return f"<Outbox {state}, {len(self._waiting)} waiting>"

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and nothing waits."""
        return self.sending is None and not self._waiting

    def put(self, frame: bytes) -> None:
        """Queue a frame.

        Raises:
            BackPressure: too many frames or bytes wait already.
        """
        if len(self._waiting) >= SEND_QUEUE_FRAMES_MAX:
            raise BackPressure(f"{len(self._waiting)} frames wait to be sent")
        if self._waiting and self._waiting_bytes + len(frame) > SEND_QUEUE_BYTES_MAX:
            raise BackPressure(f"{self._waiting_bytes} bytes wait to be sent")
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)

    def start(self, now: float) -> Sending | None:
        """Take the next frame if none is under way; None when there is nothing to hand over."""
        if self.sending is not None or not self._waiting:
            return None
        frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame)
        self.sending = Sending(frame, self._sequence, attempt=1, progress_s=now)
        return self.sending

    def take_more(self, room_bytes: int) -> bytes | None:
        """The next frame, to travel with that under way in the same packet; None: none that fits.

        Acknowledged with it.
        """
        if not self._waiting or len(self._waiting[0]) > room_bytes:
            return None
        frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame)
        return frame

    def acknowledged(self, *, small: bool) -> None:
        """The frame under way arrived."""
        assert self.sending is not None
        if small:
            self._sequence = (self._sequence + 1) % self._sequences
        self.sending = None

    def lost(self, now: float) -> bool:
        """A packet or its answer was lost; False when it is time to give up."""
        assert self.sending is not None
        if self.sending.attempt >= ATTEMPTS_MAX:
            return False
        self.sending.resume_at = now
        return True

    def busy(self, now: float) -> bool:
        """The other side has no room for a small frame now; False when it is time to give up."""
        assert self.sending is not None
        self.sending.busy += 1
        if self.sending.busy > BUSY_MAX:
            return False
        rest_s = min(BUSY_REST_S * 2 ** (self.sending.busy - 1), BUSY_REST_MAX_S)
        self.sending.resume_at = now + rest_s
        return True

    def rejected(self, now: float) -> bool:
        """The other side did not take a Resource; False when it is time to give up."""
        assert self.sending is not None
        self.sending.rejected += 1
        if self.sending.rejected > REJECTED_MAX:
            return False
        self.sending.resume_at = now + REJECTED_REST_S * self.sending.rejected
        return True

    def resume(self, now: float) -> Sending | None:
        """The resting frame when its time came, to be handed over again."""
        sending = self.sending
        if sending is None or sending.resume_at is None or now < sending.resume_at:
            return None
        sending.resume_at = None
        sending.deadline = None
        sending.attempt += 1
        sending.progress_s = now
        return sending

    def clear(self) -> None:
        """The link is down: forget everything."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self.sending = None
