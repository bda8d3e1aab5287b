"""Names by which answers find records: a word, `=`, and what the record is about.

Tokens (`records.tokens`) serve admission and belong to the federation shelf. Names serve questions
and are kept for every shelf, so that an answer can say what it set aside. Each question about one
subject reads rows by name and nothing else: it never looks through a table.

    key=<key_id>                 its records          vouch=<key_id>|<signer>   those by one signer
    revoked=<key_id>             its revocations      revoked=<key_id>|<signer> those by one signer
    revocations=                 all revocations      revocations=<signer>      those by one signer
    attestation=<id>             under that id
    about=<key_id>               about that key       about=<key_id>|<attester> those by one
    reference=<attestation_id>   what takes it back   occurrences=<identity>    with their removals
    family=<id>  community=<id>  rosters, removals    location=<subject>
    organization=<org_id>        admins=<org_id>      grants of org_admin
    membership=<org_id>|<user>   license=<license_id>
    ends=<kind>|<day>            records of a kind that end on a day, counted from 1970

The word never ends in a colon, so no name is a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ciris_mesh.records.envelope import Envelope, piped
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.timestamps import to_unix_ns

#: The member of a signed envelope by which one attestation refers to another.
REFERENCE_MEMBER: Final = "references_attestation_id"

ALL_REVOCATIONS: Final = "revocations="

#: Days in five digits, so that they sort as text: until the year 2243.
DAY_MAX: Final = 99_999
_DAY_NS: Final = 86_400 * 1_000_000_000
#: Columns that say until when a record counts.
_ENDS: Final = ("valid_until", "expires_at")

_K: Final = EnvelopeKind
_ATTESTATION_ENVELOPE: Final = KINDS[EnvelopeKind.ATTESTATION].envelope_field or ""


def name(word: str, *values: str) -> str:
    """The name of records about `values`, in the order the table above has them."""
    return f"{word}={piped(values)}"


def names_of(envelope: Envelope) -> tuple[str, ...]:
    """What this record is found by, on whichever shelf it stands. Each once."""
    names = _NAMES[envelope.kind](envelope)
    day = last_day(envelope)
    if day is not None:
        names.append(end_name(envelope.kind, day))
    return tuple(dict.fromkeys(names))


def last_day(envelope: Envelope) -> int | None:
    """The day, counted from 1970, on which this record ends; None when it does not."""
    for column in _ENDS:
        value = envelope.record.get(column)
        if isinstance(value, str) and KINDS[envelope.kind].field(column) is not None:
            return min(DAY_MAX, max(0, to_unix_ns(value) // _DAY_NS))
    return None


def end_name(kind: EnvelopeKind, day: int) -> str:
    """The name of records of a kind that end on a day. Names of earlier days are smaller."""
    return name("ends", kind.value, f"{day:05}")


def reference_of(attestation: Envelope) -> str:
    """The attestation this one takes back; "" when it names none."""
    inner = attestation.record[_ATTESTATION_ENVELOPE]
    reference = inner.get(REFERENCE_MEMBER) if isinstance(inner, dict) else None
    return reference if isinstance(reference, str) else ""


def _by(word: str, *columns: str) -> Callable[[Envelope], list[str]]:
    return lambda envelope: [name(word, *[str(envelope.record[it]) for it in columns])]


def _of_key(envelope: Envelope) -> list[str]:
    key_id = str(envelope.record["key_id"])
    return [name("key", key_id), *(name("vouch", key_id, one) for one in envelope.signers)]


def _of_revocation(envelope: Envelope) -> list[str]:
    key_id, by = (str(envelope.record[it]) for it in ("revoked_key_id", "revoking_key_id"))
    pair = name("revoked", key_id, by)
    return [name("revoked", key_id), pair, ALL_REVOCATIONS, name("revocations", by)]


def _of_attestation(envelope: Envelope) -> list[str]:
    record = envelope.record
    listed = record.get("subject_key_ids")
    subjects = [record["attested_key_id"], *(listed if isinstance(listed, list) else ())]
    found = [name("attestation", str(record["attestation_id"]))]
    found += [name("about", str(subject)) for subject in subjects]
    by = str(record["attesting_key_id"])
    found += [name("about", str(subject), by) for subject in subjects]
    reference = reference_of(envelope)
    return [*found, name("reference", reference)] if reference else found


def _of_membership(envelope: Envelope) -> list[str]:
    org_id, user_id = (str(envelope.record[it]) for it in ("org_id", "user_id"))
    found = [name("membership", org_id, user_id)]
    return [*found, name("admins", org_id)] if envelope.record["role"] == "org_admin" else found


_NAMES: Final[Mapping[EnvelopeKind, Callable[[Envelope], list[str]]]] = MappingProxyType(
    {
        _K.KEY: _of_key,
        _K.ATTESTATION: _of_attestation,
        _K.REVOCATION: _of_revocation,
        _K.IDENTITY_OCCURRENCE: _by("occurrences", "identity_key_id"),
        _K.FAMILY: _by("family", "family_key_id"),
        _K.COMMUNITY: _by("community", "community_key_id"),
        _K.IDENTITY_OCCURRENCE_REVOCATION: _by("occurrences", "identity_key_id"),
        _K.FAMILY_MEMBERSHIP_REVOCATION: _by("family", "family_key_id"),
        _K.COMMUNITY_MEMBERSHIP_REVOCATION: _by("community", "community_key_id"),
        _K.LOCATION_PROOF: _by("location", "subject_key_id"),
        _K.ORGANIZATION: _by("organization", "org_id"),
        _K.ORG_MEMBERSHIP: _of_membership,
        _K.PARTNER_RECORD: _by("license", "license_id"),
    }
)
