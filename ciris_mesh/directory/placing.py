"""Carrying out what admission decided, inside one transaction, under the writer lock.

Between judging and writing the directory may have changed: the same record may have come by
another path, what was missing may have arrived. So both are looked at again
here, and what needs another judgement is handed back instead of being judged under the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace

from ciris_mesh.directory.base import Shelf, StoredRow
from ciris_mesh.directory.buckets import bucket_of
from ciris_mesh.directory.introducing import Introductions
from ciris_mesh.directory.judgement import DEFERRED, FIRST_CONTACT, Candidate, Judgement
from ciris_mesh.directory.pools import DeferredPool, FirstContactPool, PublishedLog
from ciris_mesh.directory.quotas import Quotas, same_token
from ciris_mesh.directory.rooting import Rooting
from ciris_mesh.directory.store import Name, PooledEntry, Store, shelves_of
from ciris_mesh.records.cosigning import is_cosigned
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.tokens import key_token


@dataclass(slots=True)
class Placed:
    """What became of a batch.

    Attributes:
        settled: candidates with their verdicts, in order.
        again: to be judged once more: something they lacked is here now.
        published: tokens of what reached the federation shelf.
        siblings: digests of what waited under the id of a row that was written.
        vouched: digests of what waited under an id that a listed voucher named.
        evicted: deferred entries that made room.
    """

    settled: list[tuple[Candidate, Verdict]] = field(default_factory=list)
    again: list[Candidate] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    siblings: list[bytes] = field(default_factory=list)
    vouched: list[bytes] = field(default_factory=list)
    evicted: list[PooledEntry] = field(default_factory=list)


class Placing:
    """Writes judged candidates to one store and its pools. Used by the writer only.

    Args:
        read_key: the federation key as the running transaction sees it.
        touched: gets (kind, bucket) of every change to the federation shelf.
        quotas: how much strangers may have here.
        rooting: is told of every key that reaches the federation shelf.
        introductions: is told of every row that does, and what it relied on.
        log: what was published by commits.
        publishing: gets the tokens this transaction publishes.
        learned: gets the keys it brings.
    """

    def __init__(
        self,
        store: Store,
        deferred: DeferredPool,
        strangers: FirstContactPool,
        read_key: Callable[[str], HybridPublicKey | None],
        touched: set[tuple[EnvelopeKind, int]],
        quotas: Quotas,
        rooting: Rooting,
        introductions: Introductions,
        log: PublishedLog,
        publishing: set[str],
        learned: dict[str, HybridPublicKey],
    ) -> None:
        self._store = store
        self._deferred = deferred
        self._strangers = strangers
        self._read_key = read_key
        self._touched = touched
        self._quotas = quotas
        self._rooting = rooting
        self._introductions = introductions
        self._log = log
        self._publishing = publishing
        self._learned = learned
        # Of the rows of the running call: where they stand, and what key ids stand for. An id
        # keeps the first public key it stood for, whatever comes later.
        self._stands: dict[Name, Shelf] = {}
        self._stood_for: dict[str, HybridPublicKey | None] = {}
        self._ours: list[Name] = []  # those written by one of ours
        self._mark = 0  # how much had been published when they were judged

    def is_settled(self, judged: Sequence[Judgement]) -> bool:
        """True when there is nothing to write for any of them."""
        return not any(
            judgement.row or judgement.entry or self._deferred.get(judgement.candidate.digest)
            for judgement in judged
        )

    def place(
        self, judged: Sequence[Judgement], friends: Container[str] = (), mark: int = 0
    ) -> Placed:
        """Write. Called inside a transaction, with the state lock held.

        Args:
            friends: whose records no quota counts.
            mark: how much had been published when judging began.
        """
        placed, self._ours, self._mark = Placed(), [], mark
        rows = [one.row for one in judged if one.row is not None]
        self._stands = shelves_of(self._store, [(row.kind, row.envelope_id) for row in rows])
        self._stood_for = {
            row.subject: self._read_key(row.subject) for row in filter(_is_key, rows)
        }
        for judgement in judged:
            if judgement.row is not None:
                if self._is_outdated(judgement.row, judgement.joins):
                    placed.again.append(judgement.candidate)
                    continue
                verdict = self._place_row(judgement, judgement.row, friends, placed)
                if judgement.entry is not None and verdict.outcome.is_held:
                    self._wait_beside(judgement, judgement.entry, placed)
            elif judgement.entry is None:
                self._leave_pool(judgement.candidate.digest)
                placed.settled.append((judgement.candidate, judgement.verdict))
            elif judgement.entry.pool == FIRST_CONTACT:
                self._meet(judgement, judgement.entry, placed)
            else:
                self._wait(judgement, judgement.entry, placed)
        self._introductions.introduce_below(self._ours)
        return placed

    def follow(self, judged: Sequence[Judgement]) -> Placed:
        """Let memory follow rows that another node wrote. Inside a transaction, as `place`."""
        placed = Placed()
        for judgement in judged:
            row = judgement.row
            if row is None or row.shelf is not Shelf.FEDERATION:
                continue
            self._touched.add((row.kind, bucket_of(row.envelope_id)))
            placed.siblings += self._deferred.of_id(row.kind, row.envelope_id)
            self._let_know(judgement, row, placed, is_first_key=True)
            self._introductions.forget(row.subject)
        self._quotas.forget()
        return placed

    def befriend(self, friends: frozenset[str]) -> None:
        """Whose records no quota counts from now on. Inside a transaction, as `place`."""
        if self._introductions.befriend(friends):
            self._quotas.forget()

    def _is_outdated(self, row: StoredRow, joins: bytes | None) -> bool:
        """Did this record come in, or take on signers, since this copy was judged?"""
        if self._stands.get((row.kind, row.envelope_id)) is not Shelf.FEDERATION:
            return False
        stored = self._store.get(row.kind, row.envelope_id)
        assert stored is not None, "a row is never taken away"
        return stored.envelope != joins

    def _place_row(
        self, judgement: Judgement, row: StoredRow, friends: Container[str], placed: Placed
    ) -> Verdict:
        self._leave_pool(judgement.candidate.digest)
        stands = self._stands.get((row.kind, row.envelope_id))
        known = self._stood_for.get(row.subject) if _is_key(row) else None
        verdict, source = judgement.verdict, judgement.candidate.source
        same = same_token(judgement.tokens)
        if judgement.joins is not None:
            self._write(row, placed, is_new=False)
            self._note_reliance(judgement, row, is_ours=self._quotas.is_ours(row, friends))
        elif stands is not None and stands >= row.shelf:
            verdict = replace(verdict, outcome=Outcome.DUPLICATE)
        elif known is not None and judgement.public not in (None, known):
            verdict = replace(verdict, outcome=Outcome.REFUSED, reason=Reason.KEY_CONFLICT)
        elif self._quotas.is_said_enough(row, same):
            verdict = replace(verdict, outcome=Outcome.REFUSED, reason=Reason.SAID_OFTEN_ENOUGH)
        elif reason := self._quotas.problem(row, source, friends):
            verdict = replace(verdict, outcome=Outcome.REFUSED, reason=reason)
        else:
            if self._quotas.times_said(same):
                verdict = replace(verdict, outcome=Outcome.SUPERSEDED)
            elif stands is not None:
                verdict = replace(verdict, outcome=Outcome.UPGRADED)
            if stands is Shelf.BRIDGED:
                self._quotas.release(row)
            self._write(row, placed, is_new=stands is None)
            self._publish(judgement, row, placed, is_first_key=known is None)
            is_ours = self._quotas.is_ours(row, friends)  # by now: a root roots itself
            self._quotas.charge(row, source, is_ours=is_ours)
            self._note_reliance(judgement, row, is_ours=is_ours)
        placed.settled.append((judgement.candidate, verdict))
        return verdict

    def _note_reliance(self, judgement: Judgement, row: StoredRow, *, is_ours: bool) -> None:
        if row.shelf is Shelf.FEDERATION:
            name = row.kind, row.envelope_id
            self._introductions.note(name, judgement.key_ids, judgement.relied_on)
            if is_ours:
                self._ours.append(name)

    def _publish(
        self, judgement: Judgement, row: StoredRow, placed: Placed, *, is_first_key: bool
    ) -> None:
        """Let the row be found, and who waits for it know. A key is news once."""
        self._store.publish(row, (*judgement.tokens, *judgement.names))
        if row.shelf is Shelf.FEDERATION:
            self._let_know(judgement, row, placed, is_first_key=is_first_key)

    def _let_know(
        self, judgement: Judgement, row: StoredRow, placed: Placed, *, is_first_key: bool
    ) -> None:
        published = list(judgement.published)
        if row.kind is EnvelopeKind.KEY:
            signer, is_root = row.signers[0], judgement.is_root
            published += self._rooting.add(row.subject, signer, judgement.tokens, is_root=is_root)
            if is_first_key:
                assert judgement.public is not None, "on this shelf a key has both halves"
                self._stood_for[row.subject] = self._learned[row.subject] = judgement.public
                self._introductions.know(row.subject, (row.kind, row.envelope_id))
                strangers = self._strangers.take(row.subject)
                self._store.pool_drop(FIRST_CONTACT, [entry.digest for entry in strangers])
            else:
                self._introductions.forget(row.subject)  # which is the first may be another now
                published.remove(key_token(row.subject))
        self._publishing.update(published)
        placed.published += published
        for name in judgement.vouched:
            placed.vouched += self._deferred.of_id(*name)

    def _write(self, row: StoredRow, placed: Placed, *, is_new: bool) -> None:
        if is_new:
            self._store.insert(row)
        else:
            self._store.raise_shelf(row)
        self._stands[row.kind, row.envelope_id] = row.shelf
        if row.shelf is not Shelf.FEDERATION:
            return
        self._touched.add((row.kind, bucket_of(row.envelope_id)))
        for digest in self._deferred.of_id(row.kind, row.envelope_id):
            if is_cosigned(row.kind):  # what waits may bring another signature
                placed.siblings.append(digest)
            else:
                self._leave_pool(digest)

    def _wait(self, judgement: Judgement, entry: PooledEntry, placed: Placed) -> None:
        if self._came_meanwhile(entry.waits_for):
            placed.again.append(judgement.candidate)
            return
        self._keep_waiting(judgement.candidate, entry, placed)
        placed.settled.append((judgement.candidate, judgement.verdict))

    def _wait_beside(self, judgement: Judgement, entry: PooledEntry, placed: Placed) -> None:
        """A copy of a record that is held: more of its signers may come to count.

        What came out of the pool goes back in any case: there it is looked for to be judged again.
        """
        is_early = self._came_meanwhile(entry.waits_for)
        if is_early:
            placed.again.append(judgement.candidate)
        if judgement.candidate.is_waiting or not is_early:
            self._keep_waiting(judgement.candidate, entry, placed)

    def _keep_waiting(self, candidate: Candidate, entry: PooledEntry, placed: Placed) -> None:
        old = self._deferred.get(entry.digest)
        if old is not None:
            entry = replace(entry, source=old.source)
        if old != entry:
            evicted = self._deferred.add(entry)
            self._store.pool_put(entry, candidate.raw)
            self._store.pool_drop(DEFERRED, [victim.digest for victim in evicted])
            placed.evicted += evicted
        else:
            self._deferred.refresh(entry)

    def _came_meanwhile(self, tokens: tuple[str, ...]) -> bool:
        is_coming = not self._publishing.isdisjoint(tokens)
        return bool(tokens) and (is_coming or self._log.any_since(self._mark, tokens))

    def _meet(self, judgement: Judgement, entry: PooledEntry, placed: Placed) -> None:
        verdict = judgement.verdict
        is_key, owner = entry.kind is EnvelopeKind.KEY, entry.signers[0]
        if self._strangers.holds(entry):
            verdict = replace(verdict, outcome=Outcome.DUPLICATE, reason=Reason.NONE)
        elif self._read_key(owner) if is_key else not self._strangers.key(owner):
            verdict = replace(verdict, outcome=Outcome.REFUSED, reason=Reason.UNATTRIBUTED)
        else:
            evicted = self._strangers.add(entry)
            self._store.pool_put(entry, judgement.candidate.raw)
            self._store.pool_drop(FIRST_CONTACT, [victim.digest for victim in evicted])
            placed.evicted += evicted
        placed.settled.append((judgement.candidate, verdict))

    def _leave_pool(self, digest: bytes) -> None:
        if self._deferred.get(digest) is not None:
            self._deferred.remove(digest)
            self._store.pool_drop(DEFERRED, [digest])


def _is_key(row: StoredRow) -> bool:
    return row.kind is EnvelopeKind.KEY and row.shelf is Shelf.FEDERATION
