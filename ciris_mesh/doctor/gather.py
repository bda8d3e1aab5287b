"""Gathers what `doctor` judges. Reads only, opens no port, and never waits long for anything."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

from ciris_mesh import __version__
from ciris_mesh.directory.dbfile import check_is_ours
from ciris_mesh.doctor.facts import (
    DatabaseFacts,
    DiskFacts,
    Facts,
    FileFacts,
    NodeFacts,
    ReticulumFacts,
)
from ciris_mesh.errors import KeyFileError, MeshError
from ciris_mesh.radio.traps import RADIOS
from ciris_mesh.radio.traps import check as find_traps
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.clock import SystemClock, clock_of
from ciris_mesh.runtime.config import Config, load_config
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.timesource import read_time_facts
from ciris_mesh.transport.rns_config import (
    find_reticulum_config,
    interface_types,
    parse_config,
    reticulum_places,
)
from ciris_mesh.transport.rns_shared import shared_instance
from ciris_mesh.transport.serialports import look_at, user_name

#: All of `doctor` takes less than 5 s; a large store is looked at for this long.
DATABASE_S: Final = 2.0
#: A node that does not answer by then is one of the findings.
ASK_S: Final = 1.5
_YES: Final = ("yes", "true", "on", "1")
_STEPS_BETWEEN_LOOKS: Final = 10_000


def gather(home: Home, rns_config_dir: Path | None = None) -> Facts:
    """Look at everything once."""
    config, config_problem = _config(home)
    clock = clock_of(home) if config is not None else SystemClock()
    place = rns_config_dir or (config.reticulum.config_dir if config is not None else None)
    return Facts(
        version=__version__,
        user=user_name(os.geteuid()),
        home=str(home.path),
        home_problem=_home_problem(home),
        config_problem=config_problem,
        warnings=() if config is None else config.warnings,
        files=_files(home),
        clock=read_time_facts(clock.wall_ms()),
        clock_source=clock.source(),
        clock_assumed_by=clock.assumed_by(),
        disk=_disk(home),
        database=_database(home, config),
        reticulum=_reticulum(place),
        node=_node(home),
        python=sys.executable or "python3",
    )


def _home_problem(home: Home) -> str:
    try:
        home.require()
    except MeshError as error:
        return str(error)
    return ""


def _config(home: Home) -> tuple[Config | None, str]:
    if not home.exists:
        return None, ""
    try:
        return load_config(home.config), ""
    except MeshError as error:
        return None, str(error)


def _files(home: Home) -> tuple[FileFacts, ...]:
    if not home.exists:
        return ()
    secrets = (home.identity, home.federation_key)
    others = (home.path, home.config, home.peers, home.storage, home.database)
    return (
        *(_file(path, secret=True, needed=True) for path in secrets),
        *(_file(path, secret=False, needed=False) for path in others),
        *_damaged_keys(home),
    )


def _file(path: Path, *, secret: bool, needed: bool) -> FileFacts:
    try:
        mode = path.stat().st_mode & 0o7777
    except FileNotFoundError:
        problem = f"{path} is missing; restore it from your backup" if needed else ""
        return FileFacts(str(path), secret, None, problem)
    except OSError as error:
        return FileFacts(str(path), secret, None, f"cannot look at {path}: {error.strerror}")
    readable = os.access(path, os.R_OK, effective_ids=True)
    problem = "" if readable else f"{path} cannot be read by this user"
    return FileFacts(str(path), secret, mode, problem)


def _damaged_keys(home: Home) -> list[FileFacts]:
    """A key file that is there, private, and none: says what the node would say at its start."""
    from ciris_mesh.runtime.keyfiles import read_key_file

    found: list[FileFacts] = []
    for path, read in (
        (home.federation_key, lambda: read_key_file(home.federation_key)),
        (home.identity, home.identity_bytes),
    ):
        try:
            if path.exists() and not path.stat().st_mode & 0o077:
                read()
        except KeyFileError as error:
            found.append(FileFacts(str(path), secret=True, mode=None, problem=str(error)))
        except OSError:
            continue  # said above
    return found


def _disk(home: Home) -> DiskFacts:
    place = next((path for path in (home.storage, home.path) if os.path.isdir(path)), Path("/"))
    try:
        found = os.statvfs(place)
    except OSError as error:
        return DiskFacts(str(place), problem=f"cannot look at {place}: {error.strerror}")
    problem = ""
    read_only = bool(found.f_flag & os.ST_RDONLY)
    if home.exists and not read_only and not os.access(place, os.W_OK, effective_ids=True):
        problem = f"{place} cannot be written by this user"
    return DiskFacts(
        str(place),
        free_bytes=found.f_bavail * found.f_frsize,
        total_bytes=found.f_blocks * found.f_frsize,
        free_inodes=found.f_favail if found.f_files else None,
        read_only=read_only,
        problem=problem,
    )


def _database(home: Home, config: Config | None) -> DatabaseFacts:
    if config is not None and config.store.url:
        return _server(config.store.url)
    path = home.database
    try:
        size_bytes = path.stat().st_size
    except OSError:
        return DatabaseFacts(str(path), exists=False)
    backups = sorted(
        path.parent.glob(f"{path.name}.backup-*"), key=lambda each: each.stat().st_mtime
    )
    backup = str(backups[-1]) if backups else ""
    problem, looked_at_all = _quick_check(path)
    return DatabaseFacts(
        str(path),
        exists=True,
        size_bytes=size_bytes,
        problem=problem,
        looked_at_all=looked_at_all,
        backup=backup,
    )


def _server(url: str) -> DatabaseFacts:
    """A database in PostgreSQL: does it answer, and is it ours? Its rows are `db check`'s."""
    from ciris_mesh.directory.pg_connect import shown
    from ciris_mesh.directory.pg_schema import migrations_done

    try:
        done = migrations_done(url)
    except MeshError as error:
        return DatabaseFacts(shown(url), exists=True, problem=str(error), is_server=True)
    return DatabaseFacts(shown(url), exists=done > 0, is_server=True)


