"""Which RNS identity speaks for which key id: verified bindings, remembered across restarts.

A binding costs 3.4 kB to fetch, so it is kept; its epoch only goes up, so it must be kept.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Final

from ciris_mesh.errors import MeshError
from ciris_mesh.records.binding import Binding
from ciris_mesh.transport.base import Address

logger = logging.getLogger(__name__)

#: Bindings kept. 4,096 peers of 3.4 kB are 14 MB on disk; the oldest strangers go first.
BINDINGS_MAX: Final = 4096


class BindingStore:
    """Verified bindings by address. Thread-safe.

    Args:
        folder: one file per address is kept here; None keeps them in memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # guards the two tables
        self._by_address: dict[Address, Binding] = {}
        self._epochs: dict[str, int] = {}
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._load(folder)

    def get(self, address: Address) -> Binding | None:
        """The binding last accepted for this address."""
        with self._lock:
            return self._by_address.get(address)

    def epoch(self, key_id: str) -> int:
        """The highest epoch accepted for this key id; -1 when none was."""
        with self._lock:
            return self._epochs.get(key_id, -1)

    def put(self, address: Address, binding: Binding) -> None:
        """Keep a verified binding; older ones of the same key id stop counting."""
        with self._lock:
            for other, known in list(self._by_address.items()):
                if known.key_id == binding.key_id and other != address:
                    self._drop(other)
            while len(self._by_address) >= BINDINGS_MAX and address not in self._by_address:
                self._drop(next(iter(self._by_address)))
            self._by_address[address] = binding
            self._epochs[binding.key_id] = binding.epoch
            if self._folder is not None:
                _write(self._folder / address.hex(), binding.encode())

    def _drop(self, address: Address) -> None:
        del self._by_address[address]
        if self._folder is not None:
            (self._folder / address.hex()).unlink(missing_ok=True)

    def _load(self, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            try:
                address = Address(bytes.fromhex(path.name))
                binding = Binding.decode(path.read_bytes())
            except (ValueError, OSError, MeshError):
                logger.warning("binding.damaged file=%s (it will be fetched again)", path.name)
                continue
            self._by_address[address] = binding
            self._epochs[binding.key_id] = max(binding.epoch, self._epochs.get(binding.key_id, -1))


def _write(path: Path, data: bytes) -> None:
    """Replace a file whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    os.replace(temporary, path)
