"""A real node with a page, on loopback, for tests of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.config import Config, WebSettings, load_config
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.runtime.setup import new_node, node_identity
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.web.service import WebService
from ciris_mesh.web.source import NodeSource
from support.records import sample


@dataclass
class Site:
    """A node, another one, and the page of the first."""

    node: Node
    other: Node
    config: Config
    operations: Operations
    counts: Counter[str]
    service: WebService | None = None

    def serve(self, **settings: Any) -> WebService:
        """Start the page with these settings in [web]."""
        chosen = replace(self.config.web, listen=("127.0.0.1", 0), **settings)
        self.service = self.make(chosen)
        self.service.start()
        return self.service

    def make(self, settings: WebSettings) -> WebService:
        source = NodeSource(self.operations, "field-3")
        return WebService(settings, source, count=lambda name: self.counts.update([name]))

    @property
    def url(self) -> str:
        assert self.service is not None
        return f"http://127.0.0.1:{self.service.port}"


@contextmanager
def site_in(tmp_path: Path) -> Iterator[Site]:
    """Two nodes that agree, in new homes under `tmp_path`."""
    home = new_node(tmp_path / "a", "alice")
    keys = [node_identity(home).key, node_identity(new_node(tmp_path / "b", "bob")).key]
    network = LoopbackNetwork()
    node, other = (Node(key, LoopbackTransport(network, key.key_id)) for key in keys)
    for one, two in ((node, other), (other, node)):
        one.add_peer(PeerConfig(two.key_id, two.runtime.transport.address, alias=two.key_id[:5]))
    config, clock = load_config(home.config), SystemClock()
    operations = Operations(
        node, PeerBook.load(home.peers), clock, clock.monotonic_s(), RadioBudget(config.radio)
    )
    made = Site(node, other, config, operations, Counter())
    with node, other:
        for n in range(3):
            envelope = sample(EnvelopeKind.ATTESTATION, keys[0], n)
            node.runtime.admit_own(EnvelopeKind.ATTESTATION, envelope)
        assert node.wait_converged(timeout_s=240) == []
        yield made
        if made.service is not None:
            made.service.stop()
