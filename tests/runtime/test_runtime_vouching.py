"""Vouched rows between nodes: who lists the voucher fetches them, who does not never sees one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ciris_mesh.directory.base import OWN, Shelf, Source
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime import vouching
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.resolving import answer
from ciris_mesh.wire.mesh_records import Records
from ciris_mesh.wire.messages import Fetch
from ciris_mesh.wire.transcode import decode_batch
from support.keys import key
from support.mesh import NOW_MS, TRUST, Mesh, held, settle
from support.radio_mesh import STEP_S, RadioMesh, settings
from support.records import sample
from support.vouching import REGISTRY, bare, vouch_raw
from support.waiting import wait_until

K = EnvelopeKind
PLACE = bare(K.LOCATION_PROOF, "dave")
RIVER = bare(K.FAMILY, "dave")
LISTING = replace(TRUST, vouchers=frozenset({key("hub").key_id}))


def gateway(mesh: Mesh) -> Node:
    """A node that has two rows of a registry, and vouched for one."""
    node = mesh.node("hub")
    for row in (PLACE, RIVER):
        source = Source("registry", REGISTRY)
        verdict = node.directory.admit(row.kind, row.raw, source, now_ms=NOW_MS)
        assert verdict.outcome is Outcome.ADMITTED
    return node


def listing(mesh: Mesh, name: str) -> Node:
    return mesh.node(name, directory=MemoryDirectory(trust=LISTING))


def vouch(mesh: Mesh, node: Node) -> None:
    node.directory.admit(K.KEY, mesh.key_record("hub"), OWN, now_ms=NOW_MS)
    verdict = node.runtime.admit_own(K.ATTESTATION, vouch_raw("hub", PLACE))
    assert verdict.outcome is Outcome.ADMITTED


def is_here(node: Node) -> bool:
    row = node.directory.get(K.LOCATION_PROOF, PLACE.envelope_id)
    return row is not None and row.shelf is Shelf.BRIDGED


def where(node: Node) -> tuple[str, tuple[str, ...]]:
    """What a node answers about dave's place, and on whose word."""
    told = answer(
        node.directory,
        node.directory.trust,
        "location",
        key("dave").key_id,
        now_ms=NOW_MS,
        tau_partial_s=300.0,
    )
    return told.status.value, told.vouched_by


@pytest.mark.parametrize("is_early", [True, False], ids=["vouch-first", "peers-first"])
def test_who_lists_the_voucher_has_the_row_and_who_does_not_has_nothing_new(
    mesh: Mesh, is_early: bool
) -> None:
    hub, leaf, other = gateway(mesh), listing(mesh, "alice"), mesh.node("bob")
    if is_early:
        vouch(mesh, hub)
    mesh.befriend("hub", "alice")
    mesh.befriend("hub", "bob")
    for node in (hub, leaf, other):
        node.start()
    mesh.wait_converged()
    if not is_early:
        vouch(mesh, hub)
    wait_until(lambda: is_here(leaf), "the vouched row")
    mesh.wait_converged()
    assert held(leaf) == held(other) == held(hub)
    assert other.directory.counts() == {
        name: count for name, count in hub.directory.counts().items() if name[1] is Shelf.FEDERATION
    }
    assert where(leaf) == ("answered", (key("hub").key_id,))
    assert where(other) == ("unknown", ())
    assert leaf.directory.get(K.FAMILY, RIVER.envelope_id) is None, "nobody vouched for it"
    outcomes = {outcome for _, outcome, _ in other.directory.outcome_counts()}
    assert outcomes.isdisjoint({"refused", "malformed"}), "nothing was sent that it cannot use"


def test_a_row_goes_from_one_who_lists_the_voucher_to_another(mesh: Mesh) -> None:
    hub, middle, far = gateway(mesh), listing(mesh, "alice"), listing(mesh, "bob")
    vouch(mesh, hub)
    mesh.befriend("hub", "alice")
    mesh.befriend("alice", "bob")
    for node in (hub, middle, far):
        node.start()
    wait_until(lambda: is_here(far), "the vouched row, from the one between")
    assert where(far) == ("answered", (key("hub").key_id,))


