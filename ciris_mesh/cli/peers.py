"""`peer add`, `set`, `remove`, `list` and `peers`: whom this node exchanges with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.door import allow, ignore, unallow, unignore
from ciris_mesh.cli.follow import follow
from ciris_mesh.cli.lookup import find_peer_row
from ciris_mesh.cli.node import ask
from ciris_mesh.cli.peerbook import book_row, peer_rows, peer_rows_told, running_or_book
from ciris_mesh.cli.registries import pin, refuse_for_registries, show_below, unpin
from ciris_mesh.cli.remote import takes_remote
from ciris_mesh.cli.signing import confirm
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.ui.words import ascii_text

if TYPE_CHECKING:
    from ciris_mesh.runtime.peerbook import Peer as BookPeer
    from ciris_mesh.runtime.peerbook import PeerBook

#: An invite has about 130 characters; a pasted mail around it is not one.
INVITE_CHARS_MAX: Final = 4096
_ALL: Final = "all"

#: Key id, the row of `peers --json`, words to compare.
_Added = tuple[str, dict[str, Any], tuple[str, ...]]
_Command = TypeVar("_Command", bound=Callable[..., Any])
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def _kinds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    known = [kind.value for kind in EnvelopeKind]
    if names == [_ALL]:
        return known
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of: {_ALL}, {', '.join(known)}")
    return names


def _decisions(command: _Command) -> _Command:
    """The options that say what is decided here about a peer."""
    for option in (
        click.option(
            "--bootstrap/--no-bootstrap",
            default=None,
            help="This node finds others through it: keep it from being removed by accident.",
        ),
        click.option("--note", metavar="TEXT", help="For people here; told to nobody."),
        click.option(
            "--direction",
            type=click.Choice(["both", "send", "receive"]),
            help="Which way records go, seen from this node.",
        ),
        click.option(
            "--kinds", metavar="KIND,...", callback=_kinds, help="What is exchanged; or `all`."
        ),
    ):
        command = option(command)
    return command


@click.group()
def peer() -> None:
    """Add, change, remove or list the nodes this one exchanges records with."""


@peer.command(cls=Verb)
@click.argument("who", metavar="INVITE|ADDRESS|CANDIDATE")
@click.option("--alias", default="", metavar="NAME", help="What you call this peer.")
@_decisions
@click.option(
    "--registry",
    "ed25519",
    metavar="KEY",
    help="The first argument is the key id of a public registry node (CIRISEdge), and this its "
    "Ed25519 key, 64 hex digits as its operator publishes them.",
)
@click.option(
    "--ids",
    type=click.Choice(["row", "bytes"]),
    help="With --registry: what its ids are of, rows before 14.1, bytes from then on.",
)
@click.option("-y", "--yes", is_flag=True, help="Add a node without an invite without asking.")
@_json_option
@click.pass_obj
def add(
    app: App,
    /,
    *,
    who: str,
    alias: str,
    ed25519: str | None,
    ids: str | None,
    yes: bool,
    as_json: bool,
    **decisions: Any,
) -> None:
    """Add the node whose invite this is; "-" reads it from standard input.

    Without an invite the address of a node will do, or the beginning of what `peers --candidates`
    shows. It is called first and must show whose key it speaks for.

    The other side must add this node too. Compare the words with its operator by voice or on
    paper: if they differ, remove the peer again, the invite was swapped.
    """
    if ed25519 is not None:
        refuse_for_registries(alias, decisions)
        is_bootstrap = bool(decisions["bootstrap"])
        pin(app, who, ed25519, ids or "", bootstrap=is_bootstrap, as_json=as_json)
        return
    if ids is not None:
        raise click.UsageError("--ids is about registry nodes; it goes with --registry")
    from ciris_mesh.cli.meeting import candidate_address

    before = _booked(app)
    text = sys.stdin.read(INVITE_CHARS_MAX + 1) if who == "-" else who
    given = {"alias": alias, **_given(decisions)}
    address = None if ":" in text else candidate_address(app, text)
    if address is None:
        key_id, row, words = _add_invited(app, text, given)
    else:
        key_id, row, words = _add_met(app, address, given, yes=yes or as_json)
    outcome = _outcome(before, _booked(app), key_id)
    if as_json:
        print_json({**row, "words": list(words), "outcome": outcome})
        return
    click.echo(key_id)
    app.talk(
        f"\n{_OUTCOMES[outcome]}Words to compare with its operator: {' '.join(words)}\n"
        "It must add this node as well: ciris-mesh invite"
    )


_OUTCOMES: Final = {
    "added": "Added. ",
    "updated": "It was a peer already; what you gave is changed.\n",
    "unchanged": "It was a peer already; nothing is changed.\n",
}


def _booked(app: App) -> dict[str, BookPeer]:
    from ciris_mesh.cli.node import node_home
    from ciris_mesh.runtime.peerbook import PeerBook

    return {peer.key_id: peer for peer in PeerBook.load(node_home(app).peers).peers()}


def _outcome(before: dict[str, BookPeer], after: dict[str, BookPeer], key_id: str) -> str:
    if key_id not in before:
        return "added"
    return "unchanged" if before[key_id] == after.get(key_id) else "updated"


def _given(decisions: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in decisions.items() if value is not None}


def _add_invited(app: App, text: str, given: dict[str, Any]) -> _Added:
    from ciris_mesh.runtime.invite import parse_invite
    from ciris_mesh.runtime.words import words

    invite = parse_invite(text)

    def into(book: PeerBook) -> dict[str, Any]:
        from ciris_mesh.cli.node import node_home
        from ciris_mesh.runtime.clock import SystemClock
        from ciris_mesh.runtime.peerbook import Peer
        from ciris_mesh.runtime.peeroperations import changes_of
        from ciris_mesh.runtime.setup import node_identity

        if node_identity(node_home(app)).key_id == invite.key_id:
            raise Failure("this invite is this node's own: give it to the other node")
        book.add(
            Peer(
                key_id=invite.key_id,
                fingerprint=invite.fingerprint,
                address=invite.address,
                alias=given["alias"],
                added_at_ms=SystemClock().wall_ms(),
            )
        )
        return book_row(book.change(invite.key_id, **changes_of({**given, "alias": None})))

    row = running_or_book(app, lambda: ask(app, "peer_add", invite=text.strip(), **given), into)
    return invite.key_id, row, words(invite.fingerprint, invite.address)


def _add_met(app: App, address: str, given: dict[str, Any], *, yes: bool) -> _Added:
    from ciris_mesh.cli.meeting import introduction, meet
    from ciris_mesh.runtime.words import words

    met = meet(app, address)
    comparable = words(bytes.fromhex(met["fingerprint"]), bytes.fromhex(address))
    app.talk(introduction(met, comparable))
    confirm("Add it as a peer?", yes=yes)
    return met["key_id"], ask(app, "peer_add", address=address, **given), comparable


@peer.command("set", cls=Verb)
@click.argument("name", metavar="PEER")
@click.option("--alias", metavar="NAME", help='What you call it; "" for nothing.')
@_decisions
@_json_option
@click.pass_obj
def set_(app: App, /, *, name: str, as_json: bool, **decisions: Any) -> None:
    """Decide otherwise about PEER: what is exchanged, which way, and what it is called here.

    With `--direction send` nothing of its records is taken, with `receive` it is offered none.
    Alias and note stay on this node; what is to be said to others is an attestation.
    """
    given = _given(decisions)
    if not given:
        raise click.UsageError("say what is to change; see --help")
    key_id = find_peer_row(peer_rows(app), name)["key_id"]

    def within(book: PeerBook) -> dict[str, Any]:
        from ciris_mesh.runtime.peeroperations import changes_of

        return book_row(book.change(key_id, **changes_of(given)))

    row = running_or_book(app, lambda: ask(app, "peer_set", key_id=key_id, **given), within)
    if as_json:
        print_json(row)
    else:
        app.talk(f"Changed {ascii_text(row['alias'] or key_id)}: {', '.join(sorted(given))}.")


@peer.command(cls=Verb)
@click.argument("name", metavar="PEER")
@click.option("-y", "--yes", is_flag=True, help="Remove it without asking.")
@click.option("--even-bootstrap", is_flag=True, help="Remove it though it is a bootstrap peer.")
@_json_option
@click.pass_obj
def remove(app: App, *, name: str, yes: bool, even_bootstrap: bool, as_json: bool) -> None:
    """Stop exchanging with PEER, given by alias or key id.

    The beginning of a key id or address is enough too; then the peer is shown and asked for.

    Its records stay here; they are no longer offered to others unless somebody else vouches for
    its key.
    """
    if unpin(app, name, even_bootstrap=even_bootstrap, as_json=as_json):
        return
    row = find_peer_row(peer_rows(app), name)
    key_id = row["key_id"]
    if name not in (key_id, row["alias"]):
        called = f" ({ascii_text(row['alias'])})" if row["alias"] else ""
        app.talk(f"{name} is the beginning of {key_id}{called}.")
        confirm("Remove this peer?", yes=yes)

    def out_of(book: PeerBook) -> dict[str, Any]:
        return {"removed": book.remove(key_id, even_bootstrap=even_bootstrap).key_id}

    more = {"even_bootstrap": True} if even_bootstrap else {}
    answer = running_or_book(app, lambda: ask(app, "peer_remove", key_id=key_id, **more), out_of)
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


for command in (allow, unallow, ignore, unignore, follow):
    peer.add_command(command)


@click.command(cls=Verb)
@_json_option
@click.option(
    "--candidates", is_flag=True, help="Show nodes heard or met that are no peers, instead."
)
@click.argument("name", required=False, metavar="[PEER]")
@takes_remote
@click.pass_obj
def peers(app: App, *, as_json: bool, candidates: bool = False, name: str | None = None) -> None:
    """Show peers and how fresh this node is against each; with PEER, kind by kind."""
    if candidates:
        _show_candidates(app, as_json=as_json)
        return
    rows, is_running = peer_rows_told(app)
    if name is not None:
        rows = [find_peer_row(rows, name)]
    if as_json:
        print_json(rows)
    else:
        _show(rows, is_running=is_running, in_detail=name is not None)
        if name is None:
            show_below(app)
    if not rows:
        app.talk("No peers yet. Add one with its invite: ciris-mesh peer add INVITE")


def _show_candidates(app: App, *, as_json: bool) -> None:
    answer = ask(app, "candidates")
    if as_json:
        print_json(answer)
        return
    from ciris_mesh.cli.plain import load
    from ciris_mesh.runtime.status import StrangersStatus
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.peers import strangers_view

    make_console().print(strangers_view(load(StrangersStatus, answer, strict=False)))


def _show(rows: list[dict[str, Any]], *, is_running: bool, in_detail: bool) -> None:
    from ciris_mesh.cli.plain import load
    from ciris_mesh.runtime.status import PeerStatus
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.health import peers_health
    from ciris_mesh.ui.peers import decisions_table, reach_view
    from ciris_mesh.ui.tables import freshness_table, peers_table

    parsed = [load(PeerStatus, row, strict=False) for row in rows]
    console = make_console()
    console.print(peers_health(parsed, is_running=is_running))
    if parsed:
        console.print()
        console.print(peers_table(parsed))
    if in_detail:
        for part in (decisions_table, reach_view, freshness_table):
            console.print()
            console.print(part(parsed[0]))
