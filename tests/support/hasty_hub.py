"""A TCP hub whose first connection goes wrong: it talks too early, or hangs up at once.

Reticulum 1.5.7's TCP client connects, and reads in a thread, before it is told the size of its
interface access codes. A hub that sends in that moment makes the reader fail; it connects again
after five seconds. Such a hub is in front of a real one here.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from support.waiting import wait_until

_READ_BYTES = 65_536
#: HDLC, as Reticulum frames packets on TCP.
_FLAG = b"\x7e"


def hdlc(packet: bytes) -> bytes:
    """A frame around a packet that needs no escapes."""
    assert not {0x7D, 0x7E} & set(packet)
    return _FLAG + packet + _FLAG


class HastyHub:
    """Listens on a port of its own. Use as a context manager.

    Args:
        greeting: sent to every connection as soon as it is there.
        behind: the port of the real hub, to which all but the first connection lead; None for
            nothing behind it, and all connections stay open.
    """

    def __init__(self, greeting: bytes = b"", behind: int | None = None) -> None:
        self._greeting = greeting
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._copying: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0

    def __enter__(self) -> HastyHub:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The listener first: what its thread accepts in this moment is closed like the rest.
        _close(self._listener)
        self._accepting.join(240)
        for each in self._open:
            _close(each)
        for thread in self._copying:
            thread.join(240)

    def connection(self, number: int) -> socket.socket:
        """Of those that come, with nothing behind: the first is number 0."""
        wait_until(lambda: len(self._open) > number, f"connection {number}")
        return self._open[number]

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        thread = threading.Thread(target=_copy, args=(source, target), daemon=True)
        self._copying.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self.connections += 1
                client.sendall(self._greeting)
                if self._behind is None:
                    continue
                if self.connections == 1:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._behind))
                self._open.append(server)
                self._copy(client, server)
                self._copy(server, client)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_READ_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
