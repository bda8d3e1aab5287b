"""Nodes that are no peers: heard, met, and let go; candidates for a person to look at.

Nobody becomes a peer here, whoever vouches for him: that is a decision of the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ciris_mesh.directory.base import UNATTRIBUTED
from ciris_mesh.errors import DecodeError
from ciris_mesh.records.kinds import BOOTSTRAP_KINDS
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Candidate
from ciris_mesh.transport.base import Address, LinkId, NodeHeard
from ciris_mesh.wire.announce import decode_announce
from ciris_mesh.wire.mesh import Refusal
from ciris_mesh.wire.messages import Deliver, ReplicationMessage

#: Frames an unattributed link may send that are looked at: a key and an occurrence, with room.
UNATTRIBUTED_FRAMES_MAX: Final = 8

#: Envelopes of an unattributed Deliver that are looked at.
UNATTRIBUTED_ENVELOPES_MAX: Final = 4

#: Time a link of which nothing more will come stays open so that the last word can be read.
REFUSAL_LINGER_S: Final = 3.0


class Strangers:
    """What one node has to do with nodes that are no peers. Built and owned by `Links`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def heard(self, event: NodeHeard) -> None:
        """An announce of a node that is no peer. A transport thread."""
        reason = self._parts.door.refuses(event.address)
        if reason:
            self._parts.drops.count(f"announce_{reason}")
            return
        self._parts.peers.note_candidate(
            Candidate(event.address, "", event.hops, self._parts.clock(), _claimed(event.app_data))
        )

    def is_kept_out(self, link: LinkId, address: Address, key_id: str = "") -> bool:
        """Close the link of a stranger who is not to knock; not a word is said to it."""
        if self._parts.peers.at(address) is not None:
            return False
        reason = self._parts.door.refuses(address, key_id)
        if reason:
            self._parts.drops.count(f"link_{reason}")
            self._parts.transport.hang_up(link)
        return bool(reason)

    def met(
        self, state: LinkState, key_id: str, *, turn_away: Callable[[LinkState, str], None]
    ) -> None:
        """It is known who it is. Who called is told that it is no peer; whom we called, let go."""
        assert state.address is not None, "a link without an identity gets no key id"
        if self.is_kept_out(state.link, state.address, key_id):
            return
        self._parts.peers.note_candidate(
            Candidate(state.address, key_id, None, self._parts.clock())
        )
        if state.inbound:
            self._parts.try_say(state, Refusal("not_a_peer"))
            turn_away(state, "not_a_peer")
        else:  # it may not have asked yet who we are
            hang_up = self._parts.transport.hang_up
            self._parts.timer.after(REFUSAL_LINGER_S, lambda: hang_up(state.link))

    def said(self, state: LinkState, message: ReplicationMessage) -> None:
        """What a stranger may say: here is my key. Verified, pooled, bounded; all else counted."""
        state.unattributed_frames += 1
        if (
            state.unattributed_frames > UNATTRIBUTED_FRAMES_MAX
            or not isinstance(message, Deliver)
            or message.kind not in BOOTSTRAP_KINDS
        ):
            self._parts.drops.count("frame_unattributed")
            return
        for envelope in message.envelopes[:UNATTRIBUTED_ENVELOPES_MAX]:
            self._parts.directory.admit(
                message.kind, envelope, UNATTRIBUTED, now_ms=self._parts.wall_ms()
            )


def _claimed(app_data: bytes) -> bytes:
    """The beginning of the fingerprint an announce claims; nothing of one that can't be read."""
    try:
        return decode_announce(app_data).fingerprint
    except DecodeError:
        return b""
