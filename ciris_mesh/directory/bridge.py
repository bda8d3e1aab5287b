"""Joins directory and protocol: what a peer may be offered, what is worth asking it for.

Holdings are not the offer. What this node *has* decides what it asks for; whose records it may
*pass on* decides what it lists and serves, by one predicate for both. And what it knows of a
peer's offer without offering it itself still belongs to the set the two compare, or two nodes
with different friends would never agree that they are done.

Ids here are those that `naming` says: of copies, or with registry nodes of records.

Everything remembered here is per (peer, id) and bounded. It only saves questions: losing it costs
a repeated one, never a record.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from ciris_mesh.directory.base import (
    Evicted,
    ReplicationDirectory,
    Served,
    SetDigest,
    Shelf,
    Source,
    Standing,
    StoredRow,
)
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.naming import Naming
from ciris_mesh.directory.offers import NO_OFFER, OFFER_REFS_MAX, Offer, Offers
from ciris_mesh.directory.peermemory import (
    Given,
    PeerMemory,
    View,
    is_known,
    remember,
    room_for_noted,
    sent_memory,
)
from ciris_mesh.directory.quotas import is_ours
from ciris_mesh.directory.vouches import Vouches
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.records.scope import ALL, Scope, Terms
from ciris_mesh.wire.messages import EnvelopeRef

#: Peers something is remembered about. More than a node ever has; the longest silent goes first.
PEERS_MAX: Final = 256

#: How long a view's digest may be reused while nothing visible changed: bounds for how long a
#: lapsed back-off goes unnoticed.
VIEW_REUSE_S: Final = 60.0


class FederationDirectoryReplicationBridge:
    """The directory as one round with one peer sees it. Thread-safe.

    Args:
        trusted: key ids whose records may be offered: own, peers', pinned and rooted ones.
            Called once per question, so a change takes effect with the next one.
        unwanted: kinds never asked for, because nothing of them could be admitted here. What peers
            offer of them counts as known.
        gives, takes: whether a peer is offered anything, and anything of it taken.
        vouches: which bridged rows may be fetched, though they are in no offer.
        clock: monotonic seconds, for back-off.
    """

    def __init__(
        self,
        directory: ReplicationDirectory,
        trusted: Callable[[], frozenset[str]],
        *,
        unwanted: frozenset[EnvelopeKind] = frozenset(),
        scope: Scope = ALL,
        gives: Callable[[str], bool] = lambda _peer: True,
        takes: Callable[[str], bool] = lambda _peer: True,
        vouches: Vouches | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._trusted = trusted
        self._unwanted = unwanted
        self._gives = gives
        self._takes = takes
        self._clock = clock
        self.vouches = vouches or Vouches(directory)
        self.naming = Naming(directory)
        self._all_offers = Offers(directory, trusted)
        self._own_terms = Terms(frozenset({scope} - {ALL}))
        self._lock = threading.Lock()  # guards all below; never held while calling the directory
        self._terms: dict[str, Terms] = {}
        self._peers: OrderedDict[str, PeerMemory] = OrderedDict()
        self._counts: Counter[tuple[str, str]] = Counter()

    def agree(self, peer: str, terms: Terms) -> None:
        """From now on this is compared with a configured peer, and offered to it."""
        with self._lock:
            self._terms[peer] = terms

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        with self._lock:
            self._terms.pop(peer, None)
            self._peers.pop(peer, None)

    # -- sending -----------------------------------------------------------------------------

    def offer(self, peer: str, kind: EnvelopeKind) -> tuple[EnvelopeRef, ...]:
        """What `peer` may be offered, newest first, at most 50 000 refs.

        Over that, each signer gets as many as any other, so that one's flood hides nobody's.
        """
        return self._offer(peer, kind).refs

    def truncated(self, peer: str, kind: EnvelopeKind) -> int:
        """How many more rows `peer` might be offered, were an offer not limited."""
        return self._offer(peer, kind).left_out

    def may_serve(self, peer: str, kind: EnvelopeKind, row: StoredRow) -> bool:
        """The one predicate of list and fetch: may this row go to this peer?"""
        return row.kind is kind and self._passing(peer, kind)(row)

    def serve(
        self, peer: str, kind: EnvelopeKind, want: Sequence[bytes], *, budget_bytes: int
    ) -> Served:
        """Envelopes for `want`, up to `budget_bytes` but always one if there is one to serve.

        What does not fit is left for the peer to ask again; it knows what it still lacks.
        """
        sent: dict[bytes, bytes] = {}
        left_bytes, room = budget_bytes, self._room_to_give(peer, kind)
        may_go, wanted = self._passing(peer, kind), list(dict.fromkeys(want))
        unserved = [] if room else [(one, "too_often") for one in wanted]  # and nothing is read
        rows = self.naming.rows(peer, kind, wanted if room else ())
        for at, (envelope_id, found) in enumerate(rows):
            row = found or self.vouches.row(kind, envelope_id)
            if len(sent) >= room or left_bytes < 0:
                reason = "too_often" if len(sent) >= room else "over_budget"
                unserved += [(one, reason) for one in wanted[at:]]
                break
            if row is None:
                unserved.append((envelope_id, "not_held"))
            elif not may_go(row):
                unserved.append((envelope_id, "not_offered"))
            elif sent and len(row.envelope) > left_bytes:
                unserved += [(one, "over_budget") for one in wanted[at:]]
                break
            else:
                sent[envelope_id] = row.envelope
                left_bytes -= len(row.envelope)
        with self._lock:
            self._memory(peer).given.setdefault(kind, Given(at_s=self._clock())).level += len(sent)
        self._count("served", "", len(sent))
        for _, reason in unserved:
            if reason != "over_budget":  # not withheld: it comes with the next asking
                self._count("withheld", reason)
        return Served(tuple(sent.values()), tuple(sent), tuple(unserved))

    # -- receiving ---------------------------------------------------------------------------

    def lacking(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> list[bytes]:
        """Ids worth asking `peer` for, each once: in the reverse of the order offered.

        Offers name the newest first. What a record needs, its signer's key above all, is usually
        older than it: asked for oldest first, little has to wait here, and nothing is evicted and
        sent twice.

        Left out: what is held, what waits here as this peer sent it, what was refused in this
        peer's bytes, and what it failed to deliver a moment ago. An id that is only bridged is
        asked for: the peer's copy may carry the signature ours lacks.
        """
        if self._is_unwanted(peer, kind):
            self._count("not_asked", "unwanted", len(refs))
            return []
        ids = list(dict.fromkeys(ref.envelope_hash for ref in reversed(refs)))
        standing = self._standing(peer, kind, ids)
        now_s = self._clock()
        wanted: list[bytes] = []
        with self._lock:
            memory = self._memory(peer)
            for envelope_id in ids:
                key = kind, envelope_id
                if is_known(memory, key, standing.get(envelope_id), now_s):
                    continue
                if memory.unserved.is_active(key, now_s):
                    self._counts["not_asked", "unserved"] += 1
                    continue
                wanted.append(envelope_id)
            if wanted and not memory.is_worth_asking(kind, now_s):
                self._counts["not_asked", "too_many"] += 1
                return []
        return wanted

    def note_offer(self, peer: str, kind: EnvelopeKind, refs: Sequence[EnvelopeRef]) -> None:
        """Remember what `peer` offered beyond our own offer: part of the compared view.

        Of more than fits into its share, the newest.
        """
        ours = self._offer(peer, kind).ids
        offered = dict.fromkeys(ref.envelope_hash for ref in refs[:OFFER_REFS_MAX])
        with self._lock:
            memory = self._memory(peer)
            room = room_for_noted(self._peers, peer, kind)
            beyond = frozenset(islice((one for one in offered if one not in ours), room))
            if memory.noted.get(kind, frozenset()) == beyond:
                return
            memory.note(kind, beyond)
            memory.version += 1

    def apply(
        self,
        peer: str,
        kind: EnvelopeKind,
        envelopes: Sequence[bytes],
        *,
        now_ms: int,
        path: str = "peer",
    ) -> list[Verdict]:
        """Admit what `peer` delivered; one verdict each, in order.

        Args:
            path: "registry" for a peer of other software; see `Source`.
        """
        verdicts = self._directory.admit_many(kind, envelopes, Source(path, peer), now_ms=now_ms)
        evicted = self._directory.drain_evicted()
        now_s = self._clock()
        with self._lock:
            memory = self._memory(peer)
            memory.version += 1
            came = [(one, it) for it in verdicts if (one := self.id_of(peer, it)) is not None]
            ids = {one for one, _ in came}
            self._note_offered(peer, kind, ids)  # whether or not a Summary named it before
            for one, verdict in came:
                remember(memory, (kind, one), verdict, now_s)
            for entry in evicted:
                self._note_evicted(entry, now_s)
        return verdicts

    def id_of(self, peer: str, verdict: Verdict) -> bytes | None:
        """What `peer` calls the record that this was said of; None when it could not be read."""
        return self.naming.of_verdict(peer, verdict)

    def owing(self, peer: str, kind: EnvelopeKind, refs: Iterable[EnvelopeRef]) -> int:
        """How many of these are on no shelf here, refused and unwanted ones aside.

        More than `lacking` asks for: what waits in a pool, or for its back-off, is not here either.
        """
        if self._is_unwanted(peer, kind):
            return 0
        ids = {ref.envelope_hash for ref in refs}
        standing = self._standing(peer, kind, ids)
        shelved = (Standing.HELD, Standing.BRIDGED)
        now_s = self._clock()
        with self._lock:
            refused = self._memory(peer).refused
            return sum(
                standing.get(envelope_id) not in shelved
                and not refused.is_active((kind, envelope_id), now_s)
                for envelope_id in ids
            )

    def waiting(self, peer: str, kind: EnvelopeKind) -> int:
        """How many records `peer` offers wait in a pool here: known, compared, and not held."""
        with self._lock:
            noted = self._memory(peer).noted.get(kind, frozenset())
        standing = self._standing(peer, kind, noted)
        return sum(found is Standing.DEFERRED for found in standing.values())

    def served_nothing(self, peer: str, kind: EnvelopeKind, ids: Iterable[bytes]) -> None:
        """`peer` offered these and did not deliver them: wait before asking it again."""
        now_s = self._clock()
        with self._lock:
            memory = self._memory(peer)
            for envelope_id in ids:
                memory.note_unserved((kind, envelope_id), now_s)
                self._counts["unserved", ""] += 1

    def note_refused(self, peer: str, kind: EnvelopeKind, ids: Iterable[bytes]) -> None:
        """What `peer` delivers for these ids is nothing we could take."""
        now_s = self._clock()
        with self._lock:
            memory = self._memory(peer)
            for envelope_id in ids:
                memory.note_refused((kind, envelope_id), now_s)

    # -- comparing ---------------------------------------------------------------------------

    def view_digest(self, peer: str, kind: EnvelopeKind) -> SetDigest:
        """Digest of the set compared with `peer`: our offer, and what it offered that we know.

        Reads nothing while neither the directory nor what is remembered of the peer changed.
        """
        return self._view(peer, kind).digest

    def view_ids(self, peer: str, kind: EnvelopeKind) -> frozenset[bytes]:
        """The set that `view_digest` is the digest of."""
        view = self._view(peer, kind)
        return view.offer.ids | view.known if view.known else view.offer.ids

    def spare_ids(self, peer: str, kind: EnvelopeKind, *, at_most: int) -> frozenset[bytes]:
        """What is held and not in the view: `peer` may offer it, and nobody remembers.

        After a start that is all by those whose records this node does not pass on. Reads the
        kind's table when there is such a record, and not more than `at_most`.
        """
        view = self._view(peer, kind)
        by_copy = self.naming.is_by_copy(peer, kind)
        held = self._all_offers.beside(
            kind, self._agreed(peer), view.offer, at_most=at_most, by_copy=by_copy
        )
        return held - view.known

    def note_met(self, peer: str, kind: EnvelopeKind, ids: Collection[bytes]) -> None:
        """`peer` has these in its view."""
        with self._lock:
            self._note_offered(peer, kind, frozenset(ids))
            self._memory(peer).version += 1

    def to_send(
        self, peer: str, kind: EnvelopeKind, ids: Collection[bytes] | None
    ) -> tuple[list[bytes], int]:
        """Which of these ids, absent from `peer`'s view, go to it now; None: of all we offer.

        Returns:
            The ids, oldest first for the reason `lacking` gives, and how many wait: the peer took
            them a moment ago and did not come to know them.
        """
        offered = [ref.envelope_hash for ref in reversed(self._offer(peer, kind).refs)]
        if ids is not None:
            offered = [one for one in offered if one in ids]
        now_s = self._clock()
        if offered and not self._room_to_give(peer, kind):
            self._count("withheld", "too_often", len(offered))
            return [], len(offered)
        with self._lock:
            memory = self._memory(peer)
            sent = memory.sent.get(kind)
            due = [one for one in offered if sent is None or not sent.is_active(one, now_s)]
            withheld = len(offered) - len(due)
            if not memory.is_worth_sending(kind, withheld, now_s):
                return [], len(offered)
        return due, withheld

    def note_taken(self, peer: str, kind: EnvelopeKind, ids: Iterable[bytes]) -> None:
        """`peer` took these: should it lack them still, wait before sending them again."""
        now_s = self._clock()
        with self._lock:
            sent = self._memory(peer).sent.setdefault(kind, sent_memory())
            for envelope_id in ids:
                sent.note(envelope_id, now_s)

    def note_agreed(self, peer: str, kind: EnvelopeKind) -> None:
        """The digests of both views are equal: nothing sent is outstanding."""
        with self._lock:
            memory = self._memory(peer)
            memory.sent.pop(kind, None)
            memory.overfed.forget(kind)

    def no_longer_offered(self, peer: str, kind: EnvelopeKind, ids: Collection[bytes]) -> int:
        """These are not in `peer`'s view. Forget that it offered them; returns how many it had.

        Otherwise what it once offered and withdrew would keep the views apart for ever.
        """
        with self._lock:
            memory = self._memory(peer)
            noted = memory.noted.get(kind, frozenset())
            left = noted.difference(ids)
            if len(left) < len(noted):
                memory.note(kind, left)
                memory.version += 1
        return len(noted) - len(left)

    def is_worth_taking(self, peer: str, kind: EnvelopeKind) -> bool:
        """False while `peer` has sent more of this kind that is refused than can be remembered."""
        with self._lock:
            return not self._memory(peer).refusing.is_active(kind, self._clock())

    def counts(self) -> dict[tuple[str, str], int]:
        """(what, reason) -> how often: served, withheld, not_asked, unserved. Since start."""
        with self._lock:
            return {key: count for key, count in self._counts.items() if count}

    # -- inside ------------------------------------------------------------------------------

    def _view(self, peer: str, kind: EnvelopeKind) -> View:
        offer = self._offer(peer, kind)
        now_s = self._clock()
        with self._lock:
            memory = self._memory(peer)
            view, version = memory.views.get(kind), memory.version
            is_same = view is not None and view.offer is offer and view.version == version
            if view is not None and is_same and now_s < view.until_s:
                return view
        # The peer may have what we offered till now; forgotten, it would be sent here for nothing.
        gone = view.offer.ids - offer.ids if view is not None else ()
        outgrown = self.naming.outgrown(peer, kind, gone)
        with self._lock:
            memory = self._memory(peer)
            self._note_offered(peer, kind, outgrown)
            memory.note_judged(kind, outgrown)
            noted = memory.noted.get(kind, frozenset())
            beyond = noted - offer.ids
            if len(beyond) < len(noted):
                memory.note(kind, beyond)  # what we offer ourselves needs no note
        known = self._known(peer, kind, beyond)
        digest = digest_of(offer.ids | known) if known else offer.digest
        view = View(offer, version, now_s + VIEW_REUSE_S, digest, known)
        with self._lock:
            self._memory(peer).views[kind] = view
        return view

    def _known(self, peer: str, kind: EnvelopeKind, beyond: frozenset[bytes]) -> frozenset[bytes]:
        if not beyond or self._is_unwanted(peer, kind):
            return beyond
        standing = self._standing(peer, kind, beyond)
        now_s = self._clock()
        with self._lock:
            memory = self._memory(peer)
            return frozenset(
                one for one in beyond if is_known(memory, (kind, one), standing.get(one), now_s)
            )

    def _standing(
        self, peer: str, kind: EnvelopeKind, ids: Collection[bytes]
    ) -> dict[bytes, Standing]:
        with self._lock:
            judged = dict(self._memory(peer).judged.get(kind, {}))
        return self.naming.standing(peer, kind, ids, judged)

    def _is_unwanted(self, peer: str, kind: EnvelopeKind) -> bool:
        return kind in self._unwanted or not self._takes(peer)

    def _offer(self, peer: str, kind: EnvelopeKind) -> Offer:
        if not self._gives(peer):
            return NO_OFFER
        return self._all_offers.of(
            kind, self._agreed(peer), by_copy=self.naming.is_by_copy(peer, kind)
        )

    def _agreed(self, peer: str) -> Terms:
        with self._lock:
            return self._terms.get(peer, self._own_terms)

    def _passing(self, peer: str, kind: EnvelopeKind) -> Callable[[StoredRow], bool]:
        """May this row of the kind go? The offer decides what a scope holds; ours or not, now."""
        if not self._gives(peer):
            return lambda _row: False
        holds = self._all_offers.holding(self._agreed(peer), kind)
        is_friend = self._trusted().__contains__

        def may_go(row: StoredRow) -> bool:
            if row.shelf is not Shelf.FEDERATION:
                return self.vouches.row(row.kind, row.envelope_id) is not None
            return (row.introduced or is_ours(kind, row.signers, is_friend)) and holds(row)

        return may_go

    def _memory(self, peer: str) -> PeerMemory:
        assert self._lock.locked(), "memories are read and written under the lock"
        memory = self._peers.get(peer)
        if memory is None:
            memory = self._peers[peer] = PeerMemory()
            if len(self._peers) > PEERS_MAX:
                self._peers.popitem(last=False)
        self._peers.move_to_end(peer)
        return memory

    def _note_offered(self, peer: str, kind: EnvelopeKind, ids: Collection[bytes]) -> None:
        memory = self._memory(peer)
        noted = memory.noted.get(kind, frozenset())
        room = room_for_noted(self._peers, peer, kind) - len(noted)
        if new := frozenset(islice((one for one in ids if one not in noted), max(0, room))):
            memory.noted[kind] = noted | new

    def _room_to_give(self, peer: str, kind: EnvelopeKind) -> int:
        """How many records of a kind a peer may take now; whatever it says that it lacks."""
        offered = len(self._offer(peer, kind).ids)
        now_s = self._clock()
        with self._lock:
            given = self._memory(peer).given.setdefault(kind, Given(at_s=now_s))
            return given.room(offered, now_s)

    def _note_evicted(self, entry: Evicted, now_s: float) -> None:
        """Who delivered it is asked again later; it is known of nobody's any more."""
        one = self.naming.of(entry.peer, entry.envelope_id, entry.copy_id)
        assert one is not None, "it was read"
        key = entry.kind, one
        self._memory(entry.peer).note_unserved(key, now_s)
        self._memory(entry.peer).version += 1
        for memory in self._peers.values():
            memory.version += memory.forget_judged(key)

    def _count(self, what: str, reason: str, number: int = 1) -> None:
        with self._lock:
            self._counts[what, reason] += number
