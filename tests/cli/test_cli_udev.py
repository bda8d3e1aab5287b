"""`setup --udev`: a rule for the radio that is plugged in, shown first, written only on yes."""

from __future__ import annotations

import grp
import json
import os
import re
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ciris_mesh.cli.commands import cli
from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.udevrule import RULES_FILE, udev_rules
from ciris_mesh.transport import serialports
from ciris_mesh.transport.serialports import SerialPort, UsbDevice, usb_device

RULE = (
    'SUBSYSTEM=="tty", ATTRS{idVendor}=="10c4", ATTRS{idProduct}=="ea60", '
    'ATTRS{serial}=="0001", MODE="0660", GROUP="plugdev", SYMLINK+="rnode-0001", TAG+="uaccess"'
)
HEADING = "# Written by: ciris-mesh setup --udev"


def plug(sys: Path, name: str, *, above: int = 2, **said: str) -> None:
    """A port as sysfs shows it: the device says what it is some directories above the port."""
    device = sys / "devices/pci0/usb1/1-1"
    port = device.joinpath(*("1-1:1.0", name)[:above])
    port.mkdir(parents=True)
    for file, text in said.items():
        (device / file).write_text(f"{text}\n")
    link = sys / "class/tty" / name / "device"
    link.parent.mkdir(parents=True)
    link.symlink_to(port)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one radio at /dev/ttyUSB0."""
    plug(tmp_path / "sys", "ttyUSB0", idVendor="10c4", idProduct="ea60", serial="0001")
    radio = SerialPort("/dev/ttyUSB0", "/dev/ttyUSB0", exists=True)
    monkeypatch.setattr(serialports, "list_ports", lambda: (radio,))
    monkeypatch.setattr(serialports, "usb_device", partial(usb_device, sys=tmp_path / "sys"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    return tmp_path


def run(place: Path, *words: str, input: str | None = None) -> Result:
    options = ("setup", "--udev", "--rules", str(place / "rules.d"), "--group", "plugdev")
    return CliRunner().invoke(cli, [*options, *words], input=input)


def rules(place: Path) -> Path:
    return place / "rules.d" / RULES_FILE


def test_the_rule_is_shown_and_written_on_yes(place: Path) -> None:
    result = run(place, input="y\n")
    assert result.exit_code == 0, result.output
    assert f"--- {rules(place)} (new)\n{HEADING}\n{RULE}\n" in result.stdout
    assert rules(place).read_text() == f"{HEADING}\n{RULE}\n"
    assert rules(place).stat().st_mode & 0o777 == 0o644
    assert "sudo udevadm control --reload && sudo udevadm trigger" in result.stderr
    assert "The port is then /dev/rnode-0001" in result.stderr


def test_nothing_is_written_without_a_yes(place: Path) -> None:
    result = run(place, input="n\n")
    assert result.exit_code == 1
    assert RULE in result.stdout
    assert "nothing was written" in result.stderr
    assert not rules(place).parent.exists()


def test_by_options_alone(place: Path) -> None:
    result = run(place, "--port", "/dev/ttyUSB0", "--yes", "--json")
    assert json.loads(result.stdout) == {
        "rules": str(rules(place)),
        "group": "plugdev",
        "ports": ["/dev/rnode-0001"],
        "next": [
            "sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=tty"
        ],
    }  # fmt: skip
    assert RULE in rules(place).read_text()


def test_a_rule_that_is_there_is_kept_and_the_same_is_not_written_again(place: Path) -> None:
    rules(place).parent.mkdir()
    rules(place).write_text("# mine\n")
    result = run(place, "--yes")
    assert "(the present one is kept as .bak)" in result.stdout
    kept = rules(place).with_name(f"{RULES_FILE}.bak")
    assert kept.read_text() == "# mine\n"
    run(place, "--yes")
    assert kept.read_text() == "# mine\n"


def test_who_called_sudo_is_told_to_join_the_group(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "pi")
    assert "sudo usermod -aG plugdev pi" in run(place, "--yes").stderr
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.struct_group(("plugdev", "x", 46, ["pi"])))
    assert "usermod" not in run(place, "--yes").stderr


def test_without_root_it_says_how(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ciris_mesh.runtime.files.write_atomic", denied)
    result = run(place, "--yes")
    assert result.exit_code == 1
    assert 'sudo "$(command -v ciris-mesh)" setup --udev' in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "/dev/pts/9"], "not a USB port"),
        (["--group", "a b"], "no name of a group"),
    ],
)
def test_what_no_rule_can_be_made_for(place: Path, words: list[str], says: str) -> None:
    result = run(place, *words, "--yes")
    assert result.exit_code == 1
    assert says in result.stderr
    assert not rules(place).exists()


def test_without_a_port_it_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialports, "list_ports", lambda: ())
    assert "plug the radio in" in run(place, "--yes").stderr


@pytest.mark.parametrize("above", [1, 2])
def test_a_device_is_found_above_its_port(tmp_path: Path, above: int) -> None:
    """ttyUSB0 lies in a directory of its own, ttyACM0 at the interface."""
    plug(tmp_path, "ttyACM0", above=above, idVendor="303a", idProduct="1001")
    port = str(tmp_path / "ttyACM0")
    assert usb_device(port, tmp_path) == UsbDevice(port, "303a", "1001", "")


def test_a_device_without_a_number_is_known_by_its_maker() -> None:
    text = udev_rules([UsbDevice("/dev/ttyACM0", "303a", "1001", "")], "dialout")
    assert 'SYMLINK+="rnode-303a-1001"' in text
    assert "ATTRS{serial}" not in text


@pytest.mark.parametrize("serial", ['1", RUN+="/bin/sh', "1\nRUN", "a" * 41, "ä"])
def test_what_a_device_says_of_itself_is_no_rule(serial: str) -> None:
    """A device could call itself anything, and root's udev reads the file."""
    text = udev_rules([UsbDevice("/dev/ttyUSB0", "10c4", "ea60", serial)], "dialout")
    assert "RUN" not in text
    assert text.count("\n") == 2
    assert 'SYMLINK+="rnode-10c4-ea60"' in text


@pytest.mark.parametrize("vendor", ["", '10c4"', "10C4", "10c45"])
def test_a_device_that_does_not_say_what_it_is_gets_no_rule(vendor: str) -> None:
    with pytest.raises(ConfigError, match="does not say what it is"):
        udev_rules([UsbDevice("/dev/ttyUSB0", vendor, "ea60", "1")], "dialout")


def test_the_group_is_one_that_is_there(place: Path) -> None:
    options = ["setup", "--udev", "--rules", str(place / "rules.d"), "--yes", "--json"]
    said = json.loads(CliRunner().invoke(cli, options).stdout)
    there = {each.gr_name for each in grp.getgrall()}
    assert said["group"] in there & {"dialout", "plugdev", "uucp"} or said["group"] == "dialout"
    assert re.search(rf'GROUP="{said["group"]}"', rules(place).read_text())
    assert os.access(rules(place), os.R_OK)
