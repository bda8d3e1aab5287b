"""A key for one recipient, safe while either X25519 or ML-KEM-768 is.

One message from initiator to recipient; the initiator is not authenticated by it, so whatever
carries it must be signed. Source: records-and-protocol.md, section 3.9.

    key = HKDF-SHA256(ikm  = x25519 secret ‖ ML-KEM secret,
                      salt = ephemeral x25519 ‖ recipient x25519 ‖ ciphertext ‖ recipient ML-KEM,
                      info = "CIRIS-FED-KEX-V1", 32 bytes)

There is no falling back: whoever asks for HYBRID_REQUIRED gets a hybrid key or
`hybrid_required_but_peer_lacks_mlkem`. CLASSICAL, the same without ML-KEM under ids of its own,
exists to be named and refused, and for what never leaves this node. An X25519 secret of zeros,
which a hostile peer can force, is refused: ML-KEM alone is never enough either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ciris_mesh.errors import KeyExchangeRefused
from ciris_mesh.records.envelope import decode_base64, encode_base64
from ciris_mesh.records.jsontext import JsonValue
from ciris_mesh.records.kinds import ML_KEM_768_PUBLIC_BYTES, X25519_PUBLIC_BYTES

HYBRID_ALGORITHM: Final = "hybrid-x25519-mlkem768-hkdf-sha256-v1"
CLASSICAL_ALGORITHM: Final = "classical-x25519-hkdf-sha256-v1"

CIPHERTEXT_BYTES: Final = 1088
SHARED_KEY_BYTES: Final = 32
X25519_PRIVATE_BYTES: Final = 32
ML_KEM_768_SEED_BYTES: Final = 64

_HYBRID_INFO: Final = b"CIRIS-FED-KEX-V1"
_CLASSICAL_INFO: Final = b"CIRIS-FED-KEX-V1-CLASSICAL"

_X25519_MEMBER: Final = "x25519_base64"
_MLKEM_MEMBER: Final = "ml_kem_768_base64"


class KexReason(StrEnum):
    """Why there is no key."""

    PEER_LACKS_MLKEM = "hybrid_required_but_peer_lacks_mlkem"
    ALGORITHM_NOT_ALLOWED = "kex_algorithm_not_allowed"
    WRONG_SIZE = "kex_wrong_size"
    X25519_SECRET_ZERO = "kex_x25519_secret_zero"
    KEY_NOT_VALID = "kex_key_not_valid"
    OWN_KEY_LACKS_MLKEM = "kex_own_key_lacks_mlkem"
    PUBKEYS_MALFORMED = "kex_pubkeys_malformed"


class KexMode(Enum):
    """What the caller insists on; never lowered by what the other side offers."""

    HYBRID_REQUIRED = HYBRID_ALGORITHM
    CLASSICAL = CLASSICAL_ALGORITHM


@dataclass(frozen=True, slots=True)
class KexPublicKey:
    """What an occurrence publishes as `encryption_pubkeys`.

    Raises:
        KeyExchangeRefused: `kex_wrong_size` for other lengths than 32 and 1184 bytes.
    """

    x25519: bytes
    mlkem768: bytes | None

    def __post_init__(self) -> None:
        _require_size(self.x25519, X25519_PUBLIC_BYTES)
        if self.mlkem768 is not None:
            _require_size(self.mlkem768, ML_KEM_768_PUBLIC_BYTES)

    def members(self) -> dict[str, JsonValue]:
        """The column's JSON."""
        members: dict[str, JsonValue] = {_X25519_MEMBER: encode_base64(self.x25519)}
        if self.mlkem768 is not None:
            members[_MLKEM_MEMBER] = encode_base64(self.mlkem768)
        return members

    @classmethod
    def from_members(cls, members: JsonValue) -> KexPublicKey:
        """Read the column.

        Raises:
            KeyExchangeRefused: `kex_pubkeys_malformed`: no object, a member missing, unknown or
                not canonical base64; `kex_wrong_size`.
        """
        if not isinstance(members, dict) or members.keys() - {_X25519_MEMBER, _MLKEM_MEMBER}:
            raise KeyExchangeRefused(KexReason.PUBKEYS_MALFORMED)
        x25519 = _decoded(members.get(_X25519_MEMBER))
        has_mlkem = _MLKEM_MEMBER in members
        return cls(x25519, _decoded(members[_MLKEM_MEMBER]) if has_mlkem else None)


