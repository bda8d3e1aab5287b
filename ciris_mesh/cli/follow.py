"""`peer follow`: a peer has handed over to a new key, and this node goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask, open_directory
from ciris_mesh.cli.peerbook import peer_rows, running_or_home
from ciris_mesh.cli.signing import confirm
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.runtime.home import Home


@click.command(cls=Verb)
@click.argument("name", metavar="PEER")
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; does not ask.")
@click.pass_obj
def follow(app: App, *, name: str, yes: bool, as_json: bool) -> None:
    """Go with PEER to the new key its old one says follows it.

    A stolen key could say so as well: compare the words with its operator by voice or on paper
    first. What the old key signed stays true and is passed on as before.
    """
    from ciris_mesh.runtime.words import words

    found, address = _handover(app, name)
    comparable = words(bytes.fromhex(found["fingerprint"]), bytes.fromhex(address))
    app.talk(
        f"{found['old']} hands over to {found['new']}.\n"
        f"Words to compare with its operator: {' '.join(comparable)}"
    )
    confirm("Are they the same, and shall this node follow?", yes=yes or as_json)
    _follow(app, found)
    if as_json:
        print_json({**found, "words": list(comparable)})
    else:
        app.talk(f"Following {found['new']}.")


def _handover(app: App, name: str) -> tuple[dict[str, str], str]:
    """(whom it hands over to, its address)."""
    from ciris_mesh.cli.lookup import find_peer_row

    row = find_peer_row(peer_rows(app), name)
    found = running_or_home(
        app,
        lambda: ask(app, "peer_handover", key_id=row["key_id"]),
        lambda home: _handover_here(home, row["key_id"]),
    )
    return found, row["address"]


def _handover_here(home: Home, key_id: str) -> dict[str, str]:
    from ciris_mesh.runtime.handover import find_handover
    from ciris_mesh.runtime.peerbook import PeerBook
    from ciris_mesh.runtime.peeroperations import handover_row

    with open_directory(home) as directory:
        return handover_row(
            PeerBook.load(home.peers).find(key_id), find_handover(directory, key_id)
        )


def _follow(app: App, found: dict[str, str]) -> None:
    running_or_home(
        app,
        lambda: ask(app, "peer_follow", key_id=found["old"], to=found["new"]),
        lambda home: _follow_here(home, found),
    )


def _follow_here(home: Home, found: dict[str, str]) -> None:
    from ciris_mesh.runtime.former import add_former
    from ciris_mesh.runtime.peerbook import PeerBook

    add_former(home.former, found["old"])
    fingerprint = bytes.fromhex(found["fingerprint"])
    PeerBook.load(home.peers).follow(found["old"], found["new"], fingerprint)
