"""Bound hybrid signatures and the key ids that follow from them.

A signature is two: Ed25519 over the message, and ML-DSA-65 (FIPS 204, empty context) over the
message followed by the Ed25519 signature. Binding the second to the first keeps a post-quantum
half from being paired with another classical half.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
)

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.frozen import guarded_by_types
from ciris_mesh.records.kinds import (
    ED25519_PUBLIC_BYTES,
    ED25519_SIGNATURE_BYTES,
    MLDSA65_PUBLIC_BYTES,
    MLDSA65_SIGNATURE_BYTES,
)
from ciris_mesh.records.outcome import Reason

SEED_BYTES: Final = 32
KEY_ID_DIGEST_CHARS: Final = 16
_BASE32: Final = frozenset("abcdefghijklmnopqrstuvwxyz234567")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

_FIELD_PRIME: Final = 2**255 - 19
#: y of the curve points whose order divides 8. Such a public key has signatures that fit any
#: message, so strict verification refuses it (ed25519-dalek's `verify_strict` does too).
_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            "little",
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            "little",
        ),
    }
)


@guarded_by_types
@dataclass(frozen=True, slots=True)
class HybridPublicKey:
    """Both public halves: 32 bytes of Ed25519, 1952 bytes of ML-DSA-65.

    Raises:
        LocalProtocolError: a half has another length. Check lengths before building one from
            received data.
    """

    ed25519: bytes
    mldsa65: bytes

    def __post_init__(self) -> None:
        if len(self.ed25519) != ED25519_PUBLIC_BYTES or len(self.mldsa65) != MLDSA65_PUBLIC_BYTES:
            raise LocalProtocolError("public key halves must have 32 and 1952 bytes")

    @property
    def fingerprint(self) -> bytes:
        """32 bytes: SHA-256 over the Ed25519 half followed by the ML-DSA-65 half."""
        return hashlib.sha256(self.ed25519 + self.mldsa65).digest()


@guarded_by_types
@dataclass(frozen=True, slots=True)
class HybridSignature:
    """The Ed25519 half (64 bytes) and the ML-DSA-65 half (3309 bytes), None while pending."""

    ed25519: bytes
    mldsa65: bytes | None


class HybridPolicy(Enum):
    """What a verifier insists on. Only records that never leave this node may wait for PQC."""

    REQUIRE_HYBRID = "require hybrid"
    ALLOW_CLASSICAL_PENDING = "allow classical pending"


def is_name(name: str) -> bool:
    """True when `name` may be the part of a key id that people choose."""
    return _NAME.fullmatch(name) is not None


def key_id(name: str, public: HybridPublicKey) -> str:
    """The self-certifying id: name, `-`, 16 characters of base32 of the fingerprint (80 bits).

    Raises:
        ValueError: the name is not `[a-z0-9][a-z0-9-]{0,31}`.
    """
    if not is_name(name):
        raise ValueError("a name is 1 to 32 of a-z, 0-9 and -, and starts with a letter or digit")
    return f"{name}-{_digest_text(public)}"


def is_self_certifying(key_id: str, public: HybridPublicKey) -> bool:
    """True when `key_id` is a name followed by the digest of `public`: nobody else can own it."""
    name, _, digest = key_id.rpartition("-")
    return is_name(name) and digest == _digest_text(public)


def key_digest(key_id: str) -> str:
    """What a key id says of its keys: all that follows the name, which its owner chose freely.

    Two self-certifying ids with the same digest are one pair of keys under two names. An id of
    another form is returned whole.
    """
    name, _, digest = key_id.rpartition("-")
    is_digest = len(digest) == KEY_ID_DIGEST_CHARS and _BASE32.issuperset(digest)
    return digest if name and is_digest else key_id


class FederationKey:
    """A node's or person's signing key. The seeds stay inside and appear in no text of it."""

    __slots__ = ("_ed25519", "_mldsa65", "key_id", "public")

    def __init__(self, name: str, ed25519: Ed25519PrivateKey, mldsa65: MLDSA65PrivateKey) -> None:
        self._ed25519 = ed25519
        self._mldsa65 = mldsa65
        self.public = HybridPublicKey(
            ed25519.public_key().public_bytes_raw(), mldsa65.public_key().public_bytes_raw()
        )
        self.key_id = key_id(name, self.public)

    @classmethod
    def from_seeds(cls, name: str, ed25519_seed: bytes, mldsa65_seed: bytes) -> FederationKey:
        """Build the key pair from two 32-byte seeds (RFC 8032 and FIPS 204 `xi`).

        Raises:
            ValueError: a seed has another length, or the name is not allowed.
        """
        if len(ed25519_seed) != SEED_BYTES or len(mldsa65_seed) != SEED_BYTES:
            raise ValueError("a seed has 32 bytes")
        return cls(
            name,
            Ed25519PrivateKey.from_private_bytes(ed25519_seed),
            MLDSA65PrivateKey.from_seed_bytes(mldsa65_seed),
        )

    def __repr__(self) -> str:
        return f"FederationKey({self.key_id!r})"

    def sign(self, message: bytes) -> HybridSignature:
        """Sign with both halves. ML-DSA signing is hedged: the bytes differ from call to call."""
        classical = self._ed25519.sign(message)
        return HybridSignature(classical, self._mldsa65.sign(message + classical))

    def sign_classical(self, message: bytes) -> bytes:
        """Sign with the Ed25519 half alone, for what registry nodes verify. 64 bytes.

        Records are never signed so: `message` must start with a domain that no record has.
        """
        return self._ed25519.sign(message)


def verify_hybrid(
    public: HybridPublicKey,
    message: bytes,
    signature: HybridSignature,
    policy: HybridPolicy = HybridPolicy.REQUIRE_HYBRID,
) -> Reason:
    """Return Reason.NONE when the signature stands, else which half is missing or fails.

    Under ALLOW_CLASSICAL_PENDING the post-quantum half may be absent; present, it must verify.
    """
    if not _verify_ed25519(public.ed25519, message, signature.ed25519):
        return Reason.CLASSICAL_SIGNATURE_INVALID
    if signature.mldsa65 is None:
        pending_allowed = policy is HybridPolicy.ALLOW_CLASSICAL_PENDING
        return Reason.NONE if pending_allowed else Reason.PQC_SIGNATURE_MISSING
    if not _verify_mldsa65(public.mldsa65, message + signature.ed25519, signature.mldsa65):
        return Reason.PQC_SIGNATURE_INVALID
    return Reason.NONE


def verify_classical(ed25519: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether an Ed25519 signature stands, for what registry nodes sign beside records."""
    return _verify_ed25519(ed25519, message, signature)


