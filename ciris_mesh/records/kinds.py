"""The thirteen record kinds: one row each, with its fields.

Adding a kind is one `KindSpec` row here (and its rules in admission). Everything that differs
between kinds is data in this table: wrapper member, frame version, sequence field, identity
columns, how it is signed. Source: the field tables of persist 4.15-7.2 and its operational kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final


class EnvelopeKind(StrEnum):
    """Wire tokens in their fixed order; kinds are only ever appended."""

    KEY = "key"
    ATTESTATION = "attestation"
    REVOCATION = "revocation"
    IDENTITY_OCCURRENCE = "identity_occurrence"
    FAMILY = "family"
    COMMUNITY = "community"
    IDENTITY_OCCURRENCE_REVOCATION = "identity_occurrence_revocation"
    FAMILY_MEMBERSHIP_REVOCATION = "family_membership_revocation"
    COMMUNITY_MEMBERSHIP_REVOCATION = "community_membership_revocation"
    LOCATION_PROOF = "location_proof"
    ORGANIZATION = "organization"
    ORG_MEMBERSHIP = "org_membership"
    PARTNER_RECORD = "partner_record"

    __hash__ = str.__hash__  # of enums Python hashes the name, in Python, each time it looks up


class FieldType(Enum):
    """What a column holds, as the row hash and the structure check see it."""

    STRING = "string"
    TIMESTAMP = "timestamp"  # RFC 3339, normalized to UTC with 0, 3, 6 or 9 fraction digits
    HEX32 = "hex32"  # 64 lowercase hex digits
    BASE64 = "base64"  # RFC 4648 section 4, padded, canonical trailing bits
    INTEGER = "integer"  # 0 .. 2**64 - 1
    FLOAT = "float"  # f64, spelled as Rust does
    BOOLEAN = "boolean"
    STRING_LIST = "string list"
    BYTE_LIST = "byte list"  # array of integers 0..255
    MEMBERS = "members"  # array of {key_id, joined_at, role?}
    OBJECT = "object"  # free JSON object: number tokens are kept as written
    ANY = "any"  # free JSON

    __hash__ = object.__hash__  # there is one of each; see EnvelopeKind


class Presence(Enum):
    """When a column appears in the serialized record."""

    REQUIRED = "required"
    OPTIONAL = "optional"  # left out when null
    MATERIALIZED = "materialized"  # has a default and is always written
    OMIT_DEFAULT = "omit default"  # has a default and is left out when equal to it


@dataclass(frozen=True, slots=True)
class Field:
    """One column. `length_bytes` is the decoded size of a BASE64 value, when fixed."""

    name: str
    type: FieldType
    presence: Presence = Presence.REQUIRED
    default: str | bool | tuple[str, ...] | None = None
    allowed: frozenset[str] | None = None
    length_bytes: int | None = None


class SignatureStyle(Enum):
    """Where the hybrid signature sits and what it covers (design.md, "Signatures")."""

    SCRUB = "scrub"  # in the record, over JCS(inner envelope) that mirrors every column
    AUTHORITY = "authority"  # beside the record, over domain, kind and row hash
    OPERATIONAL = "operational"  # in the record, over JCS(signed_envelope) that mirrors columns
    STEWARDS = "stewards"  # beside the record, several, over JCS(signed_envelope)


@dataclass(frozen=True, slots=True)
class KindSpec:
    """Everything generic code needs to know about one kind.

    Attributes:
        number: 1..13, the position on the wire list and in bitmaps.
        wrapper_field: the member of the wrapper that holds the record.
        seq_field: the timestamp whose Unix milliseconds are the ref's `seq`.
        primary_key: the columns that name the subject of a row.
        signer_field: the column that names the signer; None when signers are in the wrapper.
        envelope_field: the column holding the signed JSON; None for AUTHORITY kinds.
        is_removal: one of the four kinds that take something away; sent first on radio.
    """

    kind: EnvelopeKind
    number: int
    frame_version: int
    wrapper_field: str
    seq_field: str
    primary_key: tuple[str, ...]
    style: SignatureStyle
    fields: tuple[Field, ...]
    signer_field: str | None = None
    envelope_field: str | None = None
    is_removal: bool = False

    def field(self, name: str) -> Field | None:
        """Return the column called `name`, or None."""
        return next((field for field in self.fields if field.name == name), None)


ED25519_PUBLIC_BYTES: Final = 32
ED25519_SIGNATURE_BYTES: Final = 64
MLDSA65_PUBLIC_BYTES: Final = 1952
MLDSA65_SIGNATURE_BYTES: Final = 3309
X25519_PUBLIC_BYTES: Final = 32
ML_KEM_768_PUBLIC_BYTES: Final = 1184


def _required(type_: FieldType, *names: str) -> tuple[Field, ...]:
    return tuple(Field(name, type_) for name in names)


def _optional(type_: FieldType, *names: str) -> tuple[Field, ...]:
    return tuple(Field(name, type_, Presence.OPTIONAL) for name in names)


def _closed(name: str, *values: str) -> Field:
    return Field(name, FieldType.STRING, allowed=frozenset(values))


_ROW_HASH: Final = Field("persist_row_hash", FieldType.STRING, Presence.MATERIALIZED, "")

_SCRUB: Final = (
    Field("original_content_hash", FieldType.HEX32),
    Field("scrub_signature_classical", FieldType.BASE64, length_bytes=ED25519_SIGNATURE_BYTES),
    Field(
        "scrub_signature_pqc",
        FieldType.BASE64,
        Presence.OPTIONAL,
        length_bytes=MLDSA65_SIGNATURE_BYTES,
    ),
    *_required(FieldType.STRING, "scrub_key_id"),
    *_required(FieldType.TIMESTAMP, "scrub_timestamp"),
    *_optional(FieldType.TIMESTAMP, "pqc_completed_at"),
)

_ED25519_SIGNATURE: Final = Field(
    "ed25519_signature_base64", FieldType.BASE64, length_bytes=ED25519_SIGNATURE_BYTES
)
_MLDSA65_SIGNATURE: Final = Field(
    "mldsa65_signature_base64",
    FieldType.BASE64,
    Presence.OPTIONAL,
    length_bytes=MLDSA65_SIGNATURE_BYTES,
)

_WITNESS_SET: Final = Field("witness_set", FieldType.STRING_LIST, Presence.OMIT_DEFAULT, ())


def _removal_fields(subject: str, removed: str, at: str) -> tuple[Field, ...]:
    return (
        *_required(FieldType.STRING, subject, removed),
        *_required(FieldType.TIMESTAMP, at, "effective_at"),
        *_optional(FieldType.STRING, "reason"),
        _WITNESS_SET,
        _ROW_HASH,
    )


_KEY_FIELDS: Final = (
    *_required(FieldType.STRING, "key_id"),
    Field("pubkey_ed25519_base64", FieldType.BASE64, length_bytes=ED25519_PUBLIC_BYTES),
    Field(
        "pubkey_ml_dsa_65_base64",
        FieldType.BASE64,
        Presence.OPTIONAL,
        length_bytes=MLDSA65_PUBLIC_BYTES,
    ),
    _closed("algorithm", "hybrid"),
    *_required(FieldType.STRING, "identity_type", "identity_ref"),
    *_required(FieldType.TIMESTAMP, "valid_from"),
    *_optional(FieldType.TIMESTAMP, "valid_until"),
    *_required(FieldType.ANY, "registration_envelope"),
    *_SCRUB,
    _ROW_HASH,
    Field("roles", FieldType.STRING_LIST, Presence.MATERIALIZED, ()),
    *_optional(FieldType.OBJECT, "attestation_evidence"),
)

_ATTESTATION_FIELDS: Final = (
    *_required(
        FieldType.STRING,
        "attestation_id",
        "attesting_key_id",
        "attested_key_id",
        "attestation_type",
    ),
    *_optional(FieldType.FLOAT, "weight"),
    *_required(FieldType.TIMESTAMP, "asserted_at"),
    *_optional(FieldType.TIMESTAMP, "expires_at"),
    *_required(FieldType.ANY, "attestation_envelope"),
    *_SCRUB,
    Field("subject_key_ids", FieldType.STRING_LIST, Presence.OMIT_DEFAULT, ()),
    *_optional(FieldType.INTEGER, "withdraws_admission_rule"),
    Field(
        "cohort_scope",
        FieldType.STRING,
        Presence.OMIT_DEFAULT,
        "federation",
        frozenset(
            {
                "self",
                "family",
                "community",
                "affiliations",
                "species",
                "biosphere",
                "federation",
            }
        ),
    ),
    Field(
        "tier",
        FieldType.STRING,
        Presence.OMIT_DEFAULT,
        "federation",
        frozenset({"local", "federation"}),
    ),
    *_optional(FieldType.TIMESTAMP, "promoted_at"),
    _ROW_HASH,
)

_REVOCATION_FIELDS: Final = (
    *_required(FieldType.STRING, "revocation_id", "revoked_key_id", "revoking_key_id"),
    *_optional(FieldType.STRING, "reason"),
    *_required(FieldType.TIMESTAMP, "revoked_at", "effective_at"),
    *_required(FieldType.ANY, "revocation_envelope"),
    *_SCRUB,
    Field(
        "observed_region",
        FieldType.STRING,
        Presence.OMIT_DEFAULT,
        "us",
        frozenset({"us", "eu", "apac"}),
    ),
    _ROW_HASH,
)

_OCCURRENCE_FIELDS: Final = (
    *_required(FieldType.STRING, "identity_key_id", "occurrence_key_id"),
    _closed("device_class", "phone", "laptop", "server", "embedded", "agent", "service"),
    *_optional(FieldType.BASE64, "hardware_attestation"),
    *_required(FieldType.TIMESTAMP, "asserted_at"),
    *_optional(FieldType.TIMESTAMP, "valid_until"),
    *_optional(FieldType.OBJECT, "encryption_pubkeys"),
    _ROW_HASH,
)

_FAMILY_FIELDS: Final = (
    *_required(FieldType.STRING, "family_key_id", "family_name"),
    *_required(FieldType.MEMBERS, "members"),
    *_required(FieldType.TIMESTAMP, "founded_at"),
    *_required(FieldType.STRING, "consensus_protocol"),
    Field(
        "consensus_protocol_entrenched",
        FieldType.BOOLEAN,
        Presence.MATERIALIZED,
        False,  # noqa: FBT003 (a default value, not a flag)
    ),
    _ROW_HASH,
)

_COMMUNITY_FIELDS: Final = (
    *_required(FieldType.STRING, "community_key_id", "community_name"),
    *_required(FieldType.MEMBERS, "members"),
    *_required(FieldType.TIMESTAMP, "founded_at"),
    *_required(FieldType.STRING, "consensus_protocol"),
    *_optional(FieldType.ANY, "policy_blob"),
    _ROW_HASH,
)

_LOCATION_FIELDS: Final = (
    *_required(FieldType.STRING, "subject_key_id", "cell_id"),
    *_required(FieldType.INTEGER, "cell_resolution"),
    *_required(FieldType.TIMESTAMP, "asserted_at"),
    *_optional(FieldType.TIMESTAMP, "valid_until"),
    *_optional(FieldType.BYTE_LIST, "attestation_evidence"),
    *_optional(FieldType.TIMESTAMP, "withdrawn_at"),
    _ROW_HASH,
)

_ORGANIZATION_FIELDS: Final = (
    *_required(FieldType.STRING, "attestation_id", "org_id", "name"),
    _closed("org_type", "internal", "partner", "licensee", "community"),
    *_optional(FieldType.STRING, "parent_org_id", "partner_id"),
    _closed("status", "active", "suspended", "deactivated"),
    *_required(FieldType.TIMESTAMP, "asserted_at"),
    *_optional(FieldType.TIMESTAMP, "valid_until"),
    *_required(FieldType.STRING, "attesting_key_id"),
    *_required(FieldType.ANY, "signed_envelope"),
    _ED25519_SIGNATURE,
    _MLDSA65_SIGNATURE,
    *_optional(FieldType.TIMESTAMP, "withdrawn_at"),
    _ROW_HASH,
)

_ORG_MEMBERSHIP_FIELDS: Final = (
    *_required(FieldType.STRING, "attestation_id", "user_id", "org_id"),
    _closed("role", "org_admin", "key_manager", "operator", "viewer"),
    _closed("status", "active", "deactivated"),
    *_required(FieldType.TIMESTAMP, "asserted_at"),
    *_optional(FieldType.TIMESTAMP, "valid_until"),
    *_required(FieldType.STRING, "attesting_key_id"),
    *_required(FieldType.ANY, "signed_envelope"),
    _ED25519_SIGNATURE,
    _MLDSA65_SIGNATURE,
    *_optional(FieldType.TIMESTAMP, "withdrawn_at"),
    _ROW_HASH,
)

_PARTNER_FIELDS: Final = (
    *_required(
        FieldType.STRING,
        "attestation_id",
        "license_id",
        "partner_id",
        "org_id",
        "license_type",
    ),
    _closed("max_autonomy_tier", "A0", "A1", "A2", "A3", "A4"),
    *_required(FieldType.BOOLEAN, "requires_supervisor"),
    *_required(FieldType.INTEGER, "deployment_limit", "offline_grace_hours"),
    _closed("status", "active", "suspended", "revoked"),
    *_required(FieldType.INTEGER, "revision"),
    *_required(FieldType.TIMESTAMP, "issued_at", "expires_at", "asserted_at"),
    *_required(FieldType.ANY, "signed_envelope"),
    *_optional(FieldType.TIMESTAMP, "withdrawn_at"),
    _ROW_HASH,
)

_V1: Final = 0x01
_V2: Final = 0x02
_K: Final = EnvelopeKind
_S: Final = SignatureStyle

_ROWS: Final = (
    KindSpec(
        _K.KEY, 1, _V1, "record", "valid_from", ("key_id",), _S.SCRUB, _KEY_FIELDS,
        "scrub_key_id", "registration_envelope",
    ),
    KindSpec(
        _K.ATTESTATION, 2, _V1, "attestation", "asserted_at", ("attestation_id",), _S.SCRUB,
        _ATTESTATION_FIELDS, "scrub_key_id", "attestation_envelope",
    ),
    KindSpec(
        _K.REVOCATION, 3, _V1, "revocation", "revoked_at", ("revocation_id",), _S.SCRUB,
        _REVOCATION_FIELDS, "scrub_key_id", "revocation_envelope", is_removal=True,
    ),
    KindSpec(
        _K.IDENTITY_OCCURRENCE, 4, _V1, "identity_occurrence", "asserted_at",
        ("identity_key_id", "occurrence_key_id"), _S.AUTHORITY, _OCCURRENCE_FIELDS,
    ),
    KindSpec(
        _K.FAMILY, 5, _V1, "family", "founded_at", ("family_key_id",), _S.AUTHORITY,
        _FAMILY_FIELDS,
    ),
    KindSpec(
        _K.COMMUNITY, 6, _V1, "community", "founded_at", ("community_key_id",), _S.AUTHORITY,
        _COMMUNITY_FIELDS,
    ),
    KindSpec(
        _K.IDENTITY_OCCURRENCE_REVOCATION, 7, _V1, "identity_occurrence_revocation", "revoked_at",
        ("identity_key_id", "occurrence_key_id"), _S.AUTHORITY,
        _removal_fields("identity_key_id", "occurrence_key_id", "revoked_at"), is_removal=True,
    ),
    KindSpec(
        _K.FAMILY_MEMBERSHIP_REVOCATION, 8, _V1, "family_membership_revocation", "removed_at",
        ("family_key_id", "removed_identity_key_id"), _S.AUTHORITY,
        _removal_fields("family_key_id", "removed_identity_key_id", "removed_at"),
        is_removal=True,
    ),
    KindSpec(
        _K.COMMUNITY_MEMBERSHIP_REVOCATION, 9, _V1, "community_membership_revocation",
        "removed_at", ("community_key_id", "removed_identity_key_id"), _S.AUTHORITY,
        _removal_fields("community_key_id", "removed_identity_key_id", "removed_at"),
        is_removal=True,
    ),
    KindSpec(
        _K.LOCATION_PROOF, 10, _V1, "location_proof", "asserted_at",
        ("subject_key_id", "asserted_at"), _S.AUTHORITY, _LOCATION_FIELDS,
    ),
    KindSpec(
        _K.ORGANIZATION, 11, _V2, "organization", "asserted_at", ("attestation_id",),
        _S.OPERATIONAL, _ORGANIZATION_FIELDS, "attesting_key_id", "signed_envelope",
    ),
    KindSpec(
        _K.ORG_MEMBERSHIP, 12, _V2, "org_membership", "asserted_at", ("attestation_id",),
        _S.OPERATIONAL, _ORG_MEMBERSHIP_FIELDS, "attesting_key_id", "signed_envelope",
    ),
    KindSpec(
        _K.PARTNER_RECORD, 13, _V2, "partner_record", "asserted_at", ("attestation_id",),
        _S.STEWARDS, _PARTNER_FIELDS, None, "signed_envelope",
    ),
)  # fmt: skip

#: Every kind's row, in wire order.
KINDS: Final[Mapping[EnvelopeKind, KindSpec]] = MappingProxyType({row.kind: row for row in _ROWS})

#: The kinds an unattributed link may deliver: self-certifying first contact (design.md,
#: "Identity and attribution" 4).
BOOTSTRAP_KINDS: Final = frozenset({EnvelopeKind.KEY, EnvelopeKind.IDENTITY_OCCURRENCE})

#: Kinds that take something away: first on radio, and alone allowed to go ahead by a preview.
REMOVALS: Final = frozenset(kind for kind, row in KINDS.items() if row.is_removal)
