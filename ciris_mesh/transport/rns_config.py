"""Reading Reticulum's configuration, never writing it.

Reticulum ends the process without a word (`os._exit`) over a configuration it cannot parse, over
a port in use and over settings of an interface that make no sense, and it writes a default
configuration where there is none. So all of these are looked for first, and a person gets a line
that says what to do.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from configobj import ConfigObj, ConfigObjError

from ciris_mesh.errors import ConfigError, MeshError

_YES: Final = ("yes", "true", "on", "1")

#: Interface types that bind a TCP port of their own.
_LISTENERS: Final = ("TCPServerInterface", "BackboneInterface")

#: What Reticulum 1.x brings along; others are files in the directory `interfaces` beside its
#: configuration.
TYPES: Final = (
    "AutoInterface",
    "AX25KISSInterface",
    "BackboneClientInterface",
    "BackboneInterface",
    "I2PInterface",
    "KISSInterface",
    "PipeInterface",
    "RNodeInterface",
    "RNodeMultiInterface",
    "SerialInterface",
    "TCPClientInterface",
    "TCPServerInterface",
    "UDPInterface",
    "WeaveInterface",
)
#: Of these types the settings below are numbers of TCP or UDP ports; elsewhere `port` is a device.
_IP_TYPES: Final = tuple(name for name in TYPES if name.startswith(("Backbone", "TCP", "UDP")))
_PORT_SETTINGS: Final = ("port", "listen_port", "target_port", "forward_port")
_PORT_MAX: Final = 65_535

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
    candidates = (config_dir,) if config_dir is not None else reticulum_places()
    for candidate in candidates:
        if os.path.isfile(candidate / "config"):  # False where this user may not look
            parse_config(candidate)
            return candidate
    raise ConfigError(
        f"no Reticulum configuration in {candidates[-1]}: run rnsd once to make one, "
        "or name another directory"
    )


def reticulum_places() -> tuple[Path, ...]:
    """Where Reticulum looks for its directory, in its order; it makes the last one."""
    home = Path.home()
    return Path("/etc/reticulum"), home / ".config" / "reticulum", home / ".reticulum"


def check_ports(config_dir: Path) -> None:
    """Make sure that Reticulum can have the ports it is configured to listen on.

    Raises:
        ConfigError: another program has one, and it is no rnsd that will be joined; or a setting
            of an interface is none Reticulum could use.
    """
    config = parse_config(config_dir)
    if _shared_instance_runs(config.get("reticulum", {})):
        return
    for name, section in _enabled(config):
        _check_settings(name, section, config_dir)
        host, port = _listens_on(section)
        if port is not None and _is_taken(host, port):
            raise ConfigError(
                f"port {port} of the Reticulum interface {name} is in use: stop the program that "
                f"has it, or change the port in {config_dir / 'config'}"
            )


def configured_interfaces(config_dir: Path) -> tuple[str, ...]:
    """The names of the interfaces a configuration switches on."""
    return tuple(name for name, _section in _enabled(parse_config(config_dir)))


@contextmanager
def reticulum_errors(config_dir: Path | None) -> Iterator[None]:
    """Turn what escapes from Reticulum's start into a line.

    Raises:
        ConfigError: anything but an error of this package went wrong inside.
    """
    try:
        yield
    except MeshError:
        raise
    except Exception as error:
        where = "" if config_dir is None else f" with the configuration in {config_dir}"
        said = " ".join(str(error).split()) or "no reason given"
        raise ConfigError(
            f"Reticulum does not start{where}: {type(error).__name__}: {said}; "
            "`rnsd -v` shows which interface it is"
        ) from error


def _check_settings(name: str, section: dict[str, Any], config_dir: Path) -> None:
    """Refuse settings over which Reticulum would end the process."""
    place = f"in {config_dir / 'config'}"
    type_ = str(section.get("type", ""))
    if type_ not in TYPES and not (config_dir / "interfaces" / f"{type_}.py").is_file():
        raise ConfigError(
            f"type = {type_} of the Reticulum interface {name} {place} is unknown; "
            f"one of: {', '.join(TYPES)}"
        )
    if type_ not in _IP_TYPES:
        return
    for setting in _PORT_SETTINGS:
        text = str(section.get(setting, "1")).strip()
        is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(_PORT_MAX))
        if not is_number or not 0 < int(text) <= _PORT_MAX:
            raise ConfigError(
                f"{setting} = {text[:40]} of the Reticulum interface {name} {place} is no port: "
                f"write a number from 1 to {_PORT_MAX}"
            )
    host = section.get("listen_ip")
    if host is not None and not _is_local(str(host)):
        raise ConfigError(
            f"listen_ip = {str(host)[:80]} of the Reticulum interface {name} {place} is no address "
            "of this machine; 0.0.0.0 stands for all of them"
        )


def _is_local(host: str) -> bool:
    """True when a socket can be bound there. Looks the name up, as Reticulum will."""
    try:
        found = socket.getaddrinfo(host, 0, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return False
    for family, kind, protocol, _, address in found:
        with closing(socket.socket(family, kind, protocol)) as probe:
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EINVAL):
                    return True
            else:
                return True
    return False


def interface_types(config_dir: Path) -> frozenset[str]:
    """The types of interfaces there are: Reticulum's, and the modules beside a configuration."""
    modules = (config_dir / "interfaces").glob("*.py")
    return frozenset((*TYPES, *(path.stem for path in modules)))


def parse_config(config_dir: Path) -> ConfigObj:
    """Read Reticulum's configuration in a directory.

    Raises:
        ConfigError: it cannot be read.
    """
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
