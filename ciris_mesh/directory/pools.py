"""The bounded waiting rooms: deferred envelopes, first contact, and remembered refusals.

Everything here can be grown by others, so everything has a limit, and who fills a limit loses
first: the oldest entry of whichever source holds most of the overfull share makes room. An
evicted envelope is counted and no longer known; whoever offers it is asked again.

These classes index entries in memory; the bytes stay in the store. Not thread-safe: the owner
holds a lock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from ciris_mesh.directory.base import Source, Waiting
from ciris_mesh.directory.store import PooledEntry
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.tokens import key_token


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How much may wait. The defaults suit a Raspberry Pi.

    Attributes:
        deferred_total: all waiting envelopes; their index costs about 1 kB each, tokens apart.
        deferred_per_source: of one peer (or the command line): three such peers never fill it.
        deferred_per_signer: claimed to be by one key; more come when what they wait for does.
        deferred_bytes: their envelopes and tokens together: what a full pool writes to a small
            card, and most of the memory it takes.
        first_contact_keys: strangers' keys; 12 kB each, so under 3 MB.
        first_contact_occurrences: per stranger: one per device it would plausibly run.
        stranger_rows_per_signer: on the shelf, by one signer who is neither peer nor pinned nor
            rooted: 16 MB, years of what an honest one says.
        stranger_rows_per_peer: of such signers, brought by one peer: 80 MB, a large community.
        bridged_rows_per_source: on the bridged shelf, brought by one registry node or, where a
            voucher named them, one peer: a full offer of one kind, 100 MB.
        refusals: remembered verdicts on bytes; about 400 B each.
        refusal_ttl_ms: an hour, so that a mistake of ours does not outlive an update by much.
    """

    deferred_total: int = 4096
    deferred_per_source: int = 1024
    deferred_per_signer: int = 512
    deferred_bytes: int = 16 << 20
    first_contact_keys: int = 256
    first_contact_occurrences: int = 4
    stranger_rows_per_signer: int = 4_096
    stranger_rows_per_peer: int = 20_000
    bridged_rows_per_source: int = 50_000
    refusals: int = 8192
    refusal_ttl_ms: int = 3_600_000


def source_label(source: Source) -> str:
    """Whose share an entry counts against."""
    return f"{source.path}:{source.peer}"


#: What the index of one token costs in memory, besides its text.
TOKEN_BYTES: Final = 256


def held_bytes(entry: PooledEntry) -> int:
    """What an entry counts for: its envelope, which is on disk, and its tokens, in memory."""
    tokens = entry.waits_for
    return entry.size_bytes + sum(TOKEN_BYTES + len(token.encode()) for token in tokens)


_K = TypeVar("_K")
_Digests = dict[bytes, None]  # a set that remembers insertion order: oldest first


