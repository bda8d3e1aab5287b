"""A gateway between a LoRa cell and the internet: what goes on air, and what never does."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.base import Address
from support.gateway_world import STOP_S, GatewayWorld, gateway_world
from support.node_processes import NodeProcess, becomes_true, befriend, wait_until
from support.radio_nodes import RadioNode

pytestmark = [pytest.mark.rns, pytest.mark.air]

KIND = EnvelopeKind.ATTESTATION
#: The driver of each radio takes 3 s to start, and a machine that does other things its time.
PATIENCE_S = 240.0
ASK_AGAIN_S = 5.0
PER_MINUTE = 30


def destination(node: NodeProcess) -> str:
    address = Address(node.identity.address)
    return seam.destination_hash(address, seam.MESH_ASPECTS).hex()


def heard(node: RadioNode) -> set[str]:
    """All that it heard announced so far."""
    with node.events._changed:
        return {seen["address"] for seen in node.events._events if seen["event"] == "heard"}


def meet(one: NodeProcess, other: NodeProcess) -> None:
    for node, peer in ((one, other), (other, one)):
        node.call("peer_add", invite=peer.identity.invite, alias=peer.name)


def agree(*nodes: NodeProcess) -> None:
    def do_so_far() -> bool:
        return all(node.call("converged")["converged"] for node in nodes)

    def do() -> bool:
        for node in nodes:
            node.call("sync")  # in a cell the next look is an hour away
        return becomes_true(do_so_far, ASK_AGAIN_S)

    wait_until(do, f"{', '.join(node.name for node in nodes)} agree", PATIENCE_S)


def all_have(record: str, *nodes: NodeProcess) -> None:
    wait_until(
        lambda: all(record in node.ids(KIND) for node in nodes), "it is everywhere", PATIENCE_S
    )


@dataclass
class Flood:
    """Strangers who announce through the hub, so many a minute, for so long."""

    node: RadioNode
    seconds: float

    def run(self) -> list[str]:
        begun_s, pause = time.monotonic(), threading.Event()
        addresses: list[str] = []
        for number in itertools.count(1):
            self.node.do("flood")
            addresses.append(self.node.wait("flooded")["address"])
            next_s = begun_s + number * 60 / PER_MINUTE
            if next_s > begun_s + self.seconds:
                return addresses
            pause.wait(max(0.0, next_s - time.monotonic()))
        raise AssertionError


def measure(world: GatewayWorld, seconds: float) -> tuple[set[str], set[str], int]:
    """Flood. Returns the strangers, those of them heard in the cell, and the gateway's frames."""
    with ExitStack() as stack:
        hub = world.run("hub")[0]
        listener = world.listener()
        stack.callback(listener.stop)
        gateway, field = world.run("gateway", "field")
        own = {destination(gateway), destination(field)}
        wait_until(lambda: own <= heard(listener), "own announces are on air", PATIENCE_S)
        flooder = world.flooder()
        stack.callback(flooder.stop)
        received = tcp_bytes(gateway)
        before = world.ether.counters()[0].frames_sent
        strangers = Flood(flooder, seconds).run()
        frames = world.ether.counters()[0].frames_sent - before
        wait_until(  # the hub passes on what it heard in its own time
            lambda: tcp_bytes(gateway) - received > 150 * len(strangers),
            "they came to the gateway",
            PATIENCE_S,
        )

        # And whoever asks is told the way: to the last of them, and to the hub.
        for address in (strangers[-1], destination(hub)):
            listener.do("path", address=address, timeout_s=PATIENCE_S)
            assert listener.wait("path", 2 * PATIENCE_S, address=address)["found"]
        return set(strangers), heard(listener), frames


def tcp_bytes(node: NodeProcess) -> int:
    rows = node.status()["interfaces"]
    return sum(row["rx_bytes"] for row in rows if row["medium"] == "tcp")


def check_no_foreign_announce(seconds: float) -> str:
    with gateway_world() as world:
        strangers, on_air, frames = measure(world, seconds)
    foreign = strangers & on_air
    assert foreign == set()
    return f"{len(strangers)} foreign announces in {seconds:g} s: {len(foreign)} on air; " + (
        f"the gateway's radio sent {frames} frames meanwhile"
    )


@pytest.mark.slow
def test_no_announce_of_the_internet_goes_on_air(capsys: pytest.CaptureFixture[str]) -> None:
    said = check_no_foreign_announce(30.0)
    with capsys.disabled():
        print(f"\n{said}")  # noqa: T201


@pytest.mark.soak
def test_no_announce_of_the_internet_goes_on_air_in_ten_minutes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = check_no_foreign_announce(600.0)
    with capsys.disabled():
        print(f"\n{said}")  # noqa: T201


@pytest.mark.slow
def test_with_other_modes_the_air_fills_with_strangers() -> None:
    """What the profile is for; and the measure sees it when it is not kept to."""
    with gateway_world({"internal": "roaming", "boundary": "full"}) as world:
        strangers, on_air, _ = measure(world, 20.0)
    assert len(strangers & on_air) > len(strangers) / 3


@pytest.fixture
def world() -> Iterator[GatewayWorld]:
    with gateway_world() as made:
        yield made


@pytest.mark.slow
def test_a_field_node_is_the_peer_of_a_node_behind_the_gateway(world: GatewayWorld) -> None:
    """Reticulum forwards their links; the gateway is nobody's peer and holds nothing."""
    hub, gateway, field = world.run("hub", "gateway", "field")
    meet(hub, field)
    agree(hub, field)
    for signer, other in ((field, hub), (hub, field)):
        all_have(signer.sign(1), other)
    assert gateway.ids(KIND) == set()
    assert gateway.status()["peers"] == []


@pytest.mark.slow
def test_a_record_crosses_the_air_once_and_the_cell_goes_on_without_the_gateway(
    world: GatewayWorld,
) -> None:
    """The gateway is a peer on both sides, of two nodes by TCP that both have the record."""
    nodes = [world.make(name) for name in ("hub", "gateway", "leaf", "field")]
    hub, gateway, leaf, field = nodes
    for other in (hub, leaf, field):
        befriend(gateway, other)
        befriend(other, gateway)
    befriend(hub, leaf)
    befriend(leaf, hub)
    for node in nodes:
        node.start().wait_ready()
    agree(*nodes)

    before = world.ether.counters()[0].bytes_sent
    record = hub.sign(1)
    all_have(record, leaf, gateway, field)
    agree(*nodes)
    crossed_bytes = world.ether.counters()[0].bytes_sent - before
    envelope = hub.call("record", kind=KIND.value, envelope_id=record)["envelope"]
    assert 3_000 < crossed_bytes < 2 * len(envelope)

    gateway.stop(within_s=STOP_S)
    meanwhile = [hub.sign(2), field.sign(3)]
    all_have(meanwhile[0], leaf)
    gateway.start().wait_ready()
    for record in meanwhile:
        all_have(record, hub, leaf, gateway, field)
