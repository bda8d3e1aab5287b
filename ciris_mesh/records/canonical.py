"""The three ways a value becomes bytes.

* `v1python`: what row hashes are taken over, forever. ASCII, members by code point, number
  tokens kept. Looks like `json.dumps(sort_keys=True, ensure_ascii=True)` and is not: numbers
  keep the author's spelling.
* `jcs`: RFC 8785, what signatures and content hashes are taken over. Numbers are doubles.
* `compact`: what authors put on the wire. Insertion order, raw UTF-8, tokens kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final

import orjson
import rfc8785

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.jsontext import SAFE_INTEGER_MAX, JsonNumber, JsonValue
from ciris_mesh.records.outcome import Reason

#: Members a message's own signature sits in; they are not part of what it signs.
SIGNATURE_MEMBERS: Final = ("signature", "signature_pqc")

#: The one ASCII character V1Python escapes and others do not.
_DELETE: Final = b"\x7f"

_SORTED: Final = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)

_SAFE_DIGITS: Final = len(str(SAFE_INTEGER_MAX))

_WORDS: Final = {None: "null", True: "true", False: "false"}

_Quote = Callable[[str], str]


def v1python(value: JsonValue) -> bytes:
    """Canonical bytes for row hashes. Members are sorted by code point at every depth."""
    plain = _plain(value, v1python_number)
    if plain is not None and _DELETE not in plain:
        return plain
    return _text(value, encode_basestring_ascii, v1python_number).encode("ascii")


def v1python_for_signing(value: JsonValue) -> bytes:
    """`v1python` of an object without its top-level `signature` and `signature_pqc`."""
    if isinstance(value, dict):
        value = {name: item for name, item in value.items() if name not in SIGNATURE_MEMBERS}
    return v1python(value)


def compact(value: JsonValue) -> bytes:
    """Wire bytes: no spaces, members in their order, raw UTF-8, number tokens as they are."""
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode("utf-8")


def jcs(value: JsonValue) -> bytes:
    """RFC 8785 bytes. Every number is read as a double, as JCS demands.

    Raises:
        MalformedRecord: `value_not_allowed` for a number no double can hold.
    """
    plain = _plain(value, _jcs_plain)
    if plain is not None:
        return plain
    try:
        return _text(value, encode_basestring, _jcs_plain).encode("utf-8")
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
    try:
        return _jcs_plain(number.token)
    except _NotPlainError:
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


class _NotPlainError(Exception):
    """JCS spells this in a way that is left to `rfc8785`."""


def _plain(value: JsonValue, number: Callable[[str], str]) -> bytes | None:
    """What `_text` says, four times as fast, where all of it is ASCII; None where it is not.

    There the three spellings differ in numbers alone, but for `_DELETE`.
    """

    def spelled(one: JsonNumber) -> orjson.Fragment:
        return orjson.Fragment(number(one.token))

    try:
        text = orjson.dumps(value, spelled, _SORTED)
    except orjson.JSONEncodeError as error:  # too deep, half a surrogate pair, no plain number
        if error.__cause__ is not None and not isinstance(error.__cause__, Exception):
            raise error.__cause__ from None  # Ctrl-C
        return None
    return text if text.isascii() else None


def _text(value: JsonValue, quote: _Quote, number: Callable[[str], str]) -> str:
    """Members sorted by code point, numbers as `number` spells their tokens."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        members = [
            f"{quote(name)}:{quote(item)}"  # a call less for each of the most
            if isinstance(item := value[name], str)
            else f"{quote(name)}:{_text(item, quote, number)}"
            for name in sorted(value)
        ]
        if quote is encode_basestring and not all(map(str.isascii, value)):
            raise _NotPlainError  # sorted by code points, not by UTF-16
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join([_text(item, quote, number) for item in value])}]"
    if isinstance(value, JsonNumber):
        return number(value.token)
    return _WORDS[value]


def _jcs_plain(token: str) -> str:
    """How JCS spells what this token reads as."""
    number = _double(token)
    if isinstance(number, float):
        if number.is_integer() and abs(number) <= SAFE_INTEGER_MAX:
            number = int(number)
        elif "e" in repr(number) or not math.isfinite(number) or number.is_integer():
            raise _NotPlainError
    return repr(number)


def _write(value: JsonValue, parts: list[str]) -> None:
    match value:
        case str():
            parts.append(encode_basestring(value))
        case JsonNumber(token):
            parts.append(token)
        case dict():
            separator = "{"
            for name in value:
                parts.append(f"{separator}{encode_basestring(name)}:")
                _write(value[name], parts)
                separator = ","
            parts.append("}" if value else "{}")
        case list():
            separator = "["
            for item in value:
                parts.append(separator)
                _write(item, parts)
                separator = ","
            parts.append("]" if value else "[]")
        case _:
            parts.append(_WORDS[value])


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
    if len(token) <= _SAFE_DIGITS and token.lstrip("-").isdigit():
        integer = int(token)
        if abs(integer) <= SAFE_INTEGER_MAX:
            return integer
    return float(token)