class DeferredPool:
    """Envelopes valid as far as can be seen, waiting for another record or for their time."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._entries: dict[bytes, PooledEntry] = {}
        self._by_source: dict[str, _Digests] = {}
        self._by_signer: dict[str, _Digests] = {}
        self._by_id: dict[tuple[EnvelopeKind, bytes], _Digests] = {}
        self._by_token: dict[str, _Digests] = {}
        self._dated: _Digests = {}
        self._overdue: _Digests = {}
        self._arrived: dict[bytes, int] = {}
        self._since_ms: dict[bytes, int] = {}
        self._undated: _Digests = {}
        self._arrivals = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """All waiting envelopes and their tokens together."""
        return self._bytes

    def get(self, digest: bytes) -> PooledEntry | None:
        """The entry for exactly these bytes."""
        return self._entries.get(digest)

    def holds_id(self, kind: EnvelopeKind, envelope_id: bytes) -> bool:
        """True when some envelope that claims this id waits."""
        return (kind, envelope_id) in self._by_id

    def of_id(self, kind: EnvelopeKind, envelope_id: bytes) -> list[bytes]:
        """Digests of all waiting envelopes that claim this id."""
        return list(self._by_id.get((kind, envelope_id), ()))

    def waiting_for(self, token: str) -> list[PooledEntry]:
        """What waits for this token, perhaps among others."""
        return [self._entries[digest] for digest in self._by_token.get(token, ())]

    def release(self, tokens: Iterable[str]) -> list[PooledEntry]:
        """These were published. Returns what need not wait any longer, oldest first.

        What takes all of its tokens waits for the rest of them.
        """
        released: dict[bytes, PooledEntry] = {}
        for token in tokens:
            for entry in self.waiting_for(token):
                if entry.needs_all and len(entry.waits_for) > 1:
                    self._wait_less(entry, token)
                else:
                    released[entry.digest] = entry
        return self.oldest_first(released.values())

    def oldest_first(self, entries: Iterable[PooledEntry]) -> list[PooledEntry]:
        """In the order they first came, however often they were judged since."""
        return sorted(entries, key=lambda entry: self._arrived[entry.digest])

    def postpone(self, entries: Iterable[PooledEntry]) -> None:
        """These should be judged again, later."""
        self._overdue.update(dict.fromkeys(entry.digest for entry in entries))

    def postpone_waiting(self) -> None:
        """So should all that waits for a token."""
        self.postpone(entry for entry in self._entries.values() if entry.waits_for)

    def take_overdue(self, count: int) -> list[PooledEntry]:
        """The longest postponed, to be judged now."""
        taken = list(islice(self._overdue, count))
        for digest in taken:
            del self._overdue[digest]
        return [self._entries[digest] for digest in taken]

    def due(self, now_ms: int) -> list[PooledEntry]:
        """What was dated ahead of us and is not any more, oldest first."""
        entries = (self._entries[digest] for digest in self._dated)
        return [entry for entry in entries if entry.not_before_ms <= now_ms]

    def attested_ms(self, rooted: Collection[str]) -> int:
        """A time that has passed if two of these keys are right: the second latest of what each
        signed and is ahead of us, less what clocks may differ by. 0 when fewer than two did.
        """
        latest: dict[str, int] = {}
        for digest in self._dated:
            entry = self._entries[digest]
            for signer in entry.proven.intersection(rooted):
                latest[signer] = max(latest.get(signer, 0), entry.not_before_ms)
        return sorted(latest.values())[-2] if len(latest) > 1 else 0

    def date(self, now_ms: int | None) -> None:
        """What came since the last call came now; None for nobody knows when."""
        if now_ms is not None:
            self._since_ms |= dict.fromkeys(self._undated, now_ms)
        self._undated.clear()

    def since(self, *, after: int, limit: int) -> list[Waiting]:
        """What waits, the longest waiting first; `after` is a number of arrival."""
        coming = sorted((n, digest) for digest, n in self._arrived.items() if n > after)
        return [
            Waiting(
                position=position,
                kind=entry.kind,
                envelope_id=entry.envelope_id,
                signers=entry.signers,
                source=entry.source,
                waits_for=entry.waits_for,
                not_before_ms=entry.not_before_ms,
                since_ms=self._since_ms.get(entry.digest),
                size_bytes=entry.size_bytes,
            )
            for position, entry in ((n, self._entries[one]) for n, one in coming[:limit])
        ]

    def refresh(self, entry: PooledEntry) -> None:
        """Remember what else is known now of an entry that is here and equal."""
        assert self._entries[entry.digest] == entry, "an equal entry is here"
        self._entries[entry.digest] = entry

    def add(self, entry: PooledEntry) -> list[PooledEntry]:
        """Add or replace an entry. Returns those evicted to make room, never `entry` itself."""
        self._arrivals += 1
        arrived = self._arrived.get(entry.digest, self._arrivals)
        since_ms, is_undated = self._since_ms.get(entry.digest), entry.digest in self._undated
        is_new = entry.digest not in self._entries
        self.remove(entry.digest)
        evicted: list[PooledEntry] = []
        while (crowd := self._overfull(entry)) is not None:
            victim = self._entries[self._victim(crowd, entry)]
            self.remove(victim.digest)
            evicted.append(victim)
        self._link(entry)
        self._arrived[entry.digest] = arrived
        if since_ms is not None:
            self._since_ms[entry.digest] = since_ms
        if is_new or is_undated:
            self._undated[entry.digest] = None
        return evicted

    def remove(self, digest: bytes) -> None:
        """Forget an entry; an unknown one is ignored."""
        entry = self._entries.pop(digest, None)
        if entry is None:
            return
        self._bytes -= held_bytes(entry)
        self._dated.pop(digest, None)
        self._overdue.pop(digest, None)
        del self._arrived[digest]
        self._since_ms.pop(digest, None)
        self._undated.pop(digest, None)
        _unlink(self._by_source, source_label(entry.source), digest)
        _unlink(self._by_id, (entry.kind, entry.envelope_id), digest)
        for signer in _charged(entry):
            _unlink(self._by_signer, signer, digest)
        for token in entry.waits_for:
            _unlink(self._by_token, token, digest)

    def _link(self, entry: PooledEntry) -> None:
        digest = entry.digest
        self._entries[digest] = entry
        self._bytes += held_bytes(entry)
        if not entry.waits_for:
            self._dated[digest] = None
        self._by_source.setdefault(source_label(entry.source), {})[digest] = None
        self._by_id.setdefault((entry.kind, entry.envelope_id), {})[digest] = None
        for signer in _charged(entry):
            self._by_signer.setdefault(signer, {})[digest] = None
        for token in entry.waits_for:
            self._by_token.setdefault(token, {})[digest] = None

    def _wait_less(self, entry: PooledEntry, token: str) -> None:
        """The entry takes all of its tokens, and this one came."""
        rest = tuple(one for one in entry.waits_for if one != token)
        less = replace(entry, waits_for=rest)
        self._entries[entry.digest] = less
        self._bytes += held_bytes(less) - held_bytes(entry)
        _unlink(self._by_token, token, entry.digest)
        for signer in set(_charged(entry)) - set(_charged(less)):
            _unlink(self._by_signer, signer, entry.digest)
        for signer in _charged(less):
            self._by_signer.setdefault(signer, {}).setdefault(entry.digest)

    def _overfull(self, entry: PooledEntry) -> Iterable[bytes] | None:
        """The share that `entry` would overfill, None when there is room."""
        mine = self._by_source.get(source_label(entry.source), {})
        if len(mine) >= self._limits.deferred_per_source:
            return mine
        for signer in _charged(entry):
            theirs = self._by_signer.get(signer, {})
            if len(theirs) >= self._limits.deferred_per_signer:
                return theirs
        too_many = len(self._entries) >= self._limits.deferred_total
        too_large = self._bytes + held_bytes(entry) > self._limits.deferred_bytes
        return self._entries if self._entries and (too_many or too_large) else None

    def _victim(self, crowd: Iterable[bytes], entry: PooledEntry) -> bytes:
        """The oldest entry of the source that holds most of the crowd, the newcomer included."""
        labels = {digest: source_label(self._entries[digest].source) for digest in crowd}
        shares = Counter(labels.values())
        newcomer = source_label(entry.source)
        if newcomer in shares:
            shares[newcomer] += 1
        largest = max(shares, key=lambda label: (shares[label], label == newcomer))
        return next(digest for digest, label in labels.items() if label == largest)


def _charged(entry: PooledEntry) -> tuple[str, ...]:
    """The signers whose share an entry counts against: those whose key is missing, else all."""
    return missing_signers(entry) or entry.signers


def missing_signers(entry: PooledEntry) -> tuple[str, ...]:
    """The signers whose keys an entry waits for."""
    return tuple(name for name in entry.signers if key_token(name) in entry.waits_for)


def _unlink(index: dict[_K, _Digests], key: _K, digest: bytes) -> None:
    digests = index.get(key)
    if digests is not None:
        digests.pop(digest, None)
        if not digests:
            del index[key]


class FirstContactPool:
    """Self-certifying keys of strangers, and their occurrences. Federation truth it is not.

    A key here lets its owner prove who it is; records it signed stay deferred until the key
    reaches the federation shelf. The oldest stranger makes room for the newest.
    """

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._keys: OrderedDict[str, PooledEntry] = OrderedDict()
        self._occurrences: dict[str, dict[bytes, PooledEntry]] = {}

    def __len__(self) -> int:
        return len(self._keys) + sum(map(len, self._occurrences.values()))

    def key(self, key_id: str) -> PooledEntry | None:
        """The stranger's key record."""
        return self._keys.get(key_id)

    def of(self, key_id: str) -> list[PooledEntry]:
        """The stranger's key, then its occurrences; [] when the key is not here."""
        key = self._keys.get(key_id)
        return [key, *self._occurrences.get(key_id, {}).values()] if key is not None else []

    def holds(self, entry: PooledEntry) -> bool:
        """True when exactly these bytes are here."""
        owner = entry.signers[0]
        key = self._keys.get(owner)
        mine = key is not None and key.digest == entry.digest
        return mine or entry.digest in self._occurrences.get(owner, {})

    def add(self, entry: PooledEntry) -> list[PooledEntry]:
        """Add a key, or an occurrence of a key that is here. Returns what made room."""
        owner = entry.signers[0]
        if entry.kind is EnvelopeKind.KEY:
            evicted = [self._keys.pop(owner)] if owner in self._keys else []
            while len(self._keys) >= self._limits.first_contact_keys:
                evicted += self.take(next(iter(self._keys)))
            self._keys[owner] = entry
            return evicted
        occurrences = self._occurrences.setdefault(owner, {})
        evicted = []
        while len(occurrences) >= self._limits.first_contact_occurrences:
            evicted.append(occurrences.pop(next(iter(occurrences))))
        occurrences[entry.digest] = entry
        return evicted

    def take(self, key_id: str) -> list[PooledEntry]:
        """Remove a stranger; its key first, then its occurrences."""
        key = self._keys.pop(key_id, None)
        rest = self._occurrences.pop(key_id, {}).values()
        return [*([key] if key is not None else []), *rest]


