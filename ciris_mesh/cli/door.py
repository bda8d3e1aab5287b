"""`peer allow`, `ignore` and their opposites: which strangers may knock at this node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask
from ciris_mesh.cli.peerbook import running_or_home
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.runtime.home import Home

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.command(cls=Verb)
@click.argument("name", metavar="ADDRESS|KEY_ID")
@_json_option
@click.pass_obj
def allow(app: App, *, name: str, as_json: bool) -> None:
    """Let only this stranger, and others so named, come to this node at all.

    As long as nobody is allowed by name, everybody may knock. Peers always come in. To become a
    peer takes `peer add` in any case.
    """
    _change(app, "allowed", name, on=True, as_json=as_json)


@click.command(cls=Verb)
@click.argument("name", metavar="ADDRESS|KEY_ID")
@_json_option
@click.pass_obj
def unallow(app: App, *, name: str, as_json: bool) -> None:
    """Take a stranger off the list of the allowed."""
    _change(app, "allowed", name, on=False, as_json=as_json)


@click.command(cls=Verb)
@click.argument("name", metavar="ADDRESS|KEY_ID")
@_json_option
@click.pass_obj
def ignore(app: App, *, name: str, as_json: bool) -> None:
    """Close every link of this stranger, and never list it as a candidate."""
    _change(app, "ignored", name, on=True, as_json=as_json)


@click.command(cls=Verb)
@click.argument("name", metavar="ADDRESS|KEY_ID")
@_json_option
@click.pass_obj
def unignore(app: App, *, name: str, as_json: bool) -> None:
    """Let a stranger knock again."""
    _change(app, "ignored", name, on=False, as_json=as_json)


def _change(app: App, which: str, name: str, *, on: bool, as_json: bool) -> None:
    def in_home(home: Home) -> dict[str, Any]:
        from ciris_mesh.runtime.door import Door
        from ciris_mesh.runtime.peerbook import PeerBook
        from ciris_mesh.runtime.peeroperations import refuse_peer

        door = Door.load(home.path)
        if on:
            refuse_peer(PeerBook.load(home.peers), which, name)
            door.put(which, name)
        else:
            door.take(which, name)
        return {which: list(door.names(which))}

    answer = running_or_home(app, lambda: ask(app, "door", list=which, name=name, on=on), in_home)
    if as_json:
        print_json(answer)
    else:
        app.talk(f"{which}: {', '.join(answer[which]) or 'nobody by name'}")
