"""`budget`: what the radio may still send, and what waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask
from ciris_mesh.cli.remote import takes_remote
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.runtime.budget import BudgetStatus


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--check", is_flag=True, help="Exit with 1 when a radio is over its limit.")
@takes_remote
@click.pass_context
def budget(ctx: click.Context, *, as_json: bool, check: bool) -> None:
    """Show the airtime of each radio: used, allowed, and what waits.

    The hour is the one that ends now. "own" is what this node sent for records, "others" what
    Reticulum sent besides: announces, answers, packets of other nodes. "sent in" says how long it
    takes to send what is owed at the present duty.
    """
    app: App = ctx.obj
    answer = ask(app, "budget")
    if as_json:
        print_json(answer)
    else:
        from ciris_mesh.ui.budget import budget_view
        from ciris_mesh.ui.console import make_console

        make_console().print(budget_view(_parse(app, answer)))
    if check and answer["health"]:
        ctx.exit(1)


def _parse(app: App, answer: dict[str, Any]) -> BudgetStatus:
    from ciris_mesh.cli.plain import load
    from ciris_mesh.runtime.budget import BudgetStatus

    parsed: BudgetStatus = load(BudgetStatus, answer, strict=False)
    return replace(parsed, advice=tuple(map(app.hinted, parsed.advice)))
