"""The peers this node converges with, and the state of each: link, last word, last agreement."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.allowance import Allowance
from ciris_mesh.runtime.direction import Direction
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.mesh_round import MeshRound, Named
from ciris_mesh.runtime.reach import Reach
from ciris_mesh.transport.base import Address
from ciris_mesh.wire.mesh import KindDigest

#: Nodes remembered that are not peers, for `peers` to list. The oldest goes first.
CANDIDATES_MAX: Final = 256

#: After this many rounds in a row that moved nothing though digests differ, a kind is tried only
#: every 2**6 checks: half an hour at the default cadence.
FRUITLESS_SHIFT_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One configured peer.

    Attributes:
        kinds: what is exchanged with it.
        fingerprint: sha256 of both public keys, from its invite; None trusts a self-certifying
            key id alone (80 bits of the same hash).
        direction: which way records go.
        note, bootstrap: see `peerbook.Peer`; for people.
    """

    key_id: str
    address: Address
    alias: str = ""
    kinds: frozenset[EnvelopeKind] = frozenset(EnvelopeKind)
    fingerprint: bytes | None = None
    direction: Direction = Direction.BOTH
    note: str = ""
    bootstrap: bool = False


@dataclass(slots=True)
class Peer:
    """A configured peer and what is going on with it. Changed only on the peer's strand.

    Attributes:
        allowance: what its sketches may cost.
        waste: what its Records may cost that bring nothing.
        link: the link in use; None while there is none.
        kinds: those both ends stated on the last link.
        takes_nothing: it said so on the last link, and is offered nothing.
        rests: by radio, the last link ended because all was said.
        greeting: a link on which both ends are still to say who they are, the newest.
        reason: why the last dial, check or round failed; "" when it did not.
        heard_s: monotonic time of the last frame or announce.
        check_out: number of the digest comparison that waits for its answer; 0 for none.
        moved: a round since the last comparison moved records, so compare again at the end.
        agreed: kind -> this directory's generation when the peer's digest last equalled ours.
        fruitless: kind -> rounds in a row that moved nothing though digests differed, and this
            directory's generation in the last of them.
        round: the reconciled round under way; those of Summaries are the scheduler's.
        wondered: what it said of kinds that differed though nothing was found to; of the last round
            but one.
        next_fall_back_s: on a slow link, when Summaries may be tried again.
        patient_until_s: until then a lost link is left to the cadence.
        radio: interface of its last link, empty when that was no radio; None before the first.
        failures: dials and links in a row that came to nothing.
        next_check_s: on a radio, when to compare again if nothing is new.
        asks_again_s: air was lacking to compare, and a timer is set for then.
        hushed_until_s: it said that it has no air until then.
        told_until_s: until then it knows that this node has none.
        needs_s: seconds on air that were lacking when something last could not be said.
        ahead: removals that were announced to it, the oldest first.
        reach: how well it could be reached lately.
    """

    config: PeerConfig
    allowance: Allowance
    waste: Allowance
    link: LinkState | None = None
    kinds: frozenset[EnvelopeKind] = frozenset()
    takes_nothing: bool = False
    rests: bool = False
    greeting: LinkState | None = None
    dialing: bool = False
    reason: str = ""
    heard_s: float | None = None
    checks: int = 0
    check_out: int = 0
    spreading: bool = False
    moved: bool = False
    agreed: dict[EnvelopeKind, int] = field(default_factory=dict)
    fruitless: dict[EnvelopeKind, tuple[int, int]] = field(default_factory=dict)
    round: MeshRound | None = None
    wondered: tuple[KindDigest, ...] = ()
    next_fall_back_s: float = 0.0
    patient_until_s: float = 0.0
    radio: str | None = None
    failures: int = 0
    next_check_s: float = 0.0
    asks_again_s: float = 0.0
    hushed_until_s: float = 0.0
    told_until_s: float = 0.0
    needs_s: float = 0.0
    ahead: dict[Named, None] = field(default_factory=dict)
    reach: Reach = field(default_factory=Reach)

    @property
    def state(self) -> str:
        """One word for `status`."""
        if self.link is not None:
            return "connected"
        if self.dialing:
            return "dialing"
        return "unreachable" if self.reason else "idle"

    def worth_a_round(self, kind: EnvelopeKind, generation: int) -> bool:
        """False while a kind that never comes to agree, and has not changed here, is backed off."""
        rounds, seen = self.fruitless.get(kind, (0, generation))
        shift = min(rounds, FRUITLESS_SHIFT_MAX) if seen == generation else 0
        return self.checks % (1 << shift) == 0

    def note_round(self, kind: EnvelopeKind, *, moved: bool, generation: int) -> None:
        """A round completed. One that moved records ends the row of fruitless ones."""
        if moved:
            self.fruitless.pop(kind, None)
            return
        rounds, seen = self.fruitless.get(kind, (0, generation))
        self.fruitless[kind] = (rounds + 1 if seen == generation else 1, generation)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that is no peer: heard by announce, or attributed on a link and turned away.

    Attributes:
        key_id: whose binding was verified on a link; "" for none, and then nobody knows.
        hops: of its last announce; None when it was never heard by one.
        heard_s: monotonic time of its last announce or link; None when there was none.
        claimed: first 8 bytes of the fingerprint its announce claims; proves nothing.
        reason: why it could not be asked who it is; "" when it could, or was not.
    """

    address: Address
    key_id: str
    hops: int | None
    heard_s: float | None
    claimed: bytes = b""
    reason: str = ""


class PeerTable:
    """Peers by key id and by address, and candidates. Thread-safe.

    Args:
        clock: monotonic seconds, for what peers may cost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the three tables
        self._peers: dict[str, Peer] = {}
        self._by_address: dict[Address, str] = {}
        self._candidates: dict[Address, Candidate] = {}

    def put(self, config: PeerConfig) -> Peer:
        """Add a peer, or change the configuration of one."""
        with self._lock:
            peer = self._peers.get(config.key_id)
            if peer is None:
                costs = Allowance(self._clock), Allowance(self._clock)
                peer = self._peers[config.key_id] = Peer(config, *costs)
            else:
                self._by_address.pop(peer.config.address, None)
                peer.config = config
            self._by_address[config.address] = config.key_id
            self._candidates.pop(config.address, None)
            return peer

    def remove(self, key_id: str) -> Peer | None:
        """Take a peer out; None when it was not there."""
        with self._lock:
            peer = self._peers.pop(key_id, None)
            if peer is not None:
                self._by_address.pop(peer.config.address, None)
            return peer

    def get(self, key_id: str | None) -> Peer | None:
        """The peer with this key id."""
        with self._lock:
            return self._peers.get(key_id) if key_id is not None else None

    def at(self, address: Address | None) -> Peer | None:
        """The peer configured for this address."""
        with self._lock:
            key_id = self._by_address.get(address) if address is not None else None
            return self._peers.get(key_id) if key_id is not None else None

    def all(self) -> list[Peer]:
        """Every peer, in order of key id."""
        with self._lock:
            return [self._peers[key_id] for key_id in sorted(self._peers)]

    def key_ids(self) -> frozenset[str]:
        """Every peer's key id."""
        with self._lock:
            return frozenset(self._peers)

    def addresses(self) -> frozenset[Address]:
        """Every peer's address."""
        with self._lock:
            return frozenset(self._by_address)

    def note_candidate(self, candidate: Candidate) -> None:
        """Remember a node that is no peer; what was known of it and is not said now stays."""
        with self._lock:
            known = self._candidates.pop(candidate.address, None)
            if known is not None:
                candidate = replace(
                    candidate,
                    key_id=candidate.key_id or known.key_id,
                    hops=known.hops if candidate.hops is None else candidate.hops,
                    heard_s=known.heard_s if candidate.heard_s is None else candidate.heard_s,
                    claimed=candidate.claimed or known.claimed,
                )
            while len(self._candidates) >= CANDIDATES_MAX:
                del self._candidates[next(iter(self._candidates))]
            self._candidates[candidate.address] = candidate

    def candidate(self, address: Address) -> Candidate | None:
        """The one at this address."""
        with self._lock:
            return self._candidates.get(address)

    def note_unreached(self, address: Address, reason: str) -> None:
        """A stranger was dialled to ask who it is, and that came to nothing; "" before it does."""
        known = self.candidate(address) or Candidate(address, "", None, None)
        self.note_candidate(replace(known, reason=reason))

    def forget_candidates(self, refused: Callable[[Candidate], object]) -> None:
        """Let go of those that may not knock any more."""
        with self._lock:
            for address, candidate in list(self._candidates.items()):
                if refused(candidate):
                    del self._candidates[address]

    def candidates(self) -> Iterable[Candidate]:
        """Those remembered, latest last."""
        with self._lock:
            return tuple(self._candidates.values())
