"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.runtime.files import (
    PRIVATE,
    UNALTERED,
    TooLarge,
    UnsafeMode,
    read_bounded,
    write_atomic,
)

#: Every call to the system that a write makes, in order.
STEPS = ("open", "fchmod", "fsync", "replace")


def test_what_is_written_is_read_back_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    previous = os.umask(0)
    try:
        write_atomic(path, b"one")
    finally:
        os.umask(previous)
    assert read_bounded(path, bytes_max=3, guard=PRIVATE) == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_replaces_unless_told_not_to(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    with pytest.raises(FileExistsError):
        write_atomic(path, b"three", replace=False)
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", STEPS)
def test_a_failing_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


KILLED_WRITE = """
import os, signal, sys
from pathlib import Path
from ciris_mesh.runtime.files import write_atomic

step, count, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
real = getattr(os, step)

def die(*args, **kwargs):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

setattr(os, step, die)
write_atomic(path, b"new" * 1000)
"""


@pytest.mark.parametrize(
    ("step", "nth", "found"),
    [("fchmod", 1, b"old"), ("fsync", 1, b"old"), ("replace", 1, b"old"), ("fsync", 2, b"new")],
)
def test_kill_9_leaves_a_whole_file(tmp_path: Path, step: str, nth: int, found: bytes) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old" * 1000)
    command = [sys.executable, "-c", KILLED_WRITE, step, str(nth), str(path)]
    done = subprocess.run(command, check=False, timeout=240)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == found * 1000


def test_a_longer_file_than_expected_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"12345")
    assert read_bounded(path, bytes_max=5) == b"12345"
    with pytest.raises(TooLarge, match="longer than 4 bytes"):
        read_bounded(path, bytes_max=4)


@pytest.mark.parametrize(
    ("mode", "guard", "command"),
    [
        (0o640, PRIVATE, "chmod go= "),
        (0o604, PRIVATE, "chmod go= "),
        (0o620, UNALTERED, "chmod go-w "),
        (0o602, UNALTERED, "chmod go-w "),
    ],
)
def test_what_others_may_do_is_refused_with_the_command(
    tmp_path: Path, mode: int, guard: int, command: str
) -> None:
    path = tmp_path / "a file"
    write_atomic(path, b"x")
    path.chmod(mode)
    with pytest.raises(UnsafeMode) as caught:
        read_bounded(path, bytes_max=10, guard=guard)
    assert command + f"'{path}'" in str(caught.value)
    assert f"{mode:04o}" in str(caught.value)
    assert read_bounded(path, bytes_max=10) == b"x"


def test_reading_by_others_does_not_matter_where_only_changing_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"x")
    path.chmod(0o644)
    assert read_bounded(path, bytes_max=10, guard=UNALTERED) == b"x"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_directory_is_an_error_and_no_hang(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "it")
    with pytest.raises(OSError, match=r"regular file|directory"):
        read_bounded(tmp_path / "it", bytes_max=10)
