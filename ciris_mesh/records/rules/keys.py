"""Key records: what a key says it is, and what that takes; and whether it is rooted here.

Anybody may register their own key, or vouch for another's by signing its record; ids were checked
with the signatures. Whether a key is rooted is asked only where a power depends on it. Source:
records-and-protocol.md, sections 3.5, 4.1 and 4.1a.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ciris_mesh.records import timestamps
from ciris_mesh.records.checks import public_key_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.provenance import STEWARD_TYPE, identity_types
from ciris_mesh.records.rules.base import (
    FINE,
    Facts,
    Finding,
    Trust,
    deferred,
    first,
    refused,
    text,
    time_ms,
)
from ciris_mesh.records.tokens import STEWARDS, rooted_token, self_key_token, vouched_token

ACCORD_HOLDER: Final = "accord_holder"

#: A nonce shows that the hardware was there when the record was signed: a day covers a ceremony.
NONCE_AGE_MS_MAX: Final = 86_400_000


def content(envelope: Envelope, trust: Trust) -> Finding:
    """The identity types are one set in one spelling; an accord holder shows its hardware."""
    return first(_problems(envelope, trust))


def _problems(envelope: Envelope, trust: Trust) -> Iterator[Finding]:
    words = text(envelope, "identity_type").split(",")
    if words != sorted(set(words)) or any(word != word.strip() or not word for word in words):
        yield refused(
            Reason.IDENTITY_TYPE_MALFORMED,
            "write identity types sorted, each once, joined by commas alone",
        )
    if ACCORD_HOLDER in words:
        yield from _evidence_problems(envelope, trust)


def _evidence_problems(envelope: Envelope, trust: Trust) -> Iterator[Finding]:
    evidence = envelope.record.get("attestation_evidence")
    if not isinstance(evidence, Mapping):
        yield refused(Reason.ACCORD_EVIDENCE_MISSING, "an accord holder shows its hardware")
        return
    platform = evidence.get("platform_attestation")
    captured_ms = _moment(evidence.get("nonce_captured_at"))
    hardware = platform.get("hardware_type") if isinstance(platform, Mapping) else None
    if captured_ms is None or not isinstance(hardware, str):
        yield refused(
            Reason.ACCORD_EVIDENCE_INCOMPLETE,
            "it takes nonce_captured_at and platform_attestation with its hardware_type",
        )
        return
    signed_ms = time_ms(envelope, "scrub_timestamp") or 0
    if not 0 <= signed_ms - captured_ms <= NONCE_AGE_MS_MAX:
        yield refused(
            Reason.ACCORD_EVIDENCE_STALE, "the nonce was not captured in the day before signing"
        )
    if hardware not in trust.hardware_types:
        yield refused(
            Reason.HARDWARE_TYPE_NOT_ACCEPTED, f"{hardware[:40]!r} is not in this node's [trust]"
        )


def rooted_as(word: str, key_id: str, facts: Facts, trust: Trust) -> Finding:
    """FINE when a rooted steward signed a record of the key that says `word`, or a root its own.

    Nobody else's records are looked at: they could neither help nor make the search long.
    """
    for signer in facts.stewards():
        for record in facts.named(vouched_token(signer, key_id)):
            if word in identity_types(text(record, "identity_type")):
                return FINE
    if key_id in trust.roots:
        for record in facts.named(self_key_token(key_id)):
            if word in identity_types(text(record, "identity_type")) and is_root(record, trust):
                return FINE
    return deferred(
        Reason.NOT_ROOTED,
        f"no steward rooted here says {word} of {key_id}",
        rooted_token(key_id),
        STEWARDS,
    )


def is_root(record: Envelope, trust: Trust) -> bool:
    """True for the self-signed record of a steward whose key is configured as a root."""
    key_id, public = text(record, "key_id"), public_key_of(record)
    is_steward = STEWARD_TYPE in identity_types(text(record, "identity_type"))
    if public is None or public.fingerprint != trust.roots.get(key_id):
        return False
    return is_steward and record.signers == (key_id,)


def _moment(value: object) -> int | None:
    try:
        return timestamps.to_unix_ms(value) if isinstance(value, str) else None
    except ValueError:
        return None
