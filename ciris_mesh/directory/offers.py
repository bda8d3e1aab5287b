"""What may be offered of one kind under the terms of one peer, kept while nothing changes.

Most peers agree on everything as of today, and share one offer. Of a partial scope the rows are
found by names (`scoping`), so an offer costs what the scope holds, once for each change in it; and
what has ended too long ago is found by its last day. Rows are named by their copy ids, or by their
envelope ids to whom those mean more (`records.cosigning`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory, RowHead, SetDigest, StoredRow
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.quotas import is_ours
from ciris_mesh.directory.scoping import Part, part_of
from ciris_mesh.directory.store import newest_first
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.scope import Scope, Terms
from ciris_mesh.wire.messages import EnvelopeRef

#: A v1 Summary spells a ref in up to 160 bytes of JSON, so this is just under a frame of 8 MiB.
OFFER_REFS_MAX: Final = 50_000

#: Offers kept: thirteen kinds, with peers of some dozen different scopes and days. A full one is
#: 10 MB, and hardly one is full.
OFFERS_MAX: Final = 13 * 16

#: Partial scopes of which the rows are kept at hand.
PARTS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be offered of one kind, and the state of things it was read in."""

    generation: int
    trusted: frozenset[str]
    refs: tuple[EnvelopeRef, ...]
    ids: frozenset[bytes]
    digest: SetDigest
    left_out: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """An offer under some terms, and what it was made of."""

    base: Offer | Part
    trusted: frozenset[str]
    generations: tuple[int, ...]
    offer: Offer


