"""The directory a node lives in: where it is, what is in it, and who may hold it.

    config            ConfigObj text; the directory that holds it is a home
    identity          the 64 secret bytes of the node's Reticulum identity
    federation.key    the seeds it signs with
    peers             whom it exchanges with
    registries        registry nodes pinned by command
    operators         the people who may ask it by message
    former            keys this node and its peers had before
    storage/          the record store
    logfile, lock, control.sock

Reticulum's own configuration is not here and is never written by this program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ciris_mesh.errors import AlreadyRunning, ConfigError, KeyFileError
from ciris_mesh.runtime import places
from ciris_mesh.runtime.files import (
    UNALTERED,
    UnsafeMode,
    refuse_mode,
    sync_directory,
    why,
    write_atomic,
)
from ciris_mesh.runtime.places import CONFIG, FEDERATION_KEY, is_file, usual_places

#: An RNS identity file: 32 bytes of X25519 and 32 of Ed25519 private key.
IDENTITY_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Home:
    """The paths inside one home. Nothing is opened or created by having one."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings; also what makes a directory a home."""
        return self.path / CONFIG

    @property
    def identity(self) -> Path:
        """The Reticulum identity. Secret."""
        return self.path / "identity"

    @property
    def federation_key(self) -> Path:
        """The signing seeds. Secret."""
        return self.path / FEDERATION_KEY

    @property
    def peers(self) -> Path:
        """The peer book."""
        return self.path / "peers"

    @property
    def registries(self) -> Path:
        """Registry nodes pinned by command."""
        return self.path / "registries"

    @property
    def operators(self) -> Path:
        """The people who may ask it by message."""
        return self.path / "operators"

    @property
    def former(self) -> Path:
        """Keys that spoke for this node or its peers before."""
        return self.path / "former"

    @property
    def storage(self) -> Path:
        """The directory of everything replicated."""
        return self.path / "storage"

    @property
    def database(self) -> Path:
        """The record store."""
        return self.storage / "directory.db"

    @property
    def logfile(self) -> Path:
        """Where a service logs when it does not log to stderr."""
        return self.path / "logfile"

    @property
    def lock(self) -> Path:
        """Held by the running node; holds its process id."""
        return self.path / "lock"

    @property
    def exists(self) -> bool:
        """True when this directory holds a `config` this user can see."""
        return is_file(self.config)

    def require(self) -> Self:
        """Return self.

        Raises:
            ConfigError: there is no home here.
        """
        if self.exists:
            return self
        if is_file(self.federation_key):
            config = shlex.quote(str(self.config))
            raise ConfigError(
                f"{self.config} is missing, but the node's keys are there; restore it from your "
                f"backup, or start from the defaults: "
                f"(umask 077; ciris-mesh --exampleconfig > {config})"
            )
        command = f"ciris-mesh init --name NAME --config {shlex.quote(str(self.path))}"
        if self.path == usual_places()[-1]:
            command = "ciris-mesh init --name NAME"
        raise ConfigError(f"no node lives in {self.path}; create one with: {command}")

    def check(self) -> None:
        """Look at who may touch the files that matter.

        Raises:
            ConfigError: not a home, or others can change what is in it.
            KeyFileError: a secret is missing, cut short or readable by others.
        """
        self.require()
        try:
            for path in (self.path, self.config):
                refuse_mode(path, path.stat().st_mode, UNALTERED)
        except UnsafeMode as error:
            raise ConfigError(str(error)) from None
        except OSError as error:
            raise ConfigError(f"cannot look into {self.path}: {why(error)}") from None
        from ciris_mesh.runtime.keyfiles import KEY_FILE_BYTES_MAX, read_secret

        read_secret(self.federation_key, bytes_max=KEY_FILE_BYTES_MAX)
        self.identity_bytes()

    def identity_bytes(self) -> bytes:
        """The 64 secret bytes of the Reticulum identity.

        Raises:
            KeyFileError: missing, of another length or readable by others.
        """
        from ciris_mesh.runtime.keyfiles import read_secret

        data = read_secret(self.identity, bytes_max=IDENTITY_BYTES)
        if len(data) != IDENTITY_BYTES:
            raise KeyFileError(
                f"{self.identity} has {len(data)} bytes, not {IDENTITY_BYTES}; "
                "restore it from your backup"
            )
        return data

    def socket_path(self, *, for_group: bool = False, env: Mapping[str, str] = os.environ) -> Path:
        """Where a node of this home listens for control; see `places.socket_path`."""
        return places.socket_path(self.path, for_group=for_group, env=env)

    def find_socket(self, env: Mapping[str, str] = os.environ) -> Path:
        """Where to call a node of this home; see `places.find_socket`."""
        return places.find_socket(self.path, env)


