"""The node processes of a demo: made, started, asked and ended. Never anything but these."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ciris_mesh.demo.layout import (
    FULL_MESH_NODES_MAX,
    free_port,
    node_name,
    peers_of,
    reticulum_config,
)
from ciris_mesh.errors import NodeNotRunning, OperatorError
from ciris_mesh.runtime.config import example_config
from ciris_mesh.runtime.control import call
from ciris_mesh.runtime.files import write_atomic
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.peerbook import Peer, PeerBook
from ciris_mesh.runtime.setup import NodeIdentity, new_node, node_identity

#: A node is ready within 2 s on an idle machine; many starting at once share its cores.
START_TIMEOUT_S: Final = 60.0
#: A node closes its links and its store within 5 s; after this it is killed.
STOP_TIMEOUT_S: Final = 8.0
#: A node that verifies a batch of signatures may answer late.
CALL_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_OUTPUT_LINES: Final = 3

#: A demo is watched: it looks at peers every second instead of every 30.
_SETTINGS: Final = {
    ("rounds", "cadence_s"): "1",
    ("reticulum", "announce_kinds"): "Demo",
}


@dataclass(slots=True)
class DemoNode:
    """One node: its home, its own Reticulum directory, and its process while it runs."""

    name: str
    home: Home
    rns_config_dir: Path
    identity: NodeIdentity
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def call(self, op: str, **arguments: Any) -> Any:
        """Ask the node.

        Raises:
            OperatorError: it does not answer, or answers with an error.
        """
        return call(self.home.find_socket(), op, timeout_s=CALL_TIMEOUT_S, **arguments)

    @property
    def output(self) -> Path:
        """Where the process writes what it says."""
        return self.home.path / "output"

    def start(self) -> None:
        """Start the process. It ignores the terminal's Ctrl-C: the fleet ends it."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ciris_mesh", "--config", str(self.home.path)),
                    *("run", "--rnsconfig", str(self.rns_config_dir)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        """True when the node answers.

        Raises:
            OperatorError: the process ended; the text has the last it said.
        """
        assert self.process is not None, "start first"
        code = self.process.poll()
        if code is not None:
            raise OperatorError(f"node {self.name} ended with code {code}: {self._last_words()}")
        try:
            self.call("status")
        except NodeNotRunning:
            return False
        return True

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.output.read_text(errors="replace").strip().splitlines()
            return " / ".join(lines[-_OUTPUT_LINES:]) or "it said nothing"
        return "it said nothing"


def _environment() -> dict[str, str]:
    # The demo's sockets go into its own directory, so nothing of it is left in the user's.
    return {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}


class Fleet:
    """All nodes of one demo, in a directory of their own.

    Args:
        root: an empty directory; one sub-directory for each node is made in it.
    """

    def __init__(self, root: Path, count: int) -> None:
        self._root = root
        self._count = count
        self.nodes: list[DemoNode] = []

    def create(self) -> None:
        """Make homes, keys, Reticulum configurations and peer books."""
        port = free_port()
        for index in range(self._count):
            self.nodes.append(self._create_node(index, port))
        if self._count > FULL_MESH_NODES_MAX:
            self._pin_all()
        for index, node in enumerate(self.nodes):
            book = PeerBook.load(node.home.peers)
            for other in peers_of(index, self._count):
                book.add(_as_peer(self.nodes[other]))

    def _create_node(self, index: int, port: int) -> DemoNode:
        name = node_name(index)
        rns_config_dir = self._root / f"{name}-reticulum"
        rns_config_dir.mkdir(mode=0o700)
        text = reticulum_config(port=port, listens=index == 0)
        (rns_config_dir / "config").write_text(text)
        home = new_node(self._root / name, name, settings=_SETTINGS)
        return DemoNode(name, home, rns_config_dir, node_identity(home))

    def _pin_all(self) -> None:
        """Let every node pass on every other's records: they are not all each other's peers."""
        pins = ", ".join(
            f"{node.identity.key_id} {node.identity.fingerprint.hex()}" for node in self.nodes
        )
        settings = {**_SETTINGS, ("trust", "pinned"): pins}
        for node in self.nodes:
            write_atomic(node.home.config, example_config(settings).encode())

    def start(self) -> None:
        """Start the node that listens, then all others at once; return when all answer.

        Raises:
            OperatorError: a node ended or did not answer in time.
        """
        for group in (self.nodes[:1], self.nodes[1:]):
            for node in group:
                node.start()
            _wait_ready(group)

    def stop(self) -> None:
        """End every process: asked first, killed when it does not. Idempotent."""
        running = [node.process for node in self.nodes if node.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for process in running:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _as_peer(node: DemoNode) -> Peer:
    return Peer(
        key_id=node.identity.key_id,
        fingerprint=node.identity.fingerprint,
        address=node.identity.address,
        alias=node.name,
    )


def _wait_ready(nodes: Sequence[DemoNode]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    waiting = list(nodes)
    while waiting := [node for node in waiting if not node.is_ready()]:
        if time.monotonic() > deadline_s:
            names = ", ".join(node.name for node in waiting)
            raise OperatorError(f"not ready after {START_TIMEOUT_S:g} s: {names}")
        time.sleep(_POLL_S)
