"""Texts that are really bytes or integers: each as its parts, and back exactly.

Every `..._parts` function returns None unless the matching `..._text` gives the very same text
back, so no caller has to check. None of them looks at anything but the text.
"""

from __future__ import annotations

import base64
import re
from typing import Final, TypeAlias

from ciris_mesh.records import timestamps
from ciris_mesh.records.envelope import decode_base64, encode_base64
from ciris_mesh.records.kinds import MLDSA65_SIGNATURE_BYTES

UUID_BYTES: Final = 16
#: 16 characters of base32: what a key id carries of a fingerprint.
KEY_DIGEST_BYTES: Final = 10
#: Shorter ones are as likely words, and deflate does as well on them.
HEX_DIGITS_MIN: Final = 12
BASE64_CHARS_MIN: Final = 24
#: Longer tokens are nobody's number, and turning digits into a double is not linear.
NUMBER_CHARS_MAX: Final = 64
#: A varint of at most nine bytes.
DECIMAL_DIGITS_MAX: Final = 18

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_KEY_ID: Final = re.compile(r"(.*)-([a-z2-7]{16})", re.DOTALL)
_HEX: Final = re.compile(r"[0-9a-f]+")
_HEX_DIGITS: Final = "0123456789abcdef"
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DECIMAL: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")

# --- times ---

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ])[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.([0-9]{1,9}))?"
    r"(?:([Zz])|([+-])([0-9]{2})(:?)([0-9]{2}))"
)
_NS_PER_S: Final = 1_000_000_000
_CLOCK_CHARS: Final = len("2026-01-01T00:00:00")

#: Forms 0, 1, 2: UTC with `T` and `Z` and the shortest of 0, 3, 6 or 9 fraction digits, counted
#: in milli-, micro- and nanoseconds. From 3 on: exact digits + 10 x separator + 30 x zone.
_SHORTEST_UNITS_NS: Final = (1_000_000, 1_000, 1)
_EXACT: Final = len(_SHORTEST_UNITS_NS)
_SEPARATORS: Final = "Tt "
_ZONES: Final = ("Z", "z", ":", "")  # the last two are offsets, with and without a colon
_OFFSET_ZONE: Final = 2
_OFFSET_MAX: Final = 2 * (24 * 60 - 1) + 1
TIME_FORMS: Final = _EXACT + 10 * len(_SEPARATORS) * len(_ZONES)

#: form, time in units of that form since 1970 in UTC, and for offset zones 2 x minutes + minus.
TimeParts: TypeAlias = tuple[int, int, int]


def time_unit_ns(form: int) -> int:
    """Nanoseconds that one unit of this form stands for."""
    if form < _EXACT:
        return _SHORTEST_UNITS_NS[form]
    return int(10 ** (9 - (form - _EXACT) % 10))


def time_has_offset(form: int) -> bool:
    """True when the third of the parts means something."""
    return form >= _EXACT and (form - _EXACT) // 30 >= _OFFSET_ZONE


def time_parts(text: str) -> TimeParts | None:
    """An RFC 3339 time as (form, units, offset); None for what is none, and for leap seconds."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    separator, fraction, zulu, sign, hours, colon, minutes = found.groups()
    fraction = fraction or ""
    zone, offset = zulu, 0
    if zone is None:
        zone, offset = colon, 2 * (60 * int(hours) + int(minutes)) + (sign == "-")
    form = _EXACT + len(fraction) + 10 * _SEPARATORS.index(separator) + 30 * _ZONES.index(zone)
    if separator == "T" and zone == "Z" and _is_shortest(fraction):
        form = max(0, len(fraction) // 3 - 1)
    try:
        parts = form, timestamps.to_unix_ns(text) // time_unit_ns(form), offset
        return parts if time_text(*parts) == text else None
    except ValueError:
        return None


def time_text(form: int, units: int, offset: int) -> str:
    """The text of a time.

    Raises:
        ValueError: no such form, an offset of a day or more, or outside the years 0000 to 9999.
    """
    if not 0 <= form < TIME_FORMS or offset > _OFFSET_MAX:
        raise ValueError("no such form of a time")
    seconds, rest_ns = divmod(units * time_unit_ns(form), _NS_PER_S)
    nanos = f"{rest_ns:09}"
    if form < _EXACT:
        return f"{_clock(seconds)}{_shortest(nanos)}Z"
    zones, digits = divmod(form - _EXACT, 10)
    zone, separator = divmod(zones, len(_SEPARATORS))
    shift_min = -(offset // 2) if offset % 2 else offset // 2
    if zone >= _OFFSET_ZONE:
        seconds += 60 * shift_min
    clock = _clock(seconds).replace("T", _SEPARATORS[separator])
    fraction = f".{nanos[:digits]}" if digits else ""
    return clock + fraction + _zone_text(zone, offset)


def _zone_text(zone: int, offset: int) -> str:
    if zone < _OFFSET_ZONE:
        return _ZONES[zone]
    hours, minutes = divmod(offset // 2, 60)
    return f"{'-' if offset % 2 else '+'}{hours:02}{_ZONES[zone]}{minutes:02}"


def _clock(seconds: int) -> str:
    return timestamps.from_unix_ms(1000 * seconds)[:_CLOCK_CHARS]


def _is_shortest(fraction: str) -> bool:
    return len(fraction) % 3 == 0 and not fraction.endswith("000")


def _shortest(nanos: str) -> str:
    while nanos.endswith("000"):
        nanos = nanos[:-3]
    return f".{nanos}" if nanos else ""


# --- ids, hashes, keys, signatures ---


def uuid_parts(text: str) -> bytes | None:
    """The 16 bytes of a UUID in lowercase with four dashes."""
    if _UUID.fullmatch(text) is None:
        return None
    return bytes.fromhex(text.replace("-", ""))


def uuid_text(raw: bytes) -> str:
    """The text of 16 bytes."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def key_parts(text: str) -> tuple[str, bytes] | None:
    """A self-certifying id as its name and the 10 bytes of fingerprint in it."""
    found = _KEY_ID.fullmatch(text)
    if found is None:
        return None
    return found[1], base64.b32decode(found[2].upper())


