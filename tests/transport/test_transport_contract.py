"""What `transport.base` promises, kept by loopback and by real Reticulum alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ciris_mesh.runtime.localnodes import free_port
from ciris_mesh.transport.limits import (
    FIRST_CONTACT_FRAME_BYTES_MAX,
    FIRST_CONTACT_FRAMES_MAX,
    FRAME_BYTES_MAX,
)
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from support.transport_nodes import ChildNode, Event, LocalNode, Node

NOBODY = "00" * 16


@dataclass
class World:
    """Two nodes that can reach each other, and one nobody permits."""

    a: Node
    b: Node
    stranger: Node
    medium: str

    def connect(self, caller: Node | None = None) -> tuple[int, int]:
        """Link the caller (b) to a; returns the link's number at the caller and at a."""
        caller = caller or self.b
        up = caller.reach(self.a.address)
        answered = self.a.wait("identified", address=caller.address)
        self.a.wait("up", link=answered["link"])
        return up["link"], answered["link"]


def _loopback() -> Iterator[World]:
    network = LoopbackNetwork()
    names = ("a", "b", "stranger")
    a, b, stranger = (LocalNode(LoopbackTransport(network, name)) for name in names)
    yield World(a, b, stranger, "loopback")
    for node in (a, b, stranger):
        node.stop()


def _reticulum(directory: Path, mtu: int | None) -> Iterator[World]:
    port = free_port()
    a = ChildNode(directory / "a", listen=port, mtu=mtu)
    b = ChildNode(directory / "b", connect=(port,), mtu=mtu)
    stranger = ChildNode(directory / "stranger", connect=(port,), mtu=mtu)
    yield World(a, b, stranger, "tcp")
    for node in (b, stranger, a):
        node.stop()


@pytest.fixture(
    scope="module",
    params=[
        "loopback",
        pytest.param("reticulum", marks=pytest.mark.rns),
        pytest.param("reticulum-mtu500", marks=pytest.mark.rns),
    ],
)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    if request.param == "loopback":
        made = _loopback()
    else:
        mtu = 500 if request.param.endswith("mtu500") else None
        made = _reticulum(tmp_path_factory.mktemp(request.param), mtu)
    for each in made:
        each.a.do("permit", addresses=[each.b.address])
        each.b.do("permit", addresses=[each.a.address])
        yield each


@pytest.fixture
def links(world: World) -> Iterator[tuple[int, int]]:
    """A link from b to a, gone again after the test."""
    mine, theirs = world.connect()
    yield mine, theirs
    world.b.do("hang_up", link=mine)
    world.b.wait("down", link=mine)
    world.a.wait("down", link=theirs)


def tags(node: Node, link: int, count: int) -> list[int]:
    """Take that many frames in the order they came."""
    frames = [node.wait("frame", link=link) for _ in range(count)]
    assert all(frame["intact"] for frame in frames)
    return [frame["tag"] for frame in frames]


def test_addresses_are_hashes_of_public_keys(world: World) -> None:
    digest = hashlib.sha256(bytes.fromhex(world.a.public_key)).digest()
    assert len(bytes.fromhex(world.a.public_key)) == 64
    assert digest[:16].hex() == world.a.address


def test_a_dial_brings_a_link_up_on_both_sides(world: World) -> None:
    mine = world.b.reach(world.a.address)
    theirs = world.a.wait("up")
    assert (mine["inbound"], mine["address"]) == (False, world.a.address)
    assert (theirs["inbound"], theirs["address"]) == (True, None)
    assert mine["medium"] == theirs["medium"] == world.medium
    assert world.a.wait("identified")["address"] == world.b.address
    world.b.do("hang_up", link=mine["link"])
    assert world.b.wait("down", link=mine["link"])["reason"] == "closed"
    assert world.a.wait("down", link=theirs["link"])["reason"] == "peer_closed"


@pytest.mark.parametrize("size", [8, 255, 256, 399, 400, 401, 2_000, 16_272, 16_273, 300_000])
def test_frames_of_any_size_arrive_whole(world: World, links: tuple[int, int], size: int) -> None:
    mine, theirs = links
    world.b.do("send", link=mine, frames=[[1, size]])
    world.a.do("send", link=theirs, frames=[[2, size]])
    forth = world.a.wait("frame", link=theirs)
    back = world.b.wait("frame", link=mine)
    assert (forth["tag"], forth["size"], forth["intact"]) == (1, size, True)
    assert (back["tag"], back["size"], back["intact"]) == (2, size, True)


def test_a_frame_of_several_segments_arrives_whole(world: World, links: tuple[int, int]) -> None:
    mine, theirs = links
    world.b.do("send", link=mine, frames=[[1, 2_000_000], [2, 8]])
    assert tags(world.a, theirs, 2) == [1, 2]


def test_order_holds_between_small_and_large_frames_both_ways_at_once(
    world: World, links: tuple[int, int]
) -> None:
    mine, theirs = links
    sizes = (40, 20_000, 300, 60_000, 1_000)
    frames = [[tag, sizes[tag % len(sizes)]] for tag in range(50)]
    world.b.do("send", link=mine, frames=frames)
    world.a.do("send", link=theirs, frames=frames)
    assert tags(world.a, theirs, 50) == list(range(50))
    assert tags(world.b, mine, 50) == list(range(50))


def test_a_frame_over_the_limit_is_refused_at_once(world: World, links: tuple[int, int]) -> None:
    error = world.b.error("send_once", link=links[0], tag=1, size=FRAME_BYTES_MAX + 1)
    assert error == "PayloadTooLarge"
    world.b.do("send", link=links[0], frames=[[2, 8]])
    assert tags(world.a, links[1], 1) == [2]


