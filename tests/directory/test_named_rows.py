"""Rows by name: indexed reads for questions, alike on both stores and in a set of records."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory.base import Shelf, Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name, names_of
from ciris_mesh.records.resolve.base import Row, RowSet
from ciris_mesh.records.resolve.table import Answer, resolve
from ciris_mesh.records.tokens import key_token
from ciris_mesh.runtime.resolving import DirectoryRows
from support import forge
from support.answers import NS_PER_MS, TAU_S, every_question
from support.federation import TRUST, federation
from support.keys import alice, bob
from support.records import AT_MS, sample
from support.rulebook import fixpoint, really_signed

K = EnvelopeKind
PEER, REGISTRY = Source("peer", "hub"), Source("registry", "r")
NOW_MS = AT_MS + 600_000
RAW = tuple((it.kind, really_signed(it)) for it in federation())
ENVELOPES = tuple(parse_envelope(kind, raw) for kind, raw in RAW)
FINE = fixpoint(TRUST, ENVELOPES)


def answers(rows: RowSet | DirectoryRows) -> list[Answer]:
    return [
        resolve(word, who, rows, TRUST, NOW_MS * NS_PER_MS, more=more, tau_partial_s=TAU_S)
        for word, who, more in every_question()
    ]


def held(directory: DirectoryCore) -> RowSet:
    """All a directory holds, with the signers it kept, as a set."""
    rows = [row for _, row in directory.rows(limit=10**6)]
    assert {row.kind.encode() + row.envelope_id for row in rows} == FINE
    return RowSet(
        Row(parse_envelope(row.kind, row.envelope), row.shelf.name.lower()) for row in rows
    )


@cache
def expected() -> list[Answer]:
    """The answers of one node that got everything in one order."""
    directory = MemoryDirectory(trust=TRUST)
    for kind, raw in RAW:
        directory.admit(kind, raw, PEER, now_ms=NOW_MS)
    return answers(held(directory))


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    order=st.permutations(range(len(RAW))),
    again=st.lists(st.sampled_from(range(len(RAW))), max_size=8),
)
def test_both_stores_answer_as_the_set_does_whatever_the_order(
    store: str, order: list[int], again: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("answers") / "records.db"
    directory: DirectoryCore = (
        MemoryDirectory(trust=TRUST) if store == "memory" else SqliteDirectory(path, trust=TRUST)
    )
    try:
        for number in [*order, *again]:
            directory.admit(*RAW[number], PEER, now_ms=NOW_MS)
        assert answers(held(directory)) == answers(DirectoryRows(directory)) == expected()
        assert set(held(directory).rooted(TRUST)) == directory.rooted()
    finally:
        directory.close()


def test_rows_are_found_by_name_and_by_token(open_directory: Callable[..., DirectoryCore]) -> None:
    directory = open_directory()
    for who in (alice(), bob()):
        directory.admit(K.KEY, sample(K.KEY, who), PEER, now_ms=NOW_MS)
    named = name("key", alice().key_id)
    (row,) = directory.named_rows(named, limit=10)
    assert (row.subject, row.shelf) == (alice().key_id, Shelf.FEDERATION)
    assert directory.named_rows(key_token(alice().key_id), limit=10) == [row]
    assert directory.named_rows(named, limit=0) == []
    assert directory.named_rows(name("key", "nobody"), limit=10) == []


def test_a_name_gives_no_more_than_asked_for(open_directory: Callable[..., DirectoryCore]) -> None:
    directory = open_directory()
    directory.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=NOW_MS)
    for number in range(4):
        directory.admit(K.ATTESTATION, sample(K.ATTESTATION, alice(), number), PEER, now_ms=NOW_MS)
    about = name("about", alice().key_id)
    assert [len(directory.named_rows(about, limit=limit)) for limit in (1, 3, 9)] == [1, 3, 4]


def test_a_bridged_row_is_found_once_before_and_after_it_moves_up(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory()
    whole = sample(K.IDENTITY_OCCURRENCE, alice())
    directory.admit(
        K.IDENTITY_OCCURRENCE, forge.unsigned(K.IDENTITY_OCCURRENCE, whole), REGISTRY, now_ms=NOW_MS
    )
    named = name("occurrences", alice().key_id)
    assert directory.named_rows(named, limit=9) == []
    assert [row.shelf for row in directory.named_rows(named, limit=0, others=9)] == [Shelf.BRIDGED]
    directory.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=NOW_MS)
    directory.admit(K.IDENTITY_OCCURRENCE, whole, PEER, now_ms=NOW_MS)
    assert [row.shelf for row in directory.named_rows(named, limit=9, others=9)] == [
        Shelf.FEDERATION
    ]


def test_what_waits_has_no_name(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory()
    raw = sample(K.FAMILY, alice())
    assert directory.admit(K.FAMILY, raw, PEER, now_ms=NOW_MS).outcome.value == "deferred"
    (named,) = names_of(parse_envelope(K.FAMILY, raw))
    assert directory.named_rows(named, limit=9) == []
    directory.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=NOW_MS)
    assert len(directory.named_rows(named, limit=9)) == 1, "released, it has"


def test_names_are_read_from_an_index_alone(tmp_path: Path) -> None:
    """However much is held: neither the records nor their bytes are looked through."""
    path = tmp_path / "records.db"
    SqliteDirectory(path).close()
    connection = sqlite3.connect(path)
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT position FROM record JOIN envelope USING (position) "
        "WHERE position IN (SELECT position FROM answer WHERE token = ? AND position > ? "
        "ORDER BY position LIMIT ?) ORDER BY position",
        ("about=alice", 0, 9),
    ).fetchall()
    connection.close()
    said = " ".join(str(row[-1]) for row in plan)
    assert "SEARCH answer USING PRIMARY KEY (token=? AND position>?)" in said
    assert "SCAN record" not in said
    assert "SCAN envelope" not in said
