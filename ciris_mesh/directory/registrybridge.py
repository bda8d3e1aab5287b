"""The directory as one round with one registry node (CIRISEdge) sees it.

It does for them what `bridge` does for mesh nodes, with what is different there:

* Ids. Up to 14.0 a registry node names a record as we do, by its row hash. From 14.1 on it names
  it by the SHA-256 of the bytes it was sent or would send; revocations stay as they were. Which
  one holds is configured, announced, or else seen: what comes when we asked for an id tells.
* Bytes. What only this mesh puts into an envelope is cut out (`records.meshmembers`).
* Trust. What it delivers comes by the path "registry": bridged unless our rules hold.
* Patience. It may offer and push the same rows every round for ever. An id that is held,
  bridged, waiting or refused here is not asked for again, and bytes seen before are not judged
  again. What it was given and asks for again, because it refused it, is neither offered nor
  served for a while, ever longer; until it starts anew or changes its ids.

All that is remembered is per node and bounded; losing it costs a repeated question.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeVar

from ciris_mesh.directory.backoff import BackoffMemory
from ciris_mesh.directory.base import ReplicationDirectory, Served, Standing
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.peermemory import NO_ROOM
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.meshmembers import for_registries
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.wire.messages import EnvelopeRef

#: Refs in one Summary. A frame to a registry node is one Resource segment, 1 MiB, and a ref up to
#: 175 bytes of JSON. What exceeds it is named in the rounds that follow, page after page.
SUMMARY_REFS_MAX: Final = 5_900

#: Ids asked for at once. Nodes before 15.2 answer with all of it in one frame of at most 8 MiB;
#: hybrid key records, the largest common ones, are 36 kB there.
WANT_MAX: Final = 128

#: Envelopes in one Deliver: four characters a byte, in one Resource segment of 1 MiB.
DELIVER_BYTES_MAX: Final = 240 * 1024

#: An id asked for is not asked for again before this, if no answer comes.
ASKED_S: Final = 30.0

#: A row it was given is not given again before this, and twice as long each time: a Deliver may
#: have been lost, but what it refused once it will refuse again.
GIVEN_FIRST_S: Final = 60.0
GIVEN_LONGEST_S: Final = 86_400.0
#: Rows remembered so of one node, 250 bytes each; one that is forgotten is given once more.
GIVEN_MAX: Final = 16_384

#: Their ids that differ from ours, and digests of bytes seen, of one node: 200 bytes each.
ALIASES_MAX: Final = 50_000
SEEN_MAX: Final = 16_384

#: Their names of our rows, all nodes together.
NAMES_MAX: Final = 100_000


K = TypeVar("K")
V = TypeVar("V")


class IdBasis(StrEnum):
    """What a registry node's envelope hash is of."""

    ROW = "row"  # the row, as ours: before 14.1
    BYTES = "bytes"  # the bytes delivered: 14.1 and later


def _given() -> BackoffMemory[tuple[EnvelopeKind, bytes]]:
    return BackoffMemory(GIVEN_FIRST_S, GIVEN_LONGEST_S, GIVEN_MAX)


@dataclass(slots=True)
class _Memory:
    """What one registry node has shown. `by` says how its basis is known.

    Attributes:
        given: our ids of rows it was given.
        declined: how often it asked for a row again that it was given.
    """

    basis: IdBasis = IdBasis.ROW
    by: str = "assumed"
    page: dict[EnvelopeKind, int] = field(default_factory=dict)
    left: dict[EnvelopeKind, int] = field(default_factory=dict)
    asked: dict[EnvelopeKind, dict[bytes, float]] = field(default_factory=dict)
    aliases: OrderedDict[tuple[EnvelopeKind, bytes], bytes] = field(default_factory=OrderedDict)
    seen: OrderedDict[bytes, Verdict] = field(default_factory=OrderedDict)
    outcomes: Counter[tuple[Outcome, Reason]] = field(default_factory=Counter)
    switched: int = 0
    given: BackoffMemory[tuple[EnvelopeKind, bytes]] = field(default_factory=_given)
    declined: int = 0


