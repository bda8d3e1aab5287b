"""What a store must be able to do: a few primitive operations, no decisions.

Admission, pools, digests and counters are written once above this (`core`), so the store in memory
and the one on SQLite cannot differ in behaviour. Reads may come from any thread at any time and
see committed rows; inside `transaction` the same thread also sees its own writes. Writes happen
only inside `transaction`, by one thread at a time: the caller's duty.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from ciris_mesh.directory.base import RowHead, Shelf, Source, StoredRow
from ciris_mesh.directory.buckets import BucketDigest
from ciris_mesh.records.cosigning import copy_id
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import EnvelopeRef

#: Kind and envelope id: one row.
Name = tuple[EnvelopeKind, bytes]


@dataclass(frozen=True, slots=True)
class PooledEntry:
    """One envelope that waits outside the shelves. Its bytes stay in the store.

    Attributes:
        digest: SHA-256 over kind and bytes; names the entry in its pool. Never the envelope
            id: garbage around a valid record must not stand for the record.
        pool: "deferred" or "first_contact".
        signers: key ids the envelope claims; unverified while one of them is unknown.
        waits_for: tokens (`records.tokens`) whose publication releases it.
        not_before_ms: release time in Unix ms for what is dated ahead of us, else 0.
        size_bytes: length of the envelope.
        needs_all: it takes all of `waits_for`. Not kept over a restart: then all is asked again.
        proven: signers whose signatures in these bytes were verified. A key never changes under
            its id, so they stand. Not kept over a restart either.
    """

    digest: bytes
    pool: str
    kind: EnvelopeKind
    envelope_id: bytes
    source: Source
    signers: tuple[str, ...]
    waits_for: tuple[str, ...]
    not_before_ms: int
    size_bytes: int
    needs_all: bool = field(default=False, compare=False)
    proven: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def copy_id(self) -> bytes:
        """Of the copy that waits, signed as it claims to be."""
        return copy_id(self.kind, self.envelope_id, self.signers)


@dataclass(frozen=True, slots=True)
class SavedBuckets:
    """What a store remembers of one kind's bucket digests."""

    clean: Mapping[int, BucketDigest]
    dirty: frozenset[int]


