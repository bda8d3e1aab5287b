"""Seeded histories of nodes that reconcile, and of some among nodes that speak 0x01 only.

    pytest tests/sim/test_sim_exchange.py --sim-seed=7           replays one history

Bad links, partitions, crashes; then calm, and everybody must hold everything, know so by the
others' digests, and have nothing more to say than one comparison a cadence.
"""

from __future__ import annotations

import itertools

from sim.test_sim_convergence import KINDS, TRUSTED, records

from ciris_mesh.protocol.limits import CADENCE_S
from ciris_mesh.protocol.report import InSync
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS
from support.records import AT_MS
from support.sim_exchange import SimExchange
from support.sim_network import PERFECT, RADIO, Faults

ALL = CAPABILITY_RECONCILE | CAPABILITY_RECORDS


def network(
    seed: int,
    names: str = "abcd",
    faults: Faults = RADIO,
    capabilities: dict[str, int] | None = None,
) -> SimExchange:
    return SimExchange(
        names,
        seed=seed,
        faults=faults,
        kinds=KINDS,
        trusted=TRUSTED,
        epoch_ms=AT_MS,
        capabilities=capabilities,
    )


def live_through(mesh: SimExchange) -> None:
    """Everything goes wrong while every record is written at some node at some time."""
    for record in mesh.rng.sample(records(), len(records())):
        mesh.put(mesh.rng.choice(list(mesh.nodes)), record)
        mesh.run_s(mesh.rng.random() * CADENCE_S)
    for _ in range(2):
        upset(mesh)
        mesh.run_s(2 * CADENCE_S)
        mesh.partitioned.clear()
    mesh.faults = PERFECT
    mesh.run_s(12 * CADENCE_S)


def upset(mesh: SimExchange) -> None:
    pairs = [frozenset(pair) for pair in itertools.combinations(mesh.nodes, 2)]
    mesh.part(mesh.rng.sample(pairs, mesh.rng.randrange(len(pairs))))
    for name in mesh.nodes:
        if mesh.rng.random() < 0.3 and mesh.is_up(name):
            mesh.crash(name, for_s=mesh.rng.random() * 3 * CADENCE_S)


def assert_settled(mesh: SimExchange) -> None:
    everything: dict[EnvelopeKind, set[bytes]] = {kind: set() for kind in EnvelopeKind}
    for node in mesh.nodes.values():
        for kind, ids in node.held().items():
            everything[kind] |= ids
    assert sum(map(len, everything.values())) == len(records())
    for node in mesh.nodes.values():
        assert node.held() == everything, node.name
        assert node.directory.pools().deferred == 0, node.name
        node.said.clear()
    mesh.run_s(3 * CADENCE_S)
    for node in mesh.nodes.values():
        assert set(node.said) <= {"Digests"}, f"{node.name} keeps talking"
        assert not node.is_active(), node.name
    for one, two in itertools.permutations(mesh.nodes.values(), 2):
        for kind in KINDS:
            assert one.board.standing(two.name, kind).signal == InSync(), (one.name, two.name)
            mine, theirs = one.bridge.view_ids(two.name, kind), two.bridge.view_ids(one.name, kind)
            assert mine == theirs


def test_all_nodes_settle_on_the_union_once_things_calm_down(sim_seed: int) -> None:
    mesh = network(sim_seed)
    live_through(mesh)
    assert_settled(mesh)


def test_they_settle_with_nodes_among_them_that_speak_01_only(mixed_sim_seed: int) -> None:
    words = {"b": 0, "c": CAPABILITY_RECORDS}
    mesh = network(mixed_sim_seed, capabilities=words)
    live_through(mesh)
    assert_settled(mesh)


def test_one_seed_is_one_history() -> None:
    def history() -> list[dict[str, int]]:
        mesh = network(3, "abc")
        seen = []
        for record in records()[:12]:
            mesh.put(mesh.rng.choice("abc"), record)
            mesh.run_s(20)
            seen.append({name: node.said.total() for name, node in mesh.nodes.items()})
        return seen

    assert history() == history()


def test_the_faults_do_happen_and_both_kinds_of_rounds() -> None:
    """A simulation whose links are fine proves nothing, nor one that never reconciles."""
    mesh = network(5, capabilities={"b": 0})
    live_through(mesh)
    said = sum((node.said for node in mesh.nodes.values()), start=type(mesh.nodes["a"].said)())
    assert {"Sketch", "Wants", "Records", "Taken", "Summary", "Deliver"} <= set(said)
    assert mesh.broken > 0
