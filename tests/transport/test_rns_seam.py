"""What is done to Reticulum's own objects."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from RNS.Interfaces.TCPInterface import TCPClientInterface

from ciris_mesh.transport import rns_seam as seam
from support.waiting import wait_until

#: What Reticulum asks for at once.
ASKED_BYTES = 4096


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            yield near, far


def link_over(interface: object) -> seam.Link:
    return cast(seam.Link, SimpleNamespace(attached_interface=interface))


def test_a_tcp_interface_reads_in_large_pieces(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    interface = SimpleNamespace(socket=near)
    seam.read_widely(link_over(interface))
    seam.read_widely(link_over(interface))  # once for each link it carries
    sent = bytes(range(256)) * 64
    far.sendall(sent)
    wait_until(lambda: len(near.recv(len(sent), socket.MSG_PEEK)) == len(sent))
    assert interface.socket.recv(ASKED_BYTES) == sent


def test_reticulum_reads_as_is_assumed() -> None:
    source = inspect.getsource(TCPClientInterface.read_loop)
    assert f"self.socket.recv({ASKED_BYTES})" in source


def test_what_has_no_socket_is_left_alone() -> None:
    seam.read_widely(link_over(None))
    radio = SimpleNamespace(socket=None)
    seam.read_widely(link_over(radio))
    assert radio.socket is None
