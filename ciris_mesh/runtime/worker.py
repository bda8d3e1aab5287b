"""The only place that makes threads for the runtime: a small pool of strands, and a timer.

A *strand* is a queue of tasks with one key. Tasks of one strand run in order, one at a time; tasks
of different strands run beside each other on the pool's few threads. Fifty peers with thirteen
kinds each are fifty strands, not 650 threads.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from ciris_mesh.errors import BackPressure, LifecycleError, ShutdownTimeout

logger = logging.getLogger(__name__)

Task = Callable[[], None]

#: Tasks waiting on one strand. A peer's frames wait here; eight of 512 KiB are all a peer may have
#: under way, the rest of the room is for timers.
STRAND_TASKS_MAX: Final = 64

#: What must not be lost and finds its strand full tries again after this: long enough for a task
#: to end.
STRAND_RETRY_S: Final = 0.1

#: Timers set at once. Two per peer (cadence, watchdog) and a few of the node's own.
TIMERS_MAX: Final = 65_536


class WorkerPool:
    """Runs strands on `threads` threads named "ciris-worker-<n>", from start() to stop()."""

    def __init__(self, threads: int = 4) -> None:
        self._changed = threading.Condition()  # guards the four fields below
        self._strands: dict[Hashable, deque[Task]] = {}
        self._ready: deque[Hashable] = deque()
        self._running: set[Hashable] = set()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"ciris-worker-{n}", daemon=True)
            for n in range(threads)
        ]

    def start(self) -> None:
        """Start the threads. Used once."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish the tasks that run, drop those that wait, end the threads. Idempotent.

        Raises:
            ShutdownTimeout: a task did not return in time.
        """
        with self._changed:
            self._stopping = True
            self._strands.clear()
            self._ready.clear()
            self._changed.notify_all()
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            _join(thread, deadline_s, timeout_s)

    def submit(self, strand: Hashable, task: Task) -> None:
        """Queue `task` behind the strand's other tasks.

        Raises:
            BackPressure: the strand already holds STRAND_TASKS_MAX tasks.
            LifecycleError: the pool was stopped.
        """
        with self._changed:
            if self._stopping:
                raise LifecycleError("the worker pool was stopped")
            tasks = self._strands.setdefault(strand, deque())
            if len(tasks) >= STRAND_TASKS_MAX:
                raise BackPressure(f"strand {strand!r} holds {STRAND_TASKS_MAX} tasks")
            tasks.append(task)
            if len(tasks) == 1 and strand not in self._running:
                self._ready.append(strand)
                self._changed.notify()

    def _run(self) -> None:
        while (claimed := self._claim()) is not None:
            strand, task = claimed
            try:
                task()
            except Exception:
                logger.exception("task.failed strand=%s", strand)
            finally:
                self._release(strand)

    def _claim(self) -> tuple[Hashable, Task] | None:
        with self._changed:
            while not self._ready and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            strand = self._ready.popleft()
            self._running.add(strand)
            return strand, self._strands[strand].popleft()

    def _release(self, strand: Hashable) -> None:
        with self._changed:
            self._running.discard(strand)
            if self._strands.get(strand):
                self._ready.append(strand)
                self._changed.notify()
            else:
                self._strands.pop(strand, None)


class Timer:
    """Calls functions at monotonic times, on one thread named "ciris-timer".

    The functions run on that thread and must return at once (submit to a strand, do not work).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()  # guards the three fields below
        self._due: list[tuple[float, int, Task]] = []
        self._ticket = itertools.count()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ciris-timer", daemon=True)

    def start(self) -> None:
        """Start the thread. Used once."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread; functions not due yet are never called. Idempotent.

        Raises:
            ShutdownTimeout: a function did not return in time.
        """
        with self._changed:
            self._stopping = True
            self._due.clear()
            self._changed.notify()
        _join(self._thread, time.monotonic() + timeout_s, timeout_s)

    def at(self, due_s: float, function: Task) -> None:
        """Call `function` at `due_s`, or at once when that is past. Ignored after stop().

        Raises:
            BackPressure: TIMERS_MAX are set already.
        """
        with self._changed:
            if self._stopping:
                return
            if len(self._due) >= TIMERS_MAX:
                raise BackPressure(f"{TIMERS_MAX} timers are set")
            heapq.heappush(self._due, (due_s, next(self._ticket), function))
            self._changed.notify()

    def after(self, delay_s: float, function: Task) -> None:
        """As `at`, `delay_s` from now."""
        self.at(self._clock() + delay_s, function)

    def _run(self) -> None:
        while (function := self._wait_for_due()) is not None:
            try:
                function()
            except Exception:
                logger.exception("timer.failed")

    def _wait_for_due(self) -> Task | None:
        with self._changed:
            while not self._stopping:
                now_s = self._clock()
                if self._due and self._due[0][0] <= now_s:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(self._due[0][0] - now_s if self._due else None)
            return None


def _join(thread: threading.Thread, deadline_s: float, timeout_s: float) -> None:
    if thread.ident is None or thread is threading.current_thread():
        return
    thread.join(max(0.0, deadline_s - time.monotonic()))
    if thread.is_alive():
        raise ShutdownTimeout(thread.name, timeout_s)
