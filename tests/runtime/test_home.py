"""A home is found where Reticulum users look, is whole or absent, and has one node at a time."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.errors import AlreadyRunning, ConfigError, KeyFileError
from ciris_mesh.runtime import places as places_module
from ciris_mesh.runtime.home import (
    Home,
    HomeLock,
    create_home,
    find_home,
    new_identity,
)
from ciris_mesh.runtime.keyfiles import FederationSeeds, render_key_file
from ciris_mesh.runtime.places import usual_places

SEEDS = FederationSeeds("field-3", bytes(32), bytes(range(32)))
FILES = {
    "config": b"[node]\n",
    "identity": bytes(range(64)),
    "federation.key": render_key_file(SEEDS),
}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: a path with the test's name in it would not fit a socket's address."""
    with tempfile.TemporaryDirectory(prefix="cm-") as name:
        yield Path(name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create_home(tmp_path / "home", FILES)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    monkeypatch.setattr(places_module, "_SYSTEM_HOME", tmp_path / "etc" / "ciris-mesh")
    return usual_places({"HOME": str(tmp_path / "user")})


# --- finding -------------------------------------------------------------------------------------


def test_the_usual_places_are_those_of_the_reticulum_programs() -> None:
    assert [str(path) for path in usual_places({"HOME": "/srv/node"})] == [
        "/etc/ciris-mesh",
        "/srv/node/.config/ciris-mesh",
        "/srv/node/.ciris-mesh",
    ]


def test_the_first_place_with_a_config_is_the_home(
    places: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    env = {"HOME": str(tmp_path / "user")}
    found = places[-1]
    for place in reversed(places):  # each one comes before those already there
        place.mkdir(parents=True)
        assert find_home(env=env).path == found, "a directory without config is no home"
        (place / "config").touch()
        found = place
        assert find_home(env=env).path == found


def test_without_any_home_the_last_place_is_named_and_refused(
    places: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    found = find_home(env={"HOME": str(tmp_path / "user")})
    assert found.path == places[-1]
    assert not found.exists
    with pytest.raises(ConfigError, match=r"no node lives in .*ciris-mesh init --name NAME"):
        found.require()


def test_keys_without_a_config_are_found_and_the_way_back_is_said(
    places: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    lost = create_home(places[1], FILES)
    lost.config.unlink()
    found = find_home(env={"HOME": str(tmp_path / "user")})
    assert found.path == lost.path
    with pytest.raises(ConfigError, match="the node's keys are there; restore it") as caught:
        found.require()
    assert f"--exampleconfig > {lost.config})" in str(caught.value)
    assert "init" not in str(caught.value)


def test_a_given_directory_is_taken_as_it_is(tmp_path: Path, home: Home) -> None:
    assert find_home(home.path).require() == home
    missing = find_home(tmp_path / "a b")
    with pytest.raises(ConfigError, match=r"--config '.*a b'"):
        missing.require()


def test_a_relative_directory_means_the_same_after_a_change_of_directory(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.path.parent)
    found = find_home(Path("home"))
    monkeypatch.chdir("/")
    assert found.exists


# --- creating ------------------------------------------------------------------------------------


def test_a_new_home_is_private_and_holds_everything(home: Home) -> None:
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    for name, data in FILES.items():
        assert (home.path / name).read_bytes() == data
        assert stat.S_IMODE((home.path / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.storage.stat().st_mode) == 0o700
    assert home.database.parent == home.storage
    home.check()


def test_missing_parents_are_made(tmp_path: Path) -> None:
    assert create_home(tmp_path / "a" / "b" / "home", FILES).exists


def test_an_existing_node_is_never_touched(home: Home) -> None:
    with pytest.raises(ConfigError, match="holds a node already"):
        create_home(home.path, {**FILES, "identity": bytes(64)})
    assert home.identity_bytes() == FILES["identity"]


@pytest.mark.parametrize("content", ["file", "directory with something"])
def test_what_is_there_is_never_touched(tmp_path: Path, content: str) -> None:
    target = tmp_path / "home"
    if content == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").touch()
    with pytest.raises(ConfigError, match="not an empty directory"):
        create_home(target, FILES)
    assert target.is_file() or os.listdir(target) == ["mine"]


def test_an_empty_directory_is_filled_in_place(tmp_path: Path) -> None:
    target = tmp_path / "volume"
    target.mkdir(mode=0o755)
    inode = target.stat().st_ino
    assert create_home(target, FILES).exists
    assert target.stat().st_ino == inode
    Home(target).check()


def test_an_empty_directory_others_can_change_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    target.chmod(0o777)
    with pytest.raises(ConfigError, match="chmod go-w"):
        create_home(target, FILES)
    assert os.listdir(target) == []


@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize(("step", "nth"), [("fsync", 1), ("fsync", 4), ("link", 3), ("open", 3)])
def test_a_failing_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, nth: int, there_before: bool
) -> None:
    target = tmp_path / "home"
    if there_before:
        target.mkdir()
    real = getattr(os, step)
    calls = 0

    def fail(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(ConfigError, match=r"cannot create .*No space left"):
        create_home(target, FILES)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == (["home"] if there_before else [])
    assert not there_before or os.listdir(target) == []
    assert create_home(target, FILES).exists  # and nothing is in the way of the next try


KILLED_CREATE = """
import os, signal, sys
from pathlib import Path
from ciris_mesh.runtime.home import create_home

left = int(sys.argv[2])
real = os.link

def die(*args, **kwargs):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

os.link = die
create_home(Path(sys.argv[1]), {"config": b"", "identity": bytes(64), "federation.key": b"x"})
"""


@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_kill_9_leaves_no_half_a_home(tmp_path: Path, nth: int, there_before: bool) -> None:
    target = tmp_path / "home"
    if there_before:
        target.mkdir()
    command = [sys.executable, "-c", KILLED_CREATE, str(target), str(nth)]
    assert subprocess.run(command, check=False, timeout=240).returncode == -signal.SIGKILL
    assert not Home(target).exists
    assert target.exists() is there_before


def test_replacing_moves_the_old_home_aside(home: Home) -> None:
    for number in (1, 2):
        create_home(home.path, {**FILES, "identity": bytes([number]) * 64}, replace=True)
    assert home.identity_bytes() == b"\x02" * 64
    assert Home(home.path.with_name("home.old-1")).identity_bytes() == FILES["identity"]
    assert Home(home.path.with_name("home.old-2")).identity_bytes() == b"\x01" * 64


def test_a_failed_replacement_puts_the_old_home_back(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        create_home(home.path, FILES, replace=True)
    assert home.identity_bytes() == FILES["identity"]
    assert os.listdir(home.path.parent) == ["home"]


def test_a_running_home_is_not_replaced(home: Home) -> None:
    with HomeLock(home), pytest.raises(AlreadyRunning):
        create_home(home.path, FILES, replace=True)
    assert os.listdir(home.path.parent) == ["home"]


def test_new_identities_differ() -> None:
    assert len(new_identity()) == 64
    assert new_identity() != new_identity()


# --- checking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["identity", "federation.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_secret_others_can_read_is_refused_with_the_command(
    home: Home, name: str, mode: int
) -> None:
    path = home.path / name
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"chmod go= {path}") as caught:
        home.check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "config"])
def test_a_home_others_can_change_is_refused_with_the_command(home: Home, name: str) -> None:
    path = home.path / name
    path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(ConfigError, match=f"chmod go-w {path}"):
        home.check()


@pytest.mark.parametrize("name", ["identity", "federation.key"])
def test_a_missing_secret_is_named(home: Home, name: str) -> None:
    (home.path / name).unlink()
    with pytest.raises(KeyFileError, match=f"{name} is missing; restore it"):
        home.check()


@pytest.mark.parametrize("size", [0, 63, 65])
def test_an_identity_of_another_length_is_refused(home: Home, size: int) -> None:
    home.identity.write_bytes(bytes(size))
    with pytest.raises(KeyFileError, match=r"63 bytes, not 64|0 bytes, not 64|longer than 64"):
        home.check()


# --- the lock ------------------------------------------------------------------------------------

HOLD_LOCK = """
import sys
from pathlib import Path
from ciris_mesh.errors import AlreadyRunning
from ciris_mesh.runtime.home import Home, HomeLock

try:
    HomeLock(Home(Path(sys.argv[1]))).acquire()
except AlreadyRunning as error:
    sys.exit(f"{error.pid} {error}")
print("held", flush=True)
sys.stdin.read()
"""


def hold(home: Home) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(home.path)],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def test_a_second_node_is_told_the_process_of_the_first(home: Home) -> None:
    with hold(home) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with hold(home) as second:
            _, said = second.communicate(timeout=240)
        assert second.returncode == 1
        assert said.startswith(f"{first.pid} a node already runs in {home.path}")
        assert f"process {first.pid}" in said
        assert said.count("\n") == 1
        first.kill()
    with HomeLock(home):  # the kernel dropped the lock of the killed one
        assert home.lock.read_text() == f"{os.getpid()}\n"


def test_the_lock_can_be_given_back_and_taken_again(home: Home) -> None:
    lock = HomeLock(home)
    lock.acquire()
    with pytest.raises(AlreadyRunning) as caught:
        HomeLock(home).acquire()
    assert caught.value.pid == os.getpid()
    lock.release()
    lock.release()
    with HomeLock(home):
        pass


def test_a_holder_without_a_name_is_another_process(home: Home) -> None:
    with HomeLock(home):
        home.lock.write_text("garbage")
        with pytest.raises(AlreadyRunning, match="another process") as caught:
            HomeLock(home).acquire()
    assert caught.value.pid is None


def test_a_lock_that_cannot_be_opened_is_one_line(home: Home) -> None:
    home.lock.mkdir()
    with pytest.raises(ConfigError, match="cannot open"):
        HomeLock(home).acquire()


# --- the socket ----------------------------------------------------------------------------------


@pytest.fixture
def runtime_directory(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


def test_the_socket_is_in_the_runtime_directory_one_for_each_home(
    home: Home, runtime_directory: Path
) -> None:
    env = {"XDG_RUNTIME_DIR": str(runtime_directory)}
    path = home.socket_path(env=env)
    assert path.parent == runtime_directory
    assert path != Home(home.path.with_name("other")).socket_path(env=env)
    assert path == Home(home.path / ".." / "home").socket_path(env=env)


@pytest.mark.parametrize("value", ["", "relative", "/nonexistent/run"])
def test_without_a_usable_runtime_directory_it_is_in_the_home(home: Home, value: str) -> None:
    assert home.socket_path(env={"XDG_RUNTIME_DIR": value}) == home.path / "control.sock"
    assert home.socket_path(env={}) == home.path / "control.sock"


def test_a_runtime_directory_open_to_others_is_not_used(
    home: Home, runtime_directory: Path
) -> None:
    runtime_directory.chmod(0o755)
    env = {"XDG_RUNTIME_DIR": str(runtime_directory)}
    assert home.socket_path(env=env).parent == home.path


def test_a_group_is_served_from_the_home_since_the_runtime_directory_is_private(
    home: Home, runtime_directory: Path
) -> None:
    env = {"XDG_RUNTIME_DIR": str(runtime_directory)}
    assert home.socket_path(for_group=True, env=env).parent == home.path


def test_a_path_too_long_for_a_socket_is_avoided_or_refused(
    tmp_path: Path, runtime_directory: Path
) -> None:
    deep = Home(tmp_path / ("x" * 100))
    env = {"XDG_RUNTIME_DIR": str(runtime_directory)}
    assert deep.socket_path(env=env).parent == runtime_directory
    with pytest.raises(ConfigError, match="set XDG_RUNTIME_DIR or move the home"):
        deep.socket_path(env={})
    with pytest.raises(ConfigError, match="too deep"):
        deep.find_socket(env={})


def test_every_socket_path_is_shorter_than_100_bytes() -> None:
    base = "/" + "h" * 80
    for length in range(1, 20):
        home = Home(Path(base + "x" * length))
        try:
            path = home.socket_path(env={})
        except ConfigError:
            assert len(str(home.path / "control.sock")) >= 100
        else:
            assert len(str(path)) < 100


def test_a_node_started_with_another_environment_is_still_found(
    home: Home, runtime_directory: Path
) -> None:
    env = {"XDG_RUNTIME_DIR": str(runtime_directory)}
    assert home.find_socket(env) == home.socket_path(env=env)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home.path / "control.sock"))
        assert home.find_socket(env) == home.path / "control.sock"
