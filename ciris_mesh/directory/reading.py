"""Questions to a directory that its store alone can answer: no lock, no memory of what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ciris_mesh.directory.base import ReplicationDirectory, Shelf, StoredRow
from ciris_mesh.directory.store import Store
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import EnvelopeRef


class StoreReading(ReplicationDirectory):
    """The part of a directory that passes questions on. Thread-safe, as its store is."""

    _store: Store

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """Point read by envelope id, any shelf."""
        return self._store.get(kind, envelope_id)

    def holdings(self, kind: EnvelopeKind) -> list[EnvelopeRef]:
        """Refs of every federation-shelf row, newest `seq` first."""
        return self._store.refs(kind)

    def signers(self, kind: EnvelopeKind) -> dict[bytes, tuple[str, ...]]:
        """Envelope id -> verified signers, federation shelf."""
        return self._store.signers(kind)

    def newest(
        self,
        kind: EnvelopeKind,
        charged: Callable[[tuple[str, ...]], tuple[str, ...]],
        *,
        limit: int,
    ) -> tuple[list[EnvelopeRef], int]:
        """A fair share of the rows charged to anybody, and how many it leaves out."""
        return self._store.newest(kind, charged, limit=limit)

    def rows(
        self, kind: EnvelopeKind | None = None, *, limit: int, after: int = 0
    ) -> Iterator[tuple[int, StoredRow]]:
        """(position, row) in admission order after position `after`, at most `limit`."""
        return iter(self._store.rows(kind, limit=limit, after=after))

    def named_rows(self, name: str, *, limit: int) -> list[StoredRow]:
        """Rows, on any shelf, that answer to a name or a token; at most `limit`."""
        return [row for _, row in self._store.named(name, limit=limit, after=0)]

    def troubles(self) -> tuple[str, ...]:
        """What is wrong with the store itself, a line each: a stable name, a colon, what to do."""
        return ()

    def counts(self) -> dict[tuple[EnvelopeKind, Shelf], int]:
        """Rows per kind and shelf; zero rows are left out."""
        return self._store.counts()
