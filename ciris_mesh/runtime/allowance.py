"""What work one peer may cause here, measured in processor time, so that none takes all of it.

Sketches are cheap to send and dear to read, and so are batches that bring nothing: a few hundred
bytes may keep a core busy for a tenth of a second. Each of the two has an allowance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: Of a second, what one peer may cause on average: a tenth of a core.
ANSWERING_SHARE: Final = 0.1
#: And at once: the costliest exchange there can be takes 6 s on a desk machine.
ANSWERING_BURST_S: Final = 10.0
#: What an exchange is taken to cost beside its work (a timer, a round, an answer): with the share
#: above, a peer may open ten a second for ever, and a thousand at once.
OPENING_COST_S: Final = 0.01


class Allowance:
    """Seconds of work one peer may cause: refilled at a rate, spent as they are used.

    Touched only on the peer's strand.

    Args:
        clock: monotonic seconds.
        work_s: processor seconds of the calling thread. Not the clock: waiting for the disk or for
            another thread is no work of this peer's.
    """

    def __init__(
        self, clock: Callable[[], float], work_s: Callable[[], float] = time.thread_time
    ) -> None:
        self._clock = clock
        self.work_s = work_s
        self._left_s = ANSWERING_BURST_S
        self._at_s = clock()

    @property
    def left_s(self) -> float:
        """What was left when last looked at, without what time has refilled since."""
        return self._left_s

    def is_open(self) -> bool:
        """False while the peer has to wait."""
        now_s = self._clock()
        refill_s = (now_s - self._at_s) * ANSWERING_SHARE
        self._left_s = min(ANSWERING_BURST_S, self._left_s + refill_s)
        self._at_s = now_s
        return self._left_s > 0

    def spend(self, seconds: float) -> None:
        """So long the work took. What is under way is finished, also beyond the allowance."""
        self._left_s -= seconds

    @contextmanager
    def working(self) -> Iterator[None]:
        """Spend what this takes."""
        begun_s = self.work_s()
        try:
            yield
        finally:
            self.spend(self.work_s() - begun_s)
