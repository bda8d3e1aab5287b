"""Questions to a directory that its store and its configuration can answer: no lock, no pools."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from ciris_mesh.directory.admission import Admission
from ciris_mesh.directory.base import (
    HeldCopy,
    ReplicationDirectory,
    RowHead,
    Shelf,
    StoredRow,
)
from ciris_mesh.directory.keycache import KeyCache
from ciris_mesh.directory.quotas import bridged_by
from ciris_mesh.directory.rejudging import judge_again
from ciris_mesh.directory.store import PooledEntry, Store
from ciris_mesh.records.cosigning import COPY_HEAD_BYTES, copy_id
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import end_name
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.rules.operations import closed_kinds
from ciris_mesh.records.tokens import bridged_token
from ciris_mesh.wire.messages import EnvelopeRef

#: Rows read at a time for one token: hardly any has more, and a key record is 12 kB.
NAMED_PAGE: Final = 32

#: Ids looked through at a time for those that were vouched for: 100 kB with their tokens, and a
#: registry's whole share of the bridged shelf under one name takes a hundred looks.
IDS_PAGE: Final = 500


class StoreReading(ReplicationDirectory):
    """The part of a directory that passes questions on. Thread-safe, as its store is."""

    _store: Store
    _keys: KeyCache
    _admission: Admission
    _trust: Trust

    @property
    def trust(self) -> Trust:
        """What this node's configuration says of others."""
        return self._trust

    @property
    def followed(self) -> int | None:
        """See ReplicationDirectory."""
        return None

    def closed(self) -> frozenset[EnvelopeKind]:
        """Kinds of which nothing can be admitted under this configuration."""
        return closed_kinds(self._trust)

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """Point read by envelope id, any shelf."""
        return self._store.get(kind, envelope_id)

    def get_many(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, StoredRow]:
        """See ReplicationDirectory."""
        return self._store.get_many(kind, ids)

    def brought_by(self, kind: EnvelopeKind, envelope_id: bytes) -> str:
        """See ReplicationDirectory."""
        return bridged_by(self._store.charged_to((kind, envelope_id)))

    def holdings(self, kind: EnvelopeKind) -> list[EnvelopeRef]:
        """Refs of every federation-shelf row, newest `seq` first."""
        return self._store.refs(kind)

    def unknown(self, kind: EnvelopeKind, ids: Iterable[bytes]) -> list[bytes]:
        """Those of `ids` neither held on any shelf nor deferred here, in the order given."""
        asked = list(ids)
        known = self.standing(kind, asked)
        return [envelope_id for envelope_id in asked if envelope_id not in known]

    def signers(self, kind: EnvelopeKind) -> dict[bytes, tuple[str, ...]]:
        """Envelope id -> verified signers, federation shelf."""
        return self._store.signers(kind)

    def newest(
        self,
        kind: EnvelopeKind,
        charged: Callable[[tuple[str, ...]], tuple[str, ...]],
        *,
        limit: int,
        by_copy: bool = False,
    ) -> tuple[list[EnvelopeRef], int]:
        """A fair share of the rows charged to anybody, and how many it leaves out."""
        return self._store.newest(kind, charged, limit=limit, by_copy=by_copy)

    def copies(self, kind: EnvelopeKind, names: Iterable[bytes]) -> dict[bytes, HeldCopy]:
        """What is on the federation shelf of the records that these are copies of."""
        names = list(names)
        by_head: dict[bytes, list[HeldCopy]] = {name[:COPY_HEAD_BYTES]: [] for name in names}
        for envelope_id, signers in self._store.alike(kind, by_head):
            held = HeldCopy(envelope_id, copy_id(kind, envelope_id, signers))
            by_head[envelope_id[:COPY_HEAD_BYTES]].append(held)
        found = ((name, _meant(name, by_head[name[:COPY_HEAD_BYTES]])) for name in names)
        return {name: held for name, held in found if held is not None}

    def rows(
        self, kind: EnvelopeKind | None = None, *, limit: int, after: int = 0
    ) -> Iterator[tuple[int, StoredRow]]:
        """(position, row) in admission order after position `after`, at most `limit`."""
        return iter(self._store.rows(kind, limit=limit, after=after))

    def named_rows(self, name: str, *, limit: int, others: int = 0) -> list[StoredRow]:
        """Federation-shelf rows that answer to a name or a token, then some of other shelves."""
        found = self._store.shelved(name, federation=True, limit=limit)
        aside = self._store.shelved(name, federation=False, limit=others) if others else []
        return [*found, *aside]

    def vouched_rows(self, name: str, vouchers: Collection[str], *, limit: int) -> list[StoredRow]:
        """See ReplicationDirectory."""
        found: list[StoredRow] = []
        after = 0
        while len(found) < limit and (page := self._store.ids(name, limit=IDS_PAGE, after=after)):
            after = page[-1][0]
            named = {
                bridged_token(voucher, kind, envelope_id): (kind, envelope_id)
                for _, kind, envelope_id in page
                for voucher in vouchers
            }
            vouched = self._store.answered(list(named))
            names = dict.fromkeys(it for token, it in named.items() if token in vouched)
            rows = (self._store.get(*it) for it in names)
            found += (row for row in rows if row and row.shelf is not Shelf.FEDERATION)
        return found[:limit]

    def signers_named(self, name: str, *, limit: int) -> list[tuple[str, ...]]:
        """Signers of federation-shelf rows that answer to a name, a row each; at most `limit`."""
        return self._store.signers_named(name, limit=limit)

    def all_named_rows(self, name: str) -> Iterator[StoredRow]:
        """All of them, the first admitted first, a page at a time."""
        after = 0
        while page := self._store.named(name, limit=NAMED_PAGE, after=after):
            yield from (row for _, row in page)
            after, _ = page[-1]

    def waiting_envelopes(self) -> Iterator[tuple[PooledEntry, bytes]]:
        """What waits outside the shelves, oldest first, with its bytes."""
        for entry in self._store.pool_entries():
            raw = self._store.pool_envelope(entry.pool, entry.digest)
            if raw is not None:
                yield entry, raw

    def would_admit(self, row: StoredRow, now_ms: int) -> Verdict:
        """What would be said of this row, which is here, if it came to its shelf today."""
        judgement = judge_again(self._admission, row, now_ms)
        if judgement.row is None:
            return judgement.verdict
        return Verdict(Outcome.ADMITTED, Reason.NONE, row.kind, row.envelope_id)

    def stored_key(self, key_id: str) -> HybridPublicKey | None:
        """As `federation_key`, read now."""
        return self._keys.read(key_id)

    def named(self, token: str) -> Iterator[Envelope]:
        """Federation-shelf records that answer to this token, the first admitted first."""
        return (parse_envelope(row.kind, row.envelope) for row in self.all_named_rows(token))

    def troubles(self) -> tuple[str, ...]:
        """What is wrong with the store itself, a line each: a stable name, a colon, what to do."""
        return ()

    def heads(self, kind: EnvelopeKind) -> list[RowHead]:
        """Every federation-shelf row of a kind, in no order."""
        return self._store.heads(kind)

    def heads_named(self, names: Sequence[str]) -> list[RowHead]:
        """Federation-shelf rows that answer to any of these names, each once."""
        return self._store.heads_named(names)

    def heads_relied(self, heads: Sequence[RowHead]) -> list[RowHead]:
        """Federation-shelf rows without which these could not have been admitted, each once."""
        return self._store.heads_relied([(head.kind, head.envelope_id) for head in heads])

    def ended(
        self, kind: EnvelopeKind, first_day: int, kinds: Collection[EnvelopeKind]
    ) -> frozenset[bytes]:
        """Ids of rows that ended before that day and on which no row of `kinds` relied."""
        first, end = end_name(kind, 0), end_name(kind, first_day)
        return frozenset(self._store.idle_ids(first, end, kinds)) if first_day else frozenset()

    def counts(self) -> dict[tuple[EnvelopeKind, Shelf], int]:
        """Rows per kind and shelf; zero rows are left out."""
        return self._store.counts()


def _meant(name: bytes, alike: Sequence[HeldCopy]) -> HeldCopy | None:
    """Whose ids begin alike can be made at will: then only the exact name will do."""
    exact = (held for held in alike if name in (held.copy_id, held.envelope_id))
    return next(exact, alike[0] if len(alike) == 1 else None)
