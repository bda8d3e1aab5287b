"""Short ids: what stands for a record in one exchange, and for nothing in the next.

An id of 32 bytes is far too long for a sketch. Its short id is a keyed BLAKE2b of the whole id and
its kind, taken modulo a prime. The key is the exchange's salt and both hello nonces, so nobody can
prepare records whose short ids are equal: before the link is there, nobody knows the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NewType

from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.wire.mesh_reconcile import (
    BUCKET_DIGEST_BYTES,
    CHECK_BYTES,
    HISTOGRAM_CELLS,
    PRIMES,
)

#: A copy id (32 bytes, see WIRE.md), then the kind's number (one byte).
Item = NewType("Item", bytes)

_ID_BYTES: Final = 32
#: Of 64 hash bits the low 48 become the short id (its bias is 2**-16 of a value's weight), the
#: high 16 choose cells, so that a cell says nothing about the ids in it.
_VALUE_MASK: Final = (1 << 48) - 1
_CELL_BITS: Final = 16
#: A short id within cells: the cell's number above these bits, the id below.
CELL_SHIFT: Final = 32

_BY_NUMBER: Final = {row.number: kind for kind, row in KINDS.items()}


def item(kind: EnvelopeKind, copy_id: bytes) -> Item:
    """One element of a view. `copy_id` is 32 bytes."""
    assert len(copy_id) == _ID_BYTES, "ids are 32 bytes"
    return Item(copy_id + bytes((KINDS[kind].number,)))


def kind_of(element: Item) -> EnvelopeKind:
    """The kind of an item."""
    return _BY_NUMBER[element[_ID_BYTES]]


def id_of(element: Item) -> bytes:
    """The copy id of an item."""
    return element[:_ID_BYTES]


@dataclass(frozen=True, slots=True)
class SaltedSet:
    """A snapshot of items (or of bucket digests) under the key of one exchange.

    Attributes:
        items: each once, in any order; not changed afterwards.
        key: salt and nonces, 1 .. 64 bytes.
    """

    items: Sequence[bytes]
    key: bytes
    _hashes: list[int] = field(default_factory=list, repr=False, compare=False)
    _values: dict[tuple[int, int], list[int]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def hashes(self) -> list[int]:
        """64 keyed bits for each item, in the order of the items. Computed once."""
        if not self._hashes and self.items:
            keyed = hashlib.blake2b(digest_size=8, key=self.key, person=b"ciris-mesh ids")
            out = []
            for element in self.items:
                one = keyed.copy()
                one.update(element)
                out.append(int.from_bytes(one.digest()))
            self._hashes.extend(out)
        return self._hashes

    def values(self, width: int, cells_log2: int = 0) -> list[int]:
        """For each item its short id, 1 .. p - 1, with the number of its cell above bit 32.

        Zero is left out: its powers are nothing, a sketch would not see it.
        """
        if (width, cells_log2) not in self._values:
            span = PRIMES[width] - 1
            if cells_log2:
                shift = 48 + _CELL_BITS - cells_log2
                self._values[width, cells_log2] = [
                    (value >> shift << CELL_SHIFT) + 1 + (value & _VALUE_MASK) % span
                    for value in self.hashes
                ]
            else:
                self._values[width, 0] = [1 + (value & _VALUE_MASK) % span for value in self.hashes]
        return self._values[width, cells_log2]

    def cells(self, width: int, cells_log2: int) -> list[list[int]]:
        """The short ids of each of 2**cells_log2 cells, without the cell's number."""
        groups: list[list[int]] = [[] for _ in range(1 << cells_log2)]
        mask = (1 << CELL_SHIFT) - 1
        for value in self.values(width, cells_log2):
            groups[value >> CELL_SHIFT].append(value & mask)
        return groups

    def histogram(self) -> bytes:
        """How many items fall into each of 64 cells, modulo 256."""
        counts = [0] * HISTOGRAM_CELLS
        for value in self.hashes:
            counts[(value >> 48) % HISTOGRAM_CELLS] += 1
        return bytes(count & 0xFF for count in counts)


def check_of(items: Iterable[bytes], key: bytes) -> bytes:
    """Four bytes of a keyed hash over sorted items: do both sides mean the same set?"""
    joined = b"".join(sorted(items))
    return hashlib.blake2b(
        joined, digest_size=CHECK_BYTES, key=key, person=b"ciris-mesh check"
    ).digest()


def bucket_elements(digests: Sequence[bytes]) -> list[bytes]:
    """Each bucket as an element of a set: its number, then what its ids hash to."""
    return [number.to_bytes(2) + digest for number, digest in enumerate(digests)]


def short_digests(elements: SaltedSet) -> bytes:
    """Three bytes of each bucket's salted digest, in order."""
    mask = (1 << 8 * BUCKET_DIGEST_BYTES) - 1
    return b"".join([(value & mask).to_bytes(BUCKET_DIGEST_BYTES) for value in elements.hashes])
