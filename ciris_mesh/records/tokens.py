"""Names by which records wait for each other.

A record that lacks a prerequisite waits for a token; a record that reaches the federation shelf
publishes the tokens it answers to, which releases who waits. A token is a kind, a colon, and the
columns others name it by (not always its primary key), joined by `|`:

    key:<key_id>   vouched:<scrub_key_id>            attestation:<attestation_id>
    identity_occurrence:<identity>|<occurrence>      delegation:<attesting_key_id>
    family:<id>  community:<id>                      location_proof:<subject_key_id>
    family_membership_revocation:<family>            organization:<org_id>
    community_membership_revocation:<community>      org_membership:<org_id>|<user_id>
    identity_occurrence_revocation:<identity>|<occurrence>
    same:attestation|<references_attestation_id>|<attestation_type>|<attesting_key_id>
    same:partner_record|<license_id>|<revision>|<sha256 of JCS(signed_envelope), hex>

Revocations and partner records are nobody's prerequisite. Records that say the same share a `same`
token: under it they are counted, and nobody waits for it. A copy of a record that too few have
signed waits for the record itself, since another copy may bring what it lacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.jsontext import JsonNumber
from ciris_mesh.records.kinds import KINDS, EnvelopeKind

DELEGATES_TO: Final = "delegates_to"
#: The types of attestations about another, which this member of their signed envelope names.
REFERRING_TYPES: Final = frozenset({"supersedes", "withdraws", "recants"})
REFERENCE_MEMBER: Final = "references_attestation_id"

_DELEGATION: Final = "delegation"
_VOUCHED: Final = "vouched"
_SAME: Final = "same"

_K: Final = EnvelopeKind
_COLUMNS: Final[Mapping[EnvelopeKind, tuple[str, ...]]] = MappingProxyType(
    {
        _K.KEY: ("key_id",),
        _K.ATTESTATION: ("attestation_id",),
        _K.IDENTITY_OCCURRENCE: ("identity_key_id", "occurrence_key_id"),
        _K.FAMILY: ("family_key_id",),
        _K.COMMUNITY: ("community_key_id",),
        _K.FAMILY_MEMBERSHIP_REVOCATION: ("family_key_id",),
        _K.COMMUNITY_MEMBERSHIP_REVOCATION: ("community_key_id",),
        _K.IDENTITY_OCCURRENCE_REVOCATION: ("identity_key_id", "occurrence_key_id"),
        _K.LOCATION_PROOF: ("subject_key_id",),
        _K.ORGANIZATION: ("org_id",),
        _K.ORG_MEMBERSHIP: ("org_id", "user_id"),
    }
)


def token(kind: EnvelopeKind, *values: str) -> str:
    """The token of records of `kind` with these values in the columns above."""
    return _spelled(kind.value, *values)


def key_token(key_id: str) -> str:
    """The token of the key records of `key_id`."""
    return _spelled(EnvelopeKind.KEY.value, key_id)


def delegation_token(key_id: str) -> str:
    """The token of all `delegates_to` attestations by `key_id`."""
    return _spelled(_DELEGATION, key_id)


def vouched_token(key_id: str) -> str:
    """The token of all records of other keys that `key_id` signed."""
    return _spelled(_VOUCHED, key_id)


def is_same_token(token: str) -> bool:
    """True for the token that records which say the same share."""
    return token.startswith(f"{_SAME}:")


def tokens_of(envelope: Envelope) -> tuple[str, ...]:
    """What this record, of which the signatures stand, answers to on the federation shelf."""
    return (*_names(envelope), *_sameness(envelope))


def _names(envelope: Envelope) -> tuple[str, ...]:
    columns = _COLUMNS.get(envelope.kind)
    if columns is None:
        return ()
    own = token(envelope.kind, *(str(envelope.record[name]) for name in columns))
    if envelope.kind is _K.ATTESTATION and envelope.record["attestation_type"] == DELEGATES_TO:
        return own, delegation_token(str(envelope.record["attesting_key_id"]))
    if envelope.kind is _K.KEY and envelope.record["scrub_key_id"] != envelope.record["key_id"]:
        return own, vouched_token(str(envelope.record["scrub_key_id"]))
    return (own,)


def _sameness(envelope: Envelope) -> tuple[str, ...]:
    """Source: records-and-protocol.md, section 1.3 (structural de-duplication) and 4.1."""
    record, inner = envelope.record, envelope.record.get(KINDS[envelope.kind].envelope_field or "")
    if envelope.kind is _K.PARTNER_RECORD:
        content = hashlib.sha256(jcs(inner)).hexdigest()
        revision = record["revision"]
        assert isinstance(revision, JsonNumber), "the field table says so"
        values = [str(record["license_id"]), revision.token, content]
    elif envelope.kind is _K.ATTESTATION and record["attestation_type"] in REFERRING_TYPES:
        reference = inner.get(REFERENCE_MEMBER) if isinstance(inner, dict) else None
        values = [str(reference), str(record["attestation_type"]), str(record["attesting_key_id"])]
    else:
        return ()
    return (_spelled(_SAME, envelope.kind.value, *values),)


def _spelled(word: str, *values: str) -> str:
    parts = (value.replace("\\", "\\\\").replace("|", "\\|") for value in values)
    return f"{word}:{'|'.join(parts)}"
