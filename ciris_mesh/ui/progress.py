"""A bar on stderr for work that takes a while; nothing for work that does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

#: Work done before this is over before a person wonders.
APPEARS_AFTER_S: Final = 2.0

#: (how far, what to say beside the bar)
Report = Callable[[int, str], None]


@contextmanager
def bar(
    console: Console,
    title: str,
    total: int | None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Report]:
    """Show how far the work inside is, once it takes longer than two seconds.

    Away from a terminal, and on a quiet console, nothing is shown.

    Args:
        total: what "how far" ends at; None when nobody knows.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    )
    task = progress.add_task(title, total=total, note="")
    is_shown = console.is_terminal and not console.quiet
    appears_s = clock() + APPEARS_AFTER_S

    def report(done: int, note: str) -> None:
        progress.update(task, completed=done, note=note)
        if is_shown and clock() >= appears_s:
            progress.start()  # a second time does nothing

    try:
        yield report
    finally:
        if progress.live.is_started:
            progress.stop()
