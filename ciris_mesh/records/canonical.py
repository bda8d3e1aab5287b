"""The three ways a value becomes bytes.

* `v1python`: what row hashes are taken over, forever. ASCII, members by code point, number
  tokens kept. Looks like `json.dumps(sort_keys=True, ensure_ascii=True)` and is not: numbers
  keep the author's spelling.
* `jcs`: RFC 8785, what signatures and content hashes are taken over. Numbers are doubles.
* `compact`: what authors put on the wire. Insertion order, raw UTF-8, tokens kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final

import rfc8785

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.jsontext import SAFE_INTEGER_MAX, JsonNumber, JsonValue
from ciris_mesh.records.outcome import Reason

#: Members a message's own signature sits in; they are not part of what it signs.
SIGNATURE_MEMBERS: Final = ("signature", "signature_pqc")

#: Longer integers than any double keeps exact are not worth a fast way.
_DIGITS_MAX: Final = len(str(SAFE_INTEGER_MAX))

_Quote = Callable[[str], str]


def v1python(value: JsonValue) -> bytes:
    """Canonical bytes for row hashes. Members are sorted by code point at every depth."""
    try:
        return _ASCII.encode(_plain(value, _v1python_plain)).encode("ascii")
    except _NotPlainError:
        return _v1python_exact(value)


def v1python_for_signing(value: JsonValue) -> bytes:
    """`v1python` of an object without its top-level `signature` and `signature_pqc`."""
    if isinstance(value, dict):
        value = {name: item for name, item in value.items() if name not in SIGNATURE_MEMBERS}
    return v1python(value)


def compact(value: JsonValue) -> bytes:
    """Wire bytes: no spaces, members in their order, raw UTF-8, number tokens as they are."""
    parts: list[str] = []
    _write(value, parts, encode_basestring, sort=False)
    return "".join(parts).encode("utf-8")


def jcs(value: JsonValue) -> bytes:
    """RFC 8785 bytes. Every number is read as a double, as JCS demands.

    Raises:
        MalformedRecord: `value_not_allowed` for a number no double can hold.
    """
    try:
        return _UTF8.encode(_plain(value, _jcs_plain)).encode("utf-8")
    except (_NotPlainError, UnicodeEncodeError):
        pass
    try:
        return rfc8785.dumps(_doubles(value))
    except rfc8785.CanonicalizationError as error:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, str(error)) from None


def jcs_number(number: JsonNumber) -> str:
    """How JCS spells this number.

    Raises:
        MalformedRecord: `value_not_allowed` for a number no double can hold.
    """
    return jcs(number).decode("ascii")


def v1python_number(token: str) -> str:
    """The token as V1Python keeps it.

    Digits stay. The exponent gets a small `e` and a sign, and a bare `-0` loses its sign; this
    is what serde_json's arbitrary-precision numbers do to a token (source: golden vectors).
    """
    if token == "-0":
        return "0"
    mantissa, mark, exponent = token.replace("E", "e").partition("e")
    if mark and exponent[0] not in "+-":
        return f"{mantissa}e+{exponent}"
    return mantissa + mark + exponent


# The standard library's encoder is fast, and right about everything but some numbers and names.
# `_plain` makes the values it is right about; the writers below are what it must agree with.
_ASCII: Final = json.JSONEncoder(
    ensure_ascii=True, check_circular=False, sort_keys=True, separators=(",", ":")
)
_UTF8: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
)


class _NotPlainError(Exception):
    """The standard encoder would spell this another way."""


def _plain(value: JsonValue, number: Callable[[str], float]) -> Any:
    if isinstance(value, dict):
        for name in value:
            if not name.isascii():  # sorted by code points, not by UTF-16
                raise _NotPlainError
        return {name: _plain(item, number) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, number) for item in value]
    return number(value.token) if isinstance(value, JsonNumber) else value


def _v1python_plain(token: str) -> float:
    """The number that is printed as this token."""
    if token.isdigit() and len(token) <= _DIGITS_MAX:
        return int(token)
    number = float(token)
    if repr(number) != token:
        raise _NotPlainError
    return number


def _jcs_plain(token: str) -> float:
    """The number that is printed as JCS spells what this token reads as."""
    number = _double(token)
    if isinstance(number, int):
        return number
    if number.is_integer() and abs(number) <= SAFE_INTEGER_MAX:
        return int(number)
    if "e" in repr(number) or not math.isfinite(number) or number.is_integer():
        raise _NotPlainError
    return number


def _v1python_exact(value: JsonValue) -> bytes:
    parts: list[str] = []
    _write(value, parts, encode_basestring_ascii, sort=True)
    return "".join(parts).encode("ascii")


def _write(value: JsonValue, parts: list[str], quote: _Quote, *, sort: bool) -> None:
    match value:
        case str():
            parts.append(quote(value))
        case JsonNumber(token):
            parts.append(v1python_number(token) if sort else token)
        case dict():
            separator = "{"
            for name in sorted(value) if sort else value:
                parts.append(f"{separator}{quote(name)}:")
                _write(value[name], parts, quote, sort=sort)
                separator = ","
            parts.append("}" if value else "{}")
        case list():
            separator = "["
            for item in value:
                parts.append(separator)
                _write(item, parts, quote, sort=sort)
                separator = ","
            parts.append("]" if value else "[]")
        case None:
            parts.append("null")
        case _:
            parts.append("true" if value else "false")


def _doubles(value: JsonValue) -> Any:
    match value:
        case JsonNumber(token):
            return _double(token)
        case dict():
            return {name: _doubles(item) for name, item in value.items()}
        case list():
            return [_doubles(item) for item in value]
        case _:
            return value


def _double(token: str) -> float | int:
    if len(token) <= len(str(SAFE_INTEGER_MAX)) and token.lstrip("-").isdigit():
        integer = int(token)
        if abs(integer) <= SAFE_INTEGER_MAX:
            return integer
    return float(token)
