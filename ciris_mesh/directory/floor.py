"""A lower bound of the time, for a node whose clock nobody vouches for."""

from __future__ import annotations

from collections.abc import Callable


class TimeFloor:
    """Only ever rises. Not thread-safe: the owner holds a lock.

    Attributes:
        ms: a time that has passed, as signed records show, Unix milliseconds; 0 when none does.
    """

    def __init__(self) -> None:
        self.ms = 0
        self._is_doubted: Callable[[], bool] = lambda: False

    def doubt(self, is_doubted: Callable[[], bool]) -> None:
        """Ask `is_doubted` whether nobody vouches for the clock."""
        self._is_doubted = is_doubted

    def plausible(self, now_ms: int, shown_ms: Callable[[], int]) -> int:
        """`now_ms`, or while that is in doubt at least what signed records leave no doubt of.

        Args:
            shown_ms: the latest time that two rooted keys signed, asked only then.
        """
        if not self._is_doubted():
            return now_ms
        self.ms = max(self.ms, shown_ms())
        return max(now_ms, self.ms)
