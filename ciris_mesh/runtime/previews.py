"""Removals that went ahead of their records: taken from peers, kept apart, dropped in time.

    take      a peer's preview: verified, and only where its signers have a say; else a stable name
    settle    the record came: it stands, or it contradicts what was announced
    expire    it did not come in time
    pending   what `resolve` and `status` show

In memory alone, never on a shelf and never passed on. When what was announced does not come, the
peer that sent it ahead is not heard again for a day.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ciris_mesh.directory.backoff import BackoffMemory
from ciris_mesh.directory.base import ReplicationDirectory, Standing, StoredRow
from ciris_mesh.errors import BatchRefused, MalformedRecord
from ciris_mesh.records.kinds import REMOVALS, EnvelopeKind
from ciris_mesh.records.merge import SKEW_MS_MAX
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.preview import first_half, read_first_half
from ciris_mesh.wire.mesh import PREVIEW_BATCH_BYTES_MAX, Preview
from ciris_mesh.wire.transcode import decode_batch, encode_batch

if TYPE_CHECKING:
    from ciris_mesh.records.envelope import Envelope
    from ciris_mesh.records.resolve.pending import Pending

#: How long a record may take: its air may be used up for an hour, and it is large; but what a
#: broken classical key can keep in doubt must end. As long as tau_partial on radio.
PREVIEW_LIFE_S: Final = 6 * 3_600.0
#: Of one peer, and by one signer, at a time: whoever removes more at once can say so by records.
PREVIEWS_PER_PEER: Final = 16
PREVIEWS_PER_SIGNER: Final = 16
#: In all: 2 kB each.
PREVIEWS_MAX: Final = 256
#: Peers whose announcements came to nothing.
LAPSED_FIRST_S: Final = 86_400.0
LAPSED_LONGEST_S: Final = 7 * 86_400.0
LAPSED_MAX: Final = 256
_NS_PER_MS: Final = 1_000_000


class Refused(StrEnum):
    """Why a preview was not kept. Counted with `preview_` in front."""

    MALFORMED = "malformed"
    NO_REMOVAL = "no_removal"
    NOT_SIGNED = "not_signed"
    ANOTHER_RECORD = "another_record"
    SIGNER_UNKNOWN = "signer_unknown"
    TIME_AHEAD = "time_ahead"
    RECORD_IS_HERE = "record_is_here"
    LAPSED_BEFORE = "lapsed_before"
    POOL_FULL = "pool_full"
    PEER_FULL = "peer_full"
    SIGNER_FULL = "signer_full"
    NO_STANDING = "no_standing"


#: What no honest node sends.
BLAMED: Final = frozenset(
    {Refused.MALFORMED, Refused.NO_REMOVAL, Refused.NOT_SIGNED, Refused.ANOTHER_RECORD}
)

Name = tuple[EnvelopeKind, bytes]


@dataclass(frozen=True, slots=True)
class _Kept:
    what: Pending
    until_s: float


class Previews:
    """See the module. Thread-safe.

    Args:
        clock: monotonic seconds.
        wall_ms: Unix milliseconds.
    """

    def __init__(
        self,
        directory: ReplicationDirectory,
        *,
        clock: Callable[[], float],
        wall_ms: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._wall_ms = wall_ms
        self._lock = threading.Lock()  # guards all below; never held while calling the directory
        self._kept: OrderedDict[Name, _Kept] = OrderedDict()
        self._lapsed: BackoffMemory[str] = BackoffMemory(
            LAPSED_FIRST_S, LAPSED_LONGEST_S, LAPSED_MAX
        )

    # -- receiving -----------------------------------------------------------------------------

    def take(self, peer: str, message: Preview) -> Refused | None:
        """Keep what a peer sent ahead. Returns why it was not kept; None when it is, or was."""
        try:
            items = decode_batch(message.batch)
            (kind, raw), *more = items
            if more or kind not in REMOVALS:
                return Refused.NO_REMOVAL
            half, reason = read_first_half(kind, raw, self._directory.public_key)
        except (BatchRefused, MalformedRecord, ValueError):
            return Refused.MALFORMED
        name = kind, message.envelope_id
        if reason is Reason.SIGNER_UNKNOWN:
            return Refused.SIGNER_UNKNOWN
        if reason is not Reason.NONE:
            return Refused.NOT_SIGNED
        if kind is not EnvelopeKind.REVOCATION and half.envelope_id != message.envelope_id:
            return Refused.ANOTHER_RECORD
        if half.seq > self._wall_ms() + SKEW_MS_MAX:
            return Refused.TIME_AHEAD
        refusal = self._refusal(peer, name, half)
        if refusal is None:
            self._keep(peer, name, half)
        return refusal

    def _refusal(self, peer: str, name: Name, half: Envelope) -> Refused | None:
        kind, envelope_id = name
        if self._directory.standing(kind, [envelope_id]).get(envelope_id) is Standing.HELD:
            return Refused.RECORD_IS_HERE
        with self._lock:
            now_s = self._clock()
            if self._lapsed.is_active(peer, now_s):
                return Refused.LAPSED_BEFORE
            if name in self._kept:
                return None
            if len(self._kept) >= PREVIEWS_MAX:
                return Refused.POOL_FULL
            peers = Counter(kept.what.peer for kept in self._kept.values())
            signers = Counter(one for kept in self._kept.values() for one in kept.what.half.signers)
            if peers[peer] >= PREVIEWS_PER_PEER:
                return Refused.PEER_FULL
            if any(signers[signer] >= PREVIEWS_PER_SIGNER for signer in half.signers):
                return Refused.SIGNER_FULL
        return None if self.has_standing(half) else Refused.NO_STANDING

    def _keep(self, peer: str, name: Name, half: Envelope) -> None:
        from ciris_mesh.records.resolve.pending import Pending

        what = Pending(half, name[1].hex(), peer)
        with self._lock:
            self._kept.setdefault(name, _Kept(what, self._clock() + PREVIEW_LIFE_S))

    def has_standing(self, removal: Envelope) -> bool:
        """Do its signers have the say to remove, by what is held here?"""
        # Loaded when first needed, as `resolve` is: most nodes never see a preview.
        from ciris_mesh.records.resolve.pending import has_standing
        from ciris_mesh.runtime.resolving import DirectoryRows

        at_ns = self._wall_ms() * _NS_PER_MS
        rows = DirectoryRows(self._directory)
        return has_standing(rows, self._directory.trust, at_ns, removal)

    # -- what becomes of them --------------------------------------------------------------------

    def settle(self, verdicts: Iterable[Verdict]) -> list[Pending]:
        """Records came. Returns what was announced and is contradicted by what came under its id.

        What waits for something else here stays announced.
        """
        contradicted: list[Pending] = []
        with self._lock:
            if not self._kept:
                return []
            for verdict in verdicts:
                if verdict.kind is None or verdict.envelope_id is None:
                    continue
                name = verdict.kind, verdict.envelope_id
                if name not in self._kept or verdict.outcome is Outcome.DEFERRED:
                    continue
                kept = self._kept.pop(name)
                if not verdict.outcome.is_held:
                    contradicted.append(kept.what)
                    self._blame(kept.what)
        return contradicted

    def expire(self) -> list[Pending]:
        """Drop what has arrived by another way, and what did not in time. Returns the latter."""
        with self._lock:
            kept = list(self._kept.items())
        now_s = self._clock()
        lapsed: list[Pending] = []
        for (kind, envelope_id), one in kept:
            standing = self._directory.standing(kind, [envelope_id])
            is_here = standing.get(envelope_id) is Standing.HELD
            if not is_here and now_s < one.until_s:
                continue
            with self._lock:
                if self._kept.pop((kind, envelope_id), None) is not None and not is_here:
                    lapsed.append(one.what)
                    self._blame(one.what)
        return lapsed

    def _blame(self, what: Pending) -> None:
        """Lock held. Not the signer: a true half can be sent ahead by anybody, under any id."""
        self._lapsed.note(what.peer, self._clock())

    def pending(self) -> tuple[Pending, ...]:
        """What is announced and not here, the oldest first."""
        with self._lock:
            kept = list(self._kept.items())
            now_s = self._clock()
        return tuple(
            one.what
            for (kind, envelope_id), one in kept
            if now_s < one.until_s
            and self._directory.standing(kind, [envelope_id]).get(envelope_id) is not Standing.HELD
        )

    # -- sending ---------------------------------------------------------------------------------

    def of_row(self, row: StoredRow) -> Preview | None:
        """What may be sent ahead of a record here; None when it may not, or does not fit."""
        from ciris_mesh.records.envelope import parse_envelope

        if row.kind not in REMOVALS:
            return None
        batch = encode_batch([(row.kind, first_half(row.kind, row.envelope))])
        if len(batch) > PREVIEW_BATCH_BYTES_MAX:
            return None
        if not self.has_standing(parse_envelope(row.kind, row.envelope)):
            return None
        return Preview(row.envelope_id, batch)
