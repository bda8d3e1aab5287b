"""Reticulum processes on emulated radios, as tests see them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from support.transport_nodes import PATIENCE_S, STOP_S, Event, Events

TESTS = Path(__file__).parent.parent
#: Start of Reticulum, the driver's fixed pauses of 2.75 s, and a machine that does other things.
ONLINE_TIMEOUT_S = 240.0


class RadioNode:
    """A child process with plain Reticulum and one interface.

    Args:
        directory: of its configuration.
        block: of the interface, as `radio.blocks` writes it.
        shims: name -> text of external interfaces.
    """

    def __init__(self, directory: Path, block: str, shims: dict[str, str] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config").write_text(
            "[reticulum]\n  enable_transport = No\n  share_instance = No\n"
            "[logging]\n  loglevel = 4\n[interfaces]\n" + block
        )
        for name, text in (shims or {}).items():
            (directory / "interfaces").mkdir(exist_ok=True)
            (directory / "interfaces" / f"{name}.py").write_text(text)
        self.events = Events()
        self._stderr = (directory / "stderr").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.radio_child", str(directory)],
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address: str = self.wait("ready", ONLINE_TIMEOUT_S)["address"]

    def do(self, do: str, **fields: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self.process.stdin.flush()

    def wait(self, event: str, timeout_s: float = PATIENCE_S, **fields: Any) -> Event:
        """Take the first event of that name and those fields, now or when it comes."""
        wanted = {"event": event, **fields}
        return self.events.take(
            lambda seen: wanted.items() <= seen.items(), timeout_s, f"{event} {fields}"
        )

    def stats(self) -> Event:
        self.do("stats")
        return self.wait("stats")

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_S)
        self._reader.join(PATIENCE_S)
        self.process.stdin.close()
        self.process.stdout.close()
        self._stderr.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # Reticulum logs to stdout too
                self.events.put(json.loads(line))
        self.events.end()


def digest_of(size: int) -> str:
    """Of what a child sends as a Resource of that size."""
    return hashlib.sha256(random.Random(size).randbytes(size)).hexdigest()
