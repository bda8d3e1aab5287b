"""Whatever others can grow has a limit, and who fills it loses first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.directory.base import UNATTRIBUTED, Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import DEFERRED, FIRST_CONTACT
from ciris_mesh.directory.pools import (
    TOKEN_BYTES,
    DeferredPool,
    FirstContactPool,
    PoolLimits,
    PublishedLog,
    RefusalMemory,
    held_bytes,
    source_label,
)
from ciris_mesh.directory.store import PooledEntry
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.tokens import key_token
from support.keys import alice, bob, key
from support.records import AT_MS, sample

K = EnvelopeKind
PEER = Source("peer", "hub")
OTHER = Source("peer", "relay")
SMALL = PoolLimits(
    deferred_total=6,
    deferred_per_source=4,
    deferred_per_signer=3,
    deferred_bytes=2500,
    first_contact_keys=2,
    first_contact_occurrences=1,
    refusals=3,
    refusal_ttl_ms=1000,
)


def entry(
    n: int, *, peer: str = "hub", signer: str = "", size: int = 10, kind: EnvelopeKind = K.FAMILY
) -> PooledEntry:
    signers = (signer or f"signer-{n}",)
    return PooledEntry(
        digest=n.to_bytes(32, "big"),
        pool=DEFERRED,
        kind=kind,
        envelope_id=n.to_bytes(32, "little"),
        source=Source("peer", peer),
        signers=signers,
        waits_for=tuple(map(key_token, signers)),
        not_before_ms=0,
        size_bytes=size,
    )


def numbers(entries: list[PooledEntry]) -> list[int]:
    return [int.from_bytes(one.digest, "big") for one in entries]


def test_one_source_fills_only_its_share() -> None:
    pool = DeferredPool(SMALL)
    evicted = [victim for n in range(6) for victim in pool.add(entry(n))]
    assert numbers(evicted) == [0, 1], "its own oldest make room"
    assert len(pool) == 4
    assert pool.add(entry(10, peer="relay")) == []


def test_one_signer_fills_only_its_share_and_the_loudest_source_pays() -> None:
    pool = DeferredPool(SMALL)
    pool.add(entry(1, peer="relay", signer="x"))
    pool.add(entry(2, peer="hub", signer="x"))
    pool.add(entry(3, peer="hub", signer="x"))
    assert numbers(pool.add(entry(4, peer="relay", signer="x"))) == [1], "a tie: the newcomer pays"
    assert numbers(pool.add(entry(5, peer="third", signer="x"))) == [2], "the largest share pays"
    assert pool.add(entry(6, signer="y")) == []


def test_all_together_are_bounded_in_number_and_bytes() -> None:
    pool = DeferredPool(SMALL)
    for n in range(3):
        pool.add(entry(n, peer="hub"))
        pool.add(entry(10 + n, peer="relay"))
    assert numbers(pool.add(entry(20, peer="third"))) == [0]
    assert len(pool) == SMALL.deferred_total
    large = entry(30, peer="third", size=1300)
    assert len(pool.add(large)) == 3
    assert len(pool) == 4
    assert pool.size_bytes <= SMALL.deferred_bytes


def test_a_share_is_charged_to_whose_key_is_missing_else_to_who_signed() -> None:
    pool = DeferredPool(SMALL)
    for n in range(3):
        waits_for = (f"family:{n}",)
        pool.add(replace(entry(n, signer="x"), waits_for=waits_for))
    assert numbers(pool.add(replace(entry(3, signer="x"), waits_for=("family:9",)))) == [0]
    two = replace(entry(4), signers=("x", "y"), waits_for=(key_token("y"),))
    assert pool.add(two) == [], "x's share is full, and y's is charged"
    assert len(pool.waiting_for("family:9")) == len(pool.waiting_for(key_token("y"))) == 1


def test_an_entry_replaces_itself_without_evicting() -> None:
    pool = DeferredPool(SMALL)
    for n in range(4):
        pool.add(entry(n))
    changed = replace(entry(2), waits_for=("another",))
    assert pool.add(changed) == []
    assert len(pool) == 4
    assert pool.waiting_for(key_token("signer-2")) == []
    assert pool.waiting_for("another") == [changed]


def test_an_id_stays_known_while_any_text_of_it_waits() -> None:
    pool = DeferredPool(SMALL)
    one, two = entry(1), replace(entry(2), envelope_id=entry(1).envelope_id)
    pool.add(one)
    pool.add(two)
    pool.remove(one.digest)
    assert pool.holds_id(K.FAMILY, one.envelope_id)
    pool.remove(two.digest)
    assert not pool.holds_id(K.FAMILY, one.envelope_id)


def test_what_takes_all_of_its_tokens_is_released_by_the_last() -> None:
    pool = DeferredPool(SMALL)
    roster = replace(entry(1), waits_for=("key:a", "key:b", "key:c"), needs_all=True)
    pool.add(roster)
    size_bytes = pool.size_bytes
    assert pool.release(["key:b", "key:other"]) == []
    assert pool.size_bytes < size_bytes, "a token less"
    assert pool.waiting_for("key:b") == []
    assert pool.release(["key:b"]) == []
    assert numbers(pool.release(["key:a", "key:c"])) == [1]
    pool.remove(roster.digest)
    assert pool.size_bytes == 0


def test_what_takes_any_of_its_tokens_is_released_by_the_first() -> None:
    pool = DeferredPool(SMALL)
    pool.add(replace(entry(1), waits_for=("a", "b")))
    assert numbers(pool.release(["b"])) == [1]
    assert numbers(pool.release(["b", "a"])) == [1], "it waits until it is judged"


def test_the_oldest_is_released_first_however_often_it_was_judged() -> None:
    pool = DeferredPool(SMALL)
    for n in range(3):
        pool.add(replace(entry(n), waits_for=("t",)))
    pool.add(replace(entry(0), waits_for=("t", "u")))
    assert numbers(pool.release(["u", "t"])) == [0, 1, 2]


def test_what_is_postponed_is_taken_once_and_forgotten_with_its_entry() -> None:
    pool = DeferredPool(SMALL)
    entries = [entry(n) for n in range(4)]
    for one in entries:
        pool.add(one)
    pool.postpone(entries)
    pool.postpone(entries[:2])
    pool.remove(entries[0].digest)
    pool.add(replace(entries[1], waits_for=("judged",)))
    assert numbers(pool.take_overdue(1)) == [2]
    assert numbers(pool.take_overdue(9)) == [3]
    assert pool.take_overdue(9) == []


def test_tokens_count_into_what_a_pool_holds() -> None:
    few, many = entry(1), replace(entry(2), waits_for=tuple(f"key:{n}" for n in range(16)))
    assert held_bytes(few) > few.size_bytes
    assert held_bytes(many) > held_bytes(few) + 15 * TOKEN_BYTES
    pool = DeferredPool(SMALL)
    pool.add(few)
    assert numbers(pool.add(many)) == [1], "4 kB of tokens"


def test_only_what_is_dated_ahead_becomes_due() -> None:
    pool = DeferredPool(SMALL)
    dated = replace(entry(1), waits_for=(), not_before_ms=500)
    pool.add(dated)
    pool.add(entry(2))
    assert pool.due(499) == []
    assert pool.due(500) == [dated]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.sampled_from(["hub", "relay", "third"]),
            st.sampled_from(["x", "y", "z"]),
            st.integers(1, 800),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_no_history_breaks_a_limit_or_loses_count(
    steps: list[tuple[int, str, str, int, bool]],
) -> None:
    pool = DeferredPool(SMALL)
    mirror: dict[bytes, PooledEntry] = {}
    for n, peer, signer, size, is_removal in steps:
        one = entry(n, peer=peer, signer=signer, size=size)
        if is_removal:
            pool.remove(one.digest)
            mirror.pop(one.digest, None)
        else:
            evicted = pool.add(one)
            assert one not in evicted
            for victim in evicted:
                assert mirror.pop(victim.digest) == victim
            mirror[one.digest] = one
        kept = list(mirror.values())
        assert len(pool) == len(kept) <= SMALL.deferred_total
        assert pool.size_bytes == sum(map(held_bytes, kept)) <= SMALL.deferred_bytes
        for label in {source_label(each.source) for each in kept}:
            share = [each for each in kept if source_label(each.source) == label]
            assert len(share) <= SMALL.deferred_per_source
        for name in ("x", "y", "z"):
            waiting = pool.waiting_for(key_token(name))
            assert sorted(numbers(waiting)) == sorted(
                numbers([each for each in kept if each.signers == (name,)])
            )
            assert len(waiting) <= SMALL.deferred_per_signer


def stranger(n: int, owner: str, kind: EnvelopeKind = K.KEY) -> PooledEntry:
    return replace(entry(n, signer=owner, kind=kind), pool=FIRST_CONTACT, waits_for=())


def test_the_oldest_stranger_makes_room_with_all_it_brought() -> None:
    pool = FirstContactPool(SMALL)
    pool.add(stranger(1, "a"))
    pool.add(stranger(2, "a", K.IDENTITY_OCCURRENCE))
    pool.add(stranger(3, "b"))
    assert numbers(pool.add(stranger(4, "c"))) == [1, 2]
    assert pool.key("a") is None
    assert len(pool) == 2


def test_a_stranger_has_one_key_and_few_occurrences() -> None:
    pool = FirstContactPool(SMALL)
    pool.add(stranger(1, "a"))
    assert numbers(pool.add(stranger(2, "a"))) == [1]
    pool.add(stranger(3, "a", K.IDENTITY_OCCURRENCE))
    assert numbers(pool.add(stranger(4, "a", K.IDENTITY_OCCURRENCE))) == [3]
    assert numbers(pool.of("a")) == [2, 4]
    assert pool.holds(stranger(4, "a", K.IDENTITY_OCCURRENCE))
    assert not pool.holds(stranger(3, "a", K.IDENTITY_OCCURRENCE))
    assert numbers(pool.take("a")) == [2, 4]
    assert pool.of("a") == []


def test_refusals_are_bounded_and_lapse() -> None:
    memory = RefusalMemory(SMALL)
    verdict = Verdict(Outcome.REFUSED, Reason.PQC_SIGNATURE_INVALID)
    for n in range(4):
        memory.put(bytes([n]) * 32, verdict, now_ms=100)
    assert len(memory) == 3
    assert memory.get(bytes(32), now_ms=100) is None, "the oldest made room"
    assert memory.get(b"\x03" * 32, now_ms=1099) == verdict
    assert memory.get(b"\x03" * 32, now_ms=1100) is None
    memory.put(b"\x03" * 32, verdict, now_ms=100)
    assert memory.get(b"\x03" * 32, now_ms=99) is None, "a clock set back forgets"


# -- what was published ------------------------------------------------------------------------


def test_the_log_knows_what_was_published_since() -> None:
    log = PublishedLog(10)
    before = log.mark
    log.add(["a", "b"])
    between = log.mark
    log.add(["b", "c"])
    assert log.any_since(before, ["a"])
    assert not log.any_since(between, ["a"])
    assert log.any_since(between, ["a", "b"])
    assert not log.any_since(log.mark, ["a", "b", "c"])
    assert not log.any_since(before, ["d"])


def test_of_what_it_forgot_the_log_says_perhaps() -> None:
    log = PublishedLog(2)
    before = log.mark
    for token in "abc":
        log.add([token])
    assert log.any_since(before, ["a"])
    assert log.any_since(before, ["never"]), "it may have been among the forgotten"
    assert not log.any_since(log.mark, ["never"])


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=40))
def test_the_log_never_denies_what_was_published(steps: list[tuple[str, bool]]) -> None:
    log = PublishedLog(3)
    looks: list[tuple[int, set[str]]] = []
    for token, is_look in steps:
        if is_look:
            looks.append((log.mark, set()))
            continue
        log.add([token])
        for _, since in looks:
            since.add(token)
    for mark, since in looks:
        assert all(log.any_since(mark, [token]) for token in since)


# -- through the directory -------------------------------------------------------------------------


def test_an_evicted_record_is_counted_and_no_longer_known(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory(limits=SMALL)
    verdicts = [
        directory.admit(K.FAMILY, sample(K.FAMILY, bob(), n), PEER, now_ms=AT_MS) for n in range(3)
    ]
    assert {v.outcome for v in verdicts} <= {Outcome.DEFERRED}
    ids = [v.envelope_id for v in verdicts if v.envelope_id is not None]
    lost = directory.unknown(K.FAMILY, ids)
    assert lost, "15 kB of records do not fit 2.5 kB"
    assert directory.outcome_counts()["pool", "refused", "pool_full"] == len(lost)
    assert len(directory._store.pool_entries()) == directory.pools().deferred
    directory.admit(K.KEY, sample(K.KEY, bob()), PEER, now_ms=AT_MS)
    assert directory._store.pool_entries() == []
    assert directory.unknown(K.FAMILY, ids) == lost
    for n in range(3):
        directory.admit(K.FAMILY, sample(K.FAMILY, bob(), n), PEER, now_ms=AT_MS)
    assert directory.unknown(K.FAMILY, ids) == [], "once its key is here it comes in when offered"


def test_a_batch_that_evicts_its_own_says_so(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory(limits=replace(SMALL, deferred_bytes=1 << 20))
    batch = [sample(K.FAMILY, bob(), n) for n in range(5)]
    verdicts = directory.admit_many(K.FAMILY, batch, PEER, now_ms=AT_MS)
    assert [(v.outcome, v.reason) for v in verdicts] == (
        [(Outcome.REFUSED, Reason.POOL_FULL)] * 2 + [(Outcome.DEFERRED, Reason.SIGNER_UNKNOWN)] * 3
    )


def test_one_peer_cannot_push_out_what_another_deferred(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory(limits=replace(SMALL, deferred_bytes=1 << 20))
    quiet = directory.admit(K.FAMILY, sample(K.FAMILY, bob()), OTHER, now_ms=AT_MS)
    for n in range(8):
        flood = sample(K.FAMILY, key(f"flood{n}"))
        directory.admit(K.FAMILY, flood, PEER, now_ms=AT_MS)
    assert quiet.envelope_id is not None
    assert directory.unknown(K.FAMILY, [quiet.envelope_id]) == []
    assert directory.pools().deferred == 5


def test_what_waits_is_listed_with_since_when(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    """The longest waiting first; what is judged again, or sent again, keeps its time."""
    directory = open_directory()
    raws = [sample(K.FAMILY, key(name)) for name in ("carol", "dave")]
    for number, raw in enumerate([*raws, raws[0]]):
        directory.admit(K.FAMILY, raw, PEER, now_ms=AT_MS + number)
    first, second = directory.waiting(limit=9)
    assert [first.since_ms, second.since_ms] == [AT_MS, AT_MS + 1]
    assert (first.kind, first.source, first.signers) == (K.FAMILY, PEER, (key("carol").key_id,))
    assert first.waits_for == (key_token(key("carol").key_id),)
    assert first.size_bytes == len(raws[0])
    assert directory.waiting(limit=1) == [first]
    assert directory.waiting(limit=9, after=first.position) == [second]
    directory._load()  # what opening does; the store in memory cannot be opened twice
    assert [it.since_ms for it in directory.waiting(limit=9)] == [None, None]
    directory.admit(K.KEY, sample(K.KEY, key("carol")), PEER, now_ms=AT_MS + 9)
    assert [it.envelope_id for it in directory.waiting(limit=9)] == [second.envelope_id]


def test_strangers_are_bounded(open_directory: Callable[..., DirectoryCore]) -> None:
    directory = open_directory(limits=SMALL)
    for name in ("alice", "bob", "carol"):
        directory.admit(K.KEY, sample(K.KEY, key(name)), UNATTRIBUTED, now_ms=AT_MS)
    assert directory.pools().first_contact == len(directory._store.pool_entries()) == 2
    assert directory.public_key(alice().key_id) is None
    assert directory.public_key(bob().key_id) == bob().public


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_the_pools_of_both_stores_hold_the_same_bytes(
    open_directory: Callable[..., DirectoryCore], name: str
) -> None:
    directory = open_directory()
    raw = sample(K.FAMILY, key(name))
    directory.admit(K.FAMILY, raw, PEER, now_ms=AT_MS)
    (waiting,) = directory._store.pool_entries()
    assert directory._store.pool_envelope(waiting.pool, waiting.digest) == raw
    assert waiting.source == PEER
    assert waiting.waits_for == (key_token(key(name).key_id),)