def key_text(name: str, digest: bytes) -> str:
    """The id made of a name and at least 10 bytes of a fingerprint."""
    tail = base64.b32encode(digest[:KEY_DIGEST_BYTES]).decode("ascii").lower()
    return f"{name}-{tail}"


def hex_parts(text: str) -> tuple[int, bytes] | None:
    """Lowercase hex as (digits, bytes); an odd last digit fills the upper half of its byte."""
    if len(text) < HEX_DIGITS_MIN or _HEX.fullmatch(text) is None:
        return None
    return len(text), bytes.fromhex(text + "0" * (len(text) % 2))


def hex_text(digits: int, raw: bytes) -> str:
    """The first `digits` hex digits of `raw`."""
    return raw.hex()[:digits]


def tailed_parts(text: str) -> tuple[str, int, bytes] | None:
    """A text that ends in 12 or more hex digits as (what is before, digits, bytes)."""
    prefix = text.rstrip(_HEX_DIGITS)  # a search for the tail would be quadratic
    parts = hex_parts(text[len(prefix) :])
    return (prefix, *parts) if prefix and parts is not None else None


def base64_parts(text: str) -> bytes | None:
    """The bytes of canonical base64."""
    if len(text) < BASE64_CHARS_MIN or len(text) % 4 or _BASE64.fullmatch(text) is None:
        return None
    raw = decode_base64(text)
    return raw if encode_base64(raw) == text else None  # else a bit that is not used is set


#: Challenge (48) and response (5 polynomials of 640): FIPS 204, ML-DSA-65. The hints follow: a
#: list of up to omega = 55 places, zero padded, then k = 6 running counts, one per polynomial.
SIGNATURE_HEAD_BYTES: Final = 3248
SIGNATURE_COUNTS: Final = 6
SIGNATURE_HINTS_MAX: Final = 55


def signature_parts(text: str) -> bytes | None:
    """An ML-DSA-65 signature without the padding of its hints: head, counts, hints."""
    raw = base64_parts(text)
    if raw is None or len(raw) != MLDSA65_SIGNATURE_BYTES:
        return None
    head, hints = raw[:SIGNATURE_HEAD_BYTES], raw[SIGNATURE_HEAD_BYTES:-SIGNATURE_COUNTS]
    used = raw[-1]
    if used > SIGNATURE_HINTS_MAX or any(hints[used:]):
        return None
    return head + raw[-SIGNATURE_COUNTS:] + hints[:used]


def signature_text(head: bytes, counts: bytes, hints: bytes) -> str:
    """The base64 of a whole signature, hints padded again."""
    return encode_base64(head + hints.ljust(SIGNATURE_HINTS_MAX, b"\0") + counts)


# --- numbers ---


def is_number(token: str) -> bool:
    """True for a JSON number of at most `NUMBER_CHARS_MAX` characters."""
    return len(token) <= NUMBER_CHARS_MAX and _NUMBER.fullmatch(token) is not None


def decimal_parts(token: str) -> tuple[int, int] | None:
    """A number without exponent as (2 x fraction digits + minus, all its digits)."""
    if len(token) > DECIMAL_DIGITS_MAX + 2:
        return None
    found = _DECIMAL.fullmatch(token)
    if found is None:
        return None
    fraction = found[3] or ""
    digits = found[2] + fraction
    if len(digits) > DECIMAL_DIGITS_MAX:
        return None
    return 2 * len(fraction) + (found[1] == "-"), int(digits)


def decimal_text(scale: int, digits: int) -> str:
    """The token of a number without exponent.

    Raises:
        ValueError: more digits than `DECIMAL_DIGITS_MAX`.
    """
    places, minus = divmod(scale, 2)
    shown = str(digits).rjust(min(places, DECIMAL_DIGITS_MAX) + 1, "0")
    if len(shown) > DECIMAL_DIGITS_MAX or places >= DECIMAL_DIGITS_MAX:
        raise ValueError("too many digits")
    whole = shown[: len(shown) - places]
    fraction = f".{shown[len(whole) :]}" if places else ""
    return "-" * minus + whole + fraction
