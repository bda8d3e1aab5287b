"""The people who may ask this node by message: who they are, what they may do, who is waiting.

A JSON file beside the peer book, written whole or not at all. Somebody unknown who writes is
*pending*: shown, answered once, told nothing. Only a command on this machine makes an operator.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.runtime.files import (
    PRIVATE,
    read_if_there,
    why,
    write_atomic,
)

ADDRESS_BYTES: Final = 16
PUBLIC_KEY_BYTES: Final = 64
#: Each gets every alert, and airtime is shared.
OPERATORS_MAX: Final = 16
#: Strangers remembered; the oldest makes room.
PENDING_MAX: Final = 16
NAME_CHARS_MAX: Final = 32
_BOOK_BYTES_MAX: Final = 64 * 1024
_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Operator:
    """One person's address.

    Attributes:
        address: 32 hex digits, of their `lxmf.delivery`.
        public_key: 128 hex digits; empty until a message of theirs came.
        name: what people here call them; "" for none.
        accepted: may ask. may_act: may also change things.
        muted_until_s: no alerts before, Unix seconds.
        last_act_s: when the last acting message that counted says it was sent, Unix seconds; an
            older one is a replay.
        seen_s: when they last wrote, Unix seconds; 0 for never.
    """

    address: str
    public_key: str = ""
    name: str = ""
    accepted: bool = False
    may_act: bool = False
    muted_until_s: float = 0.0
    last_act_s: float = 0.0
    seen_s: float = 0.0

    def __post_init__(self) -> None:
        if len(bytes.fromhex(self.address)) != ADDRESS_BYTES:
            raise ValueError("an address has 32 hex digits")
        if len(bytes.fromhex(self.public_key)) not in (0, PUBLIC_KEY_BYTES):
            raise ValueError("a public key has 128 hex digits")
        if len(self.name) > NAME_CHARS_MAX or not self.name.isprintable():
            raise ValueError(f"a name is at most {NAME_CHARS_MAX} printable characters")


class OperatorBook:
    """The file and what is in it. Thread-safe; every change is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards the mapping and the order of writes
        self._people: Mapping[str, Operator] = _read(path)

    def people(self) -> tuple[Operator, ...]:
        """Everybody: operators first, then who is pending, by address."""
        with self._lock:
            people = self._people.values()
        return tuple(sorted(people, key=lambda one: (not one.accepted, one.address)))

    def get(self, address: str) -> Operator | None:
        """Who has exactly this address."""
        with self._lock:
            return self._people.get(address)

    def find(self, text: str) -> Operator:
        """Who is meant: a name, an address, or its beginning; spaces between digits are ignored.

        Raises:
            OperatorError: nobody, or several.
        """
        start = text.replace(" ", "").lower().strip("<>")
        found = [one for one in self.people() if text and text == one.name] or [
            one for one in self.people() if start and one.address.startswith(start)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise OperatorError(f"{text[:40]!r} could be several; write more of the address")
        raise OperatorError(f"nobody is called {text[:40]!r}: ciris-mesh operator list")

    def knock(self, address: str, public_key: str, *, now_s: float) -> Operator:
        """Somebody wrote: remember them, or when they were last seen.

        Raises:
            ConfigError: the book cannot be written.
        """
        with self._lock:
            known = self._people.get(address) or Operator(address)
            known = replace(known, public_key=public_key, seen_s=now_s)
            people = {**self._people, address: known}
            pending = sorted(
                (one for one in people.values() if not one.accepted), key=lambda one: one.seen_s
            )
            for old in pending[: max(0, len(pending) - PENDING_MAX)]:
                del people[old.address]
            self._store(people)
            return known

    def accept(self, address: str, *, name: str = "", may_act: bool = False) -> Operator:
        """Let somebody ask, and act when `may_act`. They need not have written yet.

        Raises:
            OperatorError: no address or name, or too many operators.
            ConfigError: the book cannot be written.
        """
        with self._lock:
            accepted = sum(one.accepted for one in self._people.values())
            try:
                known = self._people.get(address) or Operator(address)
                known = replace(known, accepted=True, may_act=may_act, name=name or known.name)
            except ValueError as error:
                raise OperatorError(str(error)) from None
            if accepted >= OPERATORS_MAX and not (
                address in self._people and self._people[address].accepted
            ):
                raise OperatorError(f"there are {OPERATORS_MAX} operators already; remove one")
            self._store({**self._people, address: known})
            return known

    def change(self, address: str, **fields: Any) -> Operator:
        """Change fields of somebody who is in the book.

        Raises:
            OperatorError: nobody has that address.
            ConfigError: the book cannot be written.
        """
        with self._lock:
            known = self._people.get(address)
            if known is None:
                raise OperatorError(f"nobody has the address {address}")
            known = replace(known, **fields)
            self._store({**self._people, address: known})
            return known

    def remove(self, address: str) -> None:
        """Forget somebody. Raises as `change`."""
        with self._lock:
            if address not in self._people:
                raise OperatorError(f"nobody has the address {address}")
            self._store({key: one for key, one in self._people.items() if key != address})

    def _store(self, people: Mapping[str, Operator]) -> None:
        assert self._lock.locked(), "the caller holds the lock"
        rows = [asdict(people[address]) for address in sorted(people)]
        text = json.dumps({"schema": _SCHEMA, "operators": rows}, indent=1) + "\n"
        try:
            write_atomic(self._path, text.encode())
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {why(error)}") from None
        self._people = people


def _read(path: Path) -> dict[str, Operator]:
    data = read_if_there(path, bytes_max=_BOOK_BYTES_MAX, guard=PRIVATE)
    if data is None:
        return {}
    try:
        book = json.loads(data)
        if book["schema"] != _SCHEMA:
            raise ConfigError(f"{path} was written by a newer ciris-mesh; upgrade this one")
        people = [Operator(**row) for row in book["operators"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ConfigError(
            f"{path} is damaged; restore it from your backup, or move it away and accept again"
        ) from None
    return {one.address: one for one in people}
