"""What every bench ends with: rows of a quantity, its floor, and the limit of their ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity. Seconds, milliseconds, megabytes or statements: `quantity` says which.

    Attributes:
        floor: what it is compared with, in the same unit.
        ratio: measured / floor; compared with `limit`.
        limit: None for what is shown for information only.
        ok: the ratio is within the limit.
    """

    quantity: str
    measured: float
    floor: float
    ratio: float
    limit: float | None
    ok: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one bench."""

    bench: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """True when every row is."""
        return all(row.ok for row in self.rows)

    def fields(self) -> dict[str, Any]:
        """The one line of `--json`."""
        return {"bench": self.bench, "rows": [asdict(row) for row in self.rows]}


def row(quantity: str, measured: float, *, floor: float, limit: float | None) -> Row:
    """Compare a quantity with its floor.

    Args:
        floor: above zero; for an absolute limit, one unit or the limit itself.
        limit: None when nothing is demanded of it.
    """
    ratio = measured / floor
    return Row(
        quantity,
        round(measured, 4),
        round(floor, 4),
        round(ratio, 3),
        limit,
        limit is None or ratio <= limit,
    )


def median(values: Sequence[float]) -> float:
    """The middle one of `values`, the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]
