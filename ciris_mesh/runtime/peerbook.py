"""The peers of a node: whom it exchanges with and which key it expects there.

A JSON file, written whole or not at all. Being in it is a decision of trust made here, so a
damaged file is an error a person must see, never an empty book.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.direction import Direction
from ciris_mesh.runtime.files import (
    UNALTERED,
    read_if_there,
    why,
    write_atomic,
)
from ciris_mesh.runtime.keyids import FINGERPRINT_BYTES, contradicts, is_key_id

ADDRESS_BYTES: Final = 16
#: A registry node's peers are counted in hundreds; each costs timers, views and 600 bytes here.
PEERS_MAX: Final = 10_000
#: 10,000 peers with the longest ids and aliases and all kinds named.
BOOK_BYTES_MAX: Final = 16 << 20
ALIAS_CHARS_MAX: Final = 64

NOTE_CHARS_MAX: Final = 500

#: What is decided here about a peer, and may be decided otherwise.
CHANGEABLE: Final = frozenset({"alias", "note", "kinds", "direction", "bootstrap"})

_SCHEMA: Final = 2
#: Members of each schema that is still read; one written before has the defaults of what came
#: later.
_MEMBERS: Final = {
    1: {"key_id", "fingerprint", "address", "alias", "kinds", "added_at_ms"},
    2: {
        *("key_id", "fingerprint", "address", "alias", "kinds", "added_at_ms"),
        *("direction", "note", "bootstrap"),
    },
}


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Attributes:
        fingerprint: 32 bytes, SHA-256 of its two public key halves.
        address: 16 bytes, its RNS identity hash.
        alias: what people here call it; "" for none.
        kinds: what is exchanged with it.
        direction: which way.
        note: what people here want to remember of it. Like the alias it is told to nobody, and is
            no attestation.
        bootstrap: this node finds the others through it, so it is not removed by accident.

    Raises:
        OperatorError: a value is out of its range, or the key id certifies another fingerprint.
    """

    key_id: str
    fingerprint: bytes
    address: bytes
    alias: str = ""
    kinds: frozenset[EnvelopeKind] = frozenset(EnvelopeKind)
    added_at_ms: int = 0
    direction: Direction = Direction.BOTH
    note: str = ""
    bootstrap: bool = False

    def __post_init__(self) -> None:
        if not is_key_id(self.key_id):
            raise OperatorError(f"{self.key_id[:40]!r} is no key id")
        if len(self.fingerprint) != FINGERPRINT_BYTES or len(self.address) != ADDRESS_BYTES:
            raise OperatorError("a fingerprint has 32 bytes and an address 16")
        if contradicts(self.key_id, self.fingerprint):
            raise OperatorError(f"key id {self.key_id} does not belong to that key; do not add it")
        if len(self.alias) > ALIAS_CHARS_MAX or not self.alias.isprintable():
            raise OperatorError(f"an alias is at most {ALIAS_CHARS_MAX} printable characters")
        if self.alias != self.alias.strip():
            raise OperatorError("an alias neither starts nor ends with a space")
        if len(self.note) > NOTE_CHARS_MAX or not self.note.isprintable():
            raise OperatorError(f"a note is one line of at most {NOTE_CHARS_MAX} characters")

    @property
    def name(self) -> str:
        """What to call it when talking to people."""
        return self.alias or self.key_id


