"""A node run, asked and ended from the command line; two of them converge by pasted invites."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.localnodes import free_port, reticulum_config
from ciris_mesh.runtime.setup import new_node, node_identity
from ciris_mesh.runtime.status import NodeStatus
from support.cli import Shell, shell
from support.waiting import wait_until

pytestmark = pytest.mark.rns

DEADLINE_S = 240.0
BOB = "bob-abcdefghijklmnop"
FAST = {("rounds", "cadence_s"): "0.5"}


@dataclass
class Running:
    """A node process with its shell."""

    sh: Shell
    process: subprocess.Popen[bytes]
    output: Path

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextmanager
def running(root: Path, name: str, port: int, *, listens: bool) -> Iterator[Running]:
    home = Home(root / name)
    if not home.exists:
        new_node(home.path, name, settings=FAST)
    rns_dir = root / f"{name}-rns"
    rns_dir.mkdir(exist_ok=True)
    (rns_dir / "config").write_text(reticulum_config(port=port, listens=listens))
    output = root / f"{name}.log"
    command = [sys.executable, "-m", "ciris_mesh", "run", "--config", str(home.path)]
    with output.open("ab") as log:
        process = subprocess.Popen(
            [*command, "--rnsconfig", str(rns_dir)], stdout=log, stderr=log, env=_environment(root)
        )
    sh = Shell(home)
    try:
        wait_until(lambda: process.poll() is not None or sh.json("status")["running"])
        yield Running(sh, process, output)
    finally:
        process.kill()
        process.wait()


def _environment(root: Path) -> dict[str, str]:
    without = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    return {**without, "HOME": str(root)}


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_says_it_is_ready_and_ends_with_0(root: Path, number: signal.Signals) -> None:
    with running(root, "alice", free_port(), listens=True) as node:
        key_id = node_identity(node.sh.home).key_id
        wait_until(lambda: f"ready {key_id}" in node.output.read_text())
        assert node.end(number) == 0
    assert node.sh.json("status")["running"] is False
    assert "Traceback" not in node.output.read_text()
    assert not (root / ".reticulum").exists()


def test_status_of_a_real_node_has_exactly_the_documented_members(root: Path) -> None:
    with running(root, "alice", free_port(), listens=True) as node:
        answer = node.sh.json("status")
        text = node.sh.ok("status")
    assert set(answer) == {"running", *NodeStatus.__dataclass_fields__}
    assert answer["key_id"] == node_identity(node.sh.home).key_id
    assert answer["address"] == node_identity(node.sh.home).address.hex()
    assert "No peers yet" in text
    assert text.isascii()


def test_an_unknown_setting_is_warned_of_and_the_node_runs(root: Path) -> None:
    sh = shell(root / "alice")
    sh.home.config.write_text("[rounds]\ncadence = 5\n")
    with running(root, "alice", free_port(), listens=True) as node:
        assert "did you mean cadence_s?" in node.output.read_text()
        assert node.end() == 0


def test_a_second_instance_is_refused_in_one_line(root: Path) -> None:
    with running(root, "alice", free_port(), listens=True) as node:
        done = subprocess.run(
            [sys.executable, "-m", "ciris_mesh", "run", "--config", str(node.sh.home.path)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            env=_environment(root),
        )
        assert node.process.poll() is None
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "already runs" in done.stderr


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("[rounds]\ncadence_s = never\n", "cadence_s = never: allowed is"),
        ("rubbish\n", "line 1: neither a [section] nor option = value"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(
    root: Path, config: str, text: str
) -> None:
    sh = shell(root / "alice")
    sh.home.config.write_text(config)
    assert text in sh.error("run")


def test_records_signed_before_during_and_after_are_all_there(root: Path) -> None:
    sh = shell(root / "alice")
    say = ("attest", node_identity(sh.home).key_id, "--score", "1", "--yes", "--dimension")
    ids = [sh.ok(*say, "d:before").strip()]
    with running(root, "alice", free_port(), listens=True) as node:
        ids.append(sh.ok(*say, "d:during").strip())
        assert node.end() == 0
    ids.append(sh.ok(*say, "d:after").strip())
    rows = sh.json("records", "--kind", "attestation")
    assert [row["envelope_id"] for row in rows] == ids
    assert len(sh.json("records", "--kind", "key")) == 1


def test_what_a_command_acknowledged_survives_kill(root: Path) -> None:
    with running(root, "alice", free_port(), listens=True) as node:
        me = node_identity(node.sh.home).key_id
        say = ("attest", me, "--score", "1", "--yes", "--dimension", "d:1")
        envelope_id = node.sh.ok(*say).strip()
        node.process.kill()
        node.process.wait()
    rows = node.sh.json("records", "--kind", "attestation")
    assert [row["envelope_id"] for row in rows] == [envelope_id]


def test_verify_uses_the_keys_of_the_running_node(root: Path) -> None:
    with running(root, "alice", free_port(), listens=True) as node:
        me = node_identity(node.sh.home).key_id
        say = ("attest", me, "--score", "1", "--yes", "--dimension", "d:1")
        envelope = node.sh.json("records", node.sh.ok(*say).strip())["envelope"]
        answer = node.sh.ok("record", "verify", "--kind", "attestation", input=f"{envelope}\n")
    assert json.loads(answer)["outcome"] == "admitted"


def test_two_nodes_meet_by_pasted_invites_and_agree(root: Path) -> None:
    port = free_port()
    with (
        running(root, "alice", port, listens=True) as alice,
        running(root, "bob", port, listens=False) as bob,
    ):
        for one, two in ((alice, bob), (bob, alice)):
            line = two.sh.ok("invite", "-q")
            one.sh.ok("peer", "add", "-", "--alias", two.sh.home.path.name, input=line)
        me = node_identity(alice.sh.home).key_id
        said = alice.sh.ok("attest", me, "--dimension", "d:1", "--score", "0.25", "--yes").strip()
        revoked = bob.sh.ok("revoke", BOB, "--unknown", "--yes").strip()
        for node in (alice, bob):
            assert node.sh.json("wait", "--timeout", str(DEADLINE_S))["converged"] is True
        kept = [{row["envelope_id"] for row in node.sh.json("records")} for node in (alice, bob)]
        assert kept[0] == kept[1]
        assert {said, revoked} <= kept[0]

        def is_connected() -> bool:  # of two links dialled at once one goes
            (peer,) = alice.sh.json("peers")
            return (peer["alias"], peer["state"], peer["fresh"]) == ("bob", "connected", True)

        wait_until(is_connected)
        wait_until(lambda: alice.sh.json("sync", "bob")["queued"] >= 1)
        wait_until(lambda: alice.sh.run("status", "--check").exit_code == 0)
        removed = bob.sh.json("peer", "remove", "alice")["removed"]
        assert removed == node_identity(alice.sh.home).key_id
        assert bob.sh.json("peers") == []
        assert alice.end() == 0
        assert bob.end() == 0
