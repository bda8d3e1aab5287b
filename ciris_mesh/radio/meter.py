"""What an RNode knows about the use of its channel: its own airtime, and what it hears. Pure.

Figures and windows as in RNode firmware 1.86: bins of 7.5 s over an hour; "short" is the bin that
runs and the one before, over 15 s; "long" is all bins over an hour. The contention window grows
with the short figure. A radio that is switched off and on starts at zero, so this is no record of
what was sent in the last hour of the clock, only since the radio was started.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

BIN_S: Final = 7.5
BINS: Final = 480
#: How far back the load of the channel is looked at.
_LOAD_WINDOW_S: Final = 7.5

_WINDOW_SLOTS: Final = 15
_BANDS: Final = 4
#: Short airtime in percent up to which the first band is used, and from which the last is.
_FIRST_BAND_PERCENT: Final = 7
_LAST_BAND_PERCENT: Final = 85


@dataclass(frozen=True, slots=True)
class ContentionWindow:
    """How many slots to wait: one of `low` to `high`, both included."""

    band: int
    low: int
    high: int


def contention_window(short_airtime: float) -> ContentionWindow:
    """The window for a station that used the share `short_airtime` (0 to 1) of the channel."""
    percent = int(short_airtime * 100)
    band = 1
    if percent > _FIRST_BAND_PERCENT:
        span = _LAST_BAND_PERCENT - _FIRST_BAND_PERCENT
        band = min(2 + percent * (_BANDS - 2) // span, _BANDS)
    return ContentionWindow(band, (band - 1) * _WINDOW_SLOTS, band * _WINDOW_SLOTS - 1)


class AirtimeMeter:
    """Shares of time, from 0 to 1. Times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a radio does when it starts."""
        # At most BINS entries each: (number of the bin, seconds sent), (number, highest load).
        self._sent: deque[tuple[int, float]] = deque(maxlen=BINS)
        self._loads: deque[tuple[int, float]] = deque(maxlen=BINS)
        # Frames heard, (begin, end); those out of the window are dropped, and no two overlap.
        self._heard: deque[tuple[float, float]] = deque()

    def add_sent(self, airtime_s: float, now_s: float) -> None:
        """Count one frame this radio sent, ending now. It falls into the bin that runs."""
        number = int(now_s // BIN_S)
        if self._sent and self._sent[-1][0] == number:
            airtime_s += self._sent.pop()[1]
        self._sent.append((number, airtime_s))

    def add_heard(self, begin_s: float, end_s: float) -> None:
        """Count a time in which somebody else was heard; overlaps count once."""
        if self._heard and begin_s <= self._heard[-1][1]:
            last_begin_s, last_end_s = self._heard.pop()
            begin_s, end_s = min(begin_s, last_begin_s), max(end_s, last_end_s)
        self._heard.append((begin_s, end_s))
        self._forget_heard(end_s)

    def short(self, now_s: float) -> float:
        """Share of the last two bins in which this radio sent."""
        last = int(now_s // BIN_S)
        return math.fsum(s for number, s in self._sent if last - 1 <= number <= last) / (2 * BIN_S)

    def long(self, now_s: float) -> float:
        """Share of the last hour in which this radio sent."""
        first = int(now_s // BIN_S) - BINS + 1
        return math.fsum(s for number, s in self._sent if number >= first) / (BINS * BIN_S)

    def load_short(self, now_s: float) -> float:
        """Share in which anybody sent: heard in the last 7.5 s, and the short airtime."""
        self._forget_heard(now_s)
        begin_s = now_s - _LOAD_WINDOW_S
        heard_s = math.fsum(
            max(min(end, now_s) - max(begin, begin_s), 0.0) for begin, end in self._heard
        )
        load = min(heard_s / _LOAD_WINDOW_S + self.short(now_s), 1.0)
        self._note_load(int(now_s // BIN_S), load)
        return load

    def load_long(self, now_s: float) -> float:
        """Mean over an hour of each bin's highest load, of those that `load_short` was asked in."""
        first = int(now_s // BIN_S) - BINS + 1
        return math.fsum(load for number, load in self._loads if number >= first) / BINS

    def _note_load(self, number: int, load: float) -> None:
        if self._loads and self._loads[-1][0] == number:
            load = max(load, self._loads.pop()[1])
        self._loads.append((number, load))

    def _forget_heard(self, now_s: float) -> None:
        while self._heard and self._heard[0][1] < now_s - _LOAD_WINDOW_S:
            self._heard.popleft()
