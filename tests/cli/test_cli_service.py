"""The unit: shown first, written on yes, and one systemd accepts."""

from __future__ import annotations

import json
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from ciris_mesh.runtime.unit import Unit, unit_text
from support.cli import Shell, shell


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "my home")


def read(text: str) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_a_system_unit_says_what_systemd_needs(sh: Shell) -> None:
    unit = read(sh.ok("service", "install", "--system", "--run-as", "pi", "--print"))["Service"]
    assert (unit["Type"], unit["User"], unit["StateDirectory"]) == ("notify", "pi", "ciris-mesh")
    assert unit["ExecStart"].endswith(f'--config "{sh.home.path}" run')
    assert int(unit["WatchdogSec"]) > 0
    assert unit["ProtectSystem"] == "strict"
    text = sh.ok("service", "install", "--system", "--run-as", "pi", "--print")
    assert f'ReadWritePaths=-"{sh.home.path}"' in text
    assert "DeviceAllow=char-ttyUSB rw" in text
    for hides in ("PrivateDevices", "ProtectClock"):
        assert hides not in text, "the radio and the state of NTP must be seen"


def test_a_users_unit_asks_for_nothing_only_root_can_give(sh: Shell) -> None:
    text = sh.ok("service", "install", "--user", "--print")
    assert "User=" not in text
    assert "ProtectSystem" not in text
    assert "WantedBy=default.target" in text


def test_it_is_shown_first_and_written_on_yes(sh: Shell, tmp_path: Path) -> None:
    units = tmp_path / "units"
    where = ("service", "install", "--system", "--units", str(units))
    refused = sh.run(*where, input="n\n")
    assert refused.exit_code == 1
    assert "Type=notify" in refused.stdout
    assert not units.exists()
    done = sh.run(*where, input="y\n")
    assert done.exit_code == 0
    assert "systemctl daemon-reload" in done.stderr
    path = units / "ciris-mesh.service"
    assert path.stat().st_mode & 0o777 == 0o644
    path.write_text("# mine\n")
    said = json.loads(sh.ok(*where, "--yes", "--json"))
    assert said["unit"] == str(path)
    assert path.with_name("ciris-mesh.service.bak").read_text() == "# mine\n"


def test_options_that_do_not_fit(sh: Shell) -> None:
    assert sh.run("service", "install", "--system", "--user").exit_code == 2
    assert sh.run("service", "install", "--user", "--run-as", "pi").exit_code == 2


def test_a_node_that_is_not_there_gets_no_unit(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from ciris_mesh.cli.commands import cli

    words = ["--config", str(tmp_path / "none"), "service", "install", "--print"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 1
    assert "ciris-mesh init" in result.stderr


def test_what_systemd_would_take_apart_is_escaped() -> None:
    text = unit_text(Unit(["/opt/a b/x", "--config", "/h/100%$me"], [Path("/h")]))
    assert 'ExecStart="/opt/a b/x" --config /h/100%%$$me run\n' in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("kind", ["--system", "--user"])
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path, kind: str) -> None:
    sh = shell(tmp_path / "home")
    path = tmp_path / "ciris-mesh.service"
    path.write_text(sh.ok("service", "install", kind, "--print"))
    out = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert not [line for line in out.stderr.splitlines() if "ciris-mesh.service" in line], out
