"""Within a transaction a store may keep inserts back; whoever reads, or commits, has them all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ciris_mesh.directory.base import Shelf, StoredRow
from ciris_mesh.directory.memory import MemoryStore
from ciris_mesh.directory.postgres import PostgresStore
from ciris_mesh.directory.sql_inserts import Inserts
from ciris_mesh.directory.sqlite import SqliteStore
from ciris_mesh.directory.store import Name, Store
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.kinds import EnvelopeKind
from support.postgres import lent_database

K = EnvelopeKind


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        opened: Store
        if request.param == "memory":
            opened = MemoryStore()
        elif request.param == "sqlite":
            opened = SqliteStore(tmp_path / "records.db")
        else:
            opened = PostgresStore(stack.enter_context(lent_database()), node="here")
        stack.callback(opened.close)
        yield opened


def row(number: int, shelf: Shelf = Shelf.FEDERATION) -> StoredRow:
    return StoredRow(
        kind=K.KEY,
        envelope_id=bytes([number]) * 32,
        shelf=shelf,
        seq=number,
        subject=f"key-{number}",
        signers=("alice",),
        envelope=b"bytes %d" % number,
        admitted_at_ms=number,
    )


def name(number: int) -> Name:
    return K.KEY, row(number).envelope_id


def test_a_row_may_rely_on_one_that_was_written_in_between(store: Store) -> None:
    with store.transaction(durable=False):
        for number in (1, 2):
            store.insert(row(number))
    with store.transaction(durable=False):
        store.rely(name(1), [name(2)])  # before any row of this transaction
        store.insert(row(3))
        store.insert(row(4))
        store.rely(name(4), [name(3), name(1)])
        store.publish(row(4), ["token:x"])
    assert store.not_introduced([name(1)]) == [name(2)]
    assert set(store.not_introduced([name(4)])) == {name(3), name(1)}
    assert sorted(store.not_introduced([name(1), name(4)])) == [name(1), name(2), name(3)]
    with store.transaction(durable=False):
        store.introduce([name(1), name(2)])
    assert store.not_introduced([name(1), name(4)]) == [name(3)]
    assert store.not_introduced([]) == []
    assert [found.seq for _, found in store.named("token:x", limit=9, after=0)] == [4]


def test_its_own_rows_are_seen_within_the_transaction(store: Store) -> None:
    with store.transaction(durable=False):
        store.insert(row(1))
        store.publish(row(1), ["token:x", "token:x"])
        store.note_stranger(row(1), "hub", "alice")
        assert store.shelves(K.KEY, [row(1).envelope_id]) == {row(1).envelope_id: Shelf.FEDERATION}
        assert len(store.named("token:x", limit=9, after=0)) == 1
        assert store.strangers_of("hub", limit=9) == 1


def test_a_row_is_changed_as_it_was_inserted(store: Store) -> None:
    with store.transaction(durable=False):
        store.insert(row(1, Shelf.BRIDGED))
        store.raise_shelf(row(1))
        store.note_stranger(row(1), "hub", "alice")
        store.drop_stranger(name(1))
    found = store.get(*name(1))
    assert found is not None
    assert (found.shelf, found.envelope) == (Shelf.FEDERATION, b"bytes 1")
    assert store.stranger_signers() == frozenset()


class TakenBackError(Exception):
    pass


def insert_and_fail(store: Store) -> None:
    with store.transaction(durable=False):
        store.insert(row(1))
        store.publish(row(1), ["token:x"])
        raise TakenBackError


def test_what_was_taken_back_comes_with_no_later_transaction(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "records.db")
    with pytest.raises(TakenBackError):
        insert_and_fail(store)
    with store.transaction(durable=False):
        store.insert(row(2))
    assert [found.seq for _, found in store.rows(None, limit=9, after=0)] == [2]
    store.close()


def test_what_was_taken_back_comes_with_no_later_transaction_of_a_server() -> None:
    with lent_database() as url:
        store = PostgresStore(url, node="here")
        with pytest.raises(TakenBackError):
            insert_and_fail(store)
        with store.transaction(durable=False):
            store.insert(row(2))
        assert [found.seq for _, found in store.rows(None, limit=9, after=0)] == [2]
        store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def keeping(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[SqliteStore | PostgresStore]:
    """A store that keeps inserts back."""
    with ExitStack() as stack:
        opened: SqliteStore | PostgresStore
        if request.param == "sqlite":
            opened = SqliteStore(tmp_path / "records.db")
        else:
            opened = PostgresStore(stack.enter_context(lent_database()), node="here")
        stack.callback(opened.close)
        yield opened


def test_who_reads_meanwhile_neither_sees_nor_writes_what_is_kept_back(
    keeping: SqliteStore | PostgresStore,
) -> None:
    with keeping.transaction(durable=False):
        keeping.insert(row(1))
        keeping.publish(row(1), ["token:x"])
        with ThreadPoolExecutor(1) as other:
            assert other.submit(keeping.get, *name(1)).result() is None
        assert not keeping._inserts.is_empty
    assert keeping._inserts.is_empty
    assert keeping.get(*name(1)) == row(1)
    assert len(keeping.named("token:x", limit=9, after=0)) == 1


def test_who_has_no_transaction_writes_nothing(keeping: SqliteStore | PostgresStore) -> None:
    writes: list[Callable[[], None]] = [
        lambda: keeping.insert(row(1)),
        lambda: keeping.publish(row(1), ["token:x"]),
        lambda: keeping.rely(name(1), [name(2)]),
        lambda: keeping.raise_shelf(row(1)),
    ]
    for write in writes:
        with pytest.raises(AssertionError, match="writes need a transaction"):
            write()
    assert keeping._inserts.is_empty


def rely_on_nothing(store: Store) -> None:
    with store.transaction(durable=False):
        store.insert(row(1))
        store.rely(name(1), [name(2)])


def test_a_row_that_is_nowhere_can_be_relied_on_by_none(
    keeping: SqliteStore | PostgresStore,
) -> None:
    with pytest.raises((sqlite3.Error, DirectoryError)):
        rely_on_nothing(keeping)
    assert keeping.get(*name(1)) is None


@pytest.mark.parametrize("what", ["envelopes", "answers", "strangers", "relied"])
def test_what_is_said_of_a_row_that_is_nowhere_is_written_for_none(what: str) -> None:
    """SQLite would give it the next position, which is another row's."""
    said = {"envelopes": b"", "answers": ["token"], "relied": [name(1)]}
    inserts = Inserts()
    values = (name(2), "peer", "signer") if what == "strangers" else (name(2), said[what])
    getattr(inserts, what).append(values)
    with pytest.raises(DirectoryError, match="no row"):
        list(inserts.placed({name(1): 1}))


