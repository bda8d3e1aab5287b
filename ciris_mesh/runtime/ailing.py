"""What is wrong with peers, in sentences that say what to do. From their status alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ciris_mesh.runtime.status import PeerStatus

#: What a person can do about a peer that does not answer, by the reason `peers` shows.
ADVICE: Final = {
    "no_path": "is it running, and is there a common Reticulum network?",
    "timeout": "the path is known but nobody answers: is it running?",
    "refused_not_a_peer": "it does not know this node: ask them to run `ciris-mesh peer add`",
    "no_handshake": "it answers and does not say who it is: does it run the same version?",
    "no_answer": "the link was up but silent; it is dialled again",
}
#: What `PeerStatus.state` is when no node runs that could know.
NOT_RUNNING: Final = "not running"


def peer_problems(peers: Iterable[PeerStatus]) -> tuple[str, ...]:
    """One sentence for each peer that cannot be reached, while it is dialled again too."""
    return tuple(
        f"peer {peer.alias or peer.key_id}: {peer.reason}; "
        f"{ADVICE.get(peer.reason, 'it is dialled again at the next cadence')}"
        for peer in peers
        if peer.reason and peer.state != "connected"
    )
