"""What the other end of a link may send: one rule for every transport.

A permitted identity may send frames up to the full limit. Anybody else, identified or not, gets
what first contact needs and no more. The rule looks only at sizes and counts, so it can be asked
before a byte is put together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ciris_mesh.transport import patience
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.limits import (
    FIRST_CONTACT_FRAME_BYTES_MAX,
    FIRST_CONTACT_FRAMES_MAX,
    FIRST_CONTACT_REQUESTS_MAX,
    FRAME_BYTES_MAX,
)
from ciris_mesh.transport.reasons import DownReason, DropReason

#: Frames and offers out of order, unreadable or unasked for before a link is closed.
MISBEHAVIOUR_MAX: Final = 16


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


class FirstContact:
    """What the other end of one link has used up while it was not permitted.

    Args:
        now: monotonic seconds; the time allowed counts from here, or from when a permission ended.
    """

    def __init__(self, now: float) -> None:
        self._since_s = now
        self._requests = 0

    def asks_too_much(self, sender: Address | None, permitted: frozenset[Address]) -> bool:
        """Count a request or an offer, whatever becomes of it; True when it is one too many."""
        if sender in permitted:
            return False
        self._requests += 1
        return self._requests > FIRST_CONTACT_REQUESTS_MAX

    def overdue(
        self, sender: Address | None, now: float, rtt_s: float, permitted: frozenset[Address]
    ) -> DownReason | None:
        """Say why the link has been held long enough; None while it may stay."""
        if sender in permitted:
            self._since_s = now
            return None
        age_s = now - self._since_s
        if sender is None and age_s > patience.identify_s(rtt_s):
            return DownReason.UNIDENTIFIED
        return DownReason.OVERSTAYED if age_s > patience.first_contact_s(rtt_s) else None


class Misbehaviour:
    """What the other end of one link did that no well-behaved one does.

    Args:
        drop: told of each misdeed.
    """

    def __init__(self, drop: Callable[[DropReason], None]) -> None:
        self._drop = drop
        self._times = 0
        self._stopped: set[str] = set()  # closing the link bounds it

    def is_too_much(self, reason: DropReason, resource: str = "") -> bool:
        """Count a misdeed; True when the link should be closed.

        Args:
            resource: names a Resource that is stopped. Until its sender hears of it, its
                Reticulum offers the same one again: that is no misdeed of its own to tell of.
        """
        self._times += 1
        if resource not in self._stopped:
            self._drop(reason)
        if resource:
            self._stopped.add(resource)
        return self._times > MISBEHAVIOUR_MAX
