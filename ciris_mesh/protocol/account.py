"""One radio interface's airtime: what it sent, may have sent, and says that it sent. Pure.

Part of `ledger`, which says what is kept and why.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ciris_mesh.protocol.duty import Rule
from ciris_mesh.protocol.window import HOUR_S, US, SlidingSum, to_s, to_us

#: A second is 1/36 of the smallest common budget (1 %), held too long at worst; an hour of slots
#: of three sources is then some 10,000 pairs of numbers.
SLOT_S: Final = 1.0
#: A reservation nobody ended counts as sent after this. No transfer that still lives takes an hour.
RESERVATION_S_MAX: Final = HOUR_S
#: An RNode's queue is empty after this even at SF12 (6,144 B). A longer wait only counts twice.
SEEN_WITHIN_S: Final = 300.0
#: How long an RNode may go on sending what Reticulum is done with and has counted: 17.6 s is a
#: full queue at SF8.
LATE_S: Final = 30.0
#: Retry when no expiry tells when there will be room: open transfers end sooner or later.
RETRY_S: Final = 10.0


class Source(StrEnum):
    """Who made the interface send."""

    OWN = "own"  # records and what is needed to compare them
    FORWARDED = "forwarded"  # packets of others, where the caller can tell
    RETICULUM = "reticulum"  # all else, as far as charges and reports show it


@dataclass(frozen=True, slots=True)
class SavedInterface:
    """What to keep of one interface over a restart: plain numbers.

    Attributes:
        total_s: the interface's own count when it was last seen; None when it has none.
        sent: (seconds ago, source, seconds on air), oldest first; below zero for what may still be
            on its way.
    """

    interface: str
    total_s: float | None
    sent: tuple[tuple[float, str, float], ...]


@dataclass(slots=True)
class _Unseen:
    """Handed over and not yet seen in a report.

    Attributes:
        shown_us: what the reports will show for it, at least.
    """

    slot: int
    source: Source
    true_us: int = 0
    shown_us: int = 0


class Account:
    """One interface. `now_s` never goes back between calls.

    Args:
        own_share: part of the limit that may be reserved.

    Attributes:
        open: reservations, by number: (microseconds, made at).
        lapsed, resets, bad_reports: as in `ledger.Usage`.
    """

    def __init__(self, rule: Rule, own_share: float) -> None:
        self.rule = rule
        self.open: dict[int, tuple[int, float]] = {}
        self.lapsed = self.resets = self.bad_reports = 0
        self._own_share = own_share
        self._reports = False
        self._counted_of_true = 1.0
        self._sent = {source: SlidingSum(SLOT_S) for source in Source}
        # At most as many slots as SEEN_WITHIN_S has, of three sources each.
        self._unseen: deque[_Unseen] = deque()
        # Seen in reports while reservations were open: theirs, or Reticulum's; `commit` tells. As
        # the interface counts, and by then in the window of Reticulum.
        self._ahead_us = 0
        self._total_s: float | None = None  # of the last report
        self._reported_s: float | None = None  # when; None when not known

    def configure(self, rule: Rule, *, reports: bool, counted_of_true: float) -> None:
        """Change what is known about the interface; what was counted stays."""
        self.rule = rule
        self._reports = reports
        self._counted_of_true = counted_of_true

    # -- what is used ----------------------------------------------------------------------------

    def advance(self, now_s: float) -> None:
        """Take as sent what was open or unseen for too long."""
        late = [n for n, (_, made_s) in self.open.items() if now_s - made_s >= RESERVATION_S_MAX]
        for number in late:
            self.lapsed += 1
            self.commit(self.open[number][0], now_s)
            self.close(number)
        while self._unseen and (self._unseen[0].slot + 1) * SLOT_S + SEEN_WITHIN_S <= now_s:
            gone = self._unseen.popleft()
            self._count(gone.source, gone.true_us, now_s)

    def close(self, number: int) -> tuple[int, float] | None:
        """Forget a reservation."""
        found = self.open.pop(number, None)
        if not self.open:
            self._ahead_us = 0
        return found

    def commit(self, true_us: int, now_s: float, counted_s: float | None = None) -> None:
        """Count own air; as far as reports have shown it already, only say whose it was."""
        shown_us = self._shown_us(true_us, counted_s)
        ahead_us = min(self._ahead_us, shown_us)
        if ahead_us:
            seen_us = min(-(-true_us * ahead_us // shown_us), true_us)
            # Which of it came first is not known, so the rest counts as late as it can have been.
            others = self._sent[Source.RETICULUM]
            others.take_back(self._scaled_us(self._ahead_us))
            self._ahead_us -= ahead_us
            self._count(Source.RETICULUM, self._scaled_us(self._ahead_us), now_s)
            self._count(Source.OWN, seen_us, now_s)
            true_us -= seen_us
            shown_us -= ahead_us
        self._await(Source.OWN, true_us, shown_us, now_s)

    def charge(self, source: Source, true_us: int, now_s: float) -> None:
        """Count what was sent, or handed over, without a reservation."""
        self._await(source, true_us, self._shown_us(true_us, None), now_s)

    def _await(self, source: Source, true_us: int, shown_us: int, now_s: float) -> None:
        """Count it once reports show it; at once when there are none."""
        if not self._reports:
            self._count(source, true_us, now_s)
            return
        slot = int(now_s // SLOT_S)
        same = [each for each in self._unseen if each.slot == slot and each.source is source]
        entry = same[0] if same else _Unseen(slot, source)
        entry.true_us += true_us
        entry.shown_us += shown_us
        if not same:
            self._unseen.append(entry)

    def _count(self, source: Source, true_us: int, now_s: float) -> None:
        self._sent[source].add(true_us, now_s + LATE_S)

    def _shown_us(self, true_us: int, counted_s: float | None) -> int:
        """What reports will show for it; rather less, then more counts as Reticulum's."""
        return int(true_us * self._counted_of_true if counted_s is None else US * counted_s)

    def _scaled_us(self, shown_us: int) -> int:
        """True airtime behind what a report shows, at most."""
        return math.ceil(shown_us / self._counted_of_true)

    def source_us(self, source: Source, now_s: float) -> int:
        """Microseconds of one source in the last hour."""
        unseen_us = sum(each.true_us for each in self._unseen if each.source is source)
        return self._sent[source].total_us(now_s) + unseen_us

    def open_us(self) -> int:
        """Microseconds reserved."""
        return sum(amount_us for amount_us, _ in self.open.values())

    def used_us(self, now_s: float) -> int:
        """Microseconds of all sources in the last hour, and what is reserved."""
        return sum(self.source_us(source, now_s) for source in Source) + self.open_us()

    @property
    def limit_us(self) -> int | None:
        """Microseconds the law allows in an hour; None for no limit."""
        limit_s = self.rule.limit_s
        return None if limit_s is None else int(limit_s * US)

    @property
    def own_limit_us(self) -> int | None:
        """Microseconds of them that may be reserved, rounded down."""
        limit_us = self.limit_us
        return None if limit_us is None else int(limit_us * self._own_share)

    def free_us(self, now_s: float, *, whole: bool = False) -> int | None:
        """What may be reserved; below zero when more was sent than is allowed."""
        limit_us, own_limit_us = self.limit_us, self.own_limit_us
        if limit_us is None or own_limit_us is None:
            return None
        own_us = self.source_us(Source.OWN, now_s) + self.open_us()
        left_us = limit_us - self.used_us(now_s)
        return left_us if whole else min(left_us, own_limit_us - own_us)

    def wait_s(self, amount_us: int, now_s: float, *, whole: bool = False) -> float:
        """Until so much leaves the window that it fits, if nothing more is sent."""
        limit_us, own_limit_us = self.limit_us, self.own_limit_us
        if limit_us is None or own_limit_us is None:
            return 0.0
        over_us = amount_us + self.used_us(now_s) - limit_us
        own_us = self.source_us(Source.OWN, now_s) + self.open_us()
        own_over_us = 0 if whole else amount_us + own_us - own_limit_us
        for at_s, source, gone_us in heapq.merge(self._expiries(), self._unseen_expiries()):
            over_us -= gone_us
            own_over_us -= gone_us if source is Source.OWN else 0
            if over_us <= 0 and own_over_us <= 0:
                return max(at_s - now_s, 0.0)
        return RETRY_S

    def _unseen_expiries(self) -> Iterator[tuple[float, Source, int]]:
        """At the latest: no report may ever show it."""
        keep_s = SEEN_WITHIN_S + LATE_S + HOUR_S
        for each in self._unseen:
            yield (each.slot + 2) * SLOT_S + keep_s, each.source, each.true_us

    def _expiries(self) -> Iterator[tuple[float, Source, int]]:
        rows = (
            [(at_s, source, us) for at_s, us in window.expiries()]
            for source, window in self._sent.items()
        )
        return heapq.merge(*rows)

    # -- reports ---------------------------------------------------------------------------------

    def report(self, total_s: float, now_s: float, hour_s: float | None) -> None:
        """Take the interface's own count."""
        numbers = (total_s, 0.0 if hour_s is None else hour_s)
        if not self._reports or not all(0 <= each < math.inf for each in numbers):
            self.bad_reports += 1
            return
        self._seen(self._new_s(total_s, now_s, hour_s), now_s)
        self._total_s, self._reported_s = total_s, now_s

    def _new_s(self, total_s: float, now_s: float, hour_s: float | None) -> float:
        """Seconds on air since the last report, at most, as the interface counts."""
        before_s = self._total_s
        if before_s is not None and total_s >= before_s:
            return min(total_s - before_s, HOUR_S)
        if before_s is not None:
            self.resets += 1
        if before_s is not None and self._reported_s is not None:
            # It can't have sent for longer than time has passed, before and after it began anew.
            return min(now_s - self._reported_s, HOUR_S)
        limit_s = self.rule.limit_s
        # More than the limit would only prolong a silence that is as long as an hour already.
        return min(total_s, HOUR_S if hour_s is None else hour_s, limit_s or HOUR_S)

    def _seen(self, counted_s: float, now_s: float) -> None:
        """Move to the window what a report shows: known air first, the rest as Reticulum's."""
        left_us = to_us(counted_s)
        while self._unseen and left_us > 0:
            first = self._unseen[0]
            if left_us < first.shown_us:  # a part of it; the rest is seen later
                part_us = -(-first.true_us * left_us // first.shown_us)
                first.true_us -= part_us
                first.shown_us -= left_us
                self._count(first.source, part_us, now_s)
                return
            self._unseen.popleft()
            self._count(first.source, first.true_us, now_s)
            left_us -= first.shown_us
        self._count(Source.RETICULUM, self._scaled_us(left_us), now_s)
        self._ahead_us += left_us if self.open else 0

    # -- over a restart --------------------------------------------------------------------------

    def save(self, name: str, now_s: float) -> SavedInterface:
        """All that is known, as if reserved and unseen air were sent and perhaps on its way."""
        rows = [
            (now_s + HOUR_S - at_s, str(source), to_s(us)) for at_s, source, us in self._expiries()
        ]
        rows += [(-LATE_S, str(each.source), to_s(each.true_us)) for each in self._unseen]
        rows += [(-LATE_S, str(Source.OWN), to_s(self.open_us()))] if self.open else []
        return SavedInterface(name, self._total_s, tuple(rows))

    def restore(self, saved: SavedInterface, now_s: float, elapsed_s: float | None) -> None:
        """Add what was saved `elapsed_s` ago, or at an unknown time."""
        for age_s, source, airtime_s in saved.sent:
            ago_s = -LATE_S if elapsed_s is None else elapsed_s + age_s
            self._sent[Source(source)].add(to_us(airtime_s), now_s - ago_s)
        self._total_s = saved.total_s
        self._reported_s = None if elapsed_s is None else now_s - elapsed_s
