"""The directory on disk: SQLite in WAL mode, one writer connection, a few readers.

Every commit survives the end of the process. Commits of own records and trust decisions also
survive power loss (synchronous FULL); others (NORMAL) may lose their newest to a power cut, never
their consistency: peers send those again.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Final

from ciris_mesh.directory.base import Shelf, Source, StoredRow
from ciris_mesh.directory.buckets import BucketDigest
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.dbfile import (
    DatabaseLock,
    check_is_ours,
    connect,
    create_private,
    translated,
)
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.schema import check_tables, migrate
from ciris_mesh.directory.sqlite_references import ROW, References, Sql, stored_row, strings
from ciris_mesh.directory.store import PooledEntry, SavedBuckets, fair_share
from ciris_mesh.errors import DirectoryError, LifecycleError
from ciris_mesh.records.cosigning import copy_id, is_cosigned
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.wire.messages import EnvelopeRef

#: Rounds run on a small pool of threads; more readers than that would only wait for the disk.
READERS_MAX: Final = 4

#: A read takes milliseconds; half a minute means the disk is gone, and that must be said.
READER_WAIT_S: Final = 30.0

#: SQLite's oldest supported limit is 999 variables in a statement.
_IDS_PER_STATEMENT: Final = 900

_ID_BYTES: Final = 32

#: Few sign much: most rows have signers that were just looked at.
_SIGNERS_REMEMBERED: Final = 256

_KIND_OF: Final = {spec.number: kind for kind, spec in KINDS.items()}


class SqliteDirectory(DirectoryCore):
    """A directory in one file. Open it once; `close` it.

    Args:
        path: the database; its folder must exist. Created with mode 0600.
        pinned: key id -> SHA-256 fingerprint; added to those of `trust`.
        trust: what this node's configuration says of others; without it everything is denied.
        limits: how much may wait.

    Raises:
        DirectoryError: another program's database, a newer schema, a damaged file, in use by
            another process, or not writable. Nothing was changed; the text says what to do.
    """

    def __init__(
        self,
        path: Path,
        *,
        pinned: Mapping[str, bytes] | None = None,
        trust: Trust | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        store = SqliteStore(Path(path))
        try:
            super().__init__(store, pinned=pinned, trust=trust, limits=limits)
        except BaseException:
            with suppress(DirectoryError):  # what went wrong first is what people need to know
                store.close()
            raise


class SqliteStore(References):
    """Primitive operations as SQL. Reads outside a transaction use the reader pool."""

    def __init__(self, path: Path) -> None:
        check_is_ours(path)
        self._path = path
        self._lock = DatabaseLock(path)
        try:
            self._writer = _open_writer(path)
        except BaseException:
            self._lock.release()
            raise
        self._readers = _ReaderPool(path)
        self._writing_thread: int | None = None
        self._is_full = False

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """See Store."""
        with translated(self._path):
            self._set_synchronous(full=durable)
            self._writer.execute("BEGIN IMMEDIATE")
            self._writing_thread = threading.get_ident()
            try:
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk may have rolled back already
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._writing_thread = None

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """See Store."""
        found = self._read(
            f"SELECT {ROW} WHERE kind = ? AND envelope_id = ?",
            (KINDS[kind].number, bytes(envelope_id)),
        )
        return stored_row(found[0]) if found else None

    def shelves(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, Shelf]:
        """See Store."""
        found: dict[bytes, Shelf] = {}
        for part in _parts(ids):
            marks = ",".join("?" * len(part))
            rows = self._read(
                "SELECT envelope_id, shelf FROM record "
                f"WHERE kind = ? AND envelope_id IN ({marks})",
                (KINDS[kind].number, *part),
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
        name = partial(_copy_id, kind) if by_copy else lambda envelope_id, _signers: envelope_id
        with translated(self._path), self._readers.borrow() as reader:
            rows = reader.execute(
                "SELECT envelope_id, seq, signers, introduced FROM record "
                "WHERE kind = ? AND shelf = ? ORDER BY seq DESC, envelope_id",
                (KINDS[kind].number, Shelf.FEDERATION),
            )
            with closing(rows):
                passing = (
                    (EnvelopeRef(name(id_, text), seq), who)
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
        rows = self._beginning(kind, bytes([bucket]))
        return [_copy_id(kind, envelope_id, signers) for envelope_id, signers in rows]

    def alike(
        self, kind: EnvelopeKind, heads: Iterable[bytes]
    ) -> list[tuple[bytes, tuple[str, ...]]]:
        """See Store."""
        return [
            (envelope_id, _signers(text))
            for head in heads
            for envelope_id, text in self._beginning(kind, head)
        ]

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
        cursor = self._write(
            "INSERT INTO record "
            "(kind, envelope_id, shelf, seq, subject, signers, admitted_at_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                KINDS[row.kind].number,
                row.envelope_id,
                row.shelf,
                row.seq,
                row.subject,
                json.dumps(row.signers),
                row.admitted_at_ms,
            ),
        )
        self._write("INSERT INTO envelope VALUES (?, ?)", (cursor.lastrowid, row.envelope))

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
            (row.shelf, json.dumps(row.signers), *name),
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
        self._write(
            "INSERT OR REPLACE INTO pooled (pool, digest, kind, envelope_id, path, peer, signers, "
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
        for digest in digests:
            self._write("DELETE FROM pooled WHERE pool = ? AND digest = ?", (pool, digest))

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
        for bucket, digest in clean.items():
            self._write(
                "INSERT OR REPLACE INTO bucket VALUES (?, ?, ?, ?, 0)",
                (KINDS[kind].number, bucket, digest.count, digest.digest),
            )

    def mark_buckets(self, kind: EnvelopeKind, buckets: Iterable[int]) -> None:
        """See Store."""
        for bucket in buckets:
            self._write(
                "INSERT INTO bucket VALUES (?, ?, 0, x'', 1) "
                "ON CONFLICT (kind, bucket) DO UPDATE SET dirty = 1 WHERE dirty = 0",
                (KINDS[kind].number, bucket),
            )

    def close(self) -> None:
        """See Store. Writes the log back into the file, so a copy of the file is complete."""
        self._readers.close()
        try:
            with translated(self._path):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._writer.close()
            self._lock.release()

    def _beginning(self, kind: EnvelopeKind, head: bytes) -> list[Sql]:
        """Id and signers of federation-shelf rows whose ids begin so."""
        last = head + b"\xff" * (_ID_BYTES - len(head))
        return self._read(
            "SELECT envelope_id, signers FROM record "
            "WHERE kind = ? AND envelope_id BETWEEN ? AND ? AND shelf = ?",
            (KINDS[kind].number, head, last, Shelf.FEDERATION),
        )

    def _set_synchronous(self, *, full: bool) -> None:
        if full is not self._is_full:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._is_full = full

    def _write(self, sql: str, values: Sql) -> sqlite3.Cursor:
        assert self._writing_thread == threading.get_ident(), "writes need a transaction"
        return self._writer.execute(sql, values)

    def _read(self, sql: str, values: Sql = ()) -> list[Sql]:
        if self._writing_thread == threading.get_ident():
            return self._writer.execute(sql, values).fetchall()
        with translated(self._path), self._readers.borrow() as reader:
            return reader.execute(sql, values).fetchall()


class _ReaderPool:
    """At most READERS_MAX read-only connections, opened when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        for _ in range(READERS_MAX):
            self._idle.put(None)
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise LifecycleError("the directory is closed")
        try:
            reader = self._idle.get(timeout=READER_WAIT_S)
        except queue.Empty:
            raise DirectoryError(f"{self._path} does not answer; check the disk") from None
        try:
            if reader is None:
                reader = connect(self._path, read_only=True)
            yield reader
        finally:
            self._idle.put(reader)

    def close(self) -> None:
        """Wait for readers under way, then close all."""
        self._closed = True
        for _ in range(READERS_MAX):
            try:
                reader = self._idle.get(timeout=READER_WAIT_S)
            except queue.Empty:
                return
            if reader is not None:
                reader.close()


def _open_writer(path: Path) -> sqlite3.Connection:
    create_private(path)
    with translated(path):
        connection = connect(path, read_only=False)
        try:
            migrate(connection, path)
            check_tables(connection, path)
            # Only now: until it is marked as ours, the header must be in the file, not in a log.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
    return connection


@lru_cache(_SIGNERS_REMEMBERED)
def _signers(text: str) -> tuple[str, ...]:
    return strings(text)


def _copy_id(kind: EnvelopeKind, envelope_id: bytes, signers: str) -> bytes:
    return copy_id(kind, envelope_id, _signers(signers)) if is_cosigned(kind) else envelope_id


def _parts(ids: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(ids)
    while part := list(islice(remaining, _IDS_PER_STATEMENT)):
        yield part
