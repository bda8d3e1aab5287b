"""One LoRa cell in virtual time: a channel that carries one transfer at a time, and its radios.

What each node may send, and what it sends first, is decided by the ledger and the planner that a
running node has; what bytes cost on air by the prices it uses. A model is the channel: transfers
wait for each other instead of colliding, and losses only make them longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from ciris_mesh.protocol.account import Source
from ciris_mesh.protocol.duty import Rule
from ciris_mesh.protocol.handover import Batch
from ciris_mesh.protocol.ledger import OWN_SHARE, Ledger, Refusal
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.protocol.planner import Planner
from ciris_mesh.protocol.radioplan import RadioPlan
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.runtime.onair import OnAir, Sent

AIR: Final = "air"
SETTINGS: Final = LoraSettings(868_300_000, 125_000, 8, 5)
PRICE: Final = OnAir(SETTINGS, SETTINGS.bitrate_bps)
#: An announce with 23 bytes of ours, every six hours.
_ANNOUNCE_BYTES: Final = 190
ANNOUNCE_S: Final = 6 * 3_600.0
#: A refusal for want of air, and the end of the link.
_NOT_NOW_BYTES: Final = 83
#: How seldom a node looks at its planner when that names no time.
_LOOK_S_MAX: Final = 900.0


class World(Protocol):
    """What a cell needs of the simulation around it."""

    now_s: float

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        ...

    def holds(self, node: int) -> set[int]:
        """The records of a node, by number."""
        ...

    def gain(self, node: int, records: Iterable[int], source: int) -> None:
        """A node has these now; `source` gave them."""
        ...

    def on_air(self, node: int, sent: Sent) -> None:
        """Count what a node sent by radio."""
        ...


@dataclass
class _Radio:
    ledger: Ledger
    planner: Planner
    look_s: float = float("inf")
    compared_s: dict[int, float] = field(default_factory=dict)


class CellSide:
    """The radios of one cell.

    Args:
        peers: node -> those it exchanges with by radio.
        items: the records of the simulation, by number.
        loss: part of what is sent that has to be sent again.
    """

    def __init__(
        self,
        world: World,
        peers: dict[int, tuple[int, ...]],
        items: list[Item],
        rule: Rule,
        *,
        loss: float,
    ) -> None:
        self._world = world
        self._peers = peers
        self._items = items
        self._numbers = {item.name: number for number, item in enumerate(items)}
        self._again = 1 + loss
        self._radios = {node: self._radio(peers[node], rule) for node in peers}
        self._waiting: deque[tuple[int, Batch | int]] = deque()
        self._is_busy = False

    @staticmethod
    def _radio(peers: tuple[int, ...], rule: Rule) -> _Radio:
        ledger = Ledger(OWN_SHARE)
        ledger.set_interface(AIR, rule, reports=False)
        planner = Planner(ledger, RadioPlan())
        planner.set_interface(AIR, PRICE.cost())
        for peer in peers:
            planner.set_peer(str(peer), AIR)
        return _Radio(ledger, planner)

    def start(self, stagger: Callable[[], float]) -> None:
        """Begin to announce and to compare. `stagger` draws from 0 to 1."""
        for node, peers in self._peers.items():
            self._world.at(ANNOUNCE_S * stagger(), partial(self._announce, node))
            for peer in peers:
                if node < peer:
                    later = partial(self._compare_later, node, peer)
                    self._world.at(self._cadence_s(node, peer) * stagger(), later)

    def owe(self, node: int, records: Iterable[int], source: int) -> None:
        """A node has something new: its peers in the cell are to get it."""
        radio = self._radios[node]
        for number in records:
            for peer in self._peers[node]:
                if peer != source:
                    radio.planner.offer(str(peer), self._items[number])
        self._look(node)

    def used_s(self, node: int) -> float:
        """Seconds on air of the last hour, by the node's own account."""
        return self._radios[node].ledger.usage(AIR, self._world.now_s).used_s

    # -- what is due -----------------------------------------------------------------------------

    def _announce(self, node: int) -> None:
        sent = PRICE.packets(_ANNOUNCE_BYTES)
        self._radios[node].ledger.charge(AIR, sent.airtime_s, self._world.now_s, Source.RETICULUM)
        self._world.on_air(node, sent)
        self._world.at(self._world.now_s + ANNOUNCE_S, lambda: self._announce(node))

    def _compare_later(self, node: int, peer: int) -> None:
        """Compare when nothing was said for a while, as `Exchange` does on a radio."""
        now_s = self._world.now_s
        due_s = self._radios[node].compared_s.get(peer, 0.0) + self._cadence_s(node, peer)
        if due_s <= now_s:
            due_s = now_s + self._cadence_s(node, peer)
            self._enter(node, peer)
        self._world.at(due_s, lambda: self._compare_later(node, peer))

    def _cadence_s(self, node: int, peer: int) -> float:
        """The one of the two that compares more often begins."""
        return min(
            PRICE.cadence_s(len(self._peers[one]), self._radios[one].ledger.own_limit_s(AIR))
            for one in (node, peer)
        )

    def _look(self, node: int) -> None:
        """Hand over what may go now, and look again when the planner says so."""
        radio, now_s = self._radios[node], self._world.now_s
        while isinstance(batch := radio.planner.next(AIR, now_s), Batch):
            self._enter(node, batch)
        again_s = now_s + min(max(batch.wait_s, 1.0), _LOOK_S_MAX)
        if batch.wait_s < float("inf") and not now_s < radio.look_s <= again_s:
            radio.look_s = again_s
            self._world.at(again_s, lambda: self._look(node))

    # -- the channel -----------------------------------------------------------------------------

    def _enter(self, node: int, what: Batch | int) -> None:
        self._waiting.append((node, what))
        self._next()

    def _next(self) -> None:
        while self._waiting and not self._is_busy:
            node, what = self._waiting.popleft()
            if isinstance(what, Batch):
                self._transfer(node, what)
            else:
                self._compare(node, what)

    def _occupy(self, airtime_s: float, then: Callable[[], None]) -> None:
        self._is_busy = True

        def done() -> None:
            self._is_busy = False
            then()
            self._next()

        self._world.at(self._world.now_s + airtime_s, done)

    def _compare(self, node: int, peer: int) -> None:
        """Two nodes without news make sure that there is none, on their link, if both have air."""
        now_s, asks, answers = self._world.now_s, PRICE.comparison(), PRICE.comparison()
        one, other = self._radios[node].ledger, self._radios[peer].ledger
        first = one.reserve(AIR, asks.airtime_s, now_s)
        if isinstance(first, Refusal):
            return
        second = other.reserve(AIR, answers.airtime_s, now_s)
        if isinstance(second, Refusal):
            one.release(first)
            return
        one.commit(first, now_s)
        other.commit(second, now_s)
        self._say(node, asks)
        self._say(peer, answers)
        self._note_compared(node, peer)
        self._occupy(asks.airtime_s + answers.airtime_s, lambda: None)

    def _transfer(self, node: int, batch: Batch) -> None:
        now_s, peer = self._world.now_s, int(batch.peer)
        radio, there = self._radios[node], self._world.holds(peer)
        if not radio.planner.is_open(batch.number):
            return  # it waited for the channel for an hour, and waits in the queue again
        asks, answers = PRICE.dial() + PRICE.comparison(), PRICE.exchange()
        reserved = self._radios[peer].ledger.reserve(AIR, answers.airtime_s, now_s)
        if isinstance(reserved, Refusal):
            self._say(node, asks)
            self._say(peer, PRICE.packets(_NOT_NOW_BYTES))
            wait_s = reserved.wait_s
            self._occupy(asks.airtime_s, lambda: self._end(node, batch, (), asks, wait_s))
            return
        for number in [one for one in self._world.holds(node) if one in there]:
            radio.planner.cancel(batch.peer, *self._items[number].name)
        lacking = [item for item in batch.items if self._numbers[item.name] not in there]
        for item in lacking:
            asks += _resource(item.size_bytes, self._again)
        self._say(node, asks)
        self._say(peer, answers)
        self._note_compared(node, peer)

        def end() -> None:
            self._radios[peer].ledger.commit(reserved, self._world.now_s)
            self._end(node, batch, batch.items, asks, None)
            self._world.gain(peer, [self._numbers[item.name] for item in lacking], node)

        self._occupy(asks.airtime_s + answers.airtime_s, end)

    def _end(
        self, node: int, batch: Batch, arrived: Iterable[Item], sent: Sent, wait_s: float | None
    ) -> None:
        names = {item.name for item in arrived}
        self._radios[node].planner.finish(
            batch.number,
            self._world.now_s,
            delivered=names,
            airtime_s=sent.airtime_s,
            wait_s=wait_s,
        )
        self._look(node)

    def _say(self, node: int, sent: Sent) -> None:
        self._world.on_air(node, sent)

    def _note_compared(self, node: int, peer: int) -> None:
        for one, other in ((node, peer), (peer, node)):
            self._radios[one].compared_s[other] = self._world.now_s


def _resource(size_bytes: int, again: float) -> Sent:
    """Records in full packets, those that are lost once more."""
    cost = PRICE.cost()
    airtime_s = size_bytes * cost.byte_s / 1.1 * again  # the price has a tenth for losses in it
    return Sent(airtime_s, round(size_bytes * 483 / 464 * again))
