"""Valid records of every kind, for tests that need some and don't care which."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ciris_mesh.records.authoring import author
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.timestamps import from_unix_ms

AT_MS = 1_780_000_000_000

_K = EnvelopeKind
_Columns = dict[str, Any]


def columns(kind: EnvelopeKind, me: str, n: int, at_ms: int = AT_MS) -> _Columns:
    """Columns of the n-th sample of `kind`; what `author` fills in itself is left out."""
    return _COLUMNS[kind](me, n, from_unix_ms(at_ms))


@lru_cache(maxsize=4096)
def sample(kind: EnvelopeKind, signer: FederationKey, n: int = 0, at_ms: int = AT_MS) -> bytes:
    """Envelope bytes of the n-th record of `kind` by `signer`, passing `checks.verify_bytes`.

    Different (kind, signer, n) give different envelope ids and subjects, except that a signer
    has one key id: its key records differ in `identity_ref` alone, its locations in evidence.
    """
    return author(kind, columns(kind, signer.key_id, n, at_ms), signer, at_ms=at_ms)


def _member_removal(word: str) -> Callable[[str, int, str], _Columns]:
    def build(me: str, n: int, now: str) -> _Columns:
        return {
            f"{word}_key_id": f"{word}-{n}-{me}",
            "removed_identity_key_id": f"guest-{n}",
            "witness_set": [me],
        }

    return build


def _group(word: str) -> Callable[[str, int, str], _Columns]:
    def build(me: str, n: int, now: str) -> _Columns:
        return {
            f"{word}_key_id": f"{word}-{n}-{me}",
            f"{word}_name": f"{word.title()} №{n}",
            "members": [
                {"key_id": me, "joined_at": now, "role": "founder"},
                {"key_id": f"guest-{n}", "joined_at": now},
            ],
            "consensus_protocol": "founder_only",
        }

    return build


_COLUMNS: dict[EnvelopeKind, Callable[[str, int, str], _Columns]] = {
    _K.KEY: lambda me, n, now: {"identity_type": "agent", "identity_ref": f"{me}/{n}"},
    _K.ATTESTATION: lambda me, n, now: {
        "attested_key_id": f"guest-{n}",
        "attestation_type": "scores",
        "weight": 0.5,
        "attestation_envelope": {"dimension": "identity:continuity:v1", "n": n},
    },
    _K.REVOCATION: lambda me, n, now: {"revoked_key_id": f"lost-{n}-{me}", "reason": "lost"},
    _K.IDENTITY_OCCURRENCE: lambda me, n, now: {
        "identity_key_id": me,
        "occurrence_key_id": f"laptop-{n}",
        "device_class": "laptop",
    },
    _K.FAMILY: _group("family"),
    _K.COMMUNITY: _group("community"),
    _K.IDENTITY_OCCURRENCE_REVOCATION: lambda me, n, now: {
        "identity_key_id": me,
        "occurrence_key_id": f"laptop-{n}",
        "reason": "lost",
    },
    _K.FAMILY_MEMBERSHIP_REVOCATION: _member_removal("family"),
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _member_removal("community"),
    _K.LOCATION_PROOF: lambda me, n, now: {
        "subject_key_id": me,
        "cell_id": "872830828ffffff",
        "cell_resolution": 7,
        "attestation_evidence": [1, 2, n % 256, 255],
    },
    _K.ORGANIZATION: lambda me, n, now: {
        "org_id": f"org-{n}-{me}",
        "name": f"Örg {n}",
        "org_type": "community",
        "status": "active",
    },
    _K.ORG_MEMBERSHIP: lambda me, n, now: {
        "user_id": me,
        "org_id": f"org-{n}-{me}",
        "role": "operator",
        "status": "active",
    },
    _K.PARTNER_RECORD: lambda me, n, now: {
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
