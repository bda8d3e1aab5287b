"""Nodes in one emulated LoRa cell, each behind Reticulum's own driver, and what befalls radios.

The channel's time passes some times as fast as ours, and so do the pauses of a node after a failed
exchange (`hurried_node`); all other time of nodes and of Reticulum is the clock's.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import rnode_block
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import SIGNAL_DBM, Reach, full
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.localnodes import reticulum_config_around
from support.node_processes import (
    Mesh,
    NodeProcess,
    becomes_true,
    befriend,
    made_mesh,
    wait_until,
)

SF8: Final = LoraSettings(868_100_000, 125_000, 8, 5)
SPEED: Final = 32.0
NODES: Final = 3
#: No duty: its hour passes at the pace of our clock.
SETTINGS: Final[Mapping[tuple[str, str], str]] = {
    ("rounds", "cadence_s"): "1",
    ("rounds", "no_progress_timeout_s"): "15",  # minutes of the channel
    ("radio", "duty"): "none",
}
HURRIED: Final = ("-m", "support.hurried_node")
KIND: Final = EnvelopeKind.ATTESTATION
#: An exchange that failed is tried again after 4 s, 8, 16; Reticulum looks for a way that was lost
#: for 20 s at a time. Many failures are waited for on a machine that does other things.
PATIENCE_S: Final = 600.0
#: How often an impatient operator says `sync`.
_NUDGE_S: Final = 20.0
#: A radio's driver takes its time to end.
_STOP_S: Final = 60.0


@dataclass
class Cell(Mesh):
    """The nodes of one test by name, on the ports in the order they are made.

    Attributes:
        routers: names of those whose Reticulum passes on what is for others.
    """

    ether: Ether = field(kw_only=True)
    routers: frozenset[str] = frozenset()

    def adopt(self, name: str) -> NodeProcess:
        node = super().adopt(name)
        node.program = HURRIED
        return node

    def reticulum(self, name: str) -> Path:
        rns = self.root / f"{name}-reticulum"
        rns.mkdir()
        block = rnode_block(self.ether.ports[len(self.nodes)], SF8)
        (rns / "config").write_text(reticulum_config_around(block, routes=name in self.routers))
        return rns

    def close(self) -> None:
        """End what runs; nothing here is about how fast a driver ends."""
        for node in self.nodes:
            if node.process is not None:
                node.thaw()
                node.stop(within_s=_STOP_S)

    def run(self, *nodes: NodeProcess) -> None:
        """Start all at once, and return when all are up."""
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready()

    def airtime_s(self) -> float:
        """All that was sent until now."""
        return sum(each.airtime_s for each in self.ether.counters())


@contextmanager
def cell(
    reach: Reach | None = None, *, routers: Iterable[str] = (), speed: float = SPEED
) -> Iterator[Cell]:
    """A cell of three; all ends with it."""
    reach = reach or full(NODES)

    def make(root: Path) -> Cell:
        ether = Ether(root / "e", reach, randomness=random.Random(1), speed=speed)
        ether.start()
        return Cell(root, SETTINGS, ether=ether, routers=frozenset(routers))

    made: Cell | None = None
    try:
        with made_mesh(make) as made:
            yield made
    finally:
        if made is not None:
            made.ether.stop()


def peers(*pairs: tuple[NodeProcess, NodeProcess]) -> None:
    """Let both of each pair, not running, have the other for a peer."""
    for one, other in pairs:
        befriend(one, other)
        befriend(other, one)


def have(nodes: Iterable[NodeProcess], records: Iterable[str]) -> bool:
    """Whether all these nodes hold all these records."""
    wanted = set(records)
    return all(wanted <= node.ids(KIND) for node in nodes)


def wait_for(what: str, nodes: Iterable[NodeProcess], records: Iterable[str]) -> None:
    """Wait until the records came to all these nodes, by whatever those do by themselves."""
    nodes, records = list(nodes), list(records)
    wait_until(lambda: have(nodes, records), what, PATIENCE_S)


def hurry_for(what: str, nodes: Iterable[NodeProcess], records: Iterable[str]) -> None:
    """The same for tests that are not about patience: `sync` is said now and then."""
    nodes, records = list(nodes), list(records)

    def do() -> bool:
        for node in nodes:
            node.call("sync")
        return becomes_true(lambda: have(nodes, records), _NUDGE_S)

    wait_until(do, what, PATIENCE_S)


def only(*pairs: tuple[int, int]) -> Reach:
    """A reach in which these pairs hear each other and nobody else does."""
    both = [*pairs, *((b, a) for a, b in pairs)]
    return Reach(NODES, dict.fromkeys(both, SIGNAL_DBM))


@contextmanager
def slowed(node: NodeProcess, *, runs_s: float = 0.1, pauses_s: float = 0.9) -> Iterator[None]:
    """Let a node run for a part of each second only, as on a far slower board."""
    ending = threading.Event()

    def slow() -> None:
        while not ending.wait(runs_s):
            node.freeze()
            ending.wait(pauses_s)
            node.thaw()

    thread = threading.Thread(target=slow, name="slow-board")
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