class RefusalMemory:
    """Verdicts on bytes that were judged for good, so the same garbage costs one hash.

    Keyed by the bytes, never by the id they claim: what surrounds a valid record with garbage
    must not suppress the record. In memory only: a restart judges afresh.
    """

    def __init__(self, limits: PoolLimits) -> None:
        self._entries_max = limits.refusals
        self._ttl_ms = limits.refusal_ttl_ms
        self._entries: OrderedDict[bytes, tuple[int, Verdict]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes, now_ms: int) -> Verdict | None:
        """The remembered verdict, while it is fresh."""
        remembered = self._entries.get(digest)
        if remembered is None:
            return None
        since_ms, verdict = remembered
        if not 0 <= now_ms - since_ms < self._ttl_ms:
            del self._entries[digest]
            return None
        return verdict

    def put(self, digest: bytes, verdict: Verdict, now_ms: int) -> None:
        """Remember; the oldest makes room."""
        self._entries.pop(digest, None)
        while len(self._entries) >= self._entries_max:
            self._entries.popitem(last=False)
        self._entries[digest] = (now_ms, verdict)


class PublishedLog:
    """Which tokens were published since when, for judgements made meanwhile.

    A record is judged without a lock, so what it lacked may have come before it is set aside to
    wait. Of long ago it answers "perhaps": then the record is judged once more.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._at: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0
        self.mark = 0

    def add(self, tokens: Iterable[str]) -> None:
        """These can be read from now on."""
        self.mark += 1
        for token in tokens:
            self._at.pop(token, None)
            self._at[token] = self.mark
        while len(self._at) > self._entries_max:
            _, self._forgotten = self._at.popitem(last=False)

    def any_since(self, mark: int, tokens: Iterable[str]) -> bool:
        """True when one of them was, or may have been, published after that mark."""
        return mark < self._forgotten or any(self._at.get(token, 0) > mark for token in tokens)


def put_out(entry: PooledEntry) -> Verdict:
    """What is said of an entry that had to make room."""
    reason, copy_id = Reason.POOL_FULL, entry.copy_id
    return Verdict(Outcome.REFUSED, reason, entry.kind, entry.envelope_id, copy_id=copy_id)
