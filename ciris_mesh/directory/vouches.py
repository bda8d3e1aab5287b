"""What vouches say of the rows here: which bridged ones others may fetch, which are to be fetched.

Vouched rows are in no offer and no view: who lists no voucher never hears of them. Who lists one
reads the ids out of its vouches, which travel as every attestation does, and asks for the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory, RowHead, Shelf, Standing, StoredRow
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name
from ciris_mesh.records.tokens import bridged_token
from ciris_mesh.records.vouches import Vouch, vouch_of

#: Vouches read of one voucher: with 32 ids each 16,384 rows, 32 MB. The newest count: a node that
#: was there before has fetched what older ones named, one that joins later never does, and is told.
VOUCHES_MAX: Final = 512

#: What was read, kept so long: 2 kB each at most.
PARSED_MAX: Final = 4_096


def vouchers_of(
    directory: ReplicationDirectory, kind: EnvelopeKind, envelope_id: bytes
) -> list[str]:
    """Who of the vouchers the configuration lists ever vouched for a row."""
    listed = sorted(directory.trust.vouchers)
    return [one for one in listed if directory.heads_named([bridged_token(one, kind, envelope_id)])]


class Vouches:
    """Thread-safe.

    Args:
        vouchers: whose word counts here; this node's own key among them, since it serves.
        listed: those whose rows are wanted: the vouchers of the configuration.
    """

    def __init__(
        self,
        directory: ReplicationDirectory,
        vouchers: frozenset[str] = frozenset(),
        *,
        listed: frozenset[str] = frozenset(),
    ) -> None:
        self._directory = directory
        self._vouchers = sorted(vouchers | listed)
        self._listed = sorted(listed)
        self._lock = threading.Lock()  # guards the three below; never held while reading
        self._read_at: int | None = None
        self._missing: dict[EnvelopeKind, list[bytes]] = {}
        self._parsed: dict[bytes, Vouch | None] = {}
        self.too_many = 0

    @classmethod
    def of(cls, directory: ReplicationDirectory, own: str) -> Vouches:
        """Those a node with this key goes by, as its configuration says."""
        return cls(directory, frozenset({own}), listed=directory.trust.vouchers - {own})

    def row(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """A bridged row that somebody vouched for, whatever has become of the vouch."""
        if not self._vouchers:
            return None
        row = self._directory.get(kind, envelope_id)
        if row is None or row.shelf is not Shelf.BRIDGED:
            return None
        tokens = [bridged_token(one, kind, envelope_id) for one in self._vouchers]
        return row if self._directory.heads_named(tokens) else None

    def missing(self) -> dict[EnvelopeKind, list[bytes]]:
        """Ids of rows that listed vouchers named and that stand nowhere here.

        Vouches are read again when an attestation came; else what was missing is looked up.
        """
        if not self._listed:
            return {}
        generation = self._directory.generation(EnvelopeKind.ATTESTATION)
        with self._lock:
            is_read, missing = self._read_at == generation, self._missing
        if not is_read:
            missing = self._named()
        found = {kind: self._not_here(kind, ids) for kind, ids in missing.items()}
        found = {kind: ids for kind, ids in found.items() if ids}
        with self._lock:
            self._read_at, self._missing = generation, found
        return found

    def _named(self) -> dict[EnvelopeKind, list[bytes]]:
        named: dict[EnvelopeKind, dict[bytes, None]] = {}
        self.too_many = 0
        for voucher in self._listed:
            for kind, envelope_id in self._of(voucher):
                named.setdefault(kind, {})[envelope_id] = None
        return {kind: list(ids) for kind, ids in named.items()}

    def _of(self, voucher: str) -> Iterator[tuple[EnvelopeKind, bytes]]:
        heads = self._directory.heads_named([name("about", voucher, voucher)])
        vouches = 0
        for head in sorted(heads, key=lambda it: (-it.seq, it.envelope_id)):
            vouch = self._read(head)
            if vouch is None:
                continue
            vouches += 1
            if vouches <= VOUCHES_MAX:
                yield from ((vouch.kind, one) for one in vouch.ids)
        self.too_many += max(0, vouches - VOUCHES_MAX)

    def _read(self, head: RowHead) -> Vouch | None:
        """Each is read once: what a key says of itself comes with every attestation again."""
        with self._lock:
            if head.envelope_id in self._parsed:
                return self._parsed[head.envelope_id]
        row = self._directory.get(head.kind, head.envelope_id)
        vouch = vouch_of(parse_envelope(row.kind, row.envelope)) if row is not None else None
        with self._lock:
            if len(self._parsed) >= PARSED_MAX:
                self._parsed.clear()
            self._parsed[head.envelope_id] = vouch
        return vouch

    def _not_here(self, kind: EnvelopeKind, ids: list[bytes]) -> list[bytes]:
        """What waits here waits for a signature, and a vouch lets it stand without."""
        standing = self._directory.standing(kind, ids)
        return [one for one in ids if standing.get(one) not in (Standing.HELD, Standing.BRIDGED)]
