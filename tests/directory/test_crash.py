"""What was acknowledged survives kill -9, whatever the store was doing."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.dbfile import connect
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.schema import MIGRATIONS, migrate
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.runtime.bundle import admit_mixed, export_bundle, import_bundle
from support.copies import copies_held
from support.keys import alice, bob
from support.killing import names, until_killed
from support.records import AT_MS, sample

K = EnvelopeKind

#: Kills of each of the three: a few always, 51 in the slow group, 300 in soak.
FEW, SLOW, SOAK = 2, 17, 100
KILLS = [
    pytest.param(FEW, id="few"),
    pytest.param(SLOW, id="slow", marks=pytest.mark.slow),
    pytest.param(SOAK, id="soak", marks=pytest.mark.soak),
]
TIMES = pytest.mark.parametrize("kills", KILLS)

Record = tuple[EnvelopeKind, bytes]


def check_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def check_sound(path: Path, held: Iterable[tuple[EnvelopeKind, bytes]]) -> None:
    """The store opens, has all of this, and what it keeps of digests and tokens is true."""
    check_database(path)
    memory, directory = MemoryDirectory(), SqliteDirectory(path)
    try:
        for kind, envelope_id in held:
            assert directory.unknown(kind, [envelope_id]) == []
        records = [(row.kind, row.envelope) for _, row in directory.rows(limit=10**6)]
        admit_mixed(memory, records, now_ms=AT_MS)
        for kind in EnvelopeKind:
            assert directory.digest(kind) == digest_of(copies_held(directory, kind))
            assert memory.digest(kind) == directory.digest(kind), "both stores agree"
    finally:
        directory.close()
        memory.close()


@TIMES
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, kills: int) -> None:
    rng = random.Random(20260501)
    path = tmp_path / "records.db"
    acknowledged: list[tuple[EnvelopeKind, bytes]] = []
    for attempt in range(kills):
        acknowledged += names(
            until_killed(
                "admit",
                path,
                str(1000 * attempt),
                lines_wanted=rng.randint(4, 25),
                extra_s=rng.random() * 0.02,
            )
        )
        check_sound(path, acknowledged)

    directory = SqliteDirectory(path)
    try:
        assert directory.pools().deferred > 0, "what waited still waits"
        directory.admit(K.KEY, sample(K.KEY, bob()), Source("peer", "hub"), now_ms=AT_MS)
        while directory.retry_due(AT_MS):  # one call releases 256
            pass
        assert directory.pools().deferred == 0
        assert all(directory.get(*name) is not None for name in acknowledged)
    finally:
        directory.close()


def old_store(path: Path, records: Iterable[Record]) -> None:
    """A store as the schema before tokens left it."""
    connection = connect(path, read_only=False)
    migrate(connection, path, MIGRATIONS[:2])
    for position, (kind, raw) in enumerate(records, 1):
        envelope = parse_envelope(kind, raw)
        number, one = KINDS[kind].number, envelope.envelope_id
        signers = f'["{alice().key_id}"]'
        values = (position, number, one, 2, envelope.seq, envelope.subject, signers, AT_MS)
        connection.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        connection.execute("INSERT INTO envelope VALUES (?, ?)", (position, raw))
        connection.execute(
            "INSERT OR IGNORE INTO bucket VALUES (?, ?, 0, x'', 1)", (number, one[0])
        )
    connection.close()


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Alice's key and 200 of her families."""
    families = [(K.FAMILY, sample(K.FAMILY, alice(), n)) for n in range(200)]
    return [(K.KEY, sample(K.KEY, alice())), *families]


@TIMES
def test_a_migration_that_is_killed_happened_or_did_not(
    tmp_path: Path, records: list[Record], kills: int
) -> None:
    rng = random.Random(20260502)
    template = tmp_path / "old.db"
    old_store(template, records)
    held = [(kind, parse_envelope(kind, raw).envelope_id) for kind, raw in records]
    versions = set()
    for attempt in range(kills):
        path = tmp_path / f"{attempt}.db"
        shutil.copy(template, path)
        # Every fourth time at least, however slow the machine, it has happened.
        until_killed(
            "migrate", path, lines_wanted=int(attempt % 4 == 3), extra_s=rng.random() * 0.15
        )
        connection = sqlite3.connect(path)
        versions.add(connection.execute("PRAGMA user_version").fetchone()[0])
        connection.close()
        check_sound(path, held)
    assert versions <= set(range(2, len(MIGRATIONS) + 1))
    assert kills == FEW or len(versions) > 1, "some were killed before, some after"


@TIMES
def test_an_import_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, records: list[Record], kills: int
) -> None:
    rng = random.Random(20260503)
    bundle, path = tmp_path / "bundle", tmp_path / "records.db"
    export_bundle(bundle, iter(records), lambda _records, _bytes: None)
    acknowledged: set[tuple[EnvelopeKind, bytes]] = set()
    for attempt in range(kills):
        wanted = rng.randint(0, len(records) - 8)
        lines = until_killed(
            "import", path, bundle, lines_wanted=wanted, extra_s=rng.random() * 0.02
        )
        acknowledged |= set(names(lines))
        check_sound(path, acknowledged)
        if attempt % 8 == 7:  # begin anew, or after a few there is nothing left to lose
            path.unlink()
            acknowledged.clear()
    directory = SqliteDirectory(path)
    try:
        directory.admit(*records[0], OWN, now_ms=AT_MS)
        with bundle.open("rb") as source:
            report = import_bundle(
                source,
                lambda offered: admit_mixed(directory, offered, now_ms=AT_MS),
                lambda _records, _bytes: None,
            )
        assert report.is_clean
        assert report.read == len(records)
        assert sum(directory.counts().values()) == len(records)
    finally:
        directory.close()
