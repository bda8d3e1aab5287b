"""By which ids this node and a peer speak of records: with our own nodes of copies.

A copy is a record with who signed it (`records.cosigning`), so that a signature more is a
difference. Registry nodes know nothing of that: with them ids are those of records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory, Standing, StoredRow
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.cosigning import copy_id, is_cosigned
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict

#: Rows read at a time: a query costs as much as ten rows, and what a batch has no room for was
#: read for nothing. 1 MB if each fills a whole envelope.
ROWS_AT_ONCE: Final = 16


class Naming:
    """Thread-safe: peers only ever come to be registry nodes, as many as are configured."""

    def __init__(self, directory: ReplicationDirectory) -> None:
        self._directory = directory
        self._registries: frozenset[str] = frozenset()

    def by_record(self, peer: str) -> None:
        """This one is a registry node."""
        self._registries |= {peer}

    def is_by_copy(self, peer: str, kind: EnvelopeKind) -> bool:
        """Is a copy called otherwise than its record?"""
        return is_cosigned(kind) and peer not in self._registries

    def of(self, peer: str, envelope_id: bytes | None, copy_id: bytes | None) -> bytes | None:
        """Which of the two is spoken of."""
        return envelope_id if peer in self._registries else copy_id

    def of_verdict(self, peer: str, verdict: Verdict) -> bytes | None:
        """What this was said of; None when it could not be read."""
        return self.of(peer, verdict.envelope_id, verdict.copy_id)

    def of_unread(self, peer: str, kind: EnvelopeKind, envelopes: Sequence[bytes]) -> list[bytes]:
        """What these are called that are not admitted; what cannot be read has no name."""
        found = []
        for raw in envelopes:
            with contextlib.suppress(MalformedRecord):
                read = parse_envelope(kind, raw)
                one = copy_id(kind, read.envelope_id, read.signers)
                found.append(one if self.is_by_copy(peer, kind) else read.envelope_id)
        return found

    def row(self, peer: str, kind: EnvelopeKind, one: bytes) -> StoredRow | None:
        """The record behind an id: of a copy, with all who signed it by now."""
        return self._rows(peer, kind, [one]).get(one)

    def rows(
        self, peer: str, kind: EnvelopeKind, ids: Sequence[bytes]
    ) -> Iterator[tuple[bytes, StoredRow | None]]:
        """As `row` of each, in order, read a few at a time as they are asked for."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            part = ids[start : start + ROWS_AT_ONCE]
            found = self._rows(peer, kind, part)
            for one in part:
                yield one, found.get(one)

    def _rows(self, peer: str, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, StoredRow]:
        if not self.is_by_copy(peer, kind):
            return self._directory.get_many(kind, ids)
        held = {one: it.envelope_id for one, it in self._directory.copies(kind, ids).items()}
        rows = self._directory.get_many(kind, list(dict.fromkeys(held.values())))
        return {one: rows[it] for one, it in held.items() if it in rows}

    def standing(
        self, peer: str, kind: EnvelopeKind, ids: Collection[bytes], judged: Mapping[bytes, bytes]
    ) -> dict[bytes, Standing]:
        """How well each is known. A copy is held as it is, or was seen and made use of.

        Args:
            judged: of those that were seen, the envelope ids.
        """
        if not ids:
            return {}
        if not self.is_by_copy(peer, kind):
            return self._directory.standing(kind, ids)
        held = self._directory.copies(kind, [one for one in ids if one not in judged])
        found = {one: Standing.HELD for one, it in held.items() if it.copy_id == one}
        seen = {one: judged[one] for one in ids if one in judged}
        records = self._directory.standing(kind, set(seen.values()))
        return found | {one: records[it] for one, it in seen.items() if it in records}

    def outgrown(
        self, peer: str, kind: EnvelopeKind, gone: Collection[bytes]
    ) -> dict[bytes, bytes]:
        """Copies among these that somebody more has signed since, and the records they are of."""
        if not gone or not self.is_by_copy(peer, kind):
            return {}
        held = self._directory.copies(kind, gone)
        return {one: it.envelope_id for one, it in held.items() if it.copy_id != one}
