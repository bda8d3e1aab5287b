"""What is kept of many records: as good as reading them, bounded, and read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from ciris_mesh.directory import views
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import ShelfFacts
from ciris_mesh.directory.views import Views
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.tokens import self_key_token
from support.keys import alice
from support.records import AT_MS
from support.rulebook import K, key_record, really_signed

TOKEN = self_key_token(alice().key_id)
COUNT = 7


class Reader:
    """Reads the column a test tells records apart by, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, record: Envelope) -> str:
        self.count += 1
        return str(record.record["identity_ref"])


@pytest.fixture
def directory(open_directory: Callable[..., DirectoryCore]) -> DirectoryCore:
    directory = open_directory()
    for n in range(COUNT):
        raw = really_signed(key_record("alice", ref=f"{n}"))
        directory.admit(K.KEY, raw, Source("peer", "hub"), now_ms=AT_MS)
    return directory


def seen(kept: Views, read: Callable[[Envelope], Any]) -> list[Any]:
    """The views alone."""
    return [view for _, view in kept.of(TOKEN, read)]


def test_each_view_comes_with_the_name_of_its_row(directory: DirectoryCore) -> None:
    named = Views(directory._store).of(TOKEN, lambda record: record.envelope_id)
    assert all(name == (K.KEY, view) for name, view in named)


@pytest.mark.parametrize("page", [1, 3, COUNT, 100])
def test_all_are_read_in_order_and_once(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(views, "IDS_PAGE", page)
    kept, read = Views(directory._store), Reader()
    for _ in range(3):
        assert seen(kept, read) == [f"{n}" for n in range(COUNT)]
    assert read.count == COUNT
    assert list(kept.of("nothing", read)) == []


def test_two_ways_to_read_are_kept_apart(directory: DirectoryCore) -> None:
    kept = Views(directory._store)
    kinds = seen(kept, lambda record: record.kind)
    assert kinds == [K.KEY] * COUNT
    assert next(kept.of(TOKEN, Reader()))[1] == "0"


def test_what_is_kept_is_bounded_and_still_right(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_bytes = max(len(row.envelope) for _, row in directory.rows(K.KEY, limit=1))
    monkeypatch.setattr(views, "VIEWED_BYTES_MAX", 3 * size_bytes)
    monkeypatch.setattr(views, "SIGNATURE_BYTES", 0)
    kept, read = Views(directory._store), Reader()
    for _ in range(2):
        assert len(list(kept.of(TOKEN, read))) == COUNT
    assert COUNT < read.count <= 2 * COUNT
    assert len(kept._kept) <= 3
    assert kept._bytes == sum(size for _, size in kept._kept.values()) <= 3 * size_bytes


def test_only_as_much_is_read_as_is_asked_for(directory: DirectoryCore) -> None:
    read = Reader()
    assert next(Views(directory._store).of(TOKEN, read))[1] == "0"
    assert read.count == 1


def test_both_stores_find_the_same_ids(directory: DirectoryCore) -> None:
    store = directory._store
    found = store.ids(TOKEN, limit=COUNT, after=0)
    named = store.named(TOKEN, limit=COUNT, after=0)
    assert found == [(position, row.kind, row.envelope_id) for position, row in named]
    after = found[2][0]
    assert store.ids(TOKEN, limit=2, after=after) == found[3:5]
    assert store.ids(TOKEN, limit=0, after=0) == []


def test_a_judgement_looks_once_and_relies_on_what_each_search_stopped_at(
    directory: DirectoryCore,
) -> None:
    asked: list[str] = []

    class Watched:
        """The directory, and for which tokens views were asked."""

        def __getattr__(self, name: str) -> object:
            return getattr(directory, name)

        def views(self, token: str, read: Callable[[Envelope], Any]) -> object:
            asked.append(token)
            return directory.views(token, read)

    facts, read = ShelfFacts(cast(DirectoryCore, Watched())), Reader()
    searches = [facts.views(TOKEN, read) for _ in range(3)]
    assert [next(searches[0]) for _ in range(2)] == ["0", "1"]
    assert next(searches[1]) == "0", "each search begins at the beginning"
    assert list(searches[2]) == [f"{n}" for n in range(COUNT)]
    assert next(searches[0]) == "2", "and goes on where it was"
    assert (asked, read.count) == ([TOKEN], COUNT)
    named = [name for name, _ in directory.views(TOKEN, Reader())]
    assert facts.relied_on == (named[2], named[0]), "who read to the end found nothing"
    list(facts.views(TOKEN, Reader()))
    assert asked == [TOKEN] * 2, "what is read of a record is another matter"


def test_a_search_that_found_nothing_is_not_made_again_and_others_are(
    directory: DirectoryCore,
) -> None:
    asked: list[str] = []

    class Watched:
        """The directory, and for which tokens records were asked."""

        def __getattr__(self, name: str) -> object:
            return getattr(directory, name)

        def named(self, token: str) -> object:
            asked.append(token)
            return directory.named(token)

    facts, nobody = ShelfFacts(cast(DirectoryCore, Watched())), self_key_token("nobody")
    assert [list(facts.named(nobody)) for _ in range(3)] == [[], [], []]
    assert asked == [nobody]
    for _ in range(2):
        assert next(facts.named(TOKEN)).record["identity_ref"] == "0"
        assert len(list(facts.named(TOKEN))) == COUNT
    assert asked == [nobody, *[TOKEN] * 4]
    assert {kind for kind, _ in facts.relied_on} == {K.KEY}
    assert len(facts.relied_on) == 2, "who read to the end found nothing"
