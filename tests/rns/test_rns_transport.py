"""What only real Reticulum can show: strangers with tools of their own, deaths, silences."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ciris_mesh.runtime.localnodes import free_port
from support.transport_nodes import PATIENCE_S, ChildNode, Event
from support.waiting import wait_until

pytestmark = pytest.mark.rns

#: Reticulum's own Resource states.
COMPLETE, REJECTED = 6, 9
TRIES = 40

Make = Callable[..., ChildNode]


def is_raw_end(seen: Event) -> bool:
    """Whether a link by plain Reticulum calls is up, or will never be."""
    return seen["event"] in ("raw_up", "raw_down")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start child nodes by name; all end with the test."""
    running: list[ChildNode] = []

    def start(name: str, **options: object) -> ChildNode:
        node = ChildNode(tmp_path / name, **options)  # type: ignore[arg-type]
        running.append(node)
        return node

    yield start
    for node in reversed(running):
        node.stop()


def link_to(hub: ChildNode, leaf: ChildNode) -> tuple[int, int]:
    mine = leaf.reach(hub.address)["link"]
    theirs = hub.wait("identified", address=leaf.address)["link"]
    hub.wait("up", link=theirs)
    return mine, theirs


def befriend(*nodes: ChildNode) -> None:
    for node in nodes:
        node.do("permit", addresses=[each.address for each in nodes if each is not node])


def raw_link(hub: ChildNode, client: ChildNode, *, identify: bool) -> int:
    """A link by plain Reticulum calls; returns its number at the hub."""
    client.hear(hub)
    while True:  # Reticulum gives up after six seconds, which a machine may stand still
        client.do("raw_link", address=hub.address)
        if client.events.take(is_raw_end, PATIENCE_S, "end of the dial")["event"] == "raw_up":
            break
    link: int = hub.wait("up", inbound=True)["link"]
    if identify:
        client.do("raw_identify")
        hub.wait("identified", link=link)
    return link


def answered(client: ChildNode, value: int) -> None:
    """Ask for a frame's place until that is the answer.

    Reticulum remembers a request only after it has sent it: an answer that is quicker goes to
    nobody.
    """
    for _ in range(TRIES):
        client.do("raw_request", path="ciris.frame.0", size=100, timeout_s=5)
        answer = client.wait("raw_answer")["value"]
        if answer is not None:
            assert answer == value
            return
    raise AssertionError("no answer")


def test_a_killed_peer_is_noticed(make: Make) -> None:
    port = free_port()
    hub, leaf = make("hub", listen=port), make("leaf", connect=(port,))
    mine, _ = link_to(hub, leaf)
    hub.kill()
    assert leaf.wait("down", link=mine)["reason"] == "timeout"


def test_a_frozen_peer_stalls_its_own_link_only(make: Make) -> None:
    port = free_port()
    hub = make("hub", listen=port)
    frozen, other = make("frozen", connect=(port,)), make("other", connect=(port,))
    befriend(hub, frozen, other)
    _, to_frozen = link_to(hub, frozen)
    mine, to_other = link_to(hub, other)
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        hub.do("send", link=to_frozen, frames=[[1, 300_000], [2, 8]])
        frames = [[tag, 20_000] for tag in range(20)]
        other.do("send", link=mine, frames=frames)
        hub.do("send", link=to_other, frames=frames)
        for node, link in ((hub, to_other), (other, mine)):
            assert [node.wait("frame", link=link)["tag"] for _ in frames] == list(range(20))
        assert hub.wait("down", link=to_frozen)["reason"] in ("stalled", "timeout")
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    other.do("send", link=mine, frames=[[99, 8]])
    assert hub.wait("frame", link=to_other)["tag"] == 99


def test_a_node_that_comes_back_is_reached_at_the_same_address(make: Make) -> None:
    port = free_port()
    hub = make("hub", listen=port)
    first = make("leaf", connect=(port,))
    link_to(hub, first)
    first.stop()
    assert hub.wait("down")["reason"] == "peer_closed"
    again = make("leaf", connect=(port,))
    assert (again.address, again.public_key) == (first.address, first.public_key)
    link_to(hub, again)


