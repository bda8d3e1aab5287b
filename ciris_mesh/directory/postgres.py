"""The directory in PostgreSQL: one writer connection, a few readers; several nodes may share it.

Writers queue at one row of the database as the threads of one process queue at one lock, so the
order of writes is one order, and what holds inside one process holds between several. Verification
is outside of it, and beside it in each process.

A server that goes away is waited for, `pg_connect.PATIENCE_S` at most. A transaction whose end was
not heard is run again: what it wrote, if it did, is found there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ciris_mesh.directory.base import StoredRow
from ciris_mesh.directory.pg_connect import (
    SCHEMA,
    Reach,
    bound,
    closed,
    connect,
    plain,
    short_name,
    shown,
    statement,
    translated,
)
from ciris_mesh.directory.pg_schema import NODE_LOCK, migrate, register, set_up_session
from ciris_mesh.directory.readerpool import ReaderPool
from ciris_mesh.directory.sql_inserts import Inserts, Sql
from ciris_mesh.directory.sql_references import ROW, stored_row
from ciris_mesh.directory.sql_rows import SqlRows
from ciris_mesh.errors import DirectoryError, StoreUnreachable
from ciris_mesh.records.kinds import KINDS

if TYPE_CHECKING:
    from ciris_mesh.directory.pg_connect import Connection

#: Rows fetched at a time where a table is gone through: a few hundred kB.
STREAMED: Final = 2_000

#: One in the order of all writes, for this transaction, and the lock that makes it one order.
_BEGIN: Final = (
    "WITH turn AS (UPDATE head SET change = change + 1 RETURNING change) "
    "SELECT set_config('ciris.change', change::text, true) FROM turn"
)


#: Rows whoever wrote them, and whether or not this node takes them.
_ALL: Final = ROW.replace("FROM record", f"FROM {SCHEMA}.record")

_HIDE: Final = (
    "INSERT INTO hidden VALUES (?, ?, ?) "
    "ON CONFLICT (node, position) DO UPDATE SET reason = excluded.reason"
)


class PostgresStore(SqlRows):
    """One database as one node sees it. Reads outside a transaction use the reader pool.

    Args:
        url: `postgresql://...`
        node: the name of this node; at most one process uses the database under one name.
        shared: other nodes may use it too.

    Raises:
        DirectoryError: another program's or another node's database, a newer schema, or in use
            under this name. Nothing was changed; the text says what to do.
        StoreUnreachable: no server answers.
    """

    _bucket_key = "node, kind, bucket"

    def __init__(self, url: str, *, node: str, shared: bool = False) -> None:
        self.url = url
        self.reach = Reach()
        first = connect(url)
        try:
            with translated(url):
                self.migrated = migrate(first, url)
                self.number = register(first, url, node, shared=shared)
            self._writer: Connection | None = self._as_writer(first)
        except BaseException:
            first.close()
            raise
        self._readers = ReaderPool(
            self.open_session,
            is_broken=lambda session: session.closed,
            too_slow=f"{shown(url)} takes too long to answer; look at its server",
        )
        self._bound: dict[int, Connection] = {}  # thread -> the connection its transaction is on
        self._writing_thread: int | None = None
        self._inserts = Inserts()
        found = self._read("SELECT EXISTS (SELECT FROM hidden WHERE node = ?)", (self.number,))
        self.hides = bool(found[0][0])

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """See Store. Every commit is durable: a server's crash must not take back what we said."""
        writer = self.reach.patiently(self._begin)
        try:
            with self._binding(writer), translated(self.url):
                self._writing_thread = threading.get_ident()
                yield
                self._write_inserts()
                writer.execute("COMMIT")
        except BaseException:
            self._give_up(writer)
            raise
        finally:
            self._writing_thread = None
            self._inserts = Inserts()

    def insert(self, row: StoredRow) -> None:
        """See Store. A row this node hid makes room: its bytes were not what they should be."""
        if self.hides:
            self._drop_hidden(row)
        super().insert(row)

    def close(self) -> None:
        """See Store."""
        self.reach.is_closing = True
        self._readers.close()
        if self._writer is not None:
            with suppress(DirectoryError), translated(self.url):
                self._writer.execute("SELECT pg_advisory_unlock_all()")  # the server may lag behind
            self._writer.close()

    # -- what other nodes wrote ----------------------------------------------------------------

    def head(self) -> int:
        """The newest change anybody committed."""
        return int(self._read("SELECT change FROM head")[0][0])

    def seen(self) -> int:
        """Up to which change this node has looked."""
        return int(self._read("SELECT seen FROM node WHERE number = ?", (self.number,))[0][0])

    def hidden_count(self) -> int:
        """Rows this node looked at and does not take."""
        found = self._read("SELECT count(*) FROM hidden WHERE node = ?", (self.number,))
        return int(found[0][0])

    @contextmanager
    def looking(self) -> Iterator[Looking]:
        """Look at what others wrote, from this thread, as if it had been seen; nothing stays."""
        with (
            self.open_session() as session,
            self._binding(session),
            translated(self.url),
            session.transaction(force_rollback=True),
        ):
            yield Looking(session, self.number)

    def saw(self, change: int, hide: Mapping[int, str], show: Iterable[int]) -> None:
        """In the running transaction: this node has looked up to `change`, and takes or does not.

        Args:
            hide: positions of rows not taken, and why.
            show: positions of hidden rows that are taken after all.
        """
        if change:
            self._write(
                "UPDATE node SET seen = greatest(seen, ?) WHERE number = ?", (change, self.number)
            )
        self._write_many(_HIDE, [(self.number, *row) for row in hide.items()])
        self._write_many(
            "DELETE FROM hidden WHERE node = ? AND position = ?",
            [(self.number, position) for position in show],
        )
        self.hides = bool(self._read("SELECT FROM hidden WHERE node = ? LIMIT 1", (self.number,)))

    def open_session(self) -> Connection:
        """A connection that sees what this node may see. The caller closes it."""
        connection = connect(self.url)
        try:
            with translated(self.url):
                set_up_session(connection, self.number, is_writer=False)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _binding(self, connection: Connection) -> Iterator[None]:
        """Let this thread's statements go to `connection`, reads included."""
        thread = threading.get_ident()
        self._bound[thread] = connection
        try:
            yield
        finally:
            del self._bound[thread]

    def _as_writer(self, writer: Connection) -> Connection:
        """Make this the writer connection, which also says that this node is here.

        Raises:
            DirectoryError: another process is here under this name.
        """
        with translated(self.url):
            set_up_session(writer, self.number, is_writer=True)
            found = writer.execute(
                "SELECT pg_try_advisory_lock(%s, %s)", (NODE_LOCK, self.number)
            ).fetchone()
        if found != (True,):
            raise DirectoryError(
                f"{shown(self.url)} is in use by another process of this node; "
                "stop that one first, or ask it instead"
            )
        return writer

    def _begin(self) -> Connection:
        if self.reach.is_closing and self._writer is None:
            raise closed()
        if self._writer is not None and self._writer.closed:
            self._writer.close()
            self._writer = None
        if self._writer is None:
            self._writer = self._reopen_writer()
        writer = self._writer
        try:
            with translated(self.url):
                writer.execute("BEGIN")
                writer.execute(_BEGIN)
        except BaseException:
            self._give_up(writer)
            raise
        return writer

    def _reopen_writer(self) -> Connection:
        writer = connect(self.url)
        try:
            return self._as_writer(writer)
        except StoreUnreachable:
            writer.close()
            raise
        except DirectoryError as error:  # the server may not have noticed yet that the old one died
            writer.close()
            raise StoreUnreachable(str(error)) from error

    def _give_up(self, writer: Connection) -> None:
        """Roll back, or drop a connection that cannot."""
        try:
            with translated(self.url):
                writer.execute("ROLLBACK")
        except DirectoryError:
            with suppress(DirectoryError), translated(self.url):
                writer.close()
            self._writer = None

    def _drop_hidden(self, row: StoredRow) -> None:
        name = KINDS[row.kind].number, row.envelope_id
        found = self._read(
            "SELECT position FROM ciris_mesh.record JOIN hidden USING (position) "
            "WHERE kind = ? AND envelope_id = ? AND hidden.node = ?",
            (*name, self.number),
        )
        for position in found:
            for table in ("hidden", "answer", "stranger", "relied", "envelope"):
                self._write(f"DELETE FROM ciris_mesh.{table} WHERE position = ?", position)
            self._write("DELETE FROM ciris_mesh.record WHERE position = ?", position)

    def _name(self, token: str) -> str:
        return short_name(token)

    def _write(self, sql: str, values: Sql) -> None:
        self._own().execute(statement(sql), bound(values))

    def _write_many(self, sql: str, rows: Iterable[Sql]) -> None:
        with self._own().cursor() as cursor:
            cursor.executemany(statement(sql), [bound(row) for row in rows])

    def _inserting(self) -> Inserts:
        assert self._writing_thread == threading.get_ident(), "writes need a transaction"
        return self._inserts

    def _own(self) -> Connection:
        connection = self._bound.get(threading.get_ident())
        assert connection is not None, "writes need a transaction"
        self._write_inserts()
        return connection

    def _read(self, sql: str, values: Sql = ()) -> list[Sql]:
        own = self._bound.get(threading.get_ident())
        if own is not None:
            if self._writing_thread == threading.get_ident():  # and does not only look
                self._write_inserts()
            with translated(self.url):
                return list(plain(own.execute(statement(sql), bound(values)).fetchall()))

        def attempt() -> list[Sql]:
            with self._readers.borrow() as reader, translated(self.url):
                return list(plain(reader.execute(statement(sql), bound(values)).fetchall()))

        return self.reach.patiently(attempt)

    @contextmanager
    def _stream(self, sql: str, values: Sql = ()) -> Iterator[Iterator[Sql]]:
        with ExitStack() as stack:

            def attempt() -> Iterator[Sql]:
                reader = stack.enter_context(self._readers.borrow())
                stack.enter_context(translated(self.url))
                with translated(self.url):
                    stack.enter_context(reader.transaction())
                    rows = stack.enter_context(reader.cursor("streamed"))
                    rows.itersize = STREAMED
                    return plain(rows.execute(statement(sql), bound(values)))

            yield self.reach.patiently(attempt)


