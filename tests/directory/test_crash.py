"""What was acknowledged survives kill -9."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.kinds import EnvelopeKind
from support.keys import bob
from support.records import AT_MS, sample

TESTS = Path(__file__).parent.parent
KILLS = 4
DEADLINE_S = 60.0


def admit_until_killed(path: Path, start: int, lines_wanted: int, extra_s: float) -> list[str]:
    """Let a process admit; kill it `extra_s` after its n-th line. Returns what it acknowledged."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    process = subprocess.Popen(
        [sys.executable, "-m", "support.crashing", str(path), str(start)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    with process.stdout as output:
        deadline_s = time.monotonic() + DEADLINE_S
        lines: list[str] = []
        while len(lines) <= lines_wanted:
            assert time.monotonic() < deadline_s, "the process stopped admitting"
            line = output.readline()
            assert line, "the process ended by itself"
            lines.append(line)
        try:
            process.wait(extra_s)  # a moment inside whatever it is doing
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
        lines += output.readlines()
    assert lines[0] == "ready\n"
    return [line for line in lines[1:] if line.endswith("\n")]


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    rng = random.Random(20260501)
    path = tmp_path / "records.db"
    acknowledged: list[bytes] = []
    for attempt in range(KILLS):
        lines = admit_until_killed(path, 1000 * attempt, rng.randint(0, 25), rng.random() * 0.02)
        acknowledged += [bytes.fromhex(line.split()[1]) for line in lines]

        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        directory = SqliteDirectory(path)
        try:
            assert directory.unknown(EnvelopeKind.FAMILY, acknowledged) == []
            held = [ref.envelope_hash for ref in directory.holdings(EnvelopeKind.FAMILY)]
            assert directory.digest(EnvelopeKind.FAMILY) == digest_of(held)
        finally:
            directory.close()
    assert len(acknowledged) > 10

    directory = SqliteDirectory(path)
    try:
        assert directory.pools().deferred > 0, "what waited still waits"
        key = sample(EnvelopeKind.KEY, bob())
        directory.admit(EnvelopeKind.KEY, key, Source("peer", "hub"), now_ms=AT_MS)
        assert directory.pools().deferred == 0
        rows = (directory.get(EnvelopeKind.FAMILY, one) for one in acknowledged)
        assert all(row is not None for row in rows)
    finally:
        directory.close()