class RegistryBridge:
    """Implements `runtime.coordinator.RoundBridge` for registry nodes. Thread-safe.

    Args:
        mesh: remembers what was refused and not served, and says what may be passed on.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        directory: ReplicationDirectory,
        mesh: FederationDirectoryReplicationBridge,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._mesh = mesh
        self._clock = clock
        self._lock = threading.Lock()  # guards all below; never held while calling the directory
        self._peers: dict[str, _Memory] = {}  # as many as are configured
        self._names: OrderedDict[tuple[EnvelopeKind, bytes], bytes] = OrderedDict()
        self._named: dict[tuple[EnvelopeKind, bytes], bytes] = {}

    # -- which ids -----------------------------------------------------------------------------

    def assume(self, peer: str, basis: IdBasis, by: str) -> None:
        """Start from what is configured, or what it announced unless more is known."""
        with self._lock:
            memory = self._memory(peer)
            if memory.by == "assumed" or by == "configured":
                if memory.basis is not basis:
                    memory.given = _given()
                memory.basis, memory.by = basis, by

    def begin_anew(self, peer: str) -> None:
        """It was started again, or is another version: it may take now what it refused."""
        with self._lock:
            self._memory(peer).given = _given()

    def declined(self, peer: str) -> int:
        """How often it asked again for a row that it was given, since start."""
        with self._lock:
            return self._memory(peer).declined

    def basis(self, peer: str) -> tuple[IdBasis, str, int]:
        """The basis in use, how it is known, and how often it turned out to be another."""
        with self._lock:
            memory = self._memory(peer)
            return memory.basis, memory.by, memory.switched

    def outcomes(self, peer: str) -> dict[tuple[Outcome, Reason], int]:
        """What became of the envelopes it delivered, each counted once, since start.

        ADMITTED with a reason: bridged, and what is lacking.
        """
        with self._lock:
            return dict(self._memory(peer).outcomes)

    def left(self, peer: str, kind: EnvelopeKind) -> int:
        """How many more ids were worth asking for in the last comparison than one Diff names."""
        with self._lock:
            return self._memory(peer).left.get(kind, 0)

    def forget(self, peer: str) -> None:
        """It is no registry peer any more."""
        with self._lock:
            self._peers.pop(peer, None)

    # -- sending -------------------------------------------------------------------------------

    def offer(self, peer: str, kind: EnvelopeKind) -> tuple[EnvelopeRef, ...]:
        """What this node may be offered, by its names: newest first, a page a round."""
        with self._lock:
            self._memory(peer)
        refs = self._mesh.offer(peer, kind)
        with self._lock:
            memory = self._memory(peer)
            pages = max(1, -(-len(refs) // SUMMARY_REFS_MAX))
            page = memory.page.get(kind, 0) % pages
            memory.page[kind] = page + 1
            basis, given, now_s = memory.basis, memory.given, self._clock()
            shown = tuple(
                ref
                for ref in refs[page * SUMMARY_REFS_MAX : (page + 1) * SUMMARY_REFS_MAX]
                if not given.is_active((kind, ref.envelope_hash), now_s)
            )
        if not _differs(kind, basis):
            return shown
        named = ((self._their_name(kind, ref.envelope_hash), ref.seq) for ref in shown)
        return tuple(EnvelopeRef(name, seq) for name, seq in named if name is not None)

    def serve(
        self, peer: str, kind: EnvelopeKind, want: Sequence[bytes], *, budget_bytes: int
    ) -> Served:
        """Envelopes for a Diff or Fetch, without what only this mesh puts there."""
        budget_bytes = min(budget_bytes, DELIVER_BYTES_MAX)
        with self._lock:
            memory = self._memory(peer)
            ours = [
                self._named.get((kind, each)) or memory.aliases.get((kind, each)) or each
                for each in want
            ]
            now_s, given = self._clock(), memory.given
            due = [one for one in ours if not given.is_active((kind, one), now_s)]
        served = self._mesh.serve(peer, kind, due, budget_bytes=budget_bytes)
        with self._lock:
            memory = self._memory(peer)
            for one in served.sent_ids:
                memory.declined += (kind, one) in memory.given
                memory.given.note((kind, one), now_s)
        early = tuple((one, "given_before") for one in ours if one not in set(due))
        served = replace(served, unserved=(*served.unserved, *early))
        cut = tuple(for_registries(kind, envelope) for envelope in served.envelopes)
        return replace(served, envelopes=cut)

    # -- receiving -----------------------------------------------------------------------------

    def lacking(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> list[bytes]:
        """Ids worth asking for, by its names, at most WANT_MAX: in the reverse of their order."""
        now_s = self._clock()
        with self._lock:
            memory = self._memory(peer)
            asked = memory.asked.get(kind, {})
            due = [ref for ref in refs if asked.get(ref.envelope_hash, 0.0) <= now_s]
            theirs = {
                memory.aliases.get((kind, ref.envelope_hash), ref.envelope_hash): ref.envelope_hash
                for ref in due
            }
        ours = [EnvelopeRef(one, 0) for one in theirs]
        wanted = self._mesh.lacking(peer, kind, ours)
        standing = self._directory.standing(kind, wanted)
        known = (Standing.BRIDGED, Standing.DEFERRED)  # its copy brings no signature: see `known`
        worth = [theirs[one] for one in wanted if standing.get(one) not in known]
        now = worth[:WANT_MAX]
        with self._lock:
            memory = self._memory(peer)
            memory.left[kind] = len(worth) - len(now)
            still = {one: until for one, until in asked.items() if until > now_s}
            memory.asked[kind] = {**still, **dict.fromkeys(now, now_s + ASKED_S)}
        return now

    def note_offer(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> None:
        """There is no view to compare with a registry node: nothing to remember."""

    def owing(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> int:
        """A registry node's rounds end with a Deliver whatever is still missing."""
        return 0

    def id_of(self, peer: str, verdict: Verdict) -> bytes | None:
        """Ours, which its sessions do not look at."""
        return verdict.envelope_id

    def served_nothing(self, peer: str, kind: EnvelopeKind, ids: Sequence[bytes]) -> None:
        """It offered these and did not deliver them."""
        self._mesh.served_nothing(peer, kind, ids)

    def apply(
        self, peer: str, kind: EnvelopeKind, envelopes: Sequence[bytes], *, now_ms: int
    ) -> list[Verdict]:
        """Admit what it delivered, asked for or not; bytes seen before are not judged again."""
        digests = [hashlib.sha256(kind.encode() + b"\0" + each).digest() for each in envelopes]
        with self._lock:
            memory = self._memory(peer)
            known = {digest: memory.seen[digest] for digest in digests if digest in memory.seen}
        new = {
            digest: raw
            for digest, raw in zip(digests, envelopes, strict=True)
            if digest not in known
        }
        judged = self._mesh.apply(peer, kind, list(new.values()), now_ms=now_ms, path="registry")
        fresh = dict(zip(new, judged, strict=True))
        verdicts = [fresh.get(digest) or _again(known[digest]) for digest in digests]
        with self._lock:
            memory = self._memory(peer)
            for digest, verdict in fresh.items():
                memory.outcomes[verdict.outcome, verdict.reason] += 1
                if verdict.reason not in NO_ROOM:
                    _put(memory.seen, digest, verdict, SEEN_MAX)
            news = [digest in fresh for digest in digests]
            refused, unserved = self._learn(memory, kind, envelopes, verdicts, news)
        self._mesh.note_refused(peer, kind, refused)
        self._mesh.served_nothing(peer, kind, unserved)
        return verdicts

    # -- inside ----------------------------------------------------------------------------------

    def _learn(
        self,
        memory: _Memory,
        kind: EnvelopeKind,
        envelopes: Sequence[bytes],
        verdicts: Sequence[Verdict],
        news: Sequence[bool],
    ) -> tuple[Collection[bytes], Collection[bytes]]:
        """Tell from a Deliver which of the ids asked for it answers. Lock held.

        Args:
            news: which of the envelopes it had not sent before.

        Returns:
            Their ids of what is refused and has no id of ours, and those that nothing came for.
        """
        asked = memory.asked.get(kind, {})
        unmatched: list[Verdict] = []
        refused: list[bytes] = []
        matched = 0
        for raw, verdict, is_new in zip(envelopes, verdicts, news, strict=True):
            named = hashlib.sha256(raw).digest()
            ours = verdict.envelope_id
            if ours in asked:
                self._settle(memory, kind, IdBasis.ROW, is_told=named != ours)
            elif named in asked:
                self._settle(memory, kind, IdBasis.BYTES, is_told=True)
                self._name(memory, kind, named, ours, refused)
            else:
                if memory.basis is IdBasis.BYTES and ours is not None and _differs(kind):
                    _put(memory.aliases, (kind, named), ours, ALIASES_MAX)
                if is_new:
                    unmatched.append(verdict)
                continue
            matched += 1
            asked.pop(ours if ours in asked else named, None)
        if unmatched and len(unmatched) == len(asked):
            # As many as are missing, in the order asked for: it names them by another text.
            for theirs, verdict in zip(list(asked), unmatched, strict=True):
                self._name(memory, kind, theirs, verdict.envelope_id, refused)
            asked.clear()
        unserved = list(asked) if not envelopes else []
        if matched or not envelopes:
            asked.clear()  # the answer; what it left out is asked for again with the next round
        return refused, unserved

    def _settle(
        self, memory: _Memory, kind: EnvelopeKind, basis: IdBasis, *, is_told: bool
    ) -> None:
        """What was asked for came: by which basis was it named?"""
        if not is_told or not _differs(kind):
            return
        if memory.basis is not basis:
            memory.basis, memory.given = basis, _given()
            memory.switched += 1
        memory.by = "seen"

    def _name(
        self,
        memory: _Memory,
        kind: EnvelopeKind,
        theirs: bytes,
        ours: bytes | None,
        refused: list[bytes],
    ) -> None:
        if ours is None:
            refused.append(theirs)
        elif ours != theirs:
            _put(memory.aliases, (kind, theirs), ours, ALIASES_MAX)

    def _their_name(self, kind: EnvelopeKind, ours: bytes) -> bytes | None:
        """The hash of the bytes it would be sent; None when the row is gone meanwhile."""
        key = kind, ours
        with self._lock:
            name = self._names.get(key)
        if name is not None:
            return name
        row = self._directory.get(kind, ours)
        if row is None:
            return None
        name = hashlib.sha256(for_registries(kind, row.envelope)).digest()
        with self._lock:
            self._names[key] = name
            self._named[kind, name] = ours
            if len(self._names) > NAMES_MAX:
                (old_kind, _), old_name = self._names.popitem(last=False)
                self._named.pop((old_kind, old_name), None)
        return name

    def _memory(self, peer: str) -> _Memory:
        assert self._lock.locked(), "memories are read and written under the lock"
        memory = self._peers.get(peer)
        if memory is None:
            memory = self._peers[peer] = _Memory()
            self._mesh.naming.by_record(peer)
        return memory


def _differs(kind: EnvelopeKind, basis: IdBasis = IdBasis.BYTES) -> bool:
    """Does it name records of this kind by other ids than we do?"""
    is_same = kind is EnvelopeKind.REVOCATION
    return basis is IdBasis.BYTES and not is_same


def _again(verdict: Verdict) -> Verdict:
    """What these bytes are worth when they come once more."""
    if verdict.outcome.is_shelved:
        return replace(verdict, outcome=Outcome.DUPLICATE)
    return verdict


def _put(table: OrderedDict[K, V], key: K, value: V, at_most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > at_most:
        table.popitem(last=False)
