"""Two nodes behind routers that let nothing in; a public node between them reads nothing."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from support.nat_world import (
    PUBLIC,
    Host,
    NatMesh,
    nat_mesh,
    nat_world,
    need_namespaces,
    sniffing,
)
from support.node_processes import NodeProcess, becomes_true, run_cli, wait_converged, wait_until
from support.transport_nodes import ChildNode

pytestmark = pytest.mark.rns

KIND = EnvelopeKind.ATTESTATION
#: TCP that lost its other end, or packets, starts again by its own clock; nothing here takes half.
PATIENCE_S = 400.0
#: Announces of one node closer together than ten seconds are taken for a flood.
ANNOUNCE_AGAIN_S = 12.0
RECORDS = 500
MORE, TRIES = 50, 5


@pytest.fixture(autouse=True, scope="module")
def _namespaces() -> None:
    need_namespaces()


@pytest.fixture
def net() -> Iterator[NatMesh]:
    with nat_mesh("alice", "bob") as made:
        yield made


def trio(net: NatMesh) -> tuple[NodeProcess, NodeProcess, NodeProcess]:
    public, alice, bob = net.nodes
    return public, alice, bob


def hear(node: NodeProcess, stranger: NodeProcess) -> None:
    """Who came too late for the first announce of the other asks him for another, by voice."""
    address = stranger.identity.address.hex()

    def hears() -> bool:
        rows = node.status()["candidates"]
        return any((row["address"], row["hops"]) == (address, 2) for row in rows)

    for _ in range(int(PATIENCE_S / ANNOUNCE_AGAIN_S)):
        if becomes_true(hears, ANNOUNCE_AGAIN_S):
            return
        done = run_cli(*stranger.arguments("announce"))
        assert done.returncode == 0, done.stderr
    pytest.fail(f"{node.name} never hears {stranger.name}")


def meet(one: NodeProcess, other: NodeProcess, *, by_address: bool = False) -> None:
    """Find each other by announce, through one host between, and become peers."""
    for node, stranger in ((one, other), (other, one)):
        hear(node, stranger)
    for node, stranger in ((one, other), (other, one)):
        if by_address:
            add_by_address(node, stranger)
            continue
        node.call("peer_add", invite=stranger.identity.invite, alias=stranger.name)


def add_by_address(node: NodeProcess, stranger: NodeProcess) -> None:
    """As a person does who has no invite: the other is called and shows its key."""
    address = stranger.identity.address.hex()
    done = run_cli(*node.arguments("peer", "add", address, "--alias", stranger.name, "--yes"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{stranger.key_id}\n"
    assert " ".join(stranger.identity.words) in done.stderr


def agree(*nodes: NodeProcess) -> None:
    """Return when all say so, however slow the way between them."""
    wait_until(
        lambda: all(node.call("converged")["converged"] for node in nodes),
        "they converge",
        PATIENCE_S,
    )
    wait_converged(*nodes)


def news_crosses(one: NodeProcess, other: NodeProcess, *, n: int) -> None:
    """Something new on either side gets to the other."""
    signed = {one.sign(n), other.sign(n)}
    wait_until(
        lambda: signed <= one.ids(KIND) & other.ids(KIND), "news reaches both sides", PATIENCE_S
    )


def test_each_side_dials_the_other_and_nobody_gets_in_by_himself(tmp_path: Path) -> None:
    """Links go both ways through connections that were opened from inside only."""
    with nat_world("alice", "bob") as world:
        for router in world.routers.values():
            knock = f"import socket; socket.create_connection(('{router.address}', 22), 1)"
            with pytest.raises(subprocess.CalledProcessError):
                world.public.python(knock)
        public = ChildNode(
            tmp_path / "public",
            listen=4242,
            listen_ip=PUBLIC,
            transport_node=True,
            prefix=world.public.prefix,
        )
        leaves = [
            ChildNode(
                tmp_path / name, connect=(4242,), connect_to=PUBLIC, prefix=world.inner[name].prefix
            )
            for name in ("alice", "bob")
        ]
        try:
            for leaf in leaves:
                leaf.do("permit", addresses=[other.address for other in leaves])
            for caller, called in pairwise((*leaves, leaves[0])):
                caller.hear(called, hops=2)
                up = caller.reach(called.address)
                assert not up["inbound"]
                caller.do("send", link=up["link"], frames=[(1, 200), (2, 20_000)])
                inbound = called.wait("up", inbound=True)["link"]
                for tag in (1, 2):
                    assert called.wait("frame", link=inbound, tag=tag)["intact"]
                called.do("send", link=inbound, frames=[(3, 20_000)])
                assert caller.wait("frame", link=up["link"], tag=3)["intact"]
        finally:
            for node in (*leaves, public):
                node.stop()


def connected_to(host: Host) -> set[str]:
    """The addresses a host has TCP connections with."""
    lines = host.run("cat", "/proc/net/tcp").splitlines()[1:]
    remote = (int(line.split()[2].partition(":")[0], 16) for line in lines)
    return {socket.inet_ntoa(struct.pack("=I", each)) for each in remote if each}


def unescaped(wire: bytes) -> bytes:
    """What Reticulum's framing on TCP stands for."""
    return wire.replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")


