"""One peer as the planner sees it: what it is owed, what it had, how far it is trusted. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ciris_mesh.protocol.outqueue import ITEMS_MAX, Item, OutQueue
from ciris_mesh.protocol.window import SlidingSum, to_s, to_us
from ciris_mesh.records.kinds import EnvelopeKind

#: Coarser than the ledger: shares are no law. 361 entries a peer.
_SLOT_S: Final = 10.0
#: Each strike halves a peer's share, down to a sixteenth: what is owed to it still arrives.
STRIKES_MAX: Final = 4
#: One strike is forgotten each hour: as long as what the penalty is about, airtime, counts.
STRIKE_S: Final = 3_600.0
#: After a transfer of which nothing arrived, doubled each time. A link that fails costs 1 s of air
#: at least, so an absent peer costs 1 % of a 1 % hour, not all of it.
BACKOFF_S: Final = 60.0
BACKOFF_S_MAX: Final = 3_600.0


class RadioPeer:
    """State of one peer. `now_s` never goes back between calls.

    Attributes:
        interface: over which it is reached now; None when it is not.
        is_peer: it is configured here, not just heard.
        queue: what waits.
        handed: items handed to Reticulum and neither delivered nor returned, by name.
        stuck: items no hour of this interface has room for, with their arrival.
        beyond: kind -> (records, bytes) it lacks that are in none of these.
    """

    def __init__(self) -> None:
        self.interface: str | None = None
        self.is_peer = True
        self.queue = OutQueue()
        self.handed: dict[tuple[EnvelopeKind, bytes], Item] = {}
        self.stuck: dict[tuple[EnvelopeKind, bytes], tuple[Item, int]] = {}
        self.beyond: dict[EnvelopeKind, tuple[int, int]] = {}
        self.held_until_s = 0.0
        self._had = SlidingSum(_SLOT_S)
        self._handed_s: dict[int, float] = {}
        self._strikes = 0
        self._struck_s = 0.0
        self._failures = 0

    # -- what it is owed -------------------------------------------------------------------------

    def has(self, item: Item) -> bool:
        """Whether the item is on its list already."""
        return item.name in self.queue or item.name in self.handed or item.name in self.stuck

    @property
    def is_full(self) -> bool:
        """Whether another item needs one to leave. Items that may come back hold their place."""
        return len(self.queue) + len(self.handed) + len(self.stuck) >= ITEMS_MAX

    def leave_out(self, item: Item) -> None:
        """Count what it is owed and there is no place for."""
        records, size_bytes = self.beyond.get(item.kind, (0, 0))
        self.beyond[item.kind] = (records + 1, size_bytes + item.size_bytes)

    def owed(self) -> tuple[Counter[EnvelopeKind], Counter[EnvelopeKind]]:
        """Records and bytes by kind, handed over and not delivered ones included."""
        records: Counter[EnvelopeKind] = Counter()
        sizes: Counter[EnvelopeKind] = Counter()
        stuck = (item for item, _ in self.stuck.values())
        for item in (*self.queue, *self.handed.values(), *stuck):
            records[item.kind] += 1
            sizes[item.kind] += item.size_bytes
        for kind, (more, size_bytes) in self.beyond.items():
            records[kind] += more
            sizes[kind] += size_bytes
        return records, sizes

    def unstick(self) -> None:
        """Put back what did not fit: the interface has changed."""
        for item, arrival in self.stuck.values():
            self.queue.put(item, arrival)
        self.stuck.clear()

    # -- what it had -----------------------------------------------------------------------------

    def used_s(self, now_s: float) -> float:
        """Air of the last hour, and what is handed over."""
        return to_s(self._had.total_us(now_s)) + sum(self._handed_s.values())

    def hand(self, number: int, items: tuple[Item, ...], airtime_s: float) -> None:
        """Count a batch as handed over."""
        self._handed_s[number] = airtime_s
        self.handed.update((item.name, item) for item in items)

    def has_batch(self, number: int) -> bool:
        """Whether that batch is handed over to it."""
        return number in self._handed_s

    def take_back(
        self, number: int, items: tuple[Item, ...], airtime_s: float, now_s: float
    ) -> None:
        """Count a batch as over; it took so much air."""
        del self._handed_s[number]
        for item in items:
            self.handed.pop(item.name, None)
        self._had.add(to_us(airtime_s), now_s)

    # -- how far it is trusted -------------------------------------------------------------------

    def strikes(self, now_s: float) -> int:
        """Strikes that still count."""
        gone = int((now_s - self._struck_s) // STRIKE_S) if self._strikes else 0
        if gone:
            self._strikes = max(self._strikes - gone, 0)
            self._struck_s += gone * STRIKE_S
        return self._strikes

    def strike(self, now_s: float) -> None:
        """Add one."""
        self._strikes = min(self.strikes(now_s) + 1, STRIKES_MAX)
        self._struck_s = now_s

    def part(self, now_s: float) -> float:
        """What strikes leave of its share."""
        return float(0.5 ** self.strikes(now_s))

    def arrived(self) -> None:
        """Something reached it."""
        self._failures = 0
        self.held_until_s = 0.0

    def failed(self, now_s: float, wait_s: float = 0.0) -> None:
        """Nothing of a batch reached it.

        Args:
            wait_s: it asked to be left alone for so long; each time it is asked costs a link.
        """
        backoff_s = BACKOFF_S * 2.0**self._failures
        self.held_until_s = now_s + min(max(wait_s, backoff_s), BACKOFF_S_MAX)
        self._failures = min(self._failures + 1, 10)
