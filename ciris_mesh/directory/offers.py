"""What may be offered of one kind, kept while nothing changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory, SetDigest
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.quotas import is_ours
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import EnvelopeRef

#: A v1 Summary spells a ref in up to 160 bytes of JSON, so this is just under a frame of 8 MiB.
OFFER_REFS_MAX: Final = 50_000


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be offered of one kind, and the state of things it was read in."""

    generation: int
    trusted: frozenset[str]
    refs: tuple[EnvelopeRef, ...]
    ids: frozenset[bytes]
    digest: SetDigest
    left_out: int


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
        self._lock = threading.Lock()  # guards what is below; never held while calling others
        self._kept: dict[tuple[EnvelopeKind, bool], Offer] = {}

    def of(self, kind: EnvelopeKind, *, by_copy: bool) -> Offer:
        """What is offered; the same object while nothing changed.

        Args:
            by_copy: under copy ids, otherwise under envelope ids.
        """
        trusted, generation = self._trusted(), self._directory.generation(kind)
        with self._lock:
            kept = self._kept.get((kind, by_copy))
        if kept is not None and (kept.generation, kept.trusted) == (generation, trusted):
            return kept

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
            self._kept[kind, by_copy] = offer
        return offer

    def beside(
        self, kind: EnvelopeKind, offer: Offer, *, at_most: int, by_copy: bool
    ) -> frozenset[bytes]:
        """What is held and not offered; nothing when it is more than that."""
        held = self._directory.digest(kind).count
        if not 0 < held - len(offer.ids) <= at_most:
            return frozenset()
        refs, _ = self._directory.newest(kind, lambda it: it, limit=held, by_copy=by_copy)
        return frozenset(ref.envelope_hash for ref in refs) - offer.ids

    def _digest(
        self, kind: EnvelopeKind, generation: int, ids: frozenset[bytes], *, by_copy: bool
    ) -> SetDigest:
        """The kept digest when everything held is offered, else one computed for the offer."""
        whole = self._directory.digest(kind)
        is_whole = whole.count == len(ids) and self._directory.generation(kind) == generation
        is_kept = by_copy or not is_cosigned(kind)
        return whole if is_whole and is_kept else digest_of(ids)
