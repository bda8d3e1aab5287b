"""`interfaces list|show|check`: what is printed, the exit codes, and that nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ciris_mesh.cli.commands import cli
from ciris_mesh.radio.profiles import profile, profiles

GOOD = """[reticulum]
  enable_transport = No
[interfaces]
  [[LAN]]
    type = AutoInterface
    enabled = Yes
"""
BAD = GOOD.replace("enabled = Yes", "enabled = Yes\n    interface_mode = gateway")
UNWISE = """[interfaces]
  [[R]]
    type = RNodeInterface
    enabled = Yes
    port = /dev/ttyUSB7
    frequency = 869525000
    bandwidth = 125000
    spreadingfactor = 8
    codingrate = 5
    txpower = 14
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["interfaces", *arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where Reticulum's configuration lies; the test writes it."""
    return tmp_path / "config"


def check(config: Path, text: str, *arguments: str) -> Result:
    config.write_text(text)
    before = config.stat()
    result = run("check", "--rnsconfig", str(config.parent), *arguments)
    assert config.read_text() == text
    assert config.stat().st_mtime_ns == before.st_mtime_ns
    assert [each.name for each in config.parent.iterdir()] == ["config"]
    return result


def test_list_has_a_line_for_each() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert all(each.name in result.stdout for each in profiles())
    assert max(map(len, result.stdout.splitlines())) <= 80
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == [each.name for each in profiles()]


def test_show_prints_the_file_as_it_is() -> None:
    result = run("show", "rnode-eu868-p")
    assert result.exit_code == 0
    assert result.stdout == profile("rnode-eu868-p").text
    shown = json.loads(run("show", "rnode-eu868-p", "--json").stdout)
    assert shown["text"] == profile("rnode-eu868-p").text


def test_show_of_a_name_there_is_not() -> None:
    result = run("show", "rnode-mars")
    assert result.exit_code == 1
    assert "there is no profile 'rnode-mars'" in result.stderr
    assert "gateway" in result.stderr


def test_nothing_to_change(config: Path) -> None:
    result = check(config, GOOD)
    assert (result.exit_code, result.stdout) == (0, f"Nothing to change in {config}.\n")


def test_an_error_is_told_and_exits_with_1(config: Path) -> None:
    result = check(config, BAD)
    assert result.exit_code == 1
    assert "error" in result.stdout
    assert "write mode =" in " ".join(result.stdout.split())


def test_what_is_only_unwise_exits_with_0(config: Path) -> None:
    result = check(config, UNWISE, "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["config"] == str(config)
    assert [each["name"] for each in answer["findings"]] == [
        "no_airtime_limit",
        "port_not_by_id",
        "port_not_there",
    ]
    assert {each["level"] for each in answer["findings"]} == {"warning", "advice"}


def test_an_interface_module_beside_the_configuration_is_known(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(GOOD.replace("AutoInterface", "OwnInterface"))
    assert "unknown_type" in run("check", "--rnsconfig", str(tmp_path), "--json").stdout
    (tmp_path / "interfaces").mkdir()
    (tmp_path / "interfaces" / "OwnInterface.py").touch()
    answer = json.loads(run("check", "--rnsconfig", str(tmp_path), "--json").stdout)
    assert answer["findings"] == []


@pytest.mark.parametrize(("text", "problem"), [(None, "no Reticulum configuration"), ("[", "read")])
def test_a_configuration_that_cannot_be_read(config: Path, text: str | None, problem: str) -> None:
    if text is not None:
        config.write_text(text)
    result = run("check", "--rnsconfig", str(config.parent))
    assert result.exit_code == 1
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1
