"""How much of the card others may fill: records by signers nobody here knows, and repetitions.

Keys are free to make, and each opens the door for what it signs. So whoever is neither this node,
nor a peer, nor pinned, nor rooted may have so many records here, and each peer may bring so many
of such signers' records. Nothing of it is offered to anybody. What only stands bridged has a share
of its own for each registry node, or peer, that brought it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

from ciris_mesh.directory.base import COPIED, Shelf, Source, StoredRow
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.store import Store
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.envelope import SIGNERS_MAX
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.tokens import is_same_token

#: Rows that say the same. Honest ones are few: a partner record sent on before and after one more
#: steward signed it, a withdrawal made again after a restore. Relays can make more of one partner
#: record by leaving signatures out, and who signs can by signing again: 8 rows are 100 kB.
SAME_MAX: Final = 8

_BRIDGED: Final = "bridged "

#: Counts kept at hand, so that a full share is not counted again for each record: 100 B each.
COUNTS_MAX = 4096


def bridged_label(source: Source) -> str:
    """Under which name bridged rows by a source are counted, beside those of strangers.

    With a space, as no key id has one.
    """
    return f"{_BRIDGED}{source.peer or source.path}"


def bridged_by(label: str) -> str:
    """Who brought a row that is counted so; "" when it is counted otherwise or not at all."""
    return label.removeprefix(_BRIDGED) if label.startswith(_BRIDGED) else ""


def is_ours(kind: EnvelopeKind, signers: Sequence[str], is_friend: Callable[[str], bool]) -> bool:
    """Is every signer one of ours? The strictest reading of "whose records".

    Except where anybody may add a signature under the same id: there one of ours is enough, or
    adding one would keep the record from being passed on.
    """
    if len(signers) == 1:
        return is_friend(signers[0])
    if is_cosigned(kind):
        return any(map(is_friend, signers))
    return bool(signers) and all(map(is_friend, signers))


def same_token(tokens: Sequence[str]) -> str | None:
    """The one by which rows that say the same as one with these tokens are counted."""
    for one in tokens:
        if is_same_token(one):
            return one
    return None


class Quotas:
    """Shares of strangers' records. Used by the writer only, inside a transaction."""

    def __init__(self, store: Store, limits: PoolLimits, rooted: Container[str]) -> None:
        self._store = store
        self._limits = limits
        self._rooted = rooted
        self._counts: dict[tuple[str, str], int] = {}

    def problem(self, row: StoredRow, source: Source, friends: Container[str]) -> Reason:
        """Why there is no room for this row; NONE when there is."""
        if row.shelf is Shelf.BRIDGED:
            is_full = self._bridged(source) >= self._limits.bridged_rows_per_source
            return Reason.BRIDGED_QUOTA if is_full and source != COPIED else Reason.NONE
        if not _is_charged(row, source, is_ours=self.is_ours(row, friends)):
            return Reason.NONE
        signer, peer = row.signers[0], source.peer
        if self._signed(signer) >= self._limits.stranger_rows_per_signer:
            return Reason.SIGNER_QUOTA
        if self._brought(peer) >= self._limits.stranger_rows_per_peer:
            return Reason.PEER_QUOTA
        return Reason.NONE

    def times_said(self, same: str | None) -> int:
        """How many rows say what a row with this `same_token` says; counted up to SAME_MAX."""
        return len(self._store.subjects(same, limit=SAME_MAX, after=0)) if same else 0

    def is_said_enough(self, row: StoredRow, same: str | None) -> bool:
        """Is what this row says here often enough, each time by as many signers or more?

        Leaving signatures out of a partner record makes others of the same content, which anybody
        can do. They must not keep out the one with more: of those there are at most `SIGNERS_MAX`.
        """
        if same is None:
            return False
        held = self._store.named(same, limit=SAME_MAX + SIGNERS_MAX, after=0)
        most = max((len(one.signers) for _, one in held), default=0)
        return len(held) >= SAME_MAX and len(row.signers) <= most

    def charge(self, row: StoredRow, source: Source, *, is_ours: bool) -> None:
        """Count a row that was just written, by one of ours or not."""
        if row.shelf is Shelf.BRIDGED:
            label = bridged_label(source)
            count = self._bridged(source)
            self._store.note_stranger(row, label, label)
            self._counts["peer", label] = count + 1
            return
        if not _is_charged(row, source, is_ours=is_ours):
            return
        signer, peer = row.signers[0], source.peer
        signed, brought = self._signed(signer), self._brought(peer)
        self._store.note_stranger(row, peer, signer)
        self._counts["signer", signer] = signed + 1
        self._counts["peer", peer] = brought + 1

    def release(self, row: StoredRow) -> None:
        """A row leaves the bridged shelf: it is nobody's share there any more."""
        name = row.kind, row.envelope_id
        self._counts.pop(("peer", self._store.charged_to(name)), None)  # no other share changed
        self._store.drop_stranger(name)

    def forget(self) -> None:
        """Count afresh: some rows are no stranger's any more."""
        self._counts.clear()

    def is_ours(self, row: StoredRow, friends: Container[str]) -> bool:
        """Said by friends, or by rooted keys."""
        return is_ours(row.kind, row.signers, lambda name: name in friends or name in self._rooted)

    def _signed(self, signer: str) -> int:
        limit, read = self._limits.stranger_rows_per_signer, self._store.strangers_by
        return self._count("signer", signer, read, limit)

    def _brought(self, peer: str) -> int:
        limit = self._limits.stranger_rows_per_peer
        return self._count("peer", peer, self._store.strangers_of, limit)

    def _bridged(self, source: Source) -> int:
        label, limit = bridged_label(source), self._limits.bridged_rows_per_source
        return self._count("peer", label, self._store.strangers_of, limit)

    def _count(self, what: str, name: str, read: Callable[..., int], limit: int) -> int:
        known = self._counts.get((what, name))
        if known is not None:
            return known
        if len(self._counts) >= COUNTS_MAX:
            self._counts.clear()
        self._counts[what, name] = count = read(name, limit=limit)
        return count


def _is_charged(row: StoredRow, source: Source, *, is_ours: bool) -> bool:
    """What peers bring, unless it is by somebody we know or the peer's own."""
    if is_ours or source.path != "peer" or row.shelf is not Shelf.FEDERATION:
        return False
    return source.peer not in row.signers
