"""Frames over HTTP: who may post what, and how little a body without end gets."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.errors import ConfigError
from ciris_mesh.records.authoring import author_key
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import inbound as inbound_module
from ciris_mesh.runtime.httpcredentials import parse_credentials
from ciris_mesh.runtime.inbound import HttpInbound, Listen
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.registries import RegistryConfig, RegistrySettings
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.runtime.scheduler import SchedulerConfig
from ciris_mesh.transport import http_post
from ciris_mesh.transport.http_post import Target, post
from ciris_mesh.transport.limits import FIRST_CONTACT_FRAME_BYTES_MAX, FRAME_BYTES_MAX
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.web import inbound as web
from ciris_mesh.web.inbound import PATH, Server
from support.edge_model import EdgeModel, deliver, encode, summary
from support.edge_port import ModelPort
from support.keys import alice, bob, carol
from support.mesh import NOW_MS, TRUST
from support.records import AT_MS, sample
from support.waiting import wait_until

K = EnvelopeKind
TOKEN = "t" * 32


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no slow sender, and no server that hangs."""
    monkeypatch.setattr(http_post, "STILL_S", 120.0)
    monkeypatch.setattr(http_post, "POST_S", 240.0)
    monkeypatch.setattr(Server.stop, "__defaults__", (120.0,))


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node(
        alice(),
        LoopbackTransport(LoopbackNetwork(), "alice"),
        directory=MemoryDirectory(trust=TRUST),
        config=RuntimeConfig(
            rounds=SchedulerConfig(cadence_s=3_600.0),
            registries=RegistrySettings((RegistryConfig(carol().key_id, carol().public.ed25519),)),
        ),
        wall_ms=lambda: NOW_MS,
        edge=ModelPort(carol(), EdgeModel()),
    )
    made.start()
    yield made
    made.stop()


Serve = Callable[..., Server]


@pytest.fixture
def serve(node: Node) -> Iterator[Serve]:
    servers: list[Server] = []

    def one(lines: str = f"accept {carol().key_id} token {TOKEN}", **listen: Any) -> Server:
        credentials = parse_credentials(lines.encode())
        servers.append(Server(HttpInbound(node.runtime, credentials), Listen(**listen)))
        servers[-1].start()
        return servers[-1]

    yield one
    for each in servers:
        each.stop()


def url(server: Server, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.port}{PATH}"


def pushed(kind: EnvelopeKind, raw: bytes) -> bytes:
    return encode(deliver(kind, [raw]))


def drops(node: Node) -> dict[str, int]:
    return node.runtime.drops.snapshot()


# --- whose ----------------------------------------------------------------------------------------


def test_a_token_makes_a_frame_its_registrys(node: Node, serve: Serve) -> None:
    server = serve()
    assert post(Target(url(server), TOKEN), pushed(K.FAMILY, sample(K.FAMILY, bob()))) == ""
    registries = node.runtime.registries
    assert registries is not None
    wait_until(lambda: registries.bridge.outcomes(carol().key_id))
    paths = {path for path, _, _ in node.directory.outcome_counts()}
    assert "registry" in paths


def test_a_credential_that_is_nobodys_is_turned_away(node: Node, serve: Serve) -> None:
    server = serve()
    assert post(Target(url(server), "x" * 32), pushed(K.KEY, b"{}")) == "http_refused_credential"
    assert drops(node)["http_credential"] == 1


def test_a_token_of_who_is_no_registry_any_more_counts_nothing(node: Node, serve: Serve) -> None:
    server = serve(f"accept somebody token {TOKEN}")
    assert post(Target(url(server), TOKEN), pushed(K.KEY, b"{}")) == "http_refused_credential"


def test_who_is_unpinned_in_the_middle_of_its_frame_is_told_so(node: Node) -> None:
    """Not that there is no room: it would send the same again, for ever."""
    inbound = HttpInbound(
        node.runtime, parse_credentials(f"accept {carol().key_id} token {TOKEN}".encode())
    )
    sender = inbound.sender(token=TOKEN, certificate=None)
    assert node.runtime.registries is not None
    node.runtime.registries.unpin(carol().key_id)
    assert inbound.take(sender, pushed(K.KEY, b"{}")) == "registry_unknown"
    assert drops(node)["registry_unknown"] == 1


def test_nobody_may_introduce_himself_and_no_more(node: Node, serve: Serve) -> None:
    server = serve()
    own_key = author_key(bob(), identity_ref="bob", at_ms=AT_MS)
    assert post(Target(url(server)), pushed(K.KEY, own_key)) == ""
    assert node.directory.pools().first_contact == 1
    for frame in (
        pushed(K.FAMILY, sample(K.FAMILY, bob())),
        encode(summary(K.KEY, {})),
        b"CRPL\x01{",
        b"hello",
    ):
        assert post(Target(url(server)), frame) == "http_refused_credential"
    assert drops(node)["frame_unattributed"] == 4


