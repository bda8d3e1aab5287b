"""On a radio a link lasts for one exchange, and two dials at once end with one link.

A link costs 500 bytes to set up and nothing to close, but kept alive it costs air for ever, and
Reticulum takes half of all idle ones down where one frame in twenty is lost. So whoever dialled
closes when there is nothing more to say; where that went wrong, silence does. On TCP links stay.
"""

from __future__ import annotations

from typing import Final

from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.scheduler import ReplicationScheduler

#: A link by radio on which nothing is under way, and nothing moved for so long, is closed by either
#: side. Whoever has more to say does so within seconds; a budget that is used up takes longer.
IDLE_S: Final = 30.0


def is_brief(state: LinkState) -> bool:
    """Does a link last for one exchange only? Not where nothing but a wire is slow."""
    return state.is_slow and state.medium != "serial"


def part_if_done(parts: Parts, peer: Peer, scheduler: ReplicationScheduler) -> None:
    """Close the link if this node dialled it and nothing is left to do on it. Peer's strand."""
    state = peer.link
    if state is None or state.inbound or not is_brief(state) or state.theirs is None:
        return
    if not state.fetching and not state.is_theirs_to_open and not _is_busy(parts, peer, scheduler):
        part(parts, peer)


def part(parts: Parts, peer: Peer) -> None:
    """Close the peer's link; what was said on it arrives before. Peer's strand."""
    state, peer.link = peer.link, None
    peer.rests = True
    assert state is not None
    state.replaced = True  # nothing said on it after this is anybody's fault
    parts.transport.finish(state.link)


def watch(parts: Parts, peer: Peer, scheduler: ReplicationScheduler) -> None:
    """Close the link that came to be in use once it has been idle. Peer's strand."""
    state = peer.link
    if state is None or not is_brief(state):
        return

    def idle() -> None:
        if _is_busy(parts, peer, scheduler):
            watch(parts, peer, scheduler)
        else:
            part(parts, peer)

    parts.when_still(
        state.link,
        IDLE_S,
        queue=lambda task: parts.submit(peer.config.key_id, task),
        is_over=lambda: peer.link is not state,
        then=idle,
    )


def meets_another(parts: Parts, peer: Peer, state: LinkState) -> bool:
    """Choose between two slow links on which both ends are still to say who they are.

    A binding is 9 kB: it must not travel on both. Both ends know both identities by now and come to
    the same choice: the link dialled by the smaller address stays.

    Returns:
        False when `state` is not the one, and is closed.
    """
    other, peer.greeting = peer.greeting, state
    if other is None or other is state or not is_brief(state) or other.inbound is state.inbound:
        return True
    mine_is_smaller = parts.transport.address < peer.config.address
    loser, winner = (state, other) if mine_is_smaller is state.inbound else (other, state)
    peer.greeting = winner
    loser.replaced = True
    parts.transport.hang_up(loser.link)
    return winner is state


def _is_busy(parts: Parts, peer: Peer, scheduler: ReplicationScheduler) -> bool:
    """Something is under way with the peer, or is about to be."""
    key_id = peer.config.key_id
    has_batch = parts.air is not None and parts.air.has_batch(key_id)
    waits = peer.round is not None or peer.check_out or peer.moved or peer.spreading
    return bool(waits) or has_batch or scheduler.is_busy(key_id)
