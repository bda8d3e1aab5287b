"""Dataclasses to plain JSON values and back, driven by the type annotations.

`dump` is what every `--json` prints: the dataclass, member by member. `load` is its strict
inverse for values that come from a person: a missing, unknown or ill-typed member is named.
Bytes are hex digits, enums their value, tuples arrays.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Final

#: Resolving annotations costs 30 us a class; a summary holds 50,000 values of one class.
_HINTS: Final[dict[type[Any], dict[str, Any]]] = {}


def dump(value: Any) -> Any:
    """Return `value` as dicts, lists, strings, numbers, booleans and None."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(dump(key)): dump(member) for key, member in value.items()}
    if isinstance(value, (tuple, list)):
        return [dump(item) for item in value]
    if is_dataclass(value):
        return {field.name: dump(getattr(value, field.name)) for field in fields(value)}
    return value


def load(cls: type[Any], value: Any, where: str = "", *, strict: bool = True) -> Any:
    """Build the dataclass `cls` from a JSON object.

    Args:
        strict: refuse members the dataclass does not have; otherwise they are passed over, and
            those with a default may be missing, for answers of a node that is newer or older than
            this command.

    Raises:
        ValueError: the text names the member that is missing, unknown or of the wrong type.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the value'} is not an object")
    hints = _hints(cls)
    if strict and (unknown := sorted(value.keys() - hints.keys())):
        raise ValueError(f"unknown member {unknown[0]!r}")
    needed = hints.keys() if strict else hints.keys() - _optional(cls)
    if lacking := sorted(needed - value.keys()):
        raise ValueError(f"member {lacking[0]!r} is missing")
    members = {
        name: _load(hint, value[name], name, strict=strict)
        for name, hint in hints.items()
        if name in value
    }
    return cls(**members)


def _optional(cls: type[Any]) -> set[str]:
    """Members that came later: an older node's answer does not have them."""
    return {
        each.name
        for each in fields(cls)
        if each.default is not MISSING or each.default_factory is not MISSING
    }


def _hints(cls: type[Any]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def _load(hint: Any, value: Any, where: str, *, strict: bool) -> Any:
    origin = typing.get_origin(hint)
    if origin is not None:
        return _load_generic(origin, typing.get_args(hint), value, where, strict=strict)
    if is_dataclass(hint):
        assert isinstance(hint, type), "a type hint is a class, not an instance"
        return load(hint, value, where, strict=strict)
    if hint is bytes:
        return from_hex(value, where)
    if issubclass(hint, Enum):
        return _member(hint, value, where)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:  # bool is an int and must not pass for one
        raise ValueError(f"{where} is not of type {hint.__name__}")
    return value


def _load_generic(
    origin: Any, args: tuple[Any, ...], value: Any, where: str, *, strict: bool
) -> Any:
    if origin is types.UnionType:
        inner, nothing = args
        assert nothing is types.NoneType, "the only union in use is `X | None`"
        return None if value is None else _load(inner, value, where, strict=strict)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is not an object")
        return {name: _load(args[1], item, where, strict=strict) for name, item in value.items()}
    if not isinstance(value, list):
        raise ValueError(f"{where} is not an array")
    return tuple(_load(args[0], item, where, strict=strict) for item in value)


def _member(hint: type[Enum], value: Any, where: str) -> Enum:
    try:
        return hint(value)
    except ValueError:
        raise ValueError(f"unknown {where} {value!r}") from None


def from_hex(value: Any, where: str) -> bytes:
    """Return the bytes behind hex digits, upper or lower case, without any separator.

    Raises:
        ValueError: not a string of digit pairs.
    """
    if not isinstance(value, str):
        raise ValueError(f"{where} is not a string of hex digits")
    try:
        raw = bytes.fromhex(value)
    except ValueError:
        raise ValueError(f"{where} is not hex") from None
    if 2 * len(raw) != len(value):  # bytes.fromhex skips spaces
        raise ValueError(f"{where} is not hex")
    return raw
