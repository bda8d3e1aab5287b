"""The directory over any store: admission carried out, pools, digests, counters. Written once.

Locks, in the order they may be taken:

    writer  (commit.GroupCommit)  one transaction at a time
    state   (here)                pool indexes, digests, generations, counters

Verification runs under neither. A generation grows after its commit is visible, so whoever reads
a generation first and rows second never takes rows older than that generation.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from ciris_mesh.directory.admission import Admission
from ciris_mesh.directory.base import (
    Evicted,
    PoolSizes,
    SetDigest,
    Shelf,
    Source,
    Standing,
    Waiting,
)
from ciris_mesh.directory.buckets import BucketDigests
from ciris_mesh.directory.commit import GroupCommit
from ciris_mesh.directory.floor import TimeFloor
from ciris_mesh.directory.foresight import Foreseen, Foresight
from ciris_mesh.directory.introducing import Introductions
from ciris_mesh.directory.judgement import DEFERRED, FIRST_CONTACT, Candidate, Judgement, candidate
from ciris_mesh.directory.keycache import KeyCache, public_key_in
from ciris_mesh.directory.placing import Placed, Placing
from ciris_mesh.directory.pools import (
    DeferredPool,
    FirstContactPool,
    PoolLimits,
    PublishedLog,
    RefusalMemory,
    missing_signers,
    put_out,
)
from ciris_mesh.directory.quotas import Quotas
from ciris_mesh.directory.reading import StoreReading
from ciris_mesh.directory.rejudging import lacked
from ciris_mesh.directory.rooting import Rooting
from ciris_mesh.directory.store import Name, PooledEntry, Store, shelves_of
from ciris_mesh.directory.verifying import Verifiers
from ciris_mesh.directory.views import Views
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.rules.base import Trust

logger = logging.getLogger(__name__)

#: Evictions kept until somebody asks: one batch evicts at most what one Deliver holds.
EVICTED_MAX: Final = 8192

#: Waiting records that one call looks at again because of what it brought: a quarter of a second.
#: The rest is overdue.
RELEASES_MAX: Final = 256

#: Overdue ones looked at each time anything is admitted: a verification takes about a millisecond,
#: so nobody notices. `retry_due`, which is nobody's round, takes more.
OVERDUE_BATCH: Final = 64

#: Times one call judges again what others wrote meanwhile: only a whole new database takes more.
AGAIN_MAX: Final = 16

#: Tokens remembered for judgements under way: more than one commit publishes.
PUBLISHED_MAX: Final = 4096

_View = TypeVar("_View")


class DirectoryCore(StoreReading):
    """Everything a directory does that does not depend on where its rows are kept.

    Args:
        pinned: key id -> SHA-256 fingerprint; added to those of `trust`.
        trust: what this node's configuration says of others; without it everything is denied.
        limits: how much may wait.

    Attributes:
        foresight: batches that were read before they ask to come in.
    """

    def __init__(
        self,
        store: Store,
        *,
        pinned: Mapping[str, bytes] | None = None,
        trust: Trust | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        trust = trust or Trust()
        trust = replace(trust, pinned={**trust.pinned, **(pinned or {})})
        self._store = store
        self._limits = limits or PoolLimits()
        self._state = threading.Lock()
        self._commit = GroupCommit(store, self._committed, self._rolled_back)
        self._trust = trust
        self._friends: Callable[[], frozenset[str]] = frozenset
        self._floor = TimeFloor()
        self._admission = Admission(self, trust)
        self.foresight = Foresight(self, self._admission)
        self._refusals = RefusalMemory(self._limits)
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._generations = dict.fromkeys(EnvelopeKind, 0)
        self._keys = KeyCache(store)
        self._touched: set[tuple[EnvelopeKind, int]] = set()
        self._published = PublishedLog(PUBLISHED_MAX)
        self._publishing: set[str] = set()
        self._learned: dict[str, HybridPublicKey] = {}
        self._views = Views(store)
        self._evicted: deque[Evicted] = deque(maxlen=EVICTED_MAX)
        self._load()

    # -- the one way in ----------------------------------------------------------------------

    def admit(self, kind: EnvelopeKind, envelope: bytes, source: Source, *, now_ms: int) -> Verdict:
        """Verify, then store. Returns only after the write is durable."""
        return self.admit_many(kind, [envelope], source, now_ms=now_ms)[0]

    def admit_many(
        self, kind: EnvelopeKind, envelopes: Sequence[bytes], source: Source, *, now_ms: int
    ) -> list[Verdict]:
        """As `admit`, one verdict each in order, with one commit for the batch."""
        now_ms = self._plausible(now_ms)
        foreseen = self.foresight.find(kind, envelopes, source)
        asked = foreseen.asked if foreseen else [candidate(kind, it, source) for it in envelopes]
        digests = {what.digest for what in asked}
        due = [
            what for what in self._due(now_ms, overdue=OVERDUE_BATCH) if what.digest not in digests
        ]
        verdicts = self._settle([*asked, *due], now_ms, foreseen, durable=source.path == "own")
        answers: list[Verdict] = []
        for what in asked:
            verdict = verdicts[what.digest]
            if what.digest not in digests and verdict.outcome.is_change:
                verdict = replace(verdict, outcome=Outcome.DUPLICATE, detail="")
            digests.discard(what.digest)
            answers.append(verdict)
        return answers

    def retry_due(self, now_ms: int) -> list[Verdict]:
        """Look again at what was dated ahead of us and is not any more, and at what is overdue."""
        now_ms = self._plausible(now_ms)
        if self._admission.verifiers is not None:
            self._admission.verifiers.reap()
        due = self._due(now_ms, overdue=RELEASES_MAX)
        return list(self._settle(due, now_ms, durable=False).values())

    def promote_first_contact(self, key_id: str, *, now_ms: int) -> Verdict | None:
        """Move a first-contact key, and its occurrences, onto the federation shelf."""
        with self._state:
            waiting = self._strangers.of(key_id)
        owner = Source("peer", key_id)
        candidates = [what for entry in waiting if (what := self._fetch(entry, owner))]
        if not candidates:
            return None
        return self._settle(candidates, now_ms, durable=True).get(waiting[0].digest)

    def _settle(
        self,
        pending: list[Candidate],
        now_ms: int,
        foreseen: Foreseen | None = None,
        *,
        durable: bool,
    ) -> dict[bytes, Verdict]:
        """Judge and place until nothing more is released. One verdict per distinct bytes."""
        verdicts: dict[bytes, Verdict] = {}
        friends = self._friends()
        room, again = RELEASES_MAX, 0
        while pending:
            with self._state:
                mark = self._published.mark  # what was published by now, judging can read
            if foreseen is None:
                judged = self._admission.judge_all(pending, now_ms)
            else:
                judged, foreseen = self._admission.judge_all(pending, now_ms, foreseen), None
            placed = self._place(judged, friends, mark, durable=durable)
            with self._state:
                self._take_note(placed, verdicts)
                self._deferred.date(now_ms)
            released = self._released(placed, room)
            room -= len(released)
            pending = [*(what for what in placed.again if not what.is_waiting), *released]
            if placed.again:
                again += 1
                self._catch_up()
            if again > AGAIN_MAX:
                self._call_held(placed.again, verdicts)
                pending = released
        return verdicts

    def _catch_up(self) -> None:
        """What is judged again shall see what came meanwhile. Here it does anyway."""

    def _call_held(self, asked: Iterable[Candidate], verdicts: dict[bytes, Verdict]) -> None:
        """Each of these is here by another way, which this node has yet to look at."""
        with self._state:
            for what in asked:
                envelope_id = parse_envelope(what.kind, what.raw).envelope_id
                verdict = Verdict(Outcome.DUPLICATE, Reason.NONE, what.kind, envelope_id)
                self._take_note(Placed(settled=[(what, verdict)]), verdicts)

    def _place(
        self, judged: list[Judgement], friends: frozenset[str], mark: int, *, durable: bool
    ) -> Placed:
        with self._state:
            if self._placing.is_settled(judged):
                return self._placing.place(judged)

        def job() -> Placed:
            with self._state:
                self._placing.befriend(friends)
                placed = self._placing.place(judged, friends, mark)
                self._save_digests()
            return placed

        return self._commit.run(job, durable=durable)

    def _take_note(self, placed: Placed, verdicts: dict[bytes, Verdict]) -> None:
        for what, verdict in placed.settled:
            self._outcomes[what.source.path, verdict.outcome.value, verdict.reason.value] += 1
            before = verdicts.get(what.digest)
            if before is None or not before.outcome.is_change:
                verdicts[what.digest] = verdict
        for entry in placed.evicted:
            verdict = put_out(entry)
            self._outcomes["pool", verdict.outcome.value, verdict.reason.value] += 1
            if entry.source.path == "peer":
                peer = entry.source.peer
                self._evicted.append(Evicted(peer, entry.kind, entry.envelope_id, entry.copy_id))
            before = verdicts.get(entry.digest)
            if before is not None and before.outcome is Outcome.DEFERRED:
                verdicts[entry.digest] = verdict

    def _released(self, placed: Placed, room: int) -> list[Candidate]:
        """What waited for what was written, or under the same id; the latter only if it may join.

        What was vouched for may stand without what it waits for. A copy whose signers are still
        unknown has nothing new to say. What was judged too early goes with them. The oldest come
        first, and what there is no room for is postponed.
        """
        with self._state:
            siblings = [entry for entry in map(self._deferred.get, placed.siblings) if entry]
            entries = {entry.digest: entry for entry in siblings if not missing_signers(entry)}
            vouched = (self._deferred.get(digest) for digest in placed.vouched)
            entries |= {entry.digest: entry for entry in vouched if entry}
            early = (self._deferred.get(what.digest) for what in placed.again if what.is_waiting)
            entries |= {entry.digest: entry for entry in early if entry}
            for entry in self._deferred.release(dict.fromkeys(placed.published)):
                entries[entry.digest] = entry
            released = self._deferred.oldest_first(entries.values())
            self._deferred.postpone(released[room:])
        return self._fetch_all(released[:room])

    def _due(self, now_ms: int, *, overdue: int) -> list[Candidate]:
        with self._state:
            entries = self._deferred.due(now_ms)[:RELEASES_MAX]
            entries += self._deferred.take_overdue(overdue)
        return self._fetch_all(entries)

    def _fetch_all(self, entries: Iterable[PooledEntry]) -> list[Candidate]:
        return [what for entry in entries if (what := self._fetch(entry, entry.source))]

    def _fetch(self, entry: PooledEntry, source: Source) -> Candidate | None:
        """The pooled bytes as a candidate; None when they have just left the pool."""
        raw = self._store.pool_envelope(entry.pool, entry.digest)
        if raw is None:
            return None
        is_waiting = entry.pool == DEFERRED
        return Candidate(entry.kind, raw, source, entry.digest, entry.proven, is_waiting)

    # -- what admission asks (admission.Known) -------------------------------------------------

    def on_federation_shelf(self, names: Sequence[Name]) -> frozenset[Name]:
        """Those of `names` that have a row on the federation shelf."""
        found = shelves_of(self._store, names)
        return frozenset(name for name, shelf in found.items() if shelf is Shelf.FEDERATION)

    def is_trusted(self, key_id: str) -> bool:
        """Does this node pass on what this key signed?"""
        if key_id in self._friends():
            return True
        with self._state:
            return key_id in self._rooting.keys

    def federation_key(self, key_id: str) -> HybridPublicKey | None:
        """The key on the federation shelf."""
        return self._keys.get(key_id)

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[tuple[Name, _View]]:
        """Each record that answers to this token, by name, and what `read` makes of it, kept."""
        return self._views.of(token, read)

    def stewards(self) -> frozenset[str]:
        """Rooted stewards, as far as committed."""
        with self._state:
            return self._stewards

    def first_contact_key(self, key_id: str) -> HybridPublicKey | None:
        """The key in the first-contact pool."""
        with self._state:
            entry = self._strangers.key(key_id)
        raw = self._store.pool_envelope(FIRST_CONTACT, entry.digest) if entry else None
        return public_key_in(raw) if raw is not None else None

    def remembered_refusal(self, digest: bytes, now_ms: int) -> Verdict | None:
        """What was said about exactly these bytes."""
        with self._state:
            return self._refusals.get(digest, now_ms)

    def remember_refusal(self, digest: bytes, verdict: Verdict, now_ms: int) -> None:
        """Say it again without looking, for a while."""
        with self._state:
            self._refusals.put(digest, verdict, now_ms)

    # -- reading -----------------------------------------------------------------------------

    def standing(self, kind: EnvelopeKind, ids: Iterable[bytes]) -> dict[bytes, Standing]:
        """How well each of `ids` is known; unknown ones are left out."""
        asked = list(ids)
        with self._state:
            found = {
                envelope_id: Standing.DEFERRED
                for envelope_id in asked
                if self._deferred.holds_id(kind, envelope_id)
            }
        for envelope_id, shelf in self._store.shelves(kind, asked).items():
            found[envelope_id] = Standing.BRIDGED if shelf is Shelf.BRIDGED else Standing.HELD
        return found

    def lacks(self, kind: EnvelopeKind, envelope_id: bytes, *, now_ms: int) -> Verdict | None:
        """See ReplicationDirectory."""
        row = self.get(kind, envelope_id)
        return None if row is None else lacked(self._admission, row, now_ms)

    def digest(self, kind: EnvelopeKind) -> SetDigest:
        """Digest of the federation shelf; reads no table when unchanged."""
        with self._state:
            return self._digests[kind].current()

    def generation(self, kind: EnvelopeKind) -> int:
        """Grows whenever a row of `kind` changes on the federation shelf; 0 at start."""
        with self._state:
            return self._generations[kind]

    def rooted(self) -> frozenset[str]:
        """Keys with a chain of signatures to a configured root."""
        with self._state:
            return self._rooting.keys.ids()

    def favour(self, friends: Callable[[], frozenset[str]]) -> None:
        """Ask `friends`, besides the rooted, whose records may be brought without limit."""
        self._friends = friends

    def doubt_clock(self, is_doubted: Callable[[], bool]) -> None:
        """Ask `is_doubted` whether nobody vouches for the clock.

        Then, and only then, two rooted keys that signed later times show that it is behind, and
        records are judged as of what those times leave no doubt of. Nothing is signed by that.
        """
        with self._state:
            self._floor.doubt(is_doubted)

    def not_before_ms(self) -> int:
        """A time that has passed, as two rooted keys show; 0 when nothing shows one."""
        with self._state:
            return self._floor.ms

    def _plausible(self, now_ms: int) -> int:
        with self._state:
            rooted = self._rooting.keys
            return self._floor.plausible(now_ms, lambda: self._deferred.attested_ms(rooted.ids()))

    def employ(self, verifiers: Verifiers) -> None:
        """Let them check the signatures of large batches. Their owner stops them."""
        self._admission.verifiers = verifiers

    def public_key(self, key_id: str) -> HybridPublicKey | None:
        """The verified key behind `key_id`, federation shelf or first contact."""
        return self.federation_key(key_id) or self.first_contact_key(key_id)

    def pools(self) -> PoolSizes:
        """How full the bounded pools are."""
        with self._state:
            return PoolSizes(len(self._deferred), len(self._strangers), len(self._refusals))

    def waiting(self, *, limit: int, after: int = 0) -> list[Waiting]:
        """What waits for another record or for its time, the longest waiting first."""
        with self._state:
            return self._deferred.since(after=after, limit=limit)

    def drain_evicted(self) -> list[Evicted]:
        """What made room since the last call, oldest first."""
        with self._state:
            evicted = list(self._evicted)
            self._evicted.clear()
        return evicted

    def outcome_counts(self) -> dict[tuple[str, str, str], int]:
        """(path, outcome, reason) -> how often, since start."""
        with self._state:
            return dict(self._outcomes)

    def close(self) -> None:
        """Release the store. Idempotent."""
        self._commit.close(self._finish)

    # -- keeping memory in step with the store -------------------------------------------------

    def _load(self) -> None:
        self._deferred = DeferredPool(self._limits)
        self._strangers = FirstContactPool(self._limits)
        for entry in self._store.pool_entries():
            if entry.pool == DEFERRED:
                self._deferred.add(entry)
            else:
                self._strangers.add(entry)
        self._deferred.date(None)
        self._digests = {kind: self._load_digests(kind) for kind in EnvelopeKind}
        self._rooting = Rooting.found(self._store, self._trust, self.named)
        self._stewards = self._rooting.stewards.ids()
        self._placing = Placing(
            self._store,
            self._deferred,
            self._strangers,
            self._keys.read,
            self._touched,
            Quotas(self._store, self._limits, self._rooting.keys),
            self._rooting,
            Introductions(self._store, self._touched, self._rooting.keys),
            self._published,
            self._publishing,
            self._learned,
        )
        # A crash between a commit and what it releases leaves entries that wait for what is here,
        # and the configuration may trust somebody it did not.
        self._deferred.postpone_waiting()

    def _load_digests(self, kind: EnvelopeKind) -> BucketDigests:
        saved = self._store.saved_buckets(kind)

        def read_ids(bucket: int) -> list[bytes]:
            return self._store.bucket_copies(kind, bucket)

        return BucketDigests(read_ids, saved.clean, saved.dirty)

    def _save_digests(self) -> None:
        """Note in the running transaction which digests are current and which no longer are."""
        for kind, digests in self._digests.items():
            if clean := digests.unsaved():
                self._store.save_buckets(kind, clean)
                digests.mark_saved(clean)
        for kind in {kind for kind, _ in self._touched}:
            news = self._digests[kind].note(bucket for k, bucket in self._touched if k is kind)
            self._store.mark_buckets(kind, news)

    def _committed(self) -> None:
        with self._state:
            for kind, bucket in self._touched:
                self._digests[kind].mark([bucket])
            for kind in {kind for kind, _ in self._touched}:
                self._generations[kind] += 1
            self._touched.clear()
            self._keys.keep(self._learned)
            self._learned.clear()
            self._stewards = self._rooting.stewards.ids()
            if self._publishing:
                self._published.add(self._publishing)
                self._publishing.clear()

    def _rolled_back(self) -> None:
        with self._state:
            self._touched.clear()
            self._learned.clear()
            self._publishing.clear()
            self._load()

    def _finish(self) -> None:
        try:
            with self._state, self._store.transaction(durable=True):
                self._save_digests()
        except DirectoryError as error:  # a full disk: they are made again, as after a power cut
            logger.warning("store.digests_not_kept error=%s", error)
        finally:
            self._store.close()
