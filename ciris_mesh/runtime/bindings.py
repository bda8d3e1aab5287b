"""Which RNS identity speaks for which key id: verified bindings, remembered across restarts.

A binding costs 3.4 kB to fetch, so it is kept; its epoch only goes up, so it must be kept.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Container
from pathlib import Path
from typing import Final

from ciris_mesh.errors import MeshError
from ciris_mesh.records.binding import Binding
from ciris_mesh.runtime.files import (
    UNALTERED,
    TooLarge,
    UnsafeMode,
    read_bounded,
    sync_directory,
    write_atomic,
)
from ciris_mesh.transport.base import ADDRESS_BYTES, Address
from ciris_mesh.wire.mesh import BINDING_BYTES_MAX

logger = logging.getLogger(__name__)

#: Bindings kept. 4,096 of 3.4 kB are 14 MB on disk; the oldest strangers' go first.
BINDINGS_MAX: Final = 4096


def address_of(public_key: bytes) -> Address:
    """Reticulum's identity hash of a 64-byte RNS public key."""
    return Address(hashlib.sha256(public_key).digest()[:ADDRESS_BYTES])


class BindingStore:
    """Verified bindings by address, one a key id. Thread-safe.

    Args:
        folder: one file per address is kept here; None keeps them in memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # guards the two tables
        self._by_address: dict[Address, Binding] = {}
        self._address_of: dict[str, Address] = {}
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._load(folder)

    def get(self, address: Address) -> Binding | None:
        """The binding last accepted for this address."""
        with self._lock:
            return self._by_address.get(address)

    def epoch(self, key_id: str) -> int:
        """The epoch last accepted for this key id; -1 when none was."""
        with self._lock:
            return self._epoch(key_id)

    def put(self, address: Address, binding: Binding, *, keep: Container[str] = ()) -> None:
        """Keep a verified binding; an older one of the same key id stops counting.

        Args:
            keep: key ids whose bindings, and so whose epochs, do not make room for others.
        """
        with self._lock:
            self._write(address, binding)  # first: a crash must not forget the epoch
            moved_from = self._address_of.get(binding.key_id)
            if moved_from not in (None, address):
                self._drop(moved_from)
            while len(self._by_address) >= BINDINGS_MAX and address not in self._by_address:
                self._drop(self._oldest(keep))
            self._insert(address, binding)

    def _epoch(self, key_id: str) -> int:
        address = self._address_of.get(key_id)
        return -1 if address is None else self._by_address[address].epoch

    def _insert(self, address: Address, binding: Binding) -> None:
        replaced = self._by_address.pop(address, None)
        if replaced is not None:
            self._address_of.pop(replaced.key_id, None)
        self._by_address[address] = binding
        self._address_of[binding.key_id] = address

    def _oldest(self, keep: Container[str]) -> Address:
        strangers = (at for at, known in self._by_address.items() if known.key_id not in keep)
        return next(strangers, next(iter(self._by_address)))

    def _drop(self, address: Address) -> None:
        self._address_of.pop(self._by_address.pop(address).key_id, None)
        self._unlink(address)

    def _unlink(self, address: Address) -> None:
        if self._folder is None:
            return
        try:
            (self._folder / address.hex()).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("binding.not_removed error=%s (the higher epoch counts)", error)

    def _write(self, address: Address, binding: Binding) -> None:
        if self._folder is None:
            return
        try:
            write_atomic(self._folder / address.hex(), binding.encode())
        except OSError as error:
            logger.warning("binding.not_kept error=%s (it will be fetched again)", error)

    def _load(self, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue  # left by a crash in the middle of writing
            binding = _read(path)
            if binding is None:
                logger.warning("binding.damaged file=%s (it will be fetched again)", path.name)
            else:
                self._take_up(binding)
        try:
            sync_directory(folder)
        except OSError as error:
            logger.warning("binding.not_kept error=%s (it will be fetched again)", error)

    def _take_up(self, binding: Binding) -> None:
        """Of two files of one key id, left by a crash, the higher epoch counts and stays."""
        address = address_of(binding.rns_public_key)
        other = self._address_of.get(binding.key_id)
        if other is not None and binding.epoch <= self._by_address[other].epoch:
            self._unlink(address)
            return
        if other is not None:
            self._drop(other)
        self._insert(address, binding)


def _read(path: Path) -> Binding | None:
    """A binding in a file that is named after it; None when the file is anything else."""
    try:
        binding = Binding.decode(read_bounded(path, bytes_max=BINDING_BYTES_MAX, guard=UNALTERED))
    except (OSError, MeshError, TooLarge, UnsafeMode):
        return None
    return binding if address_of(binding.rns_public_key).hex() == path.name else None
