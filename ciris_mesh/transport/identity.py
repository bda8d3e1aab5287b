"""The file that holds this node's RNS identity: 64 private bytes, mode 0600.

Written whole or not at all: to a temporary file beside it, flushed to disk, then linked to its
name, which fails when another process was faster. Private bytes are never logged.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from ciris_mesh.errors import KeyFileError
from ciris_mesh.transport import rns_seam

IDENTITY_FILE_BYTES: Final = 64


def load_or_create_identity(path: Path) -> rns_seam.Identity:
    """Load the identity from `path`, or make one there.

    Raises:
        KeyFileError: damaged, readable by others, no file, or the directory cannot be written.
    """
    with suppress(FileExistsError):
        if not path.exists() and not path.is_symlink():
            return _create(path)
    return load_identity(path)


def load_identity(path: Path) -> rns_seam.Identity:
    """Load the identity from `path`.

    Raises:
        KeyFileError: missing, damaged, readable by others, or no file.
    """
    try:
        with path.open("rb") as file:
            _check(path, os.fstat(file.fileno()))
            private_key = file.read(IDENTITY_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read the identity {path}: {error.strerror}") from error
    identity = None
    if len(private_key) == IDENTITY_FILE_BYTES:
        identity = rns_seam.identity_from_bytes(private_key)
    if identity is None:
        raise KeyFileError(
            f"the identity {path} is damaged (want {IDENTITY_FILE_BYTES} bytes): restore it from "
            "a backup, or move it away to get a new address"
        )
    return identity


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"the identity {path} is no plain file: move it away")
    if status.st_mode & 0o077:
        raise KeyFileError(f"others can read the identity {path}: run chmod 600 {path}")
    if status.st_uid != os.geteuid():
        raise KeyFileError(f"the identity {path} belongs to another user: run chown on it")


def _create(path: Path) -> rns_seam.Identity:
    """Make a new identity file; FileExistsError when one appeared meanwhile."""
    identity = rns_seam.new_identity()
    try:
        temporary = _write_beside(path, identity.get_private_key())
        try:
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise KeyFileError(f"cannot write the identity {path}: {error.strerror}") from error
    return identity


def _write_beside(path: Path, content: bytes) -> str:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return name


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