def find_home(explicit: Path | None = None, *, env: Mapping[str, str] = os.environ) -> Home:
    """The home to use, as `places.home_path` says. Call `require` before using it."""
    return Home(places.home_path(explicit, env=env))


def create_home(path: Path, files: Mapping[str, bytes], *, replace: bool = False) -> Home:
    """Make a home holding `files`, whole or not at all.

    A new directory is built beside its place and renamed. An empty one that exists (a mounted
    volume, `/etc/ciris-mesh` made by a package) is filled, `config` last: without it the
    directory is no home yet.

    Args:
        files: name -> contents; must hold "config". A name may have folders before it. Every
            file is 0600, every folder 0700.
        replace: move a home that is there aside, to `<path>.old-<n>`; it is never deleted.

    Raises:
        ConfigError: there is something already, or the disk said no.
        AlreadyRunning: the home to replace has a running node.
    """
    assert CONFIG in files, "a home is a directory with a config"
    path = Path(os.path.abspath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _create_beside(path, files)
        elif path.is_dir() and not any(path.iterdir()):
            _fill(path, files)
        elif replace and path.is_dir():
            _replace(path, files)
        else:
            raise ConfigError(_occupied(path))
    except OSError as error:
        raise ConfigError(f"cannot create {path}: {why(error)}") from None
    return Home(path)


def new_identity() -> bytes:
    """64 fresh secret bytes: any such bytes are a Reticulum identity."""
    return os.urandom(IDENTITY_BYTES)


def _occupied(path: Path) -> str:
    if is_file(path / CONFIG):
        return f"{path} holds a node already; use it, or choose another directory with --config"
    return f"{path} exists and is not an empty directory; choose another one with --config"


def _create_beside(path: Path, files: Mapping[str, bytes], aside: Path | None = None) -> None:
    """Build a home and let it have its place; what is there gets the name `aside`."""
    staged = path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")
    staged.mkdir(mode=0o700)
    try:
        _fill(staged, files)
        if aside is not None:  # as late as can be: a power cut between the two leaves no home here
            os.rename(path, aside)
        try:
            os.rename(staged, path)
        except BaseException:
            if aside is not None:
                os.rename(aside, path)
            raise
    except BaseException:
        import shutil

        shutil.rmtree(staged, ignore_errors=True)
        raise
    sync_directory(path.parent)


def _fill(path: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into an empty directory; on failure it is empty again."""
    refuse = path.stat().st_mode & 0o022
    if refuse:
        raise ConfigError(
            f"{path} can be changed by others; run: chmod go-w {shlex.quote(str(path))}"
        )
    folders = _folders(files)
    try:
        for folder in folders:
            (path / folder).mkdir(mode=0o700)
        for name in sorted(files, key=lambda name: name == CONFIG):
            write_atomic(path / name, files[name], replace=False)
    except BaseException:
        for name in files:
            with contextlib.suppress(OSError):
                (path / name).unlink()
        for folder in reversed(folders):
            with contextlib.suppress(OSError):
                (path / folder).rmdir()
        raise


def _folders(files: Iterable[str]) -> list[Path]:
    """Those the files need, outer ones first."""
    needed = {parent for name in files for parent in Path(name).parents} - {Path()}
    return sorted(needed | {Path("storage")})


def _replace(path: Path, files: Mapping[str, bytes]) -> None:
    with HomeLock(Home(path)):
        _create_beside(path, files, _free_name(path))


def _free_name(path: Path) -> Path:
    taken = 1
    while os.path.lexists(path.with_name(f"{path.name}.old-{taken}")):
        taken += 1
    return path.with_name(f"{path.name}.old-{taken}")


class HomeLock:
    """One node per home. Use as a context manager, or `acquire` and `release`.

    The kernel drops the lock when the process ends, however it ends, so there is no stale lock.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock and write this process's id into it.

        Raises:
            AlreadyRunning: another process holds it; the text names its id.
            ConfigError: the lock file cannot be opened.
        """
        assert self._fd is None, "a lock is taken once"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._home.lock, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot open {self._home.lock}: {why(error)}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(fd)
            os.close(fd)
            holder = f"process {pid}" if pid else "another process"
            raise AlreadyRunning(
                f"a node already runs in {self._home.path} ({holder}); "
                "stop it first, or use another home with --config",
                pid,
            ) from None
        self._fd = fd
        with contextlib.suppress(OSError):  # a full disk must not keep a node from starting
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back. Idempotent. The file stays: removing it would race."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 16, 0).strip()
    return int(text) if text.isdigit() else None
