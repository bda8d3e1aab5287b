"""`explain`: what a name on a screen, in a log or in `--json` means."""

from __future__ import annotations

from dataclasses import asdict

import click

from ciris_mesh.cli.app import Failure, print_json
from ciris_mesh.cli.verbs import Verb


@click.command(cls=Verb)
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def explain(*, name: str | None, as_json: bool) -> None:
    """Say what NAME means and what helps; without NAME, list all.

    NAME is any reason of a refusal, drop, alert or failed round, a trap of the interface check or
    a check of `ciris-mesh doctor`, as screens, logs and --json have it.
    """
    from ciris_mesh.ui.explain import close_to, explanation_lines, list_lines, names
    from ciris_mesh.ui.explain import explain as look_up

    if name is None:
        rows = [asdict(each) for known in names() for each in look_up(known)]
        print_json(rows) if as_json else click.echo("\n".join(list_lines()))
        return
    found = look_up(name)
    if not found:
        close = close_to(name)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise Failure(f"{name[:60]!r} is no name of this version; {hint}all: ciris-mesh explain")
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        click.echo("\n".join(explanation_lines(found)))
