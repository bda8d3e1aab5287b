"""The database as a file: whose it is, who has it open, and what its errors mean to a person.

Nothing is written to a file that is not ours. One process has the store open at a time: digests
and pools are followed in memory, so a second writer would make them lie.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ciris_mesh.errors import DirectoryError, LifecycleError

#: "CMsh": marks a SQLite file as a ciris-mesh record store (header bytes 68..71).
APPLICATION_ID: Final = 0x434D7368

FILE_MODE: Final = 0o600

#: Only another program looking into the file can make us wait; a backup tool is done by then.
BUSY_TIMEOUT_MS: Final = 10_000

_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID_AT: Final = 68

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNWRITABLE: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
)


class DatabaseLock:
    """An exclusive lock beside the database, released when the process ends, however it ends.

    Raises:
        DirectoryError: another process has it, or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        lock_path = path.with_name(path.name + ".lock")
        with translated(path):
            self._fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DirectoryError(
                f"{path} is in use by another process; stop that node first, or ask it instead"
            ) from None

    def release(self) -> None:
        """Let others open the database. The lock file stays: removing it would race."""
        os.close(self._fd)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the file system into one line that says what to do.

    Raises:
        DirectoryError: instead of sqlite3.Error and OSError.
        LifecycleError: the store was closed meanwhile.
    """
    try:
        yield
    except sqlite3.ProgrammingError as error:
        if "closed" in str(error):
            raise LifecycleError("the directory is closed") from error
        raise
    except sqlite3.Error as error:
        raise DirectoryError(_advice(path, error)) from error
    except OSError as error:
        raise DirectoryError(
            f"cannot write {path}: {error.strerror}; make its folder writable for this user"
        ) from error


def _advice(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _DAMAGED:
        return damaged(path, str(error))
    if code in _BUSY:
        return f"{path} is locked by another program; close whatever has it open"
    if code in _UNWRITABLE:
        return f"cannot write {path}: {error}; make it and its folder writable for this user"
    if code == sqlite3.SQLITE_FULL:
        return f"no room left for {path}; free some space, nothing was half-written"
    return f"{path}: {error}; check the disk and its free space"


def damaged(path: Path, detail: str) -> str:
    """What to tell a person whose store is broken."""
    return (
        f"{path} is damaged ({detail}); move it away and put the newest {path.name}.backup-* in "
        "its place, or start empty and let peers send the records again"
    )


def check_is_ours(path: Path) -> None:
    """Look at the file's first bytes, without opening it as a database or touching anything.

    Raises:
        DirectoryError: not a file, not SQLite, or another program's database.
    """
    if path.is_dir():
        raise DirectoryError(f"{path} is a folder; name a file in it for the record store")
    if path.exists() and not path.is_file():
        raise DirectoryError(f"{path} is a device or pipe; name a file for the record store")
    if not path.parent.is_dir():
        raise DirectoryError(f"{path.parent} does not exist; create it, or run ciris-mesh init")
    if not path.exists():
        return
    with translated(path), path.open("rb") as file:
        header = file.read(100)
    if not header:
        return
    if not header.startswith(_MAGIC):
        raise DirectoryError(
            f"{path} is no record store (or its start is damaged); move it away, or put the "
            f"newest {path.name}.backup-* in its place"
        )
    marked = int.from_bytes(header[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big")
    if marked != APPLICATION_ID and (marked != 0 or _has_tables(path)):
        raise DirectoryError(foreign(path))


def foreign(path: Path) -> str:
    """What to tell a person who pointed us at another program's database."""
    return f"{path} is another program's database; choose another path for the record store"


def _has_tables(path: Path) -> bool:
    """Does an unmarked database hold anything? `immutable`: not even a lock is taken."""
    with translated(path):
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True)
        try:
            found = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        finally:
            connection.close()
    return found is not None


# What is neither int, float, str nor bytearray is adapted first, and where nobody said how, that is
# looked for in three places each time: half of what it costs to bind an id.
sqlite3.register_adapter(bytes, bytes)


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a connection in autocommit mode; transactions are begun by hand.

    Raises:
        sqlite3.Error: wrap in `translated`.
    """
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
    )
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def create_private(path: Path) -> None:
    """Make sure the file exists and only its owner may read it. SQLite's side files follow."""
    with translated(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        path.chmod(FILE_MODE)
        sync_folder(path)


def sync_folder(path: Path) -> None:
    """Force the folder's entry for `path` to disk."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
