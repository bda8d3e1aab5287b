"""`backup` and `restore` as a person uses them, and what a bad stick does to them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ciris_mesh.runtime import home as home_module
from ciris_mesh.runtime import sealed
from ciris_mesh.runtime.backup import open_backup
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.setup import node_identity
from support.cli import Shell, answering, shell
from support.node_processes import environment

WORDS = "otter lamp seven brine"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_LOG2_N", 2)


@pytest.fixture
def alice(tmp_path: Path) -> Shell:
    sh = shell(tmp_path / "a")
    me = node_identity(sh.home).key_id
    for score in ("0.25", "0.5", "1"):
        sh.ok("attest", me, "--dimension", "identity:x:v1", "--score", score, "--yes")
    (sh.home.storage / "bindings").mkdir(exist_ok=True)
    (sh.home.storage / "bindings" / ("ab" * 16)).write_bytes(b"what it knows of a peer")
    (sh.home.path / "logfile").write_text("not worth keeping")
    return sh


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words"
    path.write_text(f"{WORDS}\nsecond line\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def saved(alice: Shell, words: Path, tmp_path: Path) -> Path:
    path = tmp_path / "node.backup"
    alice.ok("backup", str(path), "--passphrase-file", str(words))
    return path


def ids(sh: Shell) -> set[str]:
    return {row["envelope_id"] for row in sh.json("records")}


def files(home: Home) -> dict[str, bytes]:
    names = ("identity", "federation.key", "config", f"storage/bindings/{'ab' * 16}")
    return {name: (home.path / name).read_bytes() for name in names}


def test_a_node_comes_back_whole(alice: Shell, saved: Path, words: Path, tmp_path: Path) -> None:
    other = Shell(Home(tmp_path / "b"))
    result = other.run("restore", str(saved), "--passphrase-file", str(words))
    assert result.exit_code == 0, result.output
    assert "Start it only when its other copy is gone" in result.stderr
    assert files(other.home) == files(alice.home)
    assert ids(other) == ids(alice)
    assert len(ids(other)) >= 3
    assert not (other.home.path / "logfile").exists()
    assert (other.home.federation_key.stat().st_mode & 0o777) == 0o600
    assert ((other.home.storage / "bindings").stat().st_mode & 0o777) == 0o700


def test_asked_for_twice_and_never_shown(alice: Shell, tmp_path: Path) -> None:
    path = tmp_path / "x"
    result = alice.run("backup", str(path), input=f"{WORDS}\n{WORDS}\n")
    assert result.exit_code == 0, result.output
    assert WORDS not in result.output
    assert "3 records" in result.stdout or "4 records" in result.stdout
    assert "read back and compared" in result.stdout
    assert (path.stat().st_mode & 0o777) == 0o600
    data = path.read_bytes()
    assert alice.home.identity_bytes() not in data
    assert alice.home.federation_key.read_bytes()[-60:-30] not in data


def test_nobody_to_ask_is_said(alice: Shell, tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert "add --passphrase-file FILE" in alice.run("backup", str(path), input="").stderr
    assert not path.exists()


def test_without_a_terminal_one_line_says_what_to_add(alice: Shell, tmp_path: Path) -> None:
    """As cron calls it: no terminal, not even behind the back of standard input."""
    path = tmp_path / "x"
    command = [sys.executable, "-m", "ciris_mesh", "--config", str(alice.home.path), "backup"]
    done = subprocess.run(
        [*command, str(path)],
        input=f"{WORDS}\n{WORDS}\n", text=True, capture_output=True, timeout=240,
        start_new_session=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("ciris-mesh: there is no terminal")
    assert "add --passphrase-file FILE" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not path.exists()


def test_a_passphrase_others_can_read_or_too_short(
    alice: Shell, words: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    words.chmod(0o644)
    text = alice.error("backup", str(path), "--passphrase-file", str(words))
    assert "can be read by others" in text
    words.chmod(0o600)
    words.write_text("short\n")
    text = alice.error("backup", str(path), "--passphrase-file", str(words))
    assert "12 to 1024 characters" in text
    assert not path.exists()


def test_a_file_that_is_there_is_kept(alice: Shell, saved: Path, words: Path) -> None:
    before = saved.read_bytes()
    text = alice.error("backup", str(saved), "--passphrase-file", str(words))
    assert "--force" in text
    assert saved.read_bytes() == before
    answer = alice.json("backup", str(saved), "--force", "--passphrase-file", str(words))
    assert answer["bytes"] == saved.stat().st_size
    assert saved.read_bytes() != before


def test_a_running_node_is_backed_up_through_its_socket(
    alice: Shell, words: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    page = {"rows": [], "after": 0, "is_last": True}
    table = {"status": lambda _: {}, "export_page": lambda _: page}
    with answering(alice.home, table):
        answer = alice.json("backup", str(path), "--passphrase-file", str(words))
    assert answer["records"] == 0


def test_check_opens_it_and_changes_nothing(saved: Path, words: Path, tmp_path: Path) -> None:
    nobody = Shell(Home(tmp_path / "nobody"))
    answer = nobody.json("restore", str(saved), "--check", "--passphrase-file", str(words))
    assert answer["key_id"].startswith("alice-")
    assert answer["records"] >= 3
    assert {"config", "identity", "federation.key"} <= set(answer["files"])
    text = nobody.ok("restore", str(saved), "--check", "--passphrase-file", str(words))
    assert "opens and is whole" in text
    assert not nobody.home.path.exists()


def test_another_passphrase(saved: Path, words: Path, tmp_path: Path) -> None:
    words.write_text("something else entirely\n")
    nobody = Shell(Home(tmp_path / "nobody"))
    text = nobody.error("restore", str(saved), "--passphrase-file", str(words))
    assert "this passphrase does not open it" in text
    assert not nobody.home.path.exists()


def test_another_node_is_never_overwritten(saved: Path, words: Path, tmp_path: Path) -> None:
    bob = shell(tmp_path / "bob", "bob")
    key = bob.home.federation_key.read_bytes()
    text = bob.error("restore", str(saved), "--passphrase-file", str(words))
    assert "--replace" in text
    assert bob.home.federation_key.read_bytes() == key
    assert (
        bob.run("restore", str(saved), "--replace", "--passphrase-file", str(words)).exit_code == 0
    )
    assert (tmp_path / "bob.old-1" / "federation.key").read_bytes() == key
    assert node_identity(bob.home).key_id.startswith("alice-")


def test_an_interrupted_restore_is_run_again(
    alice: Shell, saved: Path, words: Path, tmp_path: Path
) -> None:
    other = Shell(Home(tmp_path / "b"))
    arguments = ("restore", str(saved), "--passphrase-file", str(words))
    assert other.run(*arguments, "--keys-only").exit_code == 0
    assert ids(other) == set()
    answer = json.loads(other.run(*arguments, "--json").stdout)
    assert answer["records"]["clean"] is True
    assert ids(other) == ids(alice)


def test_a_node_that_was_told_something_since_keeps_it(
    alice: Shell, saved: Path, words: Path
) -> None:
    me = node_identity(alice.home).key_id
    alice.ok("attest", me, "--dimension", "identity:y:v1", "--score", "1", "--yes")
    before = ids(alice)
    assert alice.run("restore", str(saved), "--passphrase-file", str(words)).exit_code == 0
    assert ids(alice) == before


def test_damage_behind_the_keys_is_named_and_the_keys_come_back(
    saved: Path, words: Path, tmp_path: Path
) -> None:
    data = bytearray(saved.read_bytes())
    data[-200] ^= 1
    saved.write_bytes(data)
    other = Shell(Home(tmp_path / "b"))
    text = other.error("restore", str(saved), "--passphrase-file", str(words))
    assert "the keys in this backup are whole" in text
    assert not other.home.path.exists()
    done = other.run("restore", str(saved), "--keys-only", "--passphrase-file", str(words))
    assert done.exit_code == 0, done.output
    assert node_identity(other.home).key_id.startswith("alice-")


def test_records_cannot_be_exchanged_for_others(
    alice: Shell, saved: Path, words: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    alice.ok("export", str(bundle), "--kind", "key")
    data = saved.read_bytes()
    start = data.index(b"ciris-mesh bundle")
    saved.write_bytes(data[:start] + bundle.read_bytes())
    text = alice.error("restore", str(saved), "--check", "--passphrase-file", str(words))
    assert "the records behind them are not" in text


def test_something_else_is_no_backup(words: Path, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"ciris-mesh bundle 1\n")
    nobody = Shell(Home(tmp_path / "nobody"))
    text = nobody.error("restore", str(path), "--passphrase-file", str(words))
    assert "no backup of ciris-mesh" in text


def test_a_node_that_lacks_a_key_is_not_backed_up(
    alice: Shell, words: Path, tmp_path: Path
) -> None:
    alice.home.identity.unlink()
    text = alice.error("backup", str(tmp_path / "x"), "--passphrase-file", str(words))
    assert "lacks identity" in text
    assert not (tmp_path / "x").exists()


def test_a_paper_makes_the_node_again(alice: Shell, tmp_path: Path) -> None:
    result = alice.run("identity", "paper", "--not-a-screen")
    assert result.exit_code == 0
    assert all(len(line) <= 60 for line in result.output.splitlines()[:11])
    paper = tmp_path / "typed"
    paper.write_text(result.stdout.lower())
    other = Shell(Home(tmp_path / "b"))
    assert other.ok("identity", "recover", "--from", str(paper)).strip().startswith("alice-")
    assert other.home.identity_bytes() == alice.home.identity_bytes()
    assert other.home.federation_key.read_bytes() == alice.home.federation_key.read_bytes()


def test_secrets_go_to_a_screen_unless_told_otherwise(alice: Shell) -> None:
    line = alice.error("identity", "paper")
    assert "add --not-a-screen" in line
    assert "key 1" not in line


def test_a_wrong_line_is_asked_for_again(alice: Shell, tmp_path: Path) -> None:
    title, key_id, *lines = alice.ok("identity", "paper", "--not-a-screen").splitlines()
    assert title == "ciris-mesh paper key 1"
    typed = [line.split(" ", 1)[1] for line in lines]
    first = typed[0].strip()
    answers = [key_id, ("2" if first[0] != "2" else "3") + first[1:], *typed]
    other = Shell(Home(tmp_path / "b"))
    result = other.run("identity", "recover", input="\n".join(answers) + "\n")
    assert result.exit_code == 0, result.output
    assert "line 1 has a wrong letter" in result.stderr
    assert node_identity(other.home).key_id == key_id


def test_a_paper_with_a_wrong_line_makes_nothing(alice: Shell, tmp_path: Path) -> None:
    text = alice.ok("identity", "paper", "--not-a-screen")
    paper = tmp_path / "typed"
    paper.write_text(text.rsplit("\n", 2)[0])
    other = Shell(Home(tmp_path / "b"))
    assert "10 lines are needed" in other.error("identity", "recover", "--from", str(paper))
    assert not other.home.path.exists()


def test_a_node_that_runs_is_not_restored_under_its_feet(
    alice: Shell, saved: Path, words: Path
) -> None:
    with answering(alice.home, {"status": lambda _: {}}):
        text = alice.error("restore", str(saved), "--passphrase-file", str(words))
    assert "this node runs in" in text
    assert "stop it first" in text


def test_what_was_opened_shows_no_secret(alice: Shell, saved: Path, words: Path) -> None:
    with saved.open("rb") as file:
        opened = open_backup(file, words.read_text().splitlines()[0])
    assert opened.files["identity"] == alice.home.identity_bytes()
    assert "identity" not in repr(opened)


def test_a_wrong_key_id_is_asked_for_again(alice: Shell, tmp_path: Path) -> None:
    """Nobody types nine lines twice for a slip in the tenth."""
    _, key_id, *lines = alice.ok("identity", "paper", "--not-a-screen").splitlines()
    typed = [line.split(" ", 1)[1] for line in lines]
    slip = key_id[:-1] + ("a" if key_id[-1] != "a" else "b")
    answers = ["what?", slip, *typed, key_id.upper()]
    other = Shell(Home(tmp_path / "b"))
    result = other.run("identity", "recover", input="\n".join(answers) + "\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == key_id
    assert "a key id is a name" in result.stderr
    assert "not the key of" in result.stderr
    assert node_identity(other.home).key_id == key_id


def test_what_is_to_be_replaced_stays_until_the_new_home_is_whole(
    alice: Shell, saved: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = shell(tmp_path / "bob", "bob")
    there: list[bool] = []

    def fill(path: Path, files: object) -> None:
        there.append(bob.home.exists)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(home_module, "_fill", fill)
    text = bob.error("restore", str(saved), "--replace", "--passphrase-file", str(words))
    assert "No space left" in text
    assert there == [True]
    assert node_identity(bob.home).key_id.startswith("bob-")
    assert [path.name for path in tmp_path.iterdir() if "bob" in path.name] == ["bob"]
