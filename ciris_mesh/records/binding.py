"""A federation key's statement that it speaks through one Reticulum identity.

Signed message, all integers big-endian:

    "ciris-mesh/binding/v1" 00 | u16 length | key_id | RNS public key (64) | u64 epoch | u64 expiry

Encoded: a version byte 01, the message from `u16 length` on, the Ed25519 signature (64) and the
ML-DSA-65 signature (3309). Source: design.md, "Identity and attribution" 2.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.records.hybrid import (
    FederationKey,
    HybridPublicKey,
    HybridSignature,
    verify_hybrid,
)
from ciris_mesh.records.kinds import ED25519_SIGNATURE_BYTES, MLDSA65_SIGNATURE_BYTES
from ciris_mesh.records.outcome import Reason

BINDING_DOMAIN: Final = b"ciris-mesh/binding/v1"
RNS_PUBLIC_KEY_BYTES: Final = 64
#: A self-certifying id has at most 49 bytes; ids of registry nodes are free text but short.
KEY_ID_BYTES_MAX: Final = 256

_VERSION: Final = b"\x01"
_TIMES: Final = struct.Struct(">QQ")
_LENGTH: Final = struct.Struct(">H")
_U64_MAX: Final = 2**64 - 1
_HASH_BYTES: Final = 8
_SIGNATURES_BYTES: Final = ED25519_SIGNATURE_BYTES + MLDSA65_SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class Binding:
    """Key id and Reticulum identity, for a time.

    Attributes:
        rns_public_key: 64 bytes, X25519 then Ed25519, as Reticulum announces them.
        epoch: only goes up; a lower one than last seen is a rollback.
        expiry_s: Unix seconds from which the binding no longer counts.

    Raises:
        LocalProtocolError: a field is out of range.
    """

    key_id: str
    rns_public_key: bytes
    epoch: int
    expiry_s: int
    signature: HybridSignature

    def __post_init__(self) -> None:
        _check_fields(self.key_id, self.rns_public_key, self.epoch, self.expiry_s)
        sizes = len(self.signature.ed25519), len(self.signature.mldsa65 or b"")
        if sizes != (ED25519_SIGNATURE_BYTES, MLDSA65_SIGNATURE_BYTES):
            raise LocalProtocolError("a binding needs both signature halves in full")

    @property
    def message(self) -> bytes:
        """The signed bytes."""
        return binding_message(self.key_id, self.rns_public_key, self.epoch, self.expiry_s)

    @property
    def hash8(self) -> bytes:
        """8 bytes that name what is bound, the same however often it is signed.

        Over the message and not the signatures: ML-DSA signing is hedged, and a restart must not
        make every peer fetch 3.4 kB again.
        """
        return hashlib.sha256(self.message).digest()[:_HASH_BYTES]

    def encode(self) -> bytes:
        """Bytes for the wire and for keeping; about 3.5 kB."""
        fields = self.message[len(BINDING_DOMAIN) + 1 :]
        return _VERSION + fields + self.signature.ed25519 + (self.signature.mldsa65 or b"")

    @classmethod
    def decode(cls, data: bytes) -> Binding:
        """Read what `encode` wrote. Unverified: ask `verify_binding`.

        Raises:
            DecodeError: another version, a wrong length, a key id that is no text.
        """
        if data[:1] != _VERSION:
            raise DecodeError("unknown binding version")
        if len(data) < 1 + _LENGTH.size:
            raise DecodeError("the binding is cut off")
        (length,) = _LENGTH.unpack_from(data, 1)
        start = 1 + _LENGTH.size
        key_end = start + length
        times_at = key_end + RNS_PUBLIC_KEY_BYTES
        signatures_at = times_at + _TIMES.size
        if len(data) != signatures_at + _SIGNATURES_BYTES:
            raise DecodeError(f"a binding of {len(data)} bytes has the wrong length")
        epoch, expiry_s = _TIMES.unpack_from(data, times_at)
        pqc_at = signatures_at + ED25519_SIGNATURE_BYTES
        signature = HybridSignature(data[signatures_at:pqc_at], data[pqc_at:])
        try:
            key_id = data[start:key_end].decode("utf-8")
            return cls(key_id, data[key_end:times_at], epoch, expiry_s, signature)
        except (UnicodeDecodeError, LocalProtocolError):
            raise DecodeError("the key id is empty, too long or no text") from None


def binding_message(key_id: str, rns_public_key: bytes, epoch: int, expiry_s: int) -> bytes:
    """The bytes a binding's signature covers.

    Raises:
        LocalProtocolError: a field is out of range.
    """
    _check_fields(key_id, rns_public_key, epoch, expiry_s)
    name = key_id.encode("utf-8")
    return b"".join(
        (
            BINDING_DOMAIN,
            b"\0",
            _LENGTH.pack(len(name)),
            name,
            rns_public_key,
            _TIMES.pack(epoch, expiry_s),
        )
    )


def sign_binding(
    signer: FederationKey, rns_public_key: bytes, epoch: int, expiry_s: int
) -> Binding:
    """Bind `signer` to a Reticulum identity.

    Raises:
        LocalProtocolError: a field is out of range.
    """
    message = binding_message(signer.key_id, rns_public_key, epoch, expiry_s)
    return Binding(signer.key_id, rns_public_key, epoch, expiry_s, signer.sign(message))


def verify_binding(binding: Binding, public: HybridPublicKey, *, now_s: int) -> Reason:
    """Return NONE when the binding stands, BINDING_EXPIRED, or which signature half fails.

    `public` must be the verified key behind `binding.key_id`; epochs are the caller's to compare.
    """
    if now_s >= binding.expiry_s:
        return Reason.BINDING_EXPIRED
    return verify_hybrid(public, binding.message, binding.signature)


def _check_fields(key_id: str, rns_public_key: bytes, epoch: int, expiry_s: int) -> None:
    if not 1 <= len(key_id.encode("utf-8", "replace")) <= KEY_ID_BYTES_MAX:
        raise LocalProtocolError(f"a key id has 1 to {KEY_ID_BYTES_MAX} bytes")
    if len(rns_public_key) != RNS_PUBLIC_KEY_BYTES:
        raise LocalProtocolError(f"an RNS public key has {RNS_PUBLIC_KEY_BYTES} bytes")
    if not 0 <= epoch <= _U64_MAX or not 0 <= expiry_s <= _U64_MAX:
        raise LocalProtocolError("epoch and expiry lie in 0 .. 2**64 - 1")
