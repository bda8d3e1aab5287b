"""Table 1 of the transcoder: what the wrapper of each kind is expected to look like.

Frozen. It says here once more what `records.kinds` says, on purpose: a column added there must not
change what bytes already on the air mean. Any change to this file or to `words.py` is a new table
with a new version byte; a test holds the digest of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.jsontext import JsonNumber
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.transcode.grammar import Mirror, Op, Shape, Slot

TABLE_VERSION: Final = 1

#: Form 0 of `atoms`: UTC with Z, the shortest of 0 or 3 fraction digits. What authors here write.
_TIME_FORM: Final = 0
#: An H3 cell is 15 hex digits.
_CELL_DIGITS: Final = 15

_TIMES: Final = frozenset(
    {"valid_from", "valid_until", "scrub_timestamp", "pqc_completed_at", "asserted_at"}
    | {"expires_at", "promoted_at", "revoked_at", "effective_at", "issued_at", "withdrawn_at"}
)
_FLOATS: Final = frozenset({"weight"})
_NOT_MIRRORED: Final = frozenset(
    {"original_content_hash", "scrub_signature_classical", "scrub_signature_pqc"}
    | {"ed25519_signature_base64", "mldsa65_signature_base64", "persist_row_hash"}
)

_ROW_HASH: Final = Slot("persist_row_hash", Op.ROW_HASH)
_SIGNATURES: Final = (
    Slot("ed25519_signature_base64", Op.BASE64, 64),
    Slot("mldsa65_signature_base64", Op.SIGNATURE),
)


def _key(name: str) -> Slot:
    return Slot(name, Op.KEY, arg=True)


def _text(name: str) -> Slot:
    return Slot(name, Op.TEXT)


def _time(name: str) -> Slot:
    return Slot(name, Op.TIME, _TIME_FORM)


def _no(name: str) -> Slot:
    return Slot(name, Op.ABSENT)


def _signer(name: str) -> Shape:
    return Shape((_key(name), *_SIGNATURES))


def _scrub(envelope: str, key: str, time: str) -> tuple[Slot, ...]:
    return (
        Slot("original_content_hash", Op.CONTENT_HASH, envelope),
        Slot("scrub_signature_classical", Op.BASE64, 64),
        Slot("scrub_signature_pqc", Op.SIGNATURE),
        Slot("scrub_key_id", Op.COPY, key),
        Slot("scrub_timestamp", Op.COPY, time),
        _no("pqc_completed_at"),
    )


def _members(time: str) -> Slot:
    member = Shape((_key("key_id"), Slot("joined_at", Op.COPY, time), _no("role")))
    return Slot("members", Op.LIST, member)


def _removal(subject: str, removed: str, time: str) -> tuple[Slot, ...]:
    return (
        _key(subject),
        _key(removed),
        _time(time),
        Slot("effective_at", Op.COPY, time),
        _no("reason"),
        _no("witness_set"),
        _ROW_HASH,
    )


def _signed(kind: EnvelopeKind, envelope: str, columns: tuple[Slot, ...]) -> Shape:
    """Columns of a kind whose signed envelope mirrors them: that envelope's shape filled in."""
    inner = Shape(
        (
            Slot("record_kind", Op.CONST, kind.value),
            *(
                Slot(
                    column.name,
                    Op.MIRROR,
                    Mirror(column.name, column.name in _TIMES, column.name in _FLOATS),
                )
                for column in columns
                if column.name not in _NOT_MIRRORED and column.name != envelope
            ),
        )
    )
    return Shape(
        tuple(
            Slot(envelope, Op.OBJECT, inner) if column.name == envelope else column
            for column in columns
        )
    )


_K: Final = EnvelopeKind

_KEY: Final = _signed(
    _K.KEY,
    "registration_envelope",
    (
        Slot("key_id", Op.OWN_ID),
        Slot("pubkey_ed25519_base64", Op.BASE64, 32),
        Slot("pubkey_ml_dsa_65_base64", Op.BASE64, 1952),
        Slot("algorithm", Op.CONST, "hybrid"),
        Slot("identity_type", Op.CONST, "agent"),
        _text("identity_ref"),
        _time("valid_from"),
        _no("valid_until"),
        _no("registration_envelope"),
        *_scrub("registration_envelope", "key_id", "valid_from"),
        _ROW_HASH,
        Slot("roles", Op.EMPTY_LIST),
        _no("attestation_evidence"),
    ),
)

_ATTESTATION: Final = _signed(
    _K.ATTESTATION,
    "attestation_envelope",
    (
        Slot("attestation_id", Op.UUID),
        _key("attesting_key_id"),
        _key("attested_key_id"),
        Slot("attestation_type", Op.CONST, "scores"),
        Slot("weight", Op.CONST, JsonNumber("1.0")),
        _time("asserted_at"),
        _no("expires_at"),
        _no("attestation_envelope"),
        *_scrub("attestation_envelope", "attesting_key_id", "asserted_at"),
        _no("subject_key_ids"),
        _no("withdraws_admission_rule"),
        _no("cohort_scope"),
        _no("tier"),
        _no("promoted_at"),
        _ROW_HASH,
    ),
)

_REVOCATION: Final = _signed(
    _K.REVOCATION,
    "revocation_envelope",
    (
        Slot("revocation_id", Op.UUID),
        _key("revoked_key_id"),
        _key("revoking_key_id"),
        _text("reason"),
        _time("revoked_at"),
        Slot("effective_at", Op.COPY, "revoked_at"),
        _no("revocation_envelope"),
        *_scrub("revocation_envelope", "revoking_key_id", "revoked_at"),
        _no("observed_region"),
        _ROW_HASH,
    ),
)

