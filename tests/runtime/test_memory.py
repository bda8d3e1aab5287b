"""Being small is asked of glibc where there is one, and of nobody elsewhere.

Memory is kept while it is in use again and again, and given back when it is not.
"""

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


#: A Deliver of 0x01, as long as they get among mesh nodes.
FRAME_BYTES = 2 << 20
PAGE_BYTES = 4096
#: Allocated and freed so often, with one more copy beside it each time.
TIMES = 200

_FRAMES = f"""
import gc, resource
from pathlib import Path
from ciris_mesh.runtime.memory import be_thrifty, give_back

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * {PAGE_BYTES}

be_thrifty()
before = faults()
for _ in range({TIMES}):
    frame = b"x" * {FRAME_BYTES}
    copy = frame + b"y"
    del frame, copy
print(faults() - before)
small = resident()
large = bytearray({40 << 20})
held = resident()
del large
print(held - small, resident() - small)
many = [b"x" * {FRAME_BYTES // 2} for _ in range(30)]
keeps = b"x" * 100_000
held = resident()
del many
give_back()
print(held - small, resident() - small)
"""


@pytest.fixture(scope="module")
def measured() -> list[list[int]]:
    """What that program prints, by line."""
    if memory._glibc() is None or sys.maxsize < 2**32:
        pytest.skip("needs glibc of 64 bits, where so much may be kept")
    done = subprocess.run([sys.executable, "-c", _FRAMES], capture_output=True, check=True)
    return [[int(number) for number in line.split()] for line in done.stdout.splitlines()]


def test_frames_one_after_the_other_take_the_same_pages(measured: list[list[int]]) -> None:
    (faults,) = measured[0]
    each_time = 2 * FRAME_BYTES // PAGE_BYTES
    assert faults < 8 * each_time, f"{TIMES * each_time} when each frame gets fresh ones"


def test_what_is_longer_than_a_frame_is_given_back_at_once(measured: list[list[int]]) -> None:
    held_bytes, left_bytes = measured[1]
    assert held_bytes >= 40 << 20
    assert left_bytes < 4 << 20


def test_what_a_burst_left_is_given_back_when_asked(measured: list[list[int]]) -> None:
    held_bytes, left_bytes = measured[2]
    assert held_bytes > 20 << 20
    assert left_bytes < 4 << 20
