"""What a running node does when registry nodes are pinned or removed over its socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ciris_mesh.directory.registrybridge import IdBasis
from ciris_mesh.errors import OperatorError
from ciris_mesh.runtime.clock import Clock
from ciris_mesh.runtime.peeroperations import text_of
from ciris_mesh.runtime.registries import RegistryConfig
from ciris_mesh.runtime.registrybook import PinnedRegistry, RegistryBook
from ciris_mesh.runtime.registrypins import RegistryPin, read_registries
from ciris_mesh.runtime.runtime import ReplicationRuntime

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RegistryOperations:
    """The handlers. Every change is in the book before the node acts on it.

    Several commands come at once: one after the other reads the book, writes it and changes the
    node, so that none undoes another's change and the node does what the book says.

    Args:
        path: the book; None where there is none to write to.
        configured: what the configuration says beside it.
    """

    runtime: ReplicationRuntime
    clock: Clock
    path: Path | None = None
    configured: Sequence[RegistryPin] = ()
    _changing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def table(self) -> Mapping[str, Callable[[Arguments], object]]:
        """Operation -> handler."""
        return {"registry_pin": self._pin, "registry_unpin": self._unpin}

    def _pin(self, arguments: Arguments) -> object:
        words = (text_of(arguments, name) for name in ("key_id", "ed25519", "basis"))
        try:
            (pin,) = read_registries((" ".join(words).strip(),))
        except ValueError:
            raise OperatorError(
                "a registry is a key id, 64 hex digits and perhaps a basis"
            ) from None
        is_bootstrap = arguments.get("bootstrap") is True
        with self._changing:
            entry = self._book().add(PinnedRegistry(pin, is_bootstrap, self.clock.wall_ms()))
            if self.runtime.registries is not None:
                self.runtime.registries.pin(registry_config(entry.pin))
        return pinned_row(entry)

    def _unpin(self, arguments: Arguments) -> object:
        key_id = text_of(arguments, "key_id")
        even_bootstrap = arguments.get("even_bootstrap") is True
        is_configured = key_id in {pin.key_id for pin in self.configured}
        with self._changing:
            self._book().remove(key_id, even_bootstrap=even_bootstrap)
            if self.runtime.registries is not None and not is_configured:
                self.runtime.registries.unpin(key_id)
        return {"removed": key_id}

    def _book(self) -> RegistryBook:
        if self.path is None:
            raise OperatorError("this node keeps no book of registries")
        return RegistryBook.load(self.path, self.configured)


def registry_config(pin: RegistryPin) -> RegistryConfig:
    """A pin as the runtime takes it."""
    return RegistryConfig(pin.key_id, pin.ed25519, IdBasis(pin.basis) if pin.basis else None)


def pinned_row(entry: PinnedRegistry) -> dict[str, object]:
    """A pin as `peer add --registry --json` shows it."""
    pin = entry.pin
    return {
        "key_id": pin.key_id,
        "ed25519": pin.ed25519.hex(),
        "basis": pin.basis,
        "bootstrap": entry.bootstrap,
    }
