"""Real nodes begin and end: they meet, turn strangers away, refuse what cannot work in one line."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from subprocess import CompletedProcess

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from support.node_processes import (
    HONEST,
    PAST,
    Mesh,
    NodeProcess,
    befriend,
    mesh,
    run_cli,
    wait_converged,
    wait_until,
)

pytestmark = pytest.mark.rns

KIND = EnvelopeKind.ATTESTATION
#: What a node logs; its status may tell of the next dial already.
CLOSED = "is down: peer_closed"


@pytest.fixture
def net() -> Iterator[Mesh]:
    with mesh() as made:
        yield made


def test_two_empty_nodes_meet_by_invites_alone(net: Mesh) -> None:
    """Everything by the commands a person types; neither has ever heard of the other's key."""
    homes = {name: net.root / name for name in ("alice", "bob")}
    for name, home in homes.items():
        made = run_cli("--config", home, "init", "--name", name)
        assert made.returncode == 0, made.stderr
    alice, bob = (net.adopt(name) for name in homes)
    net.start(alice, bob)
    for node, other in ((alice, bob), (bob, alice)):
        invite = run_cli("--config", other.home.path, "invite").stdout.strip()
        added = run_cli(*node.arguments("peer", "add", invite))
        assert added.stdout.strip() == other.key_id, added.stderr

    for node in (alice, bob):
        waited = run_cli(*node.arguments("wait", "--converged", "--timeout", "200"))
        assert waited.returncode == 0, waited.stderr
    assert alice.ids(EnvelopeKind.KEY) == bob.ids(EnvelopeKind.KEY)
    assert len(alice.ids(EnvelopeKind.KEY)) == 2


def test_a_one_sided_peer_is_told_and_shown(net: Mesh) -> None:
    alice, bob = net.make("alice"), net.make("bob")
    befriend(alice, bob)
    net.start(alice, bob)
    alice.sign(0)

    wait_until(lambda: alice.peer(bob)["reason"] == "refused_not_a_peer", "bob refuses alice")
    wait_until(
        lambda: any("peer add" in problem for problem in alice.status()["health"]),
        "alice is told what to do",
    )
    candidates = bob.status()["candidates"]
    assert [row["key_id"] for row in candidates] == [alice.key_id]
    assert bob.status()["drops"]["link_not_a_peer"] >= 1
    assert not bob.ids(KIND)

    bob.call("peer_add", invite=alice.identity.invite)
    wait_converged(alice, bob)
    assert bob.ids(KIND) == alice.ids(KIND) != set()
    assert not bob.status()["candidates"]


def run_in_vain(node: NodeProcess) -> str:
    """Run a node that cannot start; returns the one line it says to people."""
    done = run_cli(*node.arguments("run", "--rnsconfig", node.rns), program=node.program)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_second_instance_is_refused_and_the_first_goes_on(net: Mesh) -> None:
    alice = net.make("alice")
    net.start(alice)
    assert alice.process is not None

    assert f"(process {alice.process.pid})" in run_in_vain(alice)

    assert alice.status()["key_id"] == alice.key_id


def test_a_port_in_use_by_another_program_is_named(net: Mesh) -> None:
    alice = net.make("alice")
    with socket.create_server(("127.0.0.1", net.port)):
        told = run_in_vain(alice)

    assert f"port {net.port} " in told
    assert "in use" in told
    net.start(alice)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_in_order(net: Mesh, number: signal.Signals) -> None:
    """Nothing of it is left: no socket, no lock, no link that the other takes for alive."""
    alice, bob = net.make_peers("alice", "bob")
    net.start(alice, bob)
    wait_converged(alice, bob)

    told = alice.output.count(CLOSED)
    bob.stop(number)

    assert not bob.home.find_socket({}).exists()
    wait_until(lambda: alice.peer(bob)["state"] != "connected", "alice sees that bob is gone")
    wait_until(lambda: alice.output.count(CLOSED) > told, "because he said so")
    bob.start().wait_ready()
    wait_converged(alice, bob)


def attest(node: NodeProcess) -> CompletedProcess[str]:
    """Sign something by the command, with the node's own clock."""
    words = ("attest", node.key_id, "--dimension", "identity:continuity:v1", "--score", "1")
    return run_cli(*node.arguments(*words, "--yes"), program=node.program)


def test_a_clock_before_the_build_date_stops_signing_and_nothing_else(net: Mesh) -> None:
    """A board without a battery clock, which ran before and has not heard of the time yet."""
    alice, bob = net.make_peers("alice", "bob")
    net.start(alice, bob)
    wait_converged(alice, bob)
    bob.stop()

    bob.program = PAST
    bob.start().wait_ready()
    signed = alice.sign(0)
    told = ("peer", "deferred", "time_ahead")  # counted once the record is kept
    wait_until(lambda: told in bob.outcomes(), "bob keeps what is ahead of his clock")
    assert bob.status()["deferred"]
    assert any("clock" in problem for problem in bob.status()["health"])
    refused = attest(bob)
    assert refused.returncode == 1
    assert "build date" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not bob.ids(KIND)
    bob.stop()

    bob.program = HONEST
    bob.start().wait_ready()
    assert attest(bob).returncode == 0
    wait_converged(alice, bob)
    assert signed in bob.ids(KIND)
    assert len(alice.ids(KIND)) == 2


def test_a_new_node_is_not_made_with_a_clock_before_the_build_date(net: Mesh) -> None:
    """Its key record would be dated wrong for ever."""
    alice = net.make("alice")
    alice.program = PAST

    assert "build date" in run_in_vain(alice)

    alice.program = HONEST
    net.start(alice)
    assert len(alice.ids(EnvelopeKind.KEY)) == 1
