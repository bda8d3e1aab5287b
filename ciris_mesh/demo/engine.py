"""One demo from beginning to end: start nodes, sign records, watch, compare, clean up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ciris_mesh.demo.fleet import Fleet
from ciris_mesh.demo.network import Loopback, Network
from ciris_mesh.demo.progress import DemoResult, NodeProgress, Phase, Progress
from ciris_mesh.demo.records import sample_records
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime.localnodes import LocalNode

_POLL_S: Final = 0.25

Ids = dict[EnvelopeKind, set[str]]


class Demo:
    """Runs once.

    Args:
        root: an empty directory for the nodes.
        records: how many each node signs; 13 is one of each kind.
        timeout_s: gives up after this, counted from the start.
        show: called with each new state, on this thread.
        network: what joins the nodes; TCP on loopback when left out.
    """

    def __init__(
        self,
        root: Path,
        *,
        nodes: int,
        records: int,
        timeout_s: float,
        show: Callable[[Progress], None],
        network: Network | None = None,
    ) -> None:
        self._network = network or Loopback()
        self._fleet = Fleet(root, nodes, self._network)
        self._records = records
        self._timeout_s = timeout_s
        self._show = show
        self._start_s = time.monotonic()
        self._expected: Ids = {kind: set() for kind in EnvelopeKind}
        self._statuses: list[dict[str, Any]] = []

    def run(self) -> DemoResult:
        """Run to the end; whatever happens, no process is left.

        Raises:
            OperatorError: a node could not be started, or refused a record.
        """
        try:
            self._tell(Phase.PREPARING)
            self._fleet.create()
            self._tell(Phase.STARTING)
            self._fleet.start()
            for node in self._fleet.nodes:
                self._sign(node)
            self._wait()
            self._tell(Phase.COMPARING)
            return self._compare()
        finally:
            self._fleet.stop()

    def _sign(self, node: LocalNode) -> None:
        own = (node.home.storage / "own-key-record").read_bytes()
        now_ms = time.time_ns() // 1_000_000
        for kind, envelope in sample_records(
            node.identity.key, self._records, at_ms=now_ms, key_envelope=own
        ):
            answer = node.call("admit", kind=kind.value, envelope_hex=envelope.hex())
            if not Outcome(answer["outcome"]).is_held:
                raise OperatorError(
                    f"node {node.name} took its own {kind.value} record for "
                    f"{answer['outcome']}: {answer['reason']} {answer['detail']}"
                )
            self._expected[kind].add(parse_envelope(kind, envelope).envelope_id.hex())
        self._look(Phase.SIGNING)

    def _wait(self) -> None:
        """Look until every node counts what was signed, or the time is over."""
        expected = {kind.value: len(ids) for kind, ids in self._expected.items()}
        while True:
            self._look(Phase.CONVERGING)
            if all(
                all(_held(status)[kind] >= count for kind, count in expected.items())
                for status in self._statuses
            ):
                return
            if self._elapsed_s() > self._timeout_s:
                return
            time.sleep(_POLL_S)

    def _compare(self) -> DemoResult:
        """Compare all ids of all nodes; counts are not proof."""
        held = [_ids(node) for node in self._fleet.nodes]
        self._look(Phase.COMPARING)
        equal = all(ids == held[0] for ids in held)
        complete = all(self._expected[kind] <= held[0][kind] for kind in EnvelopeKind)
        return DemoResult(
            converged=equal and complete,
            nodes=len(held),
            kinds=sum(1 for kind in EnvelopeKind if all(ids[kind] for ids in held)),
            records=sum(len(set().union(*(ids[kind] for ids in held))) for kind in EnvelopeKind),
            seconds=round(self._elapsed_s(), 2),
            bytes=sum(
                interface["tx_bytes"]
                for status in self._statuses
                for interface in status["interfaces"]
            ),
            channel=self._network.channel(),
        )

    def _look(self, phase: Phase) -> None:
        self._statuses = [node.call("status") for node in self._fleet.nodes]
        self._tell(phase)

    def _tell(self, phase: Phase) -> None:
        nodes = tuple(
            NodeProgress(node.name, _held(status))
            for node, status in zip(self._fleet.nodes, self._statuses, strict=False)
        )
        signed = sum(len(ids) for ids in self._expected.values())
        channel = self._network.channel() if nodes else None
        self._show(Progress(phase, self._elapsed_s(), signed, nodes, channel))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._start_s


def _held(status: dict[str, Any]) -> dict[str, int]:
    return {row["kind"]: row["federation"] for row in status["kinds"]}


def _ids(node: LocalNode) -> Ids:
    return {kind: set(node.call("ids", kind=kind.value)) for kind in EnvelopeKind}
