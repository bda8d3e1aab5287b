"""`interfaces`: profiles to copy from, and a look at what Reticulum is configured to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.verbs import Verb

_STYLES: Final = {"error": "bad", "warning": "warn", "advice": "dim"}

_json_option = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")


@click.group()
def interfaces() -> None:
    """Interface profiles for Reticulum, and a check of a configuration there is.

    Nothing here changes any file: copy what you need.
    """


@interfaces.command("list", cls=Verb)
@_json_option
def list_(*, as_json: bool) -> None:
    """List the profiles: radios by region, nodes by role."""
    from ciris_mesh.radio.profiles import profiles
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import grid

    found = profiles()
    if as_json:
        print_json([{"name": each.name, "summary": each.summary} for each in found])
        return
    table = grid("profile", "")
    for each in found:
        table.add_row(each.name, each.summary)
    make_console().print(table)


@interfaces.command(cls=Verb)
@click.argument("name")
@_json_option
def show(*, name: str, as_json: bool) -> None:
    """Print a profile, ready for Reticulum's configuration."""
    from ciris_mesh.radio.profiles import profile

    found = profile(name)
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(found.text, nl=False)


@interfaces.command(cls=Verb)
@_json_option
@click.pass_context
def check(ctx: click.Context, *, as_json: bool) -> None:
    """Look for settings of Reticulum's interfaces that do not do what they seem to.

    It reads the configuration that --rnsconfig names, or the one Reticulum would find, and never
    changes it. The exit code is 1 when something does not work or breaks the law of its band.
    """
    from ciris_mesh.radio.traps import Level
    from ciris_mesh.radio.traps import check as find_traps
    from ciris_mesh.transport.rns_config import (
        find_reticulum_config,
        interface_types,
        parse_config,
    )
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import grid

    app: App = ctx.obj
    place = find_reticulum_config(app.rns_config_dir)
    found = find_traps(
        parse_config(place),
        known_types=interface_types(place),
        port_exists=lambda port: Path(port).exists(),
    )
    if as_json:
        rows = [asdict(each) for each in found]
        print_json({"config": str(place / "config"), "findings": rows})
    elif found:
        table = grid("", "interface", "what to do")
        for each in found:
            table.add_row(each.level.value, each.interface, each.text, style=_STYLES[each.level])
        make_console().print(table)
    else:
        click.echo(f"Nothing to change in {place / 'config'}.")
    if any(each.level is Level.ERROR for each in found):
        ctx.exit(1)