class PeerBook:
    """The peers in one file. Thread-safe; every change is on disk before the call returns."""

    def __init__(self, path: Path, peers: Mapping[str, Peer]) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards the mapping and the order of writes
        self._peers = dict(peers)

    @classmethod
    def load(cls, path: Path) -> PeerBook:
        """Read the book; an absent file is an empty book.

        Raises:
            ConfigError: unreadable, damaged, written by a newer program, or others can change it.
        """
        return cls(path, _read(path))

    def peers(self) -> tuple[Peer, ...]:
        """All peers, by key id."""
        with self._lock:
            return tuple(self._peers[key_id] for key_id in sorted(self._peers))

    def get(self, key_id: str) -> Peer | None:
        """The peer with exactly this key id."""
        with self._lock:
            return self._peers.get(key_id)

    def by_address(self, address: bytes) -> Peer | None:
        """The peer at this address."""
        return next((peer for peer in self.peers() if peer.address == address), None)

    def find(self, text: str) -> Peer:
        """The peer a person means: key id, alias, address, or the start of a key id or address.

        Raises:
            OperatorError: nobody, or several.
        """
        found = _matching(self.peers(), text)
        if len(found) == 1:
            return found[0]
        if not found:
            raise OperatorError(f"no peer is called {text[:40]!r}; `ciris-mesh peers` lists them")
        names = ", ".join(peer.name for peer in found[:5])
        raise OperatorError(f"{text[:40]!r} could be {names}; write more of the name")

    def add(self, peer: Peer) -> Peer:
        """Add a peer and return it as it stands in the book.

        Adding a known one again with the same key is fine: a new address or alias is taken over,
        the rest stays.

        Raises:
            OperatorError: the key id is known with another key, the address or alias belongs to
                another peer, or the book is full.
            ConfigError: the book cannot be written; it is as it was.
        """
        with self._lock:
            known = self._peers.get(peer.key_id)
            if known is not None:
                peer = _renewed(known, peer)
            elif len(self._peers) >= PEERS_MAX:
                raise OperatorError(f"there are {PEERS_MAX} peers already; remove one first")
            _refuse_clash(peer, self._peers)
            self._store({**self._peers, peer.key_id: peer})
            return peer

    def remove(self, key_id: str, *, even_bootstrap: bool = False) -> Peer:
        """Remove the peer with exactly this key id and return it.

        Raises:
            OperatorError: there is none, or it is a bootstrap peer.
            ConfigError: the book cannot be written; it is as it was.
        """
        with self._lock:
            peer = self._known(key_id)
            if peer.bootstrap and not even_bootstrap:
                raise OperatorError(
                    f"{peer.name} is a bootstrap peer, through which this node finds others; "
                    "add --even-bootstrap if it is to go"
                )
            self._store({key: other for key, other in self._peers.items() if key != key_id})
            return peer

    def change(self, key_id: str, **changes: Any) -> Peer:
        """Decide otherwise about a peer: its alias, note, kinds, direction or bootstrap.

        Raises as `add`.
        """
        assert changes.keys() <= CHANGEABLE, "who and where it is comes from invites alone"
        with self._lock:
            peer = replace(self._known(key_id), **changes)
            _refuse_clash(peer, self._peers)
            self._store({**self._peers, key_id: peer})
            return peer

    def follow(self, key_id: str, new: str, fingerprint: bytes) -> Peer:
        """Let a peer have another key; all else that is known of it stays. Raises as `add`."""
        with self._lock:
            peer = replace(self._known(key_id), key_id=new, fingerprint=fingerprint)
            others = {key: other for key, other in self._peers.items() if key != key_id}
            if new in others:
                raise OperatorError(f"{new} is a peer already; remove one of the two")
            _refuse_clash(peer, others)
            self._store({**others, new: peer})
            return peer

    def _known(self, key_id: str) -> Peer:
        peer = self._peers.get(key_id)
        if peer is None:
            raise OperatorError(f"no peer has the key id {key_id[:80]!r}")
        return peer

    def _store(self, peers: dict[str, Peer]) -> None:
        assert self._lock.locked(), "the caller holds the lock"
        if peers == self._peers and self._path.exists():
            return
        try:
            write_atomic(self._path, _render(peers))
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {why(error)}") from None
        self._peers = peers


def _matching(peers: tuple[Peer, ...], text: str) -> list[Peer]:
    """Exact matches when there are any, else those that start so."""
    if not text:
        return []
    exact = [peer for peer in peers if text in (peer.key_id, peer.alias)]
    if exact:
        return exact
    start = text.lower()
    return [peer for peer in peers if peer.key_id.startswith(start) or _at(peer.address, start)]


