"""Two traps of Reticulum on slow half-duplex radio, in real time: that they bite, and not us.

Whole windows twice: from the second Resource on a link on, Reticulum asks for parts again before
they can have come. Half-open links: where the packet that ends a link's set-up is lost, one end
takes the link for open and the other never hears of it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ciris_mesh.bench.airwaves import needless_parts, packets
from ciris_mesh.bench.radio import NAMES, Course, fill, held, radio_node
from ciris_mesh.bench.records import Plan
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import rnode_block
from ciris_mesh.radio.ether import Heard, Sent
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from ciris_mesh.runtime.localnodes import LocalNode, start_nodes, stop_nodes
from ciris_mesh.runtime.peerbook import PeerBook
from support.radio_nodes import ONLINE_TIMEOUT_S, RadioNode, digest_of
from support.waiting import wait_until

pytestmark = [pytest.mark.rns, pytest.mark.air, pytest.mark.slow]

#: A loaded machine adds to what the radio takes; nothing here measures time.
DEADLINE_S = 240.0
#: Never set: a way to let time pass between two looks.
PAUSE = threading.Event()
#: Ten parts and some: at SF7 two windows.
RESOURCE_BYTES = 5_000
#: Reticulum's own state of a Resource that arrived.
COMPLETE = 6
#: Of a Reticulum packet behind the RNode's header byte: type in the first byte, link id from the
#: third on, context last of nineteen.
DATA, SET_UP = 0x00, 0xFE

each_sf = pytest.mark.parametrize("sf", [7, 8])


def lora(sf: int) -> LoraSettings:
    return LoraSettings(868_100_000, 125_000, sf, 5)


@pytest.fixture
def ether(tmp_path: Path) -> Iterator[Ether]:
    with Ether(tmp_path / "e", full(2), randomness=random.Random(5)) as running:
        yield running


@pytest.fixture
def pair(ether: Ether, tmp_path: Path) -> Iterator[Callable[[int], tuple[RadioNode, RadioNode]]]:
    """Plain Reticulum on both radios, once they are on-line."""
    running: list[RadioNode] = []

    def start(sf: int) -> tuple[RadioNode, RadioNode]:
        for number, port in enumerate(ether.ports):
            running.append(RadioNode(tmp_path / f"n{number}", rnode_block(port, lora(sf))))
        for node in running:
            node.wait("online", ONLINE_TIMEOUT_S)
        one, two = running
        two.do("announce")
        one.wait("heard", DEADLINE_S, address=two.address)
        return one, two

    yield start
    for node in reversed(running):
        node.stop()


def send_resources(ether: Ether, one: RadioNode, two: RadioNode, count: int) -> int:
    """Send some, one right after the other; how many parts went out though they were there."""
    trace: list[Sent | Heard] = list(ether.take_trace())
    for _ in range(count):
        one.do("resource", size=RESOURCE_BYTES)
        got = two.wait("got", DEADLINE_S)
        assert (got["status"], got["digest"]) == (COMPLETE, digest_of(RESOURCE_BYTES))
        assert one.wait("sent", DEADLINE_S)["status"] == COMPLETE
    return needless_parts([*trace, *quiet(ether)])


def quiet(ether: Ether) -> list[Sent | Heard]:
    """What was on the channel until neither radio sent, or had anything to send, for a second."""
    trace: list[Sent | Heard] = list(ether.take_trace())

    def is_quiet() -> bool:
        PAUSE.wait(1.0)
        more = ether.take_trace()
        trace.extend(more)
        return not more and not any(map(ether._lab._medium.is_busy, range(2)))

    wait_until(is_quiet, "silence", DEADLINE_S)
    return trace


@each_sf
def test_a_second_resource_on_a_link_is_sent_twice_unless_its_rate_is_forgotten(
    ether: Ether, pair: Callable[[int], tuple[RadioNode, RadioNode]], sf: int
) -> None:
    one, two = pair(sf)
    one.do("link", address=two.address)
    for node in (one, two):
        node.wait("linked", DEADLINE_S)
    assert send_resources(ether, one, two, 1) == 0, "nothing is known of the rate yet"
    needless = send_resources(ether, one, two, 2)
    assert needless > 0, "the trap is there: what is tested below means something"
    two.do("forget")
    assert send_resources(ether, one, two, 2) < needless


class LoseSetUps:
    """Picks the first packet that ends the set-up of each link."""

    def __init__(self) -> None:
        self.links: set[bytes] = set()

    def __call__(self, frame: bytes) -> bool:
        flags, link, context = frame[1], frame[3:19], frame[19] if len(frame) > 19 else None
        if flags & 0x03 != DATA or context != SET_UP or link in self.links:
            return False
        self.links.add(link)
        return True


def test_a_link_whose_set_up_is_lost_is_open_at_one_end_only(
    ether: Ether, pair: Callable[[int], tuple[RadioNode, RadioNode]]
) -> None:
    """Plain Reticulum: what is sent on such a link is heard, and dropped without a word."""
    one, two = pair(7)
    ether.lose(LoseSetUps())
    ether.take_trace()
    one.do("link", address=two.address)
    one.wait("linked", DEADLINE_S)
    one.do("packet", size=100)
    sent = 0

    def was_heard() -> bool:
        nonlocal sent
        trace = quiet(ether)
        heard = [each.frame for each in trace if isinstance(each, Heard) and each.station == 1]
        sent += sum(len(frame) > 150 for frame in heard)
        return sent > 0

    wait_until(was_heard, "the packet is at the other radio", DEADLINE_S)
    two.stats()  # by now its Reticulum has had it: commands are read one after the other
    seen = [event["event"] for event in two.events._events]
    assert "linked" not in seen
    assert "packet" not in seen


def test_two_nodes_get_over_a_lost_end_of_set_up_and_send_nothing_twice(
    ether: Ether, tmp_path: Path
) -> None:
    """The first end of set-up of every link is lost, and all records arrive, each once."""
    plan = Plan(4, 7)
    made = [plan.make(number) for number in range(plan.count)]
    course = Course("traps", lora(7), 1.0, 7, plan.count)
    nodes = [radio_node(tmp_path, name, ether, course, plan) for name in NAMES]
    for node, other in zip(nodes, reversed(nodes), strict=True):
        PeerBook.load(node.home.peers).add(other.as_peer())
    sender, receiver = nodes
    everything = len(made) + len(nodes)

    def has_all() -> bool:
        PAUSE.wait(1.0)  # each look is a question to the node
        return held(receiver) >= everything

    fill(sender, plan, made)
    lost = LoseSetUps()
    ether.lose(lost)
    ether.take_trace()
    try:
        start_nodes(nodes)
        wait_until(has_all, "all records", DEADLINE_S)
        trace = quiet(ether)
        assert lost.links, "every link was half open at first"
        assert sum(map(repeated_set_ups, nodes)) > 0, "and it is said that it was"
    finally:
        stop_nodes(nodes)
    assert needless_parts(trace) == 0
    names = [packet.name for packet in packets(trace)]
    assert names.count("part") > 8 * len(made), "records took several parts each"
    assert names.count("set-up") > len(lost.links)


def repeated_set_ups(node: LocalNode) -> int:
    drops: dict[str, int] = node.call("status")["drops"]
    return drops.get("set_up_repeated", 0)
