"""Base64 as records spell it: RFC 4648 section 4, padded, on one line.

Most of a record is signatures in base64, and the standard library takes 13 us to read one. In one
`pybase64` reads it and writes it again: what comes out as the very same letters was read as any
reader must. What does not is left to the standard library, and to what it should refuse.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64

import pybase64


def exact(letters: bytes) -> bytes | None:
    """The bytes for which an encoder writes exactly these letters; None when there are none."""
    try:
        data = pybase64.b64decode(
            letters
        )  # steps over what is no letter, as writing it again shows
    except ValueError:
        return None
    return data if pybase64.b64encode(data) == letters else None


def decoded(text: str) -> bytes:
    """What `text` spells.

    Raises:
        ValueError: another alphabet, padding that is missing or too much, or stray characters.
            Unused bits that are not zero pass.
    """
    try:
        data = exact(text.encode("ascii"))
        if data is not None:
            return data
        # Older Pythons take padding behind whole letters for nothing, with which anybody
        # could give a signed record other bytes (CPython issue 118314).
        if len(text) % 4 == 0 and not text.endswith("==="):
            return a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError):
        pass
    raise ValueError("not base64")


def letters_of(data: bytes) -> bytes:
    """`data` as an encoder writes it."""
    return pybase64.b64encode(data)
