"""`db`: migrate, check and copy a store, from a file into a database and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ciris_mesh.runtime.config import parse_config
from ciris_mesh.runtime.home import Home, HomeLock
from ciris_mesh.runtime.setup import node_identity
from support.cli import Shell, shell
from support.postgres import lent_database


@pytest.fixture
def url() -> Iterator[str]:
    with lent_database() as lent:
        yield lent


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    """A node that said two things."""
    made = shell(tmp_path / "a")
    me = node_identity(made.home).key_id
    for score in ("0.25", "0.5"):
        made.ok("attest", me, "--dimension", "identity:x:v1", "--score", score, "--yes")
    return made


def use(sh: Shell, url: str, *, shared: bool = False) -> None:
    """Write into the configuration where records are."""
    text = sh.home.config.read_text()
    text = text.replace("\nurl =", f"\nurl = {url}", 1)
    sh.home.config.write_text(text.replace("\nshared = no", f"\nshared = {'yes' * shared or 'no'}"))


def ids(sh: Shell) -> set[str]:
    return {row["envelope_id"] for row in sh.json("records")}


def test_a_copy_holds_the_same_and_is_used_from_then_on(sh: Shell, url: str) -> None:
    before = ids(sh)
    answer = sh.json("db", "copy", "--to", url)
    assert (answer["rows"], answer["missing"], answer["outcomes"]) == (3, 0, {"held": 3})
    assert "trust" not in answer["to"]
    use(sh, url)
    assert ids(sh) == before
    me = node_identity(sh.home).key_id
    sh.ok("attest", me, "--dimension", "identity:x:v1", "--score", "1", "--yes")
    assert len(ids(sh)) == 4
    assert sh.json("db", "check")["rows"] == 4


def test_a_copy_goes_back_into_a_file(sh: Shell, url: str, tmp_path: Path) -> None:
    sh.ok("db", "copy", "--to", url)
    use(sh, url)
    said = sh.ok("db", "copy", "--to", str(tmp_path / "back.db"))
    assert said == ""
    connection = sqlite3.connect(tmp_path / "back.db")
    assert connection.execute("SELECT count(*), min(shelf) FROM record").fetchone() == (3, 2)
    connection.close()


def test_copying_twice_changes_nothing(sh: Shell, url: str) -> None:
    for _ in range(2):
        assert sh.json("db", "copy", "--to", url)["outcomes"] == {"held": 3}


def test_a_store_is_not_copied_onto_itself(sh: Shell) -> None:
    assert "this node's store already" in sh.error("db", "copy", "--to", str(sh.home.database))


def test_what_does_not_arrive_is_named(sh: Shell, tmp_path: Path) -> None:
    connection = sqlite3.connect(sh.home.database)
    connection.execute(
        "UPDATE envelope SET bytes = CAST(replace(CAST(bytes AS TEXT), 'identity:x', "
        "'identity:y') AS BLOB) WHERE position = 3"
    )
    connection.commit()
    connection.close()
    result = sh.run("db", "copy", "--to", str(tmp_path / "copy.db"))
    assert result.exit_code == 1
    assert "1 missing" in result.stderr
    assert result.stdout.startswith("attestation ")
    result = sh.run("db", "check")
    assert result.exit_code == 1
    assert result.stdout.startswith("attestation ")


@pytest.mark.parametrize("engine", ["file", "database"])
def test_check_and_migrate_find_nothing_to_do(engine: str, sh: Shell, url: str) -> None:
    if engine == "database":
        use(sh, url)
        sh.ok("db", "migrate")
    assert sh.json("db", "migrate")["migrated"] == 0
    answer = sh.json("db", "check")
    assert (answer["broken"], answer["digests_wrong"], answer["not_today"]) == (0, [], 0)


def test_a_digest_that_was_altered_is_found(sh: Shell, url: str) -> None:
    sh.ok("db", "copy", "--to", url)
    use(sh, url)
    sh.ok("db", "check")
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE ciris_mesh.bucket SET digest = sha256('x'), count = 7, dirty = 0"
        )
    answer = sh.run("db", "check")
    assert answer.exit_code == 1
    assert "digest of key is wrong" in answer.stdout


def test_another_nodes_database_is_refused_in_one_line(sh: Shell, url: str, tmp_path: Path) -> None:
    sh.ok("db", "copy", "--to", url)
    other = shell(tmp_path / "b", "bob")
    use(other, url)
    text = other.error("db", "check")
    assert f"belongs to the node {node_identity(sh.home).key_id}" in text
    assert "shared = yes" in text


def test_a_running_node_is_not_disturbed(sh: Shell) -> None:
    with HomeLock(sh.home):
        assert "a node runs in" in sh.error("db", "check")


def test_a_node_may_be_made_with_its_records_in_a_database(tmp_path: Path, url: str) -> None:
    made = Shell(Home(tmp_path / "registry"))
    made.ok("init", "--name", "hub", "--clock", "assume-trusted", "--store", url)
    assert made.json("db", "check")["rows"] == 0
    assert not made.home.database.exists()
    again = Shell(Home(tmp_path / "other"))
    result = again.run("init", "--name", "hub", "--store", "mysql://h/n")
    assert result.exit_code == 2
    assert "postgresql://user@host/name" in result.stderr
    assert not again.home.exists


def test_the_example_configuration_names_the_store() -> None:
    config = parse_config(b'[store]\nurl = "postgresql://u@h/n?a=1,2"\nshared = yes\n')
    assert (config.store.url, config.store.shared) == ("postgresql://u@h/n?a=1,2", True)
