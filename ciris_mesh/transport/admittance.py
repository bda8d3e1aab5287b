"""What the other end of a link may send: one rule for every transport.

A permitted identity may send frames up to the full limit. Anybody else, identified or not, gets
what first contact needs and no more. The rule looks only at sizes and counts, so it can be asked
before a byte is put together.
"""

from __future__ import annotations

from ciris_mesh.transport.base import Address
from ciris_mesh.transport.limits import (
    FIRST_CONTACT_FRAME_BYTES_MAX,
    FIRST_CONTACT_FRAMES_MAX,
    FRAME_BYTES_MAX,
)
from ciris_mesh.transport.reasons import DropReason


def refusal(
    sender: Address | None,
    size_bytes: int,
    *,
    frames_before: int,
    permitted: frozenset[Address],
) -> DropReason | None:
    """Say why a frame of `size_bytes` is refused; None when it may come.

    Args:
        sender: the proven identity at the other end; None when it proved none.
        frames_before: how many frames this link has brought already.
    """
    if size_bytes > FRAME_BYTES_MAX:
        return DropReason.FRAME_TOO_LARGE
    if sender is not None and sender in permitted:
        return None
    if size_bytes > FIRST_CONTACT_FRAME_BYTES_MAX:
        return DropReason.FRAME_NOT_PERMITTED
    if frames_before >= FIRST_CONTACT_FRAMES_MAX:
        return DropReason.FRAMES_NOT_PERMITTED
    return None
