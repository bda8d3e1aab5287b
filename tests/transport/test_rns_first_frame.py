"""Reticulum's own TCP client: a hub that sends before it is set up costs one connection, no more.

`Reticulum` makes an interface, which connects and starts to read, and tells it the size of its
access codes only then. What is read in between fails in the reading thread. These tests hold the
library to what this project relies on: that such an interface comes back by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from RNS.Interfaces.TCPInterface import TCPClientInterface

from support.hasty_hub import HastyHub, hdlc
from support.tcp_client import Owner, connected
from support.tcp_client import said as said
from support.waiting import wait_until

PACKET = bytes(range(1, 41))


@pytest.fixture
def hub() -> Iterator[HastyHub]:
    with HastyHub(hdlc(PACKET)) as made:
        yield made


def test_what_is_read_too_early_drops_the_connection_and_it_comes_back(
    hub: HastyHub, said: list[str]
) -> None:
    owner = Owner()
    interface = connected(hub, owner)
    try:
        wait_until(lambda: any("has no attribute 'ifac_size'" in line for line in said))
        assert owner.packets == []
        interface.ifac_size = interface.DEFAULT_IFAC_SIZE  # what Reticulum says now
        wait_until(lambda: owner.packets, lambda: said)
        assert owner.packets == [PACKET]
        assert hub.connections >= 2
        assert interface.online
    finally:
        interface.detach()


def test_an_interface_that_is_set_up_in_time_reads_the_first_frame(
    hub: HastyHub, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TCPClientInterface, "ifac_size", None, raising=False)
    owner = Owner()
    interface = connected(hub, owner)
    try:
        wait_until(lambda: owner.packets, lambda: said)
        assert (owner.packets, hub.connections) == ([PACKET], 1)
    finally:
        interface.detach()
