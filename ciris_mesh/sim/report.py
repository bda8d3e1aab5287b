"""What a simulation ends with. These dataclasses are the JSON of `sim --json`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LinkClass:
    """What went over one sort of link.

    Attributes:
        exchanges: things said; on a radio each side of a transfer is one.
        size_bytes: of these; idle_bytes: comparisons without news, beside these.
    """

    name: str
    exchanges: int = 0
    size_bytes: int = 0
    idle_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one."""
        self.exchanges += 1
        self.size_bytes += size_bytes


@dataclass(frozen=True, slots=True)
class Busiest:
    """The node that sent and received most, idle comparisons included."""

    name: str
    role: str
    peers: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SimReport:
    """How it ended.

    Attributes:
        without_all: nodes that lacked a record in the end.
        virtual_s: how long, in virtual time.
        converged_s: from the last record signed until every node had all; None when that was not
            reached. Of nodes reached by TCP and of field nodes alone likewise.
        worst_hour_s: most a radio sent in an hour, looked at once an hour; limit_s may be None.
    """

    seed: int
    nodes: int
    records: int
    converged: bool
    without_all: int
    virtual_s: float
    converged_s: float | None
    converged_tcp_s: float | None
    converged_cells_s: float | None
    links: tuple[LinkClass, ...]
    busiest: Busiest
    worst_hour_s: float
    limit_s: float | None
