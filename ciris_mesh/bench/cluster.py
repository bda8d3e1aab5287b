"""A PostgreSQL server for a while: its own folder, its own socket, gone afterwards.

Made of the binaries the system has. PostgreSQL refuses to run as root, so root runs it as the
user `postgres`. Nobody else can enter its folder, so no password is needed, and it does not
listen on the network.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from ciris_mesh.errors import OperatorError

#: Where Debian and its children keep the server's programs, which are not on the path.
_DEBIAN: Final = Path("/usr/lib/postgresql")

#: Making and starting one takes two seconds of a core; a loaded machine takes ten times that.
START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 30.0

#: Who may enter, by a socket in a folder of mode 0700.
USER: Final = "ciris"

_SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "off",  # what this holds ends with it; a killed server still loses nothing
    "max_connections": "200",
    "shared_buffers": "32MB",
    "logging_collector": "off",
}


class NoServer(OperatorError):
    """PostgreSQL's programs are not on this machine."""


class Cluster:
    """A server in a folder of its own. Use as a context manager.

    Args:
        settings: added to those of `postgresql.conf`.

    Raises:
        NoServer: the programs are missing.
    """

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self._bin = server_programs()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._numbers = itertools.count(1)
        self.folder = Path(tempfile.mkdtemp(prefix="ciris-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = [
                "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
            ]  # fmt: skip

    def __enter__(self) -> Self:
        try:
            self._run(
                "initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8",
                "--locale=C", "--no-sync",
            )  # fmt: skip
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop(crash=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def url(self, database: str) -> str:
        """Where to reach a database of this server."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """Make a database. Returns its URL."""
        import psycopg
        from psycopg.sql import SQL, Identifier

        name = f"db{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(
                SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template))
            )
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        import psycopg
        from psycopg.sql import SQL, Identifier

        name = url.rpartition("?")[0].rpartition("/")[2]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def start(self) -> None:
        """Start the server, and wait until it answers. It ends with the thread that starts it.

        Raises:
            OperatorError: it does not; the text has its last words.
        """
        assert self._process is None, "it runs"
        words = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [str(self._bin / "postgres"), "-D", self._data, "-k", str(self.folder), *words]
        lifeline = ["setpriv"] if not self._as_user else self._as_user
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*lifeline, "--pdeathsig", "QUIT", *command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                log_text = (self.folder / "log").read_text(errors="replace")
                raise OperatorError(f"PostgreSQL did not start: {log_text[-400:]}")
            time.sleep(0.05)

    def stop(self, *, crash: bool = False) -> None:
        """End the server: at once, connections and all, and with `crash` without a last word."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._bin / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd="/", env=_environment(), check=False,
            timeout=START_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode:
            raise OperatorError(f"{program} failed: {_tail(done.stderr.splitlines())}")


def server_programs() -> Path:
    """The folder with `initdb` and `postgres`, of the newest version that is installed.

    Raises:
        NoServer: there is none.
    """
    on_path = shutil.which("initdb")
    folders = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    folders.sort(key=lambda path: [int(part) for part in path.parent.name.split(".")])
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    if not folders:
        raise NoServer("PostgreSQL is not installed here; run: apt-get install postgresql")
    return folders[-1]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _tail(lines: Sequence[str]) -> str:
    return " ".join(line.strip() for line in lines[-3:])
