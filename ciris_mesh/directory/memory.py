"""The directory in memory: the reference, for tests, simulation and examples. Nothing survives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

from ciris_mesh.directory.base import RowHead, Shelf, StoredRow
from ciris_mesh.directory.buckets import BucketDigest, bucket_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.store import Name, PooledEntry, SavedBuckets, fair_share, newest_first
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.wire.messages import EnvelopeRef


class MemoryDirectory(DirectoryCore):
    """A directory that lives and dies with the process.

    Args:
        pinned: key id -> SHA-256 fingerprint; added to those of `trust`.
        trust: what this node's configuration says of others; without it everything is denied.
        limits: how much may wait.
    """

    def __init__(
        self,
        *,
        pinned: Mapping[str, bytes] | None = None,
        trust: Trust | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        super().__init__(MemoryStore(), pinned=pinned, trust=trust, limits=limits)


class MemoryStore:
    """Rows in dicts. A transaction only groups: no write here can fail halfway."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below; dicts may not grow while read
        self._rows: dict[EnvelopeKind, dict[bytes, tuple[int, StoredRow]]] = {
            kind: {} for kind in EnvelopeKind
        }
        self._federation: dict[EnvelopeKind, list[set[bytes]]] = {}
        self._keys: dict[str, StoredRow] = {}
        self._names: dict[str, dict[Name, None]] = {}
        self._strangers: dict[Name, tuple[str, str]] = {}
        self._relied: dict[Name, dict[Name, None]] = {}
        self._pools: dict[tuple[str, bytes], tuple[PooledEntry, bytes]] = {}
        self._positions = 0

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """See Store. `durable` means nothing here."""
        yield

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """See Store."""
        with self._lock:
            found = self._rows[kind].get(envelope_id)
        return found[1] if found is not None else None

    def get_many(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, StoredRow]:
        """See Store."""
        with self._lock:
            rows = self._rows[kind]
            return {one: rows[one][1] for one in ids if one in rows}

    def shelves(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, Shelf]:
        """See Store."""
        with self._lock:
            rows = self._rows[kind]
            return {one: rows[one][1].shelf for one in ids if one in rows}

    def refs(self, kind: EnvelopeKind) -> list[EnvelopeRef]:
        """See Store."""
        rows = self._federation_rows(kind)
        return newest_first(EnvelopeRef(row.envelope_id, row.seq) for row in rows)

    def newest(
        self,
        kind: EnvelopeKind,
        charged: Callable[[tuple[str, ...]], tuple[str, ...]],
        *,
        limit: int,
        by_copy: bool,
    ) -> tuple[list[EnvelopeRef], int]:
        """See Store."""
        passing = [
            (row, who)
            for row in self._federation_rows(kind)
            if (who := charged(row.signers) or (row.signers if row.introduced else ()))
        ]
        passing.sort(key=lambda it: (-it[0].seq, it[0].envelope_id))
        return fair_share(
            (
                (EnvelopeRef(row.copy_id if by_copy else row.envelope_id, row.seq), who)
                for row, who in passing
            ),
            limit,
        )

    def signers(self, kind: EnvelopeKind) -> dict[bytes, tuple[str, ...]]:
        """See Store."""
        return {row.envelope_id: row.signers for row in self._federation_rows(kind)}

    def bucket_copies(self, kind: EnvelopeKind, bucket: int) -> list[bytes]:
        """See Store."""
        with self._lock:
            rows = self._rows[kind]
            return [rows[one][1].copy_id for one in self._buckets(kind)[bucket]]

    def alike(
        self, kind: EnvelopeKind, heads: Iterable[bytes]
    ) -> list[tuple[bytes, tuple[str, ...]]]:
        """See Store."""
        with self._lock:
            rows, buckets = self._rows[kind], self._buckets(kind)
            return [
                (one, rows[one][1].signers)
                for head in heads
                for one in buckets[bucket_of(head)]
                if one.startswith(head)
            ]

    def key_row(self, key_id: str) -> StoredRow | None:
        """See Store."""
        with self._lock:
            return self._keys.get(key_id)

    def rows(
        self, kind: EnvelopeKind | None, *, limit: int, after: int
    ) -> list[tuple[int, StoredRow]]:
        """See Store."""
        kinds = EnvelopeKind if kind is None else (kind,)
        with self._lock:
            found = [
                placed
                for each in kinds
                for placed in self._rows[each].values()
                if placed[0] > after
            ]
        found.sort(key=lambda placed: placed[0])
        return found[: max(0, limit)]

    def counts(self) -> dict[tuple[EnvelopeKind, Shelf], int]:
        """See Store."""
        counts: dict[tuple[EnvelopeKind, Shelf], int] = {}
        with self._lock:
            for kind, rows in self._rows.items():
                for _, row in rows.values():
                    counts[kind, row.shelf] = counts.get((kind, row.shelf), 0) + 1
        return counts

    def insert(self, row: StoredRow) -> None:
        """See Store."""
        with self._lock:
            self._positions += 1
            self._keep(self._positions, row)

    def raise_shelf(self, row: StoredRow) -> None:
        """See Store."""
        with self._lock:
            position, held = self._rows[row.kind][row.envelope_id]
            self._keep(position, replace(row, introduced=held.introduced))

    def publish(self, row: StoredRow, tokens: Sequence[str]) -> None:
        """See Store."""
        with self._lock:
            for token in tokens:
                self._names.setdefault(token, {})[row.kind, row.envelope_id] = None

    def named(self, token: str, *, limit: int, after: int) -> list[tuple[int, StoredRow]]:
        """See Store."""
        with self._lock:
            placed = [self._rows[kind][one] for kind, one in self._names.get(token, ())]
        found = sorted((it for it in placed if it[0] > after), key=lambda it: it[0])
        return found[: max(0, limit)]

    def shelved(self, token: str, *, federation: bool, limit: int) -> list[StoredRow]:
        """See Store."""
        found = (row for _, row in self.named(token, limit=self._positions, after=0))
        kept = (row for row in found if (row.shelf is Shelf.FEDERATION) is federation)
        return list(islice(kept, max(0, limit)))

    def signers_named(self, token: str, *, limit: int) -> list[tuple[str, ...]]:
        """See Store."""
        return [row.signers for row in self.shelved(token, federation=True, limit=limit)]

    def subjects(self, token: str, *, limit: int, after: int) -> list[tuple[int, str]]:
        """See Store."""
        found = self.named(token, limit=limit, after=after)
        return [(position, row.subject) for position, row in found]

    def ids(self, token: str, *, limit: int, after: int) -> list[tuple[int, EnvelopeKind, bytes]]:
        """See Store."""
        found = self.named(token, limit=limit, after=after)
        return [(position, row.kind, row.envelope_id) for position, row in found]

    def heads(self, kind: EnvelopeKind) -> list[RowHead]:
        """See Store."""
        return [_head(row) for row in self._federation_rows(kind)]

    def heads_named(self, names: Sequence[str]) -> list[RowHead]:
        """See Store."""
        with self._lock:
            found = {one: None for name in names for one in self._names.get(name, ())}
            return self._heads(found)

    def answered(self, tokens: Sequence[str]) -> frozenset[str]:
        """See Store."""
        with self._lock:
            return frozenset(token for token in tokens if self._names.get(token))

    def heads_relied(self, names: Sequence[Name]) -> list[RowHead]:
        """See Store."""
        with self._lock:
            return self._heads({one: None for name in names for one in self._relied.get(name, ())})

    def idle_ids(self, first: str, end: str, kinds: Collection[EnvelopeKind]) -> list[bytes]:
        """See Store."""
        with self._lock:
            found = {
                one: None
                for name, rows in self._names.items()
                if first <= name < end
                for one in rows
            }
            relied = {
                one for (kind, _), rows in self._relied.items() if kind in kinds for one in rows
            }
            heads = self._heads(found)
        return [one.envelope_id for one in heads if (one.kind, one.envelope_id) not in relied]

    def note_stranger(self, row: StoredRow, peer: str, signer: str) -> None:
        """See Store."""
        with self._lock:
            self._strangers[row.kind, row.envelope_id] = peer, signer

    def charged_to(self, name: Name) -> str:
        """See Store."""
        with self._lock:
            return self._strangers.get(name, ("", ""))[0]

    def strangers_of(self, peer: str, *, limit: int) -> int:
        """See Store."""
        with self._lock:
            return min(limit, sum(one == peer for one, _ in self._strangers.values()))

    def strangers_by(self, signer: str, *, limit: int) -> int:
        """See Store."""
        with self._lock:
            return min(limit, sum(one == signer for _, one in self._strangers.values()))

    def stranger_signers(self) -> frozenset[str]:
        """See Store."""
        with self._lock:
            return frozenset(signer for _, signer in self._strangers.values())

    def strangers_named(self, signer: str) -> list[Name]:
        """See Store."""
        with self._lock:
            return [name for name, (_, one) in self._strangers.items() if one == signer]

    def drop_stranger(self, name: Name) -> None:
        """See Store."""
        with self._lock:
            self._strangers.pop(name, None)

    def key_name(self, key_id: str) -> Name | None:
        """See Store."""
        row = self.key_row(key_id)
        return (row.kind, row.envelope_id) if row is not None else None

    def rely(self, name: Name, on: Sequence[Name]) -> None:
        """See Store."""
        with self._lock:
            self._relied.setdefault(name, {}).update(dict.fromkeys(on))

    def not_introduced(self, names: Sequence[Name]) -> list[Name]:
        """See Store."""
        with self._lock:
            relied = dict.fromkeys(on for name in names for on in self._relied.get(name, {}))
            return [(kind, id_) for kind, id_ in relied if not self._rows[kind][id_][1].introduced]

    def introduce(self, names: Sequence[Name]) -> None:
        """See Store."""
        with self._lock:
            for kind, envelope_id in names:
                position, row = self._rows[kind][envelope_id]
                self._keep(position, replace(row, introduced=True))

    def pool_entries(self) -> list[PooledEntry]:
        """See Store."""
        with self._lock:
            return [entry for entry, _ in self._pools.values()]

    def pool_envelope(self, pool: str, digest: bytes) -> bytes | None:
        """See Store."""
        with self._lock:
            found = self._pools.get((pool, digest))
        return found[1] if found is not None else None

    def pool_put(self, entry: PooledEntry, envelope: bytes) -> None:
        """See Store."""
        with self._lock:
            self._pools.pop((entry.pool, entry.digest), None)
            kept = replace(entry, needs_all=False, proven=frozenset())
            self._pools[entry.pool, entry.digest] = kept, envelope

    def pool_drop(self, pool: str, digests: Iterable[bytes]) -> None:
        """See Store."""
        with self._lock:
            for digest in digests:
                self._pools.pop((pool, digest), None)

    def saved_buckets(self, kind: EnvelopeKind) -> SavedBuckets:
        """See Store. Nothing is saved: what holds rows is out of date."""
        with self._lock:
            buckets = self._buckets(kind)
            return SavedBuckets({}, frozenset(n for n, ids in enumerate(buckets) if ids))

    def save_buckets(self, kind: EnvelopeKind, clean: Mapping[int, BucketDigest]) -> None:
        """See Store."""

    def mark_buckets(self, kind: EnvelopeKind, buckets: Iterable[int]) -> None:
        """See Store."""

    def close(self) -> None:
        """See Store."""

    def _heads(self, names: Iterable[Name]) -> list[RowHead]:
        rows = (self._rows[kind][envelope_id][1] for kind, envelope_id in names)
        return [_head(row) for row in rows if row.shelf is Shelf.FEDERATION]

    def _federation_rows(self, kind: EnvelopeKind) -> list[StoredRow]:
        with self._lock:
            rows = [row for _, row in self._rows[kind].values()]
        return [row for row in rows if row.shelf is Shelf.FEDERATION]

    def _buckets(self, kind: EnvelopeKind) -> list[set[bytes]]:
        return self._federation.setdefault(kind, [set() for _ in range(256)])

    def _keep(self, position: int, row: StoredRow) -> None:
        self._rows[row.kind][row.envelope_id] = position, row
        if row.shelf is Shelf.FEDERATION:
            self._buckets(row.kind)[bucket_of(row.envelope_id)].add(row.envelope_id)
            if row.kind is EnvelopeKind.KEY:
                first = self._keys.get(row.subject)
                if first is None or first.envelope_id == row.envelope_id:
                    self._keys[row.subject] = row


def _head(row: StoredRow) -> RowHead:
    return RowHead(row.kind, row.envelope_id, row.seq, row.subject, row.signers, row.introduced)