def verify_halves(
    ed25519: bytes,
    mldsa65: bytes | None,
    message: bytes,
    signature: HybridSignature,
    policy: HybridPolicy = HybridPolicy.REQUIRE_HYBRID,
) -> Reason:
    """`verify_hybrid` for a signer whose post-quantum public key may be missing.

    Both or neither: a post-quantum signature without the key to check it fails under every
    policy. Without either, only ALLOW_CLASSICAL_PENDING is content with the Ed25519 half.

    Raises:
        LocalProtocolError: a public key has another length than 32 or 1952 bytes.
    """
    if mldsa65 is not None:
        return verify_hybrid(HybridPublicKey(ed25519, mldsa65), message, signature, policy)
    if len(ed25519) != ED25519_PUBLIC_BYTES:
        raise LocalProtocolError("an Ed25519 public key has 32 bytes")
    if not _verify_ed25519(ed25519, message, signature.ed25519):
        return Reason.CLASSICAL_SIGNATURE_INVALID
    if signature.mldsa65 is not None:
        return Reason.PQC_SIGNATURE_INVALID
    pending_allowed = policy is HybridPolicy.ALLOW_CLASSICAL_PENDING
    return Reason.NONE if pending_allowed else Reason.PQC_SIGNATURE_MISSING


def _digest_text(public: HybridPublicKey) -> str:
    text = base64.b32encode(public.fingerprint).decode("ascii").lower()
    return text[:KEY_ID_DIGEST_CHARS]


def _verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    y = int.from_bytes(public, "little") & (2**255 - 1)
    if len(signature) != ED25519_SIGNATURE_BYTES or y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _verify_mldsa65(public: bytes, message: bytes, signature: bytes) -> bool:
    if len(signature) != MLDSA65_SIGNATURE_BYTES:
        return False
    try:
        MLDSA65PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
