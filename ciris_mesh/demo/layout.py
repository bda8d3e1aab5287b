"""The shape of a demo mesh: names, who peers with whom, and each node's Reticulum configuration.

Node 1 listens on loopback TCP and routes; all others connect to it. Nothing is shared with a
Reticulum the user may be running: no shared instance, own directories, own port.
"""

from __future__ import annotations

import socket
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


def reticulum_config(*, port: int, listens: bool) -> str:
    """Return the text of a Reticulum configuration file for one node."""
    interface = (
        f"    type = TCPServerInterface\n    listen_ip = 127.0.0.1\n    listen_port = {port}\n"
        if listens
        else "    type = TCPClientInterface\n    target_host = 127.0.0.1\n"
        f"    target_port = {port}\n"
    )
    return (
        "[reticulum]\n"
        f"  enable_transport = {'Yes' if listens else 'No'}\n"
        "  share_instance = No\n"
        "  panic_on_interface_error = No\n"
        "[logging]\n"
        "  loglevel = 3\n"
        "[interfaces]\n"
        "  [[Demo]]\n"
        "    enabled = yes\n"
        f"{interface}"
    )


def free_port() -> int:
    """Return a loopback TCP port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
