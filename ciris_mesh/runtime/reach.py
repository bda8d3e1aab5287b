"""How well one peer could be reached lately, medium by medium: evidence, not a guess.

Counted are dials of this node and what became of them, and links that the peer opened. A dial that
found no way is counted for the medium of the last link, since nobody knows which one it would have
been. Who was never dialled is unknown, which is not the same as unreachable.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

#: A day holds every habit a link has: the sun on a panel, the evening's traffic.
WINDOW_S: Final = 86_400.0
#: Evidence leaves the window an hour at a time: 25 counts a medium are all that is kept.
_SLOT_S: Final = 3_600.0

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class MediumReach:
    """What the last day showed of one medium.

    Attributes:
        dialled: dials from here that ended; answered: those of them that reached the peer.
        came_in: links the peer opened, and said who it is.
        share: answered / dialled; None when nothing was dialled: unknown, not zero.
        last_s: seconds since the peer was last reached over it, either way; None when it was not.
    """

    medium: str
    dialled: int
    answered: int
    came_in: int
    share: float | None
    last_s: float | None


class Reach:
    """The evidence about one peer. Thread-safe; times are monotonic seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._counts: dict[tuple[str, int], list[int]] = {}  # (medium, slot): the three counts
        self._reached_s: dict[str, float] = {}
        self._medium = UNKNOWN

    def answered(self, medium: str, now_s: float) -> None:
        """A dial from here reached the peer."""
        with self._lock:
            self._count(medium, now_s, dialled=1, answered=1)
            self._reached_s[medium] = now_s
            self._medium = medium

    def came_in(self, medium: str, now_s: float) -> None:
        """The peer opened a link."""
        with self._lock:
            self._count(medium, now_s, came_in=1)
            self._reached_s[medium] = now_s
            self._medium = medium

    def failed(self, now_s: float, medium: str = "") -> None:
        """A dial from here did not reach the peer."""
        with self._lock:
            self._count(medium or self._medium, now_s, dialled=1)

    def was_reached(self) -> bool:
        """Ever, either way."""
        with self._lock:
            return bool(self._reached_s)

    def rows(self, now_s: float) -> tuple[MediumReach, ...]:
        """One for each medium of which the window shows anything."""
        with self._lock:
            self._forget(now_s)
            sums: dict[str, list[int]] = {}
            for (medium, _), counts in self._counts.items():
                total = sums.setdefault(medium, [0, 0, 0])
                total[:] = map(sum, zip(total, counts, strict=True))
            return tuple(self._row(medium, sums[medium], now_s) for medium in sorted(sums))

    def _row(self, medium: str, counts: list[int], now_s: float) -> MediumReach:
        dialled, answered, came_in = counts
        reached_s = self._reached_s.get(medium)
        return MediumReach(
            medium=medium,
            dialled=dialled,
            answered=answered,
            came_in=came_in,
            share=round(answered / dialled, 3) if dialled else None,
            last_s=None if reached_s is None else round(now_s - reached_s, 1),
        )

    def _count(
        self, medium: str, now_s: float, *, dialled: int = 0, answered: int = 0, came_in: int = 0
    ) -> None:
        self._forget(now_s)
        counts = self._counts.setdefault((medium, int(now_s // _SLOT_S)), [0, 0, 0])
        counts[0] += dialled
        counts[1] += answered
        counts[2] += came_in

    def _forget(self, now_s: float) -> None:
        oldest = int((now_s - WINDOW_S) // _SLOT_S)
        for key in [key for key in self._counts if key[1] <= oldest]:
            del self._counts[key]
