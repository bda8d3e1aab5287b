"""Talking to a PostgreSQL server: connections, what its errors mean, what it cannot hold.

psycopg is loaded when a connection is made: most nodes never do.

Text there has no zero byte, and an index no entry over 2.7 kB; records may have both. So text is
escaped (`escaped`, undone when read), and names that are only looked up are hashed when long.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar
from urllib.parse import urlsplit

from ciris_mesh.directory.sql_inserts import Sql
from ciris_mesh.errors import DirectoryError, LifecycleError, StoreUnreachable

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Sql]

#: The schema everything of ours lives in.
SCHEMA: Final = "ciris_mesh"

URL_SCHEMES: Final = ("postgresql", "postgres")

#: A server that is there answers within a round trip or two.
CONNECT_TIMEOUT_S: Final = 5

#: A server's machine that died is noticed after a quarter of a minute instead of two hours.
_KEEPALIVE_IDLE_S: Final = 10
_KEEPALIVE_INTERVAL_S: Final = 5
_KEEPALIVE_COUNT: Final = 2

#: A statement of ours takes milliseconds; one that takes a minute will not end well.
STATEMENT_TIMEOUT_MS: Final = 60_000

#: First and longest wait between two attempts to reach the server again.
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 1.0

#: How long a caller waits for a server that restarts. One that was gone for longer is tried once
#: for each caller, so that nothing piles up behind it.
PATIENCE_S: Final = 10.0

#: Errors that pass: connection, rollback by the server, too many connections, shutdown, time out.
#: Without any number the server was not reached at all.
_PASSING: Final = ("08", "25P03", "40", "53300", "57")

#: Names longer than this are hashed. A key in an index may have 2,704 bytes, a character up to 4.
_NAME_CHARS_MAX: Final = 500

_ESCAPE: Final = "\x1b"
_NOT_TEXT: Final = re.compile("[\x00\x1b]")
_ESCAPED: Final = re.compile("\x1b([01])")
_BACK: Final = {"0": "\x00", "1": _ESCAPE}

_T = TypeVar("_T")


def is_url(text: str) -> bool:
    """Does this name a PostgreSQL database, and not a file?"""
    return text.partition("://")[0] in URL_SCHEMES and "://" in text


def shown(url: str) -> str:
    """The URL without its password, for people and logs."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    host = parts.netloc.rpartition("@")
    user = host[0].partition(":")[0]
    query = re.sub(r"(?i)(password=)[^&]*", r"\1...", parts.query)
    netloc = f"{user}@{host[2]}" if user else host[2]
    return f"{parts.scheme}://{netloc}{parts.path}{'?' + query if query else ''}"


