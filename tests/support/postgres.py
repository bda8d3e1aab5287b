"""A real PostgreSQL server for the tests that want one: started when first asked for, one a run.

Every test gets a database of its own, copied from a template that has our tables.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import pytest

from ciris_mesh.bench.cluster import Cluster, NoServer
from ciris_mesh.directory.following import PostgresDirectory
from ciris_mesh.directory.postgres import PostgresStore
from support.waiting import wait_until

TEMPLATE_NODE = "template"


@cache
def cluster() -> Cluster:
    """The server of this test process. Skips the test where none is installed, never in CI."""
    try:
        server = Cluster()
    except NoServer as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    server.__enter__()
    atexit.register(server.__exit__)
    return server


@cache
def template() -> str:
    """The name of a database with our tables and nothing in them."""
    url = cluster().create()
    PostgresStore(url, node=TEMPLATE_NODE).close()
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM ciris_mesh.node")
    return url.rpartition("?")[0].rpartition("/")[2]


_FREE: list[str] = []

#: Every table, what holds no record of ours aside.
_TABLES = "record envelope answer relied stranger pooled bucket hidden node"
_EMPTY = "; ".join(f"DELETE FROM ciris_mesh.{table}" for table in _TABLES.split())


def new_database(*, empty: bool = False) -> str:
    """The URL of a database nobody else has; `empty`: without our tables."""
    return cluster().create() if empty else _copied(template())


def _copied(name: str) -> str:
    """A copy of a database, which a connection closed a moment ago may still be using."""
    import psycopg

    made: list[str] = []

    def attempt() -> bool:
        with suppress(psycopg.errors.ObjectInUse):
            made.append(cluster().create(name))
        return bool(made)

    wait_until(attempt, f"{name} is not in use")
    return made[0]


def drop_database(url: str) -> None:
    """Remove a database of `new_database`, whoever is connected, once the server has ended them.

    It waits five seconds for its own processes, which is little on a busy machine.
    """
    import psycopg

    def attempt() -> bool:
        with suppress(psycopg.errors.ObjectInUse):
            cluster().drop(url)
            return True
        return False

    wait_until(attempt, f"{url} is not in use")


@contextmanager
def lent_database() -> Iterator[str]:
    """As `new_database`, emptied and lent to the next afterwards: a tenth of the time."""
    url = _FREE.pop() if _FREE else new_database()
    yield url
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"{_EMPTY}; UPDATE ciris_mesh.head SET change = 0")
        connection.execute("ALTER SEQUENCE ciris_mesh.record_position_seq RESTART")
    _FREE.append(url)


def open_postgres(url: str, node: str = "here", **options: Any) -> PostgresDirectory:
    """Open a database. Tests say themselves when to look for what others wrote."""
    options.setdefault("follow_interval_s", 0)
    return PostgresDirectory(url, node=node, **options)
