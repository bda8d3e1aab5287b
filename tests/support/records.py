"""Valid records of every kind, for tests that need some and don't care which.

A directory that knows the signer's key and has `trust_in` the signer admits them, some of them only
after their `prerequisites`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import encode_base64
from ciris_mesh.records.groups import new_group_id
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.timestamps import from_unix_ms

AT_MS = 1_780_000_000_000

_K = EnvelopeKind
_Columns = dict[str, Any]

#: What a record of the kind, by the same signer and with the same number, builds on.
_BUILDS_ON = {
    _K.FAMILY_MEMBERSHIP_REVOCATION: _K.FAMILY,
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _K.COMMUNITY,
    _K.ORG_MEMBERSHIP: _K.ORGANIZATION,
}

Record = tuple[EnvelopeKind, bytes]


def trust_in(*signers: FederationKey, **others: Any) -> Trust:
    """A configuration in which each of these may do everything alone."""
    names = frozenset(signer.key_id for signer in signers)
    given = {"root_stewards": names, "partner_stewards": names, "partner_threshold": 1}
    return Trust(**{**given, **others})


def columns(kind: EnvelopeKind, me: str, n: int, at_ms: int = AT_MS) -> _Columns:
    """Columns of the n-th sample of `kind`; what `author` fills in itself is left out."""
    return _COLUMNS[kind](me, n, at_ms)


@lru_cache(maxsize=4096)
def sample(kind: EnvelopeKind, signer: FederationKey, n: int = 0, at_ms: int = AT_MS) -> bytes:
    """Envelope bytes of the n-th record of `kind` by `signer`, passing `checks.verify_bytes`.

    Different (kind, signer, n) give different envelope ids and, except for keys, occurrences and
    location proofs, different subjects.
    """
    return author(kind, columns(kind, signer.key_id, n, at_ms), signer, at_ms=at_ms)


def prerequisites(
    kind: EnvelopeKind, signer: FederationKey, n: int = 0, at_ms: int = AT_MS
) -> list[Record]:
    """What must be admitted before `sample` of the same arguments, the signer's key left out."""
    below = _BUILDS_ON.get(kind)
    return [(below, sample(below, signer, n, at_ms))] if below is not None else []


def group_columns(kind: EnvelopeKind, label: str, given: _Columns, at_ms: int = AT_MS) -> _Columns:
    """Columns that found a group, its id included."""
    word = kind.value
    full = {"founded_at": from_unix_ms(at_ms), "consensus_protocol": "founder_only", **given}
    full.setdefault(f"{word}_name", label)
    return {**full, f"{word}_key_id": new_group_id(kind, label, full)}


def member(key_id: str, at_ms: int = AT_MS, *, founder: bool = False) -> _Columns:
    """An entry of a roster."""
    role = {"role": "founder"} if founder else {}
    return {"key_id": key_id, "joined_at": from_unix_ms(at_ms), **role}


def _group(kind: EnvelopeKind) -> Callable[[str, int, int], _Columns]:
    def build(me: str, n: int, at_ms: int) -> _Columns:
        given = {
            f"{kind.value}_name": f"{kind.value.title()} №{n}",
            "members": [member(me, at_ms, founder=True)],
        }
        return group_columns(kind, f"{kind.value}-{n}", given, at_ms)

    return build


def _member_removal(kind: EnvelopeKind) -> Callable[[str, int, int], _Columns]:
    id_column = f"{kind.value}_key_id"

    def build(me: str, n: int, at_ms: int) -> _Columns:
        return {
            id_column: columns(kind, me, n, at_ms)[id_column],
            "removed_identity_key_id": me,
            "witness_set": [me],
        }

    return build


_COLUMNS: dict[EnvelopeKind, Callable[[str, int, int], _Columns]] = {
    _K.KEY: lambda me, n, at_ms: {"identity_type": "agent", "identity_ref": f"{me}/{n}"},
    _K.ATTESTATION: lambda me, n, at_ms: {
        "attested_key_id": me,
        "attestation_type": "scores",
        "weight": 0.5,
        "attestation_envelope": {"dimension": "identity:continuity:v1", "n": n},
    },
    _K.REVOCATION: lambda me, n, at_ms: {"revoked_key_id": f"lost-{n}-{me}", "reason": "lost"},
    _K.IDENTITY_OCCURRENCE: lambda me, n, at_ms: {
        "identity_key_id": me,
        "occurrence_key_id": me,
        "device_class": "laptop",
        "hardware_attestation": encode_base64(b"TPM %d" % n),
    },
    _K.FAMILY: _group(_K.FAMILY),
    _K.COMMUNITY: _group(_K.COMMUNITY),
    _K.IDENTITY_OCCURRENCE_REVOCATION: lambda me, n, at_ms: {
        "identity_key_id": me,
        "occurrence_key_id": f"laptop-{n}",
        "reason": "lost",
    },
    _K.FAMILY_MEMBERSHIP_REVOCATION: _member_removal(_K.FAMILY),
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _member_removal(_K.COMMUNITY),
    _K.LOCATION_PROOF: lambda me, n, at_ms: {
        "subject_key_id": me,
        "cell_id": "872830828ffffff",
        "cell_resolution": 7,
        # Another for each n, of which tests of many kills need a million.
        "attestation_evidence": [1 + n // 65536 % 255, 2, n % 256, 255 - n // 256 % 256],
    },
    _K.ORGANIZATION: lambda me, n, at_ms: {
        "org_id": f"org-{n}-{me}",
        "name": f"Örg {n}",
        "org_type": "community",
        "status": "active",
    },
    _K.ORG_MEMBERSHIP: lambda me, n, at_ms: {
        "user_id": me,
        "org_id": f"org-{n}-{me}",
        "role": "operator",
        "status": "active",
    },
    _K.PARTNER_RECORD: lambda me, n, at_ms: {
        "license_id": f"license-{n}-{me}",
        "partner_id": f"partner-{n}",
        "org_id": f"org-{n}-{me}",
        "license_type": "std",
        "max_autonomy_tier": "A2",
        "requires_supervisor": True,
        "deployment_limit": 5,
        "offline_grace_hours": 72,
        "status": "active",
        "revision": 1,
        "expires_at": "2030-06-10T12:00:00Z",
        "signed_envelope": {"capabilities_granted": ["a", "b"], "capabilities_denied": []},
    },
}
