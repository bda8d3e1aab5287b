"""Reticulum's own TCP client: a hub that sends before it is set up costs one connection, no more.

`Reticulum` makes an interface, which connects and starts to read, and tells it the size of its
access codes only then. What is read in between fails in the reading thread. These tests hold the
library to what this project relies on: that such an interface comes back by itself.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
import RNS
from RNS.Interfaces.TCPInterface import TCPClientInterface

from support.hasty_hub import HastyHub, hdlc
from support.waiting import wait_until

PACKET = bytes(range(1, 41))


class Owner:
    """Takes what an interface read, as Reticulum's transport does."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def inbound(self, data: bytes, interface: object) -> None:
        self.packets.append(bytes(data))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What Reticulum logs. Sockets that it leaves to the garbage collector are closed here."""
    lines: list[str] = []
    sockets: list[socket.socket] = []
    connect = TCPClientInterface.connect

    def remembered(interface: Any, initial: bool = False) -> bool:
        is_connected = bool(connect(interface, initial))
        sockets.append(interface.socket)
        return is_connected

    monkeypatch.setattr(TCPClientInterface, "connect", remembered)
    monkeypatch.setattr(RNS, "log", lambda text, *_, **__: lines.append(str(text)))
    monkeypatch.setattr(TCPClientInterface, "RECONNECT_WAIT", 0.01)
    # An interface asks the running Reticulum for limits of announces, of which there are none here.
    monkeypatch.setattr(RNS.Reticulum, "get_instance", staticmethod(MagicMock))
    yield lines
    for each in sockets:
        each.close()


@pytest.fixture
def hub() -> Iterator[HastyHub]:
    with HastyHub(hdlc(PACKET)) as made:
        yield made


def connected(hub: HastyHub, owner: Owner) -> Any:
    """An interface as Reticulum makes it, before it is told the rest."""
    threads = set(threading.enumerate())
    settings = {"name": "hub", "target_host": "127.0.0.1", "target_port": str(hub.port)}
    interface = TCPClientInterface(owner, settings)
    assert set(threading.enumerate()) - threads, "it reads from now on"
    return interface


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
