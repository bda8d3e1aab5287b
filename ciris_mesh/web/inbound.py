"""POST /edge/inbound: frames of registry nodes over HTTP, on starlette and uvicorn.

    headers --who is it?--> how much may it send --> body, counted and timed --> `HttpInbound.take`

Who it is comes first, so that nobody's body is short; then the body is read up to its limit and its
deadline. A connection that sends no request in time is closed. TLS where a certificate is
configured; a client certificate is asked for where authorities to check it by are.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from ciris_mesh.errors import ConfigError, ShutdownTimeout
from ciris_mesh.runtime.config import EdgeSettings
from ciris_mesh.runtime.httpsettings import listen_of
from ciris_mesh.runtime.inbound import HttpInbound, Listen, Sender
from ciris_mesh.runtime.runtime import ReplicationRuntime

PATH: Final = "/edge/inbound"

#: All of a body, however it trickles.
BODY_S: Final = 30.0
#: From a connection to its first request, and between two.
REQUEST_S: Final = 10.0

#: Bodies read at a time: 32 MiB at worst, as over Reticulum. Connections: those and who waits.
BODIES_MAX: Final = 4
CONNECTIONS_MAX: Final = 64

#: How long a start or a stop may take.
START_S: Final = 10.0

#: Reason -> status. Anything else is a 403: it came whole and may not be said.
_STATUS: Final = {
    "http_credential": 401,
    "http_body_too_large": 413,
    "http_body_slow": 408,
    "http_busy": 503,
    "registry_no_room": 503,
    "http_strangers": 429,
}


def make_app(inbound: HttpInbound, *, body_s: float = BODY_S) -> Starlette:
    """The application: one route."""
    busy = 0

    async def take(request: Request) -> Response:
        nonlocal busy
        sender = inbound.sender(token=_token(request), certificate=request.scope.get("ciris_cert"))
        if sender.reason:
            return _answer(sender.reason)
        if busy >= BODIES_MAX:
            inbound.refuse("http_busy")
            return _answer("http_busy")
        busy += 1
        try:
            return await _take(request, inbound, sender, body_s)
        finally:
            busy -= 1

    return Starlette(routes=[Route(PATH, take, methods=["POST"])])


async def _take(request: Request, inbound: HttpInbound, sender: Sender, body_s: float) -> Response:
    try:
        async with asyncio.timeout(body_s):
            frame = await _body(request, sender.bytes_max)
    except TimeoutError:
        reason = "http_body_slow"
    except ClientDisconnect:
        reason = "http_body_cut"
    else:
        if frame is not None:
            return _answer(await run_in_threadpool(inbound.take, sender, frame))
        reason = "http_body_too_large"
    inbound.refuse(reason)
    return _answer(reason)


async def _body(request: Request, bytes_max: int) -> bytes | None:
    """The body; None as soon as it is longer than it may be."""
    claimed = request.headers.get("content-length", "")
    if claimed.isdigit() and int(claimed) > bytes_max:
        return None
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > bytes_max:
            return None
        parts.append(part)
    return b"".join(parts)


def _token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _answer(reason: str) -> Response:
    """The connection of who was turned away is closed: the rest of its body is not read."""
    if not reason:
        return PlainTextResponse("", 202)
    return PlainTextResponse(reason, _STATUS.get(reason, 403), {"Connection": "close"})


class _Protocol(H11Protocol):
    """Tells the application of client certificates, and closes connections that ask nothing."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        certificate = None if ssl_object is None else ssl_object.getpeercert(binary_form=True)
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, "ciris_cert": certificate}, receive, send)

        self.app = app
        self.loop.call_later(REQUEST_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class Server:
    """Owns the thread "ciris-http" from `start` to `stop`.

    Raises:
        ConfigError: the address is in use, or a certificate cannot be read.
    """

    def __init__(self, inbound: HttpInbound, listen: Listen) -> None:
        self._socket = _bind(listen)
        try:
            config = uvicorn.Config(
                make_app(inbound),
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=int(REQUEST_S),
                timeout_graceful_shutdown=1,
                ssl_certfile=listen.cert,
                ssl_keyfile=listen.cert_key,
                ssl_ca_certs=None if listen.client_ca is None else str(listen.client_ca),
                ssl_cert_reqs=ssl.CERT_NONE if listen.client_ca is None else ssl.CERT_OPTIONAL,
            )
            config.load()
        except (OSError, ssl.SSLError) as error:
            self._socket.close()
            raise ConfigError(f"cannot use the certificate of [registry]: {error}") from None
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="ciris-http", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self) -> None:
        """Accept from now on."""
        self._thread.start()

    def stop(self, timeout_s: float = START_S) -> None:
        """End. Idempotent.

        Raises:
            ShutdownTimeout: it did not end in time.
        """
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise ShutdownTimeout(self._thread.name, timeout_s)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])


def inbound_service(settings: EdgeSettings, runtime: ReplicationRuntime) -> Server:
    """What `ciris-mesh run` starts beside the node. Raises as Server, and as `listen_of`."""
    credentials = runtime.config.registries.credentials
    return Server(HttpInbound(runtime, credentials), listen_of(settings))


def _bind(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listen.host, listen.port))
        bound.listen(CONNECTIONS_MAX)  # who comes before the thread runs waits
    except OSError as error:
        bound.close()
        where = f"{listen.host}:{listen.port}"
        raise ConfigError(
            f"cannot listen on {where}, [registry] accept: {error.strerror}"
        ) from None
    return bound
