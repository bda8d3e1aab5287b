"""The routes: one page, what it is made of, and two for machines.

/  /app.css  /app.js              the page itself
/api/overview /api/map /api/series /api/records /api/record/KIND/ID
/api/live                         server-sent events: rounds as they end, the overview again
/healthz  /metrics                for supervisors and Prometheus
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any, Final

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ciris_mesh.errors import MeshError
from ciris_mesh.web.guard import Guard
from ciris_mesh.web.history import History
from ciris_mesh.web.metrics import MetricsMissing, exposition
from ciris_mesh.web.source import NodeSource

#: Open pages at once; each costs a status every two seconds.
LIVE_MAX: Final = 8
LIVE_S: Final = 2.0
#: Asking the node takes milliseconds; more at once would take its time from the radio.
_ASKING_MAX: Final = 2

_STATIC: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
}


class WebApp:
    """The application, and how many look at it.

    Args:
        stopping: true once the server ends; live pages let go then.
    """

    def __init__(
        self,
        source: NodeSource,
        history: History,
        guard: Guard,
        *,
        count: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._source = source
        self._history = history
        self._drop = count
        self._stopping = stopping
        self._live = 0
        self._limiter: anyio.CapacityLimiter | None = None
        self._static = {path: _read(name) for path, (name, _) in _STATIC.items()}
        self.asgi = Starlette(
            routes=[
                *(Route(path, self._file) for path in _STATIC),
                Route("/api/overview", self._overview),
                Route("/api/map", self._map),
                Route("/api/series", self._series),
                Route("/api/records", self._records),
                Route("/api/record/{kind}/{envelope_id}", self._record),
                Route("/api/live", self._live_route),
                Route("/healthz", self._healthz),
                Route("/metrics", self._metrics),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)],
            exception_handlers={MeshError: _said},  # type: ignore[dict-item]
        )

    async def overview(self) -> dict[str, Any]:
        """As `/api/overview`."""
        found: dict[str, Any] = await self._ask(self._source.overview)
        return found

    async def _ask(self, question: Callable[..., Any], *given: Any) -> Any:
        if self._limiter is None:  # needs the loop it is used in
            self._limiter = anyio.CapacityLimiter(_ASKING_MAX)
        return await anyio.to_thread.run_sync(question, *given, limiter=self._limiter)

    async def _file(self, request: Request) -> Response:
        path = request.url.path
        return Response(self._static[path], media_type=_STATIC[path][1])

    async def _overview(self, _: Request) -> Response:
        return JSONResponse(await self.overview())

    async def _map(self, _: Request) -> Response:
        return JSONResponse(await self._ask(self._source.map))

    async def _series(self, _: Request) -> Response:
        return JSONResponse(self._history.series())

    async def _records(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdigit() or len(after) > 18:
            return JSONResponse({"error": "after must be a number"}, 400)
        kind = request.query_params.get("kind") or None
        return JSONResponse(await self._ask(self._source.records, kind, int(after)))

    async def _record(self, request: Request) -> Response:
        kind, envelope_id = (request.path_params[name] for name in ("kind", "envelope_id"))
        return JSONResponse(await self._ask(self._source.record, kind, envelope_id))

    async def _healthz(self, _: Request) -> Response:
        """200 while there is nothing to look at, 503 with the reasons otherwise."""
        view = await self.overview()
        problems = [*view["status"]["health"], *view["budget"]["health"]]
        body = {"healthy": not problems, "problems": problems}
        return JSONResponse(body, 503 if problems else 200)

    async def _metrics(self, _: Request) -> Response:
        view = await self.overview()
        try:
            text = await self._ask(exposition, view["status"], view["budget"])
        except MetricsMissing:
            return PlainTextResponse(
                "Install the metrics: pip install 'ciris-mesh[metrics]'\n", 501
            )
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _live_route(self, _: Request) -> Response:
        if self._live >= LIVE_MAX:
            self._drop("web_too_many_pages")
            return PlainTextResponse("Too many pages are open; close one.\n", 503)
        self._live += 1  # before anybody else is looked at, or many at once would all find room
        return _LivePage(self._stream(), self._left)

    def _left(self) -> None:
        self._live -= 1

    async def _stream(self) -> AsyncIterator[str]:
        seen: int | None = None
        while not self._stopping():
            events = await self._ask(self._source.events, seen or 0)
            fresh = events if seen is not None else []
            seen = max([seen or 0, *(event["number"] for event in events)])
            for event in fresh:
                yield f"event: round\ndata: {json.dumps(event)}\n\n"
            yield f"event: overview\ndata: {json.dumps(await self.overview())}\n\n"
            for _ in range(round(LIVE_S / 0.1)):
                if self._stopping():
                    return
                await asyncio.sleep(0.1)


class _LivePage(StreamingResponse):
    """Events as long as somebody reads them; `left` is called also where nobody ever did."""

    def __init__(self, events: AsyncIterator[str], left: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


async def _said(_: Request, error: MeshError) -> Response:
    """What a person can put right, in its own words."""
    return JSONResponse({"error": str(error)}, 400)


def _read(name: str) -> bytes:
    return files("ciris_mesh.web").joinpath("static", name).read_bytes()
