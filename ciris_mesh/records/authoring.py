"""From columns to signed envelope bytes that every node admits.

Authors give what they mean; defaults, the mirrored signed envelope, hashes and signatures follow
from it. Ids left out are derived from the content, so no randomness is needed here.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import compact, jcs
from ciris_mesh.records.envelope import (
    AUTHORITY_MEMBER,
    STEWARD_SIGNATURES_MEMBER,
    THRESHOLD_MEMBER,
    Envelope,
    encode_base64,
    one_spelling_problem,
    parse_envelope,
)
from ciris_mesh.records.hybrid import FederationKey, HybridSignature
from ciris_mesh.records.jsontext import JsonValue, from_plain
from ciris_mesh.records.kinds import (
    ED25519_SIGNATURE_BYTES,
    KINDS,
    MLDSA65_SIGNATURE_BYTES,
    EnvelopeKind,
    FieldType,
    KindSpec,
    SignatureStyle,
)
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rows import (
    ROW_HASH_FIELD,
    as_persisted,
    original_content_hash,
    persist_row_hash,
)
from ciris_mesh.records.signing import mirror, mirror_problem, signed_message

#: Times that mean "when this was said" and are filled from `at_ms` when left out.
_TIMES_OF_SAYING: Final = frozenset(
    {"asserted_at", "effective_at", "founded_at", "issued_at", "removed_at", "revoked_at"}
    | {"scrub_timestamp", "valid_from"}
)
_SPEAKERS: Final = frozenset({"scrub_key_id", "attesting_key_id", "revoking_key_id"})
_DERIVED_IDS: Final = frozenset({"attestation_id", "revocation_id"})
_ID_NAMESPACE: Final = uuid.UUID("6a1f0c1e-6c9b-5a55-8d1b-5f2c8d6f3a10")

_COSIGNED: Final = (SignatureStyle.AUTHORITY, SignatureStyle.STEWARDS)

#: As long as every real one, so an envelope's size is known before anybody signs.
_NO_SIGNATURE: Final = HybridSignature(
    bytes(ED25519_SIGNATURE_BYTES), bytes(MLDSA65_SIGNATURE_BYTES)
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A record complete but for signatures, and the exact bytes its signers must sign."""

    kind: EnvelopeKind
    record: dict[str, JsonValue]
    message: bytes


def author(
    kind: EnvelopeKind,
    columns: Mapping[str, Any],
    signer: FederationKey,
    *,
    at_ms: int,
    cosigners: Sequence[FederationKey] = (),
    threshold: int | None = None,
) -> bytes:
    """Sign one record and return its envelope bytes, which pass `checks.verify_bytes`.

    Args:
        columns: plain Python values by column name. Times are RFC 3339 text, no finer than a
            millisecond in kinds whose envelope mirrors them. String lists are sorted. Extra
            members of the signed envelope go into its own column, as a mapping.
        at_ms: Unix milliseconds; fills the kind's time columns that were left out.
        cosigners: more signers, for kinds 4 to 10 and partner records only.
        threshold: what a partner record says its threshold is; the number of signers if None.

    Raises:
        MalformedRecord: a column is unknown, missing, of the wrong type or not allowed.
    """
    spec = KINDS[kind]
    if cosigners and spec.style not in _COSIGNED:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, f"{kind.value} has exactly one signer")
    prepared = draft(kind, columns, signer, at_ms=at_ms)
    signers = {key.key_id: key for key in (signer, *cosigners)}
    signatures = {name: signers[name].sign(prepared.message) for name in sorted(signers)}
    raw = assemble(prepared, signatures, threshold=threshold)
    problem = one_spelling_problem(parse_envelope(kind, raw))
    if problem is not None:
        raise MalformedRecord(Reason.NOT_ONE_SPELLING, problem)
    return raw


def author_key(
    signer: FederationKey,
    *,
    identity_type: str = "agent",
    identity_ref: str,
    at_ms: int,
) -> bytes:
    """Return the self-signed key record of `signer`. Raises as `author`."""
    columns = {"identity_type": identity_type, "identity_ref": identity_ref}
    return author(EnvelopeKind.KEY, columns, signer, at_ms=at_ms)


def draft(
    kind: EnvelopeKind, columns: Mapping[str, Any], signer: FederationKey, *, at_ms: int
) -> Draft:
    """Everything of a record but its signatures. Deterministic. Arguments as `author`."""
    spec = KINDS[kind]
    given = {name: value for name, value in columns.items() if value is not None}
    for name in given:
        if spec.field(name) is None:
            raise MalformedRecord(Reason.UNKNOWN_MEMBER, f"{kind.value} has no column {name}")
    plain = {**_filled_in(spec, signer, at_ms), **given}
    record = {name: _column(spec, name, value) for name, value in plain.items()}
    record.update(_missing_ids(spec, record))
    record = as_persisted(kind, record)
    if spec.envelope_field is not None:
        extra = record.get(spec.envelope_field, {})
        if not isinstance(extra, dict):
            raise MalformedRecord(Reason.WRONG_TYPE, f"{spec.envelope_field} is no object")
        inner: JsonValue = {**extra, **mirror(kind, record)}
        record[spec.envelope_field] = inner
        if spec.style is SignatureStyle.SCRUB:
            record["original_content_hash"] = original_content_hash(inner)
    row_hash = bytes.fromhex(persist_row_hash(kind, record))
    return Draft(kind, record, signed_message(kind, record, row_hash))


