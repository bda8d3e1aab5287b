"""Running `support.crashing` and killing it in the middle of what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ciris_mesh.records.kinds import EnvelopeKind

TESTS = Path(__file__).parent.parent
DEADLINE_S = 240.0


def until_killed(*arguments: str | Path, lines_wanted: int, extra_s: float) -> list[str]:
    """Run `support.crashing`, kill it `extra_s` after its n-th line. Returns what it said."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    process = subprocess.Popen(
        [sys.executable, "-m", "support.crashing", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdin, process.stdout as output:
        deadline_s = time.monotonic() + DEADLINE_S
        lines: list[str] = []
        while len(lines) <= lines_wanted:
            assert time.monotonic() < deadline_s, "the process stopped"
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


def names(lines: Iterable[str]) -> list[tuple[EnvelopeKind, bytes]]:
    """What a process said it holds."""
    words = (line.split() for line in lines)
    return [(EnvelopeKind(kind), bytes.fromhex(id_)) for kind, id_ in words]
