"""The license gate: a token makes a licence only when both signature halves verify.

A token is a compact JWT of three or four base64url parts without padding, at most 16 KiB:

    header "." payload "." Ed25519 signature [ "." ML-DSA-65 signature ]

    header   {"alg": "EdDSA" (three parts) or "CIRIS_HYBRID_V1" (four), "typ"?: "JWT", "kid"?: text}
    payload  an object with whole numbers `nbf` and `exp`, Unix seconds; the rest is not judged

Ed25519 signs the text `header.payload` as it stands, ML-DSA-65 the same followed by the 64 bytes
of the Ed25519 signature. The number of parts must fit `alg`, which is signed, so the post-quantum
half cannot be cut off and the rest passed on as a classical token. Keys come from the caller,
never from the header; other header members are refused, `crit` and embedded keys among them.
Source: records-and-protocol.md, section 3.6; where it is silent, the stricter reading.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from hmac import compare_digest
from typing import Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.hybrid import HybridPolicy, HybridSignature, verify_halves
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, parse_json
from ciris_mesh.records.kinds import (
    ED25519_PUBLIC_BYTES,
    MLDSA65_PUBLIC_BYTES,
)
from ciris_mesh.records.outcome import Reason

#: Signatures take 4.5 kB of base64; claims are a page of text.
TOKEN_CHARS_MAX: Final = 16 * 1024
#: Claims are flat lists and one object of constraints.
CLAIMS_DEPTH_MAX: Final = 8

CLASSICAL_ALG: Final = "EdDSA"
HYBRID_ALG: Final = "CIRIS_HYBRID_V1"

_PARTS: Final = {CLASSICAL_ALG: 3, HYBRID_ALG: 4}
_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid"})
_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
_SECONDS: Final = re.compile(r"0|[1-9][0-9]{0,14}")


class LicenseResult(StrEnum):
    """What the signatures show."""

    HYBRID_VERIFIED = "hybrid_verified"
    CLASSICAL_VERIFIED = "classical_verified"
    FAILED = "failed"


class LicenseReason(StrEnum):
    """Why a token is not hybrid-verified; NONE when it is."""

    NONE = ""
    NO_CLASSICAL_KEY = "license_no_classical_key"
    MALFORMED = "license_malformed"
    ALGORITHM_NOT_ALLOWED = "license_algorithm_not_allowed"
    CLASSICAL_SIGNATURE_INVALID = "license_classical_signature_invalid"
    PQC_SIGNATURE_INVALID = "license_pqc_signature_invalid"
    NOT_YET_VALID = "license_not_yet_valid"
    EXPIRED = "license_expired"
    PQC_HALF_MISSING = "license_pqc_half_missing"
    PQC_KEY_MISSING = "license_pqc_key_missing"
    PQC_KEY_NOT_PINNED = "license_pqc_key_not_pinned"


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """Whose licences count.

    Attributes:
        classical: 32 bytes of Ed25519; empty when there is none, which fails every token.
        pqc: 1952 bytes of ML-DSA-65 as somebody supplied them, or None.
        pqc_fingerprint: SHA-256 of the ML-DSA-65 key from local configuration; a supplied key
            that does not match it is not used.
    """

    classical: bytes
    pqc: bytes | None = None
    pqc_fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class LicenseVerification:
    """The answer. `claims` are the payload's, empty unless a signature stands."""

    result: LicenseResult
    reason: LicenseReason = LicenseReason.NONE
    claims: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def is_licensable(self) -> bool:
        """True only when both halves verified."""
        return self.result is LicenseResult.HYBRID_VERIFIED


@dataclass(frozen=True, slots=True)
class _Token:
    header: dict[str, JsonValue]
    claims: dict[str, JsonValue]
    message: bytes
    signature: HybridSignature


def verify_license(token: str, keys: IssuerKeys, *, now_s: int) -> LicenseVerification:
    """Judge a licence token at `now_s`, Unix seconds. Never raises for what is in the token."""
    if len(keys.classical) != ED25519_PUBLIC_BYTES:
        return _failed(LicenseReason.NO_CLASSICAL_KEY)
    try:
        parsed = _parsed(token)
    except (MalformedRecord, ValueError):
        return _failed(LicenseReason.MALFORMED)
    for reason in _problems(token, parsed, keys, now_s):
        return _failed(reason)
    reason = _why_classical(parsed, keys)
    if reason is not LicenseReason.NONE:
        return LicenseVerification(LicenseResult.CLASSICAL_VERIFIED, reason, parsed.claims)
    return LicenseVerification(LicenseResult.HYBRID_VERIFIED, reason, parsed.claims)


