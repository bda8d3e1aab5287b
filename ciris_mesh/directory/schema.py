"""The database's tables, as a numbered list of migrations, and the backup taken before each.

Version n of the schema is what the first n migrations make; `PRAGMA user_version` holds n. Each
migration runs in one transaction with its line in the table `migration`, so it happened or it
did not. A released migration is never edited: change the schema by adding one. PostgreSQL goes
through the same list (`pg_schema`), so a migration keeps to SQL both take; its tables are STRICT.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

from ciris_mesh.directory.dbfile import (
    APPLICATION_ID,
    FILE_MODE,
    damaged,
    foreign,
    sync_folder,
    translated,
)
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.names import end_name, last_day, names_of
from ciris_mesh.records.tokens import key_token, tokens_of


class Migrating(Protocol):
    """A connection as migrations use it: SQLite's, or one to PostgreSQL that takes its words."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Run one statement."""
        ...

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Run one statement for each of the rows."""
        ...


Migration = Callable[[Migrating], None]

#: Enough to go back over a bad update or two; a store of a million records is 10 GB a copy.
BACKUPS_KEPT: Final = 3

_KIND_OF: Final = {spec.number: kind for kind, spec in KINDS.items()}


def _base_tables(connection: Migrating) -> None:
    """Records, their bytes apart (so that scans of ids stay narrow), and saved digests."""
    connection.execute(
        """
        CREATE TABLE record (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            kind INTEGER NOT NULL,
            envelope_id BLOB NOT NULL,
            shelf INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            subject TEXT NOT NULL,
            signers TEXT NOT NULL,
            admitted_at_ms INTEGER NOT NULL,
            UNIQUE (kind, envelope_id)
        ) STRICT
        """
    )
    connection.execute(
        "CREATE TABLE envelope (position INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT"
    )
    connection.execute(
        """
        CREATE TABLE bucket (
            kind INTEGER NOT NULL,
            bucket INTEGER NOT NULL,
            count INTEGER NOT NULL,
            digest BLOB NOT NULL,
            dirty INTEGER NOT NULL,
            PRIMARY KEY (kind, bucket)
        ) STRICT, WITHOUT ROWID
        """
    )


def _pools_and_indexes(connection: Migrating) -> None:
    """What waits survives a restart; offers and keys are found without a scan."""
    connection.execute(
        """
        CREATE TABLE pooled (
            arrived INTEGER PRIMARY KEY AUTOINCREMENT,
            pool TEXT NOT NULL,
            digest BLOB NOT NULL,
            kind INTEGER NOT NULL,
            envelope_id BLOB NOT NULL,
            path TEXT NOT NULL,
            peer TEXT NOT NULL,
            signers TEXT NOT NULL,
            waits_for TEXT NOT NULL,
            not_before_ms INTEGER NOT NULL,
            envelope BLOB NOT NULL,
            UNIQUE (pool, digest)
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX record_by_shelf ON record (kind, shelf, seq)")
    connection.execute(
        "CREATE INDEX record_key ON record (subject, position) WHERE kind = 1 AND shelf = 2"
    )


def _answers(connection: Migrating) -> None:
    """Which rows answer to which token and rely on which; strangers' shares; waiting by token."""
    connection.execute(
        """
        CREATE TABLE answer (
            token TEXT NOT NULL,
            position INTEGER NOT NULL,
            PRIMARY KEY (token, position)
        ) STRICT, WITHOUT ROWID
        """
    )
    connection.execute(
        """
        CREATE TABLE stranger (
            position INTEGER PRIMARY KEY,
            peer TEXT NOT NULL,
            signer TEXT NOT NULL
        ) STRICT
        """
    )
    connection.execute("ALTER TABLE record ADD COLUMN introduced INTEGER NOT NULL DEFAULT 0")
    connection.execute(
        """
        CREATE TABLE relied (
            position INTEGER NOT NULL,
            on_position INTEGER NOT NULL,
            PRIMARY KEY (position, on_position)
        ) STRICT, WITHOUT ROWID
        """
    )
    connection.execute("CREATE INDEX stranger_peer ON stranger (peer)")
    connection.execute("CREATE INDEX stranger_signer ON stranger (signer)")
    rows = connection.execute(
        "SELECT position, kind, bytes FROM record JOIN envelope USING (position) WHERE shelf = 2"
    )
    for position, number, raw in rows:
        tokens = tokens_of(parse_envelope(_KIND_OF[number], raw))
        pairs = [(token, position) for token in tokens]
        connection.executemany("INSERT INTO answer VALUES (?, ?)", pairs)
    waiting = connection.execute("SELECT arrived, waits_for FROM pooled").fetchall()
    for arrived, key_ids in waiting:
        tokens = tuple(map(key_token, json.loads(key_ids)))
        connection.execute(
            "UPDATE pooled SET waits_for = ? WHERE arrived = ?", (json.dumps(tokens), arrived)
        )


def _names(connection: Migrating) -> None:
    """Which rows, on every shelf, are found by which name when a question is asked."""
    rows = connection.execute(
        "SELECT position, kind, bytes FROM record JOIN envelope USING (position)"
    )
    for position, number, raw in rows:
        names = names_of(parse_envelope(_KIND_OF[number], raw))
        pairs = [(name, position) for name in names]
        connection.executemany("INSERT INTO answer VALUES (?, ?)", pairs)


def _names_by_speaker(connection: Migrating) -> None:
    """Attestations and revocations are found by who said it, too."""
    numbers = [KINDS[kind].number for kind in (EnvelopeKind.ATTESTATION, EnvelopeKind.REVOCATION)]
    rows = connection.execute(
        "SELECT position, kind, bytes FROM record JOIN envelope USING (position) "
        "WHERE kind IN (?, ?)",
        numbers,
    )
    for position, number, raw in rows:
        names = names_of(parse_envelope(_KIND_OF[number], raw))
        pairs = [(name, position) for name in names]
        connection.executemany("INSERT INTO answer VALUES (?, ?) ON CONFLICT DO NOTHING", pairs)


def _ends(connection: Migrating) -> None:
    """What has ended is found by its day, and what relies on a row by that row."""
    connection.execute("CREATE INDEX relied_on ON relied (on_position)")
    rows = connection.execute(
        "SELECT position, kind, bytes FROM record JOIN envelope USING (position)"
    )
    for position, number, raw in rows:
        envelope = parse_envelope(_KIND_OF[number], raw)
        if (day := last_day(envelope)) is not None:
            name = end_name(envelope.kind, day)
            connection.execute(
                "INSERT INTO answer VALUES (?, ?) ON CONFLICT DO NOTHING", (name, position)
            )


def _digests_of_copies(connection: Migrating) -> None:
    """Digests of kinds whose signers may grow cover who signed: all kept ones are out of date."""
    numbers = [spec.number for kind, spec in KINDS.items() if is_cosigned(kind)]
    marks = ",".join("?" * len(numbers))
    connection.execute(f"UPDATE bucket SET dirty = 1 WHERE kind IN ({marks})", numbers)


#: Oldest first. Position is version: append only.
MIGRATIONS: Final[tuple[tuple[str, Migration], ...]] = (
    ("base tables", _base_tables),
    ("pools and indexes", _pools_and_indexes),
    ("answers to tokens", _answers),
    ("names for questions", _names),
    ("names by who said it", _names_by_speaker),
    ("ends of records", _ends),
    ("digests of copies", _digests_of_copies),
)


TABLES: Final = frozenset(
    {"migration", "record", "envelope", "bucket", "pooled", "answer", "stranger", "relied"}
)


def version_of(path: Path) -> int:
    """Which version of the schema a file has; 0 without a file.

    Raises:
        DirectoryError: another program's database, or a damaged file.
    """
    if not path.exists():
        return 0
    with translated(path), closing(sqlite3.connect(path)) as connection:
        return _version(connection, path)


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Sequence[tuple[str, Migration]] = MIGRATIONS,
) -> None:
    """Bring the database to the newest version, with a backup before each step of one in use.

    Raises:
        DirectoryError: another program's database, a newer schema, a damaged file, or a backup
            that did not come out right; nothing was changed then.
    """
    with translated(path):
        version = _version(connection, path)
        if version > len(migrations):
            raise DirectoryError(
                f"{path} was written by a newer ciris-mesh (schema {version}, this one knows "
                f"{len(migrations)}); install that version, or restore an older backup"
            )
        for number, (name, step) in enumerate(migrations[version:], start=version + 1):
            if version > 0:
                back_up(connection, path, number - 1)
            _run(connection, number, name, step)


