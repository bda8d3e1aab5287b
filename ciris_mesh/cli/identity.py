"""`id` and `invite`: who this node is, and the line that lets another one add it."""

from __future__ import annotations

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import node_home
from ciris_mesh.cli.verbs import Verb


@click.command("id", cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def show_id(app: App, *, as_json: bool) -> None:
    """Show who this node is: key id, Reticulum address, fingerprint and words."""
    from ciris_mesh.runtime.setup import node_identity

    home = node_home(app)
    identity = node_identity(home)
    if as_json:
        print_json(
            {
                "key_id": identity.key_id,
                "address": identity.address.hex(),
                "fingerprint": identity.fingerprint.hex(),
                "words": list(identity.words),
                "home": str(home.path),
            }
        )
        return
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import pairs

    rows = [
        ("key id", identity.key_id),
        ("address", identity.address.hex()),
        ("fingerprint", identity.fingerprint.hex()),
        ("words", " ".join(identity.words)),
        ("home", str(home.path)),
    ]
    make_console().print(pairs(rows))


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def invite(app: App, *, as_json: bool) -> None:
    """Print this node's invite: one line the other node's operator gives to `peer add`.

    An invite holds no secret. Compare the words by voice or on paper: they are what shows that
    the line was not swapped on its way.
    """
    from ciris_mesh.runtime.setup import node_identity

    identity = node_identity(node_home(app))
    if as_json:
        print_json({"invite": identity.invite, "words": list(identity.words)})
        return
    click.echo(identity.invite)
    app.talk(
        f"\nWords to compare: {' '.join(identity.words)}\n"
        "The other operator runs: ciris-mesh peer add INVITE\n"
        "and gives you theirs: both nodes must know each other."
    )
