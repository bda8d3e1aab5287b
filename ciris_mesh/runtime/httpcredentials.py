"""Who may post frames here over HTTP, and where this node posts its own: one private file.

    accept KEY_ID token SECRET              whoever shows this bearer token is that registry
    accept KEY_ID cert SHA256               whoever holds the client certificate with this hash is
    post KEY_ID URL token SECRET            frames for that registry go there, with this token
    post KEY_ID URL cert CERT.pem KEY.pem   ... or with this client certificate

`#` starts a comment. The file is as secret as the keys: it must be readable by its owner alone.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.files import PRIVATE, TooLarge, UnsafeMode, read_bounded, why

#: A hundred lines of the longest sort.
FILE_BYTES_MAX: Final = 64 * 1024

#: What a guesser needs for ever: 128 bits of hex or base64. Shorter is a password.
TOKEN_CHARS_MIN: Final = 22
TOKEN_CHARS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class PostTarget:
    """Where a registry takes frames. Exactly one of `token` and `cert` is set."""

    url: str
    token: str = field(default="", repr=False)
    cert: Path | None = None
    cert_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the file says.

    Attributes:
        accepted: SHA-256 of a token, or of a certificate in DER form -> whose it is.
        targets: key id -> where to post.
    """

    accepted: Mapping[bytes, str] = field(default_factory=dict, repr=False)
    targets: Mapping[str, PostTarget] = field(default_factory=dict)

    def by_token(self, token: str) -> str | None:
        """Whose bearer token this is; None when it is nobody's."""
        return self._find(hashlib.sha256(token.encode()).digest())

    def by_certificate(self, der: bytes) -> str | None:
        """Whose client certificate this is; None when it is nobody's."""
        return self._find(hashlib.sha256(der).digest())

    def _find(self, digest: bytes) -> str | None:
        found = None
        for known, key_id in self.accepted.items():  # all of them: time tells nothing
            if hmac.compare_digest(known, digest):
                found = key_id
        return found


def load_credentials(path: Path) -> Credentials:
    """Read the file; without one nobody is known.

    Raises:
        ConfigError: others can read it, it cannot be read, or a line is none of the four.
    """
    try:
        data = read_bounded(path, bytes_max=FILE_BYTES_MAX, guard=PRIVATE)
    except FileNotFoundError:
        return Credentials()
    except (UnsafeMode, TooLarge) as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {why(error)}") from None
    return parse_credentials(data, str(path))


def parse_credentials(data: bytes, label: str = "credentials") -> Credentials:
    """Read the bytes of such a file. Raises as `load_credentials`."""
    accepted: dict[bytes, str] = {}
    targets: dict[str, PostTarget] = {}
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        words = line.split("#")[0].split()
        try:
            match words:
                case []:
                    continue
                case ["accept", key_id, "token", token] if _is_token(token):
                    accepted[hashlib.sha256(token.encode()).digest()] = key_id
                case ["accept", key_id, "cert", digits] if len(bytes.fromhex(digits)) == 32:
                    accepted[bytes.fromhex(digits)] = key_id
                case ["post", key_id, url, "token", token] if _is_url(url) and _is_token(token):
                    targets[key_id] = PostTarget(url, token=token)
                case ["post", key_id, url, "cert", cert, key] if _is_url(url):
                    targets[key_id] = PostTarget(url, cert=Path(cert), cert_key=Path(key))
                case _:
                    raise ValueError("none of the four")
        except ValueError:
            raise ConfigError(
                f"{label}, line {number}: write accept KEY_ID token SECRET, accept KEY_ID cert "
                "SHA256, post KEY_ID URL token SECRET, or post KEY_ID URL cert CERT KEY; a token "
                f"has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} characters"
            ) from None
    return Credentials(accepted, targets)


def _is_token(token: str) -> bool:
    return TOKEN_CHARS_MIN <= len(token) <= TOKEN_CHARS_MAX and token.isascii()


def _is_url(url: str) -> bool:
    """https, or http to this machine: a token must not cross a network in the open."""
    parts = urlsplit(url)
    is_here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_here)
    )
