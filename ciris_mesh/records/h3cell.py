"""H3 cell ids as location proofs carry them: read, check, coarsen. Bits only, no geometry.

An id is 64 bits, written as hex without leading zeros (a cell always has 15 digits):

    63       0
    59..62   mode: 1 is a cell
    56..58   0 for cells
    52..55   resolution 0..15
    45..51   base cell 0..121
    0..44    fifteen digits of 3 bits, coarsest first: 0..6 down to the resolution, 7 below it

Twelve base cells are pentagons: the first digit that is not 0 cannot be 1 there. Source: the H3
index format; the limit on resolutions is records-and-protocol.md, section 4.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.outcome import Reason

#: The finest a location may be told: a cell of about 5 square kilometres.
RESOLUTION_MAX: Final = 7

_FINEST: Final = 15
_CELL: Final = re.compile(r"[0-9a-f]{15}")
_MODE_CELL: Final = 1
_BASE_CELLS: Final = 122
_PENTAGONS: Final = frozenset({4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117})
_UNUSED: Final = 7
#: The direction a pentagon lacks.
_MISSING_DIRECTION: Final = 1


@dataclass(frozen=True, slots=True)
class H3Cell:
    """One valid cell. `str` of it is the id again."""

    index: int

    def __str__(self) -> str:
        return f"{self.index:x}"

    @property
    def resolution(self) -> int:
        """0 (a continent's part) to 15 (a square metre)."""
        return (self.index >> 52) & 0xF

    def ancestor(self, resolution: int) -> H3Cell:
        """The cell of a coarser resolution, or the same one, that this cell descends from.

        Raises:
            ValueError: the resolution is finer than this cell's, or below 0.
        """
        if not 0 <= resolution <= self.resolution:
            raise ValueError(f"a cell of resolution {self.resolution} has none at {resolution}")
        below = (1 << 3 * (_FINEST - resolution)) - 1
        cleared = self.index & ~(0xF << 52)
        return H3Cell(cleared | resolution << 52 | below)

    def is_within(self, container: H3Cell) -> bool:
        """True when this cell is `container` or one of its descendants."""
        coarser = container.resolution
        return coarser <= self.resolution and self.ancestor(coarser) == container


def parse_cell(text: str) -> H3Cell:
    """Read a cell id.

    Raises:
        MalformedRecord: `value_not_allowed`: not 15 lowercase hex digits, or no cell's id.
    """
    if _CELL.fullmatch(text) is None:
        raise _no_cell(text, "write its 15 hex digits in lowercase, such as 872830828ffffff")
    cell = H3Cell(int(text, 16))
    if cell.index >> 56 != _MODE_CELL << 3:
        raise _no_cell(text, "it names an edge, a corner or nothing")
    base = (cell.index >> 45) & 0x7F
    digits = [(cell.index >> 3 * place) & 7 for place in range(_FINEST - 1, -1, -1)]
    used, unused = digits[: cell.resolution], digits[cell.resolution :]
    if base >= _BASE_CELLS or _UNUSED in used or set(unused) - {_UNUSED}:
        raise _no_cell(text, "no such cell exists")
    first = next(filter(None, used), 0)
    if base in _PENTAGONS and first == _MISSING_DIRECTION:
        raise _no_cell(text, "no such cell exists")
    return cell


def location_cell(text: str, resolution: int) -> H3Cell:
    """Read a cell that may stand in a record beside its resolution.

    Raises:
        MalformedRecord: `value_not_allowed`: as `parse_cell`, or the id says another resolution,
            or it is finer than `RESOLUTION_MAX`.
    """
    cell = parse_cell(text)
    if cell.resolution != resolution:
        raise MalformedRecord(
            Reason.VALUE_NOT_ALLOWED,
            f"cell {text} has resolution {cell.resolution}, not {resolution}",
        )
    if resolution > RESOLUTION_MAX:
        raise MalformedRecord(
            Reason.VALUE_NOT_ALLOWED,
            f"a cell of resolution {resolution} is too precise to be told; "
            f"{cell.ancestor(RESOLUTION_MAX)} is the one around it",
        )
    return cell


def _no_cell(text: str, why: str) -> MalformedRecord:
    return MalformedRecord(Reason.VALUE_NOT_ALLOWED, f"{text[:40]!r} is no H3 cell: {why}")