def back_up(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copy the database to `<path>.backup-<version>`, verified, and keep the newest three.

    Raises:
        DirectoryError: the copy is not sound, so nothing should be risked.
    """
    target = path.with_name(f"{path.name}.backup-{version}")
    partial = path.with_name(f"{path.name}.backup-{version}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    try:
        copy = sqlite3.connect(partial, isolation_level=None)
        try:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            _verify_copy(connection, copy, path)
        finally:
            copy.close()
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        sync_folder(path)
    finally:
        partial.unlink(missing_ok=True)
    _drop_old_backups(path)
    return target


def _verify_copy(source: sqlite3.Connection, copy: sqlite3.Connection, path: Path) -> None:
    sound = copy.execute("PRAGMA integrity_check").fetchall()
    if sound != [("ok",)]:
        raise DirectoryError(damaged(path, f"its backup fails the check: {sound[0][0]}"))
    if _row_counts(source) != _row_counts(copy):
        raise DirectoryError(f"the backup of {path} is incomplete; free some space and try again")


def _row_counts(connection: sqlite3.Connection) -> dict[str, int]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        for (name,) in names
    }


def _drop_old_backups(path: Path) -> None:
    backups: dict[int, Path] = {}
    for file in path.parent.glob(f"{path.name}.backup-*"):
        version = file.name.rpartition("-")[2]
        if version.isdecimal():
            backups[int(version)] = file
    for old in sorted(backups)[:-BACKUPS_KEPT]:
        backups[old].unlink()


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Are all tables of the newest version there?

    Raises:
        DirectoryError: a table is missing: somebody or something removed it.
    """
    with translated(path):
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        missing = TABLES - {name for (name,) in rows}
    if missing:
        raise DirectoryError(damaged(path, f"no table {', '.join(sorted(missing))}"))


def _version(connection: sqlite3.Connection, path: Path) -> int:
    marked = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if marked == 0 and version == 0 and tables == 0:
        return 0
    if marked != APPLICATION_ID:
        raise DirectoryError(foreign(path))
    if tables == 0 or version == 0:
        raise DirectoryError(damaged(path, "its tables are gone"))
    return version


def _run(connection: sqlite3.Connection, number: int, name: str, step: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if number == 1:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(
                "CREATE TABLE migration "
                "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT"
            )
        step(connection)
        connection.execute(
            "INSERT INTO migration VALUES (?, ?, ?)", (number, name, time.time_ns() // 1_000_000)
        )
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
