"""SIGINT and SIGTERM as something the main thread can wait for."""

from __future__ import annotations

import select
import signal
import socket
import time
from types import FrameType
from typing import Final, Self

_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM})


class EndSignals:
    """Takes both signals while entered. Main thread only.

    Python runs handlers on the main thread alone, while the kernel may hand a signal to any
    thread: a main thread that sleeps in a lock then sleeps on. So `wait` reads the descriptor that
    the interpreter writes to on whichever thread the signal arrives.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)  # a full buffer must not stop the interpreter

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, _do_nothing)
        return self

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return True when one of the two has come since this was entered.

        Args:
            timeout_s: return False after this long; None waits for ever.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if deadline_s is None else max(deadline_s - time.monotonic(), 0.0)
            if not select.select([self._reader], [], [], left_s)[0]:
                return False
            if self._reader.recv(1)[0] in _ENDING:
                return True

    def __exit__(self, *_exception: object) -> None:
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Be a handler, so that the signal neither ends the process nor is ignored."""
