"""Occurrences: the devices and services an identity runs as, and their removal.

The identity itself vouches for an occurrence, or one that is in force does. They take one away
again too: a laptop removes the stolen phone. So does the occurrence that goes. What a stolen phone
removed after it was gone is for answers to see. Source: records-and-protocol.md, sections 1.3, 4.1
and 4.1a.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ciris_mesh.records.envelope import Envelope, decode_base64, encode_base64
from ciris_mesh.records.jsontext import JsonValue
from ciris_mesh.records.kinds import (
    ML_KEM_768_PUBLIC_BYTES,
    X25519_PUBLIC_BYTES,
    EnvelopeKind,
)
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import (
    FINE,
    Counted,
    Facts,
    Finding,
    Trust,
    deferred,
    deferred_until_all,
    first,
    is_in_force,
    made_at_ms,
    missing_keys,
    refused,
    text,
)
from ciris_mesh.records.tokens import token

_EXCHANGE_KEYS: Final[Mapping[str, int]] = {
    "x25519_base64": X25519_PUBLIC_BYTES,
    "ml_kem_768_base64": ML_KEM_768_PUBLIC_BYTES,
}


def content(envelope: Envelope, trust: Trust) -> Finding:
    """Keys to encrypt to are whole: both halves, of their sizes, and nothing else."""
    keys = envelope.record.get("encryption_pubkeys")
    if keys is None or _are_whole(keys):
        return FINE
    return refused(
        Reason.ENCRYPTION_KEYS_MALFORMED, f"expected {' and '.join(_EXCHANGE_KEYS)}, nothing else"
    )


def standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """Both keys are known, and somebody signed who may vouch."""
    return first(_objections(envelope, facts))


def removal_standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """The identity signed, an occurrence of it, or the one that goes."""
    removing = removal_counted(envelope, facts, trust)
    if removing.signers:
        return FINE
    both = text(envelope, "identity_key_id"), text(envelope, "occurrence_key_id")
    return deferred(
        Reason.REMOVAL_NOT_VOUCHED,
        "neither the identity nor an occurrence of it signed this",
        token(envelope.kind, *both),
        *removing.waits_for,
    )


def counted(envelope: Envelope, facts: Facts, trust: Trust) -> Counted:
    """Those who vouch."""
    identity, signers = text(envelope, "identity_key_id"), envelope.signers
    vouching = vouchers(identity, signers, made_at_ms(envelope), facts)
    return Counted(vouching, vouch_tokens(identity, signers))


def removal_counted(envelope: Envelope, facts: Facts, trust: Trust) -> Counted:
    """Those who vouch for the identity, and the occurrence that goes."""
    vouching = counted(envelope, facts, trust)
    own = frozenset(envelope.signers) & {text(envelope, "occurrence_key_id")}
    return Counted(vouching.signers | own, vouching.waits_for)


def vouchers(identity: str, signers: tuple[str, ...], at_ms: int, facts: Facts) -> frozenset[str]:
    """The signers that are the identity, or were an occurrence of it at that time."""
    return frozenset(
        signer
        for signer in signers
        if signer == identity
        or any(
            is_in_force(record, at_ms, until="valid_until")
            for record in facts.named(token(EnvelopeKind.IDENTITY_OCCURRENCE, identity, signer))
        )
    )


def vouch_tokens(identity: str, signers: tuple[str, ...]) -> tuple[str, ...]:
    """What could make more of them vouch."""
    return tuple(token(EnvelopeKind.IDENTITY_OCCURRENCE, identity, one) for one in signers)


def _objections(envelope: Envelope, facts: Facts) -> Iterator[Finding]:
    identity, occurrence = text(envelope, "identity_key_id"), text(envelope, "occurrence_key_id")
    if missing := missing_keys(facts, [identity, occurrence]):
        yield deferred_until_all(Reason.KEY_UNKNOWN, "a key it names is not here", missing)
    if not vouchers(identity, envelope.signers, made_at_ms(envelope), facts):
        yield deferred(
            Reason.OCCURRENCE_NOT_VOUCHED,
            f"neither {identity} nor an occurrence of it signed this",
            *vouch_tokens(identity, envelope.signers),
        )


def _are_whole(keys: JsonValue) -> bool:
    if not isinstance(keys, dict) or keys.keys() != _EXCHANGE_KEYS.keys():
        return False
    return all(_is_of_size(keys[name], size_bytes) for name, size_bytes in _EXCHANGE_KEYS.items())


def _is_of_size(value: JsonValue, size_bytes: int) -> bool:
    try:
        data = decode_base64(value) if isinstance(value, str) else b""
    except ValueError:
        return False
    return len(data) == size_bytes and encode_base64(data) == value