def is_pinned(key: bytes, fingerprint: bytes) -> bool:
    """True when SHA-256 of `key` is `fingerprint`; takes the same time wherever they differ."""
    return compare_digest(hashlib.sha256(key).digest(), fingerprint)


def _failed(reason: LicenseReason) -> LicenseVerification:
    return LicenseVerification(LicenseResult.FAILED, reason)


def _problems(token: str, parsed: _Token, keys: IssuerKeys, now_s: int) -> Iterator[LicenseReason]:
    header = parsed.header
    if _PARTS.get(str(header.get("alg"))) != token.count(".") + 1:
        yield LicenseReason.ALGORITHM_NOT_ALLOWED
    if header.keys() - _HEADER_MEMBERS or header.get("typ", "JWT") != "JWT":
        yield LicenseReason.ALGORITHM_NOT_ALLOWED
    if not isinstance(header.get("kid", ""), str):
        yield LicenseReason.ALGORITHM_NOT_ALLOWED
    if not _stands(parsed, keys.classical, None):
        yield LicenseReason.CLASSICAL_SIGNATURE_INVALID
    pqc = _usable_pqc_key(keys) if parsed.signature.mldsa65 is not None else None
    if pqc is not None and not _stands(parsed, keys.classical, pqc):
        yield LicenseReason.PQC_SIGNATURE_INVALID
    if now_s < _seconds(parsed.claims, "nbf"):
        yield LicenseReason.NOT_YET_VALID
    if now_s >= _seconds(parsed.claims, "exp"):
        yield LicenseReason.EXPIRED


def _why_classical(parsed: _Token, keys: IssuerKeys) -> LicenseReason:
    if keys.pqc is None or keys.pqc_fingerprint is None:
        return LicenseReason.PQC_KEY_MISSING
    if _usable_pqc_key(keys) is None:
        return LicenseReason.PQC_KEY_NOT_PINNED
    if parsed.signature.mldsa65 is None:
        return LicenseReason.PQC_HALF_MISSING
    return LicenseReason.NONE


def _usable_pqc_key(keys: IssuerKeys) -> bytes | None:
    if keys.pqc is None or keys.pqc_fingerprint is None:
        return None
    if len(keys.pqc) != MLDSA65_PUBLIC_BYTES or not is_pinned(keys.pqc, keys.pqc_fingerprint):
        return None
    return keys.pqc


def _stands(parsed: _Token, classical: bytes, pqc: bytes | None) -> bool:
    half = parsed.signature if pqc is not None else HybridSignature(parsed.signature.ed25519, None)
    policy = HybridPolicy.ALLOW_CLASSICAL_PENDING if pqc is None else HybridPolicy.REQUIRE_HYBRID
    return verify_halves(classical, pqc, parsed.message, half, policy) is Reason.NONE


def _parsed(token: str) -> _Token:
    if len(token) > TOKEN_CHARS_MAX:
        raise ValueError("too long")
    header, payload, *signatures = token.split(".")
    if not 1 <= len(signatures) <= 2:
        raise ValueError("three or four parts")
    halves = [_decoded(part) for part in signatures]
    message = f"{header}.{payload}".encode("ascii")
    signature = HybridSignature(halves[0], halves[1] if len(halves) == 2 else None)
    claims = _object(payload)
    _seconds(claims, "nbf")
    _seconds(claims, "exp")
    return _Token(_object(header), claims, message, signature)


def _object(part: str) -> dict[str, JsonValue]:
    value = parse_json(_decoded(part), depth_max=CLAIMS_DEPTH_MAX)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _decoded(part: str) -> bytes:
    if _PART.fullmatch(part) is None:
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode("ascii"):
        raise ValueError("unused bits are set")
    return data


def _seconds(claims: dict[str, JsonValue], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, JsonNumber) or _SECONDS.fullmatch(value.token) is None:
        raise ValueError(f"{name} is no time")
    return int(value.token)
