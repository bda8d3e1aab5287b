"""What a running node does with its peers, and with strangers, when asked over its socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ciris_mesh.errors import OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.clock import Clock
from ciris_mesh.runtime.direction import Direction
from ciris_mesh.runtime.door import IGNORED, LISTS
from ciris_mesh.runtime.former import add_former
from ciris_mesh.runtime.handover import Handover, find_handover
from ciris_mesh.runtime.invite import parse_invite
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peerbook import CHANGEABLE, PeerBook
from ciris_mesh.runtime.peerbook import Peer as BookPeer
from ciris_mesh.runtime.peers import Candidate, PeerConfig
from ciris_mesh.runtime.reporting import peer_status, strangers_status
from ciris_mesh.runtime.status import PeerStatus
from ciris_mesh.transport.base import ADDRESS_BYTES, Address

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PeerOperations:
    """The handlers. Every change is in the book before the node acts on it.

    Args:
        former: where keys are remembered that peers handed over from; None forgets them at the end.
    """

    node: Node
    book: PeerBook
    clock: Clock
    former: Path | None = None

    def table(self) -> Mapping[str, Callable[[Arguments], object]]:
        """Operation -> handler."""
        return {
            "candidates": self._candidates,
            "meet": self._meet,
            "peer_add": self._add,
            "peer_set": self._set,
            "peer_remove": self._remove,
            "peer_follow": self._follow,
            "peer_handover": self._handover,
            "own_handover": self._own_handover,
            "door": self._door,
        }

    def _candidates(self, _: Arguments) -> object:
        return strangers_status(self.node)

    def _meet(self, arguments: Arguments) -> object:
        """Call a stranger; whoever asked looks at `candidates` for what comes of it."""
        address = _address(arguments)
        runtime = self.node.runtime
        if address == runtime.transport.address:
            raise OperatorError("this address is this node's own")
        if (peer := runtime.peers.at(address)) is not None:
            raise OperatorError(f"{peer.config.alias or peer.config.key_id} is a peer already")
        self._refuse_kept_out(address, "")
        runtime.meet(address)
        return {"address": address.hex()}

    def _add(self, arguments: Arguments) -> object:
        is_met = "address" in arguments
        key_id, fingerprint, address = (
            self._verified(arguments) if is_met else self._invited(arguments)
        )
        if key_id == self.node.key_id:
            raise OperatorError("this invite is this node's own: give it to the other node")
        self._refuse_kept_out(address, key_id)
        self.book.add(
            BookPeer(
                key_id,
                fingerprint,
                address,
                alias=str(arguments.get("alias") or ""),
                added_at_ms=self.clock.wall_ms(),
            )
        )
        changes = changes_of({**arguments, "alias": None})  # of a known peer it stays when empty
        return self._act_on(self.book.change(key_id, **changes))

    def _invited(self, arguments: Arguments) -> tuple[str, bytes, bytes]:
        invite = parse_invite(text_of(arguments, "invite"))
        return invite.key_id, invite.fingerprint, invite.address

    def _verified(self, arguments: Arguments) -> tuple[str, bytes, bytes]:
        """A candidate whose binding was verified here, so that it needs no invite."""
        address = _address(arguments)
        found = self.node.runtime.peers.candidate(address)
        public = self.node.directory.public_key(found.key_id) if found and found.key_id else None
        if found is None or public is None:
            raise OperatorError("it did not show its key here yet")
        return found.key_id, public.fingerprint, address

    def _set(self, arguments: Arguments) -> object:
        key_id = self.book.find(text_of(arguments, "key_id")).key_id
        return self._act_on(self.book.change(key_id, **changes_of(arguments)))

    def _act_on(self, peer: BookPeer) -> PeerStatus | None:
        self.node.add_peer(peer_config(peer))
        found = self.node.runtime.peers.get(peer.key_id)
        return None if found is None else peer_status(self.node, found)

    def _remove(self, arguments: Arguments) -> object:
        key_id = self.book.find(text_of(arguments, "key_id")).key_id
        self.book.remove(key_id, even_bootstrap=arguments.get("even_bootstrap") is True)
        self.node.runtime.remove_peer(key_id)
        return {"removed": key_id}

    def _handover(self, arguments: Arguments) -> object:
        known = self.book.find(text_of(arguments, "key_id"))
        return handover_row(known, find_handover(self.node.directory, known.key_id))

    def _own_handover(self, _arguments: Arguments) -> object:
        """The key that this node's own hands over to, by what it signed; "" for none."""
        found = find_handover(self.node.directory, self.node.key_id)
        return {"new": "" if found is None else found.key_id}

    def _follow(self, arguments: Arguments) -> object:
        known = self.book.find(text_of(arguments, "key_id"))
        found = find_handover(self.node.directory, known.key_id)
        if found is None or found.key_id != text_of(arguments, "to"):
            raise OperatorError("that key does not follow it by what is here now")
        if self.former is not None:
            add_former(self.former, known.key_id)
        peer = self.book.follow(known.key_id, found.key_id, found.fingerprint)
        self.node.runtime.remove_peer(known.key_id)
        self.node.runtime.pin(known.key_id)
        return self._act_on(peer)

    def _door(self, arguments: Arguments) -> object:
        which, name = text_of(arguments, "list"), text_of(arguments, "name")
        if which not in LISTS:
            raise OperatorError(f"there is no list {which[:40]!r}")
        door = self.node.runtime.config.door
        if arguments.get("on") is True:
            refuse_peer(self.book, which, name)
            door.put(which, name)
            self.node.runtime.peers.forget_candidates(_kept_out(door.refuses))
        else:
            door.take(which, name)
        return {which: door.names(which)}

    def _refuse_kept_out(self, address: bytes, key_id: str) -> None:
        reason = self.node.runtime.config.door.refuses(address, key_id)
        if reason:
            raise OperatorError(KEPT_OUT[reason])


