"""The record store's interface: in memory and on SQLite behave the same, one test suite says so.

Shelves say where a row stands *here*; the attestation's signed column `tier` is another thing.
`holdings` is what this node has; what it may offer to whom is the bridge's question.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Protocol

from ciris_mesh.records.cosigning import copy_id
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.wire.messages import EnvelopeRef

if TYPE_CHECKING:
    from ciris_mesh.directory.foresight import Foresight


class Shelf(IntEnum):
    """Where a row stands. Only FEDERATION is ever listed to a peer.

    What a voucher spoke for is fetched from BRIDGED by who asks for it by its id.
    """

    LOCAL = 0
    BRIDGED = 1
    FEDERATION = 2


@dataclass(frozen=True, slots=True)
class Source:
    """Where an envelope came from.

    Attributes:
        path: "peer", "own", "import", "registry" or "unattributed"; a counter label. A registry
            is a peer of other software: what it delivers is bridged unless our rules hold.
        peer: the attributed key id when the path is "peer" or "registry"; bounds are per peer.
            Without it the source counts as unattributed.
    """

    path: str
    peer: str = ""


OWN = Source("own")
#: Bridged rows out of another store of this operator's. No key id looks like this.
COPIED = Source("registry", "(copy)")
UNATTRIBUTED = Source("unattributed")


class Standing(Enum):
    """How well an envelope id is known here."""

    HELD = "held"  # on the federation or the local shelf
    BRIDGED = "bridged"  # held, but a signed copy would move it up
    DEFERRED = "deferred"  # bytes that claim this id wait; nothing about them is certain


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row as held.

    Attributes:
        envelope: the exact bytes received or authored; what is served again.
        signers: key ids whose signatures were verified before the row was written.
        admitted_at_ms: this node's clock; never enters a hash.
        introduced: a record by one of ours relies on it, so it is passed on with that one.
    """

    kind: EnvelopeKind
    envelope_id: bytes
    shelf: Shelf
    seq: int
    subject: str
    signers: tuple[str, ...]
    envelope: bytes
    admitted_at_ms: int
    introduced: bool = False

    @property
    def copy_id(self) -> bytes:
        """What this row is called where who signed it matters."""
        return copy_id(self.kind, self.envelope_id, self.signers)


@dataclass(frozen=True, slots=True)
class RowHead:
    """A federation-shelf row without its bytes: what it takes to decide whom it goes to."""

    kind: EnvelopeKind
    envelope_id: bytes
    seq: int
    subject: str
    signers: tuple[str, ...]
    introduced: bool

    @property
    def copy_id(self) -> bytes:
        """As of a `StoredRow`."""
        return copy_id(self.kind, self.envelope_id, self.signers)


@dataclass(frozen=True, slots=True)
class SetDigest:
    """What a set of envelope ids hashes to. Equal digests mean equal sets (SHA-256)."""

    count: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class PoolSizes:
    """How full the bounded pools are."""

    deferred: int
    first_contact: int
    refused: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """What a peer delivered, waited here and made room for something else: no longer known."""

    peer: str
    kind: EnvelopeKind
    envelope_id: bytes
    copy_id: bytes


@dataclass(frozen=True, slots=True)
class HeldCopy:
    """A federation-shelf row that some copy belongs to.

    Attributes:
        copy_id: of the row, with all who signed it by now.
    """

    envelope_id: bytes
    copy_id: bytes