_OCCURRENCE: Final = Shape(
    (
        _key("identity_key_id"),
        _key("occurrence_key_id"),
        _text("device_class"),
        _no("hardware_attestation"),
        _time("asserted_at"),
        _no("valid_until"),
        _no("encryption_pubkeys"),
        _ROW_HASH,
    )
)

_FAMILY: Final = Shape(
    (
        Slot("family_key_id", Op.OWN_GROUP),
        _text("family_name"),
        _members("founded_at"),
        _time("founded_at"),
        _text("consensus_protocol"),
        Slot("consensus_protocol_entrenched", Op.CONST, arg=False),
        _ROW_HASH,
    )
)

_COMMUNITY: Final = Shape(
    (
        Slot("community_key_id", Op.OWN_GROUP),
        _text("community_name"),
        _members("founded_at"),
        _time("founded_at"),
        _text("consensus_protocol"),
        _no("policy_blob"),
        _ROW_HASH,
    )
)

_LOCATION: Final = Shape(
    (
        _key("subject_key_id"),
        Slot("cell_id", Op.HEX, _CELL_DIGITS),
        Slot("cell_resolution", Op.CONST, JsonNumber("7")),
        _time("asserted_at"),
        _no("valid_until"),
        _no("attestation_evidence"),
        _no("withdrawn_at"),
        _ROW_HASH,
    )
)

_ORGANIZATION: Final = _signed(
    _K.ORGANIZATION,
    "signed_envelope",
    (
        Slot("attestation_id", Op.UUID),
        _key("org_id"),
        _text("name"),
        _text("org_type"),
        _no("parent_org_id"),
        _no("partner_id"),
        Slot("status", Op.CONST, "active"),
        _time("asserted_at"),
        _no("valid_until"),
        _key("attesting_key_id"),
        _no("signed_envelope"),
        *_SIGNATURES,
        _no("withdrawn_at"),
        _ROW_HASH,
    ),
)

_ORG_MEMBERSHIP: Final = _signed(
    _K.ORG_MEMBERSHIP,
    "signed_envelope",
    (
        Slot("attestation_id", Op.UUID),
        _key("user_id"),
        _key("org_id"),
        _text("role"),
        Slot("status", Op.CONST, "active"),
        _time("asserted_at"),
        _no("valid_until"),
        _key("attesting_key_id"),
        _no("signed_envelope"),
        *_SIGNATURES,
        _no("withdrawn_at"),
        _ROW_HASH,
    ),
)

_PARTNER_RECORD: Final = _signed(
    _K.PARTNER_RECORD,
    "signed_envelope",
    (
        Slot("attestation_id", Op.UUID),
        _key("license_id"),
        _key("partner_id"),
        _key("org_id"),
        _text("license_type"),
        _text("max_autonomy_tier"),
        Slot("requires_supervisor", Op.CONST, arg=True),
        Slot("deployment_limit", Op.DECIMAL),
        Slot("offline_grace_hours", Op.DECIMAL),
        Slot("status", Op.CONST, "active"),
        Slot("revision", Op.DECIMAL),
        _time("issued_at"),
        _time("expires_at"),
        Slot("asserted_at", Op.COPY, "issued_at"),
        _no("signed_envelope"),
        _no("withdrawn_at"),
        _ROW_HASH,
    ),
)

_AUTHORITY: Final = Slot("authority", Op.LIST, _signer("key_id"))


def _wrapper(field: str, record: Shape, *beside: Slot) -> Shape:
    return Shape((Slot(field, Op.OBJECT, record), *beside))


#: The wrapper of each kind. Its first slot is the record.
WRAPPERS: Final[Mapping[EnvelopeKind, Shape]] = MappingProxyType(
    {
        _K.KEY: _wrapper("record", _KEY),
        _K.ATTESTATION: _wrapper("attestation", _ATTESTATION),
        _K.REVOCATION: _wrapper("revocation", _REVOCATION),
        _K.IDENTITY_OCCURRENCE: _wrapper("identity_occurrence", _OCCURRENCE, _AUTHORITY),
        _K.FAMILY: _wrapper("family", _FAMILY, _AUTHORITY),
        _K.COMMUNITY: _wrapper("community", _COMMUNITY, _AUTHORITY),
        _K.IDENTITY_OCCURRENCE_REVOCATION: _wrapper(
            "identity_occurrence_revocation",
            Shape(_removal("identity_key_id", "occurrence_key_id", "revoked_at")),
            _AUTHORITY,
        ),
        _K.FAMILY_MEMBERSHIP_REVOCATION: _wrapper(
            "family_membership_revocation",
            Shape(_removal("family_key_id", "removed_identity_key_id", "removed_at")),
            _AUTHORITY,
        ),
        _K.COMMUNITY_MEMBERSHIP_REVOCATION: _wrapper(
            "community_membership_revocation",
            Shape(_removal("community_key_id", "removed_identity_key_id", "removed_at")),
            _AUTHORITY,
        ),
        _K.LOCATION_PROOF: _wrapper("location_proof", _LOCATION, _AUTHORITY),
        _K.ORGANIZATION: _wrapper("organization", _ORGANIZATION),
        _K.ORG_MEMBERSHIP: _wrapper("org_membership", _ORG_MEMBERSHIP),
        _K.PARTNER_RECORD: _wrapper(
            "partner_record",
            _PARTNER_RECORD,
            Slot("steward_signatures", Op.LIST, _signer("member_id")),
            Slot("threshold", Op.DECIMAL),
        ),
    }
)

#: Numbers on the wire: those of `records.kinds`, repeated because this table is frozen.
KIND_NUMBERS: Final[Mapping[EnvelopeKind, int]] = MappingProxyType(
    {kind: number for number, kind in enumerate(WRAPPERS, 1)}
)
