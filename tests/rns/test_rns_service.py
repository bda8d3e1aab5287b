"""A real node as systemd runs it: told when ready, watched, and ended within five seconds."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from support.node_processes import mesh

pytestmark = pytest.mark.rns


def test_ready_fed_and_stopping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, mesh() as made:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(240)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        # Fed once a second: ten words fit into the socket, and the last must too, read late.
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        (node,) = made.make_peers("alone")
        node.start()
        assert systemd.recv(200) == f"READY=1\nSTATUS={node.key_id}".encode()
        assert {systemd.recv(200) for _ in range(2)} == {b"WATCHDOG=1"}
        node.stop()  # SIGTERM: exit code 0 within five seconds, or it fails
        told = b""
        while told != b"STOPPING=1":
            told = systemd.recv(200)
            assert told in (b"WATCHDOG=1", b"STOPPING=1")


def test_lines_for_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output file stands for the journal: JOURNAL_STREAM names it."""
    with mesh() as made:
        (node,) = made.make_peers("alone")
        output = node.home.path.with_suffix(".output")
        output.touch()
        found = os.stat(output)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        made.start(node)
        node.stop()
        lines = [line for line in node.output.splitlines() if "node.stopping" in line]
        assert lines == ["<6>ciris_mesh.runtime.daemon node.stopping"]
