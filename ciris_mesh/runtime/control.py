"""Local control: ask the running node over a Unix socket, one JSON object a line each way.

    {"op": "status"}                    -> {"ok": true, "result": {...}}
    {"op": "sync", "peer": "field-3"}   -> {"ok": false, "error": "no such peer", "name": "no_peer"}

The file's mode lets in its owner alone, or a group when the configuration names one; members of
the group may ask, and act only when listed. Nothing here loads Reticulum or cryptography, so that
a question to a running node costs a few milliseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import select
import socket
import stat
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from ciris_mesh.errors import (
    AlreadyRunning,
    ConfigError,
    ControlError,
    LifecycleError,
    MeshError,
    ShutdownTimeout,
)
from ciris_mesh.runtime.access import OWNER_ONLY, Access
from ciris_mesh.runtime.asking import (
    REQUEST_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    UNKNOWN_OP,
    encode,
    parse_request,
    plain,
    read_line,
)

logger = logging.getLogger(__name__)

#: Served at once, a thread each; a person's shell and a monitor need two. More wait their turn.
CLIENTS_MAX: Final = 8
#: Waiting clients the kernel holds for us: a script that asks from every core at once.
BACKLOG: Final = 64
#: A request line that takes longer to arrive comes from nobody we know; local sockets are fast.
REQUEST_TIMEOUT_S: Final = 5.0
#: An answer nobody reads is dropped after this.
SEND_TIMEOUT_S: Final = 5.0
_ERROR_CHARS_MAX: Final = 1000
_ACCEPT_PAUSE_S: Final = 0.2  # after the system ran out of file descriptors or threads

Request = dict[str, Any]
Handler = Callable[[Request], object]


class ControlServer:
    """Answers requests on `path` by calling `handlers`, from start() to stop().

    Owns the thread "ciris-control" and up to `CLIENTS_MAX` short-lived "ciris-control-client".
    Handlers are called on the latter, several at once, with the request's members except "op".
    What they return is sent as JSON: dataclasses as objects, bytes as hex. A MeshError they raise
    becomes the error answer; its name is ControlError.name or the class name in snake case.

    Args:
        request_timeout_s: how long one request line may take to arrive, and a client may idle.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        access: Access = OWNER_ONLY,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._access = access
        self._request_timeout_s = request_timeout_s
        self._listener: socket.socket | None = None
        self._inode = 0
        self._wake_read, self._wake_write = -1, -1
        self._thread = threading.Thread(target=self._accept, name="ciris-control", daemon=True)
        self._changed = threading.Condition()  # guards the three fields below
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._dropped: Counter[str] = Counter()
        self._stopping = False

    def start(self) -> None:
        """Listen and answer.

        Raises:
            AlreadyRunning: another process answers on the socket.
            ConfigError: the socket cannot be created there.
            LifecycleError: already started; a server is used once.
        """
        if self._listener is not None or self._stopping:
            raise LifecycleError("control server already started")
        self._listener = _listen(self._path, self._access.group_id)
        self._inode = self._path.stat().st_ino
        self._wake_read, self._wake_write = os.pipe()
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish the answers under way and end the threads. Idempotent. Not from a handler.

        Raises:
            ShutdownTimeout: a handler did not return in time.
        """
        with self._changed:
            if self._listener is None or self._stopping:
                self._stopping = True
                return
            self._stopping = True
            self._changed.notify_all()
        os.write(self._wake_write, b"x")
        deadline_s = time.monotonic() + timeout_s
        _join(self._thread, timeout_s, deadline_s)
        self._close_listener()
        with self._changed:
            threads = list(self._clients.values())
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RD)  # no new request; the answer still goes out
        for thread in threads:
            _join(thread, timeout_s, deadline_s)

    def dropped(self) -> dict[str, int]:
        """Stable reason -> how often a client was turned away or cut off since start."""
        with self._changed:
            return dict(self._dropped)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _close_listener(self) -> None:
        assert self._listener is not None
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # never another node's socket
                self._path.unlink()

    def _accept(self) -> None:
        assert self._listener is not None
        while self._wait_for_client(self._listener):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                continue  # the client changed its mind between poll and accept
            except OSError:
                self._pause("control_no_resources")
                continue
            self._begin(client)

    def _wait_for_client(self, listener: socket.socket) -> bool:
        """Wait for a free place, then for somebody to take it. False when stopping."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or len(self._clients) < CLIENTS_MAX)
            if self._stopping:
                return False
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        poll.poll()
        with self._changed:
            return not self._stopping

    def _begin(self, client: socket.socket) -> None:
        thread = threading.Thread(
            target=self._serve, args=(client,), name="ciris-control-client", daemon=True
        )
        with self._changed:
            self._clients[client] = thread
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._forget(client)
            self._pause("control_no_resources")

    def _pause(self, reason: str) -> None:
        with self._changed:
            self._dropped[reason] += 1
            self._changed.wait_for(lambda: self._stopping, _ACCEPT_PAUSE_S)

    def _count(self, reason: str) -> None:
        with self._changed:
            self._dropped[reason] += 1

    def _forget(self, client: socket.socket) -> None:
        client.close()
        with self._changed:
            self._clients.pop(client, None)
            self._changed.notify_all()

    def _serve(self, client: socket.socket) -> None:
        try:
            uid = _peer_uid(client)
            rest = b""
            while True:
                line, rest = self._read_request(client, rest)
                if line is None:
                    return
                answer = self._answer(line, uid)
                client.settimeout(SEND_TIMEOUT_S)
                client.sendall(answer)
        except ControlError as error:  # the line itself is wrong: answer, then hang up
            self._count(f"control_{error.name}")
            with contextlib.suppress(OSError):
                client.settimeout(SEND_TIMEOUT_S)
                client.sendall(error_line(str(error), error.name))
        except OSError:
            self._count("control_client_gone")
        except Exception:
            logger.exception("control.client_failed")
        finally:
            self._forget(client)

    def _read_request(self, client: socket.socket, buffer: bytes) -> tuple[bytes | None, bytes]:
        """One line and what came after it; None when the client is done."""
        try:
            return read_line(
                client,
                buffer,
                bytes_max=REQUEST_BYTES_MAX,
                deadline_s=time.monotonic() + self._request_timeout_s,
            )
        except TimeoutError:
            self._count("control_idle")
            return None, b""

    def _answer(self, line: bytes, uid: int) -> bytes:
        answer = answer_to(lambda: self._dispatch(line, uid), bytes_max=RESPONSE_BYTES_MAX)
        if answer.error:
            self._count(f"control_{answer.error}")
        return answer.line

    def _dispatch(self, line: bytes, uid: int) -> object:
        request = parse_request(line)
        op = request.pop("op", None)
        if not isinstance(op, str):
            raise ControlError('a request is an object with a text member "op"', "bad_request")
        if not self._access.allows(uid, op):
            raise ControlError(f"user {uid} may not call {op[:40]!r} on this node", "denied")
        handler = self._handlers.get(op)
        if handler is None:
            raise ControlError(
                f"this node knows no operation {op[:40]!r}; is it another version?", UNKNOWN_OP
            )
        return handler(request)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One line to send; `error`: the name of what went wrong, empty when nothing did."""

    line: bytes
    error: str = ""


def answer_to(work: Callable[[], object], *, bytes_max: int) -> Answer:
    """Do what was asked for and write the answer, whatever comes of it. Logs faults of our own."""
    try:
        line = encode({"ok": True, "result": plain(work())})
        if len(line) > bytes_max:
            raise ControlError("the answer is too long; ask for less", "answer_too_long")
    except MeshError as error:
        name = error.name if isinstance(error, ControlError) else _snake(type(error).__name__)
        return Answer(error_line(str(error), name), name)
    except Exception:
        logger.exception("control.handler_failed")
        text = "the node failed to answer; its log says why"
        return Answer(error_line(text, "internal"), "internal")
    return Answer(line)


def _listen(path: Path, group_id: int | None) -> socket.socket:
    """Bind, set the mode, then listen: until then nobody can connect, whatever the umask."""
    _remove_leftover(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        if group_id is not None:
            os.chown(path, -1, group_id)
        os.chmod(path, 0o600 if group_id is None else 0o660)
        listener.settimeout(0)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {path}: {error.strerror or error}; "
            "the directory must exist and belong to the node's user"
        ) from None
    return listener


def _remove_leftover(path: Path) -> None:
    """Remove a socket file nobody answers on.

    Raises:
        AlreadyRunning: somebody does.
        ConfigError: it is something else, or cannot be removed.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} is in the way of the control socket; move it away")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return
    except BlockingIOError:
        pass  # its queue is full: it lives
    except OSError as error:
        raise ConfigError(f"cannot use {path}: {error.strerror or error}") from None
    raise AlreadyRunning(f"another process answers on {path}; stop it first")


def _join(thread: threading.Thread, timeout_s: float, deadline_s: float) -> None:
    assert thread is not threading.current_thread(), "stop() from a handler"
    thread.join(max(0.0, deadline_s - time.monotonic()))
    if thread.is_alive():
        raise ShutdownTimeout(thread.name, timeout_s)


def _peer_uid(client: socket.socket) -> int:
    """The user at the other end, as the kernel knows it."""
    credentials = struct.Struct("iII")  # pid, uid, gid
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    uid: int = credentials.unpack(raw)[1]
    return uid


def error_line(text: str, name: str) -> bytes:
    """An error as the asker gets it."""
    one_line = " ".join(text.split())[:_ERROR_CHARS_MAX]
    return encode({"ok": False, "error": one_line, "name": name})


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
