"""One place where everything turned away is counted and, at a bounded rate, said aloud."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Final

logger = logging.getLogger(__name__)

#: Distinct reasons kept. Reasons are a closed set of a few dozen; this only stops a bug.
REASONS_MAX: Final = 256


class DropCounter:
    """Stable reason -> how often. A reason is logged the 1st, 2nd, 4th, 8th ... time it happens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the counter
        self._counts: Counter[str] = Counter()

    def count(self, reason: str, detail: str = "") -> None:
        """Note one drop. `detail` goes to the log only."""
        with self._lock:
            if reason not in self._counts and len(self._counts) >= REASONS_MAX:
                reason = "other"
            self._counts[reason] += 1
            times = self._counts[reason]
        if times & (times - 1) == 0:
            logger.warning("dropped reason=%s times=%d %s", reason, times, detail)

    def snapshot(self) -> dict[str, int]:
        """All counts."""
        with self._lock:
            return dict(self._counts)
