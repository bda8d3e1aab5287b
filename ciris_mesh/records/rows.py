"""Row hashes and envelope ids.

A row hash is taken over the record as it was serialized, read through its columns' types: times in
UTC, typed floats in Rust's spelling, members no column knows left aside. What the serializer chose
to write stays in, a null or a default included. `as_persisted` is the stricter view: the one way
upstream's structs print such a row, nulls and defaults left out. Neither validates: what doesn't
fit its column's type is taken as it stands.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import jcs, v1python
from ciris_mesh.records.jsontext import JsonNumber, JsonValue
from ciris_mesh.records.kinds import (
    KINDS,
    EnvelopeKind,
    Field,
    FieldType,
    Presence,
    SignatureStyle,
)
from ciris_mesh.records.outcome import Reason

ROW_HASH_FIELD: Final = "persist_row_hash"

#: What an entry of a `members` column holds; `role` is optional.
MEMBER_FIELDS: Final[tuple[str, ...]] = ("key_id", "joined_at", "role")

#: Rust prints a double without an exponent while its point sits in this range.
_POINT_MIN: Final = -4
_POINT_MAX: Final = 16

#: Weights are mostly one of a few numbers. A double takes 24 characters, so it is 50 kB.
_REMEMBERED: Final = 256
_REMEMBERED_CHARS_MAX: Final = 32


def as_persisted(kind: EnvelopeKind, record: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The record as a typed row prints it, members in the order of the kind's table.

    `persist_row_hash` is carried over as sent, "" when absent. Idempotent.
    """
    return printed(kind, typed_row(kind, record))


def persist_row_hash(kind: EnvelopeKind, record: dict[str, JsonValue]) -> str:
    """Lowercase hex SHA-256 over the V1Python bytes of the row without `persist_row_hash`."""
    return hash_of(typed_row(kind, record)).hex()


