"""Strangers who may not knock, and, where it is so wished, the only ones who may.

Two files in the home, `allowed` and `ignored`, as lxmd has them: a line for each, an address (32
hex digits) or a key id; # begins a comment. Configured peers always come in: whoever is to be kept
out is first removed as a peer. An empty `allowed` lets everybody knock.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.runtime.files import (
    UNALTERED,
    read_if_there,
    why,
    write_atomic,
)
from ciris_mesh.runtime.keyids import is_key_id

#: More names than anybody keeps by hand.
NAMES_MAX: Final = 10_000
#: As many of the longest key ids.
LIST_BYTES_MAX: Final = 4 << 20
ALLOWED: Final = "allowed"
IGNORED: Final = "ignored"
LISTS: Final = (ALLOWED, IGNORED)

_ADDRESS: Final = re.compile(r"[0-9a-fA-F]{32}")
_HEADER: Final = "# One address or key id a line; written by `ciris-mesh peer`, or by hand.\n"


class Door:
    """Both lists. Thread-safe; a change is on disk before the call returns.

    Args:
        home: where the two files are; None keeps them in memory.
    """

    def __init__(self, home: Path | None = None, **names: Iterable[str]) -> None:
        self._home = home
        self._lock = threading.Lock()  # guards the lists and the order of writes
        self._lists = {which: frozenset(names.get(which, ())) for which in LISTS}

    @classmethod
    def load(cls, home: Path) -> Door:
        """Read both files; absent ones are empty.

        Raises:
            ConfigError: unreadable, others can change it, or a line that names nobody.
        """
        return cls(home, **{which: _read(home / which) for which in LISTS})

    def names(self, which: str) -> tuple[str, ...]:
        """Who is on `allowed` or `ignored`."""
        with self._lock:
            return tuple(sorted(self._lists[which]))

    def refuses(self, address: bytes | None, key_id: str = "") -> str:
        """Say why a stranger may not knock: "ignored", "not_allowed"; "" when it may.

        Args:
            key_id: empty while it is not known, and then nobody is kept out for not being on
                `allowed` by key id.
        """
        names = {key_id, address.hex() if address is not None else ""} - {""}
        with self._lock:
            allowed, ignored = (self._lists[which] for which in LISTS)
        if names & ignored:
            return "ignored"
        may_be_named = not key_id and any(not _ADDRESS.fullmatch(name) for name in allowed)
        return "not_allowed" if allowed and not may_be_named and not names & allowed else ""

    def put(self, which: str, name: str) -> None:
        """Write somebody on a list.

        Raises:
            OperatorError: neither an address nor a key id, or the list is full.
            ConfigError: it cannot be written; the list is as it was.
        """
        if not is_key_id(name):
            raise OperatorError(f"{name[:80]!r} is neither an address nor a key id")
        with self._lock:
            names = self._lists[which] | {_canonical(name)}
            if len(names) > NAMES_MAX:
                raise OperatorError(f"{which} holds {NAMES_MAX} names already; take some off first")
            self._store(which, names)

    def take(self, which: str, name: str) -> None:
        """Take somebody off a list.

        Raises:
            OperatorError: not on it.
            ConfigError: it cannot be written; the list is as it was.
        """
        name = _canonical(name)
        with self._lock:
            if name not in self._lists[which]:
                raise OperatorError(f"{name[:80]!r} is not on the list {which}")
            self._store(which, self._lists[which] - {name})

    def _store(self, which: str, names: frozenset[str]) -> None:
        if self._home is not None:
            path = self._home / which
            text = _HEADER + "".join(f"{each}\n" for each in sorted(names))
            try:
                write_atomic(path, text.encode())
            except OSError as error:
                raise ConfigError(f"cannot write {path}: {why(error)}") from None
        self._lists[which] = names


def _canonical(name: str) -> str:
    return name.lower() if _ADDRESS.fullmatch(name) else name


def _read(path: Path) -> frozenset[str]:
    data = read_if_there(path, bytes_max=LIST_BYTES_MAX, guard=UNALTERED)
    if data is None:
        return frozenset()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text; one address or key id a line") from None
    names = [line.partition("#")[0].strip() for line in text.splitlines()]
    for number, name in enumerate(names, 1):
        if name and not is_key_id(name):
            raise ConfigError(
                f"{path}, line {number}: {name[:40]!a} is neither an address nor a key id"
            )
    found = frozenset(_canonical(name) for name in names if name)
    if len(found) > NAMES_MAX:
        raise ConfigError(f"{path} holds {len(found)} names; {NAMES_MAX} are allowed")
    return found
