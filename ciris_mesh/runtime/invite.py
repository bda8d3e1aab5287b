"""One pasteable line that says how to reach a node and which key to expect there.

    ciris-mesh:1:<lowercase base32, no padding, of:>

    u8 length of all that follows | u8 form | 32 fingerprint | 16 address | ASCII id | 4 checksum

`form` 0: the id is the name alone and the key id is that name with the fingerprint's digest, so it
cannot disagree. `form` 1: the id is a whole key id of another form (registry nodes). The checksum
is the start of SHA-256 over what precedes it; base32 has no letters a person takes for digits.

An invite holds no secret and grants nothing: adding it is the other side's decision.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import InviteError
from ciris_mesh.runtime.keyids import (
    FINGERPRINT_BYTES,
    contradicts,
    is_key_id,
    is_name,
    self_certifying_name,
    suffix,
)

ADDRESS_BYTES: Final = 16
#: The longest invite has 305 characters; this leaves room for line breaks and quote marks.
INVITE_CHARS_MAX: Final = 4096

_PREFIX: Final = "ciris-mesh:"
_VERSION: Final = "1"
_CHECKSUM_BYTES: Final = 4
_CHECKSUM_DOMAIN: Final = b"ciris-mesh/invite/v1"
_FORM_NAME: Final = 0
_FORM_KEY_ID: Final = 1
_FIXED_BYTES: Final = 1 + FINGERPRINT_BYTES + ADDRESS_BYTES + _CHECKSUM_BYTES
#: What mail programs, chats and shells put around or into a line.
_WRAPPING: Final = re.compile(
    r"""[\s"'`<>\u00ab\u00bb\u2018\u2019\u201c\u201d\u200b\u200e\u200f\u2060\ufeff]+"""
)
_NOT_BASE32: Final = re.compile(r"[^a-z2-7]")


@dataclass(frozen=True, slots=True)
class Invite:
    """Who the invite is from.

    Attributes:
        fingerprint: 32 bytes, SHA-256 of the two public key halves.
        address: 16 bytes, the RNS identity hash.
    """

    key_id: str
    fingerprint: bytes
    address: bytes


def make_invite(key_id: str, fingerprint: bytes, address: bytes) -> str:
    """The line to hand out.

    Raises:
        InviteError: the key id certifies another fingerprint, or is no key id.
    """
    assert len(fingerprint) == FINGERPRINT_BYTES, "a fingerprint is a SHA-256"
    assert len(address) == ADDRESS_BYTES, "an address is 16 bytes"
    _check_key_id(key_id, fingerprint)
    name = self_certifying_name(key_id, fingerprint)
    form, text = (_FORM_KEY_ID, key_id) if name is None else (_FORM_NAME, name)
    body = bytes([form]) + fingerprint + address + text.encode("ascii")
    body = bytes([len(body) + _CHECKSUM_BYTES]) + body
    return f"{_PREFIX}{_VERSION}:{_base32(body + _checksum(body))}"


def parse_invite(text: str) -> Invite:
    """Read an invite back, with whatever a mail program or a chat did around it.

    Raises:
        InviteError: not an invite, cut short, mistyped or of a newer version; the text says so.
    """
    payload = _decode(_letters(text))
    body, checksum = payload[:-_CHECKSUM_BYTES], payload[-_CHECKSUM_BYTES:]
    if checksum != _checksum(body):
        raise _mistyped()
    form, body = body[1], body[2:]
    fingerprint, body = body[:FINGERPRINT_BYTES], body[FINGERPRINT_BYTES:]
    address, ident = body[:ADDRESS_BYTES], body[ADDRESS_BYTES:]
    key_id = ident.decode("ascii", errors="replace")
    if form == _FORM_NAME and is_name(key_id):
        key_id = f"{key_id}-{suffix(fingerprint)}"
    elif form != _FORM_KEY_ID or self_certifying_name(key_id, fingerprint) is not None:
        raise _mistyped()  # also the longer of two spellings: one node has one line
    _check_key_id(key_id, fingerprint)
    return Invite(key_id, fingerprint, address)


def _letters(text: str) -> str:
    """The base32 part, lowercase, after the prefix and the version were checked."""
    if len(text) > INVITE_CHARS_MAX:
        raise InviteError(
            f"{len(text)} characters are no invite; paste the one line that starts "
            f"with {_PREFIX}{_VERSION}:",
            "too_long",
        )
    line = _WRAPPING.sub("", text).lower()
    if line and _PREFIX.startswith(line):
        raise _truncated()
    if not line.startswith(_PREFIX):
        raise InviteError(
            f"this is no invite: one starts with {_PREFIX}{_VERSION}: and is printed by "
            "`ciris-mesh invite`",
            "not_an_invite",
        )
    version, colon, letters = line.removeprefix(_PREFIX).partition(":")
    if version == _VERSION and letters:
        return letters
    if not letters and len(version) <= 1:
        raise _truncated()
    if version.isascii() and version.isdecimal() and int(version[:9]) > int(_VERSION) and colon:
        raise InviteError(
            f"this invite is of version {version[:9]}, known here is {_VERSION}; "
            "upgrade ciris-mesh on this node",
            "newer_version",
        )
    raise _mistyped()


def _decode(letters: str) -> bytes:
    wrong = _NOT_BASE32.search(letters)
    if wrong is not None:
        raise _mistyped(f" at {wrong[0]!r}, which no invite contains")
    if len(letters) < 2:
        raise _truncated()
    length = 1 + _bytes(letters[:2])[0]
    surplus = len(letters) - -(-length * 8 // 5)
    if surplus < 0 or length <= _FIXED_BYTES:
        raise _truncated()
    # Bits after the last byte must be zero, or one letter could change unseen.
    if surplus > 0 or _base32(payload := _bytes(letters)) != letters:
        raise _mistyped()
    return payload


def _bytes(letters: str) -> bytes:
    return base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))


def _check_key_id(key_id: str, fingerprint: bytes) -> None:
    if not is_key_id(key_id):
        raise InviteError("the invite holds no key id; ask for it again", "mistyped")
    if contradicts(key_id, fingerprint):
        raise InviteError(
            f"the invite's key id {key_id} does not belong to the key it names; do not use it, "
            "and tell whoever sent it",
            "mistyped",
        )


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(_CHECKSUM_DOMAIN + body).digest()[:_CHECKSUM_BYTES]


def _truncated() -> InviteError:
    return InviteError("the invite is cut short; paste the whole line", "truncated")


def _mistyped(where: str = "") -> InviteError:
    return InviteError(
        f"the invite was altered{where}; copy it again, or ask for it once more", "mistyped"
    )
