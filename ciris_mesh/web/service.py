"""The page of one node: a socket, a thread with a server in it, and a sample every five minutes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.config import Config, WebSettings
from ciris_mesh.runtime.files import PRIVATE, TooLarge, UnsafeMode, read_bounded, why
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.web.app import WebApp
from ciris_mesh.web.guard import Guard
from ciris_mesh.web.history import STEP_S, History
from ciris_mesh.web.source import NodeSource

logger = logging.getLogger(__name__)

#: Requests and open pages at once; a person has one or two.
CONNECTIONS_MAX: Final = 32
#: Who connects and says nothing gives the place back.
_SILENT_S: Final = 10.0
#: Of one request's line and headers.
_HEAD_BYTES_MAX: Final = 16 * 1024
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
#: What guessing takes for ever against.
_TOKEN_CHARS_MIN: Final = 20


class WebService:
    """Owns the thread "ciris-web" from start() to stop().

    Args:
        count: counts who was turned away, by a stable name.

    Raises:
        ConfigError: the settings would show this node to others without TLS or a token, or a
            file they name cannot be used.
    """

    def __init__(
        self, settings: WebSettings, source: NodeSource, *, count: Callable[[str], None]
    ) -> None:
        self._host, self._port = settings.listen
        self._stopping = threading.Event()
        self._history = History()
        self._has_tls = settings.tls_certificate is not None
        token = _token(settings.token_file)
        _refuse_openness(self._host, has_tls=self._has_tls, has_token=token is not None)
        names = _names(self._host) | set(settings.names)
        guard = Guard(names, token, secure=self._has_tls, count=count)
        self._app = WebApp(
            source, self._history, guard, count=count, stopping=self._stopping.is_set
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app.asgi,
                http=_protocol(count),
                log_config=None,
                log_level="error",  # of wrong requests anybody can make as many as they like
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                h11_max_incomplete_event_size=_HEAD_BYTES_MAX,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
            )
        )
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="ciris-web", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, once started; the configured one may be 0."""
        return self._port

    def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._socket = socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            raise ConfigError(
                f"[web] cannot listen on {self._host} port {self._port}: {why(error)}; "
                "write another port under [web] listen"
            ) from None
        self._port = self._socket.getsockname()[1]
        self._thread.start()
        scheme = "https" if self._has_tls else "http"
        shown = f"[{self._host}]" if ":" in self._host else self._host
        logger.info("web.ready url=%s://%s:%d/", scheme, shown, self._port)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the server and the thread. Idempotent."""
        self._stopping.set()
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            logger.exception("web.failed")

    async def _serve(self) -> None:
        assert self._socket is not None
        sampling = asyncio.create_task(self._sample())
        try:
            await self._server.serve([self._socket])
        finally:
            sampling.cancel()

    async def _sample(self) -> None:
        while True:
            try:
                view = await self._app.overview()
                self._history.add(time.time(), view["status"], view["budget"])
            except Exception:
                logger.exception("web.sample_failed")
            await asyncio.sleep(STEP_S)


def _protocol(count: Callable[[str], None]) -> type[H11Protocol]:
    """HTTP with a limit to what is open: a connection costs a descriptor, which radios need too.

    The server's own limit answers requests above it and keeps connections without one.
    """

    class _Bounded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > CONNECTIONS_MAX:
                count("web_too_many_connections")
                transport.abort()
                return
            # The server's timer between requests; the first byte ends it.
            self.timeout_keep_alive_task = self.loop.call_later(
                _SILENT_S, self.timeout_keep_alive_handler
            )

    return _Bounded


def web_service(config: Config, operations: Operations) -> WebService:
    """The page of the node that `operations` ask. Raises as `WebService`."""
    node = operations.node
    name = config.node.name or node.key_id.rpartition("-")[0]
    source = NodeSource(operations, name)
    return WebService(config.web, source, count=node.runtime.drops.count)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = read_bounded(path, bytes_max=1024, guard=PRIVATE).decode("ascii").strip()
    except (UnsafeMode, TooLarge) as error:
        raise ConfigError(str(error)) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no token: use letters, digits, - and _") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {why(error)}") from None
    if len(token) < _TOKEN_CHARS_MIN:
        raise ConfigError(f"the token in {path} is shorter than {_TOKEN_CHARS_MIN} characters")
    return token


def _refuse_openness(host: str, *, has_tls: bool, has_token: bool) -> None:
    if ipaddress.ip_address(host).is_loopback or has_tls or has_token:
        return
    raise ConfigError(
        f"[web] listen = {host} shows this node to the network: add token_file, or tls_certificate "
        "and tls_key; or listen on 127.0.0.1 and reach it through ssh -L"
    )


def _names(host: str) -> frozenset[str]:
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return _LOOPBACK
    own = {f"[{host}]" if address.version == 6 else host}
    if address.is_unspecified:
        own |= _own_addresses()
    return _LOOPBACK | own


def _own_addresses() -> set[str]:
    """Under what others may ask for a page that listens everywhere."""
    names = {socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local"}
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        found = []
    for family, *_, where in found:
        names.add(f"[{where[0]}]" if family == socket.AF_INET6 else str(where[0]))
    return names
