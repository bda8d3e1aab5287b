"""Time as the runtime sees it: a monotonic clock for waiting, a wall clock for signing.

Boards without a battery clock boot in the past. A record signed with such a time would be wrong
for ever, so signing is refused while the wall clock is before this build. Receiving goes on.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Final, Protocol

from ciris_mesh.errors import ClockUntrusted

#: No honest clock shows an earlier time than the day this code was built. Unix milliseconds.
BUILD_DATE_MS: Final = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * 1000


class Clock(Protocol):
    """Both methods are thread-safe."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def wall_ms(self) -> int:
        """Unix milliseconds as the operating system believes."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """Stands still until told. For tests and the simulation."""

    def __init__(self, *, wall_ms: int = BUILD_DATE_MS, monotonic_s: float = 0.0) -> None:
        self._lock = threading.Lock()  # guards the two fields below
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s

    def monotonic_s(self) -> float:
        """Seconds advanced so far, plus the start."""
        with self._lock:
            return self._monotonic_s

    def wall_ms(self) -> int:
        """Unix milliseconds as set."""
        with self._lock:
            return self._wall_ms

    def advance(self, seconds: float) -> None:
        """Let both clocks run by `seconds`, >= 0."""
        if seconds < 0:
            raise ValueError(f"time does not run back: {seconds} s")
        with self._lock:
            self._monotonic_s += seconds
            self._wall_ms += round(seconds * 1000)

    def set_wall_ms(self, wall_ms: int) -> None:
        """Jump the wall clock, either way, as NTP or a person does."""
        with self._lock:
            self._wall_ms = wall_ms


def signing_allowed(clock: Clock) -> bool:
    """True when the wall clock may date a signature."""
    return clock.wall_ms() >= BUILD_DATE_MS


def ensure_signing_allowed(clock: Clock) -> None:
    """Return when the wall clock may date a signature.

    Raises:
        ClockUntrusted: it is before the build date.
    """
    now_ms = clock.wall_ms()
    if now_ms >= BUILD_DATE_MS:
        return
    raise ClockUntrusted(
        f"the clock says {_day(now_ms)}, which is before {_day(BUILD_DATE_MS)}, the build date: "
        "nothing is signed until it is right; set it by NTP or GPS, or run: sudo date -s DATE"
    )


def local_minute(wall_ms: int) -> int | None:
    """Minute of the local day; None while the clock can't be right."""
    if wall_ms < BUILD_DATE_MS:
        return None
    local = time.localtime(wall_ms / 1000)
    return 60 * local.tm_hour + local.tm_min


def _day(unix_ms: int) -> str:
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms"
