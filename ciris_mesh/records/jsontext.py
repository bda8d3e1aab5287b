"""JSON text to values and back without losing how a number was written.

Row hashes are taken over number *tokens* (`0.50` is not `0.5`), so numbers are parsed into
`JsonNumber` and never into floats. Parsing is strict where two readers could disagree: duplicate
members, byte order marks, NaN, lone surrogates and broken UTF-8 are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias, cast

import orjson
import rfc8785

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.frozen import guarded_by_types
from ciris_mesh.records.outcome import Reason

#: Half of serde_json's 128: records nest about six deep, and every walk here recurses.
DEPTH_MAX: Final = 64

#: JCS keeps integers exact up to here; beyond, distinct integers share one spelling.
SAFE_INTEGER_MAX: Final = 2**53 - 1


@guarded_by_types
@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A number as it was written. Equal when spelled alike: `1.0` differs from `1`."""

    token: str


#: Longer integers are nobody's counter, and reading digits costs their number squared.
_PLAIN_DIGITS_MAX: Final = 100

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | bool | JsonNumber | None"

# A string (closed or running into the end of the text), or one bracket outside strings.
_STRING_OR_BRACKET: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(text: bytes, *, depth_max: int = DEPTH_MAX) -> JsonValue:
    """Parse one JSON text.

    Raises:
        MalformedRecord: `too_deep`, `duplicate_member`, or `not_json` for everything else.
    """
    try:
        return _read_back(text, depth_max)
    except (_NotAsWrittenError, orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    return _parse(text, depth_max)


def _read_back(text: bytes, depth_max: int) -> JsonValue:
    """What `_parse` says, for two fifths of its price, where `orjson` writes these very bytes.

    Whatever it read into a text: if that is written as the same text again, no member came twice,
    no string was spelled in another way, and each number has the spelling `orjson` gives it.
    """
    value = orjson.loads(text)
    if orjson.dumps(value) != text:
        raise _NotAsWrittenError
    kept: JsonValue = _with_tokens(value, depth_max)
    return kept


def _with_tokens(value: Any, depth_max: int) -> Any:
    """Numbers become their tokens, in place."""
    places: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        places = value.items()
    elif isinstance(value, list):
        places = enumerate(value)
    elif value is None or isinstance(value, bool | str):
        return value
    else:
        return JsonNumber(orjson.dumps(value).decode("ascii"))
    if depth_max <= 0:
        raise _NotAsWrittenError
    for place, item in places:
        if type(item) is not str:  # a call less for each of the most
            value[place] = _with_tokens(item, depth_max - 1)
    return value


class _NotAsWrittenError(Exception):
    """This text is left to the standard library."""


def _parse(text: bytes, depth_max: int) -> JsonValue:
    if _is_deeper(text, depth_max):
        raise MalformedRecord(Reason.TOO_DEEP, f"nested over {depth_max} levels")
    try:
        value = cast(JsonValue, _DECODER.decode(text.decode("utf-8")))
        if b"\\" in text and _SURROGATE_ESCAPE.search(text) is not None:
            _require_scalar_values(value)
    except UnicodeError:
        raise MalformedRecord(Reason.NOT_JSON, "the text is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedRecord(Reason.NOT_JSON, f"{error.msg} at character {error.pos}") from None
    return value


def from_plain(value: Any) -> JsonValue:
    """Turn plain Python values into token values; numbers get their JCS spelling.

    Mappings may hold token values already; they pass through.

    Raises:
        MalformedRecord: `value_not_allowed` for integers beyond 2**53 - 1 and for floats that are
            not finite, `wrong_type` for what JSON cannot hold.
    """
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | JsonNumber):
        return value
    if isinstance(value, int):
        if abs(value) > SAFE_INTEGER_MAX:
            raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "integer beyond 2**53 - 1")
        return JsonNumber(str(value))
    if isinstance(value, float):
        return JsonNumber(_jcs_float(value))
    if isinstance(value, Mapping):
        return {_text(name): from_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [from_plain(item) for item in value]
    raise MalformedRecord(Reason.WRONG_TYPE, f"{type(value).__name__} is no JSON value")


def to_plain(value: JsonValue) -> Any:
    """Turn token values into plain Python ones, for showing and for tests.

    Integers stay exact; other numbers become floats, which may lose their spelling. A number that
    fits neither stays text.
    """
    match value:
        case JsonNumber(token):
            return _plain_number(token)
        case dict():
            return {name: to_plain(item) for name, item in value.items()}
        case list():
            return [to_plain(item) for item in value]
        case _:
            return value


def _plain_number(token: str) -> int | float | str:
    if len(token) <= _PLAIN_DIGITS_MAX and token.lstrip("-").isdigit():
        return int(token)
    number = float(token)
    return number if math.isfinite(number) else token


def _is_deeper(text: bytes, depth_max: int) -> bool:
    # The stdlib scanner recurses per level, so depth is settled before it runs.
    if text.count(b"[") + text.count(b"{") <= depth_max:
        return False
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        first = text[found.start()]
        if first in b"[{":
            depth += 1
            if depth > depth_max:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def _require_scalar_values(value: JsonValue) -> None:
    match value:
        case str():
            value.encode("utf-8")
        case dict():
            for name, item in value.items():
                name.encode("utf-8")
                _require_scalar_values(item)
        case list():
            for item in value:
                _require_scalar_values(item)
        case _:
            pass


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedRecord(Reason.WRONG_TYPE, "a member name must be text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "text holds a lone surrogate") from None
    return value


def _jcs_float(value: float) -> str:
    try:
        return rfc8785.dumps(value).decode("ascii")
    except rfc8785.CanonicalizationError:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "number is not finite") from None


def _unique_members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedRecord(Reason.DUPLICATE_MEMBER, "a member occurs twice in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRecord(Reason.NOT_JSON, f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(
    parse_int=JsonNumber,
    parse_float=JsonNumber,
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique_members,
)
