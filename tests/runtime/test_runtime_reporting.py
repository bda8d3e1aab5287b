"""What `status` says is what is so; each problem comes with what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from ciris_mesh.protocol.limits import TAU_PARTIAL_S
from ciris_mesh.protocol.report import BoundedBy, InSync, Unknown
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import reporting
from ciris_mesh.runtime.ailing import ADVICE
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.reporting import (
    node_status,
    peer_status,
    rss_bytes,
    written_bytes,
)
from ciris_mesh.runtime.status import NodeStatus, PeerStatus
from ciris_mesh.transport.base import Address, InterfaceRow, TransferRow, TransportStats
from ciris_mesh.transport.reasons import DialReason
from support.keys import key
from support.mesh import Mesh, address
from support.waiting import wait_until

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY


@pytest.fixture
def alice(mesh: Mesh) -> Node:
    return mesh.node("alice")


def status(node: Node, clock: str = "trusted") -> NodeStatus:
    return node_status(node, uptime_s=12.34, clock=clock)


def bob(mesh: Mesh) -> PeerStatus:
    return peer_status(mesh.nodes["alice"], mesh.peer("alice", "bob"))


def test_a_fresh_node_without_peers_is_healthy(alice: Node) -> None:
    said = status(alice)
    assert said.health == ()
    assert (said.peers, said.candidates, said.drops) == ((), (), {})
    assert said.uptime_s == 12.3
    assert said.fingerprint == key("alice").public.fingerprint.hex()
    assert [row.kind for row in said.kinds] == [kind.value for kind in EnvelopeKind]
    json.dumps(asdict(said))


def test_counts_are_by_kind_and_shelf(mesh: Mesh, alice: Node) -> None:
    alice.start()
    mesh.put("alice", FAMILY, 1)
    mesh.put("alice", FAMILY, 2)
    said = {row.kind: row for row in status(alice).kinds}
    assert (said["family"].federation, said["family"].bridged, said["family"].local) == (2, 0, 0)
    assert said["key"].federation == 1
    assert [(o.path, o.outcome, o.count) for o in status(alice).outcomes] == [
        ("own", "admitted", 3)
    ]


def test_pools_and_drops_are_shown(mesh: Mesh, alice: Node) -> None:
    alice.start()
    eve = mesh.script("eve")
    eve.dial("alice")
    eve.introduce()
    wait_until(lambda: status(alice).first_contact == 1, "eve's key waits")
    wait_until(lambda: status(alice).drops.get("link_not_a_peer") == 1, "turned away")
    (candidate,) = status(alice).candidates
    assert (candidate.key_id, candidate.address) == (key("eve").key_id, address("eve").hex())
    assert candidate.last_heard_s is not None
    assert candidate.last_heard_s >= 0.0
    assert candidate.fingerprint == key("eve").public.fingerprint.hex()


def test_a_peer_never_met_is_idle_and_unknown(mesh: Mesh, alice: Node) -> None:
    alice.add_peer(replace(mesh.config("bob"), alias="Bob"))
    said = bob(mesh)
    assert (said.state, said.medium, said.reason) == ("idle", "unknown", "")
    assert status(alice).health == (), "nothing was tried yet"
    assert (said.last_heard_s, said.missing, said.fresh, said.rounds) == (None, None, False, {})
    assert {kind.staleness for kind in said.kinds} == {"unknown"}
    assert all(kind.confirmed_s is None and kind.missing is None for kind in said.kinds)


def test_a_converged_peer_is_connected_fresh_and_in_sync(mesh: Mesh) -> None:
    alice, _ = mesh.started("alice", "bob")
    mesh.put("alice", FAMILY)
    mesh.clock.leap(5.0)
    mesh.wait_converged()
    mesh.wait_one_link("alice", "bob")
    wait_until(lambda: bob(mesh).rounds.get("completed"), "told after it was agreed")
    said = bob(mesh)
    assert (said.state, said.medium, said.fresh, said.missing) == (
        "connected",
        "loopback",
        True,
        0,
    )
    assert {kind.staleness for kind in said.kinds} == {"in_sync"}
    assert said.last_heard_s is not None
    assert status(alice).health == ()


def test_the_words_of_staleness(mesh: Mesh, alice: Node) -> None:
    alice.add_peer(mesh.config("bob"))
    board = alice.runtime.board
    for kind, signal in (
        (KEY, InSync()),
        (FAMILY, BoundedBy(4)),
        (EnvelopeKind.COMMUNITY, Unknown()),
    ):
        board.post(key("bob").key_id, kind, signal)
    said = {kind.kind: kind for kind in bob(mesh).kinds}
    assert (said["key"].staleness, said["key"].fresh, said["key"].missing) == (
        "in_sync",
        True,
        0,
    )
    assert (said["family"].staleness, said["family"].missing) == ("bounded", 4)
    assert said["community"].staleness == "unknown"
    assert bob(mesh).missing == 4
    mesh.clock.leap(TAU_PARTIAL_S)
    late = {kind.kind: kind for kind in bob(mesh).kinds}
    assert not late["key"].fresh
    assert late["key"].confirmed_s is not None
    assert late["key"].confirmed_s >= TAU_PARTIAL_S


def test_only_kinds_exchanged_with_the_peer_are_listed(mesh: Mesh, alice: Node) -> None:
    alice.add_peer(replace(mesh.config("bob"), kinds=frozenset({FAMILY, KEY})))
    assert [kind.kind for kind in bob(mesh).kinds] == ["key", "family"]


@pytest.mark.parametrize("reason", ["no_path", "refused_not_a_peer", "something_else"])
def test_a_peer_that_cannot_be_reached_is_a_problem_with_advice(
    mesh: Mesh, alice: Node, reason: str
) -> None:
    alice.add_peer(replace(mesh.config("bob"), alias="Bob"))
    mesh.peer("alice", "bob").reason = reason
    (problem,) = status(alice).health
    advice = ADVICE.get(reason, "it is dialled again at the next cadence")
    assert problem == f"peer Bob: {reason}; {advice}"


def test_there_is_advice_for_what_happens_to_people() -> None:
    assert {DialReason.NO_PATH, DialReason.TIMEOUT, "refused_not_a_peer", "no_handshake"} <= set(
        ADVICE
    )


def test_a_clock_that_is_not_trusted_is_a_problem(alice: Node) -> None:
    assert status(alice, "before the build date").health == ("clock: before the build date",)


def test_an_interface_that_is_down_is_a_problem_and_all_are_listed(
    alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (
        InterfaceRow("hub", "tcp", True, None, 10, 20),
        InterfaceRow("radio", "radio", False, 980, 1, 2, mode="gateway"),
    )
    stats = TransportStats(11, 22, 0, rows, {"announce_flood": 3})
    monkeypatch.setattr(alice.runtime.transport, "stats", lambda: stats)
    said = status(alice)
    assert said.health == ("interface radio is down; records wait until it is back",)
    assert [asdict(row) for row in said.interfaces][1] == {
        "name": "radio",
        "medium": "radio",
        "online": False,
        "bitrate_bps": 980,
        "rx_bytes": 1,
        "tx_bytes": 2,
        "silent_s": 0.0,
        "link_class": "radio slow",
        "mode": "gateway",
    }
    assert said.drops == {"announce_flood": 3}


def test_resident_memory_is_told_in_bytes() -> None:
    assert 10 * 2**20 < rss_bytes() < 4 * 2**30


def test_what_a_summary_cannot_name_is_said(
    mesh: Mesh, alice: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.add_peer(mesh.config("bob"))
    mesh.put("alice", KEY)
    left_out = {KEY: 7}
    assert not [line for line in status(alice).health if "Summary" in line]
    monkeypatch.setattr(reporting, "SUMMARY_REFS_MAX", 0)
    monkeypatch.setattr(
        alice.runtime.bridge, "truncated", lambda _peer, kind: left_out.get(kind, 0)
    )
    (said,) = [line for line in status(alice).health if "Summary" in line]
    assert said.startswith("key: 7 records are beyond the 0")
    left_out.clear()
    assert not [line for line in status(alice).health if "Summary" in line]


def test_what_a_peers_hello_lacks_and_how_far_its_clock_is_off(mesh: Mesh) -> None:
    mesh.node("alice")
    mesh.node("bob", capabilities=0)
    mesh.befriend("alice", "bob")
    for node in mesh.nodes.values():
        node.start()
    mesh.wait_converged()
    said = bob(mesh)
    assert said.lacks == ("coded records", "sketches", "previews", "mixed records")
    assert said.skew_days == 0
    back = peer_status(mesh.nodes["bob"], mesh.peer("bob", "alice"))
    assert back.lacks == (), "a node that lacks something misses nothing"


def test_without_a_link_nothing_is_known_of_a_peers_version_or_clock(mesh: Mesh) -> None:
    mesh.node("alice")
    mesh.node("bob")
    mesh.befriend("alice", "bob")
    assert (bob(mesh).lacks, bob(mesh).skew_days) == ((), None)


def test_what_was_written_is_counted_where_the_system_counts() -> None:
    written = written_bytes()
    assert written is None or written >= 0


def test_transfers_name_the_peer_and_say_when_they_will_be_done(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = mesh.node("alice")
    mesh.node("bob")
    mesh.befriend("alice", "bob")
    rows = (
        TransferRow(address("bob"), True, 1000, 4000, 10.0),
        TransferRow(Address(b"x" * 16), False, 0, 500, 0.0),
        TransferRow(None, True, 1, 2, 1.0),
    )
    stats = TransportStats(0, 0, 0, (), {}, rows)
    monkeypatch.setattr(alice.runtime.transport, "stats", lambda: stats)
    first, second, third = status(alice).transfers
    assert (first.peer, first.direction, first.rate_bytes_s, first.left_s) == (
        key("bob").key_id,
        "in",
        100.0,
        30.0,
    )
    assert (second.peer, second.direction, second.left_s) == ((b"x" * 16).hex(), "out", None)
    assert third.peer == "?"
