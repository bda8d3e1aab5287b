"""`peer add`, `peer remove`, `peer list` and `peers`: whom this node exchanges with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.lookup import find_peer_row
from ciris_mesh.cli.node import ask, locked_home
from ciris_mesh.cli.signing import confirm
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.ui.words import ascii_text

if TYPE_CHECKING:
    from ciris_mesh.runtime.invite import Invite
    from ciris_mesh.runtime.peerbook import Peer, PeerBook

#: An invite has about 130 characters; a pasted mail around it is not one.
INVITE_CHARS_MAX: Final = 4096

T = TypeVar("T")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group()
def peer() -> None:
    """Add, remove or list the nodes this one exchanges records with."""


@peer.command(cls=Verb)
@click.argument("invite")
@click.option("--alias", default="", metavar="NAME", help="What you call this peer.")
@_json_option
@click.pass_obj
def add(app: App, *, invite: str, alias: str, as_json: bool) -> None:
    """Add the node whose INVITE this is; "-" reads it from standard input.

    The other side must add this node too. Compare the words with its operator by voice or on
    paper: if they differ, remove the peer again, the invite was swapped.
    """
    from ciris_mesh.runtime.invite import parse_invite
    from ciris_mesh.runtime.words import words

    text = sys.stdin.read(INVITE_CHARS_MAX + 1) if invite == "-" else invite
    parsed = parse_invite(text)
    row = _running_or_book(
        app,
        lambda: ask(app, "peer_add", invite=text.strip(), alias=alias),
        lambda book: _add(app, book, parsed, alias),
    )
    comparable = words(parsed.fingerprint, parsed.address)
    if as_json:
        print_json({**row, "words": list(comparable)})
        return
    click.echo(parsed.key_id)
    app.talk(
        f"\nAdded. Words to compare with its operator: {' '.join(comparable)}\n"
        "It must add this node as well: ciris-mesh invite"
    )


def _add(app: App, book: PeerBook, invite: Invite, alias: str) -> dict[str, Any]:
    from ciris_mesh.cli.node import node_home
    from ciris_mesh.runtime.clock import SystemClock
    from ciris_mesh.runtime.peerbook import Peer
    from ciris_mesh.runtime.setup import node_identity

    if node_identity(node_home(app)).key_id == invite.key_id:
        raise Failure("this invite is this node's own: give it to the other node")
    added = book.add(
        Peer(
            key_id=invite.key_id,
            fingerprint=invite.fingerprint,
            address=invite.address,
            alias=alias,
            added_at_ms=SystemClock().wall_ms(),
        )
    )
    return _row(added)


@peer.command(cls=Verb)
@click.argument("name", metavar="PEER")
@click.option("-y", "--yes", is_flag=True, help="Remove it without asking.")
@_json_option
@click.pass_obj
def remove(app: App, *, name: str, yes: bool, as_json: bool) -> None:
    """Stop exchanging with PEER, given by alias or key id.

    The beginning of a key id or address is enough too; then the peer is shown and asked for.

    Its records stay here; they are no longer offered to others unless somebody else vouches for
    its key.
    """
    row = find_peer_row(_rows(app), name)
    key_id = row["key_id"]
    if name not in (key_id, row["alias"]):
        called = f" ({ascii_text(row['alias'])})" if row["alias"] else ""
        app.talk(f"{name} is the beginning of {key_id}{called}.")
        confirm("Remove this peer?", yes=yes)
    answer = _running_or_book(
        app,
        lambda: ask(app, "peer_remove", key_id=key_id),
        lambda book: {"removed": book.remove(key_id).key_id},
    )
    if as_json:
        print_json(answer)
    else:
        app.talk(f"Removed {answer['removed']}.")


@peer.command("list", cls=Verb)
@_json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """Show peers; the same as `ciris-mesh peers`."""
    ctx.invoke(peers, as_json=as_json)


@click.command(cls=Verb)
@_json_option
@click.argument("name", required=False, metavar="[PEER]")
@click.pass_obj
def peers(app: App, *, as_json: bool, name: str | None = None) -> None:
    """Show peers and how fresh this node is against each; with PEER, kind by kind."""
    rows = _rows(app)
    if name is not None:
        rows = [find_peer_row(rows, name)]
    if as_json:
        print_json(rows)
    elif rows:
        _show(rows, in_detail=name is not None)
    else:
        app.talk("No peers yet. Add one with its invite: ciris-mesh peer add INVITE")


def _show(rows: list[dict[str, Any]], *, in_detail: bool) -> None:
    from ciris_mesh.cli.plain import load
    from ciris_mesh.runtime.status import PeerStatus
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import freshness_table, peers_table

    parsed = [load(PeerStatus, row, strict=False) for row in rows]
    console = make_console()
    console.print(peers_table(parsed))
    if in_detail:
        console.print()
        console.print(freshness_table(parsed[0]))


def _rows(app: App) -> list[dict[str, Any]]:
    return _running_or_book(
        app,
        lambda: ask(app, "peers"),
        lambda book: [_row(each) for each in book.peers()],
    )


def _running_or_book(app: App, from_node: Callable[[], T], from_book: Callable[[PeerBook], T]) -> T:
    """Let the running node do it, else change the book while no node can start."""
    try:
        return from_node()
    except NodeNotRunning:
        from ciris_mesh.runtime.peerbook import PeerBook

        with locked_home(app) as home:
            return from_book(PeerBook.load(home.peers))


def _row(peer: Peer) -> dict[str, Any]:
    """A peer of a node that is not running, in the shape of PeerStatus."""
    from ciris_mesh.cli.plain import dump
    from ciris_mesh.runtime.status import PeerStatus

    row: dict[str, Any] = dump(
        PeerStatus(
            key_id=peer.key_id,
            alias=peer.alias,
            address=peer.address.hex(),
            state="not running",
            medium="unknown",
            reason="",
            last_heard_s=None,
            fresh=False,
            missing=None,
            rounds={},
            kinds=(),
        )
    )
    return row
