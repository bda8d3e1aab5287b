"""Airtime as people see it: what each radio used and may use, and what waits for whom."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ciris_mesh.runtime.budget import BudgetStatus, InterfaceBudget, PeerOwed
from ciris_mesh.ui.health import health_block
from ciris_mesh.ui.tables import grid
from ciris_mesh.ui.words import age, count, cut, plain, printable, size

_NAME_CHARS = 20
_NUMBERS = ("used s", "of s", "own", "others", "owed", "sent in")
_HOUR_S = 3_600.0


def budget_view(status: BudgetStatus) -> RenderableType:
    """Return the whole screen of `budget`."""
    health = health_block(status.health, _fine(status))
    if not status.interfaces:
        head = "No radio interface here: nothing is limited."
        return Group(health, Text(), Text(head), *_owed(status.owed), *_rest(status))
    head = "Seconds on air within the last hour."
    if status.quiet:
        head += f" Quiet hours {status.quiet}: only removals."
    table = interfaces_table(status.interfaces)
    parts: list[RenderableType] = [health, Text(), Text(head, "head"), table]
    if not all(each.counted for each in status.interfaces):
        parts.append(Text("\n?: nothing is counted there yet.", "dim"))
    return Group(*parts, *_owed(status.owed), *_rest(status))


def interfaces_table(interfaces: Sequence[InterfaceBudget]) -> Table:
    """Return one line per radio: used of what is allowed, by whom, and what waits for it."""
    table = grid("interface", "duty", *_NUMBERS, right=_NUMBERS)
    for each in interfaces:
        over = each.limit_s is not None and each.used_s is not None and each.used_s > each.limit_s
        style = "bad" if over or not each.online else ""
        name = cut(plain(each.name), _NAME_CHARS)
        limit = "-" if each.limit_s is None else f"{each.limit_s:g}"
        if each.used_s is None:
            table.add_row(name, each.duty, "?", limit, "?", "?", "?", "?", style=style)
            continue
        table.add_row(
            name,
            each.duty,
            f"{each.used_s:.1f}",
            limit,
            f"{each.own_s + each.handed_s:.1f}",
            f"{each.forwarded_s + each.reticulum_s:.1f}",
            size(each.owed_bytes) if each.owed_records else "0",
            _sent_in(each),
            style=style,
        )
    return table


def _sent_in(each: InterfaceBudget) -> str:
    if not each.owed_records:
        return ""
    return "never" if each.drain_h is None else age(each.drain_h * _HOUR_S)


def owed_table(owed: Sequence[PeerOwed]) -> Table:
    """Return one line per peer and kind, in the order they would be sent."""
    table = grid("owed to", "kind", "records", "size", "never fits", right=("records", "size"))
    for row in owed:
        table.add_row(
            printable(row.alias or row.peer),
            plain(row.kind),
            str(row.records),
            size(row.size_bytes),
            str(row.never_fits) if row.never_fits else "",
            style="warn" if row.never_fits else "",
        )
    return table


def _fine(status: BudgetStatus) -> str:
    if not status.interfaces:
        return "no radio, so there is no duty to keep"
    return f"{count(len(status.interfaces), 'radio')} within duty"


def _owed(owed: Sequence[PeerOwed]) -> list[RenderableType]:
    return [Text(), owed_table(owed)] if owed else [Text("\nNothing waits for the radio.")]


def _rest(status: BudgetStatus) -> list[RenderableType]:
    lines = [Text(plain(line)) for line in status.advice]
    if off := [kind for kind, how in status.policy.items() if how == "off"]:
        lines.append(Text(plain(f"Never by radio, as [radio] says: {', '.join(off)}.")))
    if status.counts:
        said = ", ".join(f"{name} {times}" for name, times in sorted(status.counts.items()))
        lines.append(Text(plain(said), "dim"))
    return [Text(), *lines] if lines else []
