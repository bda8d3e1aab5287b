"""Who vouches for the system's clock: NTP or GPS by the kernel, or a battery-backed clock.

Read from what the system shows every user; nothing is asked over a network and nothing is set. A
board without a battery boots in the past, so a date alone proves nothing. Once set, a clock is
good for as long as the machine runs on and nobody turns it: the *anchor* remembers that, since
the kernel forgets within a day that NTP was there.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: adjtimex(2): TIME_ERROR is returned, and STA_UNSYNC set, while nobody disciplines the clock.
#: chrony, ntpd, systemd-timesyncd and gpsd behind one of them clear both.
_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x40
#: `struct timex` is 208 bytes on 64-bit Linux; its member `status` stands behind `modes` (padded),
#: `offset`, `freq`, `maxerror` and `esterror`.
_TIMEX_BYTES: Final = 256
_TIMEX_STATUS_AT: Final = 40

#: systemd-timesyncd touches it once it has set the clock, and it is gone after a boot.
_TIMESYNC_FLAG: Final = "run/systemd/timesync/synchronized"
_RTCS: Final = "sys/class/rtc"
_BOOT_ID: Final = "proc/sys/kernel/random/boot_id"

#: A battery-backed clock vouches for a system clock that is this near: what records may differ by.
RTC_SKEW_MAX_MS: Final = 5 * 60_000


#: A board's crystal is off by 100 ppm at most: after 30 days by 4.3 minutes, less than the five
#: that records of two nodes may differ by.
HOLD_MAX_S: Final = 30 * 86_400
_DRIFT: Final = 100e-6
#: Turned by more than this, the clock is another one.
JUMP_MAX_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Anchor:
    """A moment at which somebody vouched for the clock."""

    boot_id: str
    boot_s: float
    wall_ms: int


@dataclass(frozen=True, slots=True)
class TimeFacts:
    """What the system says about its clock.

    Attributes:
        kernel_synced: None when the kernel does not say.
        rtc_ms: Unix milliseconds by the battery-backed clock; None without one.
        boot_id: changes at every boot; empty when not known.
        boot_s: seconds since boot, suspension included.
    """

    wall_ms: int
    kernel_synced: bool | None
    timesync_flag: bool
    rtc_ms: int | None
    boot_id: str
    boot_s: float


def read_time_facts(wall_ms: int, root: Path = Path("/")) -> TimeFacts:
    """Read all of it. Takes well under a millisecond and never fails."""
    return TimeFacts(
        wall_ms=wall_ms,
        kernel_synced=_kernel_synced(),
        timesync_flag=(root / _TIMESYNC_FLAG).exists(),
        rtc_ms=_rtc_ms(root),
        boot_id=_text(root / _BOOT_ID),
        boot_s=_boot_s(),
    )


def source_of(facts: TimeFacts, *, build_ms: int) -> str:
    """Return "ntp", "rtc" or "" when nobody vouches for the clock.

    "ntp" is whatever disciplines the kernel's clock, GPS behind chrony or ntpd as well.
    """
    if facts.wall_ms < build_ms:
        return ""
    if facts.kernel_synced or facts.timesync_flag:
        return "ntp"
    rtc = facts.rtc_ms
    if rtc is not None and rtc >= build_ms and abs(rtc - facts.wall_ms) <= RTC_SKEW_MAX_MS:
        return "rtc"
    return ""


def holds(anchor: Anchor, facts: TimeFacts) -> bool:
    """Has the clock run on undisturbed since, in the same boot and not for too long?"""
    ran_s = facts.boot_s - anchor.boot_s
    if not facts.boot_id or anchor.boot_id != facts.boot_id or not 0 <= ran_s <= HOLD_MAX_S:
        return False
    turned_s = (facts.wall_ms - anchor.wall_ms) / 1000 - ran_s
    return abs(turned_s) <= JUMP_MAX_S + _DRIFT * ran_s


def _kernel_synced() -> bool | None:
    with contextlib.suppress(OSError, AttributeError):
        buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: only asks
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
        if state < 0:
            return None
        status = int.from_bytes(buffer.raw[_TIMEX_STATUS_AT : _TIMEX_STATUS_AT + 4], "little")
        return state != _TIME_ERROR and not status & _STA_UNSYNC
    return None


def _rtc_ms(root: Path) -> int | None:
    for path in sorted((root / _RTCS).glob("rtc*/since_epoch")):
        text = _text(path)
        if text.isdigit() and len(text) <= 12:
            return int(text) * 1000
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
