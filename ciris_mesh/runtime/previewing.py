"""Previews on links: what to send ahead on a radio, and what becomes of what peers sent ahead."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from ciris_mesh.errors import LifecycleError, NoAir, TransportError
from ciris_mesh.records.kinds import REMOVALS
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.runtime.allowance import OPENING_COST_S
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.mesh_round import Named
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import Peer
from ciris_mesh.runtime.previews import BLAMED
from ciris_mesh.wire.mesh import CAPABILITY_PREVIEWS, Preview

if TYPE_CHECKING:
    from ciris_mesh.records.resolve.pending import Pending

logger = logging.getLogger(__name__)

#: In one round: each takes 0.6 s at SF8, of the 2.9 s of an hour at 1 % that only removals have.
AHEAD_MAX: Final = 2
#: Removals remembered as sent ahead to one peer, so that none goes ahead twice: 100 B each.
AHEAD_REMEMBERED: Final = 256


def send_ahead(parts: Parts, peer: Peer, state: LinkState, waiting: Collection[Named]) -> None:
    """Announce removals that `peer` lacks and that wait for their air here, if there is some.

    Args:
        waiting: what waits for this peer, removals or not.
    """
    if parts.previews is None or not state.capabilities & CAPABILITY_PREVIEWS:
        return
    removals = sorted(name for name in waiting if name[0] in REMOVALS and name not in peer.ahead)
    for name in removals[:AHEAD_MAX]:
        row = parts.bridge.naming.row(peer.config.key_id, *name)
        preview = parts.previews.of_row(row) if row is not None else None
        try:
            if preview is not None:
                parts.say(state, preview)
        except NoAir:
            parts.drops.count("preview_no_air", peer.config.key_id)
            return
        except (TransportError, LifecycleError) as error:
            logger.info("preview.send_failed link=%d error=%s", state.link, error)
            return
        peer.ahead[name] = None
        if len(peer.ahead) > AHEAD_REMEMBERED:
            del peer.ahead[next(iter(peer.ahead))]


def heard(parts: Parts, peer: Peer, state: LinkState, message: Preview) -> None:
    """A peer announces a removal: kept apart until the record comes."""
    if parts.previews is None or not state.capabilities & CAPABILITY_PREVIEWS:
        parts.drops.count("preview_not_stated", peer.config.key_id)
        return
    if not peer.waste.is_open():
        parts.drops.count("preview_too_often", peer.config.key_id)
        return
    begun_s = peer.waste.work_s()
    refused = parts.previews.take(peer.config.key_id, message)
    if refused is None:
        return
    peer.waste.spend(peer.waste.work_s() - begun_s + OPENING_COST_S)
    parts.drops.count(f"preview_{refused}", peer.config.key_id)
    if refused in BLAMED:
        _strike(parts, peer.config.key_id)


def settle(parts: Parts, verdicts: Iterable[Verdict]) -> None:
    """Records came: what was announced is here, or contradicted by what came under its id."""
    if parts.previews is not None:
        _blame(parts, parts.previews.settle(verdicts), "preview_contradicted")


def lapse(parts: Parts) -> None:
    """Drop what was announced and did not come in time. Now and then, on any strand."""
    if parts.previews is not None:
        _blame(parts, parts.previews.expire(), "preview_lapsed")


def _blame(parts: Parts, announced: Iterable[Pending], reason: str) -> None:
    for one in announced:
        parts.drops.count(reason, one.peer)
        _strike(parts, one.peer)


def _strike(parts: Parts, key_id: str) -> None:
    if parts.air is not None:
        parts.air.penalize(key_id, "preview")