def test_what_nobody_has_is_asked_for_ever_more_seldom(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouching, "AGAIN_FIRST_S", 1e9)
    hub, leaf = mesh.node("hub"), listing(mesh, "alice")
    vouch(mesh, hub)  # for a row it does not have
    mesh.befriend("hub", "alice")
    hub.start()
    leaf.start()
    mesh.wait_converged()
    wait_until(lambda: withheld(hub) == 1, "one question")
    for _ in range(3):
        leaf.handle.sync(None)
        settle(leaf)
        settle(hub)
    assert withheld(hub) == 1
    assert not is_here(leaf)


def test_with_a_peer_that_compares_by_summaries_no_question_goes_into_a_round(mesh: Mesh) -> None:
    """There a Deliver answers a Diff, and nothing says what it was sent for."""
    hub = mesh.node("hub", capabilities=0)
    leaf = mesh.node("alice", capabilities=0, directory=MemoryDirectory(trust=LISTING))
    mesh.befriend("hub", "alice")
    hub.start()
    leaf.start()
    mesh.wait_converged()
    for row in MANY:
        hub.directory.admit(row.kind, row.raw, Source("registry", REGISTRY), now_ms=NOW_MS)
    said = vouch_raw("hub", *MANY)
    for node in (hub, leaf):
        node.directory.admit(K.KEY, mesh.key_record("hub"), OWN, now_ms=NOW_MS)
        node.directory.admit(K.ATTESTATION, said, OWN, now_ms=NOW_MS)
    mine = sample(K.LOCATION_PROOF, key("hub"))
    owed = hub.directory.admit(K.LOCATION_PROOF, mine, OWN, now_ms=NOW_MS).envelope_id
    assert owed is not None
    leaf.handle.sync(None)  # the leaf opens the round, and nobody was told of anything before
    wait_until(lambda: leaf.directory.get(K.LOCATION_PROOF, owed) is not None, "the record")
    mesh.wait_converged()
    assert not leaf.runtime.bridge.counts().get(("unserved", "")), "it came when it was asked for"
    leaf.handle.sync(None)
    wait_until(lambda: all(is_row_here(leaf, row) for row in MANY), "the rows, after the round")


def withheld(node: Node) -> int:
    return node.runtime.bridge.counts().get(("withheld", "not_held"), 0)


# -- by radio --------------------------------------------------------------------------------------

VOUCHED = [bare(K.LOCATION_PROOF, "dave", n) for n in range(3)]


@pytest.fixture
def cell() -> Iterator[RadioMesh]:
    """A gateway with rows of a registry, a leaf that lists it as a voucher, and one that does not.

    Every frame is one of 0x81 where it can be, and each is paid for out of an hour's air.
    """
    made = RadioMesh("hub", radio=settings("10%"))
    made.add("alice", ("hub",), directory=MemoryDirectory(trust=LISTING), radio=settings("10%"))
    made.add("bob", ("hub",), radio=settings("10%"))
    yield made
    made.stop()


