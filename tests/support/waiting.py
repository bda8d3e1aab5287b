"""Waiting for something that other threads do: a condition and a deadline, never a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Far beyond what anything here takes; only a test that fails waits so long.
DEADLINE_S = 240.0


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], object] = "it",
    deadline_s: float = DEADLINE_S,
) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        AssertionError: it never came true.
    """
    end_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end_s:
            raise AssertionError(f"never happened: {what() if callable(what) else what}")
        threading.Event().wait(0.005)
