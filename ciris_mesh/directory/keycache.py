"""Public keys of the federation shelf, kept at hand: most of verifying needs the same few."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from ciris_mesh.directory.store import Store
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import checks
from ciris_mesh.records.hybrid import HybridPublicKey

#: Public keys kept ready: 2 kB each, so 2 MB; more signers than one round usually meets.
KEY_CACHE_MAX: Final = 1024


class KeyCache:
    """Reads keys, and remembers those that were there. Thread-safe.

    A key never changes under its id, so nothing here goes out of date.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()  # guards what is kept; never held while reading
        self._kept: OrderedDict[str, HybridPublicKey] = OrderedDict()

    def get(self, key_id: str) -> HybridPublicKey | None:
        """The key, as committed. Not for use inside a transaction, which may be taken back."""
        with self._lock:
            public = self._kept.get(key_id)
            if public is not None:
                self._kept.move_to_end(key_id)
                return public
        public = self.read(key_id)
        if public is not None:
            with self._lock:
                self._kept[key_id] = public
                if len(self._kept) > KEY_CACHE_MAX:
                    self._kept.popitem(last=False)
        return public

    def keep(self, keys: Mapping[str, HybridPublicKey]) -> None:
        """These came in, with a commit: whoever names them next needs no look."""
        with self._lock:
            self._kept.update(keys)
            while len(self._kept) > KEY_CACHE_MAX:
                self._kept.popitem(last=False)

    def read(self, key_id: str) -> HybridPublicKey | None:
        """The key as the running transaction sees it; nothing is kept."""
        row = self._store.key_row(key_id)
        return public_key_in(row.envelope) if row is not None else None


def public_key_in(raw: bytes) -> HybridPublicKey | None:
    """The key that a key record introduces; None when it cannot be read."""
    try:
        return checks.public_key_in(raw)
    except MalformedRecord:
        return None
