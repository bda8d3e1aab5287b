"""Time that passes when told: a clock, a timer and a pool that need no thread and no waiting."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Hashable

from ciris_mesh.errors import BackPressure
from ciris_mesh.runtime.worker import Task, Timer, WorkerPool


class VirtualTimer(Timer):
    """Calls what is due from within `advance` and `jump`."""

    def __init__(self, start_s: float = 1000.0) -> None:
        super().__init__(lambda: self.now_s)
        self.now_s = start_s
        self._set: list[tuple[float, int, Task]] = []
        self._number = itertools.count()

    def __len__(self) -> int:
        return len(self._set)

    def clock(self) -> float:
        return self.now_s

    def start(self) -> None:
        pass

    def stop(self, timeout_s: float = 5.0) -> None:
        self._set.clear()

    def at(self, due_s: float, function: Task) -> None:
        heapq.heappush(self._set, (due_s, next(self._number), function))

    def after(self, delay_s: float, function: Task) -> None:
        self.at(self.now_s + delay_s, function)

    def advance(self, seconds: float) -> None:
        """Let time pass evenly: every function sees the time it was set for."""
        end_s = self.now_s + seconds
        while self._set and self._set[0][0] <= end_s:
            due_s, _, function = heapq.heappop(self._set)
            self.now_s = max(self.now_s, due_s)
            function()
        self.now_s = end_s

    def jump(self, seconds: float) -> None:
        """Let time pass at once, as for a process that was stopped: all that is due is late."""
        self.now_s += seconds
        self.advance(0.0)


class InlinePool(WorkerPool):
    """Runs tasks on the calling thread, each after the one that runs.

    `refuse` tasks are turned away as a full strand turns them away.
    """

    def __init__(self) -> None:
        super().__init__(threads=0)
        self.refuse = 0
        self._tasks: deque[Task] = deque()
        self._busy = False

    def submit(self, strand: Hashable, task: Task) -> None:
        if self.refuse:
            self.refuse -= 1
            raise BackPressure(f"strand {strand!r} is full")
        self._tasks.append(task)
        if self._busy:
            return
        self._busy = True
        try:
            while self._tasks:
                self._tasks.popleft()()
        finally:
            self._busy = False


class LeapClock:
    """The system's monotonic clock, and what it was told to leap. For nodes with real threads.

    Real transports stamp progress with real time, which then only looks older: right for tests
    of silence.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._wakes: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return time.monotonic() + self._ahead_s

    def wakes(self, timer: Timer) -> None:
        """A timer that sleeps until a time must be told that the time has come."""
        self._wakes.append(lambda: timer.after(0.0, lambda: None))

    def leap(self, seconds: float) -> None:
        self._ahead_s += seconds
        for wake in self._wakes:
            wake()
