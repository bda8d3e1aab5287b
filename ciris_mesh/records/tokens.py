"""Names by which records wait for each other.

A record that lacks a prerequisite waits for a token; a record that reaches the federation shelf
publishes the tokens it answers to, which releases who waits. A token is a kind, a colon, and the
columns others name it by (not always its primary key), joined by `|`:

    key:<key_id>   selfkey:<key_id>                  attestation:<attestation_id>
    identity_occurrence:<identity>|<occurrence>      delegation:<giver>|<taker>
    family:<id>  community:<id>                      location_proof:<subject_key_id>
    family_membership_revocation:<family>            organization:<org_id>
    community_membership_revocation:<community>      org_membership:<org_id>|<user_id>
    identity_occurrence_revocation:<identity>|<occurrence>
    same:attestation|<references_attestation_id>|<attestation_type>|<attesting_key_id>
    same:partner_record|<license_id>|<revision>|<sha256 of JCS(signed_envelope), hex>

Revocations and partner records are nobody's prerequisite. Records that say the same share a `same`
token: under it they are counted, and nobody waits for it. A copy of a record that too few have
signed waits for the record itself, since another copy may bring what it lacks.

Narrow tokens keep others from making a question long or asking it again and again. So there are
some that only find records, and some that are only published:

    vouched:<signer>  vouched:<signer>|<subject>     found: records of a key signed by another,
    steward:<signer>                                 the last of those that say `steward`
    bridged:<voucher>|<kind>|<envelope id, hex>      found: vouches by a key for a bridged row
    key:<key_id>                                     published for the first record of a key alone
    rooted:<key_id>                                  published: a rooted steward signed this key
    stewards                                         published: there are more rooted stewards
    member:<kind>|<group>|<key_id>                   published: a roster lists this key
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.jsontext import JsonNumber
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.provenance import STEWARD_TYPE, identity_types
from ciris_mesh.records.vouches import vouch_of

DELEGATES_TO: Final = "delegates_to"
#: The types of attestations about another, which this member of their signed envelope names.
REFERRING_TYPES: Final = frozenset({"supersedes", "withdraws", "recants"})
REFERENCE_MEMBER: Final = "references_attestation_id"
#: Published when the set of rooted stewards grew.
STEWARDS: Final = "stewards"
_DELEGATION: Final = "delegation"
_VOUCHED: Final = "vouched"
_STEWARD: Final = "steward"
_SELF_KEY: Final = "selfkey"
_ROOTED: Final = "rooted"
_MEMBER: Final = "member"
_SAME: Final = "same"
_BRIDGED: Final = "bridged"
_SAME_MARK: Final = f"{_SAME}:"
#: Nobody waits for these.
_FOUND_ONLY: Final = (f"{_VOUCHED}:", f"{_STEWARD}:", _SAME_MARK, f"{_BRIDGED}:")

_K: Final = EnvelopeKind
_WITH_MEMBERS: Final = (_K.FAMILY, _K.COMMUNITY)
#: Kinds of which several records may say the same.
_REPEATED: Final = (_K.ATTESTATION, _K.PARTNER_RECORD)
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


def self_key_token(key_id: str) -> str:
    """The token of the records of `key_id` that it signed itself."""
    return _spelled(_SELF_KEY, key_id)


def delegation_token(giver: str, taker: str) -> str:
    """The token of the `delegates_to` attestations by one key about another."""
    return _spelled(_DELEGATION, giver, taker)


def vouched_token(signer: str, *subject: str) -> str:
    """The token of all records of other keys that `signer` signed; with `subject`, of that key."""
    return _spelled(_VOUCHED, signer, *subject)


def steward_token(signer: str) -> str:
    """The token of all records of other keys that `signer` signed and that say `steward`."""
    return _spelled(_STEWARD, signer)


def rooted_token(key_id: str) -> str:
    """Published when a record of `key_id` that a rooted steward signed is here."""
    return _spelled(_ROOTED, key_id)


def member_token(kind: EnvelopeKind, group_id: str, key_id: str) -> str:
    """Published when a roster of this group that lists `key_id` is here."""
    return _spelled(_MEMBER, kind.value, group_id, key_id)


def bridged_token(voucher: str, kind: EnvelopeKind, envelope_id: bytes) -> str:
    """The token of vouches by a key for one row (`records.vouches`)."""
    return _spelled(_BRIDGED, voucher, kind.value, envelope_id.hex())


def is_same_token(token: str) -> bool:
    """True for the token that records which say the same share."""
    return token.startswith(_SAME_MARK)


def tokens_of(envelope: Envelope) -> tuple[str, ...]:
    """What this record, of which the signatures stand, answers to on the federation shelf."""
    return (*_names(envelope), *_sameness(envelope), *_vouched_rows(envelope))


def _names(envelope: Envelope) -> tuple[str, ...]:
    columns = _COLUMNS.get(envelope.kind)
    if columns is None:
        return ()
    own = token(envelope.kind, *(str(envelope.record[name]) for name in columns))
    record = envelope.record
    if envelope.kind is _K.ATTESTATION and record["attestation_type"] == DELEGATES_TO:
        pair = str(record["attesting_key_id"]), str(record["attested_key_id"])
        return own, delegation_token(*pair)
    if envelope.kind is _K.KEY:
        types = identity_types(str(record["identity_type"]))
        return own, *_key_tokens(str(record["key_id"]), str(record["scrub_key_id"]), types)
    return (own,)


def published_by(envelope: Envelope, tokens: Sequence[str] | None = None) -> tuple[str, ...]:
    """What releases who waits, when this record reaches the federation shelf.

    Of further records of a key, `key:<key_id>` is not published: who waited has the key.

    Args:
        tokens: `tokens_of` of the record, from whoever has them.
    """
    answers = tokens_of(envelope) if tokens is None else tokens
    found = [one for one in answers if not one.startswith(_FOUND_ONLY)]
    if envelope.kind in _WITH_MEMBERS:
        found += _member_tokens(envelope)
    return tuple(found)


def _member_tokens(envelope: Envelope) -> Iterator[str]:
    members = envelope.record.get("members")
    if not isinstance(members, list):
        return
    group_id = str(envelope.record[_COLUMNS[envelope.kind][0]])
    for member in members:
        if isinstance(member, dict):
            yield member_token(envelope.kind, group_id, str(member["key_id"]))


def _key_tokens(key_id: str, signer: str, types: Collection[str]) -> Iterator[str]:
    if signer == key_id:
        yield self_key_token(key_id)
        return
    yield vouched_token(signer)
    yield vouched_token(signer, key_id)
    if STEWARD_TYPE in types:
        yield steward_token(signer)


def _vouched_rows(envelope: Envelope) -> Iterator[str]:
    vouch = vouch_of(envelope)
    if vouch is not None:
        by = str(envelope.record["attesting_key_id"])
        yield from (bridged_token(by, vouch.kind, one) for one in vouch.ids)


def _sameness(envelope: Envelope) -> tuple[str, ...]:
    """Source: records-and-protocol.md, section 1.3 (structural de-duplication) and 4.1."""
    if envelope.kind not in _REPEATED:
        return ()
    record, inner = envelope.record, envelope.record.get(KINDS[envelope.kind].envelope_field or "")
    if envelope.kind is _K.PARTNER_RECORD:
        content = hashlib.sha256(jcs(inner)).hexdigest()
        revision = record["revision"]
        assert isinstance(revision, JsonNumber), "the field table says so"
        values = [str(record["license_id"]), revision.token, content]
    elif record["attestation_type"] in REFERRING_TYPES:
        reference = inner.get(REFERENCE_MEMBER) if isinstance(inner, dict) else None
        values = [str(reference), str(record["attestation_type"]), str(record["attesting_key_id"])]
    else:
        return ()
    return (_spelled(_SAME, envelope.kind.value, *values),)


def _spelled(word: str, *values: str) -> str:
    parts = [value.replace("\\", "\\\\").replace("|", "\\|") for value in values]
    return f"{word}:{'|'.join(parts)}"
