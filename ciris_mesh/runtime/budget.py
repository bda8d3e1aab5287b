"""The airtime of a running node: its ledger and planner, and what `budget` shows of them.

The dataclasses *are* the JSON of `budget --json`. Schema 1: a member may be added; none may change
meaning or go away without a new number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ciris_mesh.protocol.handover import JOIN_HOURS_MAX, Backlog
from ciris_mesh.protocol.ledger import Ledger, Usage
from ciris_mesh.protocol.planner import Planner
from ciris_mesh.protocol.radioplan import KindPolicy
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.onair import on_air
from ciris_mesh.runtime.radiosettings import RadioSettings
from ciris_mesh.transport.base import InterfaceRow

BUDGET_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class InterfaceBudget:
    """One radio interface over the hour that ends now. `_s`: seconds on air.

    Attributes:
        duty: as configured: a percentage, "dwell" or "none".
        counted: False while nothing is counted on it; then all below is None or 0.
        limit_s: of each hour; None when there is no limit.
        used_s: own, forwarded, reticulum and handed together; None when nothing is counted.
        handed_s: reserved or handed to Reticulum, and not over.
        free_s: what records may use now; None when there is no limit.
        owed_records, owed_bytes: to all peers that are reached over it.
        owed_airtime_s: what that takes, records that never fit left out.
        drain_h: hours until it is sent at this duty; None when it never is, or is not known.
    """

    name: str
    online: bool
    duty: str
    counted: bool
    limit_s: float | None
    used_s: float | None
    own_s: float
    forwarded_s: float
    reticulum_s: float
    handed_s: float
    free_s: float | None
    owed_records: int
    owed_bytes: int
    owed_airtime_s: float
    drain_h: float | None


@dataclass(frozen=True, slots=True)
class PeerOwed:
    """What one peer lacks of one kind and is to get by radio.

    Attributes:
        never_fits: records of these that take longer than an hour of the interface allows.
    """

    peer: str
    alias: str
    kind: str
    records: int
    size_bytes: int
    never_fits: int


@dataclass(frozen=True, slots=True)
class LongJoin:
    """What two nodes differ in takes longer by radio than to carry it: more than a day.

    Attributes:
        sent_bytes, received_bytes: coded, at least: known by how many records each side has.
        airtime_s: of both sides.
        hours: until the slower side has sent its part; None when it may send nothing.
    """

    peer: str
    alias: str
    interface: str
    sent_bytes: int
    received_bytes: int
    airtime_s: float
    hours: float | None


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """The whole answer to `budget --json`.

    Attributes:
        health: one sentence per problem, each saying what to do; empty when all is well. No radio
            at all is well.
        advice: what would be faster.
        quiet: quiet hours as configured; empty for none.
        policy: kinds that do not go to everybody by radio -> "off" or "peers".
        joins: estimated before they begin, and again with each comparison.
        counts: stable name -> how often something was refused, displaced, failed or penalized.
    """

    schema: int
    health: tuple[str, ...]
    advice: tuple[str, ...]
    quiet: str
    interfaces: tuple[InterfaceBudget, ...]
    owed: tuple[PeerOwed, ...]
    counts: dict[str, int]
    policy: dict[str, str] = field(default_factory=dict)
    joins: tuple[LongJoin, ...] = ()


class RadioBudget:
    """The ledger and the planner of a node, made from its settings.

    Attributes:
        lock: hold it around every use of the other two; nothing else is done while it is held.
    """

    def __init__(self, settings: RadioSettings) -> None:
        self.settings = settings
        self.lock = threading.Lock()
        self.ledger = Ledger(settings.share)
        self.planner = Planner(self.ledger, settings.plan())
        self._joins: dict[str, LongJoin] = {}  # of peers, few; under the lock

    def note_join(self, peer: str, interface: str, sent_bytes: int, received_bytes: int) -> bool:
        """A comparison showed how many records two nodes differ in.

        Returns:
            True when to carry them is faster, and that was not known.
        """
        with self.lock:
            try:
                found = self.planner.join_estimate(interface, sent_bytes, received_bytes)
            except KeyError:  # nothing is planned on it
                return False
            if not found.use_bundle:
                self._joins.pop(peer, None)
                return False
            is_new = peer not in self._joins
            hours = None if math.isinf(found.hours) else round(found.hours, 1)
            self._joins[peer] = LongJoin(
                peer, "", interface, sent_bytes, received_bytes, round(found.airtime_s, 1), hours
            )
        return is_new

    def forget_join(self, peer: str) -> None:
        """It is no peer any more, or not by radio."""
        with self.lock:
            self._joins.pop(peer, None)

    def long_joins(self, aliases: Mapping[str, str]) -> tuple[LongJoin, ...]:
        """Peers that are better served with a stick, by key id."""
        with self.lock:
            joins = sorted(self._joins.items())
        return tuple(replace(join, alias=aliases.get(peer, "")) for peer, join in joins)

    def status(
        self, rows: Iterable[InterfaceRow], aliases: Mapping[str, str], now_s: float
    ) -> BudgetStatus:
        """What is used, what waits, and for how long.

        Args:
            rows: of the transport; those that are no radio are left out. The ledger and the planner
                know an interface by `InterfaceRow.name`.
            aliases: of peers, by key id, where they have one.
            now_s: monotonic, as everywhere.
        """
        rows = [row for row in rows if row.medium == "radio"]
        with self.lock:
            interfaces = tuple(self._interface(row, now_s) for row in rows)
            owed = self.planner.owed()
            counts = self.planner.counts()
        joins = self.long_joins(aliases)
        peers = tuple(
            PeerOwed(
                row.peer,
                aliases.get(row.peer, ""),
                row.kind.value,
                row.records,
                row.size_bytes,
                row.never_fits,
            )
            for row in owed
        )
        return BudgetStatus(
            BUDGET_SCHEMA,
            (
                *(line for each in interfaces for line in _problems(each)),
                *(line for row in rows for line in _too_long(row, self.settings)),
            ),
            (
                *map(join_advice, joins),
                *(line for each in interfaces for line in _carry(each)),
                *_never_fits(peers),
            ),
            "" if self.settings.quiet is None else str(self.settings.quiet),
            interfaces,
            peers,
            counts,
            _policy(self.settings),
            joins,
        )

    def _interface(self, row: InterfaceRow, now_s: float) -> InterfaceBudget:
        if row.name not in self.ledger.interfaces():
            return _uncounted(row, self.settings)
        usage = self.ledger.usage(row.name, now_s)
        try:
            backlog = self.planner.backlog(row.name)
        except KeyError:  # counted, and nothing is planned on it
            backlog = Backlog(row.name, 0, 0, 0.0, 0.0)
        return _counted(row, usage, backlog)


def _uncounted(row: InterfaceRow, settings: RadioSettings) -> InterfaceBudget:
    rule = settings.rule_for(row.name)
    return InterfaceBudget(
        name=row.name,
        online=row.online,
        duty=str(rule),
        counted=False,
        limit_s=_rounded(rule.limit_s),
        used_s=None,
        own_s=0.0,
        forwarded_s=0.0,
        reticulum_s=0.0,
        handed_s=0.0,
        free_s=None,
        owed_records=0,
        owed_bytes=0,
        owed_airtime_s=0.0,
        drain_h=None,
    )


def _counted(row: InterfaceRow, usage: Usage, backlog: Backlog) -> InterfaceBudget:
    return InterfaceBudget(
        name=row.name,
        online=row.online,
        duty=usage.rule,
        counted=True,
        limit_s=_rounded(usage.limit_s),
        used_s=_rounded(usage.used_s),
        own_s=round(usage.own_s, 3),
        forwarded_s=round(usage.forwarded_s, 3),
        reticulum_s=round(usage.reticulum_s, 3),
        handed_s=round(usage.reserved_s, 3),
        free_s=_rounded(usage.free_s),
        owed_records=backlog.records,
        owed_bytes=backlog.size_bytes,
        owed_airtime_s=round(backlog.airtime_s, 3),
        drain_h=None if math.isinf(backlog.hours) else round(backlog.hours, 2),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _problems(each: InterfaceBudget) -> list[str]:
    if each.limit_s is None or each.used_s is None or each.used_s <= each.limit_s:
        return []
    return [
        f"{each.name} was on air for {each.used_s:.1f} s of the {each.limit_s:g} s its duty of "
        f"{each.duty} allows in an hour: no records go out until it is below; set a lower share "
        "in [radio], or fewer announces in Reticulum"
    ]


def _too_long(row: InterfaceRow, settings: RadioSettings) -> list[str]:
    """A limit on single frames that this radio's setting breaks with each full one."""
    most_s, frame_s = settings.rule_for(row.name).frame_s_max, on_air(row).frame_s
    if most_s is None or frame_s <= most_s:
        return []
    return [
        f"a frame of {row.name} takes {frame_s:.2f} s and {most_s:g} s is allowed: nothing is sent "
        "over it; set a wider bandwidth or a lower spreading factor in Reticulum"
    ]


