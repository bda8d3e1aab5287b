"""Being small is asked of glibc where there is one, and of nobody elsewhere."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from ciris_mesh.runtime import memory

#: Threads that each hold a little and let it go: how much stays with the process.
_PROGRAM = """
import sys, threading
from ciris_mesh.runtime.memory import be_thrifty, settle
if sys.argv[1] == "thrifty":
    be_thrifty()
ready = threading.Barrier(25)
def hold():
    pieces = [bytes(700) for _ in range(3000)]
    ready.wait(240)
    del pieces
    ready.wait(240)
threads = [threading.Thread(target=hold) for _ in range(24)]
for one in threads: one.start()
ready.wait(240); ready.wait(240)
for one in threads: one.join()
if sys.argv[1] == "thrifty":
    settle()
print(open("/proc/self/statm").read().split()[1])
"""


def resident(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_what_threads_let_go_is_given_back() -> None:
    if memory._glibc() is None:
        pytest.skip("needs glibc")
    assert resident("thrifty") < resident("as it is")


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    memory.be_thrifty()
    memory.settle()
    gc.unfreeze()
