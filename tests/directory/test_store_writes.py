"""Within a transaction a store may keep inserts back; whoever reads, or commits, has them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ciris_mesh.directory.base import Shelf, StoredRow
from ciris_mesh.directory.memory import MemoryStore
from ciris_mesh.directory.sqlite import SqliteStore
from ciris_mesh.directory.store import Name, Store
from ciris_mesh.records.kinds import EnvelopeKind

K = EnvelopeKind


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = (
        MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "records.db")
    )
    yield opened
    opened.close()


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
