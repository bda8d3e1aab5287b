"""The signatures around a record of kinds 4 to 10: leaving some out, joining and naming copies.

Their ids do not cover `authority`, so one record travels in copies that differ in who signed.
Joining is a union: commutative, associative and idempotent, so whoever has seen the same
signatures holds the same bytes, in whatever order they came; where not all of them fit that needs
one answer to who matters, which the rules give. Nothing is verified here.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from ciris_mesh.records.canonical import compact
from ciris_mesh.records.envelope import (
    AUTHORITY_MEMBER,
    ENVELOPE_BYTES_MAX,
    Claim,
    Envelope,
    encode_base64,
    parse_envelope,
)
from ciris_mesh.records.jsontext import JsonValue
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle

#: What a copy's id has in common with its record's: enough to find it by, in an index of ids, and
#: to fall into the same bucket. The other 24 bytes are SHA-256: who grinds them gains nothing.
COPY_HEAD_BYTES: Final = 8

_COSIGNED: Final = frozenset(
    kind for kind, spec in KINDS.items() if spec.style is SignatureStyle.AUTHORITY
)

_COPY_DOMAIN: Final = b"ciris-mesh/copy/v1\0"


def is_cosigned(kind: EnvelopeKind) -> bool:
    """True for kinds 4 to 10: the only ones whose signers may grow under one id."""
    return kind in _COSIGNED


def copy_id(kind: EnvelopeKind, envelope_id: bytes, signers: Iterable[str]) -> bytes:
    """Names a record together with who signed it: what two nodes of ours compare. 32 bytes.

    The envelope id itself for kinds whose ids cover the signatures. WIRE.md says how it is made.
    """
    if not is_cosigned(kind):
        return envelope_id
    digest = hashlib.sha256(_COPY_DOMAIN + envelope_id)
    for name in sorted({signer.encode() for signer in signers}):
        digest.update(struct.pack(">H", len(name)) + name)
    return envelope_id[:COPY_HEAD_BYTES] + digest.digest()[COPY_HEAD_BYTES:]


def only_signed_by(envelope: Envelope, signers: Iterable[str]) -> Envelope:
    """The same record with the entries of `signers` alone. Kinds 4 to 10."""
    kept = frozenset(signers)
    claims = [claim for claim in envelope.claims if claim.key_id in kept]
    return _written(envelope.kind, envelope.record, claims)


def joined(
    one: Envelope,
    other: Envelope,
    worth: Callable[[str], int],
    stands: Callable[[Envelope], bool],
) -> Envelope:
    """One record with the signatures of both copies.

    Over 64 KiB, fourteen signers or so, those stay who are worth most, then whom the record
    itself names, then those with the smallest key ids; but nobody goes without whom it would not
    stand.

    Args:
        one: what is held, and stands.
        other: verified signatures around the same record: same kind and envelope id.
        worth: key id -> the higher, the sooner kept. Names and small ids are free to have: it
            must tell those whose signatures can matter from those who added theirs.
        stands: asked about the record with fewer signers.

    Returns:
        `one` itself where nobody can be spared.
    """
    claims: dict[str, Claim] = {}
    for claim in (*one.claims, *other.claims):
        twin = claims.get(claim.key_id, claim)
        claims[claim.key_id] = min(claim, twin, key=_signature_bytes)
    record = min(one.record, other.record, key=_spelling)
    named = frozenset(_strings(record))

    def rank(claim: Claim) -> tuple[int, bool, bytes]:
        return -worth(claim.key_id), claim.key_id not in named, _order(claim)

    kept = sorted(claims.values(), key=rank)
    while len(_bytes(one.kind, record, kept)) > ENVELOPE_BYTES_MAX:
        fewer = (tuple(it for it in kept if it is not spared) for spared in reversed(kept))
        found = next((it for it in fewer if stands(replace(one, claims=it))), None)
        if found is None:
            return one
        kept = list(found)
    return _written(one.kind, record, kept)


def _written(kind: EnvelopeKind, record: dict[str, JsonValue], claims: list[Claim]) -> Envelope:
    return parse_envelope(kind, _bytes(kind, record, claims))


def _bytes(kind: EnvelopeKind, record: dict[str, JsonValue], claims: list[Claim]) -> bytes:
    entries: list[JsonValue] = [_entry(claim) for claim in sorted(claims, key=_order)]
    return compact({KINDS[kind].wrapper_field: record, AUTHORITY_MEMBER: entries})


def _entry(claim: Claim) -> dict[str, JsonValue]:
    entry: dict[str, JsonValue] = {
        "key_id": claim.key_id,
        "ed25519_signature_base64": encode_base64(claim.signature.ed25519),
    }
    if claim.signature.mldsa65 is not None:
        entry["mldsa65_signature_base64"] = encode_base64(claim.signature.mldsa65)
    return entry


def _order(claim: Claim) -> bytes:
    """Signers are listed by their UTF-16 code units (CEG section 0.9.2.1)."""
    return claim.key_id.encode("utf-16-be")


def _signature_bytes(claim: Claim) -> bytes:
    return claim.signature.ed25519 + (claim.signature.mldsa65 or b"")


def _spelling(record: dict[str, JsonValue]) -> tuple[int, bytes]:
    text = compact(record)
    return len(text), text


def _strings(value: JsonValue) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)
        case _:
            return
