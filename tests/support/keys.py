"""Federation keys from fixed seeds, so ids and bytes are the same in every run."""

from __future__ import annotations

from functools import cache

from ciris_mesh.records.hybrid import FederationKey, HybridPublicKey

NAMES = ("alice", "bob", "carol", "steward")


@cache
def key(name: str) -> FederationKey:
    """The key of `name`: both seeds are the name, padded with 0x01 and 0x02 bytes to 32."""
    padded = name.encode("ascii")
    return FederationKey.from_seeds(name, padded.ljust(32, b"\x01"), padded.ljust(32, b"\x02"))


def alice() -> FederationKey:
    return key("alice")


def bob() -> FederationKey:
    return key("bob")


def carol() -> FederationKey:
    return key("carol")


def steward() -> FederationKey:
    return key("steward")


def lookup(key_id: str) -> HybridPublicKey | None:
    """A `KeyLookup` that knows the four keys of this module."""
    return next((key(name).public for name in NAMES if key(name).key_id == key_id), None)


def nobody(key_id: str) -> HybridPublicKey | None:
    """A `KeyLookup` that knows no key."""
    return None
