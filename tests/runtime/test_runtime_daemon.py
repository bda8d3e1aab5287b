"""A daemon that cannot start says why in one line and leaves nothing behind.

That it starts, serves, and ends on a signal is shown with real processes in `tests/rns`.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ciris_mesh.runtime.home import Home, HomeLock
from ciris_mesh.runtime.setup import new_node

#: In a process of its own: `run` wants the main thread, and sets the log level of the package.
PROGRAM = """
import json, sys, threading
from pathlib import Path
from ciris_mesh.errors import OperatorError
from ciris_mesh.runtime.daemon import RunOptions, run
from ciris_mesh.runtime.home import Home
try:
    run(Home(Path(sys.argv[1])), RunOptions(rns_config_dir=Path(sys.argv[1]) / "rns"))
except OperatorError as error:
    threads = [thread.name for thread in threading.enumerate()]
    print(json.dumps([type(error).__name__, str(error), threads]))
"""


def start(home: Home) -> tuple[str, str, list[str]]:
    """What `run` raised, its text, and the threads that were left."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(home.path)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    name, text, threads = json.loads(done.stdout)
    return name, text, threads


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_node(tmp_path / "home", "alice")


def foreign_database(home: Home) -> None:
    with sqlite3.connect(home.database) as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    database.close()


BROKEN: dict[str, tuple[Callable[[Home], object], str]] = {
    "foreign database": (foreign_database, "DirectoryError"),
    "damaged peers": (lambda home: home.peers.write_text("{"), "ConfigError"),
    "readable key": (lambda home: home.federation_key.chmod(0o644), "KeyFileError"),
}


@pytest.mark.parametrize(("break_it", "name"), BROKEN.values(), ids=BROKEN)
def test_what_a_person_must_put_right_is_said_and_nothing_is_left_running(
    home: Home, break_it: Callable[[Home], object], name: str
) -> None:
    home.storage.mkdir(exist_ok=True)
    break_it(home)
    raised, text, threads = start(home)
    assert raised == name
    assert text
    assert "\n" not in text
    assert threads == ["MainThread"]
    with HomeLock(home):
        pass  # nobody holds the home any more
    assert not home.socket_path().exists()


def test_without_a_home_it_says_how_to_make_one(tmp_path: Path) -> None:
    _, text, _ = start(Home(tmp_path / "nowhere"))
    assert "ciris-mesh init" in text
    assert not (tmp_path / "nowhere").exists()


def test_a_home_that_is_taken_is_left_alone(home: Home) -> None:
    with HomeLock(home):
        raised, _, threads = start(home)
    assert raised == "AlreadyRunning"
    assert threads == ["MainThread"]


CLIENT = "[interfaces]\n[[hub]]\ntype = TCPClientInterface\nenabled = yes\ntarget_host = ::1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{CLIENT}target_port = many\n", "target_port = many of the Reticulum interface hub"),
        ("[reticulum]\nshared_instance_port = many\n", "Reticulum does not start with"),
    ],
)
def test_a_setting_reticulum_chokes_on_is_one_line(home: Home, text: str, said: str) -> None:
    (home.path / "rns").mkdir()
    (home.path / "rns" / "config").write_text(f"{text}[logging]\nloglevel = 0\n")
    name, line, _ = start(home)
    assert name == "ConfigError"
    assert said in line
    assert "\n" not in line
