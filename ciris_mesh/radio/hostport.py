"""Where a host plugs into an emulated RNode: a pty for the real driver, a Unix socket without one.

A pty nobody has open is told by the hang-up condition of its master side, so what a device says
then is dropped, as by a real one without a host. Everything here is non-blocking and belongs to
the one thread of `pty_port`.
"""

from __future__ import annotations

import os
import select
import socket
import tty
from collections import Counter
from pathlib import Path
from typing import Final

from ciris_mesh.radio.blocks import NodePort

#: What a host that reads slowly may leave unread: over a hundred full packets, seconds of a radio.
UNREAD_BYTES_MAX: Final = 65_536
#: One read; a driver writes at most a packet at a time.
_READ_BYTES: Final = 4_096
#: The kernel takes 108 bytes with the final zero.
SOCKET_PATH_BYTES_MAX: Final = 100

#: The host does not read; what a device told it was dropped.
HOST_NOT_READING: Final = "host_not_reading"


class HostPort:
    """The descriptors of one node.

    Attributes:
        dropped: HOST_NOT_READING -> how many messages to the host.
    """

    def __init__(self, place: NodePort, poller: select.poll) -> None:
        self.place = place
        self.dropped: Counter[str] = Counter()
        self._poller = poller
        self._master: int | None = None
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self._attached = False
        self._unread = bytearray()

    # -- plugging ---------------------------------------------------------------------------------

    @property
    def is_plugged(self) -> bool:
        """Whether a host could open the port."""
        return self._master is not None

    def plug(self) -> None:
        """Make the port and the socket appear. Ignored when they are there."""
        if self._master is not None:
            return
        master, slave = os.openpty()
        try:
            os.set_blocking(master, False)
            tty.setraw(slave)
            _link(self.place.port, os.ttyname(slave))
            self._listener = _listen(self.place.socket)
        except OSError:
            os.close(master)
            raise
        finally:
            os.close(slave)  # from now on a hang-up until somebody opens it
        self._master = master
        self._poller.register(self._listener, select.POLLIN)

    def unplug(self) -> None:
        """Make them vanish; whoever has one open gets an error. Ignored when they are gone."""
        self._drop_client()
        if self._listener is not None:
            self._poller.unregister(self._listener)
            self._listener.close()
            self._listener = None
            self.place.socket.unlink(missing_ok=True)
        if self._master is not None:
            self._detach()
            os.close(self._master)
            self._master = None
            self.place.port.unlink(missing_ok=True)

    @property
    def is_waiting(self) -> bool:
        """Whether somebody may open the pty, which only `look` notices."""
        return self._master is not None and not self._attached

    def look(self) -> None:
        """Notice that somebody opened the pty."""
        if self.is_waiting and not self._hung_up():
            assert self._master is not None
            self._attached = True
            self._poller.register(self._master, select.POLLIN)

    def _hung_up(self) -> bool:
        assert self._master is not None
        one = select.poll()
        one.register(self._master, select.POLLIN)
        return any(mask & select.POLLHUP for _, mask in one.poll(0))

    def _detach(self) -> None:
        if self._attached:
            assert self._master is not None
            self._poller.unregister(self._master)
            self._attached = False
            self._unread.clear()

    def _drop_client(self) -> None:
        if self._client is not None:
            self._poller.unregister(self._client)
            self._client.close()
            self._client = None
            self._unread.clear()

    # -- bytes ------------------------------------------------------------------------------------

    def descriptors(self) -> set[int]:
        """Numbers of the descriptors that are open here."""
        sockets = [each.fileno() for each in (self._listener, self._client) if each is not None]
        return {*sockets, *([self._master] if self._master is not None else [])}

    def on_ready(self, number: int, mask: int) -> bytes:
        """Handle what a poll said of one descriptor. Returns what the host sent."""
        if self._listener is not None and number == self._listener.fileno():
            self._accept()
            return b""
        got = (
            self._read(number) if mask & (select.POLLIN | select.POLLHUP | select.POLLERR) else b""
        )
        if number in self.descriptors() and mask & select.POLLOUT:
            self._flush()
        return got

    def tell(self, data: bytes) -> None:
        """Send to whoever is plugged in: the socket's client, else the pty's; else to nobody."""
        if not data or not (self._client is not None or self._attached):
            return
        if len(self._unread) + len(data) > UNREAD_BYTES_MAX:
            self.dropped[HOST_NOT_READING] += 1
            return
        self._unread += data
        self._flush()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:  # it went away again
            return
        if self._client is not None:
            client.close()  # one host at a time, as with a port
            return
        client.settimeout(0)
        self._client = client
        self._unread.clear()
        self._poller.register(client, select.POLLIN)

    def _read(self, number: int) -> bytes:
        """Read once. The end of the host's side, by whatever error, detaches it."""
        try:
            got = os.read(number, _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            got = b""
        if not got:
            if number == self._master:
                self._detach()
            else:
                self._drop_client()
        return got

    def _flush(self) -> None:
        target = self._client.fileno() if self._client is not None else self._master
        if target is None or not (self._client is not None or self._attached):
            return
        try:
            del self._unread[: os.write(target, self._unread)]
        except BlockingIOError:
            pass  # the poll says when there is room
        except OSError:
            self._unread.clear()  # the read that follows notices the end
        wanted = select.POLLIN | (select.POLLOUT if self._unread else 0)
        self._poller.modify(target, wanted)


def _link(path: Path, target: str) -> None:
    """Put a link in place at once, over a stale one too."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    try:
        fresh.replace(path)
    except OSError:
        fresh.unlink()
        raise


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.settimeout(0)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener
