"""`status`: what the running node says about itself.

This module and all it imports stay light: the answer is a question to a socket.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask
from ciris_mesh.cli.quick import status_answer
from ciris_mesh.cli.remote import takes_remote
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.runtime.status import NodeStatus
    from ciris_mesh.ui.live import Snapshot

#: Often enough to watch rounds go by, rare enough not to show up in `top`.
INTERVAL_S: Final = 1.0
#: A status takes kilobytes over a network somebody else uses too.
REMOTE_INTERVAL_S: Final = 15.0


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("-m", "--monitor", is_flag=True, help="Keep showing it until Ctrl-C.")
@click.option(
    "-I",
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    metavar="SECONDS",
    help=f"Time between two looks with -m: {INTERVAL_S:g} if not given, {REMOTE_INTERVAL_S:g} "
    "with -R.",
)
@click.option("--check", is_flag=True, help="Exit with 1 unless the node runs and is healthy.")
@takes_remote
@click.pass_context
def status(
    ctx: click.Context, *, as_json: bool, monitor: bool, interval: float | None, check: bool
) -> None:
    """Show how the running node is doing: health, peers, records, interfaces.

    The exit code is 0 when the question was answered, whatever the answer; --check makes it 1
    when the node is not running or has something to complain of.
    """
    app: App = ctx.obj
    if monitor:
        usual_s = INTERVAL_S if app.remote is None else REMOTE_INTERVAL_S
        _monitor(app, interval or usual_s, as_json=as_json)
        return
    answer = _answer(app)
    if as_json:
        print_json(answer)
    elif answer["running"]:
        _show(answer)
    else:
        _show_health(app, answer["health"])
    if check and (answer["health"] or not answer["running"]):
        ctx.exit(1)


def _answer(app: App) -> dict[str, Any]:
    if app.remote is None:
        return status_answer(app.config_dir)
    return {"running": True, **ask(app, "status")}


def _show(answer: dict[str, Any]) -> None:
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import status_view

    make_console().print(status_view(_parse(answer)))


def _show_health(app: App, problems: list[str]) -> None:
    """As `ui.health` does, without loading it: this answer should be as quick as any."""
    click.echo("\n".join(["# Health", *(f"! {app.hinted(line)}" for line in problems)]))


def _parse(answer: dict[str, Any]) -> NodeStatus:
    from ciris_mesh.cli.plain import load
    from ciris_mesh.runtime.status import NodeStatus

    parsed: NodeStatus = load(NodeStatus, answer, strict=False)
    return parsed


def _monitor(app: App, interval_s: float, *, as_json: bool) -> None:
    try:
        if as_json:
            while True:
                print_json(_answer(app))
                time.sleep(interval_s)
        _watch(app, interval_s)
    except KeyboardInterrupt:
        return  # how a person ends it


def _watch(app: App, interval_s: float) -> None:
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.live import Snapshot, watch

    seen = 0

    def poll() -> Snapshot:
        nonlocal seen
        events = ask(app, "events", after=seen)
        seen = max([seen, *(event["number"] for event in events)])
        return Snapshot(_parse(ask(app, "status")), tuple(events))

    def pause() -> bool:
        time.sleep(interval_s)
        return True

    watch(make_console(), poll, pause)
