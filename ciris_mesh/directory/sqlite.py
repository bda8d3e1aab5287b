"""The directory on disk: SQLite in WAL mode, one writer connection, a few readers.

Every commit survives the end of the process. Commits of own records and trust decisions also
survive power loss (synchronous FULL); others (NORMAL) may lose their newest to a power cut, never
their consistency: peers send those again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.dbfile import (
    DatabaseLock,
    check_is_ours,
    connect,
    create_private,
    translated,
)
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.readerpool import ReaderPool
from ciris_mesh.directory.schema import check_tables, migrate
from ciris_mesh.directory.sql_inserts import Inserts, Sql
from ciris_mesh.directory.sql_rows import SqlRows
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.rules.base import Trust

#: Pages of 4 kB in the log before it is copied into the file, which waits for the disk: 16 MB, four
#: times the default, so bulk waits a quarter as often and copies a page of an index less often.
CHECKPOINT_PAGES: Final = 4000


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


class SqliteStore(SqlRows):
    """One writer connection. Reads outside a transaction use the reader pool."""

    def __init__(self, path: Path) -> None:
        check_is_ours(path)
        self._path = path
        self._lock = DatabaseLock(path)
        try:
            self._writer = _open_writer(path)
        except BaseException:
            self._lock.release()
            raise
        self._readers = ReaderPool(
            lambda: connect(path, read_only=True),
            too_slow=f"{path} does not answer; check the disk",
        )
        self._writing_thread: int | None = None
        self._inserts = Inserts()
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
                self._write_inserts()
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk may have rolled back already
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._writing_thread = None
                self._inserts = Inserts()

    def close(self) -> None:
        """See Store. Writes the log back into the file, so a copy of the file is complete."""
        self._readers.close()
        try:
            with translated(self._path):
                _shorten_log(self._writer)
        finally:
            self._writer.close()
            self._lock.release()

    def _set_synchronous(self, *, full: bool) -> None:
        if full is not self._is_full:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._is_full = full

    def _write(self, sql: str, values: Sql) -> None:
        assert self._writing_thread == threading.get_ident(), "writes need a transaction"
        self._write_inserts()
        self._writer.execute(sql, values)

    def _write_many(self, sql: str, rows: Iterable[Sql]) -> None:
        assert self._writing_thread == threading.get_ident(), "writes need a transaction"
        self._write_inserts()
        self._writer.executemany(sql, rows)

    def _inserting(self) -> Inserts:
        assert self._writing_thread == threading.get_ident(), "writes need a transaction"
        return self._inserts

    def _read(self, sql: str, values: Sql = ()) -> list[Sql]:
        if self._writing_thread == threading.get_ident():
            self._write_inserts()
            return self._writer.execute(sql, values).fetchall()
        with translated(self._path), self._readers.borrow() as reader:
            return reader.execute(sql, values).fetchall()

    @contextmanager
    def _stream(self, sql: str, values: Sql = ()) -> Iterator[Iterator[Sql]]:
        with (
            translated(self._path),
            self._readers.borrow() as reader,
            closing(reader.execute(sql, values)) as rows,
        ):
            yield rows


def _shorten_log(connection: sqlite3.Connection) -> None:
    """Write the log back into the file. On a full disk it stays: it is read all the same."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise


def _open_writer(path: Path) -> sqlite3.Connection:
    create_private(path)
    with translated(path):
        connection = connect(path, read_only=False)
        try:
            migrate(connection, path)
            check_tables(connection, path)
            # Only now: until it is marked as ours, the header must be in the file, not in a log.
            connection.execute("PRAGMA journal_mode = WAL")
            _shorten_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
    return connection
