"""The store bench measures what it says; how much that is on this machine is not tested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ciris_mesh.bench.filler import SIGNER, filled_store
from ciris_mesh.bench.insync import Statements
from ciris_mesh.bench.store import run
from ciris_mesh.directory.base import OWN, Shelf
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.cosigning import copy_id
from ciris_mesh.records.kinds import EnvelopeKind
from support.keys import alice
from support.records import AT_MS, sample

ROWS = 400


@contextmanager
def filled(path: Path, rows: int = ROWS, seed: int = 1) -> Iterator[SqliteDirectory]:
    filled_store(path, rows, seed)
    directory = SqliteDirectory(path)
    try:
        yield directory
    finally:
        directory.close()


def test_filled_rows_look_like_admitted_ones(tmp_path: Path) -> None:
    with filled(tmp_path / "x.db") as directory:
        counts = directory.counts()
        assert sum(counts.values()) == ROWS
        assert {shelf for _, shelf in counts} == {Shelf.FEDERATION}
        assert counts[EnvelopeKind.KEY, Shelf.FEDERATION] == ROWS // 5
        assert counts[EnvelopeKind.ATTESTATION, Shelf.FEDERATION] == ROWS * 3 // 5
        for kind in EnvelopeKind:
            copies = (copy_id(kind, *row) for row in directory.signers(kind).items())
            assert directory.digest(kind) == digest_of(copies)
        bridge = FederationDirectoryReplicationBridge(directory, lambda: frozenset({SIGNER}))
        assert len(bridge.offer("peer", EnvelopeKind.KEY)) == ROWS // 5


def test_a_filled_store_still_admits(tmp_path: Path) -> None:
    with filled(tmp_path / "x.db") as directory:
        before = directory.digest(EnvelopeKind.KEY)
        directory.admit(EnvelopeKind.KEY, sample(EnvelopeKind.KEY, alice()), OWN, now_ms=AT_MS)
        assert directory.digest(EnvelopeKind.KEY).count == before.count + 1


def test_the_seed_decides(tmp_path: Path) -> None:
    digests = []
    for number, seed in enumerate((1, 1, 2)):
        with filled(tmp_path / f"{number}.db", seed=seed) as directory:
            digests.append(directory.digest(EnvelopeKind.ATTESTATION))
    assert digests[0] == digests[1] != digests[2]


def test_statements_are_counted_on_every_connection(tmp_path: Path) -> None:
    statements = Statements()
    with filled(tmp_path / "x.db") as directory:
        directory.get(EnvelopeKind.KEY, b"\0" * 32)
        with statements.counted():
            directory.digest(EnvelopeKind.KEY)
            assert statements.count == 0
            directory.get(EnvelopeKind.KEY, b"\0" * 32)
            assert statements.count == 1
            directory.admit(EnvelopeKind.KEY, sample(EnvelopeKind.KEY, alice()), OWN, now_ms=AT_MS)
            written = statements.count
            assert written > 3
        directory.get(EnvelopeKind.KEY, b"\0" * 32)
        assert statements.count == written
    statements.close()


def test_counting_that_ended_hears_of_nothing(tmp_path: Path) -> None:
    statements = Statements()
    statements.close()
    with filled(tmp_path / "x.db") as directory, statements.counted():
        directory.get(EnvelopeKind.KEY, b"\0" * 32)
    assert statements.count == 0


def test_the_bench_runs_end_to_end(tmp_path: Path) -> None:
    told: list[str] = []
    report = run(tmp_path, records=1_000, seed=1, tell=told.append)
    assert report.bench == "store"
    assert [row.quantity for row in report.rows] == [
        "SQL statements of a round in sync, 1,000 rows",
        "CPU of a round in sync, ms a side, 1,000 rows",
        "SQL statements of a round in sync, 1,000 rows",
        "CPU of a round in sync, ms a side, 1,000 rows",
        "admit, ms, 1,000 rows",
        "memory, MB, 1,000 rows",
    ]
    assert [row.measured for row in report.rows if "SQL" in row.quantity] == [0, 0]
    assert all(row.measured > 0 for row in report.rows if "SQL" not in row.quantity)
    for row in report.rows:
        assert row.limit is not None
        # A ratio is rounded to be shown: one that is shown as the limit may be a little above it.
        assert row.ok is (row.ratio <= row.limit) or row.ratio == row.limit
    assert told