class Looking:
    """A transaction in which a node looks at others' rows. Rolled back at its end.

    Everything this thread reads of the store meanwhile is as of the change it stands at.
    """

    def __init__(self, session: Connection, number: int) -> None:
        self._session = session
        self._number = number

    def others(self, after: int, upto: int, limit: int) -> list[tuple[int, int, StoredRow]]:
        """(change, position, row) of what others wrote, in order; whole changes, at least one."""
        found = self._fetch(
            f"SELECT change, {_ALL} WHERE change > ? AND change <= ? AND writer <> ? "
            "ORDER BY change, position LIMIT ?",
            (after, upto, self._number, limit),
        )
        if len(found) == limit:
            last = found[-1][0]
            whole = [row for row in found if row[0] < last]
            found = whole or self._fetch(
                f"SELECT change, {_ALL} WHERE change = ? AND writer <> ? ORDER BY position",
                (last, self._number),
            )
        return [(row[0], row[1], stored_row(row[1:])) for row in found]

    def hidden(self, after: int, limit: int) -> list[tuple[int, StoredRow]]:
        """(position, row) of what this node does not take, behind a position."""
        found = self._fetch(
            f"SELECT {_ALL} JOIN hidden USING (position) WHERE node = ? AND position > ? "
            "ORDER BY position LIMIT ?",
            (self._number, after, limit),
        )
        return [(row[0], stored_row(row)) for row in found]

    def stand_at(self, change: int) -> None:
        """Read as of this change from now on."""
        self._session.execute("UPDATE node SET seen = %s WHERE number = %s", (change, self._number))

    def hide(self, position: int, why: str) -> None:
        """Do not see this row any more."""
        self._session.execute(statement(_HIDE), (self._number, position, why))

    def show(self, position: int) -> None:
        """See it again."""
        self._session.execute(
            "DELETE FROM hidden WHERE node = %s AND position = %s", (self._number, position)
        )

    def _fetch(self, sql: str, values: Sql) -> list[Sql]:
        return list(plain(self._session.execute(statement(sql), bound(values)).fetchall()))
