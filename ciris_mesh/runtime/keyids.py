"""Key ids as configuration files and invites hold them: checked against a fingerprint alone.

The rule is that of `records.hybrid` (design.md, "Identity and attribution" 1); this module needs
no public key and loads no cryptography, so that commands which only read stay fast.
"""

from __future__ import annotations

import base64
import re
from typing import Final

FINGERPRINT_BYTES: Final = 32
#: Registry nodes choose their own ids; this is well above the longest seen (34).
KEY_ID_CHARS_MAX: Final = 128

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SELF_CERTIFYING: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,31})-([a-z2-7]{16})")
_KEY_ID: Final = re.compile(r"[!-~]{1,128}")

NAME_RULE: Final = "1 to 32 of a-z, 0-9 and -, starting with a letter or digit"


def is_name(text: str) -> bool:
    """True when `text` may be the part of a key id that people choose."""
    return _NAME.fullmatch(text) is not None


def is_key_id(text: str) -> bool:
    """True when `text` could be a key id of any form: printable ASCII without spaces."""
    return _KEY_ID.fullmatch(text) is not None


def suffix(fingerprint: bytes) -> str:
    """The 16 characters a self-certifying key id ends with."""
    return base64.b32encode(fingerprint).decode("ascii").lower()[:16]


def self_certifying_name(key_id: str, fingerprint: bytes) -> str | None:
    """The chosen name inside `key_id` when it certifies `fingerprint`, else None."""
    match = _SELF_CERTIFYING.fullmatch(key_id)
    if match is None or match[2] != suffix(fingerprint):
        return None
    return match[1]


def contradicts(key_id: str, fingerprint: bytes) -> bool:
    """True when `key_id` has the self-certifying form but names another fingerprint.

    An id of another form contradicts nothing; it counts only because somebody pinned it here.
    """
    match = _SELF_CERTIFYING.fullmatch(key_id)
    return match is not None and match[2] != suffix(fingerprint)
