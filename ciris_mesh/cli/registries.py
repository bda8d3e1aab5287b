"""`registries`, and `peer add --registry`: the public registry nodes this node exchanges with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.node import ask, node_home
from ciris_mesh.cli.peerbook import running_or_home
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import ControlError, NodeNotRunning

if TYPE_CHECKING:
    from ciris_mesh.runtime.home import Home

#: Decisions about peers that say nothing of registry nodes.
_PEERS_ONLY: Final = ("alias", "note", "direction", "kinds")


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def registries(app: App, *, as_json: bool) -> None:
    """Show public registry nodes, and why what they brought is only bridged.

    Which ones is said in [trust] registries of the configuration, or by `peer add --registry`: a
    key id and an Ed25519 key each, as their operators publish them. `ciris-mesh explain NAME` says
    what a reason means.
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
        app.talk(
            "No registry nodes. Name them in [trust] registries of the configuration, or with: "
            "ciris-mesh peer add KEY_ID --registry KEY"
        )


def refuse_for_registries(alias: str, decisions: Mapping[str, Any]) -> None:
    """Take no decision that would mean nothing.

    Raises:
        click.UsageError: there is one.
    """
    given = {"alias": alias or None, **decisions}
    for name in _PEERS_ONLY:
        if given.get(name) is not None:
            raise click.UsageError(f"--{name} is about nodes of the mesh; leave it out here")


def pin(app: App, key_id: str, digits: str, basis: str, *, bootstrap: bool, as_json: bool) -> None:
    """Write a registry node down: this node exchanges with it whenever it runs."""
    from ciris_mesh.runtime.clock import SystemClock
    from ciris_mesh.runtime.config import load_config
    from ciris_mesh.runtime.registrybook import PinnedRegistry, RegistryBook
    from ciris_mesh.runtime.registryoperations import pinned_row
    from ciris_mesh.runtime.registrypins import read_registries

    try:
        (pinned,) = read_registries((f"{key_id} {digits} {basis}".strip(),))
    except ValueError:
        raise click.UsageError(
            "--registry takes the Ed25519 key of the node, 64 hex digits, behind its key id"
        ) from None

    def into(home: Home) -> dict[str, Any]:
        book = RegistryBook.load(home.registries, load_config(home.config).trust.registries)
        entry = book.add(PinnedRegistry(pinned, bootstrap, SystemClock().wall_ms()))
        return dict(pinned_row(entry))

    given: dict[str, Any] = {"key_id": key_id, "ed25519": digits, "basis": basis}
    given["bootstrap"] = bootstrap
    row = running_or_home(app, lambda: ask(app, "registry_pin", **given), into)
    if as_json:
        print_json(row)
        return
    click.echo(key_id)
    app.talk("\nPinned. The node exchanges with it whenever it runs.")
    if not load_config(node_home(app).config).registry.edge:
        app.talk("It needs edge = yes in [registry] of the configuration, and a start.")


def unpin(app: App, key_id: str, *, even_bootstrap: bool, as_json: bool) -> bool:
    """Forget a registry node that was pinned by command; False when none is called so."""
    from ciris_mesh.runtime.registrybook import RegistryBook

    book = RegistryBook.load(node_home(app).registries)
    if key_id not in {each.pin.key_id for each in book.pinned()}:
        return False

    def out_of(home: Home) -> dict[str, Any]:
        RegistryBook.load(home.registries).remove(key_id, even_bootstrap=even_bootstrap)
        return {"removed": key_id}

    more = {"even_bootstrap": True} if even_bootstrap else {}
    row = running_or_home(app, lambda: ask(app, "registry_unpin", key_id=key_id, **more), out_of)
    if as_json:
        print_json(row)
    else:
        app.talk(f"Removed {row['removed']}.")
    return True


def show_below(app: App) -> None:
    """Under the peers, show registry nodes, if there are any and the node runs."""
    from ciris_mesh.cli.plain import load
    from ciris_mesh.runtime.status import RegistryStatus
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import registries_view

    try:
        answer = ask(app, "registries")
    except (NodeNotRunning, ControlError, Failure):  # or it is older and does not know this
        return
    if answer:
        console = make_console()
        console.print()
        rows = [load(RegistryStatus, row, strict=False) for row in answer]
        console.print(registries_view(rows))
