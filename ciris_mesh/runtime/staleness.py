"""The board: how far behind each peer this node knows itself to be, and since when.

A reader of a partially converged directory asks one question: is this kind fresh enough? It is
when at least one peer confirmed, less than `tau_partial_s` ago, that nothing is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ciris_mesh.protocol.limits import TAU_PARTIAL_S
from ciris_mesh.protocol.report import InSync, StalenessSignal, Unknown
from ciris_mesh.records.kinds import EnvelopeKind


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one (peer, kind).

    Attributes:
        confirmed_s: monotonic time of the last in-sync confirmation; None when there was none.
    """

    signal: StalenessSignal
    confirmed_s: float | None


_NOTHING = Standing(Unknown(), None)


class StalenessBoard:
    """Standing per (peer, kind). Thread-safe. Bounded by peers times kinds."""

    def __init__(self, clock: Callable[[], float], *, tau_partial_s: float = TAU_PARTIAL_S) -> None:
        self._clock = clock
        self.tau_partial_s = tau_partial_s
        self._lock = threading.Lock()  # guards the table
        self._table: dict[tuple[str, EnvelopeKind], Standing] = {}

    def post(self, peer: str, kind: EnvelopeKind, signal: StalenessSignal) -> None:
        """Record what a round or a digest comparison showed."""
        with self._lock:
            before = self._table.get((peer, kind), _NOTHING)
            in_sync = isinstance(signal, InSync)
            confirmed_s = self._clock() if in_sync else before.confirmed_s
            self._table[peer, kind] = Standing(signal, confirmed_s)

    def standing(self, peer: str, kind: EnvelopeKind) -> Standing:
        """What is known; Unknown when nothing is."""
        with self._lock:
            return self._table.get((peer, kind), _NOTHING)

    def age_s(self, peer: str, kind: EnvelopeKind) -> float | None:
        """Seconds since the peer last confirmed; None when it never did."""
        confirmed_s = self.standing(peer, kind).confirmed_s
        return None if confirmed_s is None else self._clock() - confirmed_s

    def is_peer_fresh(self, peer: str, kind: EnvelopeKind) -> bool:
        """True when `peer` confirmed `kind` less than tau_partial ago and nothing is missing."""
        standing = self.standing(peer, kind)
        if standing.confirmed_s is None or not isinstance(standing.signal, InSync):
            return False
        return self._clock() - standing.confirmed_s < self.tau_partial_s

    def is_fresh(self, kind: EnvelopeKind) -> bool:
        """True when any peer is fresh for `kind`."""
        with self._lock:
            peers = [peer for peer, of_kind in self._table if of_kind is kind]
        return any(self.is_peer_fresh(peer, kind) for peer in peers)

    def forget(self, peer: str) -> None:
        """Drop a peer that is no longer one."""
        with self._lock:
            for key in [key for key in self._table if key[0] == peer]:
                del self._table[key]
