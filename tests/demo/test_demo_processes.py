"""The demo as a person runs it: real processes, real Reticulum, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ciris_mesh.demo.fleet import Fleet
from ciris_mesh.errors import NodeNotRunning, OperatorError
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.peerbook import PeerBook
from support.waiting import wait_until

pytestmark = pytest.mark.rns

DEADLINE_S = 300.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ciris_mesh", "demo", *arguments]


def environment(tmp_path: Path) -> dict[str, str]:
    user, tmp = tmp_path / "user", tmp_path / "t"
    user.mkdir(exist_ok=True)
    tmp.mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(user), "TMPDIR": str(tmp)}


def processes_naming(path: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(path).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
    return found


def wait_for_none(path: Path) -> None:
    """What a node that was just ended had begun to start has its command line for a moment.

    Loading Reticulum asks `ldconfig` for a library: between fork and exec it looks like the node.
    """
    wait_until(lambda: not processes_naming(path), lambda: f"{processes_naming(path)} end")


def test_three_nodes_converge_and_nothing_is_left(short: Path) -> None:
    done = subprocess.run(
        command("--json"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=environment(short),
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert list(result) == ["converged", "nodes", "kinds", "records", "seconds", "bytes"]
    assert (result["converged"], result["nodes"], result["kinds"]) == (True, 3, 13)
    assert result["records"] >= 39
    assert result["bytes"] > 0
    assert list((short / "t").iterdir()) == []
    assert list((short / "user").iterdir()) == []
    wait_for_none(short)


@pytest.mark.slow
def test_two_nodes_converge_by_radio_and_nothing_is_left(short: Path) -> None:
    """Through Reticulum's own driver; an exchange that failed is tried again after a minute."""
    done = subprocess.run(
        command("--radio", "--nodes", "2", "--records", "2", "--timeout", "600", "--json"),
        capture_output=True,
        text=True,
        timeout=700.0,
        check=False,
        env=environment(short),
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert (result["converged"], result["nodes"], result["records"]) == (True, 2, 4)
    channel = result["channel"]
    assert (channel["sf"], channel["speed"]) == (8, 16.0)
    assert [each["name"] for each in channel["nodes"]] == ["alice", "bob"]
    # A key, a binding and an attestation each: 12 kB, and never more than all of the time.
    assert all(40 < each["airtime_s"] < channel["channel_s"] for each in channel["nodes"])
    assert "s on air" in done.stderr, "it says so while it runs"
    assert list((short / "t").iterdir()) == []
    wait_for_none(short)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [("--records", "500"), ("--radio",)])
def test_a_demo_that_is_ended_leaves_nothing(
    short: Path, number: signal.Signals, options: tuple[str, ...]
) -> None:
    with subprocess.Popen(
        command("--json", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(short),
    ) as running:
        try:
            wait_until(lambda: len(processes_naming(short)) >= 1)
            running.send_signal(number)
            out, err = running.communicate(timeout=DEADLINE_S)
        finally:
            running.kill()
    assert running.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
    wait_for_none(short)
    assert list((short / "t").iterdir()) == []


def test_keep_keeps_the_directories(short: Path) -> None:
    done = subprocess.run(
        command("--keep", "--nodes", "2", "--records", "1"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=environment(short),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Converged: 2 nodes, 2 records of 1 kind,")
    (root,) = (short / "t").iterdir()
    assert f"Kept in {root}" in done.stderr
    assert sorted(path.name for path in root.iterdir()) == [
        "alice",
        "alice-reticulum",
        "bob",
        "bob-reticulum",
    ]


def test_every_node_of_a_fleet_may_found_and_license(short: Path) -> None:
    fleet = Fleet(short, 2)
    fleet.create()
    ids = {node.identity.key_id for node in fleet.nodes}
    for node in fleet.nodes:
        trust = load_config(node.home.config).trust
        assert trust.root_stewards == trust.partner_stewards == ids
        assert trust.partner_threshold == 1
        assert not trust.pinned


def test_a_fleet_peers_everyone_and_pins_all_when_it_is_large(short: Path) -> None:
    fleet = Fleet(short, 9)
    fleet.create()
    for node in fleet.nodes:
        assert len(load_config(node.home.config).trust.pinned) == 9
        assert len(PeerBook.load(node.home.peers).peers()) == 4


def test_a_node_that_cannot_start_says_why(short: Path) -> None:
    fleet = Fleet(short, 2)
    fleet.create()
    fleet.nodes[1].home.config.write_text("[node]\nlog_level = loud\n")
    try:
        with pytest.raises(OperatorError, match=r"node bob ended with code 1: .*log_level = loud"):
            fleet.start()
    finally:
        fleet.stop()
    with pytest.raises(NodeNotRunning):
        fleet.nodes[0].call("status")
    fleet.stop()
    wait_for_none(short)