def test_a_transaction_of_many_rows_takes_a_few_statements(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "records.db")
    asked: list[str] = []
    with store.transaction(durable=False):
        store.insert(row(200))
    store._writer.set_trace_callback(asked.append)
    with store.transaction(durable=False):
        for number in range(100):
            store.insert(row(number))
            store.publish(row(number), ["token:x", f"token:{number}"])
            store.rely(name(number), [name(200)])
    store._writer.set_trace_callback(None)
    assert len([one for one in asked if one.startswith("SELECT")]) == 1, "where all of them are"
    store.close()


def test_many_rows_are_found_at_once_by_ids_and_by_how_ids_begin(store: Store) -> None:
    rows = {}
    with store.transaction(durable=False):
        for number in range(600):  # more than one statement takes
            made = replace(row(1), envelope_id=number.to_bytes(8, "big") + bytes(24), seq=number)
            rows[made.envelope_id] = made
            store.insert(made)
    absent = b"\xff" * 32
    assert store.get_many(K.KEY, [*rows, absent]) == rows
    assert store.get_many(K.KEY, []) == {}
    assert store.get_many(K.FAMILY, list(rows)) == {}
    heads = [one[:8] for one in rows]
    found = store.alike(K.KEY, [*heads, absent[:8]])
    assert sorted(found) == [(one, ("alice",)) for one in sorted(rows)]
    assert list(store.alike(K.KEY, heads[7:8])) == [(heads[7] + bytes(24), ("alice",))]


def test_ids_that_begin_so_are_looked_up_and_no_kind_is_read_for_them(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "records.db")
    try:
        with store.transaction(durable=False):
            store.insert(row(1))
        asked: list[str] = []
        store._writer.set_trace_callback(asked.append)
        with store.transaction(durable=False):  # the writer reads then, as readers do otherwise
            assert store.alike(K.KEY, [bytes([1]) * 8, bytes([2]) * 8])
        store._writer.set_trace_callback(None)
        (statement,) = [one for one in asked if "BETWEEN" in one]
        plan = [line[3] for line in store._writer.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert any("envelope_id>? AND envelope_id<?" in step for step in plan), plan
    finally:
        store.close()
