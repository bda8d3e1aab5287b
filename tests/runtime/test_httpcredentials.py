"""The file of who may post frames here, and where this node posts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.httpcredentials import Credentials, load_credentials, parse_credentials

TOKEN = "t" * 32
DER = b"certificate"
TEXT = f"""
# registries
accept eu token {TOKEN}     # rotated in May
accept us cert {hashlib.sha256(DER).hexdigest()}
post eu https://eu.example/edge/inbound token {TOKEN}
post us http://127.0.0.1:8080/edge/inbound cert /etc/c.pem /etc/k.pem
""".encode()


def test_a_credential_says_whose_a_frame_is() -> None:
    found = parse_credentials(TEXT)
    assert found.by_token(TOKEN) == "eu"
    assert found.by_certificate(DER) == "us"
    assert found.by_token(TOKEN + "t") is None
    assert found.by_certificate(TOKEN.encode()) == "eu", "both are only hashes here"
    assert found.by_certificate(b"another") is None


def test_where_frames_go() -> None:
    targets = parse_credentials(TEXT).targets
    assert targets["eu"].url == "https://eu.example/edge/inbound"
    assert (targets["eu"].token, targets["eu"].cert) == (TOKEN, None)
    assert (targets["us"].token, targets["us"].cert) == ("", Path("/etc/c.pem"))


def test_secrets_are_in_no_text_of_it() -> None:
    assert TOKEN not in repr(parse_credentials(TEXT))


@pytest.mark.parametrize(
    "line",
    [
        "accept eu token short",
        f"accept eu token {'t' * 513}",
        "accept eu cert 00ff",
        "accept eu cert zz",
        f"post eu http://registry.example/edge/inbound token {TOKEN}",
        f"post eu ftp://127.0.0.1/ token {TOKEN}",
        f"post eu https:///x token {TOKEN}",
        "allow everybody",
    ],
)
def test_a_line_that_is_none_of_the_four_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        parse_credentials(f"\n{line}\n".encode())


def test_no_file_knows_nobody(tmp_path: Path) -> None:
    assert load_credentials(tmp_path / "missing") == Credentials()


def test_a_file_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "http-credentials"
    path.write_bytes(TEXT)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod"):
        load_credentials(path)
    path.chmod(0o600)
    assert load_credentials(path).by_token(TOKEN) == "eu"
