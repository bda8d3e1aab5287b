"""`federation.key`: the two seeds this node signs with, as a text file a person can copy.

    ciris-mesh federation key 1
    name = field-3
    ed25519 = <base64 of 32 bytes>
    mldsa65 = <base64 of 32 bytes>
    checksum = <16 hex digits of SHA-256 over the lines above>

The file is 0600, created once and never overwritten; what was written is read back before it
counts. Seeds appear in no text of an error, a repr or a log line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ciris_mesh.errors import KeyFileError
from ciris_mesh.runtime.files import (
    PRIVATE,
    TooLarge,
    UnsafeMode,
    read_bounded,
    why,
    write_atomic,
)
from ciris_mesh.runtime.keyids import NAME_RULE, is_name

if TYPE_CHECKING:
    from ciris_mesh.records.hybrid import FederationKey

SEED_BYTES: Final = 32
#: Five short lines are under 250 bytes; more is another file put in this place.
KEY_FILE_BYTES_MAX: Final = 1024

_TITLE: Final = "ciris-mesh federation key "
_VERSION: Final = "1"
_FIELDS: Final = ("name", "ed25519", "mldsa65", "checksum")
_RESTORE: Final = "restore it from your backup"


@dataclass(frozen=True, slots=True)
class FederationSeeds:
    """What `federation.key` holds: a name and two secret seeds of 32 bytes."""

    name: str
    ed25519: bytes = field(repr=False)
    mldsa65: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise KeyFileError(f"{self.name[:40]!r} is no name for a key: use {NAME_RULE}")
        if len(self.ed25519) != SEED_BYTES or len(self.mldsa65) != SEED_BYTES:
            raise KeyFileError(f"a seed is {SEED_BYTES} bytes long")

    @classmethod
    def generate(cls, name: str) -> FederationSeeds:
        """Draw two fresh seeds from the operating system.

        Raises:
            KeyFileError: the name is not allowed.
        """
        return cls(name, secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES))

    def key(self) -> FederationKey:
        """The key pair these seeds make. Loads the cryptography."""
        from ciris_mesh.records.hybrid import FederationKey

        return FederationKey.from_seeds(self.name, self.ed25519, self.mldsa65)


def render_key_file(seeds: FederationSeeds) -> bytes:
    """The bytes of the file. Secret."""
    body = (
        f"{_TITLE}{_VERSION}\n"
        f"name = {seeds.name}\n"
        f"ed25519 = {base64.b64encode(seeds.ed25519).decode()}\n"
        f"mldsa65 = {base64.b64encode(seeds.mldsa65).decode()}\n"
    )
    return f"{body}checksum = {_checksum(body)}\n".encode("ascii")


def parse_key_file(data: bytes, label: str = "federation.key") -> FederationSeeds:
    """Read the file's bytes back.

    Args:
        label: how errors call the file.

    Raises:
        KeyFileError: not such a file, another version, cut short or altered.
    """
    try:
        text = data.decode("ascii").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise KeyFileError(f"{label} is no federation key file; {_RESTORE}") from None
    title, _, rest = text.partition("\n")
    if not title.startswith(_TITLE):
        raise KeyFileError(f"{label} is no federation key file; {_RESTORE}")
    if (version := title.removeprefix(_TITLE).strip()) != _VERSION:
        raise KeyFileError(
            f"{label} has format {version[:12]!r}, known is {_VERSION}; upgrade ciris-mesh"
        )
    values = _values(rest)
    if values is None:
        raise KeyFileError(f"{label} is cut short or has lines of its own; {_RESTORE}")
    # From the lines' meaning, not their bytes: a copy may have other line ends or spaces.
    seeds = _seeds(values)
    if seeds is None or not render_key_file(seeds).endswith(
        f"checksum = {values['checksum']}\n".encode()
    ):
        raise KeyFileError(f"{label} was altered: its checksum does not match; {_RESTORE}")
    return seeds


def create_key_file(path: Path, seeds: FederationSeeds) -> None:
    """Write a new `federation.key`, durable and read back.

    Raises:
        KeyFileError: there is one already, or it cannot be written.
    """
    try:
        write_atomic(path, render_key_file(seeds), replace=False)
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists already and is never overwritten; move it away first"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {why(error)}") from None
    if read_key_file(path) != seeds:
        raise KeyFileError(f"{path} does not read back as written; check the disk")


def read_key_file(path: Path) -> FederationSeeds:
    """Read `federation.key`.

    Raises:
        KeyFileError: missing, unreadable, readable by others, damaged or of another format.
    """
    return parse_key_file(read_secret(path, bytes_max=KEY_FILE_BYTES_MAX), str(path))


def read_secret(path: Path, *, bytes_max: int) -> bytes:
    """Read a file only its owner may read.

    Raises:
        KeyFileError: missing, unreadable, too long or readable by others.
    """
    try:
        return read_bounded(path, bytes_max=bytes_max, guard=PRIVATE)
    except FileNotFoundError:
        raise KeyFileError(f"{path} is missing; {_RESTORE}") from None
    except (UnsafeMode, TooLarge) as error:
        raise KeyFileError(str(error)) from None
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {why(error)}") from None


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:16]


def _values(text: str) -> dict[str, str] | None:
    """The four fields in their order; None when any is missing or there is more."""
    lines = [line.partition("=") for line in text.splitlines() if line.strip()]
    values = {name.strip(): value.strip() for name, _, value in lines}
    return values if tuple(values) == _FIELDS and len(lines) == len(_FIELDS) else None


def _seeds(values: dict[str, str]) -> FederationSeeds | None:
    try:
        return FederationSeeds(
            values["name"],
            base64.b64decode(values["ed25519"], validate=True),
            base64.b64decode(values["mldsa65"], validate=True),
        )
    except (binascii.Error, KeyFileError):
        return None
