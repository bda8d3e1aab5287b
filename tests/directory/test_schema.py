"""Migrations happen or do not, with a verified backup before each of a database in use."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
from pathlib import Path

import pytest

from ciris_mesh.directory import schema, sqlite
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.buckets import bucket_digest, digest_of
from ciris_mesh.directory.dbfile import APPLICATION_ID, connect
from ciris_mesh.directory.schema import (
    BACKUPS_KEPT,
    MIGRATIONS,
    Migrating,
    Migration,
    back_up,
    migrate,
)
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import ALL_REVOCATIONS, name
from ciris_mesh.records.tokens import key_token
from support.copies import copies_held
from support.keys import alice, bob
from support.records import AT_MS, columns, sample

K = EnvelopeKind
PEER = Source("peer", "hub")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def make_version_1(path: Path) -> bytes:
    """A database as the first schema left it, holding alice's key. Returns the envelope id."""
    connection = connect(path, read_only=False)
    migrate(connection, path, MIGRATIONS[:1])
    raw = sample(K.KEY, alice())
    envelope = parse_envelope(K.KEY, raw)
    connection.execute(
        "INSERT INTO record VALUES (1, 1, ?, 2, ?, ?, ?, ?)",
        (envelope.envelope_id, envelope.seq, alice().key_id, f'["{alice().key_id}"]', AT_MS),
    )
    connection.execute("INSERT INTO envelope VALUES (1, ?)", (raw,))
    connection.execute("INSERT INTO bucket VALUES (1, ?, 0, x'', 1)", (envelope.envelope_id[0],))
    connection.close()
    return envelope.envelope_id


def make_version_2(path: Path) -> None:
    """As version 1, and bob's family waiting for bob's key, named as it was then."""
    make_version_1(path)
    connection = connect(path, read_only=False)
    migrate(connection, path, MIGRATIONS[:2])
    raw = sample(K.FAMILY, bob())
    connection.execute(
        "INSERT INTO pooled VALUES (1, 'deferred', ?, 5, ?, 'peer', 'hub', ?, ?, 0, ?)",
        (
            hashlib.sha256(b"family\0" + raw).digest(),
            parse_envelope(K.FAMILY, raw).envelope_id,
            *[f'["{bob().key_id}"]'] * 2,
            raw,
        ),
    )
    connection.close()


def backups(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.glob("*.backup-*"))


def test_what_waited_and_what_was_held_in_version_2_answers_to_tokens(path: Path) -> None:
    make_version_2(path)
    directory = SqliteDirectory(path)
    try:
        assert [it.subject for it in directory.named(key_token(alice().key_id))] == [alice().key_id]
        directory.admit(K.KEY, sample(K.KEY, bob()), PEER, now_ms=AT_MS)
        assert directory.pools().deferred == 0, "the key released what waited for it"
        assert len(directory.holdings(K.FAMILY)) == 1
    finally:
        directory.close()


def test_what_was_held_in_version_3_is_found_by_name_on_every_shelf(path: Path) -> None:
    make_version_1(path)
    connection = connect(path, read_only=False)
    migrate(connection, path, MIGRATIONS[:3])
    connection.execute("UPDATE record SET shelf = 1")
    connection.close()
    directory = SqliteDirectory(path)
    try:
        found = directory.named_rows(name("key", alice().key_id), limit=0, others=9)
        assert [row.subject for row in found] == [alice().key_id]
        vouch = name("vouch", *[alice().key_id] * 2)
        assert len(directory.named_rows(vouch, limit=0, others=9)) == 1
    finally:
        directory.close()


def test_what_was_held_in_version_4_is_found_by_who_said_it(path: Path) -> None:
    directory = SqliteDirectory(path)
    directory.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)
    directory.admit(K.REVOCATION, sample(K.REVOCATION, alice()), PEER, now_ms=AT_MS)
    directory.close()
    connection = connect(path, read_only=False)
    by_alice = name("revocations", alice().key_id)
    connection.execute("DELETE FROM answer WHERE token = ?", (by_alice,))
    connection.execute("DROP INDEX relied_on")
    connection.execute("DELETE FROM migration WHERE version >= 5")
    connection.execute("PRAGMA user_version = 4")
    connection.close()
    directory = SqliteDirectory(path)
    try:
        (row,) = directory.named_rows(by_alice, limit=9)
        assert row.kind is K.REVOCATION
        assert len(directory.named_rows(ALL_REVOCATIONS, limit=9)) == 1, "each once"
    finally:
        directory.close()


def test_what_had_ended_in_version_5_is_found_by_its_day(path: Path) -> None:
    directory = SqliteDirectory(path)
    directory.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)
    given = columns(K.ATTESTATION, alice().key_id, 0) | {"expires_at": "2026-01-02T00:00:00Z"}
    raw = author(K.ATTESTATION, given, alice(), at_ms=AT_MS)
    directory.admit(K.ATTESTATION, raw, PEER, now_ms=AT_MS)
    directory.close()
    connection = connect(path, read_only=False)
    connection.execute("DROP INDEX relied_on")
    connection.execute("DELETE FROM answer WHERE token LIKE 'ends=%'")
    connection.execute("DELETE FROM migration WHERE version >= 6")
    connection.execute("PRAGMA user_version = 5")
    connection.close()
    directory = SqliteDirectory(path)
    try:
        ids = frozenset({parse_envelope(K.ATTESTATION, raw).envelope_id})
        assert directory.ended(K.ATTESTATION, 20_456, tuple(K)) == ids
        assert directory.ended(K.ATTESTATION, 20_455, tuple(K)) == frozenset(), "that day it counts"
    finally:
        directory.close()


