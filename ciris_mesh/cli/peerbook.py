"""The peer book of a node that may run or not: what commands on peers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ciris_mesh.cli.app import App
from ciris_mesh.cli.node import ask, locked_home
from ciris_mesh.errors import NodeNotRunning

if TYPE_CHECKING:
    from ciris_mesh.runtime.home import Home
    from ciris_mesh.runtime.peerbook import Peer, PeerBook

T = TypeVar("T")


def running_or_home(app: App, from_node: Callable[[], T], from_home: Callable[[Home], T]) -> T:
    """Let the running node do it, else work on its home while no node can start."""
    try:
        return from_node()
    except NodeNotRunning:
        with locked_home(app) as home:
            return from_home(home)


def running_or_book(app: App, from_node: Callable[[], T], from_book: Callable[[PeerBook], T]) -> T:
    """The same for what only the book is needed for."""
    from ciris_mesh.runtime.peerbook import PeerBook

    return running_or_home(app, from_node, lambda home: from_book(PeerBook.load(home.peers)))


def peer_rows(app: App) -> list[dict[str, Any]]:
    """The rows of `peers --json`."""
    return peer_rows_told(app)[0]


def peer_rows_told(app: App) -> tuple[list[dict[str, Any]], bool]:
    """The same, and whether a running node told them."""
    return running_or_book(
        app,
        lambda: (ask(app, "peers"), True),
        lambda book: ([book_row(each) for each in book.peers()], False),
    )


def book_row(peer: Peer) -> dict[str, Any]:
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
            direction=peer.direction.value,
            note=peer.note,
            bootstrap=peer.bootstrap,
        )
    )
    return row
