"""The `ether` command: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from configobj import ConfigObj

from ciris_mesh.cli import ether as command
from ciris_mesh.cli.commands import cli
from ciris_mesh.radio.airtime import BANDWIDTHS_HZ
from ciris_mesh.radio.kiss import Command, encode
from ciris_mesh.radio.topology import NODES_MAX, SHAPES
from support.radio_hosts import open_pty

TIMEOUT_S = 240.0


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["ether", "--for", "0", *arguments])


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_is_written_out_for_help_is_what_the_radio_has() -> None:
    assert command.NODES_MAX == NODES_MAX
    assert tuple(map(int, command.BANDWIDTHS)) == BANDWIDTHS_HZ
    assert set(command.SHAPES) == set(SHAPES)


def test_it_prints_ready_configurations_and_counters() -> None:
    result = run("--nodes", "3", "--sf", "9", "--bw", "250000", "--cr", "7", "--speed", "16")
    assert result.exit_code == 0, result.output
    assert "3 radios at 2511 bit/s, time 16 x" in result.stdout
    parts = result.stdout.split("# ---- ")[1:]
    for number, part in enumerate(parts):
        text = part.partition("----\n")[2].partition("\n\n3 radios,")[0]
        config = ConfigObj(text.splitlines()[: text.count("\n") + 1])
        block = config["interfaces"][f"rnode{number}"]
        assert config["reticulum"]["instance_name"] == f"rnode{number}"
        assert (block["type"], block["enabled"]) == ("RNodeInterface", "Yes")
        assert Path(block["port"]).name == f"rnode{number}"
        assert (block["spreadingfactor"], block["bandwidth"]) == ("9", "250000")
        assert (block["codingrate"], block["frequency"]) == ("7", "868100000")
    assert "3 radios, 0 s of channel time" in result.stdout


def test_configurations_without_a_serial_port() -> None:
    result = run("--socket")
    assert "type = VirtualRNodeInterface" in result.stdout
    assert "rnode1.sock" in result.stdout
    assert "interfaces show VirtualRNodeInterface >" in result.stdout
    assert "RNodeInterface" not in result.stdout.replace("VirtualRNodeInterface", "")


def test_json_is_a_line_at_the_start_and_one_at_the_end(tmp_path: Path) -> None:
    ready, ended = lines(run("--json", "--dir", str(tmp_path)))
    assert (ready["event"], ended["event"]) == ("ready", "ended")
    assert [each["port"] for each in ready["nodes"]] == [f"{tmp_path}/rnode{n}" for n in (0, 1)]
    assert [each["socket"] for each in ready["nodes"]] == [
        f"{tmp_path}/rnode{n}.sock" for n in (0, 1)
    ]
    assert "[[rnode1]]" in ready["nodes"][1]["config"]
    assert ended["nodes"][0]["frames_sent"] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_directory_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines(run("--json"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [*SHAPES, "FILE"])
def test_topologies(tmp_path: Path, shape: str) -> None:
    if shape == "FILE":
        (tmp_path / "who").write_text("0 1\n1 > 2 -90\n")
        shape = str(tmp_path / "who")
    assert run("--nodes", "3", "--topology", shape).exit_code == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"0 9", "topology line 1: '0 9' must name two of the nodes 0 to 1"),
        (b"\xff\xfe", "is no text"),
        (b"#" * 300_000, "is longer than 262144 bytes"),
    ],
)
def test_bad_topologies_are_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "who").write_bytes(content)
    result = run("--topology", str(tmp_path / "who"))
    assert result.exit_code == 1
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_topology_that_is_nowhere() -> None:
    result = run("--topology", "ring")
    assert result.exit_code == 1
    assert "neither full, line, star nor a file" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--nodes", "0"), ("--nodes", "65"), ("--sf", "4"), ("--bw", "1"), ("--loss", "2"),
     ("--speed", "0")],
)  # fmt: skip
def test_impossible_radios_are_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_directory_too_deep_for_sockets(tmp_path: Path) -> None:
    result = run("--dir", str(tmp_path / ("x" * 100)))
    assert result.exit_code == 1
    assert "shorter path" in result.stderr


def test_a_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("ciris_mesh.radio.lab.Lab.run", broken)
    result = CliRunner().invoke(cli, ["ether", "--for", "20"])
    assert result.exit_code == 1
    assert "ended by a fault" in result.stderr


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = ["ether", "--json", "--speed", "100", "--seed", "1", "--dir", str(tmp_path / "e")]
    with subprocess.Popen(
        [sys.executable, "-m", "ciris_mesh", *arguments], stdout=subprocess.PIPE, text=True
    ) as running:
        yield running
        running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(process: subprocess.Popen[str], number: signal.Signals) -> None:
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    one, two = [open_pty(Path(each["port"])) for each in ready["nodes"]]
    one.set_up()
    two.set_up()
    one.send(b"counted")
    assert two.expect(Command.DATA) == b"counted"
    one.say(encode(Command.LEAVE, b"\xff"))
    os.kill(process.pid, number)
    ended = json.loads(process.stdout.readline())
    assert process.wait(TIMEOUT_S) == 0
    assert [each["frames_sent"] for each in ended["nodes"]] == [1, 0]
    assert ended["nodes"][1]["bytes_received"] == 8
    assert ended["channel_s"] > 0
    one.close()
    two.close()
