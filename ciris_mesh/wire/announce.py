"""The 23 bytes a node announces with `ciris.mesh` (design.md, "Destinations").

    01 | u16 capabilities | 8 B key fingerprint | 8 B public-view digest | u32 count

Nothing of it is trusted: it says whom it may be worth asking, a link's hello proves who it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import DecodeError

_LAYOUT: Final = struct.Struct(">BH8s8sI")
_VERSION: Final = 1
ANNOUNCE_BYTES: Final = _LAYOUT.size


@dataclass(frozen=True, slots=True)
class AnnounceData:
    """What an announce says.

    Attributes:
        capabilities: 16 bits, as in the hello.
        fingerprint: first 8 bytes of sha256(ed25519 key, ML-DSA-65 key).
        view_digest: 8 bytes over what the node offers to everybody.
        count: how many records that is, capped at 2**32 - 1.
    """

    capabilities: int
    fingerprint: bytes
    view_digest: bytes
    count: int


def encode_announce(data: AnnounceData) -> bytes:
    """Return the 23 bytes."""
    count = min(data.count, 2**32 - 1)
    return _LAYOUT.pack(_VERSION, data.capabilities, data.fingerprint, data.view_digest, count)


def decode_announce(app_data: bytes) -> AnnounceData:
    """Read what a node announced.

    Raises:
        DecodeError: another version or length; such a node may still be linked to.
    """
    if len(app_data) != ANNOUNCE_BYTES or app_data[0] != _VERSION:
        raise DecodeError(f"{len(app_data)} bytes of announce data are not version {_VERSION}")
    _, capabilities, fingerprint, view_digest, count = _LAYOUT.unpack(app_data)
    return AnnounceData(capabilities, fingerprint, view_digest, count)
