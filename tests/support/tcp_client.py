"""Reticulum's own TCP client, without the rest of Reticulum, connected to a hub of a test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
import RNS
from RNS.Interfaces.TCPInterface import TCPClientInterface

from support.hasty_hub import HastyHub
from support.waiting import wait_until


class Owner:
    """Takes what an interface read, as Reticulum's transport does."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def inbound(self, data: bytes, interface: object) -> None:
        self.packets.append(bytes(data))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What Reticulum logs. Sockets that it leaves to the garbage collector are closed here.

    Once its threads have ended: one that was connecting when its interface was detached is so then.
    """
    before = set(threading.enumerate())
    lines: list[str] = []
    sockets: list[socket.socket] = []
    connect = TCPClientInterface.connect

    def remembered(interface: Any, initial: bool = False) -> bool:
        try:
            return bool(connect(interface, initial))
        finally:
            sockets.append(interface.socket)

    monkeypatch.setattr(TCPClientInterface, "connect", remembered)
    monkeypatch.setattr(RNS, "log", lambda text, *_, **__: lines.append(str(text)))
    monkeypatch.setattr(TCPClientInterface, "RECONNECT_WAIT", 0.01)
    # An interface asks the running Reticulum for limits of announces, of which there are none here.
    monkeypatch.setattr(RNS.Reticulum, "get_instance", staticmethod(MagicMock))
    monkeypatch.setattr(RNS.Reticulum, "panic_on_interface_error", False, raising=False)
    yield lines
    # No list and join: a thread just made may start another, and can't be joined before it runs.
    wait_until(lambda: before.issuperset(threading.enumerate()), "the end of Reticulum's threads")
    for each in filter(None, sockets):
        each.close()


def connected(hub: HastyHub, owner: Owner) -> Any:
    """An interface as Reticulum makes it, before it is told the rest."""
    threads = set(threading.enumerate())
    settings = {"name": "hub", "target_host": "127.0.0.1", "target_port": str(hub.port)}
    interface = TCPClientInterface(owner, settings)
    assert set(threading.enumerate()) - threads, "it reads from now on"
    return interface
