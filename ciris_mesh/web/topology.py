"""Where each node stands on the map. Pure: what `status` says in, places and lines out.

This node is in the middle, around it what carries its words (a radio, a TCP network), and behind
each carrier the peers it reaches. Nodes that were heard and are no peers stand outside. Places are
in a square from -1 to 1 and depend on names alone, so that the picture stands still.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: More are counted, not drawn: the table beside the map has them all.
PEERS_MAX: Final = 120
CANDIDATES_MAX: Final = 30
_MEDIUM_R: Final = 0.34
#: A single peer stands to the upper right: its name is not under the line to it.
_START: Final = -1.2 * math.pi
_PEER_R: Final = (0.66, 0.82)
_CANDIDATE_R: Final = 0.97


@dataclass(frozen=True, slots=True)
class Spot:
    """Something drawn.

    Attributes:
        sort: "self", "medium", "peer" or "candidate".
        state: "fresh", "stale", "down" or "heard"; "self" for this node.
        detail: one line for whoever points at it or listens to it.
    """

    id: str
    sort: str
    label: str
    state: str
    detail: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """Two things that are connected; `state` as of the farther one."""

    a: str
    b: str
    state: str


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole map. `left_out`: nodes that are not drawn."""

    spots: tuple[Spot, ...]
    lines: tuple[Line, ...]
    left_out: int


def topology(status: Mapping[str, Any], name: str) -> Topology:
    """Make the map.

    Args:
        status: the JSON of `status`.
        name: what this node is called.
    """
    peers = sorted(status["peers"], key=lambda peer: str(peer["key_id"]))
    shown, candidates = peers[:PEERS_MAX], status["candidates"][:CANDIDATES_MAX]
    media = sorted({peer["medium"] for peer in shown})
    spots = [Spot("self", "self", name, "self", f"this node, {name}", 0.0, 0.0)]
    lines: list[Line] = []
    groups = {medium: [one for one in shown if one["medium"] == medium] for medium in media}
    start = _START
    for medium, group in groups.items():
        width = 2 * math.pi * len(group) / max(1, len(shown))
        spots.append(_medium(medium, group, start + width / 2))
        lines.append(Line("self", f"medium-{medium}", _best(group)))
        for index, peer in enumerate(group):
            angle = start + width * (index + 0.5) / len(group)
            spots.append(_peer(peer, angle, _PEER_R[index % 2]))
            lines.append(Line(f"medium-{medium}", peer["key_id"], _state(peer)))
        start += width
    for index, candidate in enumerate(candidates):
        angle = 2 * math.pi * (index + 0.25) / len(candidates)
        spots.append(_candidate(candidate, angle))
    left_out = len(peers) - len(shown) + len(status["candidates"]) - len(candidates)
    return Topology(tuple(spots), tuple(lines), left_out)


def _medium(medium: str, group: Sequence[Mapping[str, Any]], angle: float) -> Spot:
    fresh = sum(_state(peer) == "fresh" for peer in group)
    detail = f"{medium}: {fresh} of {len(group)} peers fresh"
    return Spot(f"medium-{medium}", "medium", medium, _best(group), detail, *_at(angle, _MEDIUM_R))


def _peer(peer: Mapping[str, Any], angle: float, radius: float) -> Spot:
    label = str(peer["alias"] or peer["key_id"])
    state = _state(peer)
    heard = peer["last_heard_s"]
    said = "never heard" if heard is None else f"heard {heard:.0f} s ago"
    missing = f", {peer['missing']} records missing" if peer["missing"] else ""
    reason = f", {peer['reason']}" if peer["reason"] else ""
    detail = f"peer {label}: {state}, {peer['medium']}, {said}{missing}{reason}"
    return Spot(str(peer["key_id"]), "peer", label, state, detail, *_at(angle, radius))


def _candidate(candidate: Mapping[str, Any], angle: float) -> Spot:
    label = str(candidate["key_id"] or candidate["address"])
    hops = "" if candidate["hops"] is None else f", {candidate['hops']} hops away"
    detail = f"heard, no peer: {label}{hops}, {candidate['last_heard_s']:.0f} s ago"
    address = f"candidate-{candidate['address']}"
    return Spot(address, "candidate", label, "heard", detail, *_at(angle, _CANDIDATE_R))


def _state(peer: Mapping[str, Any]) -> str:
    if peer["fresh"]:
        return "fresh"
    return "stale" if peer["state"] == "connected" else "down"


def _best(group: Sequence[Mapping[str, Any]]) -> str:
    states = {_state(peer) for peer in group}
    return next((state for state in ("fresh", "stale") if state in states), "down")


def _at(angle: float, radius: float) -> tuple[float, float]:
    return round(radius * math.cos(angle), 4), round(radius * math.sin(angle), 4)
