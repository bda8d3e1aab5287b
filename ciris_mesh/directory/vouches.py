"""What vouches say of the rows here: which bridged ones others may fetch, which are to be fetched.

Vouched rows are in no offer and no view: who lists no voucher never hears of them. Who lists one
reads the ids out of its vouches, which travel as every attestation does, and asks for the rows.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory, RowHead, Shelf, Standing, StoredRow
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name, reference_of
from ciris_mesh.records.resolve.facts import TAKING
from ciris_mesh.records.timestamps import to_unix_ms
from ciris_mesh.records.tokens import bridged_token
from ciris_mesh.records.vouches import Vouch, vouch_of

#: Vouches read of one voucher: with 32 ids each 16,384 rows, 32 MB. The newest count: a node that
#: was there before has fetched what older ones named, one that joins later never does, and is told.
VOUCHES_MAX: Final = 512

#: What was read, kept so long: 2 kB each at most.
PARSED_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Said:
    """What a key says of itself.

    Attributes:
        record_id: the attestation's own id, as withdrawals name it.
        vouch: None for every other attestation.
        takes_back: the attestation it takes back; "" when none.
        until_ms: it counts until then; None for always.
    """

    record_id: str
    vouch: Vouch | None
    takes_back: str
    until_ms: int | None


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
        self._lock = threading.Lock()  # guards the four below; never held while reading
        self._read_at: int | None = None
        self._missing: dict[EnvelopeKind, list[bytes]] = {}
        self._parsed: dict[bytes, _Said | None] = {}
        self._valid_ms: tuple[int, float] = (0, 0)  # what was read holds from then until then
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

    def missing(self, now_ms: int) -> dict[EnvelopeKind, list[bytes]]:
        """Ids of rows that vouches of listed vouchers name and that stand nowhere here.

        Not of vouches that expired or that the voucher took back: their rows count for nothing, and
        each is 3 kB of air. What others took back by its leave is still asked for. Vouches are read
        again when an attestation came, one of them expired or the clock was set back; else what was
        missing is looked up.
        """
        if not self._listed:
            return {}
        generation = self._directory.generation(EnvelopeKind.ATTESTATION)
        with self._lock:
            is_read, missing = self._read_at == generation, self._missing
            valid_ms = self._valid_ms
        if not is_read or not valid_ms[0] <= now_ms < valid_ms[1]:
            missing, until_ms = self._named(now_ms)
            valid_ms = now_ms, until_ms
        found = {kind: self._not_here(kind, ids) for kind, ids in missing.items()}
        found = {kind: ids for kind, ids in found.items() if ids}
        with self._lock:
            self._read_at, self._missing, self._valid_ms = generation, found, valid_ms
        return found

    def _named(self, now_ms: int) -> tuple[dict[EnvelopeKind, list[bytes]], float]:
        """What is named now, and until when that is so."""
        named: dict[EnvelopeKind, dict[bytes, None]] = {}
        until_ms = float("inf")
        self.too_many = 0
        for voucher in self._listed:
            for said in self._of(voucher, now_ms):
                assert said.vouch is not None, "_of returns vouches"
                named.setdefault(said.vouch.kind, {}).update(dict.fromkeys(said.vouch.ids))
                until_ms = min(until_ms, said.until_ms or until_ms)
        return {kind: list(ids) for kind, ids in named.items()}, until_ms

    def _of(self, voucher: str, now_ms: int) -> list[_Said]:
        """The newest of its vouches that count."""
        heads = self._directory.heads_named([name("about", voucher, voucher)])
        newest = sorted(heads, key=lambda it: (-it.seq, it.envelope_id))
        read = [said for head in newest if (said := self._read(head)) is not None]
        gone = {said.takes_back for said in read}
        vouches = [
            said
            for said in read
            if said.vouch is not None
            and said.record_id not in gone
            and (said.until_ms is None or now_ms < said.until_ms)
        ]
        self.too_many += max(0, len(vouches) - VOUCHES_MAX)
        return vouches[:VOUCHES_MAX]

    def _read(self, head: RowHead) -> _Said | None:
        """Each is read once: what a key says of itself comes with every attestation again."""
        with self._lock:
            if head.envelope_id in self._parsed:
                return self._parsed[head.envelope_id]
        row = self._directory.get(head.kind, head.envelope_id)
        said = _said(parse_envelope(row.kind, row.envelope)) if row is not None else None
        with self._lock:
            if len(self._parsed) >= PARSED_MAX:
                self._parsed.clear()
            self._parsed[head.envelope_id] = said
        return said

    def _not_here(self, kind: EnvelopeKind, ids: list[bytes]) -> list[bytes]:
        """What waits here waits for a signature, and a vouch lets it stand without."""
        standing = self._directory.standing(kind, ids)
        return [one for one in ids if standing.get(one) not in (Standing.HELD, Standing.BRIDGED)]


def _said(attestation: Envelope) -> _Said | None:
    """None for what is no vouch and takes nothing back, which is most of what keys say."""
    record, vouch = attestation.record, vouch_of(attestation)
    takes_back = reference_of(attestation) if record["attestation_type"] in TAKING else ""
    if vouch is None and not takes_back:
        return None
    expires_at = record.get("expires_at")
    until_ms = to_unix_ms(expires_at) if isinstance(expires_at, str) else None
    return _Said(str(record["attestation_id"]), vouch, takes_back, until_ms)
