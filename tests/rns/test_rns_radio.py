"""Reticulum's own, unmodified RNodeInterface on emulated radios."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import rnode_block, virtual_block
from ciris_mesh.radio.kiss import DeviceError
from ciris_mesh.radio.profiles import profile, profiles
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from support.radio_nodes import ONLINE_TIMEOUT_S, RadioNode, digest_of
from support.transport_nodes import PATIENCE_S, Event
from support.waiting import wait_until

pytestmark = [pytest.mark.rns, pytest.mark.air]

SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
#: Reticulum's own state of a Resource that arrived.
COMPLETE = 6
TRIES = 10

Make = Callable[..., RadioNode]
SHIM = "VirtualRNodeInterface"


@pytest.fixture
def ether(tmp_path: Path) -> Iterator[Ether]:
    with Ether(tmp_path / "e", full(2), randomness=random.Random(1), speed=32.0) as running:
        yield running


@pytest.fixture
def make(ether: Ether, tmp_path: Path) -> Iterator[Make]:
    """Start Reticulum on a node's port; all end with the test."""
    running: list[RadioNode] = []

    def start(node: int, *, by_socket: bool = False) -> RadioNode:
        block = (virtual_block if by_socket else rnode_block)(ether.ports[node], SF8)
        shims = {SHIM: profile(SHIM).text} if by_socket else {}
        child = RadioNode(tmp_path / f"n{node}", block, shims)
        running.append(child)
        return child

    yield start
    for child in reversed(running):
        child.stop()


def online(make: Make) -> tuple[RadioNode, RadioNode]:
    one, two = make(0), make(1)
    for each in (one, two):
        each.wait("online", ONLINE_TIMEOUT_S)
    return one, two


def link(caller: RadioNode, called: RadioNode) -> None:
    """Reticulum gives a link six seconds a hop: on a machine that stands still it is tried anew."""
    called.do("announce")
    caller.wait("heard", address=called.address)
    for _ in range(TRIES):
        caller.do("link", address=called.address)
        if caller.events.take(is_link_end, PATIENCE_S, "end of the dial")["event"] == "linked":
            called.wait("linked")
            return
    pytest.fail("no link")


def is_link_end(seen: Event) -> bool:
    """Whether a link is up, or will never be."""
    return seen["event"] in ("linked", "unlinked")


def test_announce_link_and_resource_through_the_real_driver(ether: Ether, make: Make) -> None:
    one, two = online(make)
    link(one, two)
    one.do("resource", size=2_000)
    assert two.wait("got") == {"event": "got", "status": COMPLETE, "digest": digest_of(2_000)}
    assert one.wait("sent")["status"] == COMPLETE

    stats = one.stats()
    assert stats["type"] == "RNS.Interfaces.RNodeInterface.RNodeInterface"
    assert (stats["bitrate"], stats["errors"]) == (pytest.approx(3125), 0)
    assert (stats["rssi"], stats["snr"]) == (-80, 12)
    assert stats["airtime_long"] > 0
    first, second = ether.counters()
    # Announce 167, link 287, Resource of 2,000 about 2,700 bytes, and a header byte for each frame.
    assert 3_000 < first.bytes_sent + second.bytes_sent < 9_000
    assert first.airtime_s > second.airtime_s > 0
    assert (first.dropped, second.dropped) == ({}, {})


def test_more_than_the_queue_holds_is_dropped_and_counted(ether: Ether, make: Make) -> None:
    one, two = online(make)
    link(one, two)

    def is_full() -> bool:  # a host that gets no time sends no faster than the channel
        for _ in range(40):
            one.do("packet", size=431)
        one.stats()  # by now all were handed in
        return ether.counters()[0].dropped.get("queue_full", 0) >= 1

    wait_until(is_full, "the device has no room")
    two.wait("packet", size=431)


def test_the_external_interface_speaks_with_the_real_driver(ether: Ether, make: Make) -> None:
    """Loaded by Reticulum itself from the file that comes along, without a serial port."""
    one, two = make(0), make(1, by_socket=True)
    for each in (one, two):
        each.wait("online", ONLINE_TIMEOUT_S)
    link(one, two)
    two.do("resource", size=2_000)
    assert one.wait("got", status=COMPLETE)["digest"] == digest_of(2_000)
    stats = two.stats()
    assert stats["type"] == "ciris_mesh.radio.interface.VirtualRNodeInterface"
    assert (stats["bitrate"], stats["rssi"], stats["snr"]) == (3125, -80, 12)
    assert stats["airtime_long"] > 0
    ether.unplug(1)
    two.wait("offline")
    ether.replug(1)
    two.wait("online")
    ether.reset(1)  # back so soon that nobody but the device can tell
    wait_until(lambda: ether._lab._devices[1].settings is not None)


@pytest.mark.slow
def test_unplugged_in_the_middle_of_a_resource_and_plugged_in_again(
    ether: Ether, make: Make
) -> None:
    """The driver notices, retries every 5 s at the same path, and the link lives on."""
    one, two = online(make)
    link(one, two)
    one.do("resource", size=30_000)
    one.wait("progress")
    ether.unplug(1)
    two.wait("offline")
    ether.replug(1)
    two.wait("online", ONLINE_TIMEOUT_S)
    first = one.wait("sent")
    if first["status"] != COMPLETE:  # it gave up while the radio was away
        one.do("resource", size=3_000)
        assert two.wait("got", status=COMPLETE)["digest"] == digest_of(3_000)
    else:
        assert two.wait("got")["digest"] == digest_of(30_000)
    assert ether.counters()[1].missed["off"] > 0


@pytest.mark.slow
def test_a_reset_and_a_fault_take_the_driver_offline_and_it_returns(
    ether: Ether, make: Make
) -> None:
    one, two = online(make)
    ether.fail(0, DeviceError.MEMORY_LOW)
    ether.reset(1)
    two.wait("offline")
    two.wait("online", ONLINE_TIMEOUT_S)
    assert one.stats()["errors"] == 1
    ether.fail(0, DeviceError.TXFAILED)
    one.wait("offline")
    one.wait("online", ONLINE_TIMEOUT_S)
    link(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", [each.name for each in profiles() if each.name[:6] == "rnode-"])
def test_a_radio_takes_what_the_profiles_say(ether: Ether, tmp_path: Path, name: str) -> None:
    """The driver compares what it set with what the device answers."""
    text = profile(name).text.partition("[interfaces]\n")[2]
    block = text.replace("/dev/serial/by-id/CHANGE-ME", str(ether.ports[0].port))
    child = RadioNode(tmp_path / "n", block)
    try:
        child.wait("online", ONLINE_TIMEOUT_S)
        device = ether._lab._devices[0]
        assert device.settings is not None
        assert child.stats()["bitrate"] == pytest.approx(device.settings.bitrate_bps)
        assert 0 < device._long_limit < 0.3
    finally:
        child.stop()
