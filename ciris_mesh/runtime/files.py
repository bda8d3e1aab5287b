"""Small files that must be whole or absent: atomic writes, bounded and guarded reads.

A file is written beside its place under another name, forced to disk, and only then given its
name; the directory is forced to disk after that. A power cut leaves the old file or the new one.
These functions raise OSError; the callers know what the file is and say so in one line.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path

from ciris_mesh.errors import ConfigError

_OTHERS_READ = 0o077
_OTHERS_WRITE = 0o022


class UnsafeMode(Exception):
    """Others may do with the file what only its owner should. The text holds the command."""


class TooLarge(Exception):
    """The file is longer than anything this program ever writes there."""


def write_atomic(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write `data` to `path` with mode 0600, whole or not at all, durable on return.

    Raises:
        FileExistsError: the file is there and `replace` is False.
        OSError: the disk said no; nothing of the new file remains.
    """
    staged = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        _write_new(staged, data)
        if replace:
            os.replace(staged, path)
        else:
            os.link(staged, path)  # unlike rename, this fails when the name is taken
            staged.unlink()
    except BaseException:
        with contextlib.suppress(OSError):
            staged.unlink()
        raise
    sync_directory(path.parent)


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make names created, replaced or removed in `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_bounded(path: Path, *, bytes_max: int, guard: int = 0) -> bytes:
    """Read a regular file of at most `bytes_max` bytes.

    Args:
        guard: mode bits nobody else may have: `PRIVATE` or `UNALTERED`.

    Raises:
        UnsafeMode: the file has one of the `guard` bits.
        TooLarge: it is longer than `bytes_max`.
        OSError: it cannot be read, or is a directory, pipe or device.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hang us
    with open(fd, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no regular file")
        refuse_mode(path, found.st_mode, guard)
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise TooLarge(f"{path} is longer than {bytes_max} bytes")
    return data


def read_if_there(path: Path, *, bytes_max: int, guard: int) -> bytes | None:
    """As `read_bounded`; None when there is no file.

    Raises:
        ConfigError: it cannot be read or trusted; the text says what to do.
    """
    try:
        return read_bounded(path, bytes_max=bytes_max, guard=guard)
    except FileNotFoundError:
        return None
    except (UnsafeMode, TooLarge) as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {why(error)}") from None


#: Guard of secrets: nobody else may even read them.
PRIVATE = _OTHERS_READ
#: Guard of decisions: others may read, nobody else may change them.
UNALTERED = _OTHERS_WRITE


def refuse_mode(path: Path, mode: int, guard: int) -> None:
    """Raise UnsafeMode when `mode` has one of the `guard` bits."""
    if mode & guard:
        verb, fix = ("read", "go=") if guard == PRIVATE else ("changed", "go-w")
        raise UnsafeMode(
            f"{path} can be {verb} by others (mode {stat.S_IMODE(mode):04o}); "
            f"run: chmod {fix} {shlex.quote(str(path))}"
        )


def why(error: OSError) -> str:
    """The system's words for `error`, without numbers and paths."""
    return error.strerror or str(error)
