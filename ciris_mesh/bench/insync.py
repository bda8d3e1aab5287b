"""What it costs two nodes that hold the same to find that out.

Two whole nodes in one process, joined by loopback: the runtime with its threads is what is
measured, not a function of it. The process does nothing else, so half of its CPU time is a side's.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ciris_mesh.bench.filler import SIGNER
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.runtime.keyfiles import FederationSeeds
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import Peer, PeerConfig
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport

#: Comparisons measured: two a cadence of a minute would take an hour.
ROUNDS: Final = 60
#: A store of a million rows is listed once before the first comparison.
_MEET_TIMEOUT_S: Final = 120.0
#: Far longer than comparing takes, so that it is asked for once.
_AGAIN_S: Final = 5.0
_POLL_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class RoundCost:
    """CPU milliseconds a side and SQL statements of both sides, of one comparison on average."""

    cpu_ms: float
    statements: float


def in_sync_cost(one: Path, other: Path) -> RoundCost:
    """Measure comparisons between nodes on two stores with equal rows. Own process only.

    Raises:
        OperatorError: the nodes did not come to agree.
    """
    statements = Statements()
    with _pair(one, other) as (node, peer), statements.counted():
        start_s = time.process_time()
        for _ in range(ROUNDS):
            _compare(node, peer)
        cpu_s = time.process_time() - start_s
    return RoundCost(cpu_s * 1000 / ROUNDS / 2, statements.count / ROUNDS)


class Statements:
    """Counts what all SQLite connections of this process are asked.

    Make it before they are opened. An audit hook, because no owner of a connection need know; it
    cannot be removed, so `close` makes it deaf.
    """

    def __init__(self) -> None:
        self.count = 0
        self._connections: list[sqlite3.Connection] = []
        self._counting = False
        self._closed = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect/handle" and not self._closed:
            self._connections.append(arguments[0])
            self.count += self._counting

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is asked inside, a connection being opened included."""
        self._trace(self._note)
        self._counting = True
        yield
        self._counting = False
        self._trace(None)

    def close(self) -> None:
        """Let go of the connections, and hear of no more."""
        self._closed = True
        self._connections.clear()

    def _note(self, _: str) -> None:
        self.count += 1

    def _trace(self, callback: Callable[[str], None] | None) -> None:
        for connection in self._connections:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
                connection.set_trace_callback(callback)


@contextmanager
def _pair(one: Path, other: Path) -> Iterator[tuple[Node, Peer]]:
    """Two nodes that agree, and how the first sees the second."""
    network = LoopbackNetwork()
    directories = [SqliteDirectory(path) for path in (one, other)]
    nodes = [_node(network, directory) for directory in directories]
    try:
        for node, peer in zip(nodes, reversed(nodes), strict=True):
            address = peer.runtime.transport.address
            node.add_peer(PeerConfig(peer.key_id, address, fingerprint=peer.fingerprint))
        for node in nodes:
            node.start()
        for node in nodes:
            if waiting := node.wait_converged(_MEET_TIMEOUT_S):
                raise OperatorError(f"the nodes do not agree: {'; '.join(waiting)}")
        seen = nodes[0].runtime.peers.get(nodes[1].key_id)
        assert seen is not None, "added above"
        yield nodes[0], seen
    finally:
        for node in nodes:
            node.stop()
        for directory in directories:
            directory.close()


def _node(network: LoopbackNetwork, directory: SqliteDirectory) -> Node:
    name = f"bench-{secrets.token_hex(4)}"
    return Node(
        FederationSeeds.generate(name).key(),
        LoopbackTransport(network, name),
        directory=directory,
        config=RuntimeConfig(pinned=frozenset({SIGNER})),
    )


def _compare(node: Node, peer: Peer) -> None:
    """Let the node compare with its peer once, and wait for the answer."""
    before = peer.checks
    deadline_s = time.monotonic() + _MEET_TIMEOUT_S
    again_s = 0.0
    while peer.checks == before or peer.check_out:
        if time.monotonic() > deadline_s:
            raise OperatorError("a comparison was not answered")
        if peer.checks == before and time.monotonic() > again_s:
            node.handle.sync()  # of which nothing comes while another comparison is out
            again_s = time.monotonic() + _AGAIN_S
        time.sleep(_POLL_S)
