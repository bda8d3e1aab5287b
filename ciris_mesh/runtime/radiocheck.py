"""When views are compared over a radio: seldom, and never without air. Other links pass at once."""

from __future__ import annotations

from typing import Final

from ciris_mesh.records.kinds import REMOVALS
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.scheduler import ReplicationScheduler

#: After a dial or a link that came to nothing, doubled each time. A dial nobody answers costs 0.3 s
#: of air at SF8, a link that breaks 2 s.
RADIO_RETRY_S: Final = 60.0
_FAILURES_MAX: Final = 10


def may_check(parts: Parts, peer: Peer, scheduler: ReplicationScheduler) -> bool:
    """May this node compare with a peer now, or dial it? On the peer's strand.

    When only air is lacking it is tried again once there is some. Everything else is left to the
    cadence, which asks here each time.
    """
    air, key_id = parts.air, peer.config.key_id
    if air is None:
        return True
    link = peer.link
    interface = air.way_to(peer.radio) if link is None else air.covers(link)
    if not interface:
        return True
    has_batch = air.has_batch(key_id)
    if not has_batch and not _is_time(parts, peer):
        return False
    now_s = parts.clock()
    if now_s < peer.hushed_until_s:
        air.fail(key_id, peer.hushed_until_s - now_s)
        return False
    wait_s = air.lets_begin(
        key_id,
        interface,
        dials=link is None and not peer.dialing,
        needs_s=peer.needs_s,
        urgent=_waits_removal(parts, peer),
    )
    if wait_s:
        parts.drops.count("check_waits_for_air")
        if peer.asks_again_s <= now_s:  # one timer, however often this is asked
            peer.asks_again_s = now_s + wait_s
            scheduler.trigger(key_id, wait_s)
        return False
    peer.next_check_s = now_s + max(cadence_s(parts, interface), scheduler.config.cadence_s)
    return True


def note_failure(parts: Parts, peer: Peer) -> None:
    """A dial or a link came to nothing: the next attempt need not wait as long as a comparison."""
    wait_s = RADIO_RETRY_S * 2.0**peer.failures
    peer.failures = min(peer.failures + 1, _FAILURES_MAX)
    peer.next_check_s = min(peer.next_check_s, parts.clock() + wait_s)


def cadence_s(parts: Parts, interface: str) -> float:
    """How seldom this node compares with each of those it reaches over that radio."""
    if parts.air is None:
        return 0.0
    peers = sum(each.radio == interface for each in parts.peers.all())
    return parts.air.cadence_s(interface, max(peers, 1))


def _is_time(parts: Parts, peer: Peer) -> bool:
    """Something is new, or it was long ago; and it is not to be quiet, removals apart."""
    assert parts.air is not None
    if parts.clock() < peer.next_check_s and not peer.spreading:
        return False
    return not parts.air.quiet_s() or _waits_removal(parts, peer)


def _waits_removal(parts: Parts, peer: Peer) -> bool:
    """Has a kind that takes somebody's standing away changed since the peer last agreed on it?"""
    link = peer.link
    kinds = REMOVALS & peer.config.kinds if link is None else REMOVALS & link.kinds
    generation = parts.directory.generation
    return any(peer.agreed.get(kind, 0) != generation(kind) for kind in kinds)
