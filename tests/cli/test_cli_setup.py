"""Setting a node up: by questions, by options, and never a byte more than was agreed to."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ciris_mesh.cli.commands import cli
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.setup import new_node, node_identity
from ciris_mesh.transport import serialports
from ciris_mesh.transport.serialports import Holder, SerialPort
from support.node_processes import environment
from support.waiting import wait_until

RADIO = SerialPort(
    "/dev/serial/by-id/usb-rnode", "/dev/ttyUSB0", True, "root", "dialout", 0o660, False, False,
    (Holder(7, "minicom", "ann"),),
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(serialports, "list_ports", lambda: (RADIO,))
    return tmp_path


def run(place: Path, *words: str, input: str | None = None) -> Result:
    options = ["--config", str(place / "home"), "--rnsconfig", str(place / "rns")]
    return CliRunner().invoke(cli, [*options, "setup", *words], input=input)


GATEWAY = (
    "gateway", "--name", "field-3", "--region", "eu868-p", "--port", RADIO.path,
    "--hub", "hub.example.org:4242",
)  # fmt: skip


def files(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def test_by_options_alone(place: Path) -> None:
    result = run(place, *GATEWAY, "--yes", "--write-rns", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert [Path(path).name for path in said["written"]] == [
        "config", "identity", "federation.key", "config",
    ]  # fmt: skip
    config = load_config(place / "home" / "config")
    assert str(config.radio.duty) == "10%"
    assert config.rounds.tau_partial_s == 21_600
    assert config.reticulum.config_dir == place / "rns"
    assert "mode = boundary" in (place / "rns" / "config").read_text()
    assert (place / "home" / "identity").stat().st_mode & 0o777 == 0o600
    assert node_identity(Home(place / "home")).key_id.startswith("field-3-")


def test_any_setting_can_be_said(place: Path) -> None:
    """And changed later, without touching the others."""
    said = ("--set", "web.enabled=yes", "--set", "rounds.tau_partial_s = 600")
    assert run(place, *GATEWAY, "--yes", *said).exit_code == 0
    config = load_config(place / "home" / "config")
    assert (config.web.enabled, config.rounds.tau_partial_s) == (True, 600)
    assert run(place, *GATEWAY, "--yes", "--set", "operator.enabled=yes").exit_code == 0
    config = load_config(place / "home" / "config")
    assert (config.web.enabled, config.operator.enabled) == (True, True)


def test_reticulums_configuration_is_printed_and_not_written(place: Path) -> None:
    result = run(place, *GATEWAY, "--yes")
    assert result.exit_code == 0, result.output
    assert "      target_host = hub.example.org" in result.stdout
    assert not (place / "rns").exists()
    assert "ciris-mesh:1:" in result.stdout


def test_what_stays_unwritten_is_said_at_the_end(place: Path) -> None:
    """The block was shown above two screens of other things."""
    where = str(place / "rns" / "config")
    result = run(place, *GATEWAY, "--yes")
    *_, last = result.output.split("This node's invite")
    assert f"Not written, for it is Reticulum's: {where}" in last
    assert "--write-rns" in last
    assert json.loads(run(place, *GATEWAY, "--yes", "--json").stdout)["unwritten"] == [where]
    result = run(place, *GATEWAY, "--yes", "--write-rns")
    assert "Not written" not in result.output
    assert json.loads(run(place, *GATEWAY, "--yes", "--json").stdout)["unwritten"] == []


def test_nothing_is_written_without_a_yes(place: Path) -> None:
    result = run(place, *GATEWAY, input="\nn\n")
    assert result.exit_code == 1
    assert "nothing was written" in result.stderr
    assert files(place) == {}
    assert f"--- {place}/home/config (new" in result.stdout
    assert "    +duty = 10%" in result.stdout
    assert "key field-3" in result.stdout


def test_by_questions(place: Path) -> None:
    other = node_identity(new_node(place / "other", "other"))
    answers = ["field-9", "3", "1", other.invite, "", "y", "y"]
    result = run(place, "field", input="\n".join(answers) + "\n")
    assert result.exit_code == 0, result.output
    assert "3 us915    United States, Canada, 902-928 MHz" in result.stderr
    assert "1 /dev/serial/by-id/usb-rnode -> /dev/ttyUSB0" in result.stderr
    assert "owner root, group dialout, held by minicom (pid 7)" in result.stderr
    text = (place / "rns" / "config").read_text()
    assert f"port = {RADIO.path}" in text
    assert "frequency = 914900000" in text
    (peer,) = PeerBook.load(Home(place / "home").peers).peers()
    assert peer.key_id == other.key_id


def test_a_wrong_answer_is_asked_again_at_once(place: Path) -> None:
    other = node_identity(new_node(place / "other", "other"))
    answers = ["Big Laptop", "lap-1", "hub", "hub.example.org:4242", "xyz", other.invite, ""]
    result = run(place, "laptop", "--clock", "system", input="\n".join([*answers, "y", "n"]) + "\n")
    assert result.exit_code == 0, result.output
    for said in ("use 1 to 32", "'hub' is no address", "this is no invite"):
        assert said in result.stderr
    assert "target_host = hub.example.org" in result.stdout
    assert node_identity(Home(place / "home")).key_id.startswith("lap-1-")
    (peer,) = PeerBook.load(Home(place / "home").peers).peers()
    assert peer.key_id == other.key_id


def test_what_is_replaced_is_kept_and_comments_stay(place: Path) -> None:
    assert run(place, *GATEWAY, "--yes", "--write-rns").exit_code == 0
    own, theirs = place / "home" / "config", place / "rns" / "config"
    own.write_text("# mine\n" + own.read_text())
    before = own.read_text(), theirs.read_text()
    keys = (place / "home" / "federation.key").read_bytes()
    again = (
        "registry", "--listen", "0.0.0.0:4300", "--clock", "assume-trusted",
        "--yes", "--write-rns",
    )  # fmt: skip
    result = run(place, *again)
    assert result.exit_code == 0, result.output
    assert (
        own.with_name("config.bak").read_text(),
        theirs.with_name("config.bak").read_text(),
    ) == (before)
    assert own.read_text().startswith("# mine\n")
    assert load_config(own).node.clock == "assume-trusted"
    assert "[[Public]]" in theirs.read_text()
    assert "[[RNode]]" in theirs.read_text(), "what was there stays"
    assert (place / "home" / "federation.key").read_bytes() == keys


def test_a_second_time_changes_nothing(place: Path) -> None:
    run(place, *GATEWAY, "--yes", "--write-rns")
    before = files(place)
    result = run(place, *GATEWAY, "--yes", "--write-rns", "--json")
    assert json.loads(result.stdout)["written"] == []
    assert files(place) == before


def test_another_interface_of_that_name_ends_it_before_anything_is_written(place: Path) -> None:
    (place / "rns").mkdir()
    (place / "rns" / "config").write_text("[interfaces]\n  [[RNode]]\n    type = KISSInterface\n")
    before = files(place)
    result = run(place, *GATEWAY, "--yes", "--write-rns")
    assert result.exit_code == 1
    assert "an interface RNode already" in result.stderr
    assert files(place) == before
    printed = run(place, *GATEWAY, "--yes")
    assert printed.exit_code == 0
    assert "(not to be written: " in printed.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["field", "--yes", "--region", "433", "--port", "/dev/x"], "--name must be given"),
        (["field", "--yes", "--name", "a", "--port", "/dev/x"], "--region must be given"),
        (["field", "--yes", "--name", "a", "--region", "433"], "usb-rnode"),
        (["laptop", "--yes", "--name", "a"], "--hub must be given"),
        (["laptop", "--yes", "--name", "a", "--hub", "nowhere"], "HOST:PORT"),
        (["laptop", "--yes", "--name", "a", "--hub", "h:1", "--peer", "zzz"], "invite"),
        (
            ["laptop", "--yes", "--name", "a", "--hub", "h:1", "--set", "web.enabled=maybe"],
            "yes or",
        ),
        (["laptop", "--yes", "--name", "a", "--hub", "h:1", "--set", "web.on=yes"], "no setting"),
        (["laptop", "--yes", "--name", "a", "--hub", "h:1", "--set", "web.enabled"], "no setting"),
        (["laptop", "--yes", "--name", "A b", "--hub", "h:1"], "--name: use 1 to 32"),
        (["boat"], "'boat' is not one of"),
        (["--yes"], "Name a role: field, gateway, registry, laptop."),
    ],
)
def test_what_lacks_is_named_and_nothing_is_written(
    place: Path, words: list[str], says: str
) -> None:
    result = run(place, *words)
    assert result.exit_code in (1, 2)
    assert says in result.output
    assert files(place) == {}


def test_a_clock_nobody_vouches_for_is_asked_about(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ciris_mesh.runtime.clock import SystemClock

    monkeypatch.setattr(SystemClock, "source", lambda _: "")
    words = ("laptop", "--name", "a", "--hub", "h:1", "--peer")
    invite = node_identity(new_node(place / "other", "other")).invite
    result = run(place, *words, invite, input="y\ny\nn\n")
    assert result.exit_code == 0, result.output
    assert "nobody vouches" in result.stderr
    assert load_config(place / "home" / "config").node.clock == "assume-trusted"


@pytest.fixture
def screen(place: Path) -> Iterator[Any]:
    """A real terminal: what a person sees and types."""
    master, slave = pty.openpty()
    command = (
        sys.executable, "-m", "ciris_mesh", "--config", str(place / "home"),
        "--rnsconfig", str(place / "rns"), "setup", "laptop",
    )  # fmt: skip
    child = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment(), start_new_session=True
    )
    os.close(slave)
    yield master, child
    child.kill()
    child.wait()
    os.close(master)


def test_on_a_terminal(place: Path, screen: tuple[int, subprocess.Popen[bytes]]) -> None:
    master, child = screen
    seen = b""

    def asked(question: bytes) -> bool:
        nonlocal seen
        os.set_blocking(master, False)
        with contextlib.suppress(OSError):  # nothing to read now, or the other end is closed
            seen += os.read(master, 65536)
        return question in seen

    for question, answer in (
        (b"name for its key", "lap-1"),
        (b"Hub, as HOST:PORT", "hub.example.org:4242"),
        (b"peer's invite", ""),
        (b"Write this node's files in ", "y"),
        (b"config too?", "n"),
    ):
        wait_until(lambda: asked(question), lambda: seen.decode(errors="replace"))  # noqa: B023
        os.write(master, f"{answer}\n".encode())
    assert child.wait(240) == 0, seen.decode(errors="replace")
    assert (place / "home" / "federation.key").exists()
    assert not (place / "rns").exists()