KEPT_OUT: Mapping[str, str] = {
    "ignored": "it is on the list of the ignored; take it off first: ciris-mesh peer unignore",
    "not_allowed": "it is not on the list of the allowed; put it there: ciris-mesh peer allow",
}


def refuse_peer(book: PeerBook, which: str, name: str) -> None:
    """Peers are not ignored but removed.

    Raises:
        OperatorError: it is one.
    """
    for peer in book.peers() if which == IGNORED else ():
        if name.lower() in (peer.key_id, peer.address.hex()):
            raise OperatorError(f"{peer.name} is a peer; remove it first: ciris-mesh peer remove")


def handover_row(known: BookPeer, found: Handover | None) -> dict[str, str]:
    """Whom a peer hands over to, for people.

    Raises:
        OperatorError: it does not.
    """
    if found is None:
        raise OperatorError(
            f"{known.name} hands over to nobody by what is here; let its records come first: "
            "ciris-mesh wait --converged"
        )
    return {"old": found.old, "new": found.key_id, "fingerprint": found.fingerprint.hex()}


def peer_config(peer: BookPeer) -> PeerConfig:
    """The runtime's view of a peer in the book."""
    return PeerConfig(
        peer.key_id,
        Address(peer.address),
        peer.alias,
        peer.kinds,
        peer.fingerprint,
        peer.direction,
        peer.note,
        peer.bootstrap,
    )


def changes_of(arguments: Arguments) -> dict[str, Any]:
    """What is to be decided about a peer, out of a request.

    Raises:
        OperatorError: a kind or direction there is not, or a value of the wrong type.
    """
    changes = {name: arguments[name] for name in CHANGEABLE if arguments.get(name) is not None}
    try:
        if "kinds" in changes:
            changes["kinds"] = frozenset(map(EnvelopeKind, changes["kinds"]))
        if "direction" in changes:
            changes["direction"] = Direction(changes["direction"])
    except (ValueError, TypeError):
        raise OperatorError("no such kind or direction") from None
    if changes.get("kinds") == frozenset():
        raise OperatorError("a peer with whom nothing is exchanged is none; remove it instead")
    for name, wanted in (("alias", str), ("note", str), ("bootstrap", bool)):
        if name in changes and type(changes[name]) is not wanted:
            raise OperatorError(f"{name} is of the wrong type")
    return changes


def text_of(arguments: Arguments, name: str) -> str:
    """A member of a request that must be text.

    Raises:
        OperatorError: it is missing, or of another type.
    """
    value = arguments.get(name)
    if not isinstance(value, str):
        raise OperatorError(f"the request lacks the text {name!r}")
    return value


def _kept_out(refuses: Callable[[bytes, str], str]) -> Callable[[Candidate], object]:
    return lambda candidate: refuses(candidate.address, candidate.key_id)


def _address(arguments: Arguments) -> Address:
    try:
        address = bytes.fromhex(str(arguments.get("address")))
    except ValueError:
        address = b""
    if len(address) != ADDRESS_BYTES:
        raise OperatorError("an address has 32 hex digits")
    return Address(address)