@dataclass(frozen=True, slots=True)
class Served:
    """The answer to a Diff or Fetch.

    Attributes:
        envelopes: stored bytes, verbatim, in the order asked for.
        sent_ids: their ids.
        unserved: (id, "not_held" | "not_offered" | "over_budget" | "too_often" | "given_before")
            for the rest; for counters and the next round, never for the peer, who must not learn
            what is withheld.
    """

    envelopes: tuple[bytes, ...]
    sent_ids: tuple[bytes, ...]
    unserved: tuple[tuple[bytes, str], ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that is on no shelf yet.

    Attributes:
        position: grows with arrival; `after` goes on from there.
        signers: key ids it claims; unverified while one of them is unknown.
        source: who brought it first.
        waits_for: tokens (`records.tokens`) of which one or all release it.
        not_before_ms: Unix ms until which it is dated ahead of this clock; 0 when it is not.
        since_ms: Unix ms at which it came; None for before this process started.
    """

    position: int
    kind: EnvelopeKind
    envelope_id: bytes
    signers: tuple[str, ...]
    source: Source
    waits_for: tuple[str, ...]
    not_before_ms: int
    since_ms: int | None
    size_bytes: int


class ReplicationDirectory(Protocol):
    """A store of verified records. All methods are thread-safe; `close` once.

    Attributes:
        foresight: reads what `admit_many` will be asked with, and has it checked meanwhile.
    """

    foresight: Foresight

    @property
    def trust(self) -> Trust:
        """What this node's configuration says of others."""
        ...

    def admit(self, kind: EnvelopeKind, envelope: bytes, source: Source, *, now_ms: int) -> Verdict:
        """Verify, then store. Returns only after the write is durable.

        A record that arrives may release deferred ones; they are admitted in the same call.
        Of kinds 4 to 10, whose ids do not cover who signed, a copy with a verified signer who
        counts and whom ours lacks is Upgraded: the union is kept. One without is Duplicate.
        A stranger's key (unattributed) ends as Deferred(first_contact): held, on no shelf.
        """
        ...

    def admit_many(
        self, kind: EnvelopeKind, envelopes: Sequence[bytes], source: Source, *, now_ms: int
    ) -> list[Verdict]:
        """As `admit`, one verdict each in order, with one commit for the batch."""
        ...

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """Point read by envelope id, any shelf."""
        ...

    def get_many(self, kind: EnvelopeKind, ids: Sequence[bytes]) -> dict[bytes, StoredRow]:
        """As `get`: those of `ids` that are here, all of them in memory at once."""
        ...

    def brought_by(self, kind: EnvelopeKind, envelope_id: bytes) -> str:
        """Which registry node or peer a bridged row came from; "" for other rows, and old ones."""
        ...

    def holdings(self, kind: EnvelopeKind) -> list[EnvelopeRef]:
        """Refs of every federation-shelf row, newest `seq` first."""
        ...

    def signers(self, kind: EnvelopeKind) -> dict[bytes, tuple[str, ...]]:
        """Envelope id -> verified signers, federation shelf. For deciding what to offer."""
        ...

    def newest(
        self,
        kind: EnvelopeKind,
        charged: Callable[[tuple[str, ...]], tuple[str, ...]],
        *,
        limit: int,
        by_copy: bool = False,
    ) -> tuple[list[EnvelopeRef], int]:
        """Refs of federation-shelf rows, newest `seq` first, and how many the limit left out.

        Reads row by row: the memory it takes depends on `limit`, not on how much is held.

        Args:
            charged: verified signers -> those a row counts against, who take turns when there
                is more than `limit`; () leaves the row out, unless it is introduced: then it
                counts against its signers.
            by_copy: name rows by their copy ids.
        """
        ...

    def unknown(self, kind: EnvelopeKind, ids: Iterable[bytes]) -> list[bytes]:
        """Those of `ids` neither held on any shelf nor deferred here, in the order given."""
        ...

    def lacks(self, kind: EnvelopeKind, envelope_id: bytes, *, now_ms: int) -> Verdict | None:
        """Why a row is only bridged, judged anew: `reason` and `detail`. None for other rows."""
        ...

    def standing(self, kind: EnvelopeKind, ids: Iterable[bytes]) -> dict[bytes, Standing]:
        """How well each of `ids` is known; unknown ones are left out."""
        ...

    def copies(self, kind: EnvelopeKind, names: Iterable[bytes]) -> dict[bytes, HeldCopy]:
        """What is on the federation shelf of the records that these are copies of.

        Also takes envelope ids. Left out: records not there, and a copy that is not the one held
        where two records might be meant.
        """
        ...

    def digest(self, kind: EnvelopeKind) -> SetDigest:
        """Digest over the copy ids of the federation shelf.

        Kept incrementally, reads no table when unchanged.
        """
        ...

    def generation(self, kind: EnvelopeKind) -> int:
        """Grows whenever a row of `kind` changes on the federation shelf. For caches."""
        ...

    def rooted(self) -> frozenset[str]:
        """Keys with a chain of signatures to a configured root. The same object until it grows."""
        ...

    @property
    def followed(self) -> int | None:
        """How many rows of others in a shared database were taken over since start.

        None when nobody else can write there.
        """
        ...

    def closed(self) -> frozenset[EnvelopeKind]:
        """Kinds of which nothing can be admitted under this configuration."""
        ...

    def favour(self, friends: Callable[[], frozenset[str]]) -> None:
        """Ask `friends`, besides the rooted, whose records may be brought without limit.

        Called once per batch and whenever signers of one record compete for room, with no lock
        held.
        """
        ...

    def public_key(self, key_id: str) -> HybridPublicKey | None:
        """The verified key behind `key_id`, federation shelf or first contact."""
        ...

    def rows(
        self, kind: EnvelopeKind | None = None, *, limit: int, after: int = 0
    ) -> Iterator[tuple[int, StoredRow]]:
        """(position, row) in admission order after position `after`, at most `limit`."""
        ...

    def named_rows(self, name: str, *, limit: int, others: int = 0) -> list[StoredRow]:
        """Rows that answer to a name (`records.names`) or token, in admission order.

        First at most `limit` of the federation shelf, then at most `others` of other shelves,
        which answer to no token (`records.tokens`). Reads an index, however much is held.
        """
        ...

    def vouched_rows(self, name: str, vouchers: Collection[str], *, limit: int) -> list[StoredRow]:
        """Rows off the federation shelf that answer to a name and that one of these vouched for.

        In admission order, whether or not the vouch still stands. What else is off that shelf,
        and how much, is looked through in the index and keeps none of these out.
        """
        ...

    def signers_named(self, name: str, *, limit: int) -> list[tuple[str, ...]]:
        """Signers of federation-shelf rows that answer to a name, a row each; at most `limit`."""
        ...

    def all_named_rows(self, name: str) -> Iterator[StoredRow]:
        """All of them, in admission order; read in pages, so take as many as you need."""
        ...

    def heads(self, kind: EnvelopeKind) -> list[RowHead]:
        """Every federation-shelf row of a kind, in no order."""
        ...

    def heads_named(self, names: Sequence[str]) -> list[RowHead]:
        """Federation-shelf rows that answer to any of these names, each once. Reads an index."""
        ...

    def heads_relied(self, heads: Sequence[RowHead]) -> list[RowHead]:
        """Federation-shelf rows without which these could not have been admitted, each once."""
        ...

    def ended(
        self, kind: EnvelopeKind, first_day: int, kinds: Collection[EnvelopeKind]
    ) -> frozenset[bytes]:
        """Ids of federation-shelf rows that ended before that day, counted from 1970.

        Without those that a row of `kinds` relied on: it would have to wait for ever elsewhere.
        """
        ...

    def waiting(self, *, limit: int, after: int = 0) -> list[Waiting]:
        """What waits for another record or for its time, the longest waiting first."""
        ...

    def counts(self) -> dict[tuple[EnvelopeKind, Shelf], int]:
        """Rows per kind and shelf; zero rows are left out."""
        ...

    def pools(self) -> PoolSizes:
        """How full the bounded pools are."""
        ...

    def drain_evicted(self) -> list[Evicted]:
        """What made room since the last call, oldest first; of very much only the newest.

        Whoever asks peers for records should wait before it asks for these again.
        """
        ...

    def outcome_counts(self) -> dict[tuple[str, str, str], int]:
        """(path, outcome, reason) -> how often, since start."""
        ...

    def troubles(self) -> tuple[str, ...]:
        """What is wrong with the store itself, a line each: a stable name, a colon, what to do.

        Reads nothing: it is asked when the store may not answer.
        """
        ...

    def promote_first_contact(self, key_id: str, *, now_ms: int) -> Verdict | None:
        """Move a first-contact key onto the federation shelf (its owner became a peer).

        None when no such key waits.
        """
        ...

    def retry_due(self, now_ms: int) -> list[Verdict]:
        """Look again at what was dated ahead of us and is not any more. `admit` does so too.

        And at some of what a record released that released too much to be judged in one call.
        """
        ...

    def close(self) -> None:
        """Release the store. Idempotent."""
        ...