def assemble(
    prepared: Draft,
    signatures: Mapping[str, HybridSignature],
    *,
    threshold: int | None = None,
) -> bytes:
    """Put signatures (by key id) around or into a draft and return the envelope bytes."""
    spec = KINDS[prepared.kind]
    record = dict(prepared.record)
    wrapper: dict[str, JsonValue] = {}
    names = sorted(signatures)
    match spec.style:
        case SignatureStyle.SCRUB:
            (signature,) = signatures.values()
            record["scrub_signature_classical"] = encode_base64(signature.ed25519)
            if signature.mldsa65 is not None:
                record["scrub_signature_pqc"] = encode_base64(signature.mldsa65)
        case SignatureStyle.OPERATIONAL:
            (signature,) = signatures.values()
            record.update(_pair(signature))
        case SignatureStyle.AUTHORITY:
            wrapper[AUTHORITY_MEMBER] = [
                {"key_id": name, **_pair(signatures[name])} for name in names
            ]
        case SignatureStyle.STEWARDS:
            wrapper[STEWARD_SIGNATURES_MEMBER] = [
                {"member_id": name, **_pair(signatures[name])} for name in names
            ]
            wrapper[THRESHOLD_MEMBER] = from_plain(threshold or len(signatures))
    record[ROW_HASH_FIELD] = persist_row_hash(prepared.kind, record)
    row = as_persisted(prepared.kind, record)
    return compact({spec.wrapper_field: row, **wrapper})


def measure(prepared: Draft, signers: Collection[str]) -> int:
    """How many bytes the envelope has once these have signed it.

    Raises:
        MalformedRecord: no envelope of this draft could be admitted; whatever `author` refuses
            shows here, before there is a signature.
    """
    raw = _unsigned_bytes(prepared, signers)
    problem = one_spelling_problem(parse_envelope(prepared.kind, raw))
    if problem is not None:
        raise MalformedRecord(Reason.NOT_ONE_SPELLING, problem)
    problem = mirror_problem(prepared.kind, prepared.record)
    if problem is not None:
        raise MalformedRecord(Reason.COLUMNS_NOT_SIGNED, problem)
    return len(raw)


def unsigned(prepared: Draft, signers: Collection[str]) -> Envelope:
    """The envelope as these will have signed it, with signatures that are all zeros.

    For rules that look at what a record says, before there is a signature.
    """
    return parse_envelope(prepared.kind, _unsigned_bytes(prepared, signers))


def _unsigned_bytes(prepared: Draft, signers: Collection[str]) -> bytes:
    return assemble(prepared, dict.fromkeys(signers, _NO_SIGNATURE))


def _pair(signature: HybridSignature) -> dict[str, JsonValue]:
    pair: dict[str, JsonValue] = {"ed25519_signature_base64": encode_base64(signature.ed25519)}
    if signature.mldsa65 is not None:
        pair["mldsa65_signature_base64"] = encode_base64(signature.mldsa65)
    return pair


def _filled_in(spec: KindSpec, signer: FederationKey, at_ms: int) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for column in spec.fields:
        if column.name in _TIMES_OF_SAYING:
            columns[column.name] = timestamps.from_unix_ms(at_ms)
        elif column.name in _SPEAKERS:
            columns[column.name] = signer.key_id
    if spec.kind is EnvelopeKind.KEY:
        columns |= {
            "key_id": signer.key_id,
            "pubkey_ed25519_base64": encode_base64(signer.public.ed25519),
            "pubkey_ml_dsa_65_base64": encode_base64(signer.public.mldsa65),
            "algorithm": "hybrid",
        }
    return columns


def signed_set(words: Iterable[str]) -> list[str]:
    """Each once, in the order a signed set has: by UTF-16 code units, as in RFC 8785."""
    return sorted(set(words), key=lambda word: word.encode("utf-16-be", "replace"))


def _column(spec: KindSpec, name: str, value: Any) -> JsonValue:
    column = spec.field(name)
    is_list = column is not None and column.type is FieldType.STRING_LIST
    if is_list and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return from_plain(signed_set(value))
    if isinstance(value, bytes):
        return from_plain(list(value))
    return from_plain(value)


def _missing_ids(spec: KindSpec, record: dict[str, JsonValue]) -> dict[str, JsonValue]:
    content = jcs({"record_kind": spec.kind.value, "record": record}).hex()
    return {
        column.name: str(uuid.uuid5(_ID_NAMESPACE, content))
        for column in spec.fields
        if column.name in _DERIVED_IDS and column.name not in record
    }
