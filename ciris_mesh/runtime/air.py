"""The airtime budget at work: what goes out by radio asks here first, and what went out is counted.

    lets_begin, lets_answer     is there air to compare with a peer, or to be compared with?
    pay                         a frame goes out: here is its air, or NoAir
    plan, take, finish          records wait in the planner, and go when it says so
    tick                        twice a minute: what did the interfaces send, and what may go now?

Links over anything but radio are not looked at. Records are never paid for by frame: the planner
reserves for a whole batch, with what it takes to dial and compare first; those frames then draw on
that (`credit`). All else is paid as it is said. What Reticulum sends besides (announces, proofs,
repeats, what it forwards) is seen in what the interface counts.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import NoAir
from ciris_mesh.protocol.account import SavedInterface, Source
from ciris_mesh.protocol.handover import Batch, lacked_bytes
from ciris_mesh.protocol.ledger import Refusal, Reservation
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.airfile import AirFile
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.onair import NOTHING, RADIO_CADENCE_S, OnAir, Sent, on_air
from ciris_mesh.transport.base import InterfaceRow
from ciris_mesh.wire.frame import wrap
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_records import Records

logger = logging.getLogger(__name__)

#: A budget of 1 % is 36 s an hour: looked at twice a minute nothing of it waits for long.
TICK_S: Final = 30.0
#: Kept on disk this often when something changed, and before each batch.
SAVE_S: Final = 180.0

Named = tuple[EnvelopeKind, bytes]


@dataclass(slots=True)
class _Credit:
    """What batches of one peer reserved for dialling and comparing, and what of it was used."""

    left: Sent = NOTHING
    used: Sent = NOTHING


class Air:
    """See the module. Thread-safe.

    Args:
        rows: the transport's interfaces; may block for a moment.
        clock: monotonic seconds.
        minute: of the local day; None while the time is not known.
        file: where the hour is kept over a restart; None to forget it.

    Attributes:
        on_batch: called with a peer's key id when a batch for it was chosen; must only enqueue.
    """

    def __init__(
        self,
        budget: RadioBudget,
        *,
        rows: Callable[[], Iterable[InterfaceRow]],
        clock: Callable[[], float],
        minute: Callable[[], int | None] = lambda: None,
        file: AirFile | None = None,
    ) -> None:
        self.budget = budget
        self.on_batch: Callable[[str], None] = lambda _key_id: None
        self._rows = rows
        self._clock = clock
        self._minute = minute
        self._file = file
        self._writing = threading.Lock()  # one writer; taken before the lock below, never after
        self._looking = threading.Lock()  # one reader of the interfaces; the same
        self._lock = budget.lock  # guards ledger, planner and all below
        self._prices: dict[str, OnAir] = {}
        self._own: set[str] = set()  # interfaces of this process: they count from 0 at each start
        self._is_radio_only = False
        self._pending: dict[str, deque[Batch]] = {}
        self._credit: dict[str, _Credit] = {}
        self._kept: tuple[SavedInterface, ...] | None = ()
        self._kept_ago_s: float | None = None
        self._saved_s = -math.inf

    # -- the interfaces --------------------------------------------------------------------------

    def start(self) -> None:
        """Take up the hour that was kept, and look at the interfaces. Once, before all else."""
        if self._file is not None:
            self._kept, self._kept_ago_s = self._file.read(self._clock())
        self.tick()

    def stop(self) -> None:
        """Count what was sent last, and write it down."""
        self.look()
        self.save()

    def look(self) -> list[InterfaceRow]:
        """Count what the interfaces sent. Returns all of them; blocks for a moment."""
        with self._looking:  # a count that is older than the last would look like a radio reset
            rows = list(self._rows())
            self._count_all(rows)
        return rows

    def _count_all(self, rows: list[InterfaceRow]) -> None:
        with self._lock:
            now_s = self._clock()
            online = [row for row in rows if row.online]
            self._is_radio_only = bool(online) and all(row.medium == "radio" for row in online)
            for row in rows:
                if row.medium == "radio":
                    self._count(row, now_s)

    def tick(self) -> list[InterfaceRow]:
        """Count what the interfaces sent, and hand over what may go; returns them. Blocks for a
        moment.
        """
        rows = self.look()
        for row in rows:
            if row.medium == "radio":
                self.pump(row.name)
        if self._clock() - self._saved_s >= SAVE_S:
            self.save()
        return rows

    def _count(self, row: InterfaceRow, now_s: float) -> None:
        price = on_air(row)
        ledger, planner = self.budget.ledger, self.budget.planner
        if self._prices.get(row.name) != price:
            rule = self.budget.settings.rule_for(row.name)
            is_new = row.name not in ledger.interfaces()
            ledger.set_interface(row.name, rule, reports=True)
            planner.set_interface(row.name, price.cost())
            self._prices[row.name] = price
            if row.lora is not None:
                self._own.add(row.name)
            if is_new:
                self._restore(row.name, now_s)
        hour_s = None if row.airtime_hour is None else 3_600 * row.airtime_hour
        ledger.report(row.name, price.counted_s(row.tx_bytes), now_s, hour_s=hour_s)

    def _restore(self, name: str, now_s: float) -> None:
        ledger = self.budget.ledger
        if self._kept is None:  # nobody knows what was sent
            limit_s = self.budget.settings.rule_for(name).limit_s
            ledger.charge(name, limit_s or 0.0, now_s, Source.RETICULUM)
            return
        mine = tuple(each for each in self._kept if each.interface == name)
        ledger.restore(mine, now_s, elapsed_s=self._kept_ago_s)

    def save(self) -> None:
        """Write down the hour."""
        if self._file is None:
            return
        with self._writing:
            self._save(self._file)

    def _save(self, file: AirFile) -> None:
        with self._lock:
            now_s = self._clock()
            self._saved_s = now_s
            saved = self.budget.ledger.save(now_s)
            # The count of an interface of this process begins at 0 with the next one: that is no
            # sign of anything sent meanwhile.
            rows = tuple(
                SavedInterface(each.interface, None, each.sent)
                if each.interface in self._own
                else each
                for each in saved
            )
        file.write(rows, now_s)

    def covers(self, state: LinkState) -> str:
        """The radio interface a link goes over; empty when it is none.

        A slow link of which nobody knows the interface goes over the first radio there is: the
        rnsd of this machine does not say where those come from that others dial.
        """
        if state.medium == "radio":
            return state.interface
        if state.medium == "unknown" and state.is_slow:
            with self._lock:
                return next(iter(self._prices), "")
        return ""

    def off(self, state: LinkState) -> frozenset[EnvelopeKind]:
        """Kinds not exchanged on a link: comparing what is never sent would cost air for ever."""
        if not self.covers(state):
            return frozenset()
        plan = self.budget.settings.plan()
        return frozenset(kind for kind in EnvelopeKind if not plan.allows(kind, is_peer=True))

    def way_to(self, last: str | None) -> str:
        """The radio over which a peer without a link would be dialled; empty when it is none.

        Args:
            last: the radio of its last link, empty when that was none; None when there was no link.
        """
        if last is not None:
            return last
        with self._lock:
            return next(iter(self._prices), "") if self._is_radio_only else ""

    # -- comparing and saying --------------------------------------------------------------------

    def lets_begin(
        self, key_id: str, interface: str, *, dials: bool, needs_s: float, urgent: bool
    ) -> float:
        """Is there air to compare with a peer, and for what usually follows? Dialling is paid here.

        Args:
            needs_s: seconds on air that were lacking the last time.
            urgent: a removal waits; then the part kept for removals may be used.

        Returns:
            Seconds to wait; 0 for "begin".
        """
        with self._lock:
            price, ledger, now_s = self._prices.get(interface), self.budget.ledger, self._clock()
            if price is None:
                return TICK_S
            dial = price.dial() if dials else NOTHING
            if key_id in self._pending:  # a batch waits for this, and has reserved it
                self._draw(key_id, dial)
                return 0.0
            own_s = ledger.own_limit_s(interface)
            keep_s = price.comparison().airtime_s + max(price.exchange().airtime_s, needs_s)
            if own_s is not None:
                kept_s = 0.0 if urgent else own_s * self.budget.settings.removal_share
                keep_s = max(min(keep_s + kept_s, own_s - dial.airtime_s - 0.01), 0.0)
            answer = ledger.reserve(interface, dial.airtime_s, now_s, keep_s=keep_s)
            if isinstance(answer, Refusal):
                return min(max(answer.wait_s, 1.0), 3_600.0)
            self._spend(interface, price, dial, answer)
            return 0.0

    def cadence_s(self, interface: str, peers: int) -> float:
        """How seldom views are compared with each of so many peers when nothing is new."""
        with self._lock:
            price = self._prices.get(interface)
            if price is None:
                return RADIO_CADENCE_S
            return price.cadence_s(peers, self.budget.ledger.own_limit_s(interface))

    def quiet_s(self) -> float:
        """Seconds for which nothing but removals is sent."""
        return self.budget.settings.plan().quiet_s(self._minute())

    def lets_answer(self, state: LinkState) -> None:
        """The peer compares. Nothing is paid yet.

        Raises:
            NoAir: there is not enough to answer and take a batch.
        """
        interface = self.covers(state)
        if not interface:
            return
        with self._lock:
            price = self._prices.get(interface)
            if price is None:
                raise NoAir(TICK_S, 0.0)
            needed_s = price.comparison().airtime_s + price.exchange().airtime_s
            own_s = self.budget.ledger.own_limit_s(interface)
            needed_s = needed_s if own_s is None else min(needed_s, own_s)
            answer = self.budget.ledger.reserve(interface, needed_s, self._clock())
            if isinstance(answer, Refusal):
                raise NoAir(answer.wait_s, needed_s)
            self.budget.ledger.release(answer)

    def pay(
        self, state: LinkState, frame: bytes, *, once: bool = False, in_any_case: bool = False
    ) -> None:
        """Count a frame that goes out, unless a batch has paid for it.

        Args:
            once: each peer gets one, and it may take what is left of the hour.
            in_any_case: say it and be it too much: one word that saves more.

        Raises:
            NoAir: there is none, and the frame must not go.
        """
        interface = self.covers(state)
        price = self._prices.get(interface)
        if not interface:
            return
        if price is None:
            raise NoAir(TICK_S, 0.0)
        sent = price.frame(frame)
        with self._lock:
            if state.key_id is not None and self._draw(state.key_id, sent):
                return
            now_s = self._clock()
            if in_any_case:
                self.budget.ledger.charge(interface, sent.airtime_s, now_s, Source.OWN)
                return
            answer = self.budget.ledger.reserve(
                interface, sent.airtime_s, now_s, frame_s=price.frame_s, whole=once
            )
            if isinstance(answer, Refusal):
                raise NoAir(answer.wait_s, sent.airtime_s)
            self._spend(interface, price, sent, answer)

    def _spend(self, interface: str, price: OnAir, sent: Sent, paid: Reservation) -> None:
        """What was reserved is handed over this moment. Lock held."""
        ledger = self.budget.ledger
        if not sent.size_bytes:
            ledger.release(paid)
        else:
            ledger.commit(paid, self._clock(), counted_s=price.counted_s(sent.size_bytes))

    def _draw(self, key_id: str, sent: Sent) -> bool:
        """Take it from what a batch has reserved; False when that is not enough. Lock held."""
        credit = self._credit.get(key_id)
        if credit is None or credit.left.airtime_s < sent.airtime_s:
            return False
        credit.left = Sent(credit.left.airtime_s - sent.airtime_s, 0)
        credit.used += sent
        return True

    # -- records ---------------------------------------------------------------------------------

    def reach(self, key_id: str, interface: str) -> None:
        """A peer has a link now, over that radio; over something else when empty."""
        with self._lock:
            self.budget.planner.set_peer(key_id, interface or None)

    def compared(self, state: LinkState, ours: Digests, theirs: Digests) -> None:
        """Views were compared: tell people when it takes days to make them one."""
        interface, key_id = self.covers(state), state.key_id
        if key_id is None:
            return
        if not interface:
            self.budget.forget_join(key_id)
            return
        mine = {entry.kind: entry.count for entry in ours.entries}
        others = {entry.kind: entry.count for entry in theirs.entries}
        sent, received = lacked_bytes(others, mine), lacked_bytes(mine, others)
        if self.budget.note_join(key_id, interface, sent, received):
            logger.warning("join.takes_days peer=%s send=%d receive=%d", key_id, sent, received)

    def penalize(self, key_id: str, reason: str) -> None:
        """A peer sent what it should not: half of its share of the air is gone for an hour."""
        with self._lock:
            self.budget.planner.penalize(key_id, reason, self._clock())

    def forget(self, key_id: str) -> None:
        """It is no peer any more."""
        self.fail(key_id)
        self.budget.forget_join(key_id)
        with self._lock:
            self.budget.planner.forget_peer(key_id)

    def plan(self, key_id: str, items: Collection[Item], *, is_all: bool) -> None:
        """A comparison showed what a peer lacks: it waits for its air from now on.

        Args:
            is_all: it lacks nothing else.
        """
        with self._lock:
            planner = self.budget.planner
            if is_all:
                planner.keep_only(key_id, {item.name for item in items})
            for item in items:
                planner.offer(key_id, item)

    def pump(self, interface: str) -> None:
        """Hand over what may go now, to whomever the planner says."""
        chosen: list[str] = []
        with self._lock:
            price, planner = self._prices.get(interface), self.budget.planner
            if price is None:
                return
            minute = self._minute()
            while isinstance(batch := planner.next(interface, self._clock(), minute), Batch):
                self._pending.setdefault(batch.peer, deque()).append(batch)
                credit = self._credit.setdefault(batch.peer, _Credit())
                credit.left += price.dial() + price.comparison()
                chosen.append(batch.peer)
        if chosen:
            self.save()  # a crash must not make them unsent
        for key_id in chosen:
            self.on_batch(key_id)

    def owes(self, interface: str) -> bool:
        """Whether anybody that can be reached over a radio waits for a record."""
        with self._lock:
            return self.budget.planner.owes(interface, self._clock())

    def has_batch(self, key_id: str) -> bool:
        """Whether a batch waits to be sent to a peer."""
        with self._lock:
            return key_id in self._pending

    def take(self, key_id: str) -> list[Batch]:
        """The batches to be sent to a peer now. End each with `finish`."""
        with self._lock:
            is_open = self.budget.planner.is_open  # one that nobody took for an hour is not
            return [each for each in self._pending.pop(key_id, ()) if is_open(each.number)]

    def finish(
        self,
        batch: Batch,
        *,
        delivered: Collection[Named] | None,
        message: Records | None = None,
        wait_s: float | None = None,
    ) -> None:
        """Say what became of a batch.

        Args:
            delivered, wait_s: as in `Planner.finish`.
            message: what was sent; None for nothing.
        """
        price = self._prices[batch.interface]
        sent = NOTHING if message is None else price.frame(wrap(message))
        with self._lock:
            credit = self._credit.get(batch.peer)
            if credit is not None:
                sent += credit.used
                credit.used = NOTHING
                if batch.peer not in self._pending:
                    del self._credit[batch.peer]
            self.budget.planner.finish(
                batch.number,
                self._clock(),
                delivered=delivered,
                airtime_s=sent.airtime_s,
                counted_s=price.counted_s(sent.size_bytes),
                wait_s=wait_s,
            )

    def fail(self, key_id: str, wait_s: float | None = None) -> None:
        """What was to be sent to a peer now can't be: it waits again, and the peer is let alone.

        Args:
            wait_s: the peer said so.
        """
        for batch in self.take(key_id):
            self.finish(batch, delivered=(), wait_s=wait_s)
