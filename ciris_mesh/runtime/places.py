"""Where a node's directory is, and where a running one listens: paths, and nothing loaded for them.

A monitor that asks for `status --json` every few seconds needs this and no more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ciris_mesh.errors import ConfigError

#: What makes a directory a home.
CONFIG: Final = "config"
FEDERATION_KEY: Final = "federation.key"
#: `sun_path` holds 104 bytes on the BSDs and 108 on Linux, one of them for the final zero.
SOCKET_PATH_BYTES_MAX: Final = 99

_SYSTEM_HOME: Final = Path("/etc/ciris-mesh")


def home_path(explicit: Path | None = None, *, env: Mapping[str, str] = os.environ) -> Path:
    """The directory to use: `explicit`, else the first usual place that holds `config`.

    When none does, one that lost it and still holds the key; else the last place: the one `init`
    creates.
    """
    if explicit is not None:
        return Path(os.path.abspath(explicit.expanduser()))
    places = usual_places(env)
    by_config = (path for path in places if is_file(path / CONFIG))
    by_key = (path for path in places if is_file(path / FEDERATION_KEY))
    return next(by_config, next(by_key, places[-1]))


def usual_places(env: Mapping[str, str] = os.environ) -> tuple[Path, Path, Path]:
    """Where a home is looked for, in order: the convention of the Reticulum programs."""
    user = Path(env.get("HOME") or Path.home())
    return _SYSTEM_HOME, user / ".config" / "ciris-mesh", user / ".ciris-mesh"


def is_file(path: Path) -> bool:
    """True when there is a file this user can see."""
    try:
        return path.is_file()
    except OSError:  # a directory this user may not look into holds nothing for this user
        return False


def socket_path(
    home: Path, *, for_group: bool = False, env: Mapping[str, str] = os.environ
) -> Path:
    """Where a node of this home listens for control.

    Args:
        for_group: other users shall reach it, so not in the private runtime directory.

    Raises:
        ConfigError: every place has a path too long for a socket.
    """
    places = [path for path in _socket_paths(home, env) if _fits(path)]
    if for_group:
        places = [path for path in places if path.parent == home]
    if not places:
        raise ConfigError(
            f"{home} is too deep for a control socket (its path may have "
            f"{SOCKET_PATH_BYTES_MAX} bytes); set XDG_RUNTIME_DIR or move the home"
        )
    return places[0]


def find_socket(home: Path, env: Mapping[str, str] = os.environ) -> Path:
    """Where to call a node of this home: the place that has a socket, else the usual one.

    The node may have been started with another environment than the one asking.

    Raises:
        ConfigError: as `socket_path`.
    """
    for path in _socket_paths(home, env):
        try:
            if _fits(path) and stat.S_ISSOCK(path.stat().st_mode):
                return path
        except OSError:
            continue
    return socket_path(home, env=env)


def _socket_paths(home: Path, env: Mapping[str, str]) -> list[Path]:
    paths = [home / "control.sock"]
    runtime = _runtime_directory(env)
    if runtime is not None:
        from hashlib import sha256

        # One user may have several homes, so the name says which.
        digest = sha256(os.fsencode(home.resolve())).hexdigest()[:8]
        paths.insert(0, runtime / f"ciris-mesh-{digest}.sock")
    return paths


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX


def _runtime_directory(env: Mapping[str, str]) -> Path | None:
    """`$XDG_RUNTIME_DIR` when it is what its specification demands: absolute, ours, private."""
    path = Path(env.get("XDG_RUNTIME_DIR") or ".")
    if not path.is_absolute():
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    is_private = not found.st_mode & 0o077 and found.st_uid == os.geteuid()
    return path if is_private and stat.S_ISDIR(found.st_mode) else None
