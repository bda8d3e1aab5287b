"""A few files under a passphrase: what a backup keeps secret, and keeps from being changed.

    sealed = kdf (4 x u32: version, log2 n, r, p) salt (16) nonce (12) u32:length ciphertext

The passphrase goes through scrypt (RFC 7914); ChaCha20-Poly1305 (RFC 8439) covers the contents and
everything before them. The contents are a msgpack map: name -> bytes.
"""

from __future__ import annotations

import os
import struct
import unicodedata
from collections.abc import Mapping
from typing import Final

import msgpack  # type: ignore[import-untyped]

from ciris_mesh.errors import BackupError

#: 64 MB and a third of a second on a desk machine, a few seconds on a board with 512 MB: as much
#: as a person waits for, and it is asked for once a year.
_LOG2_N: Final = 16
_R: Final = 8
_P: Final = 1
#: A file from a stick must not make this machine take more than 256 MB or a minute.
_LOG2_N_MAX: Final = 18
_VERSION: Final = 1

_HEAD: Final = struct.Struct(">4I16s12sI")
HEAD_BYTES: Final = _HEAD.size
_TAG_BYTES: Final = 16
#: 4,096 bindings of 3.4 kB are 14 MB, a book of 10,000 peers 6 MB.
CONTENTS_BYTES_MAX: Final = 32 << 20

#: What makes guessing dear is scrypt; below this it is cheap all the same.
PASSPHRASE_CHARS_MIN: Final = 12
PASSPHRASE_CHARS_MAX: Final = 1024


def check_passphrase(passphrase: str) -> None:
    """Return when it is long enough.

    Raises:
        BackupError: it is not.
    """
    if not PASSPHRASE_CHARS_MIN <= len(passphrase) <= PASSPHRASE_CHARS_MAX:
        raise BackupError(
            f"a passphrase has {PASSPHRASE_CHARS_MIN} to {PASSPHRASE_CHARS_MAX} characters; "
            "five or six words chosen by dice are easy to write down and hard to guess"
        )


def sealed_bytes(contents: Mapping[str, bytes]) -> int:
    """How long `seal` of these contents will be."""
    return HEAD_BYTES + len(_packed(contents)) + _TAG_BYTES


def seal(contents: Mapping[str, bytes], passphrase: str) -> bytes:
    """Encrypt and authenticate.

    Raises:
        BackupError: the passphrase is too short or no text, or the contents are too large.
    """
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    check_passphrase(passphrase)
    plain = _packed(contents)
    if len(plain) > CONTENTS_BYTES_MAX:
        raise BackupError(f"{len(plain)} bytes are more than a backup's sealed part may hold")
    salt, nonce = os.urandom(16), os.urandom(12)
    head = _HEAD.pack(_VERSION, _LOG2_N, _R, _P, salt, nonce, len(plain) + _TAG_BYTES)
    key = _derive(passphrase, salt, _LOG2_N, _R, _P)
    return head + ChaCha20Poly1305(key).encrypt(nonce, plain, head)


def sealed_length(head: bytes) -> int:
    """How many bytes follow a head of `HEAD_BYTES`.

    Raises:
        BackupError: it is none, or of another version.
    """
    return _read_head(head)[-1]


def unseal(sealed: bytes, passphrase: str) -> dict[str, bytes]:
    """Decrypt what `seal` made.

    Raises:
        BackupError: another passphrase, altered or cut bytes, or another version.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    head, body = sealed[:HEAD_BYTES], sealed[HEAD_BYTES:]
    log2_n, r, p, salt, nonce, length = _read_head(head)
    if len(body) != length:
        raise BackupError("the backup is cut short; use another copy")
    key = _derive(passphrase, salt, log2_n, r, p)
    try:
        plain = ChaCha20Poly1305(key).decrypt(nonce, body, head)
    except InvalidTag:
        raise BackupError(
            "this passphrase does not open it; if you are sure of the passphrase, the file is "
            "damaged: use another copy"
        ) from None
    return _unpacked(plain)


def _packed(contents: Mapping[str, bytes]) -> bytes:
    packed: bytes = msgpack.packb(dict(contents))
    return packed


def _unpacked(plain: bytes) -> dict[str, bytes]:
    try:
        contents = msgpack.unpackb(plain)
    except ValueError:
        contents = None
    if not isinstance(contents, dict) or not all(
        isinstance(name, str) and isinstance(data, bytes) for name, data in contents.items()
    ):
        raise BackupError("the backup was made by another program; it opens, and holds no files")
    return contents


def _read_head(head: bytes) -> tuple[int, int, int, bytes, bytes, int]:
    if len(head) != HEAD_BYTES:
        raise BackupError("the backup is cut short; use another copy")
    version, log2_n, r, p, salt, nonce, length = _HEAD.unpack(head)
    if version != _VERSION:
        raise BackupError(f"the backup has format {version}, known is {_VERSION}; upgrade")
    sensible = 1 <= log2_n <= _LOG2_N_MAX and r == _R and p == _P
    if not sensible or not _TAG_BYTES <= length <= CONTENTS_BYTES_MAX + _TAG_BYTES:
        raise BackupError("the backup's head is damaged; use another copy")
    return log2_n, r, p, salt, nonce, length


def _derive(passphrase: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    # Keyboards differ in how they make an accented letter; composed, it is the same everywhere.
    composed = unicodedata.normalize("NFC", passphrase)
    try:
        secret = composed.encode()
    except UnicodeEncodeError:
        raise BackupError("the passphrase is no text in UTF-8; is this terminal set so?") from None
    return Scrypt(salt=salt, length=32, n=1 << log2_n, r=r, p=p).derive(secret)
