"""A new node's home, and who the node in a home is. Starts nothing, opens no store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ciris_mesh.runtime.config import example_config
from ciris_mesh.runtime.home import Home, create_home, new_identity
from ciris_mesh.runtime.invite import make_invite
from ciris_mesh.runtime.keyfiles import FederationSeeds, read_key_file, render_key_file
from ciris_mesh.runtime.words import words

if TYPE_CHECKING:
    from ciris_mesh.records.hybrid import FederationKey

_X25519_BYTES: Final = 32
_ADDRESS_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Both identities of one node.

    Attributes:
        key: signs federation records.
        rns_public_key: 64 bytes, X25519 then Ed25519, as Reticulum has it.
    """

    key: FederationKey = field(repr=False)
    rns_public_key: bytes

    @property
    def key_id(self) -> str:
        """The federation key's id."""
        return self.key.key_id

    @property
    def fingerprint(self) -> bytes:
        """32 bytes: what `key_id` ends in the beginning of."""
        return self.key.public.fingerprint

    @property
    def address(self) -> bytes:
        """16 bytes: Reticulum's identity hash."""
        return hashlib.sha256(self.rns_public_key).digest()[:_ADDRESS_BYTES]

    @property
    def invite(self) -> str:
        """The line another node adds."""
        return make_invite(self.key_id, self.fingerprint, self.address)

    @property
    def words(self) -> tuple[str, ...]:
        """Five words to compare by voice. Takes a tenth of a second."""
        return words(self.fingerprint, self.address)


def new_node(
    path: Path,
    name: str,
    *,
    settings: Mapping[tuple[str, str], str] = MappingProxyType({}),
    replace: bool = False,
) -> Home:
    """Make a home with fresh keys and an explained configuration, whole or not at all.

    Args:
        settings: (section, option) -> text to write instead of the default.
        replace: move a home that is there aside; nothing is ever deleted.

    Raises:
        KeyFileError: the name is not allowed.
        ConfigError: there is a home already, or the disk said no.
        AlreadyRunning: the home to replace has a running node.
    """
    seeds = FederationSeeds.generate(name)
    return node_from_secrets(path, seeds, new_identity(), settings=settings, replace=replace)


def node_from_secrets(
    path: Path,
    seeds: FederationSeeds,
    identity: bytes,
    *,
    settings: Mapping[tuple[str, str], str] = MappingProxyType({}),
    replace: bool = False,
) -> Home:
    """Make a home for keys that exist, as `new_node` does for fresh ones.

    Args:
        identity: the 64 secret bytes of the Reticulum identity.
    """
    files = {
        "config": example_config(settings).encode(),
        "identity": identity,
        "federation.key": render_key_file(seeds),
    }
    return create_home(path, files, replace=replace)


def node_identity(home: Home) -> NodeIdentity:
    """Read both identities of a home. Loads the cryptography, not Reticulum.

    Raises:
        KeyFileError: a key file is missing, damaged or readable by others.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    secret = home.identity_bytes()
    exchange = X25519PrivateKey.from_private_bytes(secret[:_X25519_BYTES])
    signing = Ed25519PrivateKey.from_private_bytes(secret[_X25519_BYTES:])
    public = exchange.public_key().public_bytes_raw() + signing.public_key().public_bytes_raw()
    return NodeIdentity(read_key_file(home.federation_key).key(), public)
