"""Envelopes with something wrong: what a broken or hostile peer would send."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ciris_mesh.records.authoring import assemble, draft
from ciris_mesh.records.hybrid import FederationKey, HybridSignature
from ciris_mesh.records.jsontext import from_plain
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.rows import is_wrapper_named, persist_row_hash
from support.records import AT_MS, columns

Wrapper = dict[str, Any]

_LISTS = {
    SignatureStyle.AUTHORITY: "authority",
    SignatureStyle.STEWARDS: "steward_signatures",
}


def edited(kind: EnvelopeKind, raw: bytes, change: Callable[[Wrapper], None]) -> bytes:
    """`raw` with its wrapper changed, and the row hash put right where the id covers it."""
    wrapper = json.loads(raw)
    change(wrapper)
    if is_wrapper_named(kind):
        record = wrapper[KINDS[kind].wrapper_field]
        typed = from_plain(record)
        assert isinstance(typed, dict)
        record["persist_row_hash"] = persist_row_hash(kind, typed)
    return json.dumps(wrapper, ensure_ascii=False, separators=(",", ":")).encode()


def signed(
    kind: EnvelopeKind,
    signer: FederationKey,
    *,
    n: int = 0,
    spoil: Callable[[HybridSignature], HybridSignature],
) -> bytes:
    """The n-th sample of `kind` with its signature spoiled."""
    prepared = draft(kind, columns(kind, signer.key_id, n), signer, at_ms=AT_MS)
    signature = spoil(signer.sign(prepared.message))
    return assemble(prepared, {signer.key_id: signature})


def wrong_classical(signature: HybridSignature) -> HybridSignature:
    """The Ed25519 half with one bit turned."""
    turned = bytes([signature.ed25519[0] ^ 1]) + signature.ed25519[1:]
    return HybridSignature(turned, signature.mldsa65)


def wrong_pqc(signature: HybridSignature) -> HybridSignature:
    """The ML-DSA-65 half with one bit turned."""
    assert signature.mldsa65 is not None
    return HybridSignature(
        signature.ed25519, bytes([signature.mldsa65[0] ^ 1]) + signature.mldsa65[1:]
    )


def no_pqc(signature: HybridSignature) -> HybridSignature:
    """The Ed25519 half alone."""
    return HybridSignature(signature.ed25519, None)


def unsigned(kind: EnvelopeKind, raw: bytes) -> bytes:
    """A record of kinds 4 to 10 and 13 as software without our signatures would send it."""

    def strip(wrapper: Wrapper) -> None:
        member = _LISTS[KINDS[kind].style]
        if member == "authority":
            del wrapper[member]
        else:
            wrapper[member] = []

    return edited(kind, raw, strip)


def spaced(raw: bytes) -> bytes:
    """The same record, written with spaces: other bytes, same id."""
    return json.dumps(json.loads(raw), ensure_ascii=False).encode()
