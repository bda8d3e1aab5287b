"""What the parts of a Reticulum transport share: lock, counters, budget, threads.

One lock guards all state of one transport. It is held for a few dictionary steps at a time and
never while Reticulum or the sink is called: Reticulum calls back on whatever thread it likes,
also from inside its own functions.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from ciris_mesh.transport.base import Address
from ciris_mesh.transport.inbox import ByteBudget
from ciris_mesh.transport.limits import REASSEMBLY_BYTES_MAX
from ciris_mesh.transport.reasons import DropReason
from ciris_mesh.transport.threads import EventPump, Job, WorkerPool

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class Host:
    """Shared by the links, the dialer and the announcer of one transport."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # guards everything of this transport but the threads' queues
        self.pump = EventPump()
        self.pool = WorkerPool()
        self.budget = ByteBudget(REASSEMBLY_BYTES_MAX)
        self.permitted: frozenset[Address] = frozenset()
        self.rx_bytes = 0
        self.tx_bytes = 0
        self.next_announce_s = 0.0  # monotonic; announces of all our destinations are spaced
        self.stopping = False
        self._dropped: Counter[str] = Counter()
        self._wake: Callable[[], None] = lambda: None

    def on_wake(self, wake: Callable[[], None]) -> None:
        """Set what `wake` does."""
        self._wake = wake

    def wake(self) -> None:
        """Have the timer look at once: something now has a deadline."""
        self._wake()

    def drop(self, reason: DropReason) -> None:
        """Count something turned away. Lock held."""
        assert self.lock.locked()
        self._dropped[reason] += 1

    def dropped(self) -> Mapping[str, int]:
        """What was turned away so far. Lock held."""
        return dict(self._dropped)

    def submit(self, job: Job) -> None:
        """Run a job that may block."""
        self.pool.submit(job)


def at_border(callback: Callable[P, R]) -> Callable[P, R | None]:
    """Log what goes wrong in a callback instead of throwing it into Reticulum's thread."""

    @wraps(callback)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return callback(*args, **kwargs)
        except Exception:
            log.exception("a Reticulum callback failed")
            return None

    return guarded
