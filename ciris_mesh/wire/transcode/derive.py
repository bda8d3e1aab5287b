"""What follows from the rest of a record and so need not be sent.

Each function gives the predicted value or None when there is none; the encoder compares it with
what is there, the decoder puts it in. They read only what was coded before them: key id, then
copies, then mirrors, then the group id, then the content hash, then the row hash.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.groups import ID_COLUMNS, founding_digest
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain
from ciris_mesh.records.kinds import ED25519_PUBLIC_BYTES, MLDSA65_PUBLIC_BYTES, EnvelopeKind
from ciris_mesh.records.rows import original_content_hash, persist_row_hash
from ciris_mesh.wire.transcode.atoms import base64_parts, key_parts, key_text
from ciris_mesh.wire.transcode.grammar import Mirror

Record: TypeAlias = "dict[str, JsonValue]"

_PUBLIC_KEYS: Final = (
    ("pubkey_ed25519_base64", ED25519_PUBLIC_BYTES),
    ("pubkey_ml_dsa_65_base64", MLDSA65_PUBLIC_BYTES),
)


def own_key_id(record: Record, name: str) -> str | None:
    """The key id that `name` and the record's public keys make."""
    fingerprint = hashlib.sha256()
    for column, size_bytes in _PUBLIC_KEYS:
        text = record.get(column)
        raw = base64_parts(text) if isinstance(text, str) else None
        if raw is None or len(raw) != size_bytes:
            return None
        fingerprint.update(raw)
    return key_text(name, fingerprint.digest())


def own_name(record: Record, key_id: JsonValue) -> str | None:
    """The name in a key id that certifies itself; None for any other."""
    parts = key_parts(key_id) if isinstance(key_id, str) else None
    if parts is None or own_key_id(record, parts[0]) != key_id:
        return None
    return parts[0]


def own_group_id(kind: EnvelopeKind, record: Record, label: str) -> str | None:
    """The id of the group that this record founds under that label."""
    if kind not in ID_COLUMNS:
        return None
    try:
        return f"{label}-{founding_digest(kind, record)}"
    except MalformedRecord:
        return None


def own_label(kind: EnvelopeKind, record: Record, group_id: JsonValue) -> str | None:
    """The label in a group id that commits to this record; None for any other."""
    label = group_id.rpartition("-")[0] if isinstance(group_id, str) else ""
    return label if label and own_group_id(kind, record, label) == group_id else None


def copied(record: Record, column: str) -> str | None:
    """The text of a column."""
    value = record.get(column)
    return value if isinstance(value, str) else None


def mirrored(record: Record, mirror: Mirror) -> JsonValue:
    """A column of the record as signed envelopes spell it: times with three fraction digits,
    numbers as JCS writes them. The column must be there.
    """
    value = record[mirror.column]
    try:
        if mirror.is_time and isinstance(value, str):
            return timestamps.ceg(timestamps.to_unix_ms(value))
        if mirror.is_float and isinstance(value, JsonNumber):
            return from_plain(float(value.token))
    except (ValueError, MalformedRecord):
        return value
    return value


def content_hash(record: Record, envelope: str) -> str | None:
    """Hash of the signed envelope in a column."""
    try:
        return original_content_hash(record[envelope]) if envelope in record else None
    except MalformedRecord:
        return None


def row_hash(kind: EnvelopeKind, record: Record) -> str:
    """Hash of the record without its `persist_row_hash`."""
    return persist_row_hash(kind, record)
