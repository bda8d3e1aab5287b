"""`init`: a home for a new node."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.runtime.home import find_home

if TYPE_CHECKING:
    from ciris_mesh.runtime.home import Home

#: Role, which is an interface profile too -> what its configuration has instead of the defaults. In
#: a cell at 1 % a neighbour confirms a kind every few hours at best.
ROLES: Final[Mapping[str, Mapping[tuple[str, str], str]]] = {
    "field": {("rounds", "tau_partial_s"): "21600"},
    "gateway": {},
    "leaf": {},
    "hub": {},
}


@click.command(cls=Verb)
@click.option(
    "--name",
    required=True,
    metavar="NAME",
    help="What the node's key is called: 1 to 32 of a-z, 0-9 and -. It cannot be changed later.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Move a node that is there aside, to <home>.old-1, instead of refusing.",
)
@click.option(
    "--clock",
    type=click.Choice(["system", "assume-trusted"]),
    default="system",
    help="Who vouches for this machine's clock: the system (NTP, GPS, a battery-backed clock), or "
    "you. It is `clock` in the configuration.",
)
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    help="Also print the part of Reticulum's configuration that suits a node of this role.",
)
@click.option(
    "--store",
    metavar="URL",
    help="Keep records in this PostgreSQL database, postgresql://user@host/name, not in a file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def init(
    app: App,
    *,
    name: str,
    replace: bool,
    clock: str,
    role: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Create this node: its keys, a configuration that explains itself, and an empty store.

    Nothing is started and nothing outside the new directory is touched. Keep a copy of
    `federation.key` and `identity`: who has them is this node.
    """
    from ciris_mesh.runtime.keyids import NAME_RULE, is_name
    from ciris_mesh.runtime.setup import new_node, node_identity

    if not is_name(name):
        raise click.BadParameter(f"use {NAME_RULE}", param_hint="--name")
    place = find_home(app.config_dir).path
    settings = {("node", "clock"): clock, **ROLES.get(role or "", {}), **_store(store)}
    block = _block(role)
    if app.rns_config_dir is not None:
        settings["reticulum", "config_dir"] = str(app.rns_config_dir.expanduser().absolute())
    home = new_node(place, name, settings=settings, replace=replace)
    identity = node_identity(home)
    if as_json:
        print_json(
            {
                "home": str(home.path),
                "key_id": identity.key_id,
                "address": identity.address.hex(),
                "invite": identity.invite,
                **({} if role is None else {"role": role, "reticulum": block}),
            }
        )
        return
    option = "" if app.config_dir is None else f" --config {shlex.quote(str(home.path))}"
    click.echo(f"{identity.key_id}\n{identity.invite}")
    if role is not None:
        click.echo(f"\n{block}", nl=False)
    app.talk(
        f"\nCreated {home.path}.\n"
        "The first line above is this node's key id, the second its invite: the other\n"
        f"node's operator runs `ciris-mesh peer add` with it.\nNext: ciris-mesh run{option}"
    )
    if role is not None:
        app.talk(
            f"\nThe rest above is for Reticulum's configuration, of a {role}: nothing\n"
            "was written there. Change what says CHANGE-ME or example.org, restart rnsd, and\n"
            "look for traps: ciris-mesh interfaces check"
        )
    _warn_of_clock(app, home)


def _block(role: str | None) -> str:
    """The profile of a role; nothing writes it anywhere."""
    if role is None:
        return ""
    from ciris_mesh.radio.profiles import profile

    return profile(role).text


def _warn_of_clock(app: App, home: Home) -> None:
    """A node whose clock nobody vouches for signs nothing, not even who it is: say so now."""
    from ciris_mesh.runtime.clock import clock_of, untrusted
    from ciris_mesh.ui.words import wrapped

    problem = untrusted(clock_of(home))
    if problem:
        app.talk(wrapped(f"\nBut first: {problem}"))


def _store(url: str | None) -> dict[tuple[str, str], str]:
    if url is None:
        return {}
    from ciris_mesh.directory.pg_connect import is_url

    if not is_url(url) or not url.isprintable() or '"' in url:
        raise click.BadParameter("write postgresql://user@host/name", param_hint="--store")
    return {("store", "url"): f'"{url}"'}
