"""What strangers may send to a mailbox on real LXMF, and ask of one who answers them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.node_processes import environment

pytestmark = pytest.mark.rns

PATIENCE_S = 240.0


def test_strange_messages_are_counted_and_dear_stamps_not_paid(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "support" / "mailbox_child.py"
    done = subprocess.run(
        [sys.executable, script, "--rns", tmp_path],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["read"] == ["status"] + [None] * 9
    assert seen["malformed"] == 9
    dear = {"13": False, "254": False, "8": False}  # the last is a text: no cost at all
    assert seen["sent"] == {"None": True, "0": True, "12": True, **dear}
