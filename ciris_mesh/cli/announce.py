"""`announce`: say now that this node is here, instead of at its own time."""

from __future__ import annotations

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask
from ciris_mesh.cli.verbs import Verb


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_obj
def announce(app: App, *, as_json: bool) -> None:
    """Say to every node in reach, now, that this one is here.

    A node does so by itself when it starts, when a connection comes up, and every few hours.
    Somebody who came later hears it next time, or now. Their `ciris-mesh peers --candidates` then
    lists this node. A radio sends it once an hour at most, for it is everybody's air.
    """
    answer = ask(app, "announce")
    if as_json:
        print_json(answer)
        return
    app.talk(f"Announced as {answer['address']}.")
    if answer["radios_left_out"]:
        app.talk("Not by radio: the last time there is less than an hour ago.")
