"""A node's secrets as lines a person can write down, and type again years later.

Nine numbered lines hold 128 bytes: the Reticulum identity and both signing seeds. Each line ends
in two characters of a checksum over its number and contents, so a slip of the pen is found in its
line; the key id above them is a hash of the keys, so all together can't be wrong unnoticed.
Letters are Crockford's base32: none looks like another, O is read as 0, I and L as 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ciris_mesh.errors import BackupError
from ciris_mesh.runtime.home import IDENTITY_BYTES
from ciris_mesh.runtime.keyfiles import SEED_BYTES, FederationSeeds

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1"} | dict.fromkeys(" -.\t", None))
#: Fifteen bytes are 24 letters: four groups of six, as much as fits between two looks at a paper.
_LINE_BYTES: Final = 15
_GROUP: Final = 6
_CHECK_LETTERS: Final = 2
_SECRET_BYTES: Final = IDENTITY_BYTES + 2 * SEED_BYTES
LINES: Final = -(-_SECRET_BYTES // _LINE_BYTES)


@dataclass(frozen=True, slots=True)
class PaperKey:
    """What is on the paper: `name` in the clear, the rest secret."""

    seeds: FederationSeeds
    identity: bytes = field(repr=False)


def paper_lines(paper: PaperKey) -> tuple[str, ...]:
    """The nine lines, without their numbers. Secret."""
    secret = paper.identity + paper.seeds.ed25519 + paper.seeds.mldsa65
    return tuple(
        _line(number, secret[at : at + _LINE_BYTES])
        for number, at in enumerate(range(0, _SECRET_BYTES, _LINE_BYTES), 1)
    )


def read_line(number: int, text: str) -> bytes:
    """What stands in line `number`, 1 to LINES.

    Raises:
        BackupError: a letter is missing, wrong or too many; the text says which line.
    """
    letters = text.upper().translate(_READ_AS)
    size = min(_LINE_BYTES, _SECRET_BYTES - (number - 1) * _LINE_BYTES)
    expected = _letters_of(size) + _CHECK_LETTERS
    strange = sorted(set(letters) - set(_ALPHABET))
    if strange:
        raise BackupError(f"line {number} has {strange[0]!r}, which is never written here")
    if len(letters) != expected:
        raise BackupError(f"line {number} has {len(letters)} letters, not {expected}")
    data = _decode(letters[:-_CHECK_LETTERS], size)
    if data is None or _check(number, data) != letters[-_CHECK_LETTERS:]:
        raise BackupError(f"line {number} has a wrong letter; look at it again")
    return data


def paper_key(name: str, lines: Sequence[bytes], key_id: str) -> PaperKey:
    """Put lines together.

    Args:
        key_id: as it stands on the paper, or the part behind the name.

    Raises:
        BackupError: they are not of that key.
        KeyFileError: the name is not allowed.
    """
    secret = b"".join(lines)
    if len(lines) != LINES or len(secret) != _SECRET_BYTES:
        raise BackupError(f"{LINES} lines are needed, {len(lines)} are here")
    ends = (IDENTITY_BYTES, IDENTITY_BYTES + SEED_BYTES)
    seeds = FederationSeeds(name, secret[ends[0] : ends[1]], secret[ends[1] :])
    if seeds.key().key_id != key_id:
        raise BackupError(
            f"every line is right, but together they are not the key of {key_id[:60]!r}: compare "
            "the id, and whether all lines are of one paper"
        )
    return PaperKey(seeds, secret[: ends[0]])


def _line(number: int, data: bytes) -> str:
    letters = _encode(data, _letters_of(len(data)))
    groups = [letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP)]
    return " ".join([*groups, _check(number, data)])


def _letters_of(size: int) -> int:
    return -(-size * 8 // 5)


def _encode(data: bytes, letters: int) -> str:
    number = int.from_bytes(data, "big") << (letters * 5 - len(data) * 8)
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(letters)))


def _decode(letters: str, size: int) -> bytes | None:
    number = 0
    for letter in letters:
        number = number << 5 | _ALPHABET.index(letter)
    spare = len(letters) * 5 - size * 8
    return None if number & ((1 << spare) - 1) else (number >> spare).to_bytes(size, "big")


def _check(number: int, data: bytes) -> str:
    digest = hashlib.sha256(b"ciris-mesh paper key 1" + bytes([number]) + data).digest()
    return _encode(digest[:2], 4)[:_CHECK_LETTERS]
