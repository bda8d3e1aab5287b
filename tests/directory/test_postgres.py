"""What only the store in a server can do or suffer."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from ciris_mesh.bench.cluster import Cluster
from ciris_mesh.directory import pg_connect
from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.pg_connect import Reach, escaped, plain, short_name, shown
from ciris_mesh.directory.pg_schema import SHARING, ddl, migrate, migrations_done
from ciris_mesh.directory.schema import MIGRATIONS, Migrating
from ciris_mesh.errors import DirectoryError, LifecycleError, StoreUnreachable
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from support.copies import copies_held
from support.keys import alice
from support.killing import names, until_killed
from support.postgres import (
    cluster,
    drop_database,
    lent_database,
    new_database,
    open_postgres,
)
from support.records import AT_MS, sample
from support.waiting import wait_until

K = EnvelopeKind
PEER = Source("peer", "hub")


@pytest.fixture
def url() -> Iterator[str]:
    with lent_database() as lent:
        yield lent


@pytest.fixture
def empty() -> Iterator[str]:
    made = new_database(empty=True)
    yield made
    drop_database(made)


def run_sql(url: str, text: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)
        return list(cursor.fetchall()) if cursor.description else []


def fill(directory: DirectoryCore, records: int = 5) -> None:
    directory.admit(K.KEY, sample(K.KEY, alice()), OWN, now_ms=AT_MS)
    raws = [sample(K.FAMILY, alice(), n) for n in range(records)]
    directory.admit_many(K.FAMILY, raws, PEER, now_ms=AT_MS)


# -- opening -------------------------------------------------------------------------------------


def test_everything_is_there_after_reopening(url: str) -> None:
    directory = open_postgres(url)
    fill(directory)
    before = (directory.counts(), list(directory.rows(limit=99)), directory.digest(K.FAMILY))
    directory.close()
    again = open_postgres(url)
    try:
        assert (again.counts(), list(again.rows(limit=99)), again.digest(K.FAMILY)) == before
    finally:
        again.close()


def test_another_programs_database_is_not_touched(empty: str) -> None:
    run_sql(empty, "CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(DirectoryError, match=r"another program's database \(it has public.bookm"):
        open_postgres(empty)
    assert run_sql(empty, "SELECT to_regnamespace('ciris_mesh')") == [(None,)]


def test_another_programs_schema_of_our_name_is_not_touched(empty: str) -> None:
    run_sql(empty, "CREATE SCHEMA ciris_mesh")
    with pytest.raises(DirectoryError, match="a schema ciris_mesh of another program; create"):
        open_postgres(empty)


def test_a_database_that_is_not_there_is_said_to_be_missing(empty: str) -> None:
    with pytest.raises(DirectoryError, match='"nowhere" does not exist; create the database'):
        open_postgres(cluster().url("nowhere"))


@pytest.mark.parametrize("wrong", ["postgresql://h/x?nonsense=1", "postgresql://[h/x"])
def test_what_is_no_url_is_said_to_be_none(wrong: str) -> None:
    with pytest.raises(DirectoryError, match="write it like postgresql://user@host/name"):
        open_postgres(wrong)


def test_where_nobody_listens_the_server_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="is the server running"):
        open_postgres(f"postgresql:///x?host={tmp_path}")


def test_a_table_that_is_gone_is_noticed(empty: str) -> None:
    open_postgres(empty).close()
    run_sql(empty, "DROP TABLE ciris_mesh.envelope")
    with pytest.raises(DirectoryError, match=r"is damaged \(no table envelope\); restore"):
        open_postgres(empty)


def test_a_newer_schema_is_left_alone(empty: str) -> None:
    open_postgres(empty).close()
    run_sql(empty, "INSERT INTO ciris_mesh.migration VALUES (99, 'later', 0)")
    with pytest.raises(DirectoryError, match=r"newer ciris-mesh \(schema 99\); install"):
        open_postgres(empty)


def test_a_password_is_never_shown() -> None:
    url = "postgresql://me:secret@db.example/ciris?sslmode=require&password=secret"
    assert "secret" not in shown(url)
    assert "me@db.example/ciris" in shown(url)


def test_without_psycopg_a_person_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DirectoryError, match=r"pip install 'ciris-mesh\[postgres\]'"):
        pg_connect.connect("postgresql://h/x")


# -- migrating -----------------------------------------------------------------------------------


def test_of_many_that_start_at_once_one_migrates(empty: str) -> None:
    def start(_: int) -> list[str]:
        with pg_connect.connect(empty) as connection:
            return migrate(connection, empty)

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(start, range(6)))
    names = [name for name, _ in (*MIGRATIONS, *SHARING)]
    assert sorted(done, key=len) == [[]] * 5 + [names]
    assert migrations_done(empty) == len(names)


def _one_more(connection: Migrating) -> None:
    rows = connection.execute("SELECT position, bytes FROM envelope")
    for position, raw in rows:
        connection.execute("INSERT INTO answer VALUES (?, ?)", (f"size:{len(raw)}", position))


def test_a_store_in_use_is_backed_up_first(empty: str) -> None:
    directory = open_postgres(empty)
    fill(directory)
    directory.close()
    more = (*MIGRATIONS, ("one more", _one_more))
    with pg_connect.connect(empty) as connection:
        assert migrate(connection, empty, more) == ["one more"]
    backup = f"ciris_mesh_backup_{len(MIGRATIONS)}"
    for table, rows in (("envelope", 6), ("node", 1)):
        assert run_sql(empty, f"SELECT count(*) FROM {backup}.{table}") == [(rows,)]
    sizes = "SELECT count(*) FROM ciris_mesh.answer WHERE token LIKE 'size:%'"
    assert run_sql(empty, sizes) == [(6,)]


def test_a_migration_that_fails_happened_not_at_all(empty: str) -> None:
    def broken(connection: Migrating) -> None:
        connection.execute("CREATE TABLE half_done (a INTEGER)")
        raise RuntimeError("no")

    with pg_connect.connect(empty) as connection, pytest.raises(RuntimeError):
        migrate(connection, empty, (*MIGRATIONS, ("broken", broken)))
    assert migrations_done(empty) == 0
    assert run_sql(empty, "SELECT to_regnamespace('ciris_mesh')") == [(None,)]


def test_tables_do_not_change_below_a_running_node(empty: str) -> None:
    directory = open_postgres(empty, "one")
    try:
        with (
            pg_connect.connect(empty) as connection,
            pytest.raises(DirectoryError, match="must change and the node one uses them; stop"),
        ):
            migrate(connection, empty, (*MIGRATIONS, ("one more", _one_more)))
    finally:
        directory.close()


def test_words_for_tables_are_translated_and_others_left() -> None:
    assert ddl("CREATE TABLE a (b BLOB, c INTEGER) STRICT, WITHOUT ROWID").endswith(
        "(b BYTEA, c BIGINT)"
    )
    assert ddl("SELECT 'BLOB'") == "SELECT 'BLOB'"


# -- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "plain", "\x00", "a\x00b\x1bc", "\x1b0", "\x1b1\x00"])
def test_text_comes_back_as_it_was(text: str) -> None:
    assert "\x00" not in escaped(text)
    assert next(plain([(text and escaped(text), 1)])) == (text, 1)


def test_names_that_do_not_fit_an_index_are_told_apart(url: str) -> None:
    long, other = "family:" + "x" * 9000, "family:" + "x" * 8999 + "y"
    assert len({short_name(long), short_name(other), short_name("short")}) == 3
    directory = open_postgres(url)
    try:
        fill(directory, 1)
        row = directory.get(K.FAMILY, directory.holdings(K.FAMILY)[0].envelope_hash)
        assert row is not None
        with directory._store.transaction(durable=True):
            directory._store.publish(row, [long, "family:with\x00zero"])
        assert directory.named_rows(long, limit=9) == [row]
        assert directory.named_rows("family:with\x00zero", limit=9) == [row]
        assert directory.named_rows(other, limit=9) == []
    finally:
        directory.close()


# -- a server that goes away ---------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Cluster]:
    """One that may be stopped: nobody else uses it."""
    cluster()  # skips where there is none
    with Cluster() as own:
        yield own


def test_a_server_that_restarts_is_waited_for(
    server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_connect, "PATIENCE_S", 120.0)
    directory = open_postgres(server.create())
    try:
        fill(directory)
        server.stop()
        raw = sample(K.FAMILY, alice(), 9)
        with ThreadPoolExecutor(1) as pool:
            admitted = pool.submit(directory.admit, K.FAMILY, raw, PEER, now_ms=AT_MS)
            wait_until(lambda: bool(directory.troubles()))
            server.start()
            assert admitted.result().outcome is Outcome.ADMITTED
        assert len(directory.holdings(K.FAMILY)) == 6
        assert directory.digest(K.FAMILY) == digest_of(copies_held(directory, K.FAMILY))
        assert directory.troubles() == ()
    finally:
        directory.close()


def test_a_server_that_stays_away_is_told_and_comes_back(
    server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_connect, "PATIENCE_S", 0.1)
    directory = open_postgres(server.create())
    try:
        fill(directory)
        server.stop(crash=True)
        for _ in range(2):
            with pytest.raises(StoreUnreachable):
                directory.admit(K.FAMILY, sample(K.FAMILY, alice(), 9), PEER, now_ms=AT_MS)
            with pytest.raises(StoreUnreachable):
                directory.counts()
        assert [line.partition(":")[0] for line in directory.troubles()] == ["database_unreachable"]
        server.start()
        verdict = directory.admit(K.FAMILY, sample(K.FAMILY, alice(), 9), PEER, now_ms=AT_MS)
        assert verdict.outcome is Outcome.ADMITTED
        assert directory.troubles() == ()
        assert len(directory.holdings(K.FAMILY)) == 6
        server.stop()
    finally:
        directory.close()


def test_writers_queue_whatever_isolation_the_database_has_by_default(empty: str) -> None:
    name = empty.rpartition("?")[0].rpartition("/")[2]
    run_sql(empty, f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    assert run_sql(empty, "SHOW transaction_isolation") == [("serializable",)]
    with pg_connect.connect(empty) as ours:
        assert ours.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
    with ExitStack() as stack:
        both = [open_postgres(empty, node, shared=True) for node in ("one", "other")]
        for directory in both:
            stack.callback(directory.close)
        fill(both[0])
        both[1].follow()
        raws = [sample(K.FAMILY, alice(), n) for n in range(10, 40)]
        with ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(both[n % 2].admit, K.FAMILY, raw, PEER, now_ms=AT_MS)
                for n, raw in enumerate(raws)
            ]
            assert {job.result().outcome for job in jobs} == {Outcome.ADMITTED}
        for directory in both:
            directory.follow()
            assert directory._server.reach.losses == 0
            assert len(directory.holdings(K.FAMILY)) == 35


def test_connections_that_are_cut_are_made_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_connect, "PATIENCE_S", 120.0)  # the server ends them when it comes to it
    directory = open_postgres(url)
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'ciris-mesh' AND datname = current_database()"
    )
    try:
        fill(directory)
        for n in range(6, 9):
            run_sql(url, cut)
            raw = sample(K.FAMILY, alice(), n)
            assert directory.admit(K.FAMILY, raw, PEER, now_ms=AT_MS).outcome is Outcome.ADMITTED
        assert len(directory.holdings(K.FAMILY)) == 8
    finally:
        directory.close()


def test_another_node_that_is_stuck_in_a_write_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_connect, "PATIENCE_S", 0.0)
    directory = open_postgres(url)
    try:
        fill(directory)
        with psycopg.connect(url) as stuck:
            stuck.execute("UPDATE ciris_mesh.head SET change = change")
            assert directory._store._writer is not None  # type: ignore[attr-defined]
            directory._store._writer.execute(  # type: ignore[attr-defined]
                "SET lock_timeout = 50"
            )
            with pytest.raises(StoreUnreachable, match=r"another process holds .*; look for one"):
                directory.admit(K.FAMILY, sample(K.FAMILY, alice(), 9), PEER, now_ms=AT_MS)
            stuck.rollback()
        verdict = directory.admit(K.FAMILY, sample(K.FAMILY, alice(), 9), PEER, now_ms=AT_MS)
        assert verdict.outcome is Outcome.ADMITTED
    finally:
        directory.close()


def test_a_closed_directory_says_so(url: str) -> None:
    directory = open_postgres(url)
    directory.close()
    directory.close()
    with pytest.raises(LifecycleError):
        directory.admit(K.KEY, sample(K.KEY, alice()), OWN, now_ms=AT_MS)
    with pytest.raises(LifecycleError):
        directory.counts()


def test_patience_ends_and_trouble_with_the_first_success() -> None:
    now = [0.0]
    reach = Reach(clock=lambda: now[0])
    calls = []

    def attempt() -> str:
        calls.append(now[0])
        now[0] += 4.0
        if len(calls) < 3:
            raise StoreUnreachable("away")
        return "there"

    assert reach.patiently(attempt) == "there"
    assert (len(calls), reach.trouble, reach.losses) == (3, None, 1)

    def never() -> str:
        now[0] += 6.0
        raise StoreUnreachable("away")

    with pytest.raises(StoreUnreachable):
        reach.patiently(never)
    trouble = reach.trouble
    assert trouble is not None
    assert trouble[0] == "away"


# -- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_of_node_and_server(server: Cluster) -> None:
    rng = random.Random(20260504)
    url = server.create()
    acknowledged: list[tuple[EnvelopeKind, bytes]] = []
    for attempt in range(12):
        lines = until_killed(
            "admit",
            url,
            str(1000 * attempt),
            lines_wanted=rng.randint(4, 25),
            extra_s=rng.random() * 0.02,
        )
        acknowledged += names(lines)
        if attempt % 3 == 2:
            server.stop(crash=True)
            server.start()
        directory = open_when_free(url)
        try:
            for kind, envelope_id in acknowledged:
                assert directory.unknown(kind, [envelope_id]) == []
            for kind in K:
                assert directory.digest(kind) == digest_of(copies_held(directory, kind))
        finally:
            directory.close()


def open_when_free(url: str) -> DirectoryCore:
    """The server may take a moment to notice that a process is gone."""
    opened: list[DirectoryCore] = []

    def attempt() -> bool:
        try:
            opened.append(open_postgres(url, "crashing"))
        except DirectoryError as error:
            if "another process of this node" not in str(error):
                raise
        return bool(opened)

    wait_until(attempt)
    return opened[0]
