"""The receiving half of a link: frames in the order they were sent, within a budget of bytes.

Reticulum calls back on a thread per small frame and on another per Resource, so what was sent
first may be reported last. The sender has one frame under way at a time, which leaves one race:
a Resource is acknowledged before its bytes are reported, and the frame after it can overtake. So
every frame gets a slot when it is announced, on Reticulum's single inbound thread, and frames
leave from the front:

    slots:  [ Resource, still being put together ] [ small frame ] [ small frame ]
              ^ nothing leaves until this is filled

Pure bookkeeping: no lock, thread or clock. The caller holds its lock around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ciris_mesh.transport.limits import REASSEMBLY_BYTES_PER_LINK_MAX

#: Frames of one link that wait for their turn or for the handler; as many as a sender may queue.
INBOX_FRAMES_MAX: Final = 64

#: Resources of one link not reported yet. Only the newest can still be in transfer; the others
#: are complete and wait for their thread to run.
UNFILLED_SLOTS_MAX: Final = 4


class ByteBudget:
    """Bytes that all links of a transport may hold together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0

    def reserve(self, size_bytes: int) -> bool:
        """Set bytes aside; False, and nothing is, when there are not enough."""
        if self.used_bytes + size_bytes > self._limit_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Give reserved bytes back."""
        self.used_bytes -= size_bytes
        assert self.used_bytes >= 0


class Taken(Enum):
    """What became of a small frame."""

    QUEUED = "queued"
    DUPLICATE = "duplicate"  # its acknowledgement was lost; acknowledge it again
    BUSY = "busy"  # no room now
    OUT_OF_ORDER = "out of order"  # no frame of a well-behaved sender


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one frame in the order.

    Attributes:
        size_bytes: what is reserved for it.
        segment_key: the hash of the segment agreed to last.
        next_segment, segments: of a Resource sent in several; segments count from 1.
    """

    size_bytes: int
    frame: bytes | None = None
    segment_key: bytes = b""
    next_segment: int = 2
    segments: int = 1


class Inbox:
    """Slots of one link.

    Args:
        deliver: called with each frame in order; `delivered` must follow once it was handed on.
        budget: of all links together; this one takes no more than `share_bytes` of it.
        sequences: small frames are numbered modulo this.
        slack_bytes: how much a Resource may differ from the size it was offered with.
    """

    def __init__(
        self,
        deliver: Callable[[bytes], None],
        budget: ByteBudget,
        *,
        sequences: int,
        share_bytes: int = REASSEMBLY_BYTES_PER_LINK_MAX,
        slack_bytes: int = 0,
    ) -> None:
        self._deliver = deliver
        self._budget = budget
        self._share = ByteBudget(share_bytes)
        self._sequences = sequences
        self._slack_bytes = slack_bytes
        self._expected = 0
        self._last: int | None = None
        self._slots: deque[Slot] = deque()
        self._unfilled: dict[bytes, Slot] = {}
        self._handed_out: deque[int] = deque()
        self.received = 0

    @property
    def is_waiting(self) -> bool:
        """A Resource is announced and not here yet."""
        return bool(self._unfilled)

    def take_small(self, sequence: int, frame: bytes) -> Taken:
        """Take a frame that came in one packet."""
        if sequence == self._last:
            return Taken.DUPLICATE
        if sequence != self._expected:
            return Taken.OUT_OF_ORDER
        if self._is_full() or not self._reserve(len(frame)):
            return Taken.BUSY
        self._last = sequence
        self._expected = (sequence + 1) % self._sequences
        self.received += 1
        self._slots.append(Slot(len(frame), frame))
        self._drain()
        return Taken.QUEUED

    def take_next(self, frame: bytes) -> bool:
        """Take a whole frame of which the carrier knows that it is the next; False: no room."""
        if self._is_full() or not self._reserve(len(frame)):
            return False
        self.received += 1
        self._slots.append(Slot(len(frame), frame))
        self._drain()
        return True

    def hold(self, size_bytes: int) -> bool:
        """Set bytes aside for a frame that is being gathered elsewhere; False: no room."""
        return not self._is_full() and self._reserve(size_bytes)

    def let_go(self, size_bytes: int) -> None:
        """Give back what `hold` set aside."""
        self._release(size_bytes)

    def offer(self, key: bytes, segment_key: bytes, size_bytes: int, segments: int) -> bool:
        """Set a slot aside for a Resource; False when there is no room now."""
        if self._is_full() or len(self._unfilled) >= UNFILLED_SLOTS_MAX or key in self._unfilled:
            return False
        if not self._reserve(size_bytes):
            return False
        slot = Slot(size_bytes, segment_key=segment_key, segments=segments)
        self.received += 1
        self._slots.append(slot)
        self._unfilled[key] = slot
        return True

    def offer_segment(
        self, key: bytes, segment_key: bytes, segment: int, segments: int, size_bytes: int
    ) -> bool:
        """Agree to the next segment of a Resource that has a slot; False when it is not next."""
        slot = self._unfilled.get(key)
        if slot is None or slot.segments != segments or slot.size_bytes != size_bytes:
            return False
        if segment != slot.next_segment or segment > segments:
            return False
        slot.next_segment += 1
        slot.segment_key = segment_key
        return True

    def awaits(self, key: bytes, segment_key: bytes) -> bool:
        """Say whether that segment is the one agreed to last, and its Resource not here yet."""
        slot = self._unfilled.get(key)
        return slot is not None and slot.segment_key == segment_key

    def size_of(self, key: bytes) -> int | None:
        """The bytes set aside for a Resource; None when it has no slot."""
        slot = self._unfilled.get(key)
        return slot.size_bytes if slot else None

    def fill(self, key: bytes, frame: bytes) -> bool:
        """Put a Resource into its slot; False when it has none or is not what was agreed."""
        slot = self._unfilled.get(key)
        if slot is None or abs(len(frame) - slot.size_bytes) > self._slack_bytes:
            return False
        del self._unfilled[key]
        slot.frame = frame
        self._drain()
        return True

    def delivered(self) -> None:
        """The handler took the oldest frame that was handed out."""
        self._release(self._handed_out.popleft())

    def clear(self) -> list[bytes]:
        """The link is down: forget all slots. Returns the keys of Resources that never came."""
        for slot in self._slots:
            self._release(slot.size_bytes)
        self._slots.clear()
        unfilled = list(self._unfilled)
        self._unfilled.clear()
        return unfilled

    def _reserve(self, size_bytes: int) -> bool:
        if not self._share.reserve(size_bytes):
            return False
        if not self._budget.reserve(size_bytes):
            self._share.release(size_bytes)
            return False
        return True

    def _release(self, size_bytes: int) -> None:
        self._share.release(size_bytes)
        self._budget.release(size_bytes)

    def _is_full(self) -> bool:
        return len(self._slots) + len(self._handed_out) >= INBOX_FRAMES_MAX

    def _drain(self) -> None:
        while self._slots and self._slots[0].frame is not None:
            slot = self._slots.popleft()
            assert slot.frame is not None
            self._handed_out.append(slot.size_bytes)
            self._deliver(slot.frame)
