"""All three stores, for every test that asks for `directory` or `open_directory`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.directory import pg_connect, readerpool
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.sqlite import SqliteDirectory
from support.keys import NAMES, key
from support.postgres import lent_database, open_postgres
from support.records import trust_in

#: Everybody may do everything, so that tests of other things need no ceremony.
TRUST = trust_in(*map(key, NAMES))

OpenDirectory = Callable[..., DirectoryCore]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of ours that shares two cores with the whole suite is not away."""
    monkeypatch.setattr(pg_connect, "CONNECT_TIMEOUT_S", 120)
    monkeypatch.setattr(readerpool, "READER_WAIT_S", 240.0)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDirectory]:
    """A function that opens an empty directory; all are closed after the test."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def open_one(**options: Any) -> DirectoryCore:
            options.setdefault("trust", TRUST)
            directory: DirectoryCore
            if request.param == "memory":
                directory = MemoryDirectory(**options)
            elif request.param == "sqlite":
                directory = SqliteDirectory(tmp_path / f"records-{next(numbers)}.db", **options)
            else:
                directory = open_postgres(stack.enter_context(lent_database()), **options)
            stack.callback(directory.close)
            return directory

        yield open_one


@pytest.fixture
def directory(open_directory: OpenDirectory) -> DirectoryCore:
    """An empty directory."""
    return open_directory()
