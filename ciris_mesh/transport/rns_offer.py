"""Reading what the sender of a Resource claims, before any of it is taken.

Everything in an advertisement is the sender's word. Here it becomes an `Offer` with sizes as
Reticulum itself would claim them, or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ciris_mesh.transport import rns_seam as seam

#: Bytes Reticulum adds to a segment: random hash 4, token 48, padding 16; rounded up.
SEGMENT_OVERHEAD_BYTES: Final = 128

HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Offer:
    """A Resource, or one segment of a large one, that wants to come.

    Attributes:
        key: names the whole; the same in all its segments.
        segment_key: names this segment.
        size_bytes: of the whole, unpacked.
        segment, segments: which of how many; from 1.
    """

    key: bytes
    segment_key: bytes
    size_bytes: int
    segment: int
    segments: int


def read_offer(claim: seam.Advertisement, *, unsplit: bool = False) -> Offer | None:
    """Return the offer, or None when no well-behaved sender would make it.

    Args:
        unsplit: it may be one segment whatever its size, as other software than Reticulum sends.
    """
    size, segment, segments, transfer = claim.d, claim.i, claim.l, claim.t
    if not (_is_count(size) and _is_count(segment) and _is_count(segments) and _is_count(transfer)):
        return None
    if claim.x or not isinstance(claim.o, bytes) or not isinstance(claim.h, bytes):
        return None
    if len(claim.o) != HASH_BYTES or len(claim.h) != HASH_BYTES:
        return None
    assert isinstance(size, int)
    assert isinstance(segment, int)
    assert isinstance(segments, int)
    assert isinstance(transfer, int)
    is_whole = unsplit and segments == 1
    if (not is_whole and segments != -(-size // seam.SEGMENT_BYTES_MAX)) or segment > segments:
        return None
    segment_bytes = size if is_whole else min(size, seam.SEGMENT_BYTES_MAX)
    if transfer > segment_bytes + SEGMENT_OVERHEAD_BYTES:
        return None
    return Offer(claim.o, claim.h, size, segment, segments)


def unpacked_bytes_max(size_bytes: int) -> int:
    """What one segment of a Resource of that size may unpack to; one more, to see its end."""
    return min(size_bytes, seam.SEGMENT_BYTES_MAX) + 1


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
