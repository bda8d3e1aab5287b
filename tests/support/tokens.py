"""Licence tokens, good and spoiled."""

from __future__ import annotations

import base64
import json
from typing import Any

from ciris_mesh.records.hybrid import FederationKey, HybridSignature
from support.keys import steward

NOW_S = 1_780_000_000
CLAIMS: dict[str, Any] = {
    "jti": "lic-1",
    "org_id": "org-1",
    "license_type": "professional",
    "nbf": NOW_S - 10,
    "exp": NOW_S + 10,
}
HYBRID_HEADER: dict[str, Any] = {"alg": "CIRIS_HYBRID_V1", "typ": "JWT", "kid": "steward-1"}
CLASSICAL_HEADER: dict[str, Any] = {"alg": "EdDSA"}


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signing_input(header: object, claims: object) -> str:
    """The two first parts of a token."""
    return ".".join(
        encoded(json.dumps(it, separators=(",", ":")).encode()) for it in (header, claims)
    )


def token(
    header: object = None,
    claims: object = None,
    *,
    signer: FederationKey | None = None,
    spoil: Any = lambda signature: signature,
) -> str:
    """A token by `signer`, in as many parts as its signature has halves."""
    text = signing_input(
        HYBRID_HEADER if header is None else header, CLAIMS if claims is None else claims
    )
    signature: HybridSignature = spoil((signer or steward()).sign(text.encode()))
    parts = [text, encoded(signature.ed25519)]
    if signature.mldsa65 is not None:
        parts.append(encoded(signature.mldsa65))
    return ".".join(parts)
