"""Which way records go between this node and one peer: a decision made here.

The peer is told one thing, that nothing of it is taken, so that it sends nothing for nothing.
"""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """Seen from this node. Comparing goes both ways always: else nobody knew what is missing."""

    BOTH = "both"
    SEND = "send"  # what the peer offers counts as known and is not taken
    RECEIVE = "receive"  # the peer is offered nothing

    @property
    def gives(self) -> bool:
        """Whether the peer is offered anything."""
        return self is not Direction.RECEIVE

    @property
    def takes(self) -> bool:
        """Whether anything of the peer's is taken."""
        return self is not Direction.SEND
