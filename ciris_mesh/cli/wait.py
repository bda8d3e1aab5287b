"""`wait` and `sync`: a script's way to act when nodes agree, or to make them."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.lookup import find_peer_row
from ciris_mesh.cli.node import ask
from ciris_mesh.cli.remote import takes_remote
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.ui.words import ascii_text, count

#: A hundred records between two nodes on a slow but awake link; scripts set their own.
TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.2
#: Reasons shown when giving up; `peers` has all of them.
_SHOWN_MAX: Final = 10


@click.command(cls=Verb)
@click.option(
    "--converged",
    is_flag=True,
    default=True,
    help="Wait until every peer confirmed that it and this node hold the same (the default).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Give up after this long.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_context
def wait(ctx: click.Context, *, converged: bool, timeout: float, as_json: bool) -> None:
    """Wait until this node and its peers agree.

    The exit code is 0 when they do and 1 when the time is over; what is still missing is then
    said on stderr.
    """
    assert converged, "the only thing to wait for"
    app: App = ctx.obj
    if not ask(app, "peers"):
        raise Failure("no peers; add one with: ciris-mesh peer add INVITE")
    start_s = time.monotonic()
    answer = _poll(app, start_s, start_s + timeout)
    if as_json:
        seconds = round(time.monotonic() - start_s, 3)
        print_json({**answer, "seconds": seconds})
    elif answer["converged"]:
        app.talk("This node and its peers agree.")
    else:
        waiting = answer["waiting"]
        app.talk(f"Not converged after {timeout:g} s. Waiting for:")
        for line in waiting[:_SHOWN_MAX]:
            app.talk(f"  {line}")
        if len(waiting) > _SHOWN_MAX:
            app.talk(f"  and {len(waiting) - _SHOWN_MAX} more; see: ciris-mesh peers")
    if not answer["converged"]:
        ctx.exit(1)


def _poll(app: App, start_s: float, deadline_s: float) -> dict[str, Any]:
    """Ask for comparisons, then for an agreement confirmed since: an older one proves nothing."""
    ask(app, "sync")
    while True:
        answer = ask(app, "converged", within_s=time.monotonic() - start_s)
        assert isinstance(answer, dict)
        left_s = deadline_s - time.monotonic()
        if answer["converged"] or left_s <= 0:
            return answer
        time.sleep(min(_POLL_S, left_s))


@click.command(cls=Verb)
@click.argument("peer")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@takes_remote
@click.pass_obj
def sync(app: App, *, peer: str, as_json: bool) -> None:
    """Ask the running node for rounds with PEER now instead of at its own time.

    PEER is an alias or a key id, as `ciris-mesh peers` shows them, or the beginning of a key id.
    """
    row = find_peer_row(ask(app, "peers"), peer)
    answer = ask(app, "sync", peer=row["key_id"])
    if as_json:
        print_json(answer)
        return
    name = ascii_text(row["alias"] or row["key_id"])
    app.talk(f"{count(answer['queued'], 'round')} queued with {name}.")
    if row["state"] != "connected":
        why = row["reason"] or row["state"]
        app.talk(f"{name} is not connected ({why}): nothing is exchanged before it is.")
