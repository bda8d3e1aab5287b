"""A gateway between TCP and an SF8 cell: in which order what came by TCP goes on air."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from ciris_mesh.bench.budget import DUTY, LOSS, Watch, record
from ciris_mesh.bench.cell import Cell, CellNode, Name
from ciris_mesh.bench.report import Report, Row, row
from ciris_mesh.protocol.handover import Batch
from ciris_mesh.protocol.ledger import OWN_SHARE
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.protocol.radioplan import RadioPlan
from ciris_mesh.protocol.window import HOUR_S
from ciris_mesh.records.kinds import EnvelopeKind

FIELD_NODES: Final = 3
RECORDS: Final = 100
HOURS: Final = 24

_GATEWAY: Final = 0
#: By TCP all come within seconds; the removal when the first of them went on air.
_ARRIVE_S: Final = 600.0
_REVOKE_S: Final = _ARRIVE_S + 120.0
_NEVER_S: Final = 1e9
#: Air that others just used is there again an hour later; then the removal is on air for 20 s.
_WAIT_MAX: Final = 1.1


class GatewayWatch(Watch):
    """As `Watch`, and notes when what left the gateway for the cell.

    Attributes:
        handed: (time, item) of what the gateway handed over to its radio.
        crossed: when a record came to be at a first field node.
    """

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes)
        self.handed: list[tuple[float, Item]] = []
        self.crossed: dict[Name, float] = {}
        self._now_s = 0.0

    def air(self, node: int, airtime_s: float, now_s: float) -> None:
        """Note a frame, and how late it is."""
        super().air(node, airtime_s, now_s)
        self._now_s = now_s

    def hands(self, node: int, batch: Batch, now_s: float, left_alone: frozenset[int]) -> None:
        """Note what goes on air."""
        super().hands(node, batch, now_s, left_alone)
        if node == _GATEWAY:
            self.handed += [(now_s, item) for item in batch.items]

    def paid(self, node: int, other: int, name: Name) -> None:
        """Note what arrived."""
        super().paid(node, other, name)
        if node == _GATEWAY:
            self.crossed.setdefault(name, self._now_s)


def run(
    *,
    seed: int,
    tell: Callable[[str], None],
    hours: int = HOURS,
    records: int = RECORDS,
    field_nodes: int = FIELD_NODES,
    loss: float = LOSS,
) -> Report:
    """Simulate and judge.

    Args:
        records: that come in by TCP at once, before one revocation.
        tell: gets a line when the revocation crossed, and what is owed in the end.
    """
    chance, watch = random.Random(seed), GatewayWatch(field_nodes + 1)
    cell = Cell(
        field_nodes + 1, seed, DUTY, plan=RadioPlan(), share=OWN_SHARE, loss=loss, watcher=watch
    )
    ordinary = [_ordinary(chance, number) for number in range(records)]
    revocation = Item(EnvelopeKind.REVOCATION, records.to_bytes(32, "big"), 3_412, records)
    for item in ordinary:
        cell.at(_ARRIVE_S, partial(cell.put, _GATEWAY, item))
    cell.at(_REVOKE_S, partial(cell.put, _GATEWAY, revocation))
    cell.run(HOUR_S * hours)
    crossed_s = watch.crossed.get(revocation.name, _NEVER_S)
    if crossed_s < _NEVER_S:
        tell(f"the revocation is in the cell {crossed_s - _REVOKE_S:.0f} s after it came")
    got = sum(item.name in cell.nodes[1].held for item in ordinary)
    owed_bytes = watch.owed_bytes(_GATEWAY)
    tell(f"after {hours} h: {got} of {records} records crossed, {owed_bytes / 1e6:.2f} MB owed")
    return Report("gateway", _rows(cell, watch, revocation))


def _ordinary(chance: random.Random, number: int) -> Item:
    """No removal: those are not to be told apart from the one that is looked at."""
    while (item := record(chance, number)).is_removal:
        pass
    return item


def _rows(cell: Cell, watch: GatewayWatch, revocation: Item) -> tuple[Row, ...]:
    limit_s = DUTY.limit_s
    assert limit_s is not None
    nodes = range(len(cell.nodes))
    field = cell.nodes[1:]
    handed_s = next((at_s for at_s, item in watch.handed if item == revocation), _NEVER_S)
    before = sum(at_s < _REVOKE_S for at_s, _ in watch.handed)
    between = sum(_REVOKE_S <= at_s < handed_s for at_s, _ in watch.handed)
    crossed_s = watch.crossed.get(revocation.name, _NEVER_S) - _REVOKE_S
    sent = Counter(item.name for _, item in watch.handed)
    worst_s = max(map(watch.worst_hour_s, nodes))
    return (
        row("field nodes without the revocation", _lacking(field, revocation), floor=1, limit=0),
        row("batches handed over past a waiting removal", watch.overtaken, floor=1, limit=0),
        row("records handed over before the revocation came", before, floor=1, limit=None),
        row("records handed over between its coming and going", between, floor=1, limit=0),
        row(
            "minutes until the revocation is in the cell", crossed_s / 60, floor=60, limit=_WAIT_MAX
        ),
        row("seconds on air in the worst hour of any node", worst_s, floor=limit_s, limit=1),
        row(
            "most times one record went on air, field nodes",
            max(sent.values(), default=0),
            floor=len(field),
            limit=None,
        ),
    )


def _lacking(field: list[CellNode], revocation: Item) -> int:
    return sum(revocation.name not in node.held for node in field)
