"""A signal ends the wait whichever thread the kernel gave it to."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

TIMEOUT_S = 240.0

#: Sends itself a signal from a second thread, to the thread and when the arguments say. That the
#: main thread waits by then is not needed: a signal that came before counts as well.
PROGRAM = """
import signal, sys, threading
from ciris_mesh.runtime.ending import EndSignals

number, target = signal.Signals[sys.argv[1]], sys.argv[2]
with EndSignals() as ending:
    def send():
        if target == "other thread":
            signal.pthread_kill(threading.get_ident(), number)
        elif target == "main thread":
            signal.pthread_kill(threading.main_thread().ident, number)
    sender = threading.Thread(target=send)
    sender.start()
    if target == "before":
        signal.raise_signal(number)
    ending.wait()
    sender.join()
print("ended well")
"""


def run(number: signal.Signals, target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, number.name, target],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("target", ["main thread", "other thread", "before"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_any_thread_ends_the_wait(number: signal.Signals, target: str) -> None:
    done = run(number, target)

    assert (done.returncode, done.stdout, done.stderr) == (0, "ended well\n", "")


def test_another_signal_with_a_handler_does_not_end_it() -> None:
    program = PROGRAM.replace(
        "    ending.wait()",
        "    signal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))\n"
        "    signal.raise_signal(signal.SIGUSR1)\n"
        "    threading.Timer(0.3, signal.raise_signal, [number]).start()\n"
        "    ending.wait()\n"
        "    print('waited', flush=True)",
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "SIGTERM", "nobody"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.stdout.splitlines() == ["usr1", "waited", "ended well"], done.stderr


def test_a_wait_may_have_an_end() -> None:
    program = """
from ciris_mesh.runtime.ending import EndSignals
import signal
with EndSignals() as ending:
    assert ending.wait(0.0) is False
    assert ending.wait(0.05) is False
    signal.raise_signal(signal.SIGTERM)
    assert ending.wait(240) is True
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=TIMEOUT_S)