def _carry(each: InterfaceBudget) -> list[str]:
    if not each.counted or (each.drain_h is not None and each.drain_h <= JOIN_HOURS_MAX):
        return []
    takes = "can't be sent at all" if each.drain_h is None else f"takes {each.drain_h:.0f} h"
    return [
        f"what is owed over {each.name} {takes}: carry it on a stick, here with: ciris-mesh export "
        "FILE, there by import"
    ]


def join_advice(join: LongJoin) -> str:
    """One line about it, for people."""
    takes = "can't be done" if join.hours is None else f"takes {join.hours:.0f} h at least"
    return (
        f"to bring {join.alias or join.peer} up to date over {join.interface} {takes}: carry the "
        "records on a stick, here with: ciris-mesh export FILE, there by import, and back"
    )


def _policy(settings: RadioSettings) -> dict[str, str]:
    plan = settings.plan()
    return {
        kind.value: plan.policy[kind].value
        for kind in EnvelopeKind
        if plan.policy[kind] is not KindPolicy.ON
    }


def _never_fits(peers: Iterable[PeerOwed]) -> list[str]:
    count = sum(row.never_fits for row in peers)
    if not count:
        return []
    return [
        f"records owed that take longer than a whole hour allows: {count}. Use a faster radio "
        "setting, or carry them with: ciris-mesh export FILE"
    ]
