"""`registries`: the public registry nodes this node exchanges with."""

from __future__ import annotations

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask
from ciris_mesh.cli.verbs import Verb


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def registries(app: App, *, as_json: bool) -> None:
    """Show public registry nodes, and why what they brought is only bridged.

    Which ones is said in [trust] registries of the configuration: a key id and an Ed25519 key
    each, as their operators publish them. `ciris-mesh explain NAME` says what a reason means.
    """
    answer = ask(app, "registries")
    if as_json:
        print_json(answer)
    elif answer:
        from ciris_mesh.cli.plain import load
        from ciris_mesh.runtime.status import RegistryStatus
        from ciris_mesh.ui.console import make_console
        from ciris_mesh.ui.tables import registries_view

        rows = [load(RegistryStatus, row, strict=False) for row in answer]
        make_console().print(registries_view(rows))
    else:
        app.talk("No registry nodes. Name them in [trust] registries of the configuration.")
