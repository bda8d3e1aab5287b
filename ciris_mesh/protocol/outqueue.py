"""What one peer is still to get by radio, in the order it should. Pure.

Two orders at once: by class and age, which is how things are normally sent, and by arrival here,
which is what nobody can push in front of.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ciris_mesh.records.kinds import REMOVALS, EnvelopeKind

#: Of one peer. As many ids as it may ask for at once (`limits.DIFF_WANT_MAX`): more would wait
#: for weeks at 1 %, and are named again by the next comparison. Some 300 kB.
ITEMS_MAX: Final = 1024

_MIDDLE: Final = (
    EnvelopeKind.KEY,
    EnvelopeKind.IDENTITY_OCCURRENCE,
    EnvelopeKind.ATTESTATION,
)
CLASSES: Final = len(_MIDDLE) + 2


def priority(kind: EnvelopeKind) -> int:
    """The class of a kind: 0 goes first, removals, which overtake all others (see `planner`)."""
    if kind in REMOVALS:
        return 0
    return 1 + _MIDDLE.index(kind) if kind in _MIDDLE else CLASSES - 1


@dataclass(frozen=True, slots=True)
class Item:
    """One record that a peer lacks.

    Attributes:
        size_bytes: as it will be coded.
        age: smaller is older: a position in the store, say, or the record's time.
    """

    kind: EnvelopeKind
    envelope_id: bytes
    size_bytes: int
    age: int

    @property
    def is_removal(self) -> bool:
        """Whether it takes somebody's standing away."""
        return self.kind in REMOVALS

    @property
    def name(self) -> tuple[EnvelopeKind, bytes]:
        """What tells it from all others."""
        return self.kind, self.envelope_id


#: Orders within a class: older first, then as they came.
_Key = tuple[int, int]
_Row = tuple[_Key, Item]


class OutQueue:
    """At most ITEMS_MAX items of one peer."""

    def __init__(self) -> None:
        self._classes: tuple[list[_Row], ...] = tuple([] for _ in range(CLASSES))
        self._rows: dict[tuple[EnvelopeKind, bytes], _Row] = {}  # by name

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Item]:
        return (item for rows in self._classes for _, item in rows)

    def __contains__(self, name: tuple[EnvelopeKind, bytes]) -> bool:
        return name in self._rows

    @property
    def is_full(self) -> bool:
        """Whether another item needs one to leave."""
        return len(self) >= ITEMS_MAX

    def put(self, item: Item, arrival: int) -> None:
        """Add an item that is not here. `arrival` numbers items as they came, over all peers."""
        assert item.name not in self._rows, "put twice"
        row = self._rows[item.name] = ((item.age, arrival), item)
        bisect.insort(self._classes[priority(item.kind)], row, key=_key)

    def take(self, kind: EnvelopeKind, envelope_id: bytes) -> tuple[Item, int] | None:
        """Remove an item and return it with its arrival; None when it is not here."""
        row = self._rows.pop((kind, envelope_id), None)
        if row is None:
            return None
        key, item = row
        rows = self._classes[priority(kind)]
        del rows[bisect.bisect_left(rows, key, key=_key)]
        return item, key[1]

    def arrival(self, item: Item) -> int:
        """The number it came with."""
        return self._rows[item.name][0][1]

    def in_order(self, *, removals: bool) -> Iterator[Item]:
        """Items of the first class, or of all others, as they should be sent."""
        classes = self._classes[:1] if removals else self._classes[1:]
        return (item for rows in classes for _, item in rows)

    def longest_waiting(self) -> Item | None:
        """The item that came first, removals apart."""
        rows = [row for each in self._classes[1:] for row in each]
        return min(rows, key=lambda row: row[0][1])[1] if rows else None

    def least(self) -> Item | None:
        """The item missed least: of the last class here the one that came last; no removal."""
        rows = next((rows for rows in reversed(self._classes[1:]) if rows), None)
        return max(rows, key=lambda row: row[0][1])[1] if rows else None


def _key(row: _Row) -> _Key:
    return row[0]
