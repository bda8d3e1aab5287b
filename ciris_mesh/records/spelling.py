"""How far JSON values of one meaning are written the one way this node takes.

`envelope.one_spelling_problem` asks; here are the answers that need no more than the values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.canonical import jcs_number
from ciris_mesh.records.jsontext import JsonNumber, JsonValue
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, Field, FieldType, KindSpec
from ciris_mesh.records.rows import ROW_HASH_FIELD

_SHORT_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,14}")

#: Columns of these types have one spelling, by their type or in the row (`difference`).
_ONE_SPELLING: Final = frozenset(
    {FieldType.STRING, FieldType.TIMESTAMP, FieldType.HEX32, FieldType.BOOLEAN, FieldType.FLOAT}
)


def difference(
    spec: KindSpec, record: dict[str, JsonValue], row: dict[str, JsonValue]
) -> str | None:
    """Where a record differs from the row it is printed as; None when only in its row hash."""
    for name in record:
        if name not in row:
            known = spec.field(name) is not None
            return f"{name} must be left out here" if known else f"unknown member {name!r}"
    for name in row:
        if name == ROW_HASH_FIELD:
            continue
        if name not in record:
            return f"{name} is missing; it is always written"
        if record[name] != row[name]:
            return f"{name} is not in its normal spelling"
    return None


def columns_problem(spec: KindSpec, record: dict[str, JsonValue]) -> str | None:
    """Which column's value has another spelling than its own; None when none has."""
    for name, is_base64, is_set in _SPELLED_COLUMNS[spec.kind]:
        value = record.get(name)
        if is_base64 and isinstance(value, str):
            if not is_canonical_base64(value):
                return f"{name} is not canonical base64"
        elif is_set and isinstance(value, list):
            if not is_sorted_set(value):
                return f"{name} must be sorted, each value once"
        elif value is not None:
            problem = _number_problem(value, name)
            if problem is not None:
                return problem
    return None


def _number_problem(value: JsonValue, where: str) -> str | None:
    if isinstance(value, dict):
        for name, item in value.items():
            if type(item) is not str:  # a call less for each of the most
                problem = _number_problem(item, name)
                if problem is not None:
                    return f"{where}.{problem}"
    elif isinstance(value, list):
        for item in value:
            if type(item) is not str:
                problem = _number_problem(item, where)
                if problem is not None:
                    return problem
    elif isinstance(value, JsonNumber) and not _is_jcs_number(value):
        return f"{where}: {value.token[:40]} is not how JCS spells that number"
    return None


def _is_jcs_number(number: JsonNumber) -> bool:
    if _SHORT_INTEGER.fullmatch(number.token):
        return True
    try:
        return jcs_number(number) == number.token
    except MalformedRecord:
        return False


#: What the last character before the padding can be when its unused bits are zero.
_BEFORE_ONE: Final = frozenset("AEIMQUYcgkosw048")
_BEFORE_TWO: Final = frozenset("AQgw")


def is_canonical_base64(text: str) -> bool:
    """No unused bits are set. That it is base64 at all was seen when it was read."""
    if len(text) % 4:
        return False
    if not text.endswith("="):
        return True
    return text[-3] in _BEFORE_TWO if text.endswith("==") else text[-2] in _BEFORE_ONE


def is_sorted_set(values: Sequence[JsonValue]) -> bool:
    """Ascending by UTF-16 code units, each once (CEG section 0.9.2.1)."""
    if len(values) < 2:
        return True
    units = [value.encode("utf-16-be") for value in values if isinstance(value, str)]
    return all(one < other for one, other in pairwise(units))


def _spelled(column: Field) -> tuple[str, bool, bool]:
    return column.name, column.type is FieldType.BASE64, column.type is FieldType.STRING_LIST


#: Columns whose spelling their type does not settle: their names, and whether of base64 or a set.
_SPELLED_COLUMNS: Final[dict[EnvelopeKind, tuple[tuple[str, bool, bool], ...]]] = {
    kind: tuple(_spelled(column) for column in spec.fields if column.type not in _ONE_SPELLING)
    for kind, spec in KINDS.items()
}
