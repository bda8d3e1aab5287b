"""The shape of a demo mesh: names, and who peers with whom."""

from __future__ import annotations

from typing import Final

NAMES: Final = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"]

#: A full mesh has n(n-1)/2 pairs; beyond this a ring with chords keeps each node's work constant.
FULL_MESH_NODES_MAX: Final = 8

#: More processes than this tell about the machine, not about the mesh.
NODES_MAX: Final = 64


def node_name(index: int) -> str:
    """Return the name of the node at `index`, counted from 0."""
    return NAMES[index] if index < len(NAMES) else f"node{index + 1}"


def peers_of(index: int, count: int) -> tuple[int, ...]:
    """Return the indexes of a node's peers: everyone, or two neighbours and two chords each way.

    Chords span a quarter of the ring, so records cross 64 nodes in few hops.
    """
    if count <= FULL_MESH_NODES_MAX:
        return tuple(other for other in range(count) if other != index)
    steps = (1, max(2, count // 4))
    around = {(index + step) % count for step in steps}
    around |= {(index - step) % count for step in steps}
    return tuple(sorted(around - {index}))
