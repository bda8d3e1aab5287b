"""From configuration and credentials to registries that are posted to, and a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.config import EdgeSettings, parse_config
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.httpsettings import CREDENTIALS, listen_of, registry_settings
from ciris_mesh.runtime.inbound import Listen

TOKEN = "t" * 32
CONFIG = parse_config(
    b"[trust]\nregistries = eu " + b"ab" * 32 + b" bytes\n"
    b"[registry]\nedge = yes\naccept = 127.0.0.1:8443\nserver_ca = /etc/ca.pem\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def credentials(home: Home, text: str) -> None:
    path = home.path / CREDENTIALS
    path.write_text(text)
    path.chmod(0o600)


def test_registries_and_where_their_frames_go(home: Home) -> None:
    credentials(home, f"post eu https://eu.example/edge/inbound token {TOKEN}")
    settings = registry_settings(CONFIG, home)
    (peer,) = settings.peers
    assert (peer.key_id, peer.ed25519, peer.basis) == ("eu", b"\xab" * 32, "bytes")
    target = settings.targets["eu"]
    assert (target.url, target.token) == ("https://eu.example/edge/inbound", TOKEN)
    assert target.ca == Path("/etc/ca.pem")
    assert CONFIG.registry == EdgeSettings(
        edge=True, accept=("127.0.0.1", 8443), server_ca=Path("/etc/ca.pem")
    )


@pytest.mark.parametrize(
    "line",
    [f"accept us token {TOKEN}", f"post us https://us.example/edge/inbound token {TOKEN}"],
)
def test_who_is_no_registry_has_no_credential(home: Home, line: str) -> None:
    credentials(home, line)
    with pytest.raises(ConfigError, match="us is no registry here"):
        registry_settings(CONFIG, home)


def test_what_is_open_to_the_network_needs_a_certificate() -> None:
    assert listen_of(EdgeSettings(accept=("127.0.0.1", 1))) == Listen("127.0.0.1", 1)
    with pytest.raises(ConfigError, match="tls_cert"):
        listen_of(EdgeSettings(accept=("0.0.0.0", 1)))
    cert = Path("/etc/cert.pem")
    assert listen_of(EdgeSettings(accept=("0.0.0.0", 1), tls_cert=cert)).cert == cert


@pytest.mark.parametrize(
    "line",
    [
        "accept = 8443",
        "accept = :8443",
        "accept = 127.0.0.1:99999",
        "tls_cert = cert.pem",
        "edge = maybe",
    ],
)
def test_what_cannot_be_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="allowed is"):
        parse_config(f"[registry]\n{line}\n".encode())


@pytest.mark.parametrize(
    "words",
    ["eu", "eu zz", "eu " + "ab" * 31, "eu " + "ab" * 32 + " row bytes", "eu " + "ab" * 32 + " x"],
)
def test_a_registry_is_an_id_a_key_and_perhaps_a_basis(words: str) -> None:
    with pytest.raises(ConfigError, match="allowed is"):
        parse_config(f"[trust]\nregistries = {words}\n".encode())
    twice = "eu " + "ab" * 32
    with pytest.raises(ConfigError, match="allowed is"):
        parse_config(f"[trust]\nregistries = {twice}, {twice}\n".encode())
