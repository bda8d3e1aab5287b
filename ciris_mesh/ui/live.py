"""`status -m`: a screen that follows a node, or one snapshot after the other without a screen.

The view asks and draws; it holds no connection and knows nothing of sockets. It ends when the
person presses Ctrl-C or when `pause` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ciris_mesh.runtime.status import NodeStatus
from ciris_mesh.ui.tables import status_view
from ciris_mesh.ui.words import printable

#: As many as fit below the tables of a small mesh on a 40-line terminal.
EVENT_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the node said at one moment.

    Attributes:
        events: what rounds and batches came to since the snapshot before, oldest first.
    """

    status: NodeStatus
    events: tuple[dict[str, Any], ...]


def watch(console: Console, poll: Callable[[], Snapshot], pause: Callable[[], bool]) -> None:
    """Draw `poll()` again and again until `pause` returns False.

    Args:
        pause: waits for the time between two drawings; False ends the view.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        _watch_screen(console, poll, pause)
    else:
        _watch_plain(console, poll, pause)


def _watch_screen(
    console: Console, poll: Callable[[], Snapshot], pause: Callable[[], bool]
) -> None:
    recent: deque[str] = deque(maxlen=EVENT_LINES)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            snapshot = poll()
            recent.extend(map(event_line, snapshot.events))
            live.update(_screen(snapshot.status, recent), refresh=True)
            if not pause():
                return


def _screen(status: NodeStatus, recent: Iterable[str]) -> RenderableType:
    events = Text("\n" + "\n".join(recent), "dim", overflow="crop", no_wrap=True)
    return Group(status_view(status), events)


def _watch_plain(console: Console, poll: Callable[[], Snapshot], pause: Callable[[], bool]) -> None:
    while True:
        snapshot = poll()
        for event in snapshot.events:
            console.print(event_line(event), soft_wrap=True)
        console.print(status_view(snapshot.status))
        if not pause():
            return
        console.print()


def event_line(event: dict[str, Any]) -> str:
    """Return one event: its outcome, then counts above 0, then who and what, as pairs.

    A narrow screen crops the end, so what changed stands first.
    """
    what, outcome = event.get("event", "round"), event.get("outcome", "event")
    said = {key: event[key] for key in event if key not in ("event", "outcome", "number")}
    counts = {key: value for key, value in said.items() if type(value) is int}
    rest = {key: value for key, value in said.items() if key not in counts}
    pairs = [f"{key}={value}" for key, value in counts.items() if value]
    pairs += [f"{key}={value}" for key, value in rest.items() if value not in (None, "")]
    return printable(f"{what}.{outcome} {' '.join(pairs)}")
