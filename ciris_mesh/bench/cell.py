"""Nodes on one emulated LoRa channel, each with a ledger and a planner, in simulated time.

What Reticulum does is played by its byte costs: a link, a comparison, a Resource in windows of four
packets, proofs. The packets go through emulated RNodes, so waiting for the channel, collisions and
losses are as there, and what a node sent is counted by the channel, not by the node.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

from ciris_mesh.protocol.duty import Rule
from ciris_mesh.protocol.handover import Batch
from ciris_mesh.protocol.ledger import Ledger, Refusal
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.protocol.planner import Planner
from ciris_mesh.protocol.radiopeer import BACKOFF_S, BACKOFF_S_MAX
from ciris_mesh.protocol.radioplan import Cost, RadioPlan
from ciris_mesh.radio.airtime import LoraSettings, frame_sizes
from ciris_mesh.radio.bands import longest_frame_s
from ciris_mesh.radio.host import HostSide, Packet, RadioSetup
from ciris_mesh.radio.lab import Lab
from ciris_mesh.radio.topology import full
from ciris_mesh.records.kinds import EnvelopeKind

LORA: Final = "lora"
SETTINGS: Final = LoraSettings(868_300_000, 125_000, 8, 5)
_TXPOWER_DBM: Final = 14

# Bytes of Reticulum 1.5.7 on air, as measured; the initiator's and the answering side's.
_LINK, _LINK_PROOF, _LINK_RTT, _LINK_CLOSE = 86, 118, 83, 99
_COMPARE, _COMPARED, _NOT_NOW = 147, 163, 83
_ADVERTISE, _WANT_PARTS, _ALL_HERE = 211, 131, 115
_PART, _PART_BODY, _WINDOW = 483, 464, 4
_ANNOUNCE: Final = 191
ANNOUNCE_S: Final = 6 * 3_600.0
#: Parts that are lost are sent again; this part of the air is reserved for them.
_REPEATS: Final = 0.1
#: After so many tries of one window a transfer has failed, as Reticulum's has.
_TRIES: Final = 8
#: How often a node with nothing else to do looks at its planner.
_LOOK_S: Final = 60.0
_HEADER: Final = 8

Name = tuple[EnvelopeKind, bytes]


def part_sizes(size_bytes: int) -> list[int]:
    """Packets of a Resource of that size."""
    whole, rest = divmod(size_bytes, _PART_BODY)
    return [_PART] * whole + ([rest + _PART - _PART_BODY] if rest else [])


def _air_s(*packets: int) -> float:
    return sum(map(SETTINGS.packet_s, packets))


def cost() -> Cost:
    """What a transfer takes on the sender's side."""
    setup_s = _air_s(_LINK, _LINK_RTT, _COMPARE, _ADVERTISE, _LINK_CLOSE, 40)
    byte_s = SETTINGS.packet_s(_PART) / _PART_BODY * (1 + _REPEATS)
    return Cost(setup_s, byte_s, longest_frame_s(SETTINGS))