def typed_row(kind: EnvelopeKind, record: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The record's columns, each in its type's spelling; always-written ones filled in.

    What `persist_row_hash` and `as_persisted` start from, for whoever needs both.
    """
    row: dict[str, JsonValue] = {}
    for name, default, spell in _COLUMNS[kind]:
        if name in record:
            value = record[name]
            row[name] = value if spell is None else spell(value)
        elif default is not None:
            row[name] = default_value(default)
    return row


def hash_of(typed: dict[str, JsonValue]) -> bytes:
    """The 32 bytes of `persist_row_hash`, of a `typed_row`."""
    row = {name: value for name, value in typed.items() if name != ROW_HASH_FIELD}
    return hashlib.sha256(v1python(row)).digest()


def printed(kind: EnvelopeKind, typed: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """`as_persisted`, of a `typed_row`: the same object where that leaves nothing out."""
    left_out = [
        name for name, default in _MAY_BE_LEFT_OUT[kind] if name in typed and typed[name] == default
    ]
    if not left_out:
        return typed
    return {name: value for name, value in typed.items() if name not in left_out}


def envelope_id(kind: EnvelopeKind, wrapper: dict[str, JsonValue]) -> bytes:
    """The 32 bytes that name an envelope: one function of the kind and what is in it.

    Raises:
        MalformedRecord: `wrong_wrapper` when the kind's member is missing; `value_not_allowed`
            for a number in kinds 11 to 13 that no double can hold.
    """
    spec = KINDS[kind]
    record = wrapper.get(spec.wrapper_field)
    if not isinstance(record, dict):
        raise MalformedRecord(Reason.WRONG_WRAPPER, f'expected {{"{spec.wrapper_field}": {{...}}}}')
    if is_wrapper_named(kind):
        return hashlib.sha256(jcs(wrapper)).digest()
    return bytes.fromhex(persist_row_hash(kind, record))


def is_wrapper_named(kind: EnvelopeKind) -> bool:
    """True for kinds 11 to 13, whose id covers the whole wrapper instead of the row."""
    return kind in _WRAPPER_NAMED


def original_content_hash(inner: JsonValue) -> str:
    """Lowercase hex SHA-256 over JCS: what producers write from persist 4.15.0 on.

    Raises:
        MalformedRecord: `value_not_allowed`, as `jcs`.
    """
    return hashlib.sha256(jcs(inner)).hexdigest()


def original_content_hash_v1python(inner: JsonValue) -> str:
    """The same over V1Python bytes: what rows older than persist 4.15.0 carry."""
    return hashlib.sha256(v1python(inner)).hexdigest()


def default_value(field: Field) -> JsonValue:
    """A column's default as JSON."""
    return list(field.default) if isinstance(field.default, tuple) else field.default


def rust_float(value: float) -> str:
    """A finite double as serde_json prints and re-reads it: `1.0`, `0.00001`, `1e-7`, `1e+16`."""
    sign, digit_tuple, exponent = Decimal(repr(value)).as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("the number is not finite")
    minus = "-" if sign else ""
    shown = "".join(map(str, digit_tuple))
    digits = shown.rstrip("0")
    if not digits:
        return minus + "0.0"
    point = len(shown) + exponent
    if 0 < point <= _POINT_MAX:
        whole = digits[:point].ljust(point, "0")
        return f"{minus}{whole}.{digits[point:] or '0'}"
    if _POINT_MIN <= point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{minus}{digits[0]}{tail}e{point - 1:+d}"


def _spelled_time(value: JsonValue) -> JsonValue:
    try:
        return timestamps.normalize(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _spelled_float(value: JsonValue) -> JsonValue:
    if not isinstance(value, JsonNumber):
        return value
    is_short = len(value.token) <= _REMEMBERED_CHARS_MAX
    token = _known_float(value.token) if is_short else _float_token(value.token)
    return value if token == value.token else JsonNumber(token)


def _float_token(token: str) -> str:
    number = float(token)
    return rust_float(number) if math.isfinite(number) else token


_known_float = lru_cache(maxsize=_REMEMBERED)(_float_token)


def _spelled_members(value: JsonValue) -> JsonValue:
    return [_member(entry) for entry in value] if isinstance(value, list) else value


_SPELLED: Final[dict[FieldType, Callable[[JsonValue], JsonValue]]] = {
    FieldType.TIMESTAMP: _spelled_time,
    FieldType.FLOAT: _spelled_float,
    FieldType.MEMBERS: _spelled_members,
}


def _always_written(field: Field) -> Field | None:
    return field if field.presence is Presence.MATERIALIZED else None


_Column = tuple[str, Field | None, Callable[[JsonValue], JsonValue] | None]

#: Of each column its name, its row of the kinds table if it is always written, and what spells its
#: values.
_COLUMNS: Final[dict[EnvelopeKind, tuple[_Column, ...]]] = {
    kind: tuple(
        (field.name, _always_written(field), _SPELLED.get(field.type)) for field in spec.fields
    )
    for kind, spec in KINDS.items()
}

#: The columns that may be missing, and the value that is left out: null, where they are optional.
_MAY_BE_LEFT_OUT: Final[dict[EnvelopeKind, tuple[tuple[str, JsonValue], ...]]] = {
    kind: tuple(
        (field.name, default_value(field))
        for field in spec.fields
        if field.presence in (Presence.OPTIONAL, Presence.OMIT_DEFAULT)
    )
    for kind, spec in KINDS.items()
}


_WRAPPER_NAMED: Final = frozenset(
    kind
    for kind, spec in KINDS.items()
    if spec.style in (SignatureStyle.OPERATIONAL, SignatureStyle.STEWARDS)
)


def _member(entry: JsonValue) -> JsonValue:
    if not isinstance(entry, dict):
        return entry
    known = {name: entry[name] for name in MEMBER_FIELDS if name in entry}
    if known.get("role", "") is None:
        del known["role"]
    if "joined_at" in known:
        known["joined_at"] = _spelled_time(known["joined_at"])
    return known