class Offers:
    """Offers of one directory. Thread-safe.

    Args:
        trusted: key ids whose records may be offered; asked once per question.
    """

    def __init__(
        self, directory: ReplicationDirectory, trusted: Callable[[], frozenset[str]]
    ) -> None:
        self._directory = directory
        self._trusted = trusted
        self._lock = threading.Lock()  # guards all below; never held while calling the directory
        self._whole: dict[tuple[EnvelopeKind, bool], Offer] = {}
        self._kept: OrderedDict[tuple[EnvelopeKind, Terms, bool], _Kept] = OrderedDict()
        self._parts: OrderedDict[Scope, tuple[tuple[int, ...], Part]] = OrderedDict()

    def of(self, kind: EnvelopeKind, terms: Terms, *, by_copy: bool = False) -> Offer:
        """What is offered under these terms; the same object while nothing changed.

        Args:
            by_copy: under copy ids, otherwise under envelope ids.
        """
        if kind not in terms.kinds:
            return NO_OFFER
        if terms.takes_whole(kind):
            whole = self._of_all(kind, by_copy=by_copy)
            if not terms.first_day:
                return whole
            return self._without_ended(kind, terms, whole, by_copy=by_copy)
        return self._of_part(kind, terms, by_copy=by_copy)

    def holds(self, terms: Terms, row: StoredRow) -> bool:
        """May a row that is passed on at all go to a peer under these terms?"""
        return self.holding(terms, row.kind)(row)

    def holding(self, terms: Terms, kind: EnvelopeKind) -> Callable[[StoredRow], bool]:
        """As `holds` of the rows of a kind as things are now, for who asks about many."""
        if terms.takes_whole(kind) and not terms.first_day:
            return lambda _row: True
        ids = self.of(kind, terms, by_copy=is_cosigned(kind)).ids
        return lambda row: row.copy_id in ids

    def beside(
        self, kind: EnvelopeKind, terms: Terms, offer: Offer, *, at_most: int, by_copy: bool = False
    ) -> frozenset[bytes]:
        """What is held within these terms and not offered; nothing when it is more than that."""
        count = self._directory.digest(kind).count
        if not terms.takes_whole(kind):
            heads = self._part(kind, terms).values()
            held = frozenset(_name(head, by_copy=by_copy) for head in heads)
        elif not 0 < count - len(offer.ids) <= at_most:
            return frozenset()
        else:
            refs, _ = self._directory.newest(kind, lambda it: it, limit=count, by_copy=by_copy)
            held = frozenset(ref.envelope_hash for ref in refs)
        found = held - offer.ids - self._ended(kind, terms, by_copy=by_copy)
        return found if len(found) <= at_most else frozenset()

    # -- all of a kind -------------------------------------------------------------------------

    def _of_all(self, kind: EnvelopeKind, *, by_copy: bool) -> Offer:
        trusted = self._trusted()
        generation = self._directory.generation(kind)
        with self._lock:
            cached = self._whole.get((kind, by_copy))
        if cached is not None and (cached.generation, cached.trusted) == (generation, trusted):
            return cached

        def charged(signers: tuple[str, ...]) -> tuple[str, ...]:
            if not is_ours(kind, signers, trusted.__contains__):
                return ()
            return tuple(name for name in signers if name in trusted)

        newest, left_out = self._directory.newest(
            kind, charged, limit=OFFER_REFS_MAX, by_copy=by_copy
        )
        refs = tuple(newest)
        ids = frozenset(ref.envelope_hash for ref in refs)
        digest = self._digest(kind, generation, ids, by_copy=by_copy)
        offer = Offer(generation, trusted, refs, ids, digest, left_out)
        with self._lock:
            self._whole[kind, by_copy] = offer
        return offer

    def _digest(
        self, kind: EnvelopeKind, generation: int, ids: frozenset[bytes], *, by_copy: bool
    ) -> SetDigest:
        """The kept digest when everything held is offered, else one computed for the offer."""
        whole = self._directory.digest(kind)
        is_whole = whole.count == len(ids) and self._directory.generation(kind) == generation
        is_kept = by_copy or not is_cosigned(kind)
        return whole if is_whole and is_kept else digest_of(ids)

    def _without_ended(
        self, kind: EnvelopeKind, terms: Terms, whole: Offer, *, by_copy: bool
    ) -> Offer:
        generations = self._generations(terms)
        kept = self._find(kind, terms, by_copy=by_copy)
        if kept is not None and kept.base is whole and kept.generations == generations:
            return kept.offer
        ended = self._ended(kind, terms, by_copy=by_copy)
        offer = whole
        if not ended.isdisjoint(whole.ids):
            refs = tuple(ref for ref in whole.refs if ref.envelope_hash not in ended)
            ids = whole.ids - ended
            offer = Offer(
                whole.generation, whole.trusted, refs, ids, digest_of(ids), whole.left_out
            )
            if kept is not None and kept.offer.ids == ids and kept.base is whole:
                offer = kept.offer
        self._keep((kind, terms, by_copy), _Kept(whole, whole.trusted, generations, offer))
        return offer

    def _ended(self, kind: EnvelopeKind, terms: Terms, *, by_copy: bool) -> frozenset[bytes]:
        ended = self._directory.ended(kind, terms.first_day, terms.kinds)
        if not ended or not by_copy:
            return ended
        return frozenset(held.copy_id for held in self._directory.copies(kind, ended).values())

    # -- parts -----------------------------------------------------------------------------------

    def _of_part(self, kind: EnvelopeKind, terms: Terms, *, by_copy: bool) -> Offer:
        trusted, generations = self._trusted(), self._generations(terms)
        kept = self._find(kind, terms, by_copy=by_copy)
        if kept is not None and (kept.trusted, kept.generations) == (trusted, generations):
            return kept.offer
        ended = self._ended(kind, terms, by_copy=False)
        refs = newest_first(
            EnvelopeRef(_name(head, by_copy=by_copy), head.seq)
            for head in self._part(kind, terms).values()
            if head.envelope_id not in ended
            and (head.introduced or is_ours(kind, head.signers, trusted.__contains__))
        )
        newest = tuple(refs[:OFFER_REFS_MAX])
        ids = frozenset(ref.envelope_hash for ref in newest)
        if kept is not None and (kept.trusted, kept.offer.ids) == (trusted, ids):
            offer = kept.offer  # others' news: what is compared is the same
        else:
            left_out = len(refs) - len(newest)
            offer = Offer(sum(generations), trusted, newest, ids, digest_of(ids), left_out)
        self._keep((kind, terms, by_copy), _Kept({}, trusted, generations, offer))
        return offer

    def _part(self, kind: EnvelopeKind, terms: Terms) -> dict[bytes, RowHead]:
        """Rows of a kind that are in each scope of which not all of the kind is."""
        parts = [self._part_of(one)[kind] for one in terms.scopes if kind not in one.whole]
        common = set(parts[0]).intersection(*parts[1:])
        return {one: head for one, head in parts[0].items() if one in common}

    def _part_of(self, scope: Scope) -> Part:
        generations = tuple(self._directory.generation(kind) for kind in sorted(scope.kinds))
        with self._lock:
            known = self._parts.get(scope)
            if known is not None and known[0] == generations:
                self._parts.move_to_end(scope)
                return known[1]
        part = part_of(self._directory, scope)
        with self._lock:
            self._parts[scope] = generations, part
            self._parts.move_to_end(scope)
            if len(self._parts) > PARTS_MAX:
                self._parts.popitem(last=False)
        return part

    # -- memory ----------------------------------------------------------------------------------

    def _generations(self, terms: Terms) -> tuple[int, ...]:
        """Of all kinds that decide what is in: rosters say who is a member, reliance what stays."""
        return tuple(self._directory.generation(kind) for kind in sorted(terms.kinds))

    def _find(self, kind: EnvelopeKind, terms: Terms, *, by_copy: bool) -> _Kept | None:
        place = kind, terms, by_copy
        with self._lock:
            kept = self._kept.get(place)
            if kept is not None:
                self._kept.move_to_end(place)
            return kept

    def _keep(self, place: tuple[EnvelopeKind, Terms, bool], kept: _Kept) -> None:
        with self._lock:
            self._kept[place] = kept
            self._kept.move_to_end(place)
            if len(self._kept) > OFFERS_MAX:
                self._kept.popitem(last=False)


def _name(head: RowHead, *, by_copy: bool) -> bytes:
    return head.copy_id if by_copy else head.envelope_id


NO_OFFER: Final = Offer(0, frozenset(), (), frozenset(), digest_of(()), 0)
