"""What to hand to Reticulum next on a radio, to whom, and what is owed. Pure.

    offer, cancel, owe     what a peer lacks
    next                -> Batch | Hold
    finish                 what became of a batch
    owed, backlog       -> what waits, for people

The rules, in this order:

1. No batch without a reservation in the ledger, and at most HANDED_S_MAX of air is handed over and
   not finished on one interface: what is handed over can't be overtaken.
2. While a removal waits for a peer that can be sent to, nothing else is handed over. Removals pass
   over quiet hours and shares; only a peer with strikes is held to its share with them too.
3. Else by class (key, identity_occurrence, attestation, the rest), then to the peer that had least,
   then oldest first. What is next and does not fit yet is waited for; nothing small slips past.
4. Every AGED_EVERY-th batch that is no removal begins with the item that waits for longest on this
   interface, whatever its class. So of n items that came before it to peers that may have air now,
   an item waits for at most AGED_EVERY * (n + 1) such batches: nobody who comes later, and nothing
   that calls itself older, can make it more; a transfer that fails costs a turn more and has its
   peer left alone. This is the guarantee against starving.
5. A peer has at most its share of the hour while there are others; strikes halve it. A record
   larger than the share goes alone when the peer had nothing within the hour.

Nothing is dropped: what a queue has no place for is refused by name and counted as owed, and so is
what no hour has room for.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from ciris_mesh.protocol.handover import (
    HANDED_S_MAX,
    Backlog,
    Batch,
    Hold,
    HoldReason,
    JoinEstimate,
    Offered,
    Owed,
    airtime_of,
    hours_for,
    join_estimate,
)
from ciris_mesh.protocol.ledger import Ledger, Reason, Refusal, Reservation
from ciris_mesh.protocol.outqueue import Item, priority
from ciris_mesh.protocol.radiopeer import RadioPeer
from ciris_mesh.protocol.radioplan import Cost, RadioPlan
from ciris_mesh.protocol.window import HOUR_S
from ciris_mesh.records.kinds import EnvelopeKind

#: One batch in eight: classes still decide seven eighths of the air.
AGED_EVERY: Final = 8
#: A channel with more stations carries nothing; 64 full queues are some 20 MB.
PEERS_MAX: Final = 64
#: A batch nobody finished has failed. The ledger counts its air by then.
BATCH_S_MAX: Final = 3_600.0
#: When to look again where no time can be told.
_LOOK_AGAIN_S: Final = 60.0
_NEVER: Final = math.inf
#: The ledger counts whole microseconds, rounded up.
_ROUNDING_S: Final = 1e-5


@dataclass(frozen=True, slots=True)
class _Open:
    batch: Batch
    reservation: Reservation
    arrivals: tuple[int, ...]
    begun_s: float


#: A peer that may have air now, and the item it would get first.
_Candidate: TypeAlias = tuple[str, RadioPeer, Item]


class Planner:
    """See the module. One thread at a time; times as in the ledger, whose rules must be set."""

    def __init__(self, ledger: Ledger, plan: RadioPlan | None = None) -> None:
        self._ledger = ledger
        self._plan = plan or RadioPlan()
        self._costs: dict[str, Cost] = {}
        self._peers: dict[str, RadioPeer] = {}
        self._open: dict[int, _Open] = {}
        self._arrivals = itertools.count()
        self._since_aged: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._now_s = -math.inf

    # -- who and over what -----------------------------------------------------------------------

    def set_interface(self, name: str, cost: Cost) -> None:
        """Begin to use an interface, or change what it costs."""
        self._costs[name] = cost
        for peer in self._peers.values():
            if peer.interface == name:
                peer.unstick()

    def set_peer(self, name: str, interface: str | None, *, is_peer: bool = True) -> bool:
        """Say over which interface somebody is reached; None when not now.

        Returns:
            False when there are too many already; counted.
        """
        peer = self._peers.get(name)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                self._counts["too_many_peers"] += 1
                return False
            peer = self._peers[name] = RadioPeer()
        if peer.interface != interface:
            peer.unstick()
        peer.interface, peer.is_peer = interface, is_peer
        return True

    def forget_peer(self, name: str) -> tuple[Item, ...]:
        """Owe somebody nothing more. Returns what waited."""
        peer = self._peers.pop(name, None)
        if peer is None:
            return ()
        return (*peer.queue, *(item for item, _ in peer.stuck.values()))

    def penalize(self, name: str, reason: str, now_s: float) -> None:
        """Take half of a peer's share for hostile input; an hour gives one such half back.

        Args:
            reason: a name from a fixed set, counted.
        """
        self._counts[f"penalty_{reason}"] += 1
        peer = self._peers.get(name)
        if peer is not None:
            peer.strike(self._advance(now_s))

    def counts(self) -> dict[str, int]:
        """What was refused, displaced, failed or penalized since start, by stable name."""
        return dict(self._counts)

    # -- what is owed ----------------------------------------------------------------------------

    def offer(self, name: str, item: Item) -> Offered:
        """Put a record that a peer lacks on its list.

        When the list is full a removal takes the place of what is missed least, which is counted
        as "displaced". It and what finds no place stay owed, and are counted anew each time until
        `owe` says how much it is; the next comparison names them again.
        """
        peer = self._peers.get(name)
        if peer is None:
            return self._refuse(Offered.UNKNOWN_PEER)
        if not self._plan.allows(item.kind, is_peer=peer.is_peer):
            return self._refuse(Offered.KIND_NOT_ON_RADIO)
        if peer.has(item):
            return Offered.ALREADY_QUEUED
        if peer.is_full:
            least = peer.queue.least() if item.is_removal else None
            if least is None:
                peer.leave_out(item)
                return self._refuse(Offered.QUEUE_FULL)
            peer.queue.take(*least.name)
            peer.leave_out(least)
            self._counts["displaced"] += 1
        peer.queue.put(item, next(self._arrivals))
        return Offered.QUEUED

    def cancel(self, name: str, kind: EnvelopeKind, envelope_id: bytes) -> bool:
        """Take a record off a peer's list: it has it. False when it was not waiting there."""
        peer = self._peers.get(name)
        if peer is None:
            return False
        stuck = peer.stuck.pop((kind, envelope_id), None)
        return peer.queue.take(kind, envelope_id) is not None or stuck is not None

    def keep_only(self, name: str, wanted: Collection[tuple[EnvelopeKind, bytes]]) -> None:
        """Take off a peer's list what is not among these: a comparison showed that it has it."""
        peer = self._peers.get(name)
        if peer is not None:
            for item in (*peer.queue, *(item for item, _ in peer.stuck.values())):
                if item.name not in wanted:
                    self.cancel(name, *item.name)

    def owe(self, name: str, kind: EnvelopeKind, records: int, size_bytes: int) -> None:
        """Say what a peer lacks of a kind beyond what was offered. Replaces the last time."""
        peer = self._peers.get(name)
        if peer is not None and records > 0:
            peer.beyond[kind] = (records, size_bytes)
        elif peer is not None:
            peer.beyond.pop(kind, None)

    def owed(self) -> tuple[Owed, ...]:
        """What every peer lacks, by kind; by peer and then as it would be sent."""
        return tuple(
            Owed(
                name,
                kind,
                records[kind],
                sizes[kind],
                sum(item.kind is kind for item, _ in peer.stuck.values()),
            )
            for name, peer in sorted(self._peers.items())
            for records, sizes in [peer.owed()]
            for kind in sorted(records, key=lambda kind: (priority(kind), kind))
        )

    def owes(self, interface: str, now_s: float) -> bool:
        """Does anything wait that may go over an interface? Who does not answer holds nobody up."""
        now_s = self._advance(now_s)
        return any(
            peer.interface == interface
            and bool(peer.handed or (peer.queue and peer.held_until_s <= now_s))
            for peer in self._peers.values()
        )

    def backlog(self, interface: str) -> Backlog:
        """What is owed over one interface and how long it takes.

        Raises:
            KeyError: there is no such interface.
        """
        cost, records, size_bytes, stuck_bytes = self._costs[interface], 0, 0, 0
        for peer in self._peers.values():
            if peer.interface == interface:
                counts, sizes = peer.owed()
                records += counts.total()
                size_bytes += sizes.total()
                stuck_bytes += sum(item.size_bytes for item, _ in peer.stuck.values())
        airtime_s = airtime_of(size_bytes - stuck_bytes, cost)
        hour_s = self._hour_s(interface) * self._plan.open_part
        return Backlog(interface, records, size_bytes, airtime_s, hours_for(airtime_s, hour_s))

    def join_estimate(self, interface: str, sent_bytes: int, received_bytes: int) -> JoinEstimate:
        """What a full exchange over an interface takes, if the other side may send as much.

        Raises:
            KeyError: there is no such interface.
        """
        hour_s = self._hour_s(interface) * self._plan.open_part
        return join_estimate(sent_bytes, received_bytes, self._costs[interface], hour_s=hour_s)

    def _hour_s(self, interface: str) -> float:
        """Seconds of each hour that ordinary records may use."""
        return self._own_hour_s(interface) * (1 - self._plan.removal_share)

    def _own_hour_s(self, interface: str) -> float:
        limit_s = self._ledger.own_limit_s(interface)
        return HOUR_S if limit_s is None else limit_s

    # -- what goes next --------------------------------------------------------------------------

    def next(self, interface: str, now_s: float, minute: int | None = None) -> Batch | Hold:
        """Choose a batch and reserve its air.

        Args:
            minute: of the local day, for quiet hours; None when the time is not known, and then
                there are none.
        """
        now_s = self._advance(now_s)
        cost = self._costs.get(interface)
        if cost is None or interface not in self._ledger.interfaces():
            return Hold(HoldReason.UNKNOWN_INTERFACE, _NEVER)
        while True:
            chosen = self._choose(interface, cost, now_s, minute)
            if isinstance(chosen, Hold):
                return chosen
            name, peer, first = chosen
            answer = self._hand(name, peer, first, cost, now_s)
            if not isinstance(answer, Refusal):
                return answer
            if answer.reason is not Reason.NEVER_FITS:
                return Hold(HoldReason(answer.reason), answer.wait_s)
            taken = peer.queue.take(*first.name)
            assert taken is not None
            peer.stuck[first.name] = taken
            self._counts["never_fits"] += 1

    def _choose(
        self, interface: str, cost: Cost, now_s: float, minute: int | None
    ) -> _Candidate | Hold:
        peers = [(n, p) for n, p in self._peers.items() if p.interface == interface and p.queue]
        if not peers:
            return Hold(HoldReason.NOTHING_TO_SEND, _NEVER)
        ready = [(n, p) for n, p in peers if p.held_until_s <= now_s]
        if not ready:
            wait_s = min(peer.held_until_s for _, peer in peers) - now_s
            return Hold(HoldReason.BACKING_OFF, wait_s)
        removals = self._candidates(ready, cost, now_s, removals=True)
        if removals:
            return min(removals, key=lambda each: self._rank(each, now_s))
        quiet_s = self._plan.quiet_s(minute)
        if quiet_s > 0:
            return Hold(HoldReason.QUIET_HOURS, quiet_s)
        if self._since_aged[interface] == AGED_EVERY - 1:
            others = self._candidates(ready, cost, now_s, removals=False, aged=True)
            if others:
                return min(others, key=lambda each: each[1].queue.arrival(each[2]))
        others = self._candidates(ready, cost, now_s, removals=False)
        if others:
            return min(others, key=lambda each: self._rank(each, now_s))
        return Hold(HoldReason.SHARE_USED, _LOOK_AGAIN_S)

    def _candidates(
        self,
        peers: list[tuple[str, RadioPeer]],
        cost: Cost,
        now_s: float,
        *,
        removals: bool,
        aged: bool = False,
    ) -> list[_Candidate]:
        """Peers whose first item of that sort is within their share."""
        found = []
        for name, peer in peers:
            first = (
                peer.queue.longest_waiting()
                if aged
                else next(peer.queue.in_order(removals=removals), None)
            )
            if first is not None and self._has_share(peer, first, cost, now_s):
                found.append((name, peer, first))
        return found

    def _has_share(self, peer: RadioPeer, first: Item, cost: Cost, now_s: float) -> bool:
        used_s = peer.used_s(now_s)
        return used_s == 0 or used_s + cost.batch_s(first.size_bytes) <= self._share_s(
            peer, now_s, removal=first.is_removal
        )

    def _share_s(self, peer: RadioPeer, now_s: float, *, removal: bool) -> float:
        """Seconds of each hour a peer may have."""
        assert peer.interface is not None
        alone = sum(each.interface == peer.interface for each in self._peers.values()) == 1
        if not peer.strikes(now_s) and (removal or alone):
            return math.inf
        return self._own_hour_s(peer.interface) * self._plan.peer_share * peer.part(now_s)

    def _rank(self, candidate: _Candidate, now_s: float) -> tuple[int, float, int, int]:
        _, peer, first = candidate
        had = peer.used_s(now_s) / peer.part(now_s)
        return priority(first.kind), had, first.age, peer.queue.arrival(first)

    # -- batches ---------------------------------------------------------------------------------

    def _hand(
        self, name: str, peer: RadioPeer, first: Item, cost: Cost, now_s: float
    ) -> Batch | Hold | Refusal:
        interface = peer.interface
        assert interface is not None
        handed_s = self.handed_s(interface)
        alone_s = cost.batch_s(first.size_bytes)
        if handed_s > 0 and handed_s + alone_s > HANDED_S_MAX:
            return Hold(HoldReason.HANDED_ENOUGH, _LOOK_AGAIN_S)
        keep_s = 0.0 if first.is_removal else self._kept_s(interface, alone_s)
        room_s = min(
            HANDED_S_MAX - handed_s,
            self._ledger.free_s(interface, now_s, keep_s=keep_s) - _ROUNDING_S,
            self._share_s(peer, now_s, removal=first.is_removal) - peer.used_s(now_s),
        )
        is_aged = self._since_aged[interface] == AGED_EVERY - 1 and (
            first is peer.queue.longest_waiting()
        )
        items = tuple(_filled(peer, first, cost, room_s))
        airtime_s = cost.batch_s(sum(item.size_bytes for item in items))
        answer = self._ledger.reserve(
            interface, airtime_s, now_s, frame_s=cost.frame_s, keep_s=keep_s
        )
        if isinstance(answer, Refusal):
            return answer
        taken = [peer.queue.take(*item.name) for item in items]
        arrivals = tuple(row[1] for row in taken if row is not None)
        batch = Batch(answer.number, interface, name, items, airtime_s)
        self._open[batch.number] = _Open(batch, answer, arrivals, now_s)
        peer.hand(batch.number, items, airtime_s)
        if not first.is_removal:
            turn = self._since_aged[interface] + 1
            self._since_aged[interface] = 0 if is_aged else min(turn, AGED_EVERY - 1)
        return batch

    def _kept_s(self, interface: str, needed_s: float) -> float:
        """Air kept for removals; none when that makes a record impossible that is possible."""
        own_s = self._ledger.own_limit_s(interface)
        kept_s = 0.0 if own_s is None else own_s * self._plan.removal_share
        return kept_s if own_s is None or needed_s + kept_s <= own_s else 0.0

    def handed_s(self, interface: str) -> float:
        """Air handed over on an interface and not finished."""
        return sum(
            each.batch.airtime_s
            for each in self._open.values()
            if each.batch.interface == interface
        )

    def is_open(self, number: int) -> bool:
        """Whether a batch is handed over and not finished."""
        return number in self._open

    def finish(
        self,
        number: int,
        now_s: float,
        *,
        delivered: Collection[tuple[EnvelopeKind, bytes]] | None = None,
        airtime_s: float | None = None,
        counted_s: float | None = None,
        wait_s: float | None = None,
    ) -> tuple[Item, ...]:
        """Say what became of a batch: what was not delivered waits again, in its old place.

        Args:
            delivered: names of the items that arrived; None for all. When none did, the peer is
                left alone for a while, longer each time.
            airtime_s: what it took; as reserved when not known, and 0 when nothing was sent.
            counted_s: as in `Ledger.commit`.
            wait_s: nothing arrived because the peer has no air to answer, and it said for how
                long; it is left alone at least so long.

        Returns:
            What waits again. Nothing for a batch that is not open.
        """
        found = self._open.pop(number, None)
        if found is None:
            return ()
        now_s = self._advance(now_s)
        batch = found.batch
        spent_s = batch.airtime_s if airtime_s is None else airtime_s
        if airtime_s == 0:
            self._ledger.release(found.reservation)
        else:
            self._ledger.commit(found.reservation, now_s, airtime_s=airtime_s, counted_s=counted_s)
        peer = self._peers.get(batch.peer)
        if peer is None or not peer.has_batch(number):
            return ()  # forgotten in between
        peer.take_back(number, batch.items, spent_s, now_s)
        back = [
            (item, arrival)
            for item, arrival in zip(batch.items, found.arrivals, strict=True)
            if delivered is not None and item.name not in delivered
        ]
        for item, arrival in back:
            peer.queue.put(item, arrival)
        if len(back) < len(batch.items):
            peer.arrived()
        else:
            self._counts["batch_failed" if wait_s is None else "peer_had_no_air"] += 1
            peer.failed(now_s, wait_s or 0.0)
        return tuple(item for item, _ in back)

    # -- inside ----------------------------------------------------------------------------------

    def _refuse(self, outcome: Offered) -> Offered:
        self._counts[outcome.value] += 1
        return outcome

    def _advance(self, now_s: float) -> float:
        """The time that counts: never earlier than it was. Batches nobody finished have failed."""
        if now_s > self._now_s:
            self._now_s = now_s
            late = [n for n, each in self._open.items() if now_s - each.begun_s >= BATCH_S_MAX]
            for number in late:
                self._counts["batch_lapsed"] += 1
                self.finish(number, now_s, delivered=())
        return self._now_s


def _filled(peer: RadioPeer, first: Item, cost: Cost, room_s: float) -> Iterator[Item]:
    """The first item, and more of its sort in order as long as they fit."""
    yield first
    size_bytes = first.size_bytes
    for item in peer.queue.in_order(removals=first.is_removal):
        if item.name != first.name:
            size_bytes += item.size_bytes
            if cost.batch_s(size_bytes) > room_s:
                return
            yield item