def test_a_link_that_does_not_identify_is_cut_and_delivers_nothing(make: Make) -> None:
    port = free_port()
    hub, client = make("hub", listen=port, identify_s=600.0), make("client", connect=(port,))
    link = raw_link(hub, client, identify=False)
    answered(client, 2)  # "say who you are"
    client.do("raw_resource", size=2_000)
    assert client.wait("raw_resource")["status"] == REJECTED
    assert hub.do("stats")["dropped"]["link_not_ready"] >= 2  # a lost refusal is repeated
    hub.do("lose_patience")
    assert hub.wait("down", link=link)["reason"] == "unidentified"
    client.wait("raw_down")
    stats = hub.do("stats")
    assert (stats["dropped"]["unidentified"], stats["rx_bytes"]) == (1, 0)


def test_a_strangers_big_resource_is_refused_before_it_comes(make: Make) -> None:
    port = free_port()
    hub, client = make("hub", listen=port), make("client", connect=(port,))
    link = raw_link(hub, client, identify=True)
    client.do("raw_resource", size=3_000_000)
    assert client.wait("raw_resource")["status"] == REJECTED
    assert hub.wait("down", link=link)["reason"] == "flooded"
    client.wait("raw_down")
    stats = hub.do("stats")
    assert stats["dropped"]["frame_not_permitted"] >= 1  # an answer that is late is asked again
    assert stats["rx_bytes"] == 0


def test_what_unpacks_to_more_than_it_claimed_closes_the_link(make: Make) -> None:
    port = free_port()
    hub, client = make("hub", listen=port), make("client", connect=(port,))
    link = raw_link(hub, client, identify=True)
    client.do("raw_bomb", size=1_000_000)
    client.wait("raw_down")
    assert hub.wait("down", link=link)["reason"] == "flooded"
    stats = hub.do("stats")
    assert (stats["dropped"]["frame_unreadable"], stats["rx_bytes"]) == (1, 0)


def test_a_request_of_many_packets_is_stopped(make: Make) -> None:
    """Reticulum turns large requests into Resources nobody is asked about."""
    port = free_port()
    hub, client = make("hub", listen=port, mtu=500), make("client", connect=(port,), mtu=500)
    raw_link(hub, client, identify=True)
    client.do("raw_request", path="ciris.frame.0", size=5_000, timeout_s=1)
    # What the client is told can't be waited for: a refusal that comes before Reticulum has set
    # the request's callback is told to nobody.
    wait_until(
        lambda: hub.do("stats")["dropped"].get("frame_not_permitted", 0) >= 1, "it is stopped"
    )
    assert hub.do("stats")["rx_bytes"] == 0


def test_a_request_out_of_order_or_elsewhere_gets_no_answer(make: Make) -> None:
    port = free_port()
    hub, client = make("hub", listen=port), make("client", connect=(port,))
    raw_link(hub, client, identify=True)
    for nowhere in ("ciris.frame.5", "somewhere.else"):
        client.do("raw_request", path=nowhere, size=100, timeout_s=1)
        assert client.wait("raw_answer")["value"] is None
    answered(client, 1)
    hub.wait("frame", size=100)
    answered(client, 1)  # its answer was "lost"
    stats = hub.do("stats")
    assert (stats["dropped"]["frame_unreadable"], stats["rx_bytes"]) == (1, 100)


def test_more_than_the_queue_holds_is_back_pressure(make: Make) -> None:
    port = free_port()
    hub, leaf = make("hub", listen=port), make("leaf", connect=(port,))
    befriend(hub, leaf)
    mine, theirs = link_to(hub, leaf)
    hub.process.send_signal(signal.SIGSTOP)
    try:
        errors = [leaf.error("send_once", link=mine, tag=tag, size=900) for tag in range(70)]
    finally:
        hub.process.send_signal(signal.SIGCONT)
    assert set(errors) == {None, "BackPressure"}
    taken = [tag for tag, error in enumerate(errors) if error is None]
    assert [hub.wait("frame", link=theirs)["tag"] for _ in taken] == taken


