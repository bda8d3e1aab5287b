"""A day of a cell at 1 %: does anybody ever send too much, and what waits meanwhile?"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

from ciris_mesh.bench.cell import LORA, Cell, CellNode, Name, cost
from ciris_mesh.bench.report import Report, Row, median, row
from ciris_mesh.protocol.duty import Rule
from ciris_mesh.protocol.handover import HANDED_S_MAX, Batch
from ciris_mesh.protocol.ledger import OWN_SHARE
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.protocol.radioplan import RadioPlan
from ciris_mesh.protocol.window import HOUR_S
from ciris_mesh.records.kinds import EnvelopeKind

NODES: Final = 6
RECORDS: Final = 500
NEW_PER_HOUR: Final = 10
HOURS: Final = 24
DUTY: Final = Rule(0.01)
LOSS: Final = 0.02

_K = EnvelopeKind
#: Kinds of new records and coded sizes of hybrid ones, as the transcoder is to reach them.
_MIX: Final = (
    (_K.ATTESTATION, 3_450, 60),
    (_K.KEY, 5_390, 15),
    (_K.REVOCATION, 3_412, 7),
    (_K.COMMUNITY_MEMBERSHIP_REVOCATION, 3_400, 3),
    (_K.IDENTITY_OCCURRENCE, 3_500, 5),
    (_K.PARTNER_RECORD, 3_600, 5),
    (_K.LOCATION_PROOF, 3_400, 5),
)
#: Removals wait for air only, the others for those before them too.
_REMOVAL_WAIT_MAX: Final = 0.5
#: Records do not fill an hour without rest: two of 12 s and no third one in 26.
_IDLE_MAX: Final = 1.6


class Watch:
    """An onlooker with a stopwatch: what was on air, what waits, who overtook whom.

    Attributes:
        overtaken: batches without removals handed over while a removal waited for somebody.
        most_handed_s: most air handed over at a time.
        paid_for: records that arrived, or were found to be there.
    """

    def __init__(self, nodes: int) -> None:
        self._frames: list[list[tuple[float, float]]] = [[] for _ in range(nodes)]
        self._owed: dict[tuple[int, int], dict[Name, tuple[Item, float]]] = {}
        self._handed: dict[int, dict[int, Batch]] = {node: {} for node in range(nodes)}
        self.overtaken = 0
        self.most_handed_s = 0.0
        self._waits_s: dict[bool, list[float]] = {True: [], False: []}
        self.paid_for = 0

    # -- what a cell tells -----------------------------------------------------------------------

    def air(self, node: int, airtime_s: float, now_s: float) -> None:
        """Note a frame."""
        self._frames[node].append((now_s - airtime_s, now_s))

    def owes(self, node: int, other: int, item: Item, now_s: float) -> None:
        """Note what waits."""
        self._owed.setdefault((node, other), {})[item.name] = (item, now_s)

    def paid(self, node: int, other: int, name: Name) -> None:
        """Note what waits no longer."""
        self.paid_for += 1
        del self._owed[node, other][name]

    def hands(self, node: int, batch: Batch, now_s: float, left_alone: frozenset[int]) -> None:
        """Look whether it may."""
        other = int(batch.peer)
        if not batch.items[0].is_removal:
            self.overtaken += any(
                self._waits_for_removal(node, each) for each in self._others(node) - left_alone
            )
        self._handed[node][batch.number] = batch
        airtime_s = sum(each.airtime_s for each in self._handed[node].values())
        self.most_handed_s = max(self.most_handed_s, airtime_s)
        for item in batch.items:
            since_s = self._owed[node, other][item.name][1]
            self._waits_s[item.is_removal].append(now_s - since_s)

    def ends(self, node: int, batch: Batch) -> None:
        """Note that nothing of it is under way."""
        del self._handed[node][batch.number]

    def _others(self, node: int) -> frozenset[int]:
        return frozenset(other for each, other in self._owed if each == node)

    def _waits_for_removal(self, node: int, other: int) -> bool:
        handed = {
            item.name
            for batch in self._handed[node].values()
            if int(batch.peer) == other
            for item in batch.items
        }
        rows = self._owed[node, other]
        return any(item.is_removal and name not in handed for name, (item, _) in rows.items())

    # -- what it saw -----------------------------------------------------------------------------

    def used_s(self, node: int) -> float:
        """Seconds on air since the beginning."""
        return sum(end_s - begin_s for begin_s, end_s in self._frames[node])

    def worst_hour_s(self, node: int) -> float:
        """The most a node sent in any hour. The worst hour there is ends with a frame."""
        worst_s = inside_s = 0.0
        first, frames = 0, self._frames[node]
        for begin_s, end_s in frames:
            inside_s += end_s - begin_s
            while frames[first][1] <= end_s - HOUR_S:
                inside_s -= frames[first][1] - frames[first][0]
                first += 1
            outside_s = max(end_s - HOUR_S - frames[first][0], 0.0)
            worst_s = max(worst_s, inside_s - outside_s)
        return worst_s

    def median_wait_s(self, now_s: float, *, removals: bool) -> float:
        """From owed to handed over; what waits still, has waited until now."""
        waiting = [
            now_s - since_s
            for rows in self._owed.values()
            for item, since_s in rows.values()
            if item.is_removal is removals
        ]
        return median(self._waits_s[removals] + waiting or [0.0])

    def owed_bytes(self, node: int) -> int:
        """What a node is to send, over all others."""
        return sum(
            item.size_bytes
            for (each, _), rows in self._owed.items()
            if each == node
            for item, _ in rows.values()
        )


def run(
    *,
    seed: int,
    tell: Callable[[str], None],
    hours: int = HOURS,
    nodes: int = NODES,
    records: int = RECORDS,
    new_per_hour: int = NEW_PER_HOUR,
    loss: float = LOSS,
) -> Report:
    """Simulate and judge.

    Args:
        records: held by all but the last node, which joins with nothing.
        tell: gets a line for every six hours, and what is owed in the end.
    """
    chance, watch = random.Random(seed), Watch(nodes)
    cell = Cell(nodes, seed, DUTY, plan=RadioPlan(), share=OWN_SHARE, loss=loss, watcher=watch)
    held = [record(chance, number) for number in range(records)]
    tell(_join_said(cell, held))
    for item in held:
        for node in range(nodes - 1):
            cell.put(node, item, known_to=range(nodes - 1))
    for number in range(hours * new_per_hour):
        item, node = record(chance, records + number), chance.randrange(nodes)
        at_s = HOUR_S * (number + chance.random()) / new_per_hour
        cell.at(at_s, partial(cell.put, node, item))
    unseen_bytes = 0
    for hour in range(1, hours + 1):
        cell.run(HOUR_S * hour)
        owed = [_shown_bytes(node) for node in cell.nodes]
        truth = [watch.owed_bytes(node) for node in range(nodes)]
        unseen_bytes = max(unseen_bytes, *(abs(a - b) for a, b in zip(owed, truth, strict=True)))
        if hour % 6 == 0 or hour == hours:
            tell(_said(hour, cell, watch, sum(owed)))
    return Report("budget", _rows(watch, nodes, hours, unseen_bytes))


def record(chance: random.Random, number: int) -> Item:
    """A new record as they come in a federation: of any kind, coded."""
    kinds = [(kind, size_bytes) for kind, size_bytes, _ in _MIX]
    kind, size_bytes = chance.choices(kinds, [weight for *_, weight in _MIX])[0]
    return Item(kind, number.to_bytes(32, "big"), size_bytes, number)


def _shown_bytes(node: CellNode) -> int:
    """What `budget` would show as owed."""
    return sum(row.size_bytes for row in node.planner.owed())


def _join_said(cell: Cell, held: list[Item]) -> str:
    size_bytes = sum(item.size_bytes for item in held)
    estimate = cell.nodes[0].planner.join_estimate(LORA, size_bytes, 0)
    better = "; export and import are faster" if estimate.use_bundle else ""
    return (
        f"the last node joins with nothing: {estimate.airtime_s:.0f} s on air, "
        f"{estimate.hours:.0f} h from one neighbour{better}"
    )


def _said(hour: int, cell: Cell, watch: Watch, owed_bytes: int) -> str:
    drains = [node.planner.backlog(LORA).hours for node in cell.nodes]
    return (
        f"hour {hour}: {watch.paid_for} records delivered or found there, "
        f"{owed_bytes / 1e6:.1f} MB owed in all lists, {max(drains):.0f} h for the longest"
    )


def _rows(watch: Watch, nodes: int, hours: int, unseen_bytes: int) -> tuple[Row, ...]:
    limit_s = DUTY.limit_s
    assert limit_s is not None
    worst_s = max(map(watch.worst_hour_s, range(nodes)))
    used_s = sum(map(watch.used_s, range(nodes)))
    removals_s, others_s = (
        watch.median_wait_s(hours * HOUR_S, removals=each) for each in (True, False)
    )
    largest_s = max(cost().batch_s(size_bytes) for _, size_bytes, _ in _MIX)
    return (
        row("seconds on air in the worst hour of any node", worst_s, floor=limit_s, limit=1),
        row("batches handed over past a waiting removal", watch.overtaken, floor=1, limit=0),
        row(
            "seconds handed over at a time",
            watch.most_handed_s,
            floor=max(HANDED_S_MAX, largest_s),  # one record may be longer
            limit=1,
        ),
        row("bytes owed and not shown, or shown and not owed", unseen_bytes, floor=1, limit=0),
        row(
            "wait of removals, of others, median s",
            removals_s,
            floor=others_s or 1,
            limit=_REMOVAL_WAIT_MAX,
        ),
        row(
            "seconds for records allowed, used",
            nodes * hours * limit_s * OWN_SHARE,
            floor=used_s or 1,
            limit=_IDLE_MAX,
        ),
    )
