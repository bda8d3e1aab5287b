"""Whom a person means: one rule for every command that takes a peer or a key.

An alias or a whole key id is taken first; else the beginning of a key id, if only one has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.node import node_home
from ciris_mesh.cli.stored import all_rows, stored_rows
from ciris_mesh.records.kinds import EnvelopeKind

if TYPE_CHECKING:
    from ciris_mesh.runtime.peerbook import Peer

#: Names listed when a beginning fits several.
_NAMED_MAX: Final = 5
_SHOWN_CHARS_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key a record is about.

    Attributes:
        peer: its row in the peer book; None when it is no peer.
        is_known: it is this node's own, a peer's or one in the store.
    """

    key_id: str
    peer: Peer | None = None
    is_known: bool = True

    def line(self) -> str:
        """Say who it is, as far as this node knows."""
        from ciris_mesh.ui.words import ascii_text

        if self.peer is None:
            return f"About {self.key_id}" + ("" if self.is_known else ", a key unknown here")
        from ciris_mesh.runtime.words import words

        called = f" {ascii_text(self.peer.alias)}" if self.peer.alias else ""
        spoken = " ".join(words(self.peer.fingerprint, self.peer.address))
        return f"About {self.key_id}, the peer{called} with the words: {spoken}"


def one_beginning(text: str, key_ids: Iterable[str]) -> str | None:
    """The one key id that is or begins with `text`; None when there is none.

    Raises:
        Failure: several begin so.
    """
    found = sorted({key_id for key_id in key_ids if key_id.startswith(text)})
    if text in found:
        return text
    if len(found) > 1:
        names = ", ".join(found[:_NAMED_MAX]) + (", ..." if len(found) > _NAMED_MAX else "")
        raise Failure(f"{shown(text)} could be {names}; write more of it")
    return found[0] if found else None


def find_peer_row(rows: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    """The one peer, a row of `peers --json`, with this alias, key id or address, or beginning so.

    Raises:
        Failure: nobody, or several.
    """
    by_id = {row["key_id"]: row for row in rows}
    for row in by_id.values():
        if name and name in (row["key_id"], row["alias"], row["address"]):
            return row
    by_name = {**by_id, **{row["address"]: row for row in by_id.values()}}
    found = one_beginning(name.lower(), by_name) if name else None
    if found is None:
        raise Failure(f"no peer is called {shown(name)}; see: ciris-mesh peers")
    return by_name[found]


def known_key_id(app: App, text: str) -> str | None:
    """The key id of a peer or of this node that is called so or begins so.

    Returns:
        None when nobody is, or without a node here.

    Raises:
        Failure: several begin so.
    """
    from ciris_mesh.errors import ConfigError, KeyFileError
    from ciris_mesh.runtime.peerbook import PeerBook
    from ciris_mesh.runtime.setup import node_identity

    if not text:  # a peer without an alias is not called ""
        return None
    try:
        home = node_home(app)
        peers = PeerBook.load(home.peers).peers()
        own = node_identity(home).key_id
    except (ConfigError, KeyFileError):  # the command will say so
        return None
    for peer in peers:
        if text in (peer.key_id, peer.alias):
            return peer.key_id
    return one_beginning(text, [own, *(peer.key_id for peer in peers)])


def find_key(app: App, text: str, own_key_id: str, *, unknown: bool) -> KnownKey:
    """The key a person means: this node's, a peer's by alias or id, or one in the store.

    Args:
        unknown: take an id that nothing here has as it is, instead of refusing it.

    Raises:
        Failure: nothing here is called so, or several begin so.
    """
    from ciris_mesh.runtime.keyids import is_key_id
    from ciris_mesh.runtime.peerbook import PeerBook

    peers = PeerBook.load(node_home(app).peers).peers()
    for peer in peers:
        if text in (peer.key_id, peer.alias):
            return KnownKey(peer.key_id, peer)
    if text == own_key_id:
        return KnownKey(own_key_id)
    stored = (row["subject"] for row in all_rows(stored_rows(app), EnvelopeKind.KEY.value))
    known = {own_key_id, *(peer.key_id for peer in peers), *stored}
    if unknown:
        if not is_key_id(text):
            raise Failure(f"{shown(text)} is no key id: those are ASCII without spaces")
        return KnownKey(text, is_known=text in known)
    found = one_beginning(text, known)
    if found is None:
        raise Failure(
            f"no peer and no key here is called {shown(text)}; see: ciris-mesh peers, "
            "or add --unknown when it is a whole key id and right"
        )
    return KnownKey(found, next((peer for peer in peers if peer.key_id == found), None))


def shown(text: str) -> str:
    """What a person wrote, quoted and cut."""
    return ascii(text[:_SHOWN_CHARS_MAX])
