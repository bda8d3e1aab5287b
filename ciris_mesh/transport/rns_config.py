"""Reading Reticulum's configuration, never writing it.

Reticulum ends the process without a word (`os._exit`) over a configuration it cannot parse and
over a port in use, and it writes a default configuration where there is none. So all three are
looked for first, and a person gets a line that says what to do.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from configobj import ConfigObj, ConfigObjError

from ciris_mesh.errors import ConfigError

_YES: Final = ("yes", "true", "on", "1")

#: Interface types that bind a TCP port of their own.
_LISTENERS: Final = ("TCPServerInterface", "BackboneInterface")

#: Where an rnsd of this machine listens unless configured otherwise.
_SHARED_NAME: Final = "default"
_SHARED_PORT: Final = 37428

#: A local rnsd accepts at once or is not there.
_PROBE_S: Final = 0.5


def find_reticulum_config(config_dir: Path | None) -> Path:
    """Find the directory of Reticulum's configuration, where Reticulum itself looks.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    home = Path.home()
    usual = (Path("/etc/reticulum"), home / ".config" / "reticulum", home / ".reticulum")
    candidates = (config_dir,) if config_dir is not None else usual
    for candidate in candidates:
        if (candidate / "config").is_file():
            _parse(candidate)
            return candidate
    raise ConfigError(
        f"no Reticulum configuration in {candidates[-1]}: run rnsd once to make one, "
        "or name another directory"
    )


def check_ports(config_dir: Path) -> None:
    """Make sure that Reticulum can have the ports it is configured to listen on.

    Raises:
        ConfigError: another program has one, and it is no rnsd that will be joined.
    """
    config = _parse(config_dir)
    if _shared_instance_runs(config.get("reticulum", {})):
        return
    for name, section in _enabled(config):
        host, port = _listens_on(section)
        if port is not None and _is_taken(host, port):
            raise ConfigError(
                f"port {port} of the Reticulum interface {name} is in use: stop the program that "
                f"has it, or change the port in {config_dir / 'config'}"
            )


def configured_interfaces(config_dir: Path) -> tuple[str, ...]:
    """The names of the interfaces a configuration switches on."""
    return tuple(name for name, _section in _enabled(_parse(config_dir)))


def _parse(config_dir: Path) -> ConfigObj:
    path = config_dir / "config"
    try:
        return ConfigObj(str(path))
    except (ConfigObjError, UnicodeDecodeError, OSError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"Reticulum's configuration {path} cannot be read: {line}") from error


def _enabled(config: ConfigObj) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, section in config.get("interfaces", {}).items():
        if isinstance(section, dict) and any(
            _is_yes(section.get(key)) for key in ("enabled", "interface_enabled")
        ):
            yield name, section


def _is_yes(value: object) -> bool:
    return str(value).lower() in _YES


def _listens_on(section: dict[str, Any]) -> tuple[str, int | None]:
    port = section.get("listen_port", section.get("port"))
    if section.get("type") not in _LISTENERS or not str(port).isdecimal():
        return "", None
    return str(section.get("listen_ip", "")), int(str(port))


def _is_taken(host: str, port: int) -> bool:
    """Try to bind as Reticulum will; only "in use" counts, the rest is Reticulum's to tell."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _shared_instance_runs(section: dict[str, Any]) -> bool:
    if not _is_yes(section.get("share_instance", "yes")):
        return False
    name = str(section.get("instance_name", _SHARED_NAME))
    port = str(section.get("shared_instance_port", _SHARED_PORT))
    by_name = _connects(socket.AF_UNIX, f"\0rns/{name}")
    return by_name or (port.isdecimal() and _connects(socket.AF_INET, ("127.0.0.1", int(port))))


def _connects(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.settimeout(_PROBE_S)
        return probe.connect_ex(address) == 0
