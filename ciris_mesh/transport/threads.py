"""The threads a Reticulum transport owns: workers that may block, a pump, a ticker.

    workers "ciris-link-N"              RNS calls that may block on a device or on bz2
    pump    "ciris-transport-events"    calls the runtime's sink, one event at a time, in order
    ticker  "ciris-transport-timer"     deadlines; never calls anything that blocks

Each is started once and stopped once. All queues here are bounded by what feeds them, which is
said where they are declared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ciris_mesh.errors import ShutdownTimeout
from ciris_mesh.transport.base import EventHandler, TransportEvent

log = logging.getLogger(__name__)

#: Threads for calls that may block: enough that one stuck device does not stop the others, few
#: enough for a Pi.
WORKERS: Final = 4

Job = Callable[[], None]


class WorkerPool:
    """Runs jobs on a few threads. A job that raises is logged, and the thread goes on."""

    def __init__(self) -> None:
        self._wakeup = threading.Condition()  # guards the two fields below
        # At most two jobs per link (one send, one teardown), one per dial and one per announce.
        self._jobs: deque[Job] = deque()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"ciris-link-{number}", daemon=True)
            for number in range(WORKERS)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Run `job` soon. Ignored once stopped."""
        with self._wakeup:
            self._jobs.append(job)
            self._wakeup.notify()

    def stop(self, deadline: float) -> None:
        """Finish the jobs there are and end; `deadline` is monotonic.

        Raises:
            ShutdownTimeout: a job did not return in time.
        """
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify_all()
        for thread in self._threads:
            join(thread, deadline)

    def _run(self) -> None:
        while True:
            with self._wakeup:
                while not self._jobs and not self._stopping:
                    self._wakeup.wait()
                if not self._jobs:
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                log.exception("a transport job failed")


class EventPump:
    """Hands events to the sink on one thread, in the order they were put."""

    def __init__(self) -> None:
        self._wakeup = threading.Condition()  # guards the two fields below
        # Frames are bounded per link and by the byte budget, announces by their own limit, and
        # the rest by the number of links and dials.
        self._events: deque[tuple[TransportEvent, Job | None]] = deque()
        self._stopping = False
        self._handler: EventHandler | None = None
        self._thread = threading.Thread(
            target=self._run, name="ciris-transport-events", daemon=True
        )

    def start(self, handler: EventHandler) -> None:
        """Start the thread."""
        self._handler = handler
        self._thread.start()

    def put(self, event: TransportEvent, then: Job | None = None) -> None:
        """Report `event`; `then` runs after the sink returned."""
        with self._wakeup:
            self._events.append((event, then))
            self._wakeup.notify()

    def stop(self, deadline: float) -> None:
        """Report what is left and end.

        Raises:
            ShutdownTimeout: the sink did not return in time.
        """
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()
        join(self._thread, deadline)

    def _run(self) -> None:
        assert self._handler is not None
        while True:
            with self._wakeup:
                while not self._events and not self._stopping:
                    self._wakeup.wait()
                if not self._events:
                    return
                event, then = self._events.popleft()
            try:
                self._handler(event)
            except Exception:
                log.exception("the event sink failed")
            if then is not None:
                then()


class Ticker:
    """Calls `tick(now)` as often as it asks for, and at once after `wake`.

    Args:
        tick: gets the monotonic time, returns the seconds until it wants to be called again.
    """

    def __init__(self, tick: Callable[[float], float]) -> None:
        self._tick = tick
        self._wakeup = threading.Condition()  # guards the two fields below
        self._woken = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ciris-transport-timer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Call `tick` now."""
        with self._wakeup:
            self._woken = True
            self._wakeup.notify()

    def stop(self, deadline: float) -> None:
        """End.

        Raises:
            ShutdownTimeout: `tick` did not return in time.
        """
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()
        join(self._thread, deadline)

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            with self._wakeup:
                if not self._woken and not self._stopping:
                    self._wakeup.wait(pause_s)
                if self._stopping:
                    return
                self._woken = False
            try:
                pause_s = self._tick(time.monotonic())
            except Exception:
                log.exception("the transport timer failed")
                pause_s = 1.0


def join(thread: threading.Thread, deadline: float) -> None:
    """Wait for a thread that was started or never was.

    Raises:
        ShutdownTimeout: it still runs at `deadline`.
    """
    if thread.ident is None:
        return
    timeout_s = max(deadline - time.monotonic(), 0.0)
    thread.join(timeout_s)
    if thread.is_alive():
        raise ShutdownTimeout(thread.name, round(timeout_s, 3))