def test_kinds_have_destinations_of_their_own(make: Make) -> None:
    port = free_port()
    hub = make("hub", listen=port, announce_kinds=("key", "partner_record"))
    leaf = make("leaf", connect=(port,))
    link_to(hub, leaf)  # so that it is there to hear them
    leaf.hear(hub, "01")
    for kind in ("key", "partner_record"):
        leaf.wait("path", kind=kind, address=hub.address)
    for kind in ("key", "partner_record"):
        mine = leaf.reach(hub.address, kind=kind)["link"]
        assert leaf.do("destination", link=mine) == f"ciris.replication.{kind}"


def test_a_kind_without_a_path_is_reached_at_the_node_itself(make: Make) -> None:
    port = free_port()
    hub, leaf = make("hub", listen=port), make("leaf", connect=(port,))
    mine = leaf.reach(hub.address, kind="key")["link"]
    assert leaf.do("destination", link=mine) == "ciris.mesh"


def test_a_newcomer_hears_what_was_announced_before_it_came(make: Make) -> None:
    port = free_port()
    hub = make("hub", listen=port)
    hub.do("announce", app_data="0102")
    late = make("late", connect=(port,))
    assert late.wait("heard", address=hub.address)["app_data"] == "0102"


def test_what_is_announced_before_a_node_is_up_is_heard(make: Make) -> None:
    """Between the start of Reticulum and that of the transport a node opens its store and more."""
    port = free_port()
    hub = make("hub", listen=port)
    hub.do("announce", app_data="0102")
    slow = make("slow", connect=(port,), dawdle=True)
    assert slow.wait("heard", address=hub.address)["app_data"] == "0102"


def test_two_leaves_meet_through_a_transport_node(make: Make) -> None:
    port = free_port()
    make("hub", listen=port, transport_node=True)
    one, two = make("one", connect=(port,)), make("two", connect=(port,))
    befriend(one, two)
    assert one.hear(two, "09")["hops"] == 2
    mine, theirs = link_to(two, one)
    one.do("send", link=mine, frames=[[1, 50_000], [2, 50]])
    assert [two.wait("frame", link=theirs)["tag"] for _ in range(2)] == [1, 2]


def test_stopping_leaves_no_thread_and_reports_what_ends(make: Make) -> None:
    port = free_port()
    hub, leaf = make("hub", listen=port), make("leaf", connect=(port,))
    mine, theirs = link_to(hub, leaf)
    leaf.do("dial", address="00" * 16)
    assert leaf.do("stop") == []
    assert leaf.wait("down", link=mine)["reason"] == "stopped"
    assert leaf.wait("dial_failed")["reason"] == "stopped"
    assert hub.wait("down", link=theirs)["reason"] == "peer_closed"
    assert leaf.do("stop") == []
    assert leaf.error("send_once", link=mine, tag=1, size=8) == "LinkGone"


def test_stats_name_the_interfaces(make: Make) -> None:
    port = free_port()
    hub, leaf = make("hub", listen=port), make("leaf", connect=(port,))
    link_to(hub, leaf)
    name, medium, online = leaf.do("stats")["interfaces"][0]
    assert (name, medium, online) == (f"TCPInterface[out0/127.0.0.1:{port}]", "tcp", True)


def test_a_running_reticulum_is_joined(make: Make) -> None:
    port = free_port()
    far = make("far", listen=port)
    name = f"ciris-test-{port}"
    owner = make("owner", connect=(port,), share=name, transport_node=True)
    joined = make("joined", share=name)
    befriend(far, owner, joined)
    joined.hear(far, "05")
    up = joined.reach(far.address)
    assert up["medium"] == "tcp"
    theirs = far.wait("identified", address=joined.address)["link"]
    joined.do("send", link=up["link"], frames=[[1, 100_000], [2, 100]])
    assert [far.wait("frame", link=theirs)["tag"] for _ in range(2)] == [1, 2]
    assert any(medium == "tcp" for _, medium, _ in joined.do("stats")["interfaces"])
