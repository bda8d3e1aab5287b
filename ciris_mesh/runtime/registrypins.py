"""Registry nodes as the configuration names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ciris_mesh.runtime.keyids import is_key_id

#: An Ed25519 public key.
ED25519_BYTES: Final = 32
#: Registry nodes of one node: each may hold four links, and there are 64 in all.
REGISTRIES_MAX: Final = 16

REGISTRIES_ALLOWED: Final = (
    "entries of a key id, a space, 64 hex digits and perhaps a space and row or bytes, separated "
    f"by commas, at most {REGISTRIES_MAX}; empty"
)

#: What ids may be said to be of; "" leaves it to be found out.
BASES: Final = ("", "row", "bytes")

#: Vouchers a node listens to: each costs a look-up for every row that is only bridged.
VOUCHERS_MAX: Final = 8

VOUCHERS_ALLOWED: Final = f"key ids, separated by commas, at most {VOUCHERS_MAX}; empty for none"


@dataclass(frozen=True, slots=True)
class RegistryPin:
    """A registry node of the configuration.

    Attributes:
        ed25519: the classical half of its federation key, 32 bytes.
        basis: "row" or "bytes": what its ids are of; "" to find out.
    """

    key_id: str
    ed25519: bytes
    basis: str = ""


def read_registries(words: tuple[str, ...]) -> tuple[RegistryPin, ...]:
    """Read entries of key id, key and perhaps basis.

    Raises:
        ValueError: an entry is none of these, or there are too many.
    """
    pins: dict[str, RegistryPin] = {}
    for word in words:
        parts = word.split()
        if len(parts) not in (2, 3):
            raise ValueError("no registry")
        key_id, digits, basis = (*parts, "")[:3]
        pin = RegistryPin(key_id, bytes.fromhex(digits), basis)
        if len(pin.ed25519) != ED25519_BYTES or not is_key_id(key_id):
            raise ValueError("no registry")
        if pin.basis not in BASES or key_id in pins:
            raise ValueError("no basis, or twice")
        pins[key_id] = pin
    if len(pins) > REGISTRIES_MAX:
        raise ValueError("too many")
    return tuple(pins.values())


def read_vouchers(words: tuple[str, ...]) -> frozenset[str]:
    """Read key ids of vouchers.

    Raises:
        ValueError: no key id, or too many.
    """
    if not all(map(is_key_id, words)) or len(set(words)) > VOUCHERS_MAX:
        raise ValueError("no key ids, or too many")
    return frozenset(words)