def test_they_converge_through_a_public_node_that_can_read_nothing(
    net: NatMesh, tmp_path: Path
) -> None:
    """It has no peers, holds none of the records, and its wire carries nothing that is one."""
    public, alice, bob = trio(net)
    expected = alice.preload(KIND, 20) | bob.preload(KIND, 20)
    capture = tmp_path / "wire"
    with sniffing(net.world.public, capture):
        net.start(public, alice, bob)
        meet(alice, bob, by_address=True)
        agree(alice, bob)
        for host in net.world.inner.values():
            assert connected_to(host) == {PUBLIC}
    assert alice.ids(KIND) == expected

    assert (public.ids(KIND), public.status()["peers"]) == (set(), [])
    assert len(public.ids(EnvelopeKind.KEY)) == 1  # its own
    wire = unescaped(capture.read_bytes())
    stored = [record(alice, envelope_id) for envelope_id in sorted(expected)]
    assert len(wire) > sum(map(len, stored))  # all of it went by
    for node in (alice, bob):  # what is announced in the clear is seen: we look in the right place
        assert node.identity.fingerprint[:8] in wire
        assert node.key_id.encode() not in wire
    for envelope in stored:
        assert not any(piece in wire for piece in pieces(envelope))


def record(node: NodeProcess, envelope_id: str) -> bytes:
    text: str = node.call("record", kind=KIND.value, envelope_id=envelope_id)["envelope"]
    return text.encode()


def pieces(envelope: bytes) -> Iterator[bytes]:
    """Every other stretch of 32 bytes: longer than anything that is the same by chance."""
    return (envelope[at : at + 32] for at in range(0, len(envelope) - 32, 64))


def timed_convergence(net: NatMesh, expected: set[str]) -> str:
    """Start all, let two strangers meet and agree; how long that took, for people."""
    public, alice, bob = trio(net)
    begun_s = time.monotonic()
    net.start(public, alice, bob)
    meet(alice, bob)
    met_s = time.monotonic()
    agree(alice, bob)
    assert alice.ids(KIND) == expected
    now_s = time.monotonic()
    return f"{now_s - begun_s:.1f} s from the first start, {now_s - met_s:.1f} s from peering"


@pytest.mark.slow
def test_500_records_on_each_side(net: NatMesh, capsys: pytest.CaptureFixture[str]) -> None:
    _, alice, bob = trio(net)
    expected = alice.preload(KIND, RECORDS) | bob.preload(KIND, RECORDS)
    said = timed_convergence(net, expected)
    with capsys.disabled():
        print(f"\ntwo NATs, {RECORDS} records each side: {said}")  # noqa: T201


def restart_public(net: NatMesh) -> None:
    public = net.nodes[0]
    public.stop()
    public.start().wait_ready()


def forget_mappings(net: NatMesh) -> None:
    for router in net.world.routers.values():
        router.forget_mappings()


def change_address(net: NatMesh) -> None:
    net.world.routers["bob"].move("203.0.113.99")


FAULTS: dict[str, Callable[[NatMesh], None]] = {
    "the public node restarts": restart_public,
    "the routers forget their mappings": forget_mappings,
    "one side changes its address": change_address,
}


def freeze_in_mid_round(sender: NodeProcess, receiver: NodeProcess, expected: set[str]) -> None:
    """Freeze the sender while not all is there. On a machine that stood still it gets more."""
    for _ in range(TRIES):
        sender.freeze()
        if receiver.ids(KIND) < expected:
            return
        sender.thaw()
        expected |= {sender.sign(len(expected) + n) for n in range(MORE)}
    pytest.fail("all was there each time")


@pytest.mark.slow
@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_in_mid_round(net: NatMesh, what: str) -> None:
    """They go on by themselves, and all arrives."""
    public, alice, bob = trio(net)
    expected = alice.preload(KIND, RECORDS)
    net.start(public, alice, bob)
    meet(alice, bob)
    wait_until(lambda: bob.ids(KIND), "a first batch is at bob's", PATIENCE_S)
    freeze_in_mid_round(alice, bob, expected)
    FAULTS[what](net)
    alice.thaw()

    agree(alice, bob)
    assert bob.ids(KIND) == expected
    news_crosses(alice, bob, n=len(expected) + 1)


@pytest.mark.slow
def test_five_percent_of_all_packets_are_lost(
    net: NatMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    _, alice, bob = trio(net)
    expected = alice.preload(KIND, RECORDS) | bob.preload(KIND, RECORDS)
    net.world.lose(5)
    said = timed_convergence(net, expected)
    assert net.world.lost() > 0
    with capsys.disabled():
        print(f"\ntwo NATs, 5 % loss each way: {said}")  # noqa: T201
