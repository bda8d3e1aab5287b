"""A whole node in one file: keys and settings under a passphrase, then its records.

    backup = "ciris-mesh backup 1\\n" sealed bundle

The sealed part (`sealed`) holds the files that make this node this node, and SHA-256 of the
bundle, so nothing in the file can be exchanged. The bundle is what `export` writes: signed and
public, and admitted record by record when it comes back. Success is said only after the file was
read again from the disk, opened with the passphrase and compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from ciris_mesh.errors import BackupError
from ciris_mesh.records.bundle import BundledRecord, BundleReader
from ciris_mesh.runtime.bundle import Offered, Progress, give_name, items, write_bundle
from ciris_mesh.runtime.files import PRIVATE, TooLarge, UnsafeMode, read_bounded, why
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.sealed import (
    CONTENTS_BYTES_MAX,
    HEAD_BYTES,
    check_passphrase,
    seal,
    sealed_bytes,
    sealed_length,
    unseal,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC: Final = b"ciris-mesh backup 1\n"

#: Every file that makes a node itself. Left out on purpose: logs, sockets, the lock, what
#: Reticulum keeps, and the account of airtime, which is about a radio and its last hour.
_FILES: Final = re.compile(
    r"config|identity|federation\.key|federation\.key\.(old-\d{1,3}|next)|peers|allowed|ignored"
    r"|registries|operators|former|storage/(own-key-record|own-binding|bindings/[0-9a-f]{32})"
)
_MUST: Final = frozenset({"config", "identity", "federation.key"})
_ABOUT: Final = "about"
_READ_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class About:
    """What a backup says of itself; sealed with the rest.

    Attributes:
        made_ms: Unix milliseconds.
        records: how many the bundle holds.
        bundle_bytes: its length.
        bundle_sha256: 32 bytes.
    """

    made_ms: int
    records: int
    bundle_bytes: int
    bundle_sha256: bytes

    def encode(self) -> bytes:
        """Always equally long, so that its place can be kept before it is known."""
        numbers = b"".join(
            number.to_bytes(8, "big") for number in (self.made_ms, self.records, self.bundle_bytes)
        )
        return numbers + self.bundle_sha256

    @classmethod
    def decode(cls, data: bytes) -> About:
        """Raises BackupError for anything `encode` did not write."""
        if len(data) != 3 * 8 + 32:
            raise BackupError("the backup does not say what it holds; use another copy")
        made_ms, records, size = (
            int.from_bytes(data[place : place + 8], "big") for place in (0, 8, 16)
        )
        return cls(made_ms, records, size, data[24:])


@dataclass(frozen=True, slots=True)
class Opened:
    """A backup whose passphrase was right.

    Attributes:
        files: name in the home -> contents. Secret.
        bundle_at: where in the file the records begin.
    """

    about: About
    files: dict[str, bytes] = field(repr=False)
    bundle_at: int


def files_of(home: Home) -> dict[str, bytes]:
    """Read what a backup of this home seals.

    Raises:
        BackupError: a file cannot be read, or others may read a secret.
    """
    files: dict[str, bytes] = {}
    places = [home.path, home.storage, home.storage / "bindings"]
    left = CONTENTS_BYTES_MAX
    for path in sorted(path for place in places if place.is_dir() for path in place.iterdir()):
        name = path.relative_to(home.path).as_posix()
        if not _FILES.fullmatch(name) or not path.is_file():
            continue
        is_key = name == "identity" or name.startswith("federation.key")
        try:
            files[name] = read_bounded(path, bytes_max=left, guard=PRIVATE if is_key else 0)
        except (UnsafeMode, TooLarge) as error:
            raise BackupError(str(error)) from None
        except OSError as error:
            raise BackupError(f"cannot read {path}: {why(error)}") from None
        left -= len(files[name])
    if missing := _MUST - files.keys():
        raise BackupError(f"{home.path} lacks {', '.join(sorted(missing))}: it is no whole node")
    return files


def write_backup(
    path: Path,
    files: dict[str, bytes],
    rows: Iterator[Offered],
    passphrase: str,
    *,
    now_ms: int,
    progress: Progress,
    replace: bool = False,
) -> About:
    """Write a backup, whole or not at all, mode 0600, opened and compared before it gets its name.

    Raises:
        BackupError: the file is there and `replace` is False, or it does not read back.
        OSError: the disk said no; nothing of the new file remains.
    """
    check_passphrase(passphrase)
    if not replace and os.path.lexists(path):
        raise BackupError(f"{path} is there already; choose another name, or add --force")
    staged = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(staged, flags, 0o600), "w+b") as file:
            about = _write(file, files, rows, passphrase, now_ms, progress)
            file.flush()
            os.fsync(file.fileno())
            _read_back(path, file, files, about, passphrase)
        give_name(staged, path, replace=replace)
    except BaseException:
        with contextlib.suppress(OSError):
            staged.unlink()
        raise
    return about


def _write(
    file: BinaryIO,
    files: dict[str, bytes],
    rows: Iterator[Offered],
    passphrase: str,
    now_ms: int,
    progress: Progress,
) -> About:
    """The bundle first, behind the place of the sealed part, which says what the bundle is."""
    bundle_at = len(MAGIC) + sealed_bytes({**files, _ABOUT: About(0, 0, 0, bytes(32)).encode()})
    file.seek(bundle_at)
    records = write_bundle(file, rows, progress)
    size, digest = _measure(file, bundle_at)
    about = About(now_ms, records, size, digest)
    file.seek(0)
    file.write(MAGIC + seal({**files, _ABOUT: about.encode()}, passphrase))
    assert file.tell() == bundle_at, "the sealed part has the length it said it would have"
    return about


def open_backup(file: BinaryIO, passphrase: str, *, keys_only: bool = False) -> Opened:
    """Open a backup and see that all of it is as it was written.

    Args:
        keys_only: never mind the records behind the sealed part.

    Raises:
        BackupError: no backup, another passphrase, or damage.
    """
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise BackupError("this is no backup of ciris-mesh; for a bundle of records use `import`")
    head = file.read(HEAD_BYTES)
    contents = unseal(head + file.read(sealed_length(head)), passphrase)
    bundle_at = file.tell()
    about = About.decode(contents.pop(_ABOUT, b""))
    if not contents.keys() >= _MUST or not all(map(_FILES.fullmatch, contents)):
        raise BackupError("the backup holds other files than a node has; is it from a newer one?")
    if not keys_only and _measure(file, bundle_at) != (about.bundle_bytes, about.bundle_sha256):
        raise BackupError(
            "the keys in this backup are whole, the records behind them are not; use another "
            "copy, or add --keys-only and let peers send the records"
        )
    return Opened(about, contents, bundle_at)


def _measure(file: BinaryIO, at: int) -> tuple[int, bytes]:
    file.seek(at)
    size, digest = 0, hashlib.sha256()
    while data := file.read(_READ_BYTES):
        size += len(data)
        digest.update(data)
    return size, digest.digest()


def _read_back(
    path: Path, file: BinaryIO, files: dict[str, bytes], about: About, passphrase: str
) -> None:
    # From the disk, not from memory: a card that loses what it was given must show it now.
    with contextlib.suppress(OSError, AttributeError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    opened = open_backup(file, passphrase)
    file.seek(opened.bundle_at)
    reader = BundleReader()
    records = sum(isinstance(item, BundledRecord) for item in items(reader, file))
    is_whole = reader.is_complete and records == about.records
    if opened.files != files or opened.about != about or not is_whole:
        raise BackupError(f"{path} does not read back as written; check the disk and try again")


def restored_files(opened: Opened, *, may_sign: bool) -> dict[str, bytes]:
    """What goes into the home.

    The node's own binding stays behind where a new one can be signed: peers may have seen a later
    one since, and would take this for a rollback.
    """
    stale = {"storage/own-binding"} if may_sign else set()
    return {name: data for name, data in opened.files.items() if name not in stale}


def behind(source: BinaryIO, start: int) -> BinaryIO:
    """The part of a file behind a place, as a file of its own. Read only."""
    return io.BufferedReader(_Behind(source, start))


class _Behind(io.RawIOBase):
    def __init__(self, source: BinaryIO, start: int) -> None:
        super().__init__()
        self._source = source
        self._start = start
        source.seek(start)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place counted from the start of this part, or from the end."""
        base = self._start if whence == io.SEEK_SET else 0
        return self._source.seek(base + offset, whence) - self._start

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As the file's own."""
        data = self._source.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        return len(data)
