"""Seeded histories: bad links, partitions, crashes; then calm, and everything must agree.

    pytest tests/sim --sim-seed=7           replays one history
    pytest tests/sim --sim-seeds=5000       simulates more of them

The records are fixed bytes (records.json, made by --rewrite): hybrid signing is randomized, and
ids of some kinds cover the signature, so records signed anew would make another history.
"""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from support.keys import NAMES, key
from support.records import AT_MS, sample
from support.sim_network import CADENCE_MS, PERFECT, RADIO, Faults, Record, SimNetwork

KINDS = (
    EnvelopeKind.KEY,
    EnvelopeKind.ATTESTATION,
    EnvelopeKind.FAMILY,
    EnvelopeKind.ORGANIZATION,
)
FILE = Path(__file__).parent / "records.json"
TRUSTED = frozenset(key(name).key_id for name in NAMES)


@pytest.fixture(scope="session", autouse=True)
def _records_file(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        made = [
            [kind.value, sample(kind, key(name), n).decode()]
            for name in NAMES
            for kind in KINDS
            for n in range(1 if kind is EnvelopeKind.KEY else 2)
        ]
        FILE.write_text(json.dumps(made, indent=0) + "\n")


@cache
def records() -> tuple[Record, ...]:
    rows = json.loads(FILE.read_text())
    return tuple((EnvelopeKind(kind), text.encode()) for kind, text in rows)


def network(seed: int, names: str = "abcd", faults: Faults = RADIO) -> SimNetwork:
    return SimNetwork(names, seed=seed, faults=faults, kinds=KINDS, trusted=TRUSTED, epoch_ms=AT_MS)


def scatter(mesh: SimNetwork) -> None:
    """Write every record at some node at some time, while things go wrong around it."""
    for record in mesh.rng.sample(records(), len(records())):
        mesh.put(mesh.rng.choice(list(mesh.nodes)), record)
        mesh.run_ms(mesh.rng.randrange(CADENCE_MS))


def upset(mesh: SimNetwork) -> None:
    """Partition some pairs and crash some nodes, at random moments."""
    pairs = [frozenset(pair) for pair in itertools.combinations(mesh.nodes, 2)]
    mesh.partitioned = set(mesh.rng.sample(pairs, mesh.rng.randrange(len(pairs))))
    for name in mesh.nodes:
        if mesh.rng.random() < 0.3:
            mesh.crash(name, for_ms=mesh.rng.randrange(3 * CADENCE_MS))


def assert_settled(mesh: SimNetwork) -> None:
    """Everybody holds everything, says so, and asks for nothing any more."""
    everything: dict[EnvelopeKind, set[bytes]] = {kind: set() for kind in EnvelopeKind}
    for node in mesh.nodes.values():
        for kind, ids in node.held().items():
            everything[kind] |= ids
    assert sum(map(len, everything.values())) == len(records())
    for node in mesh.nodes.values():
        held = node.held()
        assert all(held[kind] == everything[kind] for kind in EnvelopeKind), node.name
        assert node.directory.pools().deferred == 0, node.name
        node.wanted.clear()
        node.errors.clear()
    mesh.run_ms(3 * CADENCE_MS)
    for node in mesh.nodes.values():
        assert not node.wanted, f"{node.name} keeps asking"
        assert not node.errors, f"{node.name} met {dict(node.errors)} though nothing is in the way"
    assert_comes_to_rest(mesh)
    for one, two in itertools.combinations(mesh.nodes.values(), 2):
        for kind in KINDS:
            mine, theirs = (
                one.bridge.view_digest(two.name, kind),
                two.bridge.view_digest(one.name, kind),
            )
            assert mine == theirs, f"{one.name} and {two.name} never agree on {kind}"


def assert_comes_to_rest(mesh: SimNetwork) -> None:
    """No round is left half open: one that just happens to run ends within milliseconds."""
    for _ in range(50):
        if not any(node.is_active() for node in mesh.nodes.values()):
            return
        mesh.run_ms(10)
    raise AssertionError("a round never ends")


def test_all_nodes_settle_on_the_union_once_things_calm_down(sim_seed: int) -> None:
    mesh = network(sim_seed)
    scatter(mesh)
    upset(mesh)
    mesh.run_ms(4 * CADENCE_MS)
    mesh.partitioned.clear()
    upset(mesh)
    mesh.run_ms(2 * CADENCE_MS)
    mesh.partitioned.clear()
    mesh.faults = PERFECT
    mesh.run_ms(9 * CADENCE_MS)
    assert_settled(mesh)


def test_one_seed_is_one_history() -> None:
    def history() -> list[tuple[int, dict[str, int]]]:
        mesh = network(3, "abc")
        seen = []
        for record in records()[:12]:
            mesh.put(mesh.rng.choice("abc"), record)
            mesh.run_ms(20_000)
            seen.append((mesh.now_ms, {n: len(node.wanted) for n, node in mesh.nodes.items()}))
        return seen

    assert history() == history()


def test_a_line_of_nodes_passes_records_on() -> None:
    mesh = network(1, "abc", PERFECT)
    mesh.partitioned = {frozenset("ac")}
    for record in records():
        mesh.put("a", record)
    mesh.run_ms(6 * CADENCE_MS)
    assert mesh.nodes["c"].held() == mesh.nodes["a"].held()


def test_what_nobody_vouches_for_is_not_passed_on() -> None:
    """Only records of known signers are offered: a stranger's flood costs no airtime."""
    mesh = network(1, "ab", PERFECT)
    for node in mesh.nodes.values():
        node.trusted = frozenset({key("alice").key_id})
    for record in records():
        mesh.put("a", record)
    mesh.run_ms(4 * CADENCE_MS)
    held = mesh.nodes["b"].held()
    assert {len(held[kind]) for kind in KINDS} == {1, 2}


def test_the_faults_do_happen() -> None:
    """A simulation whose links are fine proves nothing."""
    mesh = network(5)
    scatter(mesh)
    errors = sum(
        (node.errors for node in mesh.nodes.values()), start=type(mesh.nodes["a"].errors)()
    )
    assert errors["UnexpectedMessage"] > 0
    assert errors["timed_out"] > 0
