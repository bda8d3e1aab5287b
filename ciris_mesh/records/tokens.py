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

Revocations and partner records are nobody's prerequisite. A copy of a record that too few have
signed waits for the record itself, since another copy may bring what it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind

DELEGATES_TO: Final = "delegates_to"
_DELEGATION: Final = "delegation"
_VOUCHED: Final = "vouched"

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


def tokens_of(envelope: Envelope) -> tuple[str, ...]:
    """What this record answers to once it stands on the federation shelf."""
    columns = _COLUMNS.get(envelope.kind)
    if columns is None:
        return ()
    own = token(envelope.kind, *(str(envelope.record[name]) for name in columns))
    if envelope.kind is _K.ATTESTATION and envelope.record["attestation_type"] == DELEGATES_TO:
        return own, delegation_token(str(envelope.record["attesting_key_id"]))
    if envelope.kind is _K.KEY and envelope.record["scrub_key_id"] != envelope.record["key_id"]:
        return own, vouched_token(str(envelope.record["scrub_key_id"]))
    return (own,)


def _spelled(word: str, *values: str) -> str:
    parts = (value.replace("\\", "\\\\").replace("|", "\\|") for value in values)
    return f"{word}:{'|'.join(parts)}"