def test_vouched_rows_come_by_radio_to_who_lists_the_voucher(cell: RadioMesh) -> None:
    hub, leaf, other = (cell.nodes[name] for name in ("hub", "alice", "bob"))
    for row in VOUCHED:
        hub.directory.admit(row.kind, row.raw, Source("registry", REGISTRY), now_ms=NOW_MS)
    hub.directory.admit(K.KEY, cell.key_record("hub"), OWN, now_ms=NOW_MS)
    assert hub.runtime.admit_own(K.ATTESTATION, vouch_raw("hub", *VOUCHED)).outcome.is_change
    cell.befriend("hub", "alice")
    cell.befriend("hub", "bob")
    cell.start()

    def has_all() -> bool:
        return all(leaf.directory.get(row.kind, row.envelope_id) for row in VOUCHED)

    cell.let_pass_until(has_all, 12, "the vouched rows")
    assert where(leaf)[1] == (key("hub").key_id,)
    cell.let_pass_until(
        lambda: len(other.directory.holdings(K.ATTESTATION)) == 1, 12, "the other has the vouch"
    )
    cell.let_pass(3_600.0)
    assert where(other) == ("unknown", ())
    fetched = [message for name, message in cell.said if isinstance(message, Fetch)]
    assert [one.want for one in fetched if len(one.want) > 1] == [], "one at a time"
    assert {name for name, message in cell.said if isinstance(message, Fetch)} == {"alice"}
    assert {one for message in fetched for one in message.want} == {
        row.envelope_id for row in VOUCHED
    }
    served: list[bytes] = []
    for _, message in cell.said:
        if isinstance(message, Records):
            batch = decode_batch(message.batch)
            served += [raw for kind, raw in batch if kind is PLACE.kind]
        elif isinstance(message, Fetch):
            there = {row.envelope_id for row in VOUCHED if row.raw in served}
            assert there.isdisjoint(message.want), "what has come is not asked for"
    assert sorted(served) == sorted(row.raw for row in VOUCHED), "none comes twice"
    assert not any(peer.link for node in cell.nodes.values() for peer in node.runtime.peers.all())
    assert all(radio.worst_hour() <= 360.0 for radio in cell.radios.values())


def test_by_radio_who_has_no_such_row_says_so_and_the_link_ends(cell: RadioMesh) -> None:
    hub, leaf = cell.nodes["hub"], cell.nodes["alice"]
    hub.directory.admit(K.KEY, cell.key_record("hub"), OWN, now_ms=NOW_MS)
    hub.runtime.admit_own(K.ATTESTATION, vouch_raw("hub", *VOUCHED))
    cell.befriend("hub", "alice")
    cell.start()
    cell.let_pass_until(lambda: withheld(hub) > 0, 12, "a question")
    cell.let_pass(STEP_S)
    assert not any(peer.link for peer in leaf.runtime.peers.all())
    assert where(leaf) == ("unknown", ())


MANY = [bare(K.LOCATION_PROOF, "dave", n) for n in range(24)]


def test_by_radio_what_is_owed_to_another_peer_goes_before_vouched_rows() -> None:
    """They are asked for outside of rounds, so no planner would put them behind anything."""
    cell = RadioMesh("hub", radio=settings("2%"))
    cell.add("alice", ("hub",), directory=MemoryDirectory(trust=LISTING), radio=settings("2%"))
    cell.add("bob", ("hub",), radio=settings("2%"))
    try:
        hub, leaf = cell.nodes["hub"], cell.nodes["alice"]
        for row in MANY:
            hub.directory.admit(row.kind, row.raw, Source("registry", REGISTRY), now_ms=NOW_MS)
        said = vouch_raw("hub", *MANY)
        for node in cell.nodes.values():  # no air is spent on the vouch itself
            node.directory.admit(K.KEY, cell.key_record("hub"), OWN, now_ms=NOW_MS)
            node.directory.admit(K.ATTESTATION, said, OWN, now_ms=NOW_MS)
        owed = [cell.put("hub", K.FAMILY, n) for n in range(6)]
        cell.befriend("hub", "alice")
        cell.befriend("hub", "bob")
        cell.start()

        def vouched() -> int:
            return sum(is_row_here(leaf, row) for row in MANY)

        def has_all(name: str) -> bool:
            return all(cell.has(name, K.FAMILY, one) for one in owed)

        cell.let_pass_until(lambda: has_all("alice") and has_all("bob"), 12, "what is owed")
        assert vouched() <= vouching.QUESTIONS_BY_RADIO_MAX, "what was asked before it was known"
        cell.let_pass_until(lambda: vouched() == len(MANY), 48, "then the vouched rows")
    finally:
        cell.stop()


def is_row_here(node: Node, row: Envelope) -> bool:
    return node.directory.get(row.kind, row.envelope_id) is not None