def test_sending_on_a_link_that_is_gone_says_so(world: World) -> None:
    mine, theirs = world.connect()
    world.a.do("hang_up", link=theirs)
    assert world.b.wait("down", link=mine)["reason"] == "peer_closed"
    assert world.b.error("send_once", link=mine, tag=1, size=8) == "LinkGone"
    assert world.b.error("send_once", link=999_999, tag=1, size=8) == "LinkGone"
    assert world.b.error("hang_up", link=999_999) is None
    world.a.wait("down", link=theirs)


def test_an_address_nobody_has_ends_in_no_path(world: World) -> None:
    world.b.do("dial", address=NOBODY)
    assert world.b.wait("dial_failed", address=NOBODY)["reason"] == "no_path"
    world.b.do("dial", address=NOBODY)  # that it is not asked again so soon: `test_rns_dial`
    assert world.b.wait("dial_failed", address=NOBODY)["reason"] == "no_path"


def test_dialling_oneself_finds_no_path(world: World) -> None:
    world.b.do("dial", address=world.b.address)
    assert world.b.wait("dial_failed", address=world.b.address)["reason"] == "no_path"


def test_two_nodes_dialling_each_other_get_a_link_each(world: World) -> None:
    world.a.do("dial", address=world.b.address)
    world.b.do("dial", address=world.a.address)
    ups: list[tuple[Node, Event]] = []
    for node, other in ((world.a, world.b), (world.b, world.a)):
        ups.append((node, node.wait("up", inbound=False, address=other.address)))
        node.wait("up", inbound=True)
        node.wait("identified", address=other.address)
    for node, up in ups:
        node.do("hang_up", link=up["link"])
    for node in (world.a, world.b):
        reasons = {node.wait("down")["reason"], node.wait("down")["reason"]}
        assert reasons == {"closed", "peer_closed"}


def test_an_announce_is_heard_with_its_data(world: World) -> None:
    heard = world.b.hear(world.a, "01" * 23)
    assert heard["app_data"] == "01" * 23
    assert heard["public_key"] == world.a.public_key
    assert heard["hops"] == 1
    assert world.a.error("announce", app_data="00" * 33) == "PayloadTooLarge"


def test_a_stranger_may_send_what_first_contact_needs(world: World) -> None:
    mine, theirs = world.connect(world.stranger)
    world.stranger.do("send", link=mine, frames=[[1, 300], [2, FIRST_CONTACT_FRAME_BYTES_MAX]])
    assert tags(world.a, theirs, 2) == [1, 2]
    world.stranger.do("hang_up", link=mine)
    world.a.wait("down", link=theirs)
    world.stranger.wait("down", link=mine)


def test_a_strangers_large_frame_is_refused_and_counted(world: World) -> None:
    mine, theirs = world.connect(world.stranger)
    before = world.a.do("stats")["dropped"].get("frame_not_permitted", 0)
    world.stranger.do("send", link=mine, frames=[[1, FIRST_CONTACT_FRAME_BYTES_MAX + 1]])
    assert world.a.wait("down", link=theirs)["reason"] == "flooded"
    assert world.stranger.wait("down", link=mine)["reason"] == "refused"
    assert world.a.do("stats")["dropped"]["frame_not_permitted"] == before + 1


def test_a_stranger_may_send_a_few_frames_only(world: World) -> None:
    mine, theirs = world.connect(world.stranger)
    frames = [[tag, 100] for tag in range(FIRST_CONTACT_FRAMES_MAX + 1)]
    world.stranger.do("send", link=mine, frames=frames)
    assert tags(world.a, theirs, len(frames) - 1) == list(range(len(frames) - 1))
    assert world.a.wait("down", link=theirs)["reason"] == "flooded"
    assert world.stranger.wait("down", link=mine)["reason"] == "refused"
    assert world.a.do("stats")["dropped"]["frames_not_permitted"] >= 1


def test_who_is_permitted_changes_while_links_are_up(world: World) -> None:
    mine, theirs = world.connect(world.stranger)
    world.a.do("permit", addresses=[world.b.address, world.stranger.address])
    world.stranger.do("send", link=mine, frames=[[1, 100_000]])
    assert tags(world.a, theirs, 1) == [1]
    world.a.do("permit", addresses=[world.b.address])
    world.stranger.do("send", link=mine, frames=[[2, 100_000]])
    assert world.a.wait("down", link=theirs)["reason"] == "flooded"
    assert world.stranger.wait("down", link=mine)["reason"] == "refused"


def test_one_identity_holds_few_links(world: World) -> None:
    pairs = [world.connect() for _ in range(5)]
    gone = world.a.wait("down")
    assert (gone["link"], gone["reason"]) == (pairs[0][1], "too_many_links")
    assert world.b.wait("down", link=pairs[0][0])["reason"] == "peer_closed"
    for mine, theirs in pairs[1:]:
        world.b.do("hang_up", link=mine)
        world.b.wait("down", link=mine)
        world.a.wait("down", link=theirs)


def test_progress_is_told_per_link(world: World, links: tuple[int, int]) -> None:
    world.b.do("send", link=links[0], frames=[[1, 8]])
    world.a.wait("frame", link=links[1])
    assert world.a.do("age", link=links[1]) >= 0
    assert world.a.do("age", link=999_999) is None


def test_stats_count_frames_and_links(world: World, links: tuple[int, int]) -> None:
    before = world.a.do("stats")
    world.b.do("send", link=links[0], frames=[[1, 1_000]])
    world.a.wait("frame", link=links[1])
    after = world.a.do("stats")
    assert after["rx_bytes"] == before["rx_bytes"] + 1_000
    assert after["links"] >= 1
