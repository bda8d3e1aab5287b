"""What a node announces with `ciris.edge`: whose key speaks through this RNS identity.

    01 | u8 n | key_id (n bytes) | Ed25519 key (32) | u64 epoch | signature (64)
    02 | ... the same ...                                       | manifest commitment (32)

The signature is Ed25519 by the federation key, over a domain and both keys of the announcing
identity, which the announce itself carries:

    ciris-edge/announce-attestation/v2 | u64 32 | Ed25519 | u64 32 | X25519 | u64 n | key_id | epoch

All numbers are big-endian. Source: spec, registry-nodes.md section 4.2; CIRISEdge 12.0 and later.
Nothing in it counts until `is_signed` holds against a key that is pinned here: the key inside is
a claim.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.records.hybrid import FederationKey, verify_classical
from ciris_mesh.records.kinds import ED25519_PUBLIC_BYTES, ED25519_SIGNATURE_BYTES

DOMAIN: Final = b"ciris-edge/announce-attestation/v2"
VERSION_PLAIN: Final = 1
VERSION_COMMITTED: Final = 2
COMMITMENT_BYTES: Final = 32

#: What an announce with a ratchet leaves for this; registry nodes keep to it.
APP_DATA_BYTES_MAX: Final = 300

#: X25519 and Ed25519, as Reticulum orders them.
RNS_PUBLIC_KEY_BYTES: Final = 64

_HALF_BYTES: Final = 32
_FIXED_BYTES: Final = 2 + ED25519_PUBLIC_BYTES + 8 + ED25519_SIGNATURE_BYTES
_U64: Final = struct.Struct(">Q")

KEY_ID_BYTES_MAX: Final = APP_DATA_BYTES_MAX - _FIXED_BYTES


@dataclass(frozen=True, slots=True)
class EdgeAttestation:
    """One attestation, as announced. A claim.

    Attributes:
        ed25519: the classical half of the federation key, by its own account.
        epoch: grows when the RNS identity changes.
        commitment: hash of the node's build manifest; None in version 1.
    """

    key_id: str
    ed25519: bytes
    epoch: int
    signature: bytes
    commitment: bytes | None = None

    def is_signed(self, ed25519: bytes, rns_public_key: bytes) -> bool:
        """Say whether `ed25519`, a key we know, signed this for the announcing identity.

        Args:
            rns_public_key: the 64 bytes of the identity that announced it.
        """
        if len(rns_public_key) != RNS_PUBLIC_KEY_BYTES:
            return False
        message = signed_message(self.key_id, rns_public_key, self.epoch)
        return verify_classical(ed25519, message, self.signature)


def attest(key: FederationKey, rns_public_key: bytes, epoch: int) -> EdgeAttestation:
    """Sign that `key` speaks through this RNS identity.

    Raises:
        LocalProtocolError: the public key or the key id has no length an attestation can have.
    """
    if len(rns_public_key) != RNS_PUBLIC_KEY_BYTES:
        raise LocalProtocolError("an RNS public key has 64 bytes")
    signature = key.sign_classical(signed_message(key.key_id, rns_public_key, epoch))
    return EdgeAttestation(key.key_id, key.public.ed25519, epoch, signature)


def signed_message(key_id: str, rns_public_key: bytes, epoch: int) -> bytes:
    """The bytes an attestation signs."""
    x25519, ed25519 = rns_public_key[:_HALF_BYTES], rns_public_key[_HALF_BYTES:]
    fields = (ed25519, x25519, key_id.encode())
    return DOMAIN + b"".join(_U64.pack(len(each)) + each for each in fields) + _U64.pack(epoch)


def encode_attestation(attestation: EdgeAttestation) -> bytes:
    """Return the app_data of an announce.

    Raises:
        LocalProtocolError: it does not fit an announce.
    """
    key_id = attestation.key_id.encode()
    version = VERSION_PLAIN if attestation.commitment is None else VERSION_COMMITTED
    data = b"".join(
        (
            bytes((version, len(key_id) & 0xFF)),
            key_id,
            attestation.ed25519,
            _U64.pack(attestation.epoch),
            attestation.signature,
            attestation.commitment or b"",
        )
    )
    if not key_id or len(data) > APP_DATA_BYTES_MAX:
        raise LocalProtocolError(f"{len(data)} bytes do not fit an announce")
    return data


def decode_attestation(app_data: bytes) -> EdgeAttestation:
    """Read what a node announced.

    Raises:
        DecodeError: another version (nodes before 12.0 announce JSON), a wrong length, or a key
            id that is no text.
    """
    if len(app_data) < 2 or app_data[0] not in (VERSION_PLAIN, VERSION_COMMITTED):
        raise DecodeError(f"{len(app_data)} bytes of announce data are no attestation we can read")
    version, length = app_data[0], app_data[1]
    tail = COMMITMENT_BYTES if version == VERSION_COMMITTED else 0
    if not length or len(app_data) != _FIXED_BYTES + length + tail:
        raise DecodeError(f"an attestation of version {version} has no {len(app_data)} bytes")
    try:
        key_id = app_data[2 : 2 + length].decode()
    except UnicodeDecodeError as error:
        raise DecodeError("the key id is no UTF-8") from error
    rest = app_data[2 + length :]
    ed25519, rest = rest[:ED25519_PUBLIC_BYTES], rest[ED25519_PUBLIC_BYTES:]
    (epoch,) = _U64.unpack_from(rest)
    signature = rest[8 : 8 + ED25519_SIGNATURE_BYTES]
    return EdgeAttestation(key_id, ed25519, epoch, signature, rest[-tail:] if tail else None)