class Store(Protocol):
    """Primitive operations on rows, pooled envelopes and saved digests."""

    def transaction(self, *, durable: bool) -> AbstractContextManager[None]:
        """All writes inside become visible together, or none when the block raises.

        Args:
            durable: survive power loss too, not only the end of this process.
        """
        ...

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """Point read, any shelf."""
        ...

    def get_many(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, StoredRow]:
        """As `get`: those of `ids` that have a row, all of them in memory at once."""
        ...

    def shelves(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, Shelf]:
        """Where those of `ids` that have a row stand."""
        ...

    def refs(self, kind: EnvelopeKind) -> list[EnvelopeRef]:
        """Federation shelf, newest `seq` first, then by id."""
        ...

    def newest(
        self,
        kind: EnvelopeKind,
        charged: Callable[[tuple[str, ...]], tuple[str, ...]],
        *,
        limit: int,
        by_copy: bool,
    ) -> tuple[list[EnvelopeRef], int]:
        """As `refs`, of rows `charged` to anybody: a fair share, and how many are left out.

        Args:
            by_copy: name them by their copy ids.
        """
        ...

    def signers(self, kind: EnvelopeKind) -> dict[bytes, tuple[str, ...]]:
        """Federation shelf: envelope id -> verified signers."""
        ...

    def bucket_copies(self, kind: EnvelopeKind, bucket: int) -> list[bytes]:
        """Federation shelf: copy ids whose first byte, as that of their row's id, is `bucket`."""
        ...

    def alike(
        self, kind: EnvelopeKind, heads: Iterable[bytes]
    ) -> list[tuple[bytes, tuple[str, ...]]]:
        """Federation shelf: id and signers of rows whose ids begin with one of these."""
        ...

    def key_row(self, key_id: str) -> StoredRow | None:
        """The federation-shelf key record for `key_id`; of several, the one admitted first."""
        ...

    def rows(
        self, kind: EnvelopeKind | None, *, limit: int, after: int
    ) -> list[tuple[int, StoredRow]]:
        """(position, row) in admission order."""
        ...

    def counts(self) -> dict[tuple[EnvelopeKind, Shelf], int]:
        """Rows per kind and shelf, without zeros."""
        ...

    def insert(self, row: StoredRow) -> None:
        """Add a row whose (kind, id) is not there yet."""
        ...

    def raise_shelf(self, row: StoredRow) -> None:
        """Replace shelf, bytes and signers of the row with the same (kind, id)."""
        ...

    def publish(self, row: StoredRow, tokens: Sequence[str]) -> None:
        """From now on this row, which is there, answers to these tokens, each once."""
        ...

    def named(self, token: str, *, limit: int, after: int) -> list[tuple[int, StoredRow]]:
        """(position, row) of what answers to `token`, in admission order after a position."""
        ...

    def shelved(self, token: str, *, federation: bool, limit: int) -> list[StoredRow]:
        """What answers to `token` and is on the federation shelf, or is not; admission order."""
        ...

    def signers_named(self, token: str, *, limit: int) -> list[tuple[str, ...]]:
        """Signers of what answers to `token` on the federation shelf, a row each."""
        ...

    def subjects(self, token: str, *, limit: int, after: int) -> list[tuple[int, str]]:
        """(position, subject) of what answers to `token`, as `named` and without the bytes."""
        ...

    def ids(self, token: str, *, limit: int, after: int) -> list[tuple[int, EnvelopeKind, bytes]]:
        """(position, kind, envelope id) of what answers to `token`, as `named`."""
        ...

    def heads(self, kind: EnvelopeKind) -> list[RowHead]:
        """Federation-shelf rows of a kind without their bytes, in no order."""
        ...

    def heads_named(self, names: Sequence[str]) -> list[RowHead]:
        """Federation-shelf rows that answer to any of these, each once, without their bytes."""
        ...

    def answered(self, tokens: Sequence[str]) -> frozenset[str]:
        """Those of these tokens that any row answers to."""
        ...

    def heads_relied(self, names: Sequence[Name]) -> list[RowHead]:
        """Federation-shelf rows that `rely` said any of these rows relied on, each once."""
        ...

    def idle_ids(self, first: str, end: str, kinds: Collection[EnvelopeKind]) -> list[bytes]:
        """Federation-shelf rows that answer to a name from `first` to before `end`.

        Without those that a row of `kinds` relied on.
        """
        ...

    def note_stranger(self, row: StoredRow, peer: str, signer: str) -> None:
        """Charge this row, which is there, to who brought it and who signed it."""
        ...

    def charged_to(self, name: Name) -> str:
        """Whose share a row counts against, as `note_stranger` had it; "" for nobody's."""
        ...

    def strangers_of(self, peer: str, *, limit: int) -> int:
        """How many rows are charged to a peer; counted up to `limit`."""
        ...

    def strangers_by(self, signer: str, *, limit: int) -> int:
        """How many rows are charged to a signer; counted up to `limit`."""
        ...

    def stranger_signers(self) -> frozenset[str]:
        """Whom any row is charged to."""
        ...

    def strangers_named(self, signer: str) -> list[Name]:
        """Rows charged to a signer: no more than its quota."""
        ...

    def drop_stranger(self, name: Name) -> None:
        """Charge this row to nobody any more."""
        ...

    def key_name(self, key_id: str) -> Name | None:
        """The row `key_row` returns, by name."""
        ...

    def rely(self, name: Name, on: Sequence[Name]) -> None:
        """This row, which is there, could be admitted because those were there."""
        ...

    def not_introduced(self, names: Sequence[Name]) -> list[Name]:
        """What `rely` said of these rows and `introduce` did not say yet, each once."""
        ...

    def introduce(self, names: Sequence[Name]) -> None:
        """Pass these rows on from now on, whoever signed them."""
        ...

    def pool_entries(self) -> list[PooledEntry]:
        """All pooled envelopes, oldest first. Read when the directory opens."""
        ...

    def pool_envelope(self, pool: str, digest: bytes) -> bytes | None:
        """The bytes of one pooled envelope."""
        ...

    def pool_put(self, entry: PooledEntry, envelope: bytes) -> None:
        """Add an entry, or replace the one with the same pool and digest."""
        ...

    def pool_drop(self, pool: str, digests: Iterable[bytes]) -> None:
        """Remove entries; unknown ones are ignored."""
        ...

    def saved_buckets(self, kind: EnvelopeKind) -> SavedBuckets:
        """What is remembered of the digests. Read when the directory opens."""
        ...

    def save_buckets(self, kind: EnvelopeKind, clean: Mapping[int, BucketDigest]) -> None:
        """Remember computed digests."""
        ...

    def mark_buckets(self, kind: EnvelopeKind, buckets: Iterable[int]) -> None:
        """Remember that these digests are out of date."""
        ...

    def close(self) -> None:
        """Release everything. Called once, with no transaction open."""
        ...


def shelves_of(store: Store, names: Iterable[Name]) -> dict[Name, Shelf]:
    """Where those of `names` that have a row stand: one look for each kind."""
    ids: dict[EnvelopeKind, list[bytes]] = {}
    for kind, envelope_id in names:
        ids.setdefault(kind, []).append(envelope_id)
    return {
        (kind, envelope_id): shelf
        for kind, asked in ids.items()
        for envelope_id, shelf in store.shelves(kind, asked).items()
    }


def fair_share(
    rows: Iterable[tuple[EnvelopeRef, tuple[str, ...]]], limit: int
) -> tuple[list[EnvelopeRef], int]:
    """At most `limit` refs, in the order given, and how many were left out.

    Signers take turns, each with its rows in the order given, so that much by one leaves the
    rest of the others in. A row of several counts against whoever has had the fewest.

    Args:
        rows: (ref, who to charge), newest first. Read once; memory depends on `limit` alone.
    """
    turns: Counter[str] = Counter()
    kept: list[tuple[int, int, EnvelopeRef]] = []
    total = 0
    for ref, signers in rows:
        signer = min(signers, key=lambda name: (turns[name], name))
        turns[signer] += 1
        total += 1
        place = (-turns[signer], -total, ref)
        if len(kept) < limit:
            heapq.heappush(kept, place)
        else:
            heapq.heappushpop(kept, place)
    kept.sort(key=lambda place: -place[1])
    return [ref for _, _, ref in kept], total - len(kept)


def newest_first(refs: Iterable[EnvelopeRef]) -> list[EnvelopeRef]:
    """Order refs as offers do: latest `seq` first, equal ones by id."""
    return sorted(refs, key=lambda ref: (-ref.seq, ref.envelope_hash))
