"""What a reconciled round asks of whoever compares: the two call each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.wire.mesh import Digests


class Host(Protocol):
    """The part of `Exchange` that a round needs."""

    def check(self, key_id: str) -> None:
        """Compare with a peer, unless something is under way with it."""
        ...

    def say_check(self, peer: Peer, state: LinkState, kinds: frozenset[EnvelopeKind] = ...) -> None:
        """Compare with a peer in any case; these kinds, or all."""
        ...

    def answer(self, peer: Peer, state: LinkState, theirs: Digests) -> None:
        """Answer a comparison of the peer's."""
        ...

    def fall_back(self, peer: Peer, kinds: Sequence[EnvelopeKind]) -> None:
        """Take these kinds through a round of Summaries each."""
        ...

    def spread(self, exclude: str = "") -> None:
        """Something new is here."""
        ...
