"""The demo as people see it: a table that fills up, and one sentence at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ciris_mesh.demo.progress import Channel, DemoResult, Phase, Progress
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.ui.tables import grid
from ciris_mesh.ui.words import count, size

#: As many node columns as fit beside the kind names at 80 columns.
COLUMNS_MAX: Final = 6
#: Where there is no terminal, a line at least so often.
_LINE_S: Final = 10.0
#: What 1 % of an hour is.
_DUTY_S: Final = 36.0


def progress_view(progress: Progress) -> RenderableType:
    """Return kinds by nodes for a small mesh, nodes with totals for a larger one."""
    head = Text(f"{progress.phase.value} ({progress.elapsed_s:.0f} s)", "head")
    if not progress.nodes:
        return head
    view = _by_kind if len(progress.nodes) <= COLUMNS_MAX else _by_node
    return Group(head, Text(), view(progress))


def _by_kind(progress: Progress) -> RenderableType:
    names = tuple(node.name for node in progress.nodes)
    table = grid("kind", *names, right=names)
    kinds = sorted({kind for node in progress.nodes for kind in node.held}, key=_wire_order)
    for kind in kinds:
        counts = [node.held.get(kind, 0) for node in progress.nodes]
        style = "good" if len(set(counts)) == 1 else "warn"
        table.add_row(_short(kind), *map(str, counts), style=style)
    table.add_row("total", *(f"{node.total}/{progress.signed}" for node in progress.nodes))
    if progress.channel is not None:
        table.add_row("on air", *(f"{each.airtime_s:.0f} s" for each in progress.channel.nodes))
    return table


def _by_node(progress: Progress) -> RenderableType:
    table = grid("node", "records", right=("records",))
    for node in progress.nodes:
        style = "good" if node.total >= progress.signed else "warn"
        table.add_row(node.name, f"{node.total}/{progress.signed}", style=style)
    return table


def _wire_order(kind: str) -> int:
    return list(EnvelopeKind).index(EnvelopeKind(kind))


def _short(kind: str) -> str:
    return kind.replace("_revocation", " removal").replace("_", " ")


def progress_line(progress: Progress) -> str:
    """Return the same in one line, for logs and pipes."""
    held = ", ".join(f"{node.name} {node.total}" for node in progress.nodes)
    if len(progress.nodes) > COLUMNS_MAX:
        totals = [node.total for node in progress.nodes]
        held = f"{len(totals)} nodes hold {min(totals)} to {max(totals)}"
    text = f"{progress.elapsed_s:5.1f} s  {progress.phase.value}"
    if not held:
        return text
    air = "" if progress.channel is None else f", {_airtime_s(progress.channel):.0f} s on air"
    return f"{text}: {held} of {progress.signed}{air}"


@contextmanager
def follow(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows progress: a live table, or lines where there is no terminal."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda progress: live.update(progress_view(progress), refresh=True)
        return
    last: list[tuple[Phase, tuple[int, ...], int]] = []

    def show(progress: Progress) -> None:
        totals = tuple(node.total for node in progress.nodes)
        state = (progress.phase, totals, int(progress.elapsed_s // _LINE_S))
        if last != [state]:  # a pipe gets a line when something changed, and now and then
            last[:] = [state]
            console.print(progress_line(progress), soft_wrap=True)

    yield show


def result_view(result: DemoResult) -> RenderableType:
    """Return the outcome as a sentence, and below it what was on the air."""
    if result.channel is None:
        return result_text(result)
    return Group(result_text(result), Text(), *_channel_view(result.channel))


def _channel_view(channel: Channel) -> tuple[RenderableType, ...]:
    numbers = ("frames", "bytes", "air s", "air %", "takes at 1 %")
    table = grid("node", *numbers, right=numbers)
    for each in channel.nodes:
        share = 100 * each.airtime_s / channel.channel_s if channel.channel_s else 0.0
        table.add_row(
            each.name,
            str(each.frames),
            size(each.bytes),
            f"{each.airtime_s:.1f}",
            f"{share:.1f}",
            f"{each.airtime_s / _DUTY_S:.1f} h",
        )
    pace = "" if channel.speed == 1 else f", passed {channel.speed:g} x as fast"
    head = (
        f"{channel.channel_s:.0f} s of one channel, SF{channel.sf} in "
        f"{channel.bandwidth_hz // 1000} kHz, {channel.bitrate_bps} bit/s{pace}."
    )
    return Text(head, "head"), table


def _airtime_s(channel: Channel) -> float:
    return sum(each.airtime_s for each in channel.nodes)


def result_text(result: DemoResult) -> Text:
    """Return the outcome as a sentence."""
    what = (
        f"{result.nodes} nodes, {count(result.records, 'record')} of "
        f"{count(result.kinds, 'kind')}, "
        f"{size(result.bytes)} sent, {result.seconds:.1f} s"
    )
    if result.converged:
        return Text(f"Converged: {what}. Every envelope id is equal on all nodes.", "good")
    return Text(f"Not converged: {what}.", "bad")
