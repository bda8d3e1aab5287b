"""`init`, `id` and `invite`."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import configobj
import pytest
from click.testing import CliRunner

from ciris_mesh.cli.commands import cli
from ciris_mesh.radio.profiles import profile
from ciris_mesh.runtime import clock as clock_module
from ciris_mesh.runtime.clock import BUILD_DATE_MS
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.home import Home, find_home
from ciris_mesh.runtime.invite import parse_invite
from ciris_mesh.runtime.setup import node_identity
from ciris_mesh.runtime.timesource import TimeFacts
from support.cli import answering, shell


def test_init_prints_the_id_the_invite_and_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "a home"
    result = CliRunner().invoke(cli, ["init", "--name", "field-3", "--config", str(path)])
    assert result.exit_code == 0
    key_id, invite = result.stdout.splitlines()
    assert key_id.startswith("field-3-")
    assert parse_invite(invite).key_id == key_id
    assert f"ciris-mesh run --config '{path}'" in result.stderr
    Home(path).check()


def test_init_without_a_place_makes_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = CliRunner().invoke(cli, ["init", "--name", "alice"])
    assert result.exit_code == 0
    assert find_home().path == tmp_path / ".ciris-mesh"
    assert result.stderr.endswith("Next: ciris-mesh run\n")


def test_init_says_in_short_lines_that_nobody_vouches_for_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CIRIS_MESH_CLOCK", raising=False)
    alone = TimeFacts(BUILD_DATE_MS, False, False, None, "a-boot", 60.0)
    monkeypatch.setattr(clock_module, "read_time_facts", lambda _: alone)
    result = CliRunner().invoke(cli, ["init", "--name", "alice", "--config", str(tmp_path / "h")])
    _, last = result.stderr.split("But first: ")
    assert "timedatectl set-ntp true" in " ".join(last.split())
    assert max(map(len, last.splitlines())) <= 80


def test_init_json(tmp_path: Path) -> None:
    arguments = ["init", "--name", "alice", "--json", "--config", str(tmp_path / "home")]
    answer = json.loads(CliRunner().invoke(cli, arguments).stdout)
    assert sorted(answer) == ["address", "home", "invite", "key_id"]


def test_init_remembers_the_reticulum_directory(tmp_path: Path) -> None:
    sh_home = tmp_path / "home"
    arguments = ["--rnsconfig", str(tmp_path / "rns"), "--config", str(sh_home)]
    CliRunner().invoke(cli, [*arguments, "init", "--name", "alice"])
    assert load_config(Home(sh_home).config).reticulum.config_dir == tmp_path / "rns"


@pytest.mark.parametrize("role", ["field", "gateway", "leaf", "hub"])
def test_init_prints_what_suits_a_role_and_writes_it_nowhere(tmp_path: Path, role: str) -> None:
    rns = tmp_path / "reticulum"
    rns.mkdir()
    (rns / "config").write_text("[interfaces]\n")
    options = ["--config", str(tmp_path / "home"), "--rnsconfig", str(rns)]
    result = CliRunner().invoke(cli, [*options, "init", "--name", "alice", "--role", role])
    assert result.exit_code == 0, result.output
    assert profile(role).text in result.stdout
    assert "nothing was written" in " ".join(result.stderr.split())
    assert (rns / "config").read_text() == "[interfaces]\n"
    assert not (tmp_path / "home" / "reticulum").exists()
    tau_s = load_config(tmp_path / "home" / "config").rounds.tau_partial_s
    assert tau_s == (21_600 if role == "field" else 300)


def test_init_json_has_the_block_of_a_role(tmp_path: Path) -> None:
    arguments = ["init", "--name", "alice", "--json", "--config", str(tmp_path / "home")]
    answer = json.loads(CliRunner().invoke(cli, [*arguments, "--role", "gateway"]).stdout)
    assert answer["role"] == "gateway"
    block = configobj.ConfigObj(answer["reticulum"].splitlines())
    assert block["reticulum"]["enable_transport"] == "Yes"
    modes = {each["type"]: each["mode"] for each in block["interfaces"].values()}
    assert modes == {"RNodeInterface": "internal", "TCPClientInterface": "boundary"}


def test_init_never_overwrites(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    before = {path: path.read_bytes() for path in sh.home.path.iterdir() if path.is_file()}
    assert "holds a node already" in sh.error("init", "--name", "bob")
    assert {path: path.read_bytes() for path in before} == before


def test_init_replace_keeps_the_old_one_aside(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    old = node_identity(sh.home).key_id
    sh.ok("init", "--name", "bob", "--replace")
    assert node_identity(sh.home).key_id.startswith("bob-")
    assert node_identity(Home(tmp_path / "home.old-1")).key_id == old


def test_a_running_node_is_not_replaced(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    with answering(sh.home, {}):
        assert "already runs" in sh.error("init", "--name", "bob", "--replace")


@pytest.mark.parametrize("name", ["", "Alice", "-a", "a" * 33, "a b"])
def test_a_name_that_is_none_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    path = tmp_path / "home"
    result = CliRunner().invoke(cli, ["init", f"--name={name}", "--config", str(path)])
    assert result.exit_code == 2
    assert "1 to 32 of a-z" in result.stderr
    assert not path.exists()


def test_id_shows_all_a_person_compares(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    me = node_identity(sh.home)
    assert sh.json("id") == {
        "key_id": me.key_id,
        "address": me.address.hex(),
        "fingerprint": me.fingerprint.hex(),
        "words": list(me.words),
        "home": str(sh.home.path),
    }
    text = sh.ok("id")
    assert text.isascii()
    for value in (me.key_id, me.address.hex(), me.fingerprint.hex(), " ".join(me.words)):
        assert value in text


def test_an_invite_is_one_line_on_stdout_and_the_words_are_talk(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    me = node_identity(sh.home)
    result = sh.run("invite")
    assert result.stdout == f"{me.invite}\n"
    assert " ".join(me.words) in result.stderr
    assert sh.json("invite") == {"invite": me.invite, "words": list(me.words)}


def test_quiet_leaves_only_the_data(tmp_path: Path) -> None:
    assert shell(tmp_path / "home").run("invite", "-q").stderr == ""


def test_a_key_others_can_read_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    sh = shell(tmp_path / "home")
    sh.home.federation_key.chmod(0o644)
    assert "chmod go=" in sh.error("id")
    assert stat.S_IMODE(sh.home.federation_key.stat().st_mode) == 0o644
