"""The page over real HTTP: what it answers, to whom, and that it begins and ends cleanly."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ciris_mesh.errors import ConfigError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.daemon import start_beside
from ciris_mesh.web import service as service_module
from ciris_mesh.web.app import LIVE_MAX, WebApp
from ciris_mesh.web.guard import Guard
from ciris_mesh.web.history import History
from ciris_mesh.web.service import CONNECTIONS_MAX
from ciris_mesh.web.source import NodeSource
from support.waiting import DEADLINE_S, wait_until
from support.website import Site

NOTHING: Mapping[str, str] = MappingProxyType({})
PATIENCE_S = 240.0


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def get(
    url: str,
    headers: Mapping[str, str] = NOTHING,
    *,
    method: str = "GET",
    context: ssl.SSLContext | None = None,
) -> tuple[int, bytes, Message]:
    request = urllib.request.Request(url, headers=dict(headers), method=method)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _Stay()]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def is_answered(url: str) -> bool:
    """False also while the server has not noticed yet that others hung up."""
    with suppress(OSError):
        return get(url)[0] in (200, 503)
    return False


def get_json(url: str) -> Any:
    code, body, _ = get(url)
    assert code == 200, body
    return json.loads(body)


def test_the_page_and_what_it_asks_for(site: Site) -> None:
    site.serve()
    for path, kind in (("/", "html"), ("/app.css", "css"), ("/app.js", "javascript")):
        code, body, headers = get(site.url + path)
        assert code == 200
        assert kind in headers["content-type"]
        assert not re.search(rb"(src|href)=\"(https?:)?//", body), "nothing from elsewhere"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    view = get_json(site.url + "/api/overview")
    assert view["name"] == "field-3"
    assert view["status"]["key_id"] == site.node.key_id
    assert view["status"]["peers"][0]["fresh"] is True
    assert view["budget"]["interfaces"] == []
    spots = get_json(site.url + "/api/map")["spots"]
    assert [spot["sort"] for spot in spots] == ["self", "medium", "peer"]


def test_records_page_by_page_and_each_verified_again(site: Site) -> None:
    site.serve()
    rows = get_json(site.url + "/api/records")
    assert {row["kind"] for row in rows} == {"key", "attestation"}
    only = get_json(site.url + "/api/records?kind=attestation")
    assert len(only) == 3
    assert get_json(site.url + f"/api/records?after={rows[-1]['position']}") == []
    row = only[0]
    record = get_json(f"{site.url}/api/record/attestation/{row['envelope_id']}")
    assert record["outcome"] == "admitted"
    assert all(check["ok"] for check in record["checks"])
    assert {"ed25519", "ml_dsa_65"} <= {check["name"] for check in record["checks"]}
    assert json.loads(record["envelope"])["attestation"]


@pytest.mark.parametrize(
    "path",
    ["/api/records?kind=nonsense", "/api/records?after=-1", "/api/records?after=x",
     "/api/records?after=" + "9" * 30, "/api/record/key/zz", "/api/record/key/" + "00" * 32,
     "/api/record/nonsense/00"],
)  # fmt: skip
def test_what_cannot_be_asked_says_so(site: Site, path: str) -> None:
    site.serve()
    code, body, _ = get(site.url + path)
    assert code == 400
    assert json.loads(body)["error"]


def test_series_begin_with_the_first_sample(site: Site) -> None:
    site.serve()
    wait_until(lambda: get_json(site.url + "/api/series")["times"], "a sample")
    series = get_json(site.url + "/api/series")
    assert {row["kind"] for row in series["missing"]} >= {"key", "attestation"}
    assert series["missing"][0]["peer"] == site.other.key_id


def test_health_and_metrics_for_machines(site: Site) -> None:
    site.serve()
    code, body, _ = get(site.url + "/healthz")
    assert json.loads(body)["healthy"] is (code == 200)
    code, body, headers = get(site.url + "/metrics")
    assert code == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'ciris_mesh_records{kind="attestation",shelf="federation"} 3.0' in body


def test_nothing_can_be_changed(site: Site) -> None:
    site.serve()
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert get(site.url + "/api/overview", method=method)[0] == 405
    assert get(site.url + "/no/such/path")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.2", "localhost.evil.example", ""])
def test_a_page_elsewhere_cannot_ask_under_its_own_name(site: Site, host: str) -> None:
    site.serve()
    assert get(site.url + "/api/overview", {"Host": host})[0] in (400, 421)
    assert site.counts["web_wrong_host"] == 1 or host == ""
    assert get(site.url + "/api/overview", {"Host": "localhost:1234"})[0] == 200


@pytest.mark.parametrize("mode", ["no-cors", "cors", ""])
def test_another_sites_page_cannot_ask_through_a_browser_here(site: Site, mode: str) -> None:
    site.serve()
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
    for path in ("/api/overview", "/", "/api/live"):
        assert get(site.url + path, foreign)[0] == 403
    assert site.counts["web_other_site"] == 3
    assert get(site.url + "/", foreign | {"Sec-Fetch-Mode": "navigate"})[0] == 200
    for own in ("same-origin", "same-site", "none"):
        assert get(site.url + "/api/overview", {"Sec-Fetch-Site": own})[0] == 200


def test_a_name_of_ones_own_can_be_allowed(site: Site) -> None:
    site.serve(names=("node.example",))
    assert get(site.url + "/healthz", {"Host": "node.example"})[0] in (200, 503)


def test_with_a_token_nobody_reads_without(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery-staple\n")
    file.chmod(0o600)
    site.serve(token_file=file)
    for path in ("/", "/api/overview", "/healthz", "/metrics", "/app.js"):
        assert get(site.url + path)[0] == 401
    assert get(site.url + "/?token=wrong")[0] == 401
    assert site.counts["web_no_token"] == 6
    bearer = {"Authorization": "Bearer correct-horse-battery-staple"}
    assert get(site.url + "/api/overview", bearer)[0] == 200
    code, _, headers = get(site.url + "/?token=correct-horse-battery-staple")
    assert code == 303
    assert headers["location"] == "/"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert get(site.url + "/", {"Cookie": cookie.split(";")[0]})[0] == 200


def test_a_token_that_is_short_open_or_gone(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot read"):
        site.serve(token_file=file)
    file.write_text("short")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="shorter than 20"):
        site.serve(token_file=file)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod"):
        site.serve(token_file=file)


def test_the_network_is_shown_nothing_without_tls_or_a_token(site: Site, tmp_path: Path) -> None:
    open_ = replace(site.config.web, listen=("0.0.0.0", 0))
    with pytest.raises(ConfigError, match="ssh -L"):
        site.make(open_)
    file = tmp_path / "token"
    file.write_text("x" * 20)
    file.chmod(0o600)
    site.make(replace(open_, token_file=file))


def test_over_tls(site: Site, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-days", "2", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    service = site.serve(tls_certificate=certificate, tls_key=key)
    context = ssl.create_default_context(cafile=str(certificate))
    code, _, _ = get(f"https://localhost:{service.port}/", context=context)
    assert code == 200


def read_until(line: socket.socket, needle: bytes) -> bytes:
    """What comes until `needle` does; a live page never ends by itself."""
    seen, end_s = b"", time.monotonic() + PATIENCE_S
    while needle not in seen:
        assert time.monotonic() < end_s, f"no {needle!r} in {seen[-500:]!r}"
        seen += line.recv(65_536)
    return seen


def test_live_pages_get_the_overview_again_and_rounds(site: Site) -> None:
    service = site.serve()
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as line:
        line.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = read_until(line, b"event: overview")
        removal: dict[str, object] = {"revoked_key_id": "lost-laptop", "reason": "lost"}
        site.other.put(EnvelopeKind.REVOCATION, removal)
        seen += read_until(line, b"event: round")
    assert b'"name":"field-3"' in seen.replace(b" ", b"")
    assert b'"outcome":"completed"' in seen.replace(b" ", b"")


def test_too_many_live_pages_are_refused_and_places_come_back(site: Site) -> None:
    service = site.serve()
    lines = []
    for _ in range(LIVE_MAX):
        line = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)
        line.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in line.recv(200)
        lines.append(line)
    assert get(site.url + "/api/live")[0] == 503
    assert site.counts["web_too_many_pages"] == 1
    for line in lines:
        line.close()

    def has_room() -> bool:
        with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as line:
            line.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b"200 OK" in line.recv(200)

    wait_until(has_room, "a place")


def test_pages_that_open_at_the_same_instant_get_no_more_places(site: Site) -> None:
    """All are asked before the first is answered; and who never reads gives its place back."""
    dropped: list[str] = []
    guard = Guard(frozenset({"localhost"}), None, secure=False, count=dropped.append)
    source = NodeSource(site.operations, "field-3")
    app = WebApp(source, History(), guard, count=dropped.append, stopping=lambda: False)
    asked = LIVE_MAX + 3
    codes: list[int] = []

    async def open_page() -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])
                while len(codes) < asked:
                    await asyncio.sleep(0)
                raise OSError("gone")

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        scope = {
            "type": "http", "method": "GET", "path": "/api/live", "query_string": b"",
            "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http",
            "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        with suppress(Exception):
            await app.asgi(scope, receive, send)

    async def many() -> None:
        await asyncio.gather(*(open_page() for _ in range(asked)))

    asyncio.run(asyncio.wait_for(many(), DEADLINE_S))
    assert Counter(codes) == {200: LIVE_MAX, 503: 3}
    assert dropped == ["web_too_many_pages"] * 3
    assert app._live == 0


def test_a_port_in_use_says_what_to_do(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = site.make(replace(site.config.web, listen=("127.0.0.1", port)))
        with pytest.raises(ConfigError, match="another port under"):
            service.start()
        service.stop()


def test_a_page_that_cannot_start_does_not_end_the_node(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    counts: Counter[str] = Counter()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = site.make(replace(site.config.web, listen=taken.getsockname()))
        start_beside(service, lambda name: counts.update([name]))
        service.stop()
    assert counts == {"service_not_started": 1}
    assert "another port under" in caplog.text


def test_connections_that_say_nothing_have_a_limit(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_SILENT_S", PATIENCE_S)
    service = site.serve()
    with ExitStack() as open_lines:
        lines = [
            open_lines.enter_context(
                socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)
            )
            for _ in range(CONNECTIONS_MAX + 8)
        ]
        wait_until(lambda: site.counts["web_too_many_connections"] == 8, "eight refusals")
        # One that is refused is counted first, and let go of a moment later.
        kept = service._server.server_state.connections
        wait_until(lambda: len(kept) == CONNECTIONS_MAX, lambda: len(kept))
        del lines
    wait_until(lambda: is_answered(site.url + "/healthz"), "a place")


def test_who_connects_and_says_nothing_is_hung_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_SILENT_S", 0.1)
    service = site.serve()
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as line:
        assert line.recv(1) == b""


def test_it_ends_while_pages_are_open_and_twice(site: Site) -> None:
    service = site.serve()
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as line:
        line.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert line.recv(100)
        service.stop()
        service.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)


def test_a_request_without_end_is_cut(site: Site) -> None:
    service = site.serve()
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        answer = b""
        try:
            for _ in range(100):
                line.sendall(b"X-Long: " + b"a" * 10_000 + b"\r\n")
            while data := line.recv(1000):
                answer += data
        except OSError:
            pass  # reset: cut as well
    assert b"200 OK" not in answer
    assert get(site.url + "/healthz")[0] in (200, 503)


def test_a_node_says_what_the_page_lacks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional; without it the node says which command brings it."""
    from ciris_mesh.cli import run as module
    from ciris_mesh.cli.app import Failure

    def missing(name: str) -> None:
        raise ImportError("No module named 'starlette'", name="starlette")

    monkeypatch.setattr(importlib, "import_module", missing)
    config = replace(site.config, web=replace(site.config.web, enabled=True))
    with pytest.raises(Failure, match=r"ciris-mesh\[web,metrics\]"):
        module._web(config, site.operations)
    assert module._web(site.config, site.operations) is None


def test_an_answer_is_an_http_answer(site: Site) -> None:
    """Nothing of Python's version or the server's name is told."""
    site.serve()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(site.url) as answer:
        assert isinstance(answer, HTTPResponse)
        assert answer.headers["server"] is None
