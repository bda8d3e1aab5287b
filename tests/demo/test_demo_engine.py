"""How a demo judges: against nodes that are tables, so that every ending can be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.demo import engine
from ciris_mesh.demo.engine import Demo
from ciris_mesh.demo.layout import node_name
from ciris_mesh.demo.network import Network, VirtualLora
from ciris_mesh.demo.progress import DemoResult, Phase, Progress
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.authoring import author_key
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.setup import new_node, node_identity

AT_MS = 1_795_335_302_000


class TableNode:
    """Answers as a node would; `pool` is shared by nodes that converge at once."""

    def __init__(self, root: Path, name: str, pool: dict[EnvelopeKind, set[str]]) -> None:
        self.name = name
        self.home = new_node(root / name, name)
        self.identity = node_identity(self.home)
        self.pool = pool
        self.answer = "admitted"
        own = author_key(self.identity.key, identity_ref=name, at_ms=AT_MS)
        (self.home.storage / "own-key-record").write_bytes(own)

    def call(self, op: str, **arguments: Any) -> Any:
        match op:
            case "admit":
                kind = EnvelopeKind(arguments["kind"])
                raw = bytes.fromhex(arguments["envelope_hex"])
                self.pool[kind].add(parse_envelope(kind, raw).envelope_id.hex())
                return {"outcome": self.answer, "reason": "r", "detail": "d"}
            case "ids":
                return sorted(self.pool[EnvelopeKind(arguments["kind"])])
            case "status":
                rows = [{"kind": str(k), "federation": len(ids)} for k, ids in self.pool.items()]
                return {"kinds": rows, "interfaces": [{"tx_bytes": 10}, {"tx_bytes": 1}]}
            case _:
                raise AssertionError(op)


class TableFleet:
    """In place of Fleet."""

    shared = True
    stopped = 0

    def __init__(self, root: Path, count: int, network: Network) -> None:
        self.network = network
        pools = [{kind: set[str]() for kind in EnvelopeKind} for _ in range(count)]
        self.nodes = [
            TableNode(root, node_name(index), pools[0 if self.shared else index])
            for index in range(count)
        ]

    def create(self) -> None:
        pass

    def start(self) -> None:
        self.network.start()

    def stop(self) -> None:
        type(self).stopped += 1
        self.network.stop()


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> type[TableFleet]:
    class Fresh(TableFleet):
        pass

    monkeypatch.setattr(engine, "Fleet", Fresh)
    return Fresh


def run(
    root: Path,
    records: int = 13,
    *,
    show: Callable[[Progress], None] = lambda _: None,
    timeout_s: float = 60,
    network: Network | None = None,
) -> DemoResult:
    return Demo(
        root, nodes=3, records=records, timeout_s=timeout_s, show=show, network=network
    ).run()


def test_all_equal_is_converged(tmp_path: Path, fleet: type[TableFleet]) -> None:
    result = run(tmp_path)
    assert (result.converged, result.nodes, result.kinds, result.records) == (True, 3, 13, 39)
    assert result.bytes == 33
    assert result.channel is None
    assert fleet.stopped == 1


def test_by_radio_the_channel_is_told_all_along(short: Path, fleet: type[TableFleet]) -> None:
    names = ("alice", "bob", "carol")
    seen: list[Progress] = []
    lora = VirtualLora(short / "ether", names, speed=64.0)
    result = run(short, records=3, show=seen.append, network=lora)
    assert fleet.stopped == 1
    assert result.channel is not None
    assert [each.name for each in result.channel.nodes] == list(names)
    assert result.channel.channel_s > 0
    assert [each.channel is None for each in seen] == [not each.nodes for each in seen]
    assert list((short / "ether").iterdir()) == [], "the ports are gone"


def test_fewer_records_are_fewer_kinds(tmp_path: Path, fleet: type[TableFleet]) -> None:
    assert fleet
    result = run(tmp_path, records=4)
    assert (result.converged, result.kinds, result.records) == (True, 4, 12)


def test_nodes_that_never_agree_are_not_converged(tmp_path: Path, fleet: type[TableFleet]) -> None:
    fleet.shared = False
    result = run(tmp_path, timeout_s=0)
    assert not result.converged
    assert (result.kinds, result.records) == (13, 39)
    assert fleet.stopped == 1


def test_equal_counts_are_no_proof(
    tmp_path: Path, fleet: type[TableFleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = TableNode.call

    def one_differs(self: TableNode, op: str, **arguments: Any) -> Any:
        answer = ids(self, op, **arguments)
        if op == "ids" and self.name == "bob" and arguments["kind"] == "family":
            return [*answer[1:], "ff" * 32]
        return answer

    assert fleet
    monkeypatch.setattr(TableNode, "call", one_differs)
    result = run(tmp_path)
    assert not result.converged
    assert result.records == 40


def test_all_lacking_the_same_is_not_converged(
    tmp_path: Path, fleet: type[TableFleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = TableNode.call

    def lost(self: TableNode, op: str, **arguments: Any) -> Any:
        answer = call(self, op, **arguments)
        return answer[1:] if op == "ids" else answer

    assert fleet
    monkeypatch.setattr(TableNode, "call", lost)
    assert not run(tmp_path).converged


@pytest.mark.parametrize("outcome", ["refused", "malformed"])
def test_a_node_that_does_not_take_its_own_record_ends_the_demo(
    tmp_path: Path, fleet: type[TableFleet], monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    monkeypatch.setattr(
        TableNode, "call", lambda *_, **__: {"outcome": outcome, "reason": "r", "detail": "d"}
    )
    with pytest.raises(OperatorError, match=f"alice took its own key record for {outcome}: r d"):
        run(tmp_path)
    assert fleet.stopped == 1


def test_progress_goes_through_the_phases_and_counts_up(
    tmp_path: Path, fleet: type[TableFleet]
) -> None:
    assert fleet
    seen: list[Progress] = []
    run(tmp_path, show=seen.append)
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases == list(Phase)
    assert [progress.signed for progress in seen] == sorted(p.signed for p in seen)
    assert seen[-1].signed == 39
    assert [node.total for node in seen[-1].nodes] == [39, 39, 39]


def test_an_interrupted_demo_stops_its_nodes(tmp_path: Path, fleet: type[TableFleet]) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase is Phase.SIGNING:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, show=interrupt)
    assert fleet.stopped == 1
