"""How much of what a peer asks for goes out at once: by radio little, after all that is owed."""

from __future__ import annotations

from ciris_mesh.protocol.limits import DELIVER_BUDGET_BYTES
from ciris_mesh.runtime.parts import Parts


def room_on_air(parts: Parts, key_id: str, *, in_round: bool) -> int:
    """Bytes of envelopes for one Deliver to a peer; 0 for none at all.

    On a radio one record goes at a time: so long something more urgent waits at most. What is
    asked for outside a round was chosen by no planner, so it goes when nobody waits for that one.
    """
    air, peer = parts.air, parts.peers.get(key_id)
    link = peer.link if peer is not None else None
    interface = air.covers(link) if air is not None and link is not None else ""
    if air is None or not interface:
        return DELIVER_BUDGET_BYTES
    return 1 if in_round or not _is_owed(parts, interface) else 0


def _is_owed(parts: Parts, interface: str) -> bool:
    """Does anybody wait for records over this radio, or for the comparison that names them?"""
    now_s = parts.clock()
    to_compare = any(
        peer.radio == interface and (peer.spreading or now_s < peer.asks_again_s)
        for peer in parts.peers.all()
    )
    return to_compare or (parts.air is not None and parts.air.owes(interface))
