"""Seconds on air per radio interface over a sliding hour, and whether more may be sent. Pure.

    reserve -> Reservation | Refusal     before anything is handed to Reticulum
    commit, release                      once it is over, or never began
    charge                               what was sent without asking, where one knows it
    report                               the interface's own count, where it has one

The rule kept: whatever is asked for and in whatever order, reserved air and everything else known
never exceed the limit in any hour, however that hour is laid. What Reticulum sends on its own
(announces, path answers, forwarded packets, keepalives) asks nobody; as long as it stays within
the part of the limit that `own_share` leaves, the limit holds for all of it together.

Everything uncertain is counted. What was handed over counts from the reservation on, and for an
hour after the *latest* moment at which it can have been on air. Of an interface that reports, own
air is taken as sent when a report shows it, or when none did for SEEN_WITHIN_S; what a report shows
while a reservation is open counts beside it, until `commit` says how much of it was own.

Times are seconds of one monotonic clock; one that steps back is taken as standing still.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ciris_mesh.protocol.account import RETRY_S, Account, SavedInterface, Source
from ciris_mesh.protocol.duty import Rule
from ciris_mesh.protocol.window import to_s, to_us

#: Air handed over at one time is some 15 s, an exchange at least a few tenths of a second.
RESERVATIONS_MAX: Final = 64
#: One machine has a few; each may hold 1 MB of slots.
INTERFACES_MAX: Final = 32
#: The part of a limit that may be reserved, for sending and for answering those who send to us.
#: The rest is for what asks nobody: announces of one's own every 6 h come to 0.1 s an hour at SF8,
#: those of others are capped at 2 % by Reticulum, and a link that is tried costs 0.4 s to prove.
OWN_SHARE: Final = 0.8


class Reason(StrEnum):
    """Why a reservation was refused."""

    OVER_BUDGET = "over_budget"  # wait
    NEVER_FITS = "never_fits"  # longer than the limit of a whole hour
    FRAME_TOO_LONG = "frame_too_long"  # the law limits single frames here: change the radio
    TOO_MANY_OPEN = "too_many_open"  # end reservations first
    UNKNOWN_INTERFACE = "unknown_interface"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Air that may be used. End it once, with `commit` or `release`."""

    number: int
    interface: str
    airtime_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """No air. `wait_s`: when to ask again, at the earliest; infinity when asking is useless."""

    reason: Reason
    wait_s: float


@dataclass(frozen=True, slots=True)
class Usage:
    """One interface over the hour that ends now. All in seconds on air.

    Attributes:
        limit_s: None when there is none.
        used_s: own, forwarded, reticulum and reserved together.
        reserved_s: handed over and not yet ended.
        free_s: what may be reserved now; None when there is no limit.
        lapsed: reservations nobody ended, since start.
        resets: how often the interface's count went backwards, since start.
        bad_reports: how often it was no number, or not expected.
    """

    interface: str
    rule: str
    limit_s: float | None
    used_s: float
    own_s: float
    forwarded_s: float
    reticulum_s: float
    reserved_s: float
    free_s: float | None
    lapsed: int
    resets: int
    bad_reports: int


