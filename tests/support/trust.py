"""Keys, rosters and signatures for the tests of thresholds, chains and authority."""

from __future__ import annotations

from functools import cache

from ciris_mesh.records.envelope import Claim
from ciris_mesh.records.hybrid import FederationKey, HybridPublicKey, HybridSignature
from ciris_mesh.records.threshold import FOUNDER_ROLE, Member
from support.keys import key


@cache
def signed(name: str, message: bytes) -> HybridSignature:
    """One signature of `name` over `message`; signing is hedged, so it is kept."""
    return key(name).sign(message)


def claim(name: str, message: bytes) -> Claim:
    """`name`'s signature under its own id."""
    return Claim(key(name).key_id, signed(name, message))


def member(name: str, role: str | None = FOUNDER_ROLE) -> Member:
    """`name` as a roster lists it."""
    return Member.of(key(name).key_id, key(name).public, role)


def ids(*names: str) -> tuple[str, ...]:
    """The key ids of `names`, sorted."""
    return tuple(sorted(key(name).key_id for name in names))


def lookup_of(*names: str) -> dict[str, HybridPublicKey]:
    """Key id -> public key for `names`; its `get` is a `KeyLookup`."""
    return {key(name).key_id: key(name).public for name in names}


def renamed(name: str, alias: str) -> FederationKey:
    """The same key pair under another name, and so under another self-certifying id."""
    padded = name.encode("ascii")
    return FederationKey.from_seeds(alias, padded.ljust(32, b"\x01"), padded.ljust(32, b"\x02"))
