"""Faults and bounds of the loopback network; its guarantees are in test_transport_contract."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ciris_mesh.errors import LifecycleError, ShutdownTimeout
from ciris_mesh.transport.base import TransportEvent
from ciris_mesh.transport.limits import (
    ANNOUNCES_WAITING_MAX,
    INBOUND_LINKS_MAX,
    SEND_QUEUE_FRAMES_MAX,
)
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from support.transport_nodes import LocalNode


class Pair:
    """Two nodes on a network of their own."""

    def __init__(self, network: LoopbackNetwork) -> None:
        self.network = network
        self.a = LocalNode(LoopbackTransport(network, "a"))
        self.b = LocalNode(LoopbackTransport(network, "b"))
        self.addresses = (self.a.transport.address, self.b.transport.address)
        self.a.do("permit", addresses=[self.b.address])
        self.b.do("permit", addresses=[self.a.address])

    def connect(self) -> tuple[int, int]:
        self.a.do("dial", address=self.b.address)
        mine = self.a.wait("up")["link"]
        return mine, self.b.wait("identified")["link"]

    def stop(self) -> None:
        self.a.stop()
        self.b.stop()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair(LoopbackNetwork())
    yield made
    made.stop()


def test_a_cut_takes_links_down_and_healing_lets_them_dial_again(pair: Pair) -> None:
    mine, theirs = pair.connect()
    pair.network.cut(*pair.addresses)
    assert pair.a.wait("down", link=mine)["reason"] == "timeout"
    assert pair.b.wait("down", link=theirs)["reason"] == "timeout"
    pair.a.do("dial", address=pair.b.address)
    assert pair.a.wait("dial_failed")["reason"] == "no_path"
    pair.network.heal(*pair.addresses)
    again, _ = pair.connect()
    assert again != mine


def test_a_cut_between_two_leaves_a_third_alone(pair: Pair) -> None:
    third = LocalNode(LoopbackTransport(pair.network, "third"))
    pair.network.cut(*pair.addresses)
    third.do("dial", address=pair.a.address)
    third.wait("up", address=pair.a.address)
    pair.a.do("announce", app_data="07")
    third.wait("heard", address=pair.a.address)
    third.stop()
    assert pair.a.wait("down")["reason"] == "peer_closed"


def test_dropped_links_may_be_dialled_again_at_once(pair: Pair) -> None:
    mine, theirs = pair.connect()
    pair.network.drop_links(*pair.addresses)
    pair.a.wait("down", link=mine)
    pair.b.wait("down", link=theirs)
    pair.connect()


def test_a_silent_peer_gets_everything_in_order_when_released(pair: Pair) -> None:
    mine, theirs = pair.connect()
    pair.network.hold(*pair.addresses)
    pair.a.do("send", link=mine, frames=[[1, 100], [2, 100]])
    pair.a.do("dial", address=pair.b.address)
    assert pair.a.wait("dial_failed")["reason"] == "timeout"
    with pytest.raises(AssertionError, match="no frame"):
        pair.b.wait("frame", 0.05)
    pair.network.release(*pair.addresses)
    assert [pair.b.wait("frame", link=theirs)["tag"] for _ in range(2)] == [1, 2]


def test_a_silent_peer_that_stays_silent_fills_the_queue(pair: Pair) -> None:
    mine, _ = pair.connect()
    pair.network.hold(*pair.addresses)
    for tag in range(SEND_QUEUE_FRAMES_MAX):
        pair.a.do("send_once", link=mine, tag=tag, size=100)
    assert pair.a.error("send_once", link=mine, tag=999, size=100) == "BackPressure"


def test_a_link_that_goes_down_while_held_reports_up_before_down(pair: Pair) -> None:
    mine, theirs = pair.connect()
    pair.network.hold(*pair.addresses)
    pair.a.do("send", link=mine, frames=[[1, 100]])
    pair.network.drop_links(*pair.addresses)
    pair.a.wait("down", link=mine)
    pair.b.wait("down", link=theirs)
    with pytest.raises(AssertionError, match="no frame"):
        pair.b.wait("frame", 0.05)


def test_a_lost_frame_takes_the_link_down_on_both_sides(pair: Pair) -> None:
    mine, theirs = pair.connect()
    pair.network.set_loss(1.0)
    pair.a.do("send", link=mine, frames=[[1, 100]])
    assert pair.a.wait("down", link=mine)["reason"] == "stalled"
    assert pair.b.wait("down", link=theirs)["reason"] == "stalled"


def test_delay_keeps_the_order() -> None:
    pair = Pair(LoopbackNetwork(seed=7, delay_s=(0.0, 0.01)))
    mine, theirs = pair.connect()
    pair.a.do("send", link=mine, frames=[[tag, 50] for tag in range(30)])
    assert [pair.b.wait("frame", link=theirs)["tag"] for _ in range(30)] == list(range(30))
    pair.stop()


def test_a_network_may_call_itself_a_radio() -> None:
    pair = Pair(LoopbackNetwork(medium="radio"))
    pair.a.do("dial", address=pair.b.address)
    assert pair.a.wait("up")["medium"] == "radio"
    pair.stop()


def test_stopping_reports_what_ends(pair: Pair) -> None:
    mine, theirs = pair.connect()
    assert pair.a.do("stop") == [f"ciris-loopback-{name}" for name in ("b",)]
    assert pair.a.wait("down", link=mine)["reason"] == "stopped"
    assert pair.b.wait("down", link=theirs)["reason"] == "peer_closed"
    assert pair.a.error("send_once", link=mine, tag=1, size=8) == "LinkGone"
    assert pair.a.error("stop") is None
    pair.b.do("dial", address=pair.a.address)
    assert pair.b.wait("dial_failed")["reason"] == "no_path"


def test_a_dial_joins_the_one_under_way() -> None:
    pair = Pair(LoopbackNetwork())
    with pair.a.events._changed:  # the first thing it is told waits, and so what comes of a dial
        pair.b.do("announce", app_data="")
        for _ in range(5):
            pair.a.do("dial", address=pair.b.address)
    pair.a.wait("up")
    pair.a.do("announce", app_data="")
    pair.b.wait("heard")
    assert pair.a.do("stats")["links"] == 1
    pair.stop()


@pytest.mark.parametrize("peers", [True, False], ids=["peers", "strangers"])
def test_inbound_links_are_bounded_and_strangers_make_room(pair: Pair, *, peers: bool) -> None:
    callers = [
        LocalNode(LoopbackTransport(pair.network, f"caller-{number}"))
        for number in range(INBOUND_LINKS_MAX // 4 + 1)
    ]
    for caller in callers[:-1]:
        for _ in range(4):
            caller.do("dial", address=pair.a.address)
            caller.wait("up")
    if peers:
        pair.a.do("permit", addresses=[caller.address for caller in callers[:-1]])
    callers[-1].do("dial", address=pair.a.address)
    if peers:
        assert callers[-1].wait("dial_failed")["reason"] == "timeout"
    else:
        callers[-1].wait("up")
        assert callers[0].wait("down")["reason"] == "peer_closed"
    assert pair.a.do("stats")["dropped"]["too_many_links"] == 1
    for caller in callers:
        caller.stop()


def test_announces_nobody_takes_are_dropped_and_counted() -> None:
    network = LoopbackNetwork()
    speaker = LocalNode(LoopbackTransport(network, "speaker"))
    listener = LoopbackTransport(network, "listener")
    heard = threading.Semaphore(0)
    go_on = threading.Event()

    def slow_sink(_event: TransportEvent) -> None:
        heard.release()
        go_on.wait(240)

    listener.start(slow_sink)
    speaker.do("announce", app_data="01")
    assert heard.acquire(timeout=240)
    for _ in range(ANNOUNCES_WAITING_MAX + 3):
        speaker.do("announce", app_data="01")
    assert listener.stats().dropped == {"announce_flood": 3}
    go_on.set()
    speaker.stop()
    listener.stop()


def test_a_sink_that_does_not_return_is_named_when_stopping() -> None:
    network = LoopbackNetwork()
    speaker = LocalNode(LoopbackTransport(network, "speaker"))
    stuck = LoopbackTransport(network, "stuck")
    go_on, inside = threading.Event(), threading.Event()

    def sink(_event: TransportEvent) -> None:
        inside.set()
        go_on.wait(240)

    stuck.start(sink)
    speaker.do("announce", app_data="01")
    assert inside.wait(240)
    with pytest.raises(ShutdownTimeout, match="ciris-loopback-stuck"):
        stuck.stop(timeout_s=0.05)
    go_on.set()
    stuck.stop()
    speaker.stop()


def test_a_name_is_on_a_network_once_and_a_transport_starts_once(pair: Pair) -> None:
    with pytest.raises(LifecycleError):
        LoopbackTransport(pair.network, "a").start(lambda _event: None)
    with pytest.raises(LifecycleError):
        pair.a.transport.start(lambda _event: None)
    LoopbackTransport(pair.network, "never started").stop()
