"""An interface that a failed write made mute speaks again once it is connected.

The class is Reticulum's own, on a real socket.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import RNS
from configobj import ConfigObj

from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.rns_givenup import take_back
from support.hasty_hub import HastyHub
from support.tcp_client import Owner, connected
from support.tcp_client import said as said
from support.waiting import wait_until

BLOCK = ("[interfaces]", "[[hub]]", "type = TCPClientInterface")


def configure(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let this process's Reticulum be one with that configuration."""
    reticulum = SimpleNamespace(config=ConfigObj(list(lines)))
    monkeypatch.setattr(RNS.Reticulum, "get_instance", lambda: reticulum)


@pytest.fixture
def hub() -> Iterator[HastyHub]:
    with HastyHub() as made:
        yield made


@pytest.fixture
def interface(hub: HastyHub, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Connected, and in use as Reticulum puts it into use."""
    made = connected(hub, Owner())
    made.OUT, made.ifac_size = True, made.DEFAULT_IFAC_SIZE
    monkeypatch.setattr(seam, "interfaces", lambda: [made])
    configure(monkeypatch, *BLOCK)
    yield made
    made.detach()


def break_line(interface: Any) -> None:
    """Fail a write, as on a connection that its other end has just closed."""
    interface.socket.shutdown(socket.SHUT_WR)
    interface.process_outgoing(b"lost")
    assert not interface.online


def hang_up(hub: HastyHub, number: int) -> None:
    hub.connection(number).shutdown(socket.SHUT_RDWR)


def test_reticulum_by_itself_leaves_it_mute(hub: HastyHub, interface: Any) -> None:
    """What this project has to make good; where a later Reticulum does so, it need not."""
    break_line(interface)
    hang_up(hub, 0)
    wait_until(lambda: interface.online, "it connects again")
    assert (interface.IN, interface.OUT) == (False, False)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_it_is_taken_back_before_or_after_it_is_connected_again(
    hub: HastyHub, interface: Any, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    break_line(interface)
    if not late:
        take_back()
    hang_up(hub, 0)
    wait_until(lambda: interface.online, "it connects again")
    take_back()
    assert (interface.IN, interface.OUT) == (True, True)
    interface.process_outgoing(b"said")
    assert hub.connection(1).recv(100) == b"\x7esaid\x7e"
    assert caplog.text.count("interface.taken_back name=hub") == 1


def test_one_that_must_not_send_does_not_send_afterwards(
    interface: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, *BLOCK, "outgoing = no")
    break_line(interface)
    take_back()
    assert (interface.IN, interface.OUT) == (True, False)


@pytest.mark.parametrize("lines", [(), ("[interfaces]",)], ids=["no section", "no block"])
def test_one_that_no_configuration_names_sends(
    interface: Any, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...]
) -> None:
    """Reticulum finds some by itself."""
    configure(monkeypatch, *lines)
    break_line(interface)
    take_back()
    assert (interface.IN, interface.OUT) == (True, True)


def leave_be(interface: Any) -> None:
    interface.OUT = False  # as a configuration may say: nothing has failed


def close_for_good(interface: Any) -> None:
    interface.detach()
    interface.IN = interface.OUT = False


def came_from_outside(interface: Any) -> None:
    interface.initiator = interface.IN = interface.OUT = False


@pytest.mark.parametrize("what", [leave_be, close_for_good, came_from_outside])
def test_others_are_left_as_they_are(interface: Any, what: Callable[[Any], None]) -> None:
    what(interface)
    uses = interface.IN, interface.OUT
    take_back()
    assert uses == (interface.IN, interface.OUT)
