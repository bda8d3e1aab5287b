"""`records --waiting`: what came and is on no shelf yet, for what it waits, and how long."""

from __future__ import annotations

from typing import Any, Final

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask, locked_home, node_health, open_directory
from ciris_mesh.errors import NodeNotRunning

#: As many as a node answers at once.
_PAGE: Final = 100
#: Wider than any line of ids, so that none is folded.
_WIDE: Final = 10_000

Waiting = list[dict[str, Any]]


def show_waiting(
    app: App, kind: str | None, limit: int, after: int, *, wide: bool, as_json: bool
) -> None:
    """Print what waits, the longest waiting first."""
    found = _page_through(app, kind, limit + 1, after)
    if as_json:
        print_json(found[:limit])
        return
    from ciris_mesh.runtime.clock import SystemClock
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.health import health_block
    from ciris_mesh.ui.waiting import waiting_table

    problems, _ = node_health(app)
    fine = "what waits comes in by itself when what it waits for does"
    if not found:
        what = f"no record of kind {kind} waits" if kind else "no record waits for another"
        fine = f"{what}: all that came could be judged"
    console = make_console()
    console.print(health_block(problems, fine))
    if found:
        if wide:
            console.width = _WIDE
        console.print()
        console.print(waiting_table(found[:limit], SystemClock().wall_ms(), wide=wide))
    if len(found) > limit:
        app.talk(f"There are more: add --after {found[limit - 1]['position']}")
    elif not found:
        app.talk("Nothing waits." if not after else "Nothing waits after this position.")


def _page_through(app: App, kind: str | None, limit: int, after: int) -> Waiting:
    found: Waiting = []
    while len(found) < limit and (page := _waiting(app, after)):
        found += [row for row in page if kind in (None, row["kind"])]
        after = page[-1]["position"]
    return found[:limit]


def _waiting(app: App, after: int) -> Waiting:
    try:
        answer = ask(app, "waiting", limit=_PAGE, after=after)
        assert isinstance(answer, list)
        return answer
    except NodeNotRunning:
        from ciris_mesh.runtime.operations import waiting_fields

        with locked_home(app) as home, open_directory(home) as directory:
            return [waiting_fields(it) for it in directory.waiting(limit=_PAGE, after=after)]
