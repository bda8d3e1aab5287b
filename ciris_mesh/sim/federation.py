"""A federation in virtual time: records are signed, spread, and counted until all have all.

Real: the sizes of comparisons and sketches, the planner and the ledger of every radio, prices on
air, the delays with which news is told. Modelled: TCP links (a rate, a delay, one transfer at a
time at each node), the cells' channels, and how long a record takes to verify. Not modelled:
Reticulum's announces on TCP, failures, cryptography.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ciris_mesh.protocol.duty import Rule
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.exchange import SPREAD_DELAY_S, SPREAD_JITTER_S
from ciris_mesh.runtime.onair import Sent
from ciris_mesh.sim.cell import CellSide
from ciris_mesh.sim.layout import Layout
from ciris_mesh.sim.report import Busiest, LinkClass, SimReport
from ciris_mesh.sim.sizes import DIFFERENCES_MAX, comparison_bytes, exchange_bytes, taken_bytes

HOUR_S: Final = 3_600.0
#: Bits a second of a node by TCP: a line at home, and a server's.
_LEAF_BPS: Final = 2e6
_REGISTRY_BPS: Final = 100e6
_DELAY_S: Final = 0.05
#: Round trips of an exchange: comparison, sketch, records, closing comparison.
_TRIPS: Final = 4
#: One core reads, verifies and stores a record in so long (`bench tcp`, a desk machine).
_VERIFY_S: Final = 0.003
#: TCP peers look at each other this often when there is no news.
_CADENCE_S: Final = 30.0
#: How often the onlooker is told.
_TELL_S: Final = 6 * HOUR_S

_K: Final = EnvelopeKind
#: Kinds of new records and sizes of hybrid ones as coded for radio; plain they take half as much
#: again.
_MIX: Final = (
    (_K.ATTESTATION, 3_450, 60),
    (_K.KEY, 5_390, 20),
    (_K.REVOCATION, 3_412, 10),
    (_K.LOCATION_PROOF, 3_400, 10),
)
_PLAIN: Final = 1.5


@dataclass(frozen=True, slots=True)
class SimPlan:
    """What is simulated.

    Attributes:
        records: signed by nodes drawn from all, at times drawn from the first hour.
        loss: part of what is sent by radio that has to be sent again.
        hours: after which it is given up.
    """

    records: int
    rule: Rule
    loss: float
    hours: int


class Federation:
    """One simulation, used once. Everything follows from layout, plan and seed."""

    def __init__(
        self, layout: Layout, plan: SimPlan, seed: int, tell: Callable[[str], None]
    ) -> None:
        self.now_s = 0.0
        self._layout = layout
        self._plan = plan
        self._seed = seed
        self._tell = tell
        self._chance = chance = random.Random(seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._items = [_record(chance, number) for number in range(plan.records)]
        self._held: list[set[int]] = [set() for _ in layout.roles]
        self._full_s: list[float | None] = [None] * len(layout.roles)
        self._first_s = [0.0] * plan.records
        self._left = len(layout.roles)
        self._pairs: set[tuple[int, int]] = set()
        self._free_s = [0.0] * len(layout.roles)
        self._bytes = [0] * len(layout.roles)
        self._tcp = LinkClass("tcp")
        self._air = LinkClass("radio")
        self._worst_s = 0.0
        self._cells = [self._cell(number) for number in range(max(layout.cells) + 1)]

    def _cell(self, number: int) -> CellSide:
        members = [node for node, cell in enumerate(self._layout.cells) if cell == number]
        peers = {node: self._layout.air[node] for node in members}
        return CellSide(self, peers, self._items, self._plan.rule, loss=self._plan.loss)

    def run(self) -> SimReport:
        """Simulate to the end, or until it is given up."""
        chance = self._chance
        for number in range(len(self._items)):
            node, at_s = chance.randrange(len(self._layout.roles)), HOUR_S * chance.random()
            self._first_s[number] = at_s
            self.at(at_s, partial(self.gain, node, [number], node))
        for cell in self._cells:
            cell.start(chance.random)
        self.at(_TELL_S, self._say)
        self.at(HOUR_S, self._audit)
        end_s = self._plan.hours * HOUR_S
        while self._left and self._due and self._due[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(self._due)
            action()
        self._count_idle()
        return self._report()

    # -- what a cell asks for --------------------------------------------------------------------

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._due, (at_s, next(self._tickets), action))

    def holds(self, node: int) -> set[int]:
        """The records of a node, by number."""
        return self._held[node]

    def gain(self, node: int, records: Iterable[int], source: int) -> None:
        """A node has these now; its other peers are told."""
        held = self._held[node]
        new = [number for number in records if number not in held]
        if not new:
            return
        held.update(new)
        if len(held) == len(self._items):
            self._full_s[node] = self.now_s
            self._left -= 1
        for peer in self._layout.tcp[node]:
            if peer != source:
                self._exchange_soon(node, peer)
        if self._layout.air[node]:
            self._cells[self._layout.cells[node]].owe(node, new, source)

    def on_air(self, node: int, sent: Sent) -> None:
        """Count what a node sent by radio."""
        self._air.add(sent.size_bytes)
        self._bytes[node] += sent.size_bytes

    # -- TCP -------------------------------------------------------------------------------------

    def _exchange_soon(self, node: int, peer: int) -> None:
        pair = min(node, peer), max(node, peer)
        if pair not in self._pairs:
            self._pairs.add(pair)
            delay_s = SPREAD_DELAY_S + SPREAD_JITTER_S * self._chance.random()
            self.at(self.now_s + delay_s, lambda: self._exchange(*pair))

    def _exchange(self, one: int, other: int) -> None:
        """Compare, find what differs, send it both ways; what comes meanwhile takes another."""
        busy_s = max(self._free_s[one], self._free_s[other])
        if busy_s > self.now_s:
            self.at(busy_s, lambda: self._exchange(one, other))
            return
        self._pairs.discard((one, other))
        to_other = sorted(self._held[one] - self._held[other])
        to_one = sorted(self._held[other] - self._held[one])
        del to_other[DIFFERENCES_MAX // 2 :], to_one[DIFFERENCES_MAX // 2 :]
        size_bytes = comparison_bytes()
        moved = len(to_one) + len(to_other)
        if moved:
            size_bytes += exchange_bytes(len(to_one), len(to_other)) + comparison_bytes()
            size_bytes += 2 * taken_bytes()
            size_bytes += sum(self._plain_bytes(number) for number in (*to_one, *to_other))
        self._tcp.add(size_bytes)
        took_s = 2 * _DELAY_S * (_TRIPS if moved else 1)
        took_s += 8 * size_bytes / min(self._bps(one), self._bps(other))
        for node, gained in ((one, to_one), (other, to_other)):
            self._bytes[node] += size_bytes
            # A node works for many at once; what it verifies and sends is what keeps it busy.
            work_s = _VERIFY_S * len(gained) + 8 * size_bytes / self._bps(node)
            self._free_s[node] = self.now_s + work_s
        end_s = self.now_s + took_s + _VERIFY_S * moved
        self.at(end_s, lambda: self.gain(one, to_one, other))
        self.at(end_s, lambda: self.gain(other, to_other, one))

    def _bps(self, node: int) -> float:
        return _REGISTRY_BPS if self._layout.roles[node] == "registry" else _LEAF_BPS

    def _plain_bytes(self, number: int) -> int:
        return round(_PLAIN * self._items[number].size_bytes)

    def _count_idle(self) -> None:
        """Comparisons without news are not played one by one: nothing depends on them."""
        looks = int(self.now_s / _CADENCE_S)
        for node, peers in enumerate(self._layout.tcp):
            size_bytes = comparison_bytes() * looks * len(peers)
            self._bytes[node] += size_bytes
            self._tcp.idle_bytes += size_bytes // 2  # a pair is counted from both ends

    # -- telling ---------------------------------------------------------------------------------

    def _audit(self) -> None:
        """Once an hour: who sent most in the last hour, by its own ledger?"""
        for node, cell in enumerate(self._layout.cells):
            if cell >= 0:
                self._worst_s = max(self._worst_s, self._cells[cell].used_s(node))
        self.at(self.now_s + HOUR_S, self._audit)

    def _say(self) -> None:
        done = len(self._layout.roles) - self._left
        held = sum(map(len, self._held)) / (len(self._held) * len(self._items))
        self._tell(
            f"hour {self.now_s / HOUR_S:.0f}: {done} of {len(self._layout.roles)} nodes have all, "
            f"{100 * held:.0f} % of all there is to have"
        )
        self.at(self.now_s + _TELL_S, self._say)

    def _report(self) -> SimReport:
        last_s = max(self._first_s)
        node = max(range(len(self._bytes)), key=self._bytes.__getitem__)
        limit_s = self._plan.rule.limit_s
        return SimReport(
            seed=self._seed,
            nodes=len(self._layout.roles),
            records=len(self._items),
            converged=not self._left,
            without_all=self._left,
            virtual_s=round(self.now_s, 1),
            converged_s=self._since(last_s, radio=None),
            converged_tcp_s=self._since(last_s, radio=False),
            converged_cells_s=self._since(last_s, radio=True),
            links=(self._tcp, self._air),
            busiest=Busiest(
                self._layout.name(node),
                self._layout.roles[node].value,
                len(self._layout.tcp[node]) + len(self._layout.air[node]),
                self._bytes[node],
            ),
            worst_hour_s=round(self._worst_s, 2),
            limit_s=limit_s,
        )

    def _since(self, last_s: float, *, radio: bool | None) -> float | None:
        """From the last record signed until the last of these nodes had all; None for never."""
        times = [
            full_s
            for full_s, role in zip(self._full_s, self._layout.roles, strict=True)
            if radio is None or radio is not role.has_tcp
        ]
        if not times or None in times:
            return None
        return round(max(max(each for each in times if each is not None) - last_s, 0.0), 1)


def _record(chance: random.Random, number: int) -> Item:
    kinds = [(kind, size_bytes) for kind, size_bytes, _ in _MIX]
    kind, size_bytes = chance.choices(kinds, [weight for *_, weight in _MIX])[0]
    return Item(kind, number.to_bytes(32, "big"), size_bytes, number)
