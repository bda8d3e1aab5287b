"""Time as the runtime sees it: a monotonic clock for waiting, a wall clock for signing.

Boards without a battery clock boot in the past. A record signed with such a time would be wrong
for ever, so signing is refused while the wall clock is before this build, and while nobody vouches
for it: not NTP, not GPS, no battery-backed clock (`timesource`). Receiving goes on. The system's
clock is read and never set.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ciris_mesh.errors import ClockUntrusted
from ciris_mesh.runtime.timesource import Anchor, TimeFacts, holds, read_time_facts, source_of

if TYPE_CHECKING:
    from ciris_mesh.runtime.home import Home

logger = logging.getLogger(__name__)

#: No honest clock shows an earlier time than the day this code was built. Unix milliseconds.
BUILD_DATE_MS: Final = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * 1000


#: What the configuration, or this variable of the environment, says when a person vouches for the
#: clock where the system can't: a container without a view of NTP, a test, a node set by hand.
ASSUME_TRUSTED: Final = "assume-trusted"
CLOCK_VARIABLE: Final = "CIRIS_MESH_CLOCK"
#: The anchor is written again this seldom: an SD card is not worn out by a clock.
_ANCHOR_AGAIN_S: Final = 86_400.0
_ANCHOR_BYTES_MAX: Final = 512


class Clock(Protocol):
    """All methods are thread-safe."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def wall_ms(self) -> int:
        """Unix milliseconds as the operating system believes."""
        ...

    def source(self) -> str:
        """Who vouches for the wall clock: "ntp", "rtc", "held", "assumed", or "" for nobody."""
        ...


class SystemClock:
    """The operating system's clocks.

    Args:
        assume: a person vouches for the wall clock.
        anchor: where the moment is kept at which the system last vouched for it; None for nowhere.
        keeps: write it, as the running node does; commands only read it.
    """

    def __init__(
        self, *, assume: bool = False, anchor: Path | None = None, keeps: bool = False
    ) -> None:
        self._assume = assume
        self._anchor = anchor
        self._keeps = keeps
        self._kept: Anchor | None = None

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def source(self) -> str:
        """Ask the system; below a tenth of a millisecond."""
        facts = read_time_facts(self.wall_ms())
        found = source_of(facts, build_ms=BUILD_DATE_MS)
        if found:
            self._keep(facts)
            return found
        if facts.wall_ms < BUILD_DATE_MS:
            return ""
        anchor = self._kept or _read_anchor(self._anchor)
        if anchor is not None and holds(anchor, facts):
            return "held"
        return "assumed" if self.assumed_by() else ""

    def assumed_by(self) -> str:
        """Where a person vouches for it: "config", "environment", or "" for nowhere."""
        if self._assume:
            return "config"
        return "environment" if os.environ.get(CLOCK_VARIABLE) == ASSUME_TRUSTED else ""

    def _keep(self, facts: TimeFacts) -> None:
        kept = self._kept or _read_anchor(self._anchor)
        is_old = kept is None or not holds(kept, facts)
        if kept is None or is_old or facts.boot_s - kept.boot_s > _ANCHOR_AGAIN_S:
            kept = Anchor(facts.boot_id, facts.boot_s, facts.wall_ms)
            if self._anchor is not None and self._keeps:
                _write_anchor(self._anchor, kept)
        self._kept = kept


class ManualClock:
    """Stands still until told. For tests and the simulation."""

    def __init__(
        self, *, wall_ms: int = BUILD_DATE_MS, monotonic_s: float = 0.0, source: str = "assumed"
    ) -> None:
        self._lock = threading.Lock()  # guards the fields below
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        self._source = source

    def monotonic_s(self) -> float:
        """Seconds advanced so far, plus the start."""
        with self._lock:
            return self._monotonic_s

    def wall_ms(self) -> int:
        """Unix milliseconds as set."""
        with self._lock:
            return self._wall_ms

    def source(self) -> str:
        """As told; nobody vouches for a time before the build."""
        with self._lock:
            return self._source if self._wall_ms >= BUILD_DATE_MS else ""

    def set_source(self, source: str) -> None:
        """Let somebody else, or with "" nobody, vouch for it."""
        with self._lock:
            self._source = source

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


def clock_of(home: Home, *, keeps: bool = False) -> SystemClock:
    """The clock as the configuration of a home has it; see `SystemClock` for `keeps`.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    from ciris_mesh.runtime.config import load_config

    assume = load_config(home.config).node.clock == ASSUME_TRUSTED
    return SystemClock(assume=assume, anchor=home.storage / "clock", keeps=keeps)


def untrusted(clock: Clock, *, not_before_ms: int = 0) -> str:
    """Say why the wall clock may not date a signature; empty when it may.

    Args:
        not_before_ms: a time that has surely passed, as trustworthy records show.
    """
    now_ms = clock.wall_ms()
    floor_ms = max(BUILD_DATE_MS, not_before_ms)
    if now_ms < floor_ms:
        what = "the build date" if floor_ms == BUILD_DATE_MS else "the time two rooted keys signed,"
        return (
            f"the clock says {_day(now_ms)}, which is before {what} {_day(floor_ms)}: nothing is "
            "signed until it is right; set it by NTP or GPS, or run: sudo date -s DATE"
        )
    if clock.source():
        return ""
    return (
        f"the clock says {_day(now_ms)}, and nobody vouches for it (no NTP, no GPS, no "
        "battery-backed clock): nothing is signed until the system says it is right; run: "
        "timedatectl set-ntp true, or if you set it by hand write clock = assume-trusted in [node]"
    )


def signing_allowed(clock: Clock) -> bool:
    """True when the wall clock may date a signature."""
    return not untrusted(clock)


def ensure_signing_allowed(clock: Clock, *, not_before_ms: int = 0) -> None:
    """Return when the wall clock may date a signature.

    Raises:
        ClockUntrusted: it may not; the text says why and what helps.
    """
    why = untrusted(clock, not_before_ms=not_before_ms)
    if why:
        raise ClockUntrusted(why)


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


def _read_anchor(path: Path | None) -> Anchor | None:
    if path is None:
        return None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        with path.open("rb") as file:
            said = json.loads(file.read(_ANCHOR_BYTES_MAX))
        if isinstance(said, Mapping):
            return Anchor(str(said["boot_id"]), float(said["boot_s"]), int(said["wall_ms"]))
    return None


def _write_anchor(path: Path, anchor: Anchor) -> None:
    from ciris_mesh.runtime.files import write_atomic

    said = {"boot_id": anchor.boot_id, "boot_s": anchor.boot_s, "wall_ms": anchor.wall_ms}
    try:
        write_atomic(path, json.dumps(said).encode())
    except OSError as error:  # a full disk: the clock is as good, and forgotten at the next start
        logger.warning("clock.anchor_not_kept error=%s", error.strerror or error)
