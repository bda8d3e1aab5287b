"""Who may read: whoever reaches the address, shows the token when there is one, and asks for it
by a name that is ours.

A page somewhere else can make a browser here ask loopback under a name of its own (DNS rebinding);
so the Host header must be an address of ours. Nothing can be changed over HTTP, so a request made
behind somebody's back does nothing; and where the browser says that another site's page asks, and
nobody follows a link, it gets nothing, or it could hold all live pages there are.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

COOKIE: Final = "ciris_mesh_token"
#: A day: then it is typed again.
_COOKIE_S: Final = 86_400

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Next = Callable[[Request], Awaitable[Response]]


class Guard:
    """Checks each request before a route sees it.

    Args:
        hosts: names and addresses, without a port, under which this page may be asked for.
        token: what has to be shown; None for none.
        secure: served over TLS.
        count: counts who was turned away.
    """

    def __init__(
        self,
        hosts: frozenset[str],
        token: str | None,
        *,
        secure: bool,
        count: Callable[[str], None],
    ) -> None:
        self._hosts = hosts
        self._token = token
        self._secure = secure
        self._drop = count

    async def __call__(self, request: Request, call_next: Next) -> Response:
        """Answer, or let the route answer."""
        refusal = self._refusal(request)
        response = refusal if refusal is not None else await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        if name not in self._hosts:
            self._drop("web_wrong_host")
            return PlainTextResponse("Ask for this page by its own address.\n", 421)
        if _is_behind_a_back(request):
            self._drop("web_other_site")
            return PlainTextResponse("Another site's page may not ask here.\n", 403)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("This page is for reading.\n", 405)
        return self._unknown(request) if self._token is not None else None

    def _unknown(self, request: Request) -> Response | None:
        assert self._token is not None
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        shown = bearer.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")
        if _same(shown, self._token):
            return None
        if request.url.path == "/" and _same(request.query_params.get("token", ""), self._token):
            response = RedirectResponse("/", 303)  # so that the token is in no history or log
            response.set_cookie(
                COOKIE,
                self._token,
                max_age=_COOKIE_S,
                httponly=True,
                samesite="strict",
                secure=self._secure,
            )
            return response
        self._drop("web_no_token")
        return PlainTextResponse(
            "A token is needed: /?token=TOKEN, or Authorization: Bearer.\n", 401
        )


def _is_behind_a_back(request: Request) -> bool:
    """By Fetch Metadata (W3C): browsers send it to loopback and over TLS; no page can set it."""
    site, mode = (request.headers.get(f"sec-fetch-{name}", "") for name in ("site", "mode"))
    return site == "cross-site" and mode != "navigate"


def _same(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode(), token.encode())
