"""The view of two nodes comes to be equal, whatever each holds, trusts, refuses and forgets.

Hypothesis draws what the two are given, by whom they are told it, what they are configured to
believe, and when they restart or change their mind. Then nothing happens for a while, and both
must end in one view, know it, and stay silent but for comparisons: no livelock, no record sent
again and again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sim.test_sim_convergence import TRUSTED, records

from ciris_mesh.directory.base import OWN, Shelf, Source
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.protocol.limits import CADENCE_S
from ciris_mesh.protocol.report import BoundedBy, InSync
from ciris_mesh.records.authoring import assemble, author, draft
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.wire.mesh_reconcile import CAPABILITY_RECONCILE
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS
from support.keys import key
from support.records import AT_MS, group_columns, member, sample
from support.sim_exchange import SimExchange, SimNode
from support.sim_network import PERFECT, Record

K = EnvelopeKind
KINDS = (K.KEY, K.ATTESTATION, K.REVOCATION, K.FAMILY, K.ORGANIZATION)
BOTH = CAPABILITY_RECONCILE | CAPABILITY_RECORDS
SIGNERS = ("alice", "bob", "carol")
NODES = ("one", "two")
#: Who signed the copies that are told of one record.
PARTS = (
    ("alice",),
    ("bob",),
    ("alice", "bob"),
    ("bob", "carol"),
    ("alice", "bob", "carol"),
    ("alice", "dave"),
)


@cache
def pool() -> tuple[Record, ...]:
    """Valid ones, ones that need others first, ones that say what was said, and broken ones."""
    made = [*records()[:21], *((K.REVOCATION, sample(K.REVOCATION, key(n))) for n in SIGNERS)]
    made += [(K.ATTESTATION, _again(n)) for n in range(2)]
    made += [(kind, _with_another_signature(raw)) for kind, raw in records()[1:6:2]]
    ahead_ms = AT_MS + 3_600_000
    made.append((K.ATTESTATION, sample(K.ATTESTATION, key("alice"), 9, ahead_ms)))
    return tuple(made + partly_signed())


def partly_signed() -> list[Record]:
    """Copies of two families of all three: any one of them founds the first, two the second.

    And one that dave signed, too, who has no say and whose key nobody has.
    """
    copies: list[Record] = []
    for label, protocol in (("any", "founder_only"), ("two", "quorum:2/3")):
        members = [member(key(name).key_id, AT_MS, founder=True) for name in SIGNERS]
        given_columns = {"members": members, "consensus_protocol": protocol}
        roster = draft(
            K.FAMILY, group_columns(K.FAMILY, label, given_columns), key("alice"), at_ms=AT_MS
        )
        signed = {key(name).key_id: key(name).sign(roster.message) for name in (*SIGNERS, "dave")}
        for names in PARTS:
            by = {key(name).key_id: signed[key(name).key_id] for name in names}
            copies.append((K.FAMILY, assemble(roster, by)))
    return copies


def _again(_number: int) -> bytes:
    """A withdrawal of one attestation; a second one says the same under another id."""
    about = parse_envelope(K.ATTESTATION, records()[1][1]).record
    given_columns = {
        "attested_key_id": key("alice").key_id,
        "attestation_type": "recants",
        "attestation_envelope": {"references_attestation_id": about["attestation_id"]},
    }
    return author(K.ATTESTATION, given_columns, key("alice"), at_ms=AT_MS)


def _with_another_signature(raw: bytes) -> bytes:
    at = raw.rindex(b'A"') if b'A"' in raw else len(raw) // 2
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


_node = st.sampled_from(NODES)
_some = st.frozensets(st.sampled_from(SIGNERS))
_record = st.one_of(
    st.integers(0, len(SIGNERS) * 7 + 8),
    st.integers(len(SIGNERS) * 7 + 9, len(SIGNERS) * 7 + 8 + 2 * len(PARTS)),
)
events = st.one_of(
    st.tuples(st.just("own"), _node, _record),
    st.tuples(st.just("own"), _node, _record),
    st.tuples(st.just("registry"), _node, _record),
    st.tuples(st.just("import"), _node, _record),
    st.tuples(st.just("trust"), _node, _some),
    st.tuples(st.just("crash"), _node, st.floats(0.1, 20)),
    st.tuples(st.just("lose"), _node, st.floats(0.1, 20)),
    st.tuples(st.just("speaks"), _node, st.sampled_from([BOTH, CAPABILITY_RECORDS, 0])),
    st.tuples(st.just("wait"), _node, st.floats(0.0, 45)),
)


def lived(
    trusts: tuple[frozenset[str], frozenset[str]],
    appointed: tuple[bool, bool],
    speaks: tuple[int, int],
    history: list[tuple[str, str, Any]],
) -> SimExchange:
    mesh = SimExchange(
        NODES,
        seed=1,
        faults=PERFECT,
        kinds=KINDS,
        trusted=TRUSTED,
        epoch_ms=AT_MS,
        capabilities=dict(zip(NODES, speaks, strict=True)),
        directories={
            name: MemoryDirectory(trust=Trust(root_stewards=TRUSTED if may else frozenset()))
            for name, may in zip(NODES, appointed, strict=True)
        },
    )
    for name, signers in zip(NODES, trusts, strict=True):
        mesh.nodes[name].trusted = _ids(signers)
    for what, name, value in history:
        happens(mesh, what, name, value)
    return mesh


def happens(mesh: SimExchange, what: str, name: str, value: Any) -> None:
    node = mesh.nodes[name]
    sources = {"own": OWN, "import": Source("import"), "registry": Source("registry", "r")}
    match what:
        case "trust":
            node.trusted = _ids(value)
        case "crash":
            if mesh.is_up(name):
                mesh.crash(name, for_s=value)
        case "lose":  # the card broke; the keys were kept elsewhere
            if mesh.is_up(name):
                trust = Trust(root_stewards=TRUSTED)
                mesh.crash(name, for_s=value, directory=MemoryDirectory(trust=trust))
        case "speaks":  # another version is installed, and the node restarted
            node.capabilities = value
            if mesh.is_up(name):
                mesh.crash(name, for_s=1.0)
        case "wait":
            mesh.run_s(value)
        case _:
            kind, raw = pool()[value]
            node.directory.admit(kind, raw, sources[what], now_ms=mesh.wall_ms())
            if mesh.is_up(name):
                node.exchange.spread()


def _ids(names: frozenset[str]) -> frozenset[str]:
    return frozenset(key(name).key_id for name in names)


ALL, NOBODY = frozenset(SIGNERS), frozenset[str]()
#: Where the copies begin among the records, and three keys.
ANY = 30
KEYS = [("own", "one", 0), ("own", "one", 7), ("own", "one", 14)]


@given(
    trusts=st.tuples(_some, _some),
    appointed=st.tuples(st.booleans(), st.booleans()),
    speaks=st.sampled_from([(BOTH, BOTH), (BOTH, BOTH), (BOTH, BOTH), (BOTH, CAPABILITY_RECORDS)]),
    history=st.lists(events, max_size=16),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@example((ALL, NOBODY), (True, False), (BOTH, BOTH), [("own", "one", n) for n in range(7)])
@example((ALL, ALL), (True, True), (BOTH, BOTH), [("own", "one", n) for n in range(24, 30)])
@example(
    (NOBODY, ALL),
    (True, True),
    (BOTH, BOTH),
    [("own", "two", 0), ("own", "two", 1), ("wait", "one", 45.0), ("lose", "two", 1.0)],
)
@example(
    (ALL, ALL), (True, True), (BOTH, BOTH), [*KEYS, ("own", "one", ANY), ("own", "two", ANY + 1)]
)
@example((frozenset({"alice"}), NOBODY), (True, True), (BOTH, BOTH), [("own", n, 0) for n in NODES])
@example(
    (ALL, NOBODY),
    (True, True),
    (BOTH, BOTH),
    [
        *[("own", "one", n) for n in range(9)],
        ("wait", "one", 2.0),
        ("speaks", "two", 0),
        ("own", "two", 12),
        ("wait", "one", 40.0),
        ("speaks", "two", BOTH),
        ("own", "one", 14),
    ],
)
def test_two_nodes_end_in_one_view_and_stay_silent(
    trusts: tuple[frozenset[str], frozenset[str]],
    appointed: tuple[bool, bool],
    speaks: tuple[int, int],
    history: list[tuple[str, str, Any]],
) -> None:
    assert_ends_in_one_view(lived(trusts, appointed, speaks, history))


def assert_ends_in_one_view(mesh: SimExchange) -> None:
    mesh.run_s(10 * CADENCE_S)
    for node in mesh.nodes.values():
        node.said.clear()
    mesh.run_s(4 * CADENCE_S)
    one, two = mesh.nodes.values()
    for mine, theirs in ((one, two), (two, one)):
        assert set(mine.said) <= {"Digests"}, f"{mine.name} keeps saying {dict(mine.said)}"
        assert not mine.is_active()
        assert mine.counts.snapshot() == {}, "nobody did wrong, and no exchange came to nothing"
        for kind in KINDS:
            view = mine.bridge.view_ids(theirs.name, kind)
            assert view == theirs.bridge.view_ids(mine.name, kind), kind
            signal = mine.board.standing(theirs.name, kind).signal
            waiting = mine.bridge.waiting(theirs.name, kind)
            assert signal == (BoundedBy(waiting) if waiting else InSync()), kind
        assert_signatures_spread(mine, theirs)


def assert_signatures_spread(mine: SimNode, theirs: SimNode) -> None:
    """What one passes on of a record that the other holds, too, is as signed there as here."""
    for ref in mine.bridge.offer(theirs.name, K.FAMILY):
        row = mine.bridge.naming.row(theirs.name, K.FAMILY, ref.envelope_hash)
        assert row is not None
        other = theirs.directory.get(K.FAMILY, row.envelope_id)
        if other is not None and other.shelf is Shelf.FEDERATION:
            known = {name for name in row.signers if theirs.directory.public_key(name)}
            assert known <= set(other.signers), f"{mine.name} knows of more than {theirs.name}"


@pytest.mark.parametrize("first", range(2 * len(PARTS)))
@pytest.mark.parametrize("then", range(2 * len(PARTS)))
@pytest.mark.parametrize("speaks", [(BOTH, BOTH), (BOTH, CAPABILITY_RECORDS)])
def test_two_copies_of_one_record_become_one(
    first: int, then: int, speaks: tuple[int, int]
) -> None:
    """Each node has its own when they meet; and each knows two of the three keys before."""
    history = [
        *KEYS[:2],
        ("own", "two", 7),
        ("own", "two", 14),
        ("own", "one", ANY + first),
        ("own", "two", ANY + then),
    ]
    assert_ends_in_one_view(lived((ALL, ALL), (True, True), speaks, history))


@pytest.mark.parametrize("speaks", [BOTH, CAPABILITY_RECORDS])
def test_a_signature_that_comes_later_costs_one_record(speaks: int) -> None:
    """Who has one more signs alone: the copy it has outgrown does not come back to it."""
    keys = [("own", node, n) for node in NODES for n in (0, 7, 14)]
    history = [*keys, ("own", "one", ANY), ("wait", "one", 45.0), ("wait", "one", 30.0)]
    mesh = lived((ALL, ALL), (True, True), (speaks, speaks), history)
    one, two = mesh.nodes.values()
    one.said.clear()
    two.said.clear()
    happens(mesh, "own", "one", ANY + 2)
    mesh.run_s(4 * CADENCE_S)
    assert one.directory.signers(K.FAMILY) == two.directory.signers(K.FAMILY)
    sent = "Records" if speaks & CAPABILITY_RECORDS else "Deliver"
    assert (one.said[sent], two.said[sent]) == (1, 0)
    if speaks == BOTH:
        assert sum(node.said[name] for node in (one, two) for name in ("Sketch", "IdList")) == 1