class KexPrivateKey:
    """The recipient's side. Nothing of it appears in any text."""

    __slots__ = ("_mlkem768", "_x25519", "public")

    def __init__(self, x25519: X25519PrivateKey, mlkem768: MLKEM768PrivateKey | None) -> None:
        self._x25519 = x25519
        self._mlkem768 = mlkem768
        self.public = KexPublicKey(
            x25519.public_key().public_bytes_raw(),
            None if mlkem768 is None else mlkem768.public_key().public_bytes_raw(),
        )

    @classmethod
    def generate(cls) -> KexPrivateKey:
        """A new key with both halves, from the library's own randomness."""
        return cls(X25519PrivateKey.generate(), MLKEM768PrivateKey.generate())

    @classmethod
    def from_seeds(cls, x25519: bytes, mlkem768: bytes) -> KexPrivateKey:
        """The key pair of 32 bytes of X25519 scalar and 64 bytes of ML-KEM seed (`d ‖ z`).

        Raises:
            KeyExchangeRefused: `kex_wrong_size`.
        """
        _require_size(x25519, X25519_PRIVATE_BYTES)
        _require_size(mlkem768, ML_KEM_768_SEED_BYTES)
        return cls(
            X25519PrivateKey.from_private_bytes(x25519),
            MLKEM768PrivateKey.from_seed_bytes(mlkem768),
        )

    def __repr__(self) -> str:
        return "KexPrivateKey(...)"

    def open(self, message: KexMessage, mode: KexMode = KexMode.HYBRID_REQUIRED) -> bytes:
        """The 32-byte key that `seal_to` agreed on. A forged ciphertext gives another key.

        Raises:
            KeyExchangeRefused: the message is not of `mode`, or a reason of `KexReason`.
        """
        if message.algorithm != mode.value:
            raise KeyExchangeRefused(KexReason.ALGORITHM_NOT_ALLOWED)
        secret = _x25519_secret(self._x25519, message.x25519_ephemeral)
        if mode is KexMode.CLASSICAL:
            return _classical_key(secret, message.x25519_ephemeral, self.public)
        if self._mlkem768 is None:
            raise KeyExchangeRefused(KexReason.OWN_KEY_LACKS_MLKEM)
        pqc_secret = self._mlkem768.decapsulate(message.mlkem768_ciphertext)
        return _hybrid_key(secret, pqc_secret, message, self.public)


@dataclass(frozen=True, slots=True)
class KexMessage:
    """What travels. The ciphertext is empty in the classical form.

    Raises:
        KeyExchangeRefused: `kex_algorithm_not_allowed` or `kex_wrong_size`.
    """

    algorithm: str
    x25519_ephemeral: bytes
    mlkem768_ciphertext: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        sizes = {HYBRID_ALGORITHM: CIPHERTEXT_BYTES, CLASSICAL_ALGORITHM: 0}
        if self.algorithm not in sizes:
            raise KeyExchangeRefused(KexReason.ALGORITHM_NOT_ALLOWED)
        _require_size(self.x25519_ephemeral, X25519_PUBLIC_BYTES)
        _require_size(self.mlkem768_ciphertext, sizes[self.algorithm])


def seal_to(
    recipient: KexPublicKey, mode: KexMode = KexMode.HYBRID_REQUIRED
) -> tuple[KexMessage, bytes]:
    """Agree on a 32-byte key with `recipient`. Fresh randomness comes from the library.

    Raises:
        KeyExchangeRefused: `hybrid_required_but_peer_lacks_mlkem`, or a key of the recipient is
            not one.
    """
    ephemeral = X25519PrivateKey.generate()
    public = ephemeral.public_key().public_bytes_raw()
    if mode is KexMode.CLASSICAL:
        secret = _x25519_secret(ephemeral, recipient.x25519)
        return KexMessage(CLASSICAL_ALGORITHM, public), _classical_key(secret, public, recipient)
    if recipient.mlkem768 is None:
        raise KeyExchangeRefused(KexReason.PEER_LACKS_MLKEM)
    secret = _x25519_secret(ephemeral, recipient.x25519)
    pqc_secret, ciphertext = _encapsulated(recipient.mlkem768)
    message = KexMessage(HYBRID_ALGORITHM, public, ciphertext)
    return message, _hybrid_key(secret, pqc_secret, message, recipient)


def _hybrid_key(
    secret: bytes, pqc_secret: bytes, message: KexMessage, recipient: KexPublicKey
) -> bytes:
    salt = b"".join(
        (
            message.x25519_ephemeral,
            recipient.x25519,
            message.mlkem768_ciphertext,
            recipient.mlkem768 or b"",
        )
    )
    return _derived(secret + pqc_secret, salt, _HYBRID_INFO)


def _classical_key(secret: bytes, ephemeral: bytes, recipient: KexPublicKey) -> bytes:
    return _derived(secret, ephemeral + recipient.x25519, _CLASSICAL_INFO)


def _derived(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), SHARED_KEY_BYTES, salt, info).derive(ikm)


def _x25519_secret(own: X25519PrivateKey, other: bytes) -> bytes:
    # The library refuses an all-zero secret too, but by an error it does not promise.
    try:
        secret = own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:
        raise KeyExchangeRefused(KexReason.X25519_SECRET_ZERO) from None
    if not any(secret):
        raise KeyExchangeRefused(KexReason.X25519_SECRET_ZERO)
    return secret


def _encapsulated(public: bytes) -> tuple[bytes, bytes]:
    try:
        return MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        raise KeyExchangeRefused(KexReason.KEY_NOT_VALID) from None


def _require_size(data: bytes, size_bytes: int) -> None:
    if len(data) != size_bytes:
        raise KeyExchangeRefused(KexReason.WRONG_SIZE)


def _decoded(value: JsonValue) -> bytes:
    try:
        data = decode_base64(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if not data or encode_base64(data) != value:
        raise KeyExchangeRefused(KexReason.PUBKEYS_MALFORMED)
    return data
