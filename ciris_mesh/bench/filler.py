"""A store with many rows, made in seconds instead of hours: written below admission.

Nothing of it was ever signed. That is fine for measuring what a row costs when it only lies there,
and for nothing else, so it is done to a database in a scratch directory alone. Envelopes are 64
bytes instead of five thousand: admission and comparison read none of them.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from ciris_mesh.bench.records import REST, START_MS
from ciris_mesh.directory.base import Shelf
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.kinds import KINDS, EnvelopeKind

#: Who is said to have signed all of it.
SIGNER: Final = "filler-aaaaaaaaaaaaaaaa"
_ENVELOPE: Final = b"{" + b" " * 62 + b"}"
#: Rows written by one statement call; all go into one transaction.
_BATCH: Final = 10_000
#: 200 MB of cache while filling, so that indexes are built in memory.
_CACHE_KIB: Final = 200 * 1024

_Row: TypeAlias = tuple[int, bytes, int, int, str, str, int]


def filled_store(path: Path, rows: int, seed: int) -> None:
    """Make a record store with `rows` rows on the federation shelf, digests computed."""
    SqliteDirectory(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("BEGIN")
        _insert(connection, rows, seed)
        for number in {KINDS[kind].number for kind in EnvelopeKind}:
            connection.executemany(
                "INSERT INTO bucket VALUES (?, ?, 0, x'', 1)",
                [(number, bucket) for bucket in range(256)],
            )
        connection.execute("COMMIT")
    finally:
        connection.close()
    directory = SqliteDirectory(path)
    for kind in EnvelopeKind:
        directory.digest(kind)
    directory.close()


def _insert(connection: sqlite3.Connection, rows: int, seed: int) -> None:
    made = _rows(rows, seed)
    while batch := [row for row, _ in zip(made, range(_BATCH), strict=False)]:
        connection.executemany(
            "INSERT INTO record (kind, envelope_id, shelf, seq, subject, signers, admitted_at_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            batch,
        )
    connection.execute(
        "INSERT INTO envelope SELECT position, ? FROM record ORDER BY position", (_ENVELOPE,)
    )
    connection.execute("INSERT INTO answer SELECT 'filler:' || subject, position FROM record")


def _rows(count: int, seed: int) -> Iterator[_Row]:
    """The same mix as `bench records`: of ten, two keys, six attestations, two of the rest."""
    rng = random.Random(seed)
    signers = json.dumps([SIGNER])
    for number in range(count):
        kind = _kind(number)
        envelope_id = hashlib.sha256(rng.randbytes(32)).digest()
        seq = START_MS + rng.randrange(10**9)
        subject = f"row-{number}"
        yield KINDS[kind].number, envelope_id, Shelf.FEDERATION, seq, subject, signers, START_MS


def _kind(number: int) -> EnvelopeKind:
    group, place = divmod(number, 10)
    if place < 2:
        return EnvelopeKind.KEY
    return REST[(2 * group + place) % len(REST)] if place > 7 else EnvelopeKind.ATTESTATION