def test_nobodies_are_few_at_a_time(
    node: Node, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound_module, "STRANGERS_PER_MINUTE_MAX", 0)
    server = serve()
    assert post(Target(url(server)), pushed(K.KEY, b"{}")) == "http_refused_busy"
    assert drops(node)["http_strangers"] == 1


# --- how much -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "limit"), [(TOKEN, FRAME_BYTES_MAX), ("", FIRST_CONTACT_FRAME_BYTES_MAX)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_its_limit_is_not_read(
    node: Node, serve: Serve, token: str, limit: int, *, chunked: bool
) -> None:
    server = serve()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=240)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body: Any = (bytes(65536) for _ in range(10**6)) if chunked else bytes(limit + 1)
    try:
        connection.request("POST", PATH, body, headers, encode_chunked=chunked)
        assert connection.getresponse().status == 413
    except OSError:  # closed in the middle of what nobody reads
        wait_until(lambda: drops(node).get("http_body_too_large"), lambda: drops(node))
    finally:
        connection.close()
    assert drops(node)["http_body_too_large"] == 1


def test_a_body_of_just_the_limit_is_read(serve: Serve) -> None:
    server = serve()
    assert post(Target(url(server), TOKEN), bytes(FRAME_BYTES_MAX)) == ""


def test_a_body_that_trickles_is_given_up(
    node: Node, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.make_app, "__kwdefaults__", {"body_s": 0.2})
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=240) as slow:
        slow.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Length: 1000\r\n\r\nx".encode()
        )
        assert b" 408 " in slow.recv(4096)
    assert drops(node)["http_body_slow"] == 1


def test_a_body_that_is_cut_is_counted(node: Node, serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=240) as cut:
        cut.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx".encode())
    wait_until(lambda: drops(node).get("http_body_cut") == 1)


def test_a_connection_that_asks_nothing_is_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "REQUEST_S", 0.2)
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=240) as silent:
        assert silent.recv(1) == b""


def test_bodies_at_a_time_are_bounded(
    node: Node, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "BODIES_MAX", 0)
    server = serve()
    assert post(Target(url(server), TOKEN), b"frame") == "http_refused_busy"
    assert drops(node)["http_busy"] == 1


def test_nothing_else_is_there(serve: Serve) -> None:
    server = serve()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=240)
    for method, path, status in (("GET", PATH, 405), ("POST", "/", 404)):
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert answer.getheader("server") is None
    connection.close()


def test_it_ends_and_leaves_no_thread(serve: Serve) -> None:
    server = serve()
    assert post(Target(url(server), TOKEN), b"frame") == ""
    server.stop()
    server.stop()
    assert "ciris-http" not in {thread.name for thread in threading.enumerate()}


def test_an_address_in_use_is_an_error_for_people(node: Node, serve: Serve) -> None:
    server = serve()
    inbound = HttpInbound(node.runtime, parse_credentials(b""))
    with pytest.raises(ConfigError, match="accept"):
        Server(inbound, Listen("192.0.2.1", server.port))


# --- TLS ------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[Path, Path, bytes]:
    """A self-signed one for this machine: its file, its key's, and its DER form."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, secret, made.public_bytes(serialization.Encoding.DER)


def test_a_client_certificate_makes_a_frame_its_registrys(
    node: Node, serve: Serve, tmp_path: Path
) -> None:
    cert, key, _ = certificate(tmp_path, "server")
    mine, my_key, der = certificate(tmp_path, "client")
    other, other_key, _ = certificate(tmp_path, "other")
    both = tmp_path / "clients.pem"
    both.write_bytes(mine.read_bytes() + other.read_bytes())
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    server = serve(
        f"accept {carol().key_id} cert {digest.finalize().hex()}",
        cert=cert, cert_key=key, client_ca=both,
    )  # fmt: skip
    https = url(server, "https")
    frame = pushed(K.FAMILY, sample(K.FAMILY, bob()))
    assert post(Target(https, cert=mine, cert_key=my_key, ca=cert), frame) == ""
    assert post(Target(https, cert=other, cert_key=other_key, ca=cert), frame) == (
        "http_refused_credential"
    )
    assert post(Target(https, ca=cert), frame) == "http_refused_credential", (
        "nobody's: no bootstrap kind"
    )
    assert post(Target(https), frame) == "http_tls", "whom nobody vouches for is not told a token"


def test_a_certificate_that_cannot_be_read_is_an_error_for_people(
    node: Node, tmp_path: Path
) -> None:
    inbound = HttpInbound(node.runtime, parse_credentials(b""))
    with pytest.raises(ConfigError, match="certificate"):
        Server(inbound, Listen(cert=tmp_path / "missing"))
    assert ssl.HAS_TLSv1_3