def _at(address: bytes, start: str) -> bool:
    return address.hex().startswith(start)


def _renewed(known: Peer, peer: Peer) -> Peer:
    if known.fingerprint != peer.fingerprint:
        raise OperatorError(
            f"{peer.key_id} is a peer already, with another key; compare the words with its "
            "operator, and remove the old one first if the new one is right"
        )
    return replace(
        known,
        address=peer.address,
        alias=peer.alias or known.alias,
        bootstrap=peer.bootstrap or known.bootstrap,
    )


def _refuse_clash(peer: Peer, peers: Mapping[str, Peer]) -> None:
    """No two peers share an address or a name: each must lead to one key."""
    for other in peers.values():
        if other.key_id == peer.key_id:
            continue
        if other.address == peer.address:
            raise OperatorError(f"the address belongs to the peer {other.name} already")
        names = {other.key_id, other.alias} - {""}
        if peer.alias in names or peer.key_id in names:
            raise OperatorError(
                f"the name {peer.name!r} belongs to the peer {other.key_id} already"
            )


def _render(peers: Mapping[str, Peer]) -> bytes:
    rows = [_row(peers[key_id]) for key_id in sorted(peers)]
    return (json.dumps({"schema": _SCHEMA, "peers": rows}, indent=1) + "\n").encode()


def _row(peer: Peer) -> dict[str, object]:
    everything = peer.kinds == frozenset(EnvelopeKind)
    return {
        "key_id": peer.key_id,
        "fingerprint": peer.fingerprint.hex(),
        "address": peer.address.hex(),
        "alias": peer.alias,
        # A word, not a list: kinds added later belong to "all".
        "kinds": "all" if everything else sorted(peer.kinds),
        "added_at_ms": peer.added_at_ms,
        "direction": peer.direction.value,
        "note": peer.note,
        "bootstrap": peer.bootstrap,
    }


def _read(path: Path) -> dict[str, Peer]:
    data = read_if_there(path, bytes_max=BOOK_BYTES_MAX, guard=UNALTERED)
    if data is None:
        return {}
    try:
        return _parse(data)
    except _NewerSchema:
        raise ConfigError(f"{path} was written by a newer ciris-mesh; upgrade this one") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OperatorError):
        raise ConfigError(
            f"{path} is damaged; restore it from your backup, or move it away and add peers again"
        ) from None


class _NewerSchema(Exception):
    pass


def _parse(data: bytes) -> dict[str, Peer]:
    book = json.loads(data)
    if type(book["schema"]) is int and book["schema"] > _SCHEMA:
        raise _NewerSchema
    if book["schema"] not in _MEMBERS or not isinstance(book["peers"], list):
        raise ValueError("no peer book")
    if len(book["peers"]) > PEERS_MAX:
        raise ValueError("too many peers")
    peers: dict[str, Peer] = {}
    addresses: set[bytes] = set()
    for row in book["peers"]:
        peer = _peer(row, _MEMBERS[book["schema"]])
        if peer.key_id in peers or peer.address in addresses:
            raise ValueError("a peer twice")
        peers[peer.key_id] = peer
        addresses.add(peer.address)
    return peers


def _peer(row: Any, members: set[str]) -> Peer:
    if set(row) != members or type(row["added_at_ms"]) is not int:
        raise ValueError("no peer")
    bootstrap = row.get("bootstrap", False)
    if type(bootstrap) is not bool or not isinstance(row.get("note", ""), str):
        raise ValueError("no peer")
    kinds = row["kinds"]
    if kinds != "all" and not isinstance(kinds, list):
        raise ValueError("no kinds")
    return Peer(
        row["key_id"],
        bytes.fromhex(row["fingerprint"]),
        bytes.fromhex(row["address"]),
        row["alias"],
        frozenset(EnvelopeKind) if kinds == "all" else frozenset(map(EnvelopeKind, kinds)),
        row["added_at_ms"],
        Direction(row.get("direction", Direction.BOTH)),
        row.get("note", ""),
        bootstrap,
    )
