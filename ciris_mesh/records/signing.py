"""What a record's signatures are taken over, and how its signed envelope mirrors its columns.

Kinds 1-3 and 11-13 sign a JSON envelope inside the record. That alone would leave every column
beside it open to change, so the envelope must repeat each of them: `mirror` writes that copy,
`mirror_problem` checks it. Kinds 4-10 sign the row hash, which covers all columns anyway.
Source: design.md, "Signatures and admission".
"""

from __future__ import annotations

from collections.abc import Callable
from operator import eq
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, Field, FieldType, KindSpec, Presence
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rows import ROW_HASH_FIELD, as_persisted, default_value

AUTHORITY_DOMAIN: Final = b"ciris-mesh/record/v1"
RECORD_KIND_MEMBER: Final = "record_kind"

#: Columns that say something about the signed bytes and so cannot be inside them.
_NEVER_MIRRORED: Final = frozenset(
    {
        ROW_HASH_FIELD,
        "original_content_hash",
        "scrub_signature_classical",
        "scrub_signature_pqc",
        "ed25519_signature_base64",
        "mldsa65_signature_base64",
    }
)


def authority_message(kind: EnvelopeKind, row_hash: bytes) -> bytes:
    """The bytes every signer of a record of kinds 4 to 10 signs. `row_hash` has 32 bytes."""
    return AUTHORITY_DOMAIN + b"\0" + kind.encode("ascii") + b"\0" + row_hash


def signed_message(kind: EnvelopeKind, record: dict[str, JsonValue], row_hash: bytes) -> bytes:
    """The bytes this record's signers sign.

    Raises:
        MalformedRecord: `value_not_allowed` when the signed envelope holds a number no double
            can hold, `missing_member` when there is no envelope.
    """
    envelope_field = KINDS[kind].envelope_field
    if envelope_field is None:
        return authority_message(kind, row_hash)
    if envelope_field not in record:
        raise MalformedRecord(Reason.MISSING_MEMBER, envelope_field)
    return jcs(record[envelope_field])


def mirrored_columns(spec: KindSpec) -> tuple[Field, ...]:
    """The columns a signed envelope repeats; none for kinds that sign the row hash."""
    return _MIRRORED[spec.kind]


def _mirrored(spec: KindSpec) -> tuple[Field, ...]:
    if spec.envelope_field is None:
        return ()
    return tuple(
        column
        for column in spec.fields
        if column.name not in _NEVER_MIRRORED and column.name != spec.envelope_field
    )


_MIRRORED: Final = {kind: _mirrored(spec) for kind, spec in KINDS.items()}
_NEVER_SIGNED: Final = {
    kind: _NEVER_MIRRORED | {spec.envelope_field or ""} for kind, spec in KINDS.items()
}


def mirror(kind: EnvelopeKind, record: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The members that bind `record` into its signed envelope, in the order of the columns.

    Raises:
        MalformedRecord: `value_not_allowed` for a time finer than a millisecond: signed times
            have exactly three fraction digits.
    """
    row = as_persisted(kind, record)
    members: dict[str, JsonValue] = {RECORD_KIND_MEMBER: kind.value}
    for column in mirrored_columns(KINDS[kind]):
        if column.name in row:
            members[column.name] = _signed_form(column, row[column.name])
    return members


def mirror_problem(
    kind: EnvelopeKind, record: dict[str, JsonValue], row: dict[str, JsonValue] | None = None
) -> str | None:
    """What keeps the signed envelope from binding every column; None when it binds all.

    Args:
        row: `as_persisted` of the record, from whoever has it.
    """
    spec = KINDS[kind]
    if spec.envelope_field is None:
        return None
    inner = record.get(spec.envelope_field)
    if not isinstance(inner, dict):
        return f"{spec.envelope_field} is no object"
    if inner.get(RECORD_KIND_MEMBER) != kind:
        return f"{RECORD_KIND_MEMBER} is not {kind.value!r}"
    if not inner.keys().isdisjoint(_NEVER_SIGNED[kind]):
        return f"{min(inner.keys() & _NEVER_SIGNED[kind])} cannot be part of what is signed"
    return _column_problem(kind, as_persisted(kind, record) if row is None else row, inner)


def _column_problem(
    kind: EnvelopeKind, row: dict[str, JsonValue], inner: dict[str, JsonValue]
) -> str | None:
    for name, column, is_same in _COMPARED[kind]:
        if name in row:
            if is_same is None and inner.get(name) == row[name]:
                continue  # as most are
            if name not in inner:
                return f"{name} is not signed"
            if is_same is None or not is_same(row[name], inner[name]):
                return f"{name} differs"
        elif name in inner:
            is_omitted = column.presence is Presence.OMIT_DEFAULT
            if not is_omitted or inner[name] != default_value(column):
                return f"{name} is signed but absent from the row"
    return None


def _is_same_time(value: JsonValue, mirrored: JsonValue) -> bool:
    if not isinstance(value, str) or not isinstance(mirrored, str):
        return value == mirrored
    try:
        form = timestamps.normalize(value)
        return form == mirrored or form == timestamps.normalize(mirrored)
    except ValueError:
        return False


def _is_same_float(value: JsonValue, mirrored: JsonValue) -> bool:
    if not isinstance(value, JsonNumber) or not isinstance(mirrored, JsonNumber):
        return value == mirrored
    return float(value.token) == float(mirrored.token)


_IsSame = Callable[[JsonValue, JsonValue], bool]

#: What compares values where it takes more than a look at text.
_IS_SAME: Final[dict[FieldType, _IsSame | None]] = {
    FieldType.STRING: None,
    FieldType.TIMESTAMP: _is_same_time,
    FieldType.FLOAT: _is_same_float,
}

#: Of each mirrored column its name, its row of the kinds table, and what compares its values.
_COMPARED: Final[dict[EnvelopeKind, tuple[tuple[str, Field, _IsSame | None], ...]]] = {
    kind: tuple((column.name, column, _IS_SAME.get(column.type, eq)) for column in columns)
    for kind, columns in _MIRRORED.items()
}


def _signed_form(column: Field, value: JsonValue) -> JsonValue:
    match column.type, value:
        case FieldType.TIMESTAMP, str():
            return _signed_time(column.name, value)
        case FieldType.FLOAT, JsonNumber(token):
            return from_plain(float(token))
        case _:
            return value


def _signed_time(name: str, text: str) -> str:
    try:
        signed = timestamps.ceg(timestamps.to_unix_ms(text))
    except ValueError as error:
        raise MalformedRecord(Reason.WRONG_TYPE, f"{name}: {error}") from None
    if timestamps.normalize(signed) != text:
        raise MalformedRecord(
            Reason.VALUE_NOT_ALLOWED, f"{name} is finer than a millisecond; round it"
        )
    return signed
