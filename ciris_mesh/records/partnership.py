"""Partnerships: one grants, the other accepts, under one pair id.

Each half signs exactly seven members:

    attestation_type    "scores"
    attesting_key_id    who says it, and who signs it
    bilateral_pair_id   the same text in both halves
    dimension           "consent:partnership_grant:v1" or "consent:partnership_accept:v1"
    score               a number above 0
    signed_at           YYYY-MM-DDTHH:MM:SS.sssZ
    subject_key_ids     a list of one: the other party

There is no end date: one present, even null, makes it something else. Inside an attestation the
envelope also mirrors that record's columns; those are allowed there and nothing more. Source:
records-and-protocol.md, section 4.5; the names: CEG section 8.1.12.7.1. Where both are silent:
nobody partners with themselves, and nobody accepts before the grant (5 minutes of clock skew are
forgiven).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ciris_mesh.errors import LocalProtocolError, MalformedRecord
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.checks import KeyLookup
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.hybrid import HybridSignature, verify_hybrid
from ciris_mesh.records.jsontext import JsonNumber, JsonValue
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.merge import SKEW_MS_MAX
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.signing import RECORD_KIND_MEMBER, mirror_problem, mirrored_columns

PARTNERSHIP_MEMBERS: Final = frozenset(
    {
        "attestation_type",
        "attesting_key_id",
        "bilateral_pair_id",
        "dimension",
        "score",
        "signed_at",
        "subject_key_ids",
    }
)
SCORES: Final = "scores"

#: A UUID has 36 characters; room for other schemes.
PAIR_ID_CHARS_MAX: Final = 128

_MIRRORED: Final = frozenset(
    {RECORD_KIND_MEMBER}
    | {column.name for column in mirrored_columns(KINDS[EnvelopeKind.ATTESTATION])}
)
_NEVER: Final = frozenset({"valid_until", "expires_at"})


class PartnershipSide(StrEnum):
    """Which half, by its dimension."""

    GRANT = "consent:partnership_grant:v1"
    ACCEPT = "consent:partnership_accept:v1"


_SIDES: Final[Mapping[str, PartnershipSide]] = {side.value: side for side in PartnershipSide}


class PartnershipReason(StrEnum):
    """Why two halves are no partnership; NONE when they are."""

    NONE = ""
    WRONG_SIDES = "partnership_wrong_sides"
    PAIR_ID_DIFFERS = "partnership_pair_id_differs"
    PARTIES_DIFFER = "partnership_parties_differ"
    ACCEPTED_TOO_EARLY = "partnership_accepted_too_early"
    SIGNER_UNKNOWN = "partnership_signer_unknown"
    SIGNATURE_INVALID = "partnership_signature_invalid"


@dataclass(frozen=True, slots=True)
class PartnershipHalf:
    """One half, well-formed. `message` are the bytes it is signed over."""

    side: PartnershipSide
    signer: str
    partner: str
    pair_id: str
    signed_at_ms: int
    message: bytes


def partnership_members(
    side: PartnershipSide, signer: str, partner: str, pair_id: str, signed_at_ms: int
) -> dict[str, JsonValue]:
    """The seven members, to be signed over their JCS bytes. The score is 1.

    Raises:
        MalformedRecord: as `parse_half`.
        ValueError: the time is outside the years 0000 to 9999.
    """
    members: dict[str, JsonValue] = {
        "attestation_type": SCORES,
        "attesting_key_id": signer,
        "bilateral_pair_id": pair_id,
        "dimension": side.value,
        "score": JsonNumber("1"),
        "signed_at": timestamps.ceg(signed_at_ms),
        "subject_key_ids": [partner],
    }
    parse_half(members)
    return members


def parse_half(members: JsonValue) -> PartnershipHalf:
    """Read one half that consists of the seven members and nothing else.

    Raises:
        MalformedRecord: `missing_member`, `unknown_member`, `wrong_type` or `value_not_allowed`.
    """
    if not isinstance(members, dict):
        raise MalformedRecord(Reason.WRONG_TYPE, "a partnership is an object")
    for name in sorted(PARTNERSHIP_MEMBERS - members.keys()):
        raise MalformedRecord(Reason.MISSING_MEMBER, name)
    for name in sorted(members.keys() - PARTNERSHIP_MEMBERS):
        raise MalformedRecord(Reason.UNKNOWN_MEMBER, name)
    return _half(members)


def half_of(envelope: Envelope) -> PartnershipHalf:
    """Read an attestation as one half; its envelope may mirror the record's columns besides.

    Raises:
        LocalProtocolError: the envelope is of another kind.
        MalformedRecord: as `parse_half`; also when the columns are not signed, the attested key
            is not the partner, or the attestation ends.
    """
    if envelope.kind is not EnvelopeKind.ATTESTATION:
        raise LocalProtocolError(f"a {envelope.kind.value} is no half of a partnership")
    record = envelope.record
    problem = mirror_problem(envelope.kind, record)
    if problem is not None:
        raise MalformedRecord(Reason.COLUMNS_NOT_SIGNED, problem)
    members = record["attestation_envelope"]
    if not isinstance(members, dict):
        raise MalformedRecord(Reason.WRONG_TYPE, "a partnership is an object")
    for name in sorted(PARTNERSHIP_MEMBERS - members.keys()):
        raise MalformedRecord(Reason.MISSING_MEMBER, name)
    for name in sorted(members.keys() - PARTNERSHIP_MEMBERS - (_MIRRORED - _NEVER)):
        raise MalformedRecord(Reason.UNKNOWN_MEMBER, name)
    half = _half(members)
    if record["attested_key_id"] != half.partner:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "the attested key is not the partner")
    return half


def match_halves(grant: PartnershipHalf, accept: PartnershipHalf) -> PartnershipReason:
    """Do the two belong together? Signatures are not looked at."""
    if (grant.side, accept.side) != (PartnershipSide.GRANT, PartnershipSide.ACCEPT):
        return PartnershipReason.WRONG_SIDES
    if grant.pair_id != accept.pair_id:
        return PartnershipReason.PAIR_ID_DIFFERS
    if (grant.signer, grant.partner) != (accept.partner, accept.signer):
        return PartnershipReason.PARTIES_DIFFER
    if accept.signed_at_ms < grant.signed_at_ms - SKEW_MS_MAX:
        return PartnershipReason.ACCEPTED_TOO_EARLY
    return PartnershipReason.NONE


def verify_partnership(
    grant: tuple[PartnershipHalf, HybridSignature],
    accept: tuple[PartnershipHalf, HybridSignature],
    keys: KeyLookup,
) -> PartnershipReason:
    """Do the two belong together, and did both parties sign, each with both signature halves?

    Each half is verified with the directory's key of its signer.
    """
    reason = match_halves(grant[0], accept[0])
    if reason is not PartnershipReason.NONE:
        return reason
    for half, signature in (grant, accept):
        public = keys(half.signer)
        if public is None:
            return PartnershipReason.SIGNER_UNKNOWN
        if verify_hybrid(public, half.message, signature) is not Reason.NONE:
            return PartnershipReason.SIGNATURE_INVALID
    return PartnershipReason.NONE


def _half(members: dict[str, JsonValue]) -> PartnershipHalf:
    side = _SIDES.get(_text(members, "dimension"))
    if side is None or members["attestation_type"] != SCORES:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "no partnership dimension")
    score = members["score"]
    if not isinstance(score, JsonNumber) or not 0 < float(score.token) < float("inf"):
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "score is not above 0")
    signer = _text(members, "attesting_key_id")
    match members["subject_key_ids"]:
        case [str(partner)] if partner and partner != signer:
            pass
        case _:
            raise MalformedRecord(
                Reason.VALUE_NOT_ALLOWED, "subject_key_ids names not exactly the other party"
            )
    pair_id = _text(members, "bilateral_pair_id")
    if len(pair_id) > PAIR_ID_CHARS_MAX:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "bilateral_pair_id is too long")
    signed_at_ms = _signed_time(_text(members, "signed_at"))
    message = jcs(members)
    return PartnershipHalf(side, signer, partner, pair_id, signed_at_ms, message)


def _signed_time(text: str) -> int:
    try:
        at_ms = timestamps.to_unix_ms(text)
        is_signed_form = timestamps.ceg(at_ms) == text
    except ValueError:
        is_signed_form = False
    if not is_signed_form:
        raise MalformedRecord(Reason.VALUE_NOT_ALLOWED, "signed_at is not YYYY-MM-DDTHH:MM:SS.sssZ")
    return at_ms


def _text(members: dict[str, JsonValue], name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or not value:
        raise MalformedRecord(Reason.WRONG_TYPE, f"{name} is no text")
    return value