class Ledger:
    """The airtime of all radio interfaces. See the module.

    Args:
        own_share: part of each limit that `reserve` gives out, above 0 and up to 1.
    """

    def __init__(self, own_share: float = OWN_SHARE) -> None:
        if not 0 < own_share <= 1:
            raise ValueError(f"{own_share} is no share of a limit")
        self._own_share = own_share
        self._accounts: dict[str, Account] = {}
        self._numbers = itertools.count(1)
        self._now_s = -math.inf

    def set_interface(
        self, name: str, rule: Rule, *, reports: bool = False, counted_of_true: float = 1.0
    ) -> None:
        """Begin to count an interface, or change its rule; what was counted stays.

        Args:
            reports: `report` will be called for it.
            counted_of_true: the least part of the true airtime it counts; RNode firmware counts
                from 0.87 of it upwards.

        Raises:
            ValueError: too many interfaces, or a part that is none.
        """
        if not 0 < counted_of_true <= 1:
            raise ValueError(f"{counted_of_true} is no part of the true airtime")
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= INTERFACES_MAX:
                raise ValueError(f"more than {INTERFACES_MAX} radio interfaces")
            account = self._accounts[name] = Account(rule, self._own_share)
        account.configure(rule, reports=reports, counted_of_true=counted_of_true)

    def interfaces(self) -> tuple[str, ...]:
        """Names, in the order they came."""
        return tuple(self._accounts)

    def reserve(
        self,
        interface: str,
        airtime_s: float,
        now_s: float,
        *,
        frame_s: float = 0.0,
        keep_s: float = 0.0,
        whole: bool = False,
    ) -> Reservation | Refusal:
        """Ask for air before it is used.

        Args:
            frame_s: longest single frame in it.
            keep_s: so much must be left over, for something more urgent.
            whole: for what is said once to each peer and may be longer than the part given out:
                all that is left of the limit.

        Raises:
            ValueError: a time is negative or no number.
        """
        account = self._accounts.get(interface)
        if account is None:
            return Refusal(Reason.UNKNOWN_INTERFACE, math.inf)
        now_s = self._advance(account, now_s)
        amount_us, keep_us = to_us(airtime_s), to_us(keep_s)
        rule = account.rule
        if rule.frame_s_max is not None and frame_s > rule.frame_s_max:
            return Refusal(Reason.FRAME_TOO_LONG, math.inf)
        if len(account.open) >= RESERVATIONS_MAX:
            return Refusal(Reason.TOO_MANY_OPEN, RETRY_S)
        needed_us = amount_us + keep_us
        most_us = account.limit_us if whole else account.own_limit_us
        if most_us is not None and needed_us > most_us:
            return Refusal(Reason.NEVER_FITS, math.inf)
        free_us = account.free_us(now_s, whole=whole)
        if free_us is not None and needed_us > free_us:
            return Refusal(Reason.OVER_BUDGET, account.wait_s(needed_us, now_s, whole=whole))
        number = next(self._numbers)
        account.open[number] = (amount_us, now_s)
        return Reservation(number, interface, airtime_s)

    def commit(
        self,
        reservation: Reservation,
        now_s: float,
        *,
        airtime_s: float | None = None,
        counted_s: float | None = None,
    ) -> None:
        """Say that it is over: nothing more of it will be handed over. Unknown ones are ignored.

        Of an interface that reports, call `report` first: what it shows and is not own air then
        surely counts as Reticulum's.

        Args:
            airtime_s: what it really took, repeats counted in; as reserved when not known.
            counted_s: what the interface's reports will show for it, when they count otherwise
                than by a fixed part of the airtime; say, bytes at the price of the smallest packet.
        """
        account = self._accounts.get(reservation.interface)
        if account is None:
            return
        now_s = self._advance(account, now_s)
        found = account.open.get(reservation.number)
        if found is not None:
            amount_us = found[0] if airtime_s is None else to_us(airtime_s)
            account.commit(amount_us, now_s, counted_s)
            account.close(reservation.number)

    def release(self, reservation: Reservation) -> None:
        """Say that nothing of it was handed over. Unknown ones are ignored."""
        account = self._accounts.get(reservation.interface)
        if account is not None:
            account.close(reservation.number)

    def charge(self, interface: str, airtime_s: float, now_s: float, source: Source) -> None:
        """Count what was sent without asking. Unknown interfaces are ignored: none is limited."""
        account = self._accounts.get(interface)
        if account is not None:
            account.charge(source, to_us(airtime_s), self._advance(account, now_s))

    def report(
        self, interface: str, total_s: float, now_s: float, *, hour_s: float | None = None
    ) -> None:
        """Take the interface's own count: seconds on air since it was started.

        What it shows beyond what is known counts as Reticulum's. A count that goes backwards
        began anew in between, and the interface may have sent all the time since the last report.

        Args:
            hour_s: what the interface says of its last hour, where it does. Of a first report
                nobody knows how old it is: all of it counts, up to this.
        """
        account = self._accounts.get(interface)
        if account is not None:
            account.report(total_s, self._advance(account, now_s), hour_s)

    def free_s(self, interface: str, now_s: float, *, keep_s: float = 0.0) -> float:
        """What `reserve` would give now; infinity when there is no limit."""
        account = self._accounts.get(interface)
        if account is None:
            return 0.0
        now_s = self._advance(account, now_s)
        free_us = account.free_us(now_s)
        return math.inf if free_us is None else max(to_s(free_us) - keep_s, 0.0)

    def own_limit_s(self, interface: str) -> float | None:
        """Seconds in an hour that may be reserved; None when there is no limit.

        Raises:
            KeyError: there is no such interface.
        """
        own_limit_us = self._accounts[interface].own_limit_us
        return None if own_limit_us is None else to_s(own_limit_us)

    def usage(self, interface: str, now_s: float) -> Usage:
        """The last hour.

        Raises:
            KeyError: there is no such interface.
        """
        account = self._accounts[interface]
        now_s = self._advance(account, now_s)
        by_source = {source: to_s(account.source_us(source, now_s)) for source in Source}
        free_us = account.free_us(now_s)
        return Usage(
            interface,
            str(account.rule),
            account.rule.limit_s,
            to_s(account.used_us(now_s)),
            by_source[Source.OWN],
            by_source[Source.FORWARDED],
            by_source[Source.RETICULUM],
            to_s(account.open_us()),
            None if free_us is None else to_s(max(free_us, 0)),
            account.lapsed,
            account.resets,
            account.bad_reports,
        )

    def save(self, now_s: float) -> tuple[SavedInterface, ...]:
        """What to keep over a restart, so that starting anew does not start the hour anew."""
        return tuple(
            account.save(name, self._advance(account, now_s))
            for name, account in self._accounts.items()
        )

    def restore(
        self, saved: tuple[SavedInterface, ...], now_s: float, *, elapsed_s: float | None = None
    ) -> None:
        """Take over what was kept, for interfaces that are set. Call before anything is counted.

        Args:
            elapsed_s: how long ago it was saved, when that is sure (the same boot of the machine).
                Otherwise all of it counts as sent now.

        Raises:
            ValueError: a row is none that `save` makes.
        """
        for row in saved:
            account = self._accounts.get(row.interface)
            if account is not None:
                account.restore(row, self._advance(account, now_s), elapsed_s)

    def _advance(self, account: Account, now_s: float) -> float:
        """The time that counts: never earlier than it was."""
        self._now_s = max(self._now_s, now_s)
        account.advance(self._now_s)
        return self._now_s