def test_digests_of_version_6_are_counted_again_with_who_signed(path: Path) -> None:
    directory = SqliteDirectory(path)
    for kind, raw in ((K.KEY, sample(K.KEY, alice())), (K.FAMILY, sample(K.FAMILY, alice()))):
        directory.admit(kind, raw, PEER, now_ms=AT_MS)
    (family,) = directory.holdings(K.FAMILY)
    whole = directory.digest(K.FAMILY)
    directory.close()
    connection = connect(path, read_only=False)
    old = bucket_digest([family.envelope_hash])
    connection.execute("UPDATE bucket SET digest = ? WHERE kind = 5", (old.digest,))
    connection.execute("DELETE FROM migration WHERE version >= 7")
    connection.execute("PRAGMA user_version = 6")
    connection.close()
    directory = SqliteDirectory(path)
    try:
        assert directory.digest(K.FAMILY) == whole == digest_of(copies_held(directory, K.FAMILY))
    finally:
        directory.close()


def test_a_version_1_database_is_brought_up_to_date_with_a_backup(path: Path) -> None:
    envelope_id = make_version_1(path)
    assert version_of(path) == 1
    directory = SqliteDirectory(path)
    try:
        assert [ref.envelope_hash for ref in directory.holdings(K.KEY)] == [envelope_id]
        assert directory.public_key(alice().key_id) == alice().public
        assert directory.digest(K.KEY).count == 1
        waiting = directory.admit(K.FAMILY, sample(K.FAMILY, bob()), PEER, now_ms=AT_MS)
        assert waiting.waits_for == (key_token(bob().key_id),), "the pools are there"
    finally:
        directory.close()
    assert version_of(path) == len(MIGRATIONS)
    newest = range(len(MIGRATIONS) - BACKUPS_KEPT, len(MIGRATIONS))
    assert backups(path) == [f"records.db.backup-{n}" for n in newest]
    backup = path.with_name(f"records.db.backup-{newest[0]}")
    assert version_of(backup) == newest[0]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert not list(path.parent.glob("*backup*-wal")), "one file, whole in itself"


def test_a_backup_opens_as_a_directory_again(path: Path, tmp_path: Path) -> None:
    envelope_id = make_version_1(path)
    SqliteDirectory(path).close()
    restored = tmp_path / "restored.db"
    path.with_name(f"records.db.backup-{len(MIGRATIONS) - BACKUPS_KEPT}").rename(restored)
    directory = SqliteDirectory(restored)
    try:
        assert directory.get(K.KEY, envelope_id) is not None
    finally:
        directory.close()


def test_a_new_database_needs_no_backup_and_each_migration_has_its_record(path: Path) -> None:
    SqliteDirectory(path).close()
    SqliteDirectory(path).close()
    assert backups(path) == []
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT version, name FROM migration ORDER BY version")
        assert rows.fetchall() == [(n + 1, name) for n, (name, _) in enumerate(MIGRATIONS)]
        marked = connection.execute("PRAGMA application_id").fetchone()[0]
        assert marked == APPLICATION_ID
    finally:
        connection.close()


def test_at_most_three_backups_are_kept(path: Path) -> None:
    SqliteDirectory(path).close()
    connection = connect(path, read_only=False)
    try:
        for version in range(1, 12):
            back_up(connection, path, version)
    finally:
        connection.close()
    assert backups(path) == [f"records.db.backup-{n}" for n in (10, 11, 9)]
    assert len(backups(path)) == BACKUPS_KEPT


def with_failing_step(then: type[BaseException]) -> tuple[tuple[str, Migration], ...]:
    def step(connection: Migrating) -> None:
        connection.execute("CREATE TABLE half (a)")
        connection.execute("DELETE FROM record")
        raise then("in the middle")

    return (*MIGRATIONS, ("breaks", step))


@pytest.mark.parametrize("error", [sqlite3.OperationalError, KeyboardInterrupt])
def test_a_migration_that_fails_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    envelope_id = make_version_1(path)
    SqliteDirectory(path).close()

    def migrate_with_failure(connection: sqlite3.Connection, path: Path) -> None:
        migrate(connection, path, with_failing_step(error))

    monkeypatch.setattr(sqlite, "migrate", migrate_with_failure)
    with pytest.raises((DirectoryError, KeyboardInterrupt)):
        SqliteDirectory(path)
    monkeypatch.undo()
    assert version_of(path) == len(MIGRATIONS)
    directory = SqliteDirectory(path)
    try:
        assert directory.get(K.KEY, envelope_id) is not None
    finally:
        directory.close()


def test_no_migration_runs_without_a_sound_backup(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version_1(path)
    counts = iter([{"record": 1}, {"record": 0}])
    monkeypatch.setattr(schema, "_row_counts", lambda connection: next(counts))
    with pytest.raises(DirectoryError, match=r"backup .* incomplete; free some space"):
        SqliteDirectory(path)
    assert version_of(path) == 1
    assert backups(path) == [], "a bad copy is no backup"


def test_a_database_that_fails_the_check_is_not_migrated(path: Path) -> None:
    """Its index lost a row: counts agree, so only the integrity check of the copy can tell."""
    make_version_1(path)
    connection = sqlite3.connect(path)
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_record_1'"
    ).fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(b"\x0a\0\0\0\0" + page_bytes.to_bytes(2, "big") + b"\0")
    with pytest.raises(DirectoryError, match=r"damaged \(its backup fails the check"):
        SqliteDirectory(path)
    assert version_of(path) == 1
    assert backups(path) == []


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    SqliteDirectory(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DirectoryError, match=r"newer ciris-mesh .* install that version"):
        SqliteDirectory(path)
    assert path.read_bytes() == before
    assert backups(path) == []
