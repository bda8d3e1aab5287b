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
from ciris_mesh.records.provenance import CHAIN_LINKS_MAX, STEWARD_TYPE, identity_types
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
from ciris_mesh.records.tokens import key_token

ACCORD_HOLDER: Final = "accord_holder"

#: A nonce shows that the hardware was there when the record was signed: a day covers a ceremony.
NONCE_AGE_MS_MAX: Final = 86_400_000

#: Keys looked at above one key. Only who holds admitted keys can widen the search, and a root that
#: signed the key itself is found whatever they do.
KEYS_VISITED_MAX: Final = 256


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
    """FINE when some record says the key is a `word` and a chain leads from it to a root here.

    The record's own signer begins the chain, so calling oneself something is worth nothing.
    """
    starts: set[str] = set()
    for record in facts.named(key_token(key_id)):
        if word not in identity_types(text(record, "identity_type")):
            continue
        if is_root(record, trust):
            return FINE
        starts.add(record.signers[0])
    met, seen = _climb(starts - {key_id}, facts, trust)
    if met:
        return FINE
    return deferred(
        Reason.NOT_ROOTED,
        f"{key_id} is no {word} by a chain to a root configured here",
        key_token(key_id),
        *(key_token(one) for one in sorted(seen)),
    )


def is_root(record: Envelope, trust: Trust) -> bool:
    """True for the self-signed record of a steward whose key is configured as a root."""
    key_id, public = text(record, "key_id"), public_key_of(record)
    is_steward = STEWARD_TYPE in identity_types(text(record, "identity_type"))
    if public is None or public.fingerprint != trust.roots.get(key_id):
        return False
    return is_steward and record.signers == (key_id,)


def _climb(starts: set[str], facts: Facts, trust: Trust) -> tuple[bool, set[str]]:
    """Is one of these keys rooted? Level by level, so the shortest chain decides."""
    seen: set[str] = set()
    level = starts
    for _ in range(CHAIN_LINKS_MAX - 1):
        room = KEYS_VISITED_MAX - len(seen)
        if not level or room <= 0:
            break
        for key_id in sorted(level & trust.roots.keys()):
            if any(is_root(record, trust) for record in facts.named(key_token(key_id))):
                return True, seen
        looked_at = sorted(level)[:room]
        seen |= set(looked_at)
        parents = {record.signers[0] for one in looked_at for record in facts.named(key_token(one))}
        level = parents - seen
    return False, seen


def _moment(value: object) -> int | None:
    try:
        return timestamps.to_unix_ms(value) if isinstance(value, str) else None
    except ValueError:
        return None