def answer_s(size_bytes: int) -> float:
    """What answering a transfer takes, the proof of the link left out: that asks nobody."""
    windows = -(-len(part_sizes(size_bytes)) // _WINDOW)
    return _air_s(_COMPARED, _ALL_HERE, *[_WANT_PARTS] * windows) * (1 + _REPEATS)


@dataclass
class Transfer:
    """One batch on its way. Turns are (from the sender?, packet sizes)."""

    number: int
    batch: Batch
    sender: int
    receiver: int
    turns: deque[tuple[bool, list[int]]]
    compared: bool = False
    not_now_s: float | None = None  # the answering side has no air for so long
    spent_s: float = 0.0
    missing: dict[int, int] = field(default_factory=dict)  # packet -> size, of this turn
    tries: int = 0
    mark: int = 0  # frames the speaking node will have sent when the turn is over
    done: Callable[[float], None] | None = None  # ends the answering side's reservation


class CellNode:
    """One node: what it holds, what it plans, what it sent by the channel's count."""

    def __init__(self, number: int, nodes: int, rule: Rule, plan: RadioPlan, share: float) -> None:
        self.number = number
        self.ledger = Ledger(share)
        self.ledger.set_interface(LORA, rule, reports=True)
        self.planner = Planner(self.ledger, plan)
        self.planner.set_interface(LORA, cost())
        for other in range(nodes):
            if other != number:
                self.planner.set_peer(str(other), LORA)
        self.held: dict[Name, Item] = {}
        self.left_alone_until_s: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self.host = HostSide(RadioSetup(SETTINGS, _TXPOWER_DBM))
        self.queued_frames = 0

    def note(self, other: int, now_s: float, wait_s: float, *, arrived: bool) -> None:
        """Say for how long somebody is to be left alone, by the rule and not by the planner."""
        failures = 0 if arrived else self._failures.get(other, 0) + 1
        self._failures[other] = failures
        pause_s = min(max(wait_s, BACKOFF_S * 2.0 ** (failures - 1)), BACKOFF_S_MAX)
        self.left_alone_until_s[other] = now_s + (0.0 if arrived else pause_s)


class Watcher(Protocol):
    """Who looks on, without asking a ledger or a planner. Times are the channel's."""

    def air(self, node: int, airtime_s: float, now_s: float) -> None:
        """The channel counted a frame of a node, which ends now."""
        ...

    def owes(self, node: int, other: int, item: Item, now_s: float) -> None:
        """A node has a record that another is to get from it."""
        ...

    def paid(self, node: int, other: int, name: Name) -> None:
        """That one has it, as the first has learned."""
        ...

    def hands(self, node: int, batch: Batch, now_s: float, left_alone: frozenset[int]) -> None:
        """A node hands a batch over. Some of the others are to be left alone for now."""
        ...

    def ends(self, node: int, batch: Batch) -> None:
        """That transfer is over, well or not."""
        ...


class Cell:
    """Nodes that all hear each other. `nodes[n].planner` and the rest may be read at any time.

    Args:
        loss: probability that a frame is lost at one receiver.
    """

    def __init__(
        self,
        nodes: int,
        seed: int,
        rule: Rule,
        *,
        plan: RadioPlan,
        share: float,
        loss: float,
        watcher: Watcher,
    ) -> None:
        chance = random.Random(seed)
        self.nodes = [CellNode(n, nodes, rule, plan, share) for n in range(nodes)]
        self.now_s = 0.0
        self._lab = Lab(full(nodes), chance, loss=loss, stats_period_s=1e9)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count(1)
        self._transfers: dict[int, Transfer] = {}
        self._counted_s = [0.0] * nodes
        self._watcher = watcher
        for node in self.nodes:
            self._tell(node.number, node.host.hello())
            node.ledger.report(LORA, 0.0, 0.0)
            self.at(ANNOUNCE_S * chance.random(), self._announcing(node))
            self.at(_LOOK_S * chance.random(), self._looking(node))

    # -- time ------------------------------------------------------------------------------------

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        """Do something at a time of the channel."""
        heapq.heappush(self._due, (at_s, next(self._tickets), action))

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while True:
            own_s = self._due[0][0] if self._due else until_s
            step_s = min(self._lab.next_s, own_s, until_s)
            self.now_s = max(self.now_s, step_s)
            self._heard(self._lab.run(self.now_s))
            for node in self.nodes:
                self._count(node.number)
            for transfer in list(self._transfers.values()):
                self._advance(transfer)
            while self._due and self._due[0][0] <= self.now_s:
                heapq.heappop(self._due)[2]()
            if step_s >= until_s:
                return

    def _count(self, number: int) -> None:
        """Ask the channel what a node sent, as a node asks its radio."""
        total_s = self._lab.counters(number).airtime_s
        new_s = total_s - self._counted_s[number]
        if new_s > 0:
            self._counted_s[number] = total_s
            self._watcher.air(number, new_s, self.now_s)
            self.nodes[number].ledger.report(LORA, total_s, self.now_s)

    def _announcing(self, node: CellNode) -> Callable[[], None]:
        def announce() -> None:
            self._send(node.number, bytes(_ANNOUNCE))
            self.at(self.now_s + ANNOUNCE_S, announce)

        return announce

    def _looking(self, node: CellNode) -> Callable[[], None]:
        def look() -> None:
            self.look(node)
            self.at(self.now_s + _LOOK_S, look)

        return look

    # -- records ---------------------------------------------------------------------------------

    def put(self, number: int, item: Item, *, known_to: Collection[int] = ()) -> None:
        """Let a node hold a record and owe it to all others but those."""
        node = self.nodes[number]
        if item.name in node.held:
            return
        node.held[item.name] = item
        for other in range(len(self.nodes)):
            if other != number and other not in known_to:
                node.planner.offer(str(other), item)
                self._watcher.owes(number, other, item, self.now_s)
        if item.is_removal:
            self.at(self.now_s, lambda: self.look(node))

    def look(self, node: CellNode) -> None:
        """Hand over what may go now."""
        while isinstance(batch := node.planner.next(LORA, self.now_s), Batch):
            times = node.left_alone_until_s.items()
            alone = frozenset(other for other, until_s in times if until_s > self.now_s)
            self._watcher.hands(node.number, batch, self.now_s, alone)
            number = next(self._tickets)
            turns = deque([(True, [_LINK]), (False, [_LINK_PROOF]), (True, [_LINK_RTT, _COMPARE])])
            transfer = Transfer(number, batch, node.number, int(batch.peer), turns)
            self._transfers[number] = transfer
            self._next_turn(transfer)

    # -- transfers -------------------------------------------------------------------------------

    def _send(self, number: int, data: bytes) -> None:
        node = self.nodes[number]
        node.queued_frames += len(frame_sizes(len(data)))
        self._tell(number, node.host.packet(data))

    def _tell(self, number: int, data: bytes) -> None:
        self._heard(self._lab.from_host(number, data, self.now_s))

    def _heard(self, told: list[tuple[int, bytes]]) -> None:
        for number, data in told:
            for event in self.nodes[number].host.feed(data):
                if isinstance(event, Packet) and event.data[0] == number + 1:
                    transfer = self._transfers.get(int.from_bytes(event.data[1:5], "big"))
                    if transfer is not None:
                        transfer.missing.pop(int.from_bytes(event.data[5:7], "big"), None)

    def _next_turn(self, transfer: Transfer) -> None:
        _, sizes = transfer.turns[0]
        transfer.missing = dict(enumerate(sizes))
        transfer.tries = 0
        self._say(transfer)

    def _say(self, transfer: Transfer) -> None:
        """Send what is missing of this turn."""
        from_sender, _ = transfer.turns[0]
        speaker = transfer.sender if from_sender else transfer.receiver
        listener = transfer.receiver if from_sender else transfer.sender
        for packet, size in list(transfer.missing.items()):
            head = bytes([listener + 1]) + transfer.number.to_bytes(4, "big")
            head += packet.to_bytes(2, "big") + b"\x00"
            assert len(head) == _HEADER
            self._send(speaker, head + bytes(size - _HEADER))
            transfer.spent_s += SETTINGS.packet_s(size) if from_sender else 0.0
        transfer.mark = self.nodes[speaker].queued_frames
        transfer.tries += 1

    def _advance(self, transfer: Transfer) -> None:
        from_sender, _ = transfer.turns[0]
        speaker = transfer.sender if from_sender else transfer.receiver
        if self._lab.counters(speaker).frames_sent < transfer.mark:
            return
        if transfer.missing:
            if transfer.tries < _TRIES:
                self._say(transfer)
            else:
                self._end(transfer, delivered=False)
            return
        transfer.turns.popleft()
        if not transfer.turns and not transfer.compared:
            self._compare(transfer)
        elif not transfer.turns:
            self._end(transfer, delivered=True)
        if transfer.turns:
            self._next_turn(transfer)

    def _compare(self, transfer: Transfer) -> None:
        """The answering side knows what it lacks, and whether it has the air to take it."""
        transfer.compared = True
        sender, receiver = self.nodes[transfer.sender], self.nodes[transfer.receiver]
        for name in [name for name in sender.held if name in receiver.held]:
            if sender.planner.cancel(transfer.batch.peer, *name):
                self._watcher.paid(sender.number, receiver.number, name)
        lacking = [item for item in transfer.batch.items if item.name not in receiver.held]
        size_bytes = sum(item.size_bytes for item in lacking)
        answer = receiver.ledger.reserve(LORA, answer_s(size_bytes), self.now_s)
        if isinstance(answer, Refusal):
            transfer.not_now_s = answer.wait_s
            transfer.turns.extend([(False, [_NOT_NOW]), (True, [_LINK_CLOSE])])
            return
        transfer.done = lambda now_s: receiver.ledger.commit(answer, now_s)
        transfer.turns.append((False, [_COMPARED]))
        if lacking:
            parts = part_sizes(size_bytes)
            transfer.turns.append((True, [_ADVERTISE]))
            for at in range(0, len(parts), _WINDOW):
                transfer.turns.append((False, [_WANT_PARTS]))
                transfer.turns.append((True, parts[at : at + _WINDOW]))
            transfer.turns.append((False, [_ALL_HERE]))
        transfer.turns.append((True, [_LINK_CLOSE]))

    def _end(self, transfer: Transfer, *, delivered: bool) -> None:
        del self._transfers[transfer.number]
        sender, receiver = self.nodes[transfer.sender], self.nodes[transfer.receiver]
        for node in (sender, receiver):
            self._count(node.number)
        if transfer.done is not None:
            transfer.done(self.now_s)
        wait_s = transfer.not_now_s
        arrived = transfer.batch.items if delivered and wait_s is None else ()
        sender.note(transfer.receiver, self.now_s, wait_s or 0.0, arrived=bool(arrived))
        sender.planner.finish(
            transfer.batch.number,
            self.now_s,
            delivered={item.name for item in arrived},
            airtime_s=transfer.spent_s,
            wait_s=wait_s,
        )
        self._watcher.ends(sender.number, transfer.batch)
        for item in arrived:
            self._watcher.paid(sender.number, receiver.number, item.name)
            self.put(receiver.number, item, known_to=(sender.number,))
        self.look(sender)
