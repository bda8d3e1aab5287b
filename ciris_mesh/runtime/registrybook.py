"""Registry nodes pinned by command: `peer add --registry` writes them, and a start reads them.

A JSON file in the home, written whole or not at all. As with the peer book, being in it is a
decision of trust made here, so a damaged file is an error a person must see. What the section
[trust] of the configuration says of the same registry must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.runtime.files import (
    UNALTERED,
    TooLarge,
    UnsafeMode,
    read_bounded,
    why,
    write_atomic,
)
from ciris_mesh.runtime.keyids import is_key_id
from ciris_mesh.runtime.registrypins import BASES, ED25519_BYTES, REGISTRIES_MAX, RegistryPin

#: As many as there may be, with the longest key ids.
BOOK_BYTES_MAX: Final = 64 << 10
_SCHEMA: Final = 1
_MEMBERS: Final = {"key_id", "ed25519", "basis", "bootstrap", "added_at_ms"}


@dataclass(frozen=True, slots=True)
class PinnedRegistry:
    """One registry node of the book.

    Attributes:
        bootstrap: this node finds others through it, so it is not removed by accident.
        added_at_ms: Unix milliseconds by this node's clock.
    """

    pin: RegistryPin
    bootstrap: bool = False
    added_at_ms: int = 0


class RegistryBook:
    """The pins in one file. Every change is on disk before the call returns.

    Args:
        configured: what the configuration says beside it.
    """

    def __init__(
        self,
        path: Path,
        pinned: Mapping[str, PinnedRegistry],
        configured: Sequence[RegistryPin] = (),
    ) -> None:
        self._path = path
        self._pinned = dict(pinned)
        self._configured = tuple(configured)

    @classmethod
    def load(cls, path: Path, configured: Sequence[RegistryPin] = ()) -> RegistryBook:
        """Read the book; an absent file is an empty book.

        Raises:
            ConfigError: unreadable, damaged, written by a newer program, or others can change it.
        """
        return cls(path, _read(path), configured)

    def pinned(self) -> tuple[PinnedRegistry, ...]:
        """All of them, by key id."""
        return tuple(self._pinned[key_id] for key_id in sorted(self._pinned))

    def add(self, entry: PinnedRegistry) -> PinnedRegistry:
        """Pin a registry. Pinning it again with the same key takes over the basis.

        Raises:
            OperatorError: it is pinned with another key.
            ConfigError: it does not go with the configuration, there are too many, or the book
                cannot be written; it is as it was.
        """
        known = self._pinned.get(entry.pin.key_id)
        if known is not None:
            if known.pin.ed25519 != entry.pin.ed25519:
                raise OperatorError(
                    f"{entry.pin.key_id} is pinned already, with another key; compare it with what "
                    "its operator publishes, and remove the old pin first if the new one is right"
                )
            is_bootstrap = entry.bootstrap or known.bootstrap
            entry = PinnedRegistry(entry.pin, is_bootstrap, known.added_at_ms)
        pinned = {**self._pinned, entry.pin.key_id: entry}
        _together(self._path, self._configured, pinned)
        self._store(pinned)
        return entry

    def pins(self) -> tuple[RegistryPin, ...]:
        """Those of the configuration and those of the book.

        Raises:
            ConfigError: the two name another key for one registry, or too many together.
        """
        return _together(self._path, self._configured, self._pinned)

    def remove(self, key_id: str, *, even_bootstrap: bool = False) -> PinnedRegistry:
        """Forget a pin and return it.

        Raises:
            OperatorError: there is none, or it is a bootstrap one.
            ConfigError: the book cannot be written; it is as it was.
        """
        known = self._pinned.get(key_id)
        if known is None:
            raise OperatorError(
                f"no registry {key_id[:80]!r} was pinned by `peer add --registry`; those of the "
                "configuration are taken out of [trust] registries there"
            )
        if known.bootstrap and not even_bootstrap:
            raise OperatorError(
                f"{key_id} is a bootstrap peer, through which this node finds others; "
                "add --even-bootstrap if it is to go"
            )
        self._store({one: it for one, it in self._pinned.items() if one != key_id})
        return known

    def _store(self, pinned: dict[str, PinnedRegistry]) -> None:
        try:
            write_atomic(self._path, _render(pinned))
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {why(error)}") from None
        self._pinned = pinned


def all_pins(configured: Sequence[RegistryPin], path: Path) -> tuple[RegistryPin, ...]:
    """See `RegistryBook.load` and its `pins`."""
    return RegistryBook.load(path, configured).pins()


def _together(
    path: Path, configured: Sequence[RegistryPin], pinned: Mapping[str, PinnedRegistry]
) -> tuple[RegistryPin, ...]:
    pins = {pin.key_id: pin for pin in configured}
    for entry in pinned.values():
        known = pins.setdefault(entry.pin.key_id, entry.pin)
        if known.ed25519 != entry.pin.ed25519:
            raise ConfigError(
                f"{path} and [trust] registries name different keys for {entry.pin.key_id}; "
                "compare both with what its operator publishes, and take the wrong one out"
            )
    if len(pins) > REGISTRIES_MAX:
        raise ConfigError(
            f"{path} and [trust] registries name {len(pins)} registries; {REGISTRIES_MAX} are "
            "allowed"
        )
    return tuple(pins.values())


def _render(pinned: Mapping[str, PinnedRegistry]) -> bytes:
    rows = [
        {
            "key_id": key_id,
            "ed25519": entry.pin.ed25519.hex(),
            "basis": entry.pin.basis,
            "bootstrap": entry.bootstrap,
            "added_at_ms": entry.added_at_ms,
        }
        for key_id, entry in sorted(pinned.items())
    ]
    return (json.dumps({"schema": _SCHEMA, "registries": rows}, indent=1) + "\n").encode()


def _read(path: Path) -> dict[str, PinnedRegistry]:
    try:
        data = read_bounded(path, bytes_max=BOOK_BYTES_MAX, guard=UNALTERED)
    except FileNotFoundError:
        return {}
    except (UnsafeMode, TooLarge) as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {why(error)}") from None
    try:
        book = json.loads(data)
        is_newer = type(book["schema"]) is int and book["schema"] > _SCHEMA
        pinned = {} if is_newer else _parse(book)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigError(
            f"{path} is damaged; restore it from your backup, or move it away and pin again"
        ) from None
    if is_newer:
        raise ConfigError(f"{path} was written by a newer ciris-mesh; upgrade this one")
    return pinned


def _parse(book: Any) -> dict[str, PinnedRegistry]:
    rows = book["registries"]
    if book["schema"] != _SCHEMA or not isinstance(rows, list) or len(rows) > REGISTRIES_MAX:
        raise ValueError("no book of registries")
    entries = [_entry(row) for row in rows]
    pinned = {entry.pin.key_id: entry for entry in entries}
    if len(pinned) < len(entries):
        raise ValueError("a registry twice")
    return pinned


def _entry(row: Any) -> PinnedRegistry:
    if set(row) != _MEMBERS or type(row["bootstrap"]) is not bool:
        raise ValueError("no registry")
    pin = RegistryPin(row["key_id"], bytes.fromhex(row["ed25519"]), row["basis"])
    is_sound = is_key_id(pin.key_id) and len(pin.ed25519) == ED25519_BYTES and pin.basis in BASES
    if not is_sound or type(row["added_at_ms"]) is not int:
        raise ValueError("no registry")
    return PinnedRegistry(pin, row["bootstrap"], row["added_at_ms"])
