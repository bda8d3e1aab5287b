"""Frames to registry nodes by HTTP POST: the documented exception, for who cannot use Reticulum.

One thread posts one frame at a time, so a registry that is slow holds up the others for at most
one deadline; there are few. An answer is only a status: what a registry has to say in return it
posts to us, or says over Reticulum. Redirects are not followed: a token goes where it was meant to.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ciris_mesh.errors import BackPressure, PayloadTooLarge, PeerUnreachable
from ciris_mesh.transport.limits import FRAME_BYTES_MAX
from ciris_mesh.transport.threads import join

if TYPE_CHECKING:
    import http.client
    import socket

log = logging.getLogger(__name__)

#: No byte moves for so long: given up. All of a post, however it moves: 8 MiB at 300 kB/s.
STILL_S: Final = 10.0
POST_S: Final = 30.0

#: Frames and bytes waiting, of all registries: a round of every kind with each of a few.
WAITING_FRAMES_MAX: Final = 256
WAITING_BYTES_MAX: Final = 16 * 1024 * 1024

#: Of an answer only its first line is read; those that only say that one will come, as many.
LINE_BYTES_MAX: Final = 1024
_INTERIM_MAX: Final = 4

#: What an answer says. Others, redirects among them: "http_refused".
_REFUSALS: Final = {
    401: "http_refused_credential",
    403: "http_refused_credential",
    413: "http_refused_size",
    429: "http_refused_busy",
    503: "http_refused_busy",
}

#: A status line, and of those that only announce another the rest of their head.
_STATUS: Final = re.compile(
    rb"HTTP/1\.[01] (?:([2-9]\d\d)\b[^\n]*\n|1\d\d\b[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n)"
)

_CHUNK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post, and what proves who we are. `ca`: whom to believe; None for the system's."""

    url: str
    token: str = ""
    cert: Path | None = None
    cert_key: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    name: str
    target: Target
    frame: bytes


class HttpPoster:
    """Owns the thread "ciris-http-post" from the first frame to `stop`.

    Args:
        failed: told of a name whose frame did not get there, and the reason: "http_unreachable",
            "http_timeout", "http_tls", or one of _REFUSALS.
    """

    def __init__(self, failed: Callable[[str, str], None]) -> None:
        self._failed = failed
        self._wakeup = threading.Condition()  # guards the four fields below
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    def send(self, name: str, target: Target, frame: bytes) -> None:
        """Queue one frame.

        Raises:
            PayloadTooLarge: over the frame limit.
            BackPressure: too much waits already.
            PeerUnreachable: stopped.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise PayloadTooLarge(len(frame), FRAME_BYTES_MAX)
        with self._wakeup:
            if self._stopping:
                raise PeerUnreachable("stopped")
            is_full = len(self._waiting) >= WAITING_FRAMES_MAX
            if is_full or self._waiting_bytes + len(frame) > WAITING_BYTES_MAX:
                raise BackPressure(f"{len(self._waiting)} frames wait to be posted")
            self._waiting.append(_Waiting(name, target, frame))
            self._waiting_bytes += len(frame)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="ciris-http-post", daemon=True
                )
                self._thread.start()
            self._wakeup.notify()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End; what waits is forgotten. Idempotent.

        Raises:
            ShutdownTimeout: a post did not end in time.
        """
        with self._wakeup:
            self._stopping = True
            self._waiting.clear()
            self._wakeup.notify()
        if self._thread is not None:
            join(self._thread, time.monotonic() + timeout_s)

    def _run(self) -> None:
        while True:
            with self._wakeup:
                while not self._waiting and not self._stopping:
                    self._wakeup.wait()
                if self._stopping:
                    return
                waiting = self._waiting.popleft()
                self._waiting_bytes -= len(waiting.frame)
            try:
                reason = post(waiting.target, waiting.frame, is_stopping=self._is_stopping)
            except Exception:
                log.exception("posting a frame failed")
                reason = "http_unreachable"
            if reason and not self._is_stopping():
                self._failed(waiting.name, reason)

    def _is_stopping(self) -> bool:
        with self._wakeup:
            return self._stopping


def post(target: Target, frame: bytes, *, is_stopping: Callable[[], bool] = lambda: False) -> str:
    """Post one frame. Returns "" when it was taken, else the reason; see HttpPoster."""
    import http.client  # a megabyte that a node without such a registry never needs
    import ssl

    deadline_s = time.monotonic() + POST_S
    connection = _connection(target)
    try:
        connection.connect()
        connection.putrequest("POST", urlsplit(target.url).path or "/", skip_accept_encoding=True)
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(len(frame)))
        if target.token:
            connection.putheader("Authorization", f"Bearer {target.token}")
        connection.endheaders()
        for start in range(0, len(frame), _CHUNK_BYTES):
            if time.monotonic() > deadline_s or is_stopping():
                return "http_timeout"
            connection.send(frame[start : start + _CHUNK_BYTES])
        status = _status(connection.sock, deadline_s)
    except ssl.SSLError:
        return "http_tls"
    except TimeoutError:
        return "http_timeout"
    except (OSError, http.client.HTTPException):
        return "http_unreachable"
    finally:
        connection.close()
    if 200 <= status < 300:
        return ""
    log.info("a posted frame was answered with %d", status)
    return _REFUSALS.get(status, "http_refused")


def _status(answers: socket.socket, deadline_s: float) -> int:
    """The number an answer begins with. `http.client` would wait anew for each of its bytes.

    Raises:
        TimeoutError: it was not there in time.
        OSError: this is no answer.
    """
    read = b""
    for _ in range(_INTERIM_MAX + 1):
        while not (found := _STATUS.match(read)):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            answers.settimeout(min(STILL_S, left_s))
            more = answers.recv(LINE_BYTES_MAX)
            if not more or len(read) + len(more) > (_INTERIM_MAX + 1) * LINE_BYTES_MAX:
                raise OSError("no answer")
            read += more
        if found[1]:
            return int(found[1])
        read = read[found.end() :]
    raise OSError("only announced an answer")


def _connection(target: Target) -> http.client.HTTPConnection:
    import http.client
    import ssl

    parts = urlsplit(target.url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=STILL_S)
    context = ssl.create_default_context(cafile=None if target.ca is None else str(target.ca))
    if target.cert is not None:
        context.load_cert_chain(target.cert, target.cert_key)
    return http.client.HTTPSConnection(host, parts.port, timeout=STILL_S, context=context)