def connect(url: str) -> Connection:
    """One connection in autocommit mode, names found in our schema first.

    Raises:
        DirectoryError: psycopg is not installed, the URL is none, or the server refuses us.
        StoreUnreachable: no server answers.
    """
    try:
        import psycopg
    except ImportError:
        raise DirectoryError(
            f"{shown(url)} needs psycopg; install it with: pip install 'ciris-mesh[postgres]'"
        ) from None
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise DirectoryError(
            f"{shown(url)} is no database's URL ({_first_line(error)}); "
            "write it like postgresql://user@host/name"
        ) from None
    with translated(url):
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="ciris-mesh",
            options=(
                f"-c search_path={SCHEMA} -c client_min_messages=warning "
                # Whoever waited for the head must see what was committed meanwhile; a database may
                # have another default, under which writers would fail instead of queueing.
                r"-c default_transaction_isolation=read\ committed "
                f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout=30000 "
                "-c idle_in_transaction_session_timeout=60000"
            ),
            keepalives_idle=_KEEPALIVE_IDLE_S,
            keepalives_interval=_KEEPALIVE_INTERVAL_S,
            keepalives_count=_KEEPALIVE_COUNT,
        )


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn errors of the server and the way to it into one line that says what to do.

    Raises:
        StoreUnreachable: the server is gone, or going; trying again may help.
        DirectoryError: anything else.
        LifecycleError: the store was closed meanwhile.
    """
    import psycopg

    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise DirectoryError(
            f"{shown(url)}: {_first_line(error)}; let its owner grant this user the database"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise _gone(url, error) from error
    except psycopg.Error as error:
        raise DirectoryError(f"{shown(url)}: {_first_line(error)}") from error


def _gone(url: str, error: psycopg.Error) -> DirectoryError:
    import psycopg

    state = error.sqlstate or ""
    text = _first_line(error)
    if isinstance(error, psycopg.errors.DiskFull):
        return DirectoryError(f"no room left for {shown(url)}; free some space on its server")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return StoreUnreachable(
            f"another process holds {shown(url)} and does not let go; look for one that is stuck"
        )
    if state.startswith(("28", "3D", "3F")) or "does not exist" in text:
        return DirectoryError(f"{text}; create the database and its user, or correct the URL")
    if "authentication failed" in text or "no password supplied" in text:
        return DirectoryError(f"{text}; correct user and password of {shown(url)}")
    if state and not state.startswith(_PASSING):
        return DirectoryError(f"{shown(url)}: {text}")
    return StoreUnreachable(f"{shown(url)} does not answer ({text}); is the server running?")


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


# -- statements and values -----------------------------------------------------------------------


@lru_cache(512)
def statement(sql: str) -> LiteralString:
    """The same statement with psycopg's marks. Texts are ours, so there are few."""
    return sql.replace("%", "%%").replace("?", "%s")


def bound(values: Sql) -> Sql:
    """Values as the server takes them."""
    return tuple(map(_bound, values))


def _bound(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    return int(value) if isinstance(value, IntEnum) else value


def escaped(text: str) -> str:
    """Text without zero bytes, and back by `plain`."""
    if not _NOT_TEXT.search(text):
        return text
    return text.replace(_ESCAPE, f"{_ESCAPE}1").replace("\x00", f"{_ESCAPE}0")


def plain(rows: Iterable[Sql]) -> Iterator[Sql]:
    """Rows as they were written."""
    for row in rows:
        if any(isinstance(value, str) and _ESCAPE in value for value in row):
            yield tuple(
                _ESCAPED.sub(lambda found: _BACK[found[1]], value)
                if isinstance(value, str)
                else value
                for value in row
            )
        else:
            yield row


def short_name(name: str) -> str:
    """A name that fits into an index: itself, or its hash, which no name is."""
    if len(name) <= _NAME_CHARS_MAX:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"\x00{digest}"  # no name begins so: they begin with a word and a colon


# -- patience ------------------------------------------------------------------------------------


class Reach:
    """Whether the server answers, and how long a caller waits for it. Thread-safe by being small.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lost_s: float | None = None
        self._why = ""
        self.is_closing = False
        self.losses = 0

    @property
    def trouble(self) -> tuple[str, float] | None:
        """What is wrong and for how many seconds; None while the server answers."""
        lost_s = self._lost_s
        return None if lost_s is None else (self._why, self._clock() - lost_s)

    def patiently(self, attempt: Callable[[], _T]) -> _T:
        """`attempt`, again with growing pauses while the server is gone, PATIENCE_S at most.

        Raises:
            StoreUnreachable: it stayed away.
            LifecycleError: closing.
        """
        pause_s = BACKOFF_MIN_S
        while True:
            try:
                result = attempt()
            except StoreUnreachable as error:
                self._note_lost(str(error))
                trouble = self.trouble
                if self.is_closing or trouble is None or trouble[1] >= PATIENCE_S:
                    raise
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, BACKOFF_MAX_S)
            else:
                self._lost_s = None
                return result

    def _note_lost(self, why: str) -> None:
        if self._lost_s is None:
            self._lost_s = self._clock()
            self.losses += 1
        self._why = why


def closed() -> LifecycleError:
    """What a closed store answers."""
    return LifecycleError("the directory is closed")
