"""Events by the time they are due, waited for by one thread."""

from __future__ import annotations

import heapq
import threading
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ciris_mesh.transport.base import TransportEvent

T = TypeVar("T")


@dataclass(order=True, slots=True)
class Due(Generic[T]):
    """An event and when it is due; equal times keep the order of their tickets.

    Attributes:
        at: monotonic seconds.
        about: whom it concerns, for the caller.
    """

    at: float
    ticket: int
    event: TransportEvent = field(compare=False)
    about: T | None = field(compare=False)


class Agenda(Generic[T]):
    """A heap of events. All methods run with the given lock held; `next` waits without it."""

    def __init__(self, lock: threading.Lock) -> None:
        self._wakeup = threading.Condition(lock)
        self._heap: list[Due[T]] = []
        self._finishing = False

    def put(self, due: Due[T]) -> None:
        """Add an event."""
        heapq.heappush(self._heap, due)
        self._wakeup.notify()

    def finish(self) -> None:
        """Wait for nothing any more: what is left comes at once, then None."""
        self._finishing = True
        self._wakeup.notify()

    def next(self) -> Due[T] | None:
        """Wait for the next event that is due; None when finished."""
        while True:
            if not self._heap:
                if self._finishing:
                    return None
                self._wakeup.wait()
                continue
            wait_s = self._heap[0].at - time.monotonic()
            if wait_s <= 0 or self._finishing:
                return heapq.heappop(self._heap)
            self._wakeup.wait(wait_s)
