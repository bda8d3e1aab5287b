"""`operator`: the people who ask this node by message and get its alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask, locked_home, node_home
from ciris_mesh.cli.signing import confirm
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning

if TYPE_CHECKING:
    from ciris_mesh.runtime.operatorbook import OperatorBook

T = TypeVar("T")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
#: As apps show addresses, and people read them aloud.
_GROUP: Final = 4


@click.group()
def operator() -> None:
    """Let people ask this node by LXMF message, and send them its alerts."""


@operator.command(cls=Verb)
@_json_option
@click.pass_obj
def invite(app: App, *, as_json: bool) -> None:
    """Show the address people write to, and a QR code of it.

    Sideband and NomadNet take the digits; Columba and MeshChatX read the code. Whoever writes to
    it waits until you run: ciris-mesh operator accept ADDRESS
    """
    from ciris_mesh.runtime.config import load_config
    from ciris_mesh.runtime.operatorops import message_address
    from ciris_mesh.runtime.setup import node_identity

    home = node_home(app)
    public_key = node_identity(home).rns_public_key
    address = message_address(public_key).hex()
    uri = f"lxma://{address}:{public_key.hex()}"
    enabled = load_config(home.config).operator.enabled
    if as_json:
        print_json({"address": address, "uri": uri, "enabled": enabled})
        return
    click.echo(" ".join(address[at : at + _GROUP] for at in range(0, len(address), _GROUP)))
    click.echo(uri)
    _draw(app, uri)
    if not enabled:
        app.talk(
            "\nMessages are off. Write `enabled = yes` under [operator] in "
            f"{home.config}, then start the node again."
        )


def _draw(app: App, uri: str) -> None:
    """A QR code of half blocks, where the terminal has them and somebody looks."""
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.qr import qr_lines

    console = make_console(stderr=True)
    if app.verbosity < 0 or not console.is_terminal:
        return
    try:
        lines = qr_lines(uri)
        "".join(lines).encode(console.encoding)
    except ImportError:
        app.talk("\nFor a QR code: pip install 'ciris-mesh[qr]'")
    except (UnicodeEncodeError, LookupError):
        app.talk("\nThis terminal cannot draw the QR code; the line above says the same.")
    else:
        click.echo("\n".join(lines), err=True)


@operator.command("list", cls=Verb)
@_json_option
@click.pass_obj
def list_(app: App, *, as_json: bool) -> None:
    """Show who may ask, who may act, and who wrote and waits to be accepted."""
    rows = _running_or_book(
        app, lambda: ask(app, "operators"), lambda book: _rows(book, "operators", {})
    )
    if as_json:
        print_json(rows)
    elif rows:
        _show(rows)
    else:
        app.talk("Nobody yet. Give your address: ciris-mesh operator invite")


def _show(rows: list[dict[str, Any]]) -> None:
    import time

    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import grid
    from ciris_mesh.ui.words import age, ascii_text

    table = grid("address", "name", "may", "last wrote", "alerts")
    now_s = time.time()
    for row in rows:
        may = "act" if row["may_act"] else "ask"
        seen = f"{age(max(0.0, now_s - row['seen_s']))} ago" if row["seen_s"] else "never"
        muted = "muted" if row["muted_until_s"] > now_s else "on"
        table.add_row(
            row["address"],
            ascii_text(row["name"]),
            may if row["accepted"] else "nothing: waits",
            seen,
            muted if row["accepted"] else "",
        )
    make_console().print(table)


@operator.command(cls=Verb)
@click.argument("address")
@click.option("--name", default="", metavar="NAME", help="What you call this person.")
@_json_option
@click.pass_obj
def accept(app: App, *, address: str, name: str, as_json: bool) -> None:
    """Let ADDRESS ask: status, peers, budget, owed; and send it alerts.

    ADDRESS is the 32 hex digits its app shows, or the beginning of one that wrote already.
    """
    row = _accept(app, address=address, name=name, may_act=False)
    _told(app, row, "may ask", as_json=as_json)


@operator.command(cls=Verb)
@click.argument("address")
@click.argument("what", type=click.Choice(["act", "ask"]))
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@_json_option
@click.pass_obj
def allow(app: App, *, address: str, what: str, yes: bool, as_json: bool) -> None:
    """Let ADDRESS act as well (sync, untrust), or only ask again.

    Whoever holds that phone can then stop this node from exchanging with a peer.
    """
    if what == "act":
        confirm(f"Let {address} change things on this node?", yes=yes)
    row = _accept(app, address=address, name="", may_act=what == "act")
    _told(app, row, f"may {what}", as_json=as_json)


@operator.command(cls=Verb)
@click.argument("address")
@_json_option
@click.pass_obj
def remove(app: App, *, address: str, as_json: bool) -> None:
    """Answer ADDRESS no more, and send it no alerts."""
    answer = _running_or_book(
        app,
        lambda: ask(app, "operator_remove", address=address),
        lambda book: _rows(book, "operator_remove", {"address": address}),
    )
    if as_json:
        print_json(answer)
    else:
        app.talk(f"Removed {answer['removed']}.")


def _accept(app: App, **given: Any) -> dict[str, Any]:
    row: dict[str, Any] = _running_or_book(
        app,
        lambda: ask(app, "operator_accept", **given),
        lambda book: _rows(book, "operator_accept", given),
    )
    return row


def _told(app: App, row: dict[str, Any], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        app.talk(f"{row['name'] or row['address']} {what}.")


def _rows(book: OperatorBook, op: str, given: dict[str, Any]) -> Any:
    from ciris_mesh.runtime.operatorops import operator_table

    return operator_table(book)[op](given)


def _running_or_book(
    app: App, from_node: Callable[[], T], from_book: Callable[[OperatorBook], T]
) -> T:
    """Let the running node do it, else change the book while no node can start."""
    try:
        return from_node()
    except NodeNotRunning:
        from ciris_mesh.runtime.operatorbook import OperatorBook

        with locked_home(app) as home:
            return from_book(OperatorBook(home.operators))
