"""How long records take from one node to an empty one, beside verifying their signatures alone.

Both nodes are what `ciris-mesh run` starts, a process each, over Reticulum on loopback TCP. The
clock runs from the first link between them until the receiver holds the last record, verified and
on disk. The floor is measured before and after, so a machine that is busy with something else
slows both sides of the ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ciris_mesh.bench.floor import signatures, verification_s
from ciris_mesh.bench.pool import all_cores
from ciris_mesh.bench.records import Plan, Record, made_records
from ciris_mesh.bench.report import Report, row
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime.bundle import admit_mixed
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.localnodes import (
    LocalNode,
    free_port,
    reticulum_config,
    start_nodes,
    stop_nodes,
)
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.setup import new_node, node_identity

RECORDS: Final = 5_000
#: Frame version -> times the floor. Delivers of 0x01 spell each byte in up to four characters.
LIMITS: Final = {"0x01": 8.0, "0x81": 3.0}

#: Nodes find each other within seconds; after this there is something wrong.
_MEET_TIMEOUT_S: Final = 240.0
#: A hundred times what a record should take.
_TIMEOUT_S_PER_RECORD: Final = 0.1
#: Asking costs the node two milliseconds, so at this pace one in a hundred of a run; near its
#: beginning and end more often, or a twentieth of what is measured would be chance.
_POLL_S: Final = 0.2
_SOON_S: Final = 0.02
_BATCH: Final = 500


def run(
    root: Path, *, records: int, seed: int, tell: Callable[[str], None], frame: str = "0x01"
) -> Report:
    """Measure.

    Args:
        root: an empty directory with a path short enough for sockets.
        tell: gets a line about what is being done.
        frame: what Delivers travel in; a key of `LIMITS`.

    Raises:
        OperatorError: a node could not be started, or the records did not arrive.
    """
    plan = Plan(records, seed)
    nodes: list[LocalNode] = []
    with all_cores() as pool:
        tell(f"signing {records} records")
        made = list(made_records(pool, plan))
        signed = signatures(made)
        tell("verifying their signatures alone")
        before_s = verification_s(pool, signed)
        try:
            nodes += _make_nodes(root, plan, frame)
            tell("filling the first node")
            _fill(nodes[0], plan, made)
            start_nodes(nodes)
            tell("replicating")
            elapsed_s = _replicate(nodes[1], records)
        finally:
            stop_nodes(nodes)
        after_s = verification_s(pool, signed)
    quantity = f"{records:,} records to an empty node in {frame}, s"
    floor_s = (before_s + after_s) / 2
    return Report("tcp", (row(quantity, elapsed_s, floor=floor_s, limit=LIMITS[frame]),))


def _make_nodes(root: Path, plan: Plan, frame: str) -> list[LocalNode]:
    port = free_port()
    settings = {
        ("node", "clock"): "assume-trusted",  # nothing signed here leaves the directory
        ("trust", "pinned"): _pins(plan),
        ("rounds", "frame"): frame.removeprefix("0x"),
    }
    nodes: list[LocalNode] = []
    for name in ("sender", "receiver"):
        rns_config_dir = root / f"{name}-reticulum"
        rns_config_dir.mkdir(mode=0o700)
        text = reticulum_config(port=port, listens=not nodes)
        (rns_config_dir / "config").write_text(text)
        home = new_node(root / name, name, settings=settings)
        nodes.append(LocalNode(name, home, rns_config_dir, node_identity(home)))
    for node, other in zip(nodes, reversed(nodes), strict=True):
        PeerBook.load(node.home.peers).add(other.as_peer())
    return nodes


def _pins(plan: Plan) -> str:
    """Both nodes know the signers, so the one may offer and the other keep what they signed."""
    return ", ".join(f"{key.key_id} {key.public.fingerprint.hex()}" for key in plan.signers)


def _fill(node: LocalNode, plan: Plan, made: Sequence[Record]) -> None:
    pinned = {key.key_id: key.public.fingerprint for key in plan.signers}
    directory = SqliteDirectory(node.home.database, pinned=pinned)
    try:
        for start in range(0, len(made), _BATCH):
            batch = made[start : start + _BATCH]
            answers = admit_mixed(directory, batch, now_ms=SystemClock().wall_ms())
            for outcome, reason in answers:
                if outcome is not Outcome.ADMITTED:
                    raise OperatorError(f"a record made here is {outcome} here: {reason}")
    finally:
        directory.close()


def _replicate(receiver: LocalNode, records: int) -> float:
    """Seconds from the first link until the receiver holds everything."""
    deadline_s = time.perf_counter() + _MEET_TIMEOUT_S
    while not _is_connected(receiver):
        _pause(_SOON_S, deadline_s, "the nodes did not meet")
    start_s = time.perf_counter()
    expected = records + 2  # and both nodes' own key records
    deadline_s = start_s + _MEET_TIMEOUT_S + records * _TIMEOUT_S_PER_RECORD
    while (held := _held(receiver)) < expected:
        left_s = (time.perf_counter() - start_s) * (expected - held) / max(held, 1)
        pause_s = min(_POLL_S, max(_SOON_S, left_s / 2))
        _pause(pause_s, deadline_s, "not all records arrived")
    return time.perf_counter() - start_s


def _is_connected(node: LocalNode) -> bool:
    peers: list[dict[str, Any]] = node.call("peers")
    return any(peer["state"] == "connected" for peer in peers)


def _held(node: LocalNode) -> int:
    kinds: list[dict[str, Any]] = node.call("status")["kinds"]
    return sum(kind["federation"] for kind in kinds)


def _pause(time_s: float, deadline_s: float, problem: str) -> None:
    if time.perf_counter() > deadline_s:
        raise OperatorError(f"{problem} in time")
    time.sleep(time_s)
