"""Emulated radios as people see them: what to paste at the start, counters at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ciris_mesh.radio.lab import NodeCounters
from ciris_mesh.ui.tables import grid
from ciris_mesh.ui.words import count, size

_NUMBERS = ("sent", "bytes", "air s", "air %", "received", "collided", "lost", "missed", "dropped")


def counters_view(nodes: Sequence[NodeCounters], elapsed_s: float) -> RenderableType:
    """Return one row per node, in LoRa frames, and below it what was missed and dropped, by name.

    Args:
        elapsed_s: of the channel, for the share of airtime.
    """
    table = grid("node", *_NUMBERS, right=_NUMBERS)
    for node in nodes:
        missed = dict(node.missed)
        collided, lost = missed.pop("collided", 0), missed.pop("lost", 0)
        share = 100 * node.airtime_s / elapsed_s if elapsed_s > 0 else 0.0
        table.add_row(
            f"rnode{node.node}",
            str(node.frames_sent),
            size(node.bytes_sent),
            f"{node.airtime_s:.1f}",
            f"{share:.2f}",
            str(node.frames_received),
            str(collided),
            str(lost),
            str(sum(missed.values())),
            str(sum(node.dropped.values())),
        )
    head = Text(f"{count(len(nodes), 'radio')}, {elapsed_s:.0f} s of channel time", "head")
    parts: list[RenderableType] = [head, Text(), table]
    for what in ("missed", "dropped"):
        names = _total([getattr(node, what) for node in nodes])
        if names:
            said = ", ".join(f"{name} {number}" for name, number in sorted(names.items()))
            parts.append(Text(f"\n{what}: {said}", "dim"))
    return Group(*parts)


def _total(each: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(one.get(name, 0) for one in each) for one in each for name in one}
