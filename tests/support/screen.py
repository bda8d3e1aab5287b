"""A machine of one's own for a person who types: a terminal of 80 columns, a home, a network.

The terminal is tmux, the home an empty directory, and the network a namespace with nothing but
loopback in it: so Reticulum's usual names and ports are free, and the machine's own are left alone.
A test types, and waits for what the screen says. It never waits for time to pass.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

#: Anything a person waits for; what it really takes are seconds. The rest is for busy machines: a
#: command that waits gives up by itself after 300.
PATIENCE_S: Final = 400.0
COLUMNS: Final = 80
_LINES: Final = 50
_LOOK_S: Final = 0.1
#: Command number and exit code stand in the prompt, so it can be told which one is done.
_PROMPT: Final = r"<\#:$?> "
_PROMPTS: Final = re.compile(r"^<(\d+):(\d+)> ?", re.MULTILINE)

needs_a_machine: Final = pytest.mark.skipif(
    "CI" not in os.environ
    and (
        os.geteuid() != 0
        or shutil.which("tmux") is None
        or subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode
        != 0
    ),
    reason="needs root, tmux and network namespaces",
)


class Screen:
    """One window, in which one person works."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self.name = name

    def type(self, line: str) -> None:
        """Type a line, and Enter."""
        self._tmux("send-keys", "-t", self._target, "-l", line)
        self._tmux("send-keys", "-t", self._target, "Enter")

    def press(self, key: str) -> None:
        """Press one key, such as C-c."""
        self._tmux("send-keys", "-t", self._target, key)

    def shows(self) -> str:
        """All that this screen showed, lines that the terminal broke joined again."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", self._target)

    def wait(self, *texts: str) -> None:
        """Return when all of `texts` stand on the screen. Where lines break is left open."""
        for text in texts:
            pattern = r"\s+".join(map(re.escape, text.split()))
            self._until(lambda shown: re.search(pattern, shown), f"never said {text!r}")  # noqa: B023

    def answer(self, question: str, reply: str) -> None:
        """Wait until the question is the last thing there, and answer it."""
        self._until(lambda shown: question in shown.rstrip().rpartition("\n")[2], question)
        self.type(reply)

    def begin(self, line: str) -> None:
        """Type a command that asks or goes on; `finish` waits for its end."""
        self._number = self._ready()
        self.type(line)

    def finish(self, code: int = 0) -> str:
        """Wait for the end of the command that was begun. Returns what it said."""
        number = self._number
        self._until(lambda shown: _last_prompt(shown)[0] > number, "the command never ended")
        shown = self.shows()
        assert _last_prompt(shown)[1] == code, shown
        said = re.split(rf"^<{number}:\d+> ?", shown, flags=re.MULTILINE)[-1]
        return _PROMPTS.split(said)[0].partition("\n")[2]

    def run(self, line: str, code: int = 0) -> str:
        """Type a command, and return what it said."""
        self.begin(line)
        return self.finish(code)

    def until(self, line: str, *texts: str) -> str:
        """Type a command again and again until it says all of `texts`, as people do."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            said = " ".join(self.run(line).split())
            if all(text in said for text in texts):
                return said
            assert time.monotonic() < end_s, f"{line} never said {texts}: {said}"
            time.sleep(_LOOK_S)

    def watch(self, line: str, *texts: str) -> None:
        """Look at a live view, which has the screen for itself, until it says all of `texts`."""
        self.begin(line)
        self._until(
            lambda shown: line not in shown and all(text in shown for text in texts), str(texts)
        )
        self.press("C-c")
        self.finish()

    def pull_the_plug(self) -> None:
        """End what runs in this window, without a word to it."""
        shell = self._tmux("display-message", "-p", "-t", self._target, "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        self.finish(code=128 + signal.SIGKILL)

    def _ready(self) -> int:
        def is_ready(shown: str) -> bool:
            return bool(_PROMPTS.fullmatch(shown.rstrip().rpartition("\n")[2].rstrip() + " "))

        self._until(is_ready, "no prompt")
        return _last_prompt(self.shows())[0]

    def _until(self, is_so: Callable[[str], object], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so(shown := self.shows()):
            assert time.monotonic() < end_s, f"{self.name}: {what}\n{shown}"
            time.sleep(_LOOK_S)

    @property
    def _target(self) -> str:
        return f"={self.name}:"

    def _tmux(self, *words: str) -> str:
        return self._machine.tmux(*words)


def _last_prompt(shown: str) -> tuple[int, int]:
    """(number, exit code of the command before it) of the latest prompt."""
    found = _PROMPTS.findall(shown)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)


class Machine:
    """Loopback, homes below `root`, and windows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.screens: list[Screen] = []
        self._socket = root / "tmux"
        self._server = 0

    def person(self, name: str, **more: str) -> Screen:
        """A window with a home of its own, `root/name`."""
        home = self.root / name
        home.mkdir(exist_ok=True)
        return self.window(name, home, more)

    def another(self, screen: Screen, name: str) -> Screen:
        """One more window for the same person."""
        return self.window(name, self.home(screen), {})

    def home(self, screen: Screen) -> Path:
        """Where a person's files are."""
        return self.root / screen.name.partition("-")[0]

    def window(self, name: str, home: Path, more: Mapping[str, str]) -> Screen:
        """Open a window: a plain bash in a home, which finds the commands that are tested."""
        environment = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PS1": _PROMPT,
            "CIRIS_MESH_CLOCK": "assume-trusted",
            "LANG": "C.UTF-8",
            **more,
        }
        shell = ["env", "-i", *(f"{key}={value}" for key, value in environment.items())]
        shell += ["TERM=screen", "bash", "--norc", "--noprofile"]
        session = ("new-session", "-d", "-x", str(COLUMNS), "-y", str(_LINES), "-s", name)
        if self._server:
            self.tmux(*session, "-c", str(home), *shell)
        else:
            self._start(*session, "-c", str(home), *shell)
        screen = Screen(self, name)
        self.screens.append(screen)
        return screen

    def inside(self, *words: str) -> list[str]:
        """A command line that runs `words` in this machine's network."""
        return ["nsenter", f"--net=/proc/{self._server}/ns/net", *words]

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _start(self, *session: str) -> None:
        settings = self.root / "tmux.conf"
        settings.write_text("set -g history-limit 20000\nset -g exit-empty off\n")
        script = f'ip link set lo up && exec tmux -S {self._socket} -f {settings} "$@"'
        subprocess.run(["unshare", "-n", "sh", "-c", script, "sh", *session], check=True)
        self._server = int(self.tmux("display-message", "-p", "#{pid}"))

    def close(self) -> None:
        """End everything in it, and return when it has ended: a shell writes down what was typed.

        Nodes end with their window; what has not after `PATIENCE_S` is killed.
        """
        network = _network_of(self._server) if self._server else 0
        if not network:  # the server is gone, or never was
            return
        self.tmux("kill-server")
        end_s = time.monotonic() + PATIENCE_S
        while inside := [pid for pid in _processes() if _network_of(pid) == network]:
            if time.monotonic() > end_s:
                for pid in inside:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return
            time.sleep(_LOOK_S)


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def _network_of(pid: int) -> int:
    """Which network a process is in; 0 for one that ended."""
    with suppress(OSError):
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    return 0


@contextmanager
def a_machine() -> Iterator[Machine]:
    """One, in a directory whose path is short enough for sockets and readable lines."""
    root = Path(tempfile.mkdtemp(prefix="cj-", dir="/tmp"))
    made = Machine(root)
    try:
        yield made
    finally:
        for screen in made.screens:
            print(f"--- {screen.name}\n{screen.shows()[-6000:]}", file=sys.stderr)  # noqa: T201
        made.close()
        shutil.rmtree(root)


def fits(said: str) -> None:
    """Assert that no line is longer than the terminal. Commands to be copied may be."""
    for line in said.splitlines():
        assert len(line.rstrip()) <= COLUMNS or line.lstrip().startswith("run: "), line
