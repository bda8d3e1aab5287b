"""Rows, pools and digests as SQL that SQLite and PostgreSQL both take.

An engine adds connections and transactions, and says nothing else: marks are `?`, conflicts are
named by `ON CONFLICT`, every value is bound, and nobody asks for the id of an inserted row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Final

from ciris_mesh.directory.base import Shelf, Source, StoredRow
from ciris_mesh.directory.buckets import BucketDigest
from ciris_mesh.directory.sql_inserts import Sql
from ciris_mesh.directory.sql_references import (
    ROW,
    VALUES_MAX,
    References,
    among,
    stored_row,
    strings,
)
from ciris_mesh.directory.store import PooledEntry, SavedBuckets, fair_share
from ciris_mesh.records.cosigning import copy_id, is_cosigned
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.wire.messages import EnvelopeRef

#: Few sign much: most rows have signers that were just looked at.
_SIGNERS_REMEMBERED: Final = 256

_ID_BYTES: Final = 32

#: Beginnings of ids looked for at once: each takes two variables of a statement.
_HEADS_MAX: Final = 256

_KIND_OF: Final = {spec.number: kind for kind, spec in KINDS.items()}


class SqlRows(References):
    """The operations of `Store` on rows, pools and digests."""

    #: What no two rows of the table of bucket digests have in common.
    _bucket_key = "kind, bucket"

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """See Store."""
        found = self._read(
            f"SELECT {ROW} WHERE kind = ? AND envelope_id = ?",
            (KINDS[kind].number, bytes(envelope_id)),
        )
        return stored_row(found[0]) if found else None

    def get_many(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, StoredRow]:
        """See Store."""
        found: dict[bytes, StoredRow] = {}
        for part in _parts(ids):
            rows = self._read(f"SELECT {ROW} WHERE {among(kind, part)}", tuple(part))
            found.update((row.envelope_id, row) for row in map(stored_row, rows))
        return found

    def shelves(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, Shelf]:
        """See Store."""
        found: dict[bytes, Shelf] = {}
        for part in _parts(ids):
            rows = self._read(
                f"SELECT envelope_id, shelf FROM record WHERE {among(kind, part)}", tuple(part)
            )
            found.update((envelope_id, Shelf(shelf)) for envelope_id, shelf in rows)
        return found

    def refs(self, kind: EnvelopeKind) -> list[EnvelopeRef]:
        """See Store."""
        rows = self._read(
            "SELECT envelope_id, seq FROM record WHERE kind = ? AND shelf = ? "
            "ORDER BY seq DESC, envelope_id",
            (KINDS[kind].number, Shelf.FEDERATION),
        )
        return [EnvelopeRef(envelope_id, seq) for envelope_id, seq in rows]

    def newest(
        self,
        kind: EnvelopeKind,
        charged: Callable[[tuple[str, ...]], tuple[str, ...]],
        *,
        limit: int,
        by_copy: bool,
    ) -> tuple[list[EnvelopeRef], int]:
        """See Store."""
        charged_text = lru_cache(_SIGNERS_REMEMBERED)(lambda text: charged(strings(text)))
        with self._stream(
            "SELECT envelope_id, seq, signers, introduced FROM record "
            "WHERE kind = ? AND shelf = ? ORDER BY seq DESC, envelope_id",
            (KINDS[kind].number, Shelf.FEDERATION),
        ) as rows:
            passing = (
                (EnvelopeRef(_copy_id(kind, id_, text) if by_copy else id_, seq), who)
                for id_, seq, text, introduced in rows
                if (who := charged_text(text) or (introduced and strings(text)))
            )
            return fair_share(passing, limit)

    def signers(self, kind: EnvelopeKind) -> dict[bytes, tuple[str, ...]]:
        """See Store."""
        rows = self._read(
            "SELECT envelope_id, signers FROM record WHERE kind = ? AND shelf = ?",
            (KINDS[kind].number, Shelf.FEDERATION),
        )
        texts: dict[str, tuple[str, ...]] = {}  # few signers, many rows: share the tuples
        return {
            envelope_id: texts.get(text) or texts.setdefault(text, strings(text))
            for envelope_id, text in rows
        }

    def bucket_copies(self, kind: EnvelopeKind, bucket: int) -> list[bytes]:
        """See Store."""
        rows = self._beginning(kind, [bytes([bucket])])
        return [_copy_id(kind, envelope_id, signers) for envelope_id, signers in rows]

    def alike(
        self, kind: EnvelopeKind, heads: Iterable[bytes]
    ) -> list[tuple[bytes, tuple[str, ...]]]:
        """See Store."""
        return [(id_, _signers(text)) for id_, text in self._beginning(kind, heads)]

    def _beginning(self, kind: EnvelopeKind, heads: Iterable[bytes]) -> Iterator[Sql]:
        """Id and signers of federation-shelf rows whose ids begin with one of these."""
        for part in _parts(heads, _HEADS_MAX):
            spans = [(head, head + b"\xff" * (_ID_BYTES - len(head))) for head in part]
            yield from self._read(
                f"WITH span (low, high) AS (VALUES {','.join(['(?, ?)'] * len(spans))}) "
                "SELECT envelope_id, signers FROM span "
                "JOIN record ON envelope_id BETWEEN low AND high WHERE kind = ? AND shelf = ?",
                (*chain.from_iterable(spans), KINDS[kind].number, Shelf.FEDERATION),
            )

    def key_row(self, key_id: str) -> StoredRow | None:
        """See Store."""
        found = self._read(
            f"SELECT {ROW} WHERE kind = 1 AND shelf = 2 AND subject = ? ORDER BY position LIMIT 1",
            (key_id,),
        )
        return stored_row(found[0]) if found else None

    def rows(
        self, kind: EnvelopeKind | None, *, limit: int, after: int
    ) -> list[tuple[int, StoredRow]]:
        """See Store."""
        only = "" if kind is None else f"AND kind = {KINDS[kind].number}"
        found = self._read(
            f"SELECT {ROW} WHERE position > ? {only} ORDER BY position LIMIT ?",
            (after, max(0, limit)),
        )
        return [(row[0], stored_row(row)) for row in found]

    def counts(self) -> dict[tuple[EnvelopeKind, Shelf], int]:
        """See Store."""
        rows = self._read("SELECT kind, shelf, count(*) FROM record GROUP BY kind, shelf")
        return {(_KIND_OF[kind], Shelf(shelf)): count for kind, shelf, count in rows}

    def insert(self, row: StoredRow) -> None:
        """See Store."""
        inserts, number, id_ = self._inserting(), KINDS[row.kind].number, row.envelope_id
        shelf, signers = int(row.shelf), _json(row.signers)
        inserts.records.append(
            (number, id_, shelf, row.seq, row.subject, signers, row.admitted_at_ms)
        )
        inserts.envelopes.append(((row.kind, id_), row.envelope))

    def raise_shelf(self, row: StoredRow) -> None:
        """See Store."""
        name = (KINDS[row.kind].number, row.envelope_id)
        self._write(
            "UPDATE envelope SET bytes = ? WHERE position = "
            "(SELECT position FROM record WHERE kind = ? AND envelope_id = ?)",
            (row.envelope, *name),
        )
        self._write(
            "UPDATE record SET shelf = ?, signers = ? WHERE kind = ? AND envelope_id = ?",
            (row.shelf, _json(row.signers), *name),
        )

    def pool_entries(self) -> list[PooledEntry]:
        """See Store."""
        rows = self._read(
            "SELECT digest, pool, kind, envelope_id, path, peer, signers, waits_for, "
            "not_before_ms, length(envelope) FROM pooled ORDER BY arrived"
        )
        return [
            PooledEntry(
                digest=digest,
                pool=pool,
                kind=_KIND_OF[kind],
                envelope_id=envelope_id,
                source=Source(path, peer),
                signers=strings(signers),
                waits_for=strings(waits_for),
                not_before_ms=not_before_ms,
                size_bytes=size_bytes,
            )
            for digest, pool, kind, envelope_id, path, peer, signers, waits_for, not_before_ms,
            size_bytes in rows
        ]  # fmt: skip

    def pool_envelope(self, pool: str, digest: bytes) -> bytes | None:
        """See Store."""
        found = self._read(
            "SELECT envelope FROM pooled WHERE pool = ? AND digest = ?", (pool, digest)
        )
        return bytes(found[0][0]) if found else None

    def pool_put(self, entry: PooledEntry, envelope: bytes) -> None:
        """See Store."""
        self.pool_drop(entry.pool, [entry.digest])  # one that is replaced comes last
        self._write(
            "INSERT INTO pooled (pool, digest, kind, envelope_id, path, peer, signers, "
            "waits_for, not_before_ms, envelope) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.pool,
                entry.digest,
                KINDS[entry.kind].number,
                entry.envelope_id,
                entry.source.path,
                entry.source.peer,
                json.dumps(entry.signers),
                json.dumps(entry.waits_for),
                entry.not_before_ms,
                envelope,
            ),
        )

    def pool_drop(self, pool: str, digests: Iterable[bytes]) -> None:
        """See Store."""
        rows = [(pool, digest) for digest in digests]
        if rows:  # else what waits to be inserted may wait on
            self._write_many("DELETE FROM pooled WHERE pool = ? AND digest = ?", rows)

    def saved_buckets(self, kind: EnvelopeKind) -> SavedBuckets:
        """See Store."""
        rows = self._read(
            "SELECT bucket, count, digest, dirty FROM bucket WHERE kind = ?",
            (KINDS[kind].number,),
        )
        clean = {bucket: BucketDigest(count, digest) for bucket, count, digest, dirty in rows}
        return SavedBuckets(clean, frozenset(bucket for bucket, _, _, dirty in rows if dirty))

    def save_buckets(self, kind: EnvelopeKind, clean: Mapping[int, BucketDigest]) -> None:
        """See Store."""
        number = KINDS[kind].number
        self._write_many(
            "INSERT INTO bucket (kind, bucket, count, digest, dirty) VALUES (?, ?, ?, ?, 0) "
            f"ON CONFLICT ({self._bucket_key}) DO UPDATE "
            "SET count = excluded.count, digest = excluded.digest, dirty = 0",
            [(number, bucket, saved.count, saved.digest) for bucket, saved in clean.items()],
        )

    def mark_buckets(self, kind: EnvelopeKind, buckets: Iterable[int]) -> None:
        """See Store."""
        number = KINDS[kind].number
        if rows := [(number, bucket, b"") for bucket in buckets]:
            self._write_many(
                "INSERT INTO bucket (kind, bucket, count, digest, dirty) VALUES (?, ?, 0, ?, 1) "
                f"ON CONFLICT ({self._bucket_key}) DO UPDATE SET dirty = 1 WHERE bucket.dirty = 0",
                rows,
            )


@lru_cache(_SIGNERS_REMEMBERED)
def _json(signers: tuple[str, ...]) -> str:
    return json.dumps(signers)


@lru_cache(_SIGNERS_REMEMBERED)
def _signers(text: str) -> tuple[str, ...]:
    return strings(text)


def _copy_id(kind: EnvelopeKind, envelope_id: bytes, signers: str) -> bytes:
    return copy_id(kind, envelope_id, _signers(signers)) if is_cosigned(kind) else envelope_id


def _parts(ids: Iterable[bytes], at_most: int = VALUES_MAX) -> Iterator[list[bytes]]:
    remaining = iter(ids)
    while part := list(islice(remaining, at_most)):
        yield part
