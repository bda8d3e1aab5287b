"""Configurations Reticulum cannot use: one line each, and nothing written."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.localnodes import free_port
from ciris_mesh.transport.rns_config import (
    check_ports,
    configured_interfaces,
    find_reticulum_config,
    reticulum_errors,
)


def write(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config").write_text(text)
    return directory


def server(port: int, *, enabled: str = "Yes", share: str = "No", name: str = "none") -> str:
    return (
        f"[reticulum]\n  share_instance = {share}\n  instance_name = {name}\n"
        f"  shared_instance_port = 1\n[interfaces]\n  [[hub]]\n    type = TCPServerInterface\n"
        f"    enabled = {enabled}\n    listen_ip = 127.0.0.1\n    listen_port = {port}\n"
    )


@pytest.fixture
def taken() -> Iterator[int]:
    """A port another program listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        yield other.getsockname()[1]


def test_a_named_directory_is_used(tmp_path: Path) -> None:
    directory = write(tmp_path / "rns", "[reticulum]\n")
    assert find_reticulum_config(directory) == directory


def test_the_first_usual_place_that_has_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config").mkdir()
    write(tmp_path / ".reticulum", "[reticulum]\n")
    assert find_reticulum_config(None) in (tmp_path / ".reticulum", Path("/etc/reticulum"))


def test_none_is_an_error_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Reticulum configuration") as caught:
        find_reticulum_config(tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["[reticulum\nthis is", "[a]\n[a]\n", "x = 'y\n"])
def test_one_that_cannot_be_parsed_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        find_reticulum_config(write(tmp_path / "rns", text))
    assert "\n" not in str(caught.value)


def test_one_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"[reticulum]\n\xff\xfe\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_reticulum_config(tmp_path)


def test_a_port_in_use_is_named_with_its_interface(tmp_path: Path, taken: int) -> None:
    with pytest.raises(ConfigError, match=f"port {taken} of the Reticulum interface hub"):
        check_ports(write(tmp_path / "rns", server(taken)))


def test_a_port_of_an_interface_that_is_off_does_not_matter(tmp_path: Path, taken: int) -> None:
    check_ports(write(tmp_path / "rns", server(taken, enabled="No")))


def test_a_free_port_is_left_free(tmp_path: Path, taken: int) -> None:
    port = free_port()  # of those that nobody is given who asks for any
    check_ports(write(tmp_path / "rns", server(port)))
    check_ports(write(tmp_path / "rns", server(port)))


def test_a_port_of_the_rnsd_that_will_be_joined_does_not_matter(tmp_path: Path, taken: int) -> None:
    name = f"ciris-mesh-test-{taken}"
    directory = write(tmp_path / "rns", server(taken, share="Yes", name=name))
    with pytest.raises(ConfigError):
        check_ports(directory)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as rnsd:
        rnsd.bind(f"\0rns/{name}")
        rnsd.listen()
        check_ports(directory)


def test_the_interfaces_that_are_switched_on_are_known(tmp_path: Path) -> None:
    text = (
        "[interfaces]\n[[a]]\nenabled = yes\n[[b]]\nenabled = no\n[[c]]\n"
        "interface_enabled = True\n[[d]]\ntype = TCPClientInterface\n"
    )
    assert configured_interfaces(write(tmp_path / "rns", text)) == ("a", "c")
    assert configured_interfaces(write(tmp_path / "rns", "[logging]\n")) == ()


def interface(**settings: object) -> str:
    lines = "".join(f"    {name} = {value}\n" for name, value in settings.items())
    return (
        f"[reticulum]\n  share_instance = No\n[interfaces]\n  [[hub]]\n    enabled = yes\n{lines}"
    )


def client(port: object) -> str:
    return interface(type="TCPClientInterface", target_host="127.0.0.1", target_port=port)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (client("four"), "target_port = four"),
        (client("-1"), "target_port = -1"),
        (client("0"), "target_port = 0"),
        (client("65536"), "target_port = 65536"),
        (client("9" * 5000), "target_port = 999"),
        (server(70_000), "listen_port = 70000"),
        (interface(type="BackboneInterface", port="x"), "port = x"),
        (interface(type="UDPInterface", forward_port="1.5"), "forward_port = 1.5"),
        (interface(type="TCPServer", listen_port=4242), "type = TCPServer of"),
        (interface(listen_port=4242), "type =  of"),
        (server(4242).replace("127.0.0.1", "999.1.2.3"), "listen_ip = 999.1.2.3"),
        (server(4242).replace("127.0.0.1", "192.0.2.77"), "listen_ip = 192.0.2.77"),
    ],
)
def test_a_setting_reticulum_would_end_over_is_named_with_interface_and_file(
    tmp_path: Path, text: str, said: str
) -> None:
    directory = write(tmp_path / "rns", text)
    with pytest.raises(ConfigError) as caught:
        check_ports(directory)
    line = str(caught.value)
    assert line.startswith(said)
    assert "the Reticulum interface hub" in line
    assert str(directory / "config") in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "text",
    [
        client("65535"),
        client("x").replace("enabled = yes", "enabled = no"),
        interface(type="SerialInterface", port="/dev/ttyUSB0"),
        interface(type="AutoInterface"),
        interface(type="TCPServerInterface", listen_ip="0.0.0.0", listen_port=0xFFFE),
        interface(type="Homemade", port="x"),
    ],
)
def test_what_reticulum_can_use_passes(tmp_path: Path, text: str) -> None:
    directory = write(tmp_path / "rns", text)
    (directory / "interfaces").mkdir()
    (directory / "interfaces" / "Homemade.py").touch()
    check_ports(directory)


@pytest.mark.parametrize(
    "error", [OverflowError("bind(): port must be 0-65535."), socket.gaierror(-2, "not known")]
)
def test_what_escapes_from_reticulum_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(ConfigError, match=r"Reticulum does not start with .*/rns: ") as caught,
        reticulum_errors(Path("/rns")),
    ):
        raise error
    assert "\n" not in str(caught.value)
    assert type(error).__name__ in str(caught.value)


def test_errors_of_this_package_pass_unchanged() -> None:
    told = ConfigError("told")
    with pytest.raises(ConfigError) as caught, reticulum_errors(None):
        raise told
    assert caught.value is told
