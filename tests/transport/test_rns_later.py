"""Reticulum without what only its I2P interface needs, and with it once somebody asks."""

from __future__ import annotations

import json
import subprocess
import sys

CHILD = """
import json, sys, threading
from ciris_mesh.transport.rns_later import DEFERRED, defer_i2p
if sys.argv[1] == "defer":
    defer_i2p()
    defer_i2p()
import RNS
import RNS.Reticulum as module
found = {"finders": len(sys.meta_path), "before": "asyncio" in sys.modules}
interfaces = sys.modules["RNS.Interfaces"]
found["bound"] = interfaces.I2PInterface is sys.modules[DEFERRED]
got = []
def ask():
    got.append(interfaces.I2PInterface.I2PInterface)
threads = [threading.Thread(target=ask) for _ in range(8)]
for each in threads:
    each.start()
for each in threads:
    each.join()
found["after"] = "asyncio" in sys.modules
found["same"] = len(got) == 8 and len(set(got)) == 1
found["name"] = f"{got[0].__module__}.{got[0].__qualname__}"
found["peer"] = hasattr(interfaces.I2PInterface.I2PInterfacePeer, "TUNNEL_STATE_ACTIVE")
found["nothing"] = hasattr(interfaces.I2PInterface, "no_such_thing")
print(json.dumps(found))
"""


def child(word: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, word],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_it_is_loaded_by_the_first_question_and_whole() -> None:
    plain, deferred = child("plain"), child("defer")
    assert (plain["before"], deferred["before"]) == (True, False)
    assert deferred["finders"] == int(str(plain["finders"])) + 1
    for name in ("bound", "after", "same", "name", "peer", "nothing"):
        assert deferred[name] == plain[name], name
    assert deferred["name"] == "RNS.Interfaces.I2PInterface.I2PInterface"
    assert (deferred["after"], deferred["same"], deferred["nothing"]) == (True, True, False)


def test_run_is_what_defers_it() -> None:
    """The command loads all it needs only when it runs; here it ends for want of a home."""
    code = (
        "import sys; from ciris_mesh.cli.commands import cli\n"
        "try: cli.main(['--config', '/nonexistent', 'run'])\n"
        "except SystemExit: pass\n"
        "print('RNS' in sys.modules, 'asyncio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout.split() == ["True", "False"]
