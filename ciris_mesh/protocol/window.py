"""How much happened within the last hour, exactly enough and in bounded memory. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Final

HOUR_S: Final = 3_600.0
#: What the law counts is seconds; whole microseconds add up without rounding.
US: Final = 1_000_000


def to_us(seconds: float) -> int:
    """Whole microseconds, rounded up.

    Raises:
        ValueError: negative, or no number.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{seconds} s is no length of time")
    return math.ceil(seconds * US)


def to_s(us: int) -> float:
    """Seconds of so many microseconds."""
    return us / US


class SlidingSum:
    """A sum over a window that slides with the clock, not from one fixed hour to the next.

    What ends within one slot is kept as one entry and counted until an hour after that slot's end:
    up to `slot_s` too long and never too short. So there are at most an hour's slots and one more,
    whatever is added.

    Args:
        slot_s: how finely; memory grows as it shrinks.
    """

    def __init__(self, slot_s: float) -> None:
        self._slot_s = slot_s
        self._slots: deque[tuple[int, int]] = deque()  # (number of the slot, microseconds in it)
        self._total_us = 0

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, amount_us: int, end_s: float) -> None:
        """Count something that ended at `end_s`; calls come in the order of time."""
        number = int(end_s // self._slot_s)
        if self._slots and self._slots[-1][0] >= number:  # the later end counts for both
            number, before_us = self._slots.pop()
            self._slots.append((number, before_us + amount_us))
        elif amount_us:
            self._slots.append((number, amount_us))
        self._total_us += amount_us

    def take_back(self, amount_us: int) -> int:
        """Take out up to so much of what was added last. Returns how much it was."""
        left_us = amount_us
        while self._slots and left_us > 0:
            number, there_us = self._slots.pop()
            if there_us > left_us:
                self._slots.append((number, there_us - left_us))
            left_us -= min(there_us, left_us)
        self._total_us -= amount_us - left_us
        return amount_us - left_us

    def total_us(self, now_s: float) -> int:
        """The sum over the hour that ends now."""
        while self._slots and self._expiry_s(self._slots[0][0]) <= now_s:
            self._total_us -= self._slots.popleft()[1]
        return self._total_us

    def expiries(self) -> Iterator[tuple[float, int]]:
        """When how much will leave the window: (seconds of the clock, microseconds), in order."""
        return ((self._expiry_s(number), amount_us) for number, amount_us in self._slots)

    def _expiry_s(self, number: int) -> float:
        return (number + 1) * self._slot_s + HOUR_S
