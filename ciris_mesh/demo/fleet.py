"""The nodes of a demo: homes, keys, configurations and peer books."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ciris_mesh.demo.layout import FULL_MESH_NODES_MAX, node_name, peers_of
from ciris_mesh.demo.network import Loopback, Network
from ciris_mesh.runtime.config import example_config
from ciris_mesh.runtime.files import write_atomic
from ciris_mesh.runtime.localnodes import LocalNode, start_nodes, stop_nodes
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.setup import new_node, node_identity

#: A demo is watched: it looks at peers every second instead of every 30. It signs nothing that
#: leaves its directory, so the clock need only be after the build.
_SETTINGS: Final = {
    ("node", "clock"): "assume-trusted",
    ("rounds", "cadence_s"): "1",
}


class Fleet:
    """All nodes of one demo, in a directory of their own.

    Args:
        root: an empty directory; one sub-directory for each node is made in it.
        network: what joins them; started and stopped with the nodes.
    """

    def __init__(self, root: Path, count: int, network: Network | None = None) -> None:
        self._root = root
        self._count = count
        self._network = network or Loopback()
        self._settings = {**_SETTINGS, **self._network.settings}
        self.nodes: list[LocalNode] = []

    def create(self) -> None:
        """Make homes, keys, Reticulum configurations and peer books."""
        for index in range(self._count):
            self.nodes.append(self._create_node(index))
        self._configure()
        for index, node in enumerate(self.nodes):
            book = PeerBook.load(node.home.peers)
            for other in peers_of(index, self._count):
                book.add(self.nodes[other].as_peer())

    def _create_node(self, index: int) -> LocalNode:
        name = node_name(index)
        rns_config_dir = self._root / f"{name}-reticulum"
        rns_config_dir.mkdir(mode=0o700)
        (rns_config_dir / "config").write_text(self._network.reticulum(index))
        home = new_node(self._root / name, name, settings=self._settings)
        return LocalNode(name, home, rns_config_dir, node_identity(home))

    def _configure(self) -> None:
        """Let every node found organizations and license partners in every other's eyes.

        In a large fleet, where they are not all each other's peers, let each pass on all records.
        """
        ids = ", ".join(node.identity.key_id for node in self.nodes)
        settings = {
            **self._settings,
            ("trust", "root_stewards"): ids,
            ("trust", "partner_stewards"): ids,
            ("trust", "partner_threshold"): "1",
        }
        if self._count > FULL_MESH_NODES_MAX:
            settings["trust", "pinned"] = ", ".join(
                f"{node.identity.key_id} {node.identity.fingerprint.hex()}" for node in self.nodes
            )
        for node in self.nodes:
            write_atomic(node.home.config, example_config(settings).encode())

    def start(self) -> None:
        """Start all nodes; return when all answer.

        Raises:
            OperatorError: a node ended or did not answer in time.
            OSError: a port of the network could not be made.
        """
        self._network.start()
        start_nodes(self.nodes)

    def stop(self) -> None:
        """End every process, then what joined them. Idempotent."""
        try:
            stop_nodes(self.nodes)
        finally:
            self._network.stop()
