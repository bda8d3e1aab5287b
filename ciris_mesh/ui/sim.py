"""How a simulation ended, on 80 columns."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ciris_mesh.sim.report import SimReport
from ciris_mesh.ui.tables import grid, pairs
from ciris_mesh.ui.words import age, count, size


def report_view(report: SimReport) -> RenderableType:
    """Return the whole of it."""
    verdict = (
        Text(f"converged: {count(report.nodes, 'node')}, {count(report.records, 'record')}", "good")
        if report.converged
        else Text(f"NOT converged: {count(report.without_all, 'node')} lack a record", "bad")
    )
    limit = "" if report.limit_s is None else f" of {report.limit_s:g} s"
    busiest = report.busiest
    facts = pairs(
        [
            ("since the last record was signed", _time(report.converged_s)),
            ("nodes with TCP alone", _time(report.converged_tcp_s)),
            ("field nodes alone", _time(report.converged_cells_s)),
            ("most on air in an hour", f"{report.worst_hour_s:g} s{limit}"),
            (
                "busiest node",
                f"{busiest.name}, {count(busiest.peers, 'peer')}, {size(busiest.size_bytes)}",
            ),
        ]
    )
    numbers = ("said", "bytes", "without news")
    table = grid("links", *numbers, right=numbers)
    for link in report.links:
        table.add_row(
            link.name, f"{link.exchanges:,}", size(link.size_bytes), size(link.idle_bytes)
        )
    return Group(verdict, facts, Text(), table)


def _time(seconds: float | None) -> str:
    return "never" if seconds is None else age(seconds)