def _quick_check(path: Path) -> tuple[str, bool]:
    """(what is wrong, was all of it looked at). A node may have it open: this only reads."""
    try:
        check_is_ours(path)
    except MeshError as error:
        return str(error), True
    deadline_s = time.monotonic() + DATABASE_S
    over = False

    def look() -> int:
        nonlocal over
        over = time.monotonic() > deadline_s
        return over

    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            connection.set_progress_handler(look, _STEPS_BETWEEN_LOOKS)
            rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        if over:
            return "", False
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY):
            return "", False  # permissions and disks have checks of their own
        return f"{path} is damaged ({error})", True
    said = str(rows[0][0]) if rows else "ok"
    return ("" if said == "ok" else f"{path} is damaged ({said.splitlines()[-1][:80]})"), True


def _reticulum(config_dir: Path | None) -> ReticulumFacts:
    try:
        installed = package_version("rns")
    except PackageNotFoundError:
        installed = ""
    try:
        place = find_reticulum_config(config_dir)
        config = parse_config(place)
    except MeshError as error:
        unreadable = [each for each in _usual(config_dir) if os.path.isfile(each / "config")][:1]
        config_file = "".join(str(each / "config") for each in unreadable)
        return ReticulumFacts(config=config_file, problem=str(error), version=installed)
    section = config.get("reticulum", {})
    return ReticulumFacts(
        config=str(place / "config"),
        version=installed,
        transport=str(section.get("enable_transport", "")).lower() in _YES,
        traps=find_traps(
            config,
            known_types=interface_types(place),
            port_exists=lambda port: Path(port).exists(),
        ),
        ports=look_at(_ports(config)),
        shared=shared_instance(place, config),
    )


def _usual(config_dir: Path | None) -> tuple[Path, ...]:
    return (config_dir,) if config_dir is not None else reticulum_places()


def _ports(config: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    sections = config.get("interfaces", {})
    for section in sections.values() if isinstance(sections, Mapping) else ():
        if not isinstance(section, Mapping):
            continue
        is_on = any(
            str(section.get(key, "")).lower() in _YES for key in ("enabled", "interface_enabled")
        )
        port = str(section.get("port", ""))
        is_serial = section.get("type") in (*RADIOS, "SerialInterface")
        if is_on and is_serial and port.startswith("/"):
            found.append(port)
    return found


def _node(home: Home) -> NodeFacts:
    if not home.exists:
        return NodeFacts(why="there is no node here")
    pid = _pid(home)
    try:
        socket = home.find_socket()
        status = call(socket, "status", timeout_s=ASK_S)
        budget = call(socket, "budget", timeout_s=ASK_S)
    except MeshError as error:
        return NodeFacts(pid, why=str(error))
    return NodeFacts(pid, status=status, budget=budget)


def _pid(home: Home) -> int:
    try:
        text = home.lock.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
