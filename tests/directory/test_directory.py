"""Reading the directory: what is listed is what can be fetched, on both stores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory.base import OWN, Shelf, Source, Standing
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.reading import NAMED_PAGE
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import LifecycleError
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.tokens import key_token
from support import forge
from support.copies import copies_held
from support.keys import alice, bob, carol
from support.records import AT_MS, Record, columns, prerequisites, sample, trust_in

K = EnvelopeKind
PEER = Source("peer", "hub")


def fill(directory: DirectoryCore, *kinds: EnvelopeKind, records: int = 3) -> None:
    below = [what for kind in kinds for n in range(records) for what in _needed(kind, n)]
    for kind, raw in below:
        directory.admit(kind, raw, PEER, now_ms=AT_MS)
    for kind in (K.KEY, *kinds):
        raws = [sample(kind, alice(), n, AT_MS - 1000 * n) for n in range(records)]
        directory.admit_many(kind, raws, PEER, now_ms=AT_MS)


def _needed(kind: EnvelopeKind, n: int) -> list[Record]:
    return prerequisites(kind, alice(), n, AT_MS - 1000 * n)


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_what_is_listed_can_be_fetched_under_the_same_id(
    directory: DirectoryCore, kind: EnvelopeKind
) -> None:
    fill(directory, kind)
    refs = directory.holdings(kind)
    assert len(refs) == 3
    for ref in refs:
        row = directory.get(kind, ref.envelope_hash)
        assert row is not None
        fetched = parse_envelope(kind, row.envelope)
        assert fetched.envelope_id == ref.envelope_hash == row.envelope_id
        assert fetched.seq == ref.seq == row.seq
        assert fetched.subject == row.subject
    assert directory.signers(kind).keys() == {ref.envelope_hash for ref in refs}


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_no_other_kind_answers_for_an_id(directory: DirectoryCore, kind: EnvelopeKind) -> None:
    fill(directory, kind)
    envelope_id = directory.holdings(kind)[0].envelope_hash
    for other in set(EnvelopeKind) - {kind}:
        assert directory.get(other, envelope_id) is None
        assert directory.unknown(other, [envelope_id]) == [envelope_id]


def test_the_newest_that_pass_are_found_without_the_rest(directory: DirectoryCore) -> None:
    fill(directory, K.FAMILY)
    directory.admit(K.KEY, sample(K.KEY, bob()), PEER, now_ms=AT_MS)
    directory.admit(K.FAMILY, sample(K.FAMILY, bob()), PEER, now_ms=AT_MS)
    everything = directory.holdings(K.FAMILY)
    assert directory.newest(K.FAMILY, lambda who: who, limit=10**6) == (everything, 0)
    assert directory.newest(K.FAMILY, lambda _: ("all",), limit=2) == (everything[:2], 2)
    assert directory.newest(K.FAMILY, lambda _: (), limit=2) == ([], 0)
    signers = directory.signers(K.FAMILY)
    mine = [ref for ref in everything if signers[ref.envelope_hash] == (alice().key_id,)]

    def by_alice(who: tuple[str, ...]) -> tuple[str, ...]:
        return who if who == (alice().key_id,) else ()

    assert directory.newest(K.FAMILY, by_alice, limit=10**6) == (mine, 0)
    assert 0 < len(mine) < len(everything)
    assert directory.newest(K.FAMILY, by_alice, limit=1) == (mine[:1], len(mine) - 1)


def test_holdings_are_newest_first(directory: DirectoryCore) -> None:
    fill(directory, K.ATTESTATION)
    seqs = [ref.seq for ref in directory.holdings(K.ATTESTATION)]
    assert seqs == [AT_MS, AT_MS - 1000, AT_MS - 2000]


def test_unknown_keeps_the_order_given(directory: DirectoryCore) -> None:
    fill(directory)
    held = [ref.envelope_hash for ref in directory.holdings(K.KEY)]
    strangers = [bytes([n]) * 32 for n in (9, 3, 7)]
    asked = [strangers[0], held[0], strangers[1], held[2], strangers[2]]
    assert directory.unknown(K.KEY, asked) == strangers
    assert directory.unknown(K.KEY, iter(asked)) == strangers
    assert directory.unknown(K.KEY, []) == []
    many = [n.to_bytes(32, "big") for n in range(3000)]
    assert directory.unknown(K.KEY, [*many, *held]) == many


def test_standing_tells_held_bridged_and_deferred_apart(directory: DirectoryCore) -> None:
    fill(directory, K.FAMILY, records=1)
    held = directory.holdings(K.FAMILY)[0].envelope_hash
    bare = forge.unsigned(K.FAMILY, sample(K.FAMILY, alice(), 5))
    registry = Source("registry", "r")
    bridged = directory.admit(K.FAMILY, bare, registry, now_ms=AT_MS).envelope_id
    deferred = directory.admit(K.FAMILY, sample(K.FAMILY, bob()), PEER, now_ms=AT_MS).envelope_id
    given_local = columns(K.ATTESTATION, alice().key_id, 1) | {"tier": "local"}
    raw = author(K.ATTESTATION, given_local, alice(), at_ms=AT_MS)
    local = directory.admit(K.ATTESTATION, raw, OWN, now_ms=AT_MS).envelope_id
    assert bridged is not None
    assert deferred is not None
    assert local is not None
    assert directory.standing(K.FAMILY, [held, bridged, deferred, bytes(32)]) == {
        held: Standing.HELD,
        bridged: Standing.BRIDGED,
        deferred: Standing.DEFERRED,
    }
    assert directory.standing(K.ATTESTATION, [local]) == {local: Standing.HELD}


def test_rows_come_in_admission_order_and_in_pages(directory: DirectoryCore) -> None:
    fill(directory, K.FAMILY, K.COMMUNITY)
    everything = list(directory.rows(limit=100))
    assert [row.kind for _, row in everything] == [K.KEY] * 3 + [K.FAMILY] * 3 + [K.COMMUNITY] * 3
    paged: list[tuple[int, object]] = []
    while page := list(directory.rows(limit=2, after=paged[-1][0] if paged else 0)):
        assert len(page) <= 2
        paged += page
    assert paged == everything
    assert [row.kind for _, row in directory.rows(K.FAMILY, limit=2)] == [K.FAMILY] * 2
    assert list(directory.rows(limit=0)) == []


def test_counts_leave_zeros_out(directory: DirectoryCore) -> None:
    assert directory.counts() == {}
    fill(directory, K.FAMILY, records=2)
    assert directory.counts() == {(K.KEY, Shelf.FEDERATION): 2, (K.FAMILY, Shelf.FEDERATION): 2}


def test_a_generation_grows_with_its_kind_alone(directory: DirectoryCore) -> None:
    fill(directory, records=1)
    before = {kind: directory.generation(kind) for kind in EnvelopeKind}
    assert before[K.KEY] > 0
    directory.admit(K.FAMILY, sample(K.FAMILY, alice()), PEER, now_ms=AT_MS)
    directory.admit(K.FAMILY, sample(K.FAMILY, bob()), PEER, now_ms=AT_MS)
    after = {kind: directory.generation(kind) for kind in EnvelopeKind}
    assert after.pop(K.FAMILY) == before.pop(K.FAMILY) + 1, "deferring changes no shelf"
    assert after == before


def test_a_key_that_came_first_stays_behind_its_id(directory: DirectoryCore) -> None:
    """Two records of one key are two valid records; which one counts is not admission's matter."""
    fill(directory, records=3)
    assert len(directory.holdings(K.KEY)) == 3
    assert directory.public_key(alice().key_id) == alice().public
    assert directory.public_key(carol().key_id) is None


def test_what_answers_to_a_token_is_read_in_pages_in_admission_order(
    directory: DirectoryCore,
) -> None:
    count = NAMED_PAGE + 3
    fill(directory, records=count)
    found = list(directory.named(key_token(alice().key_id)))
    assert [one.raw for one in found] == [
        sample(K.KEY, alice(), n, AT_MS - 1000 * n) for n in range(count)
    ]
    first = next(directory.named(key_token(alice().key_id)))
    assert first.raw == found[0].raw
    assert list(directory.named(key_token(bob().key_id))) == []
    assert directory._store.named(key_token(alice().key_id), limit=0, after=0) == []


def test_closing_twice_is_fine_and_using_it_afterwards_is_not(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    directory = open_directory()
    directory.close()
    directory.close()
    with pytest.raises(LifecycleError, match="closed"):
        directory.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)


# -- any order, any duplicates --------------------------------------------------------------------

_TRUST = trust_in(alice(), bob())
_KINDS = (K.ATTESTATION, K.FAMILY, K.ORGANIZATION, K.PARTNER_RECORD)
_EVENTS = [(K.KEY, sample(K.KEY, key)) for key in (alice(), bob(), carol())] + [
    (kind, sample(kind, key, n)) for kind in _KINDS for key in (alice(), bob()) for n in (0, 1)
]
_FAMILY_OF_TWO = author(
    K.FAMILY, columns(K.FAMILY, carol().key_id, 7), carol(), at_ms=AT_MS, cosigners=[bob()]
)
_EVENTS += [
    (K.FAMILY, _FAMILY_OF_TWO),
    (K.ATTESTATION, sample(K.ATTESTATION, alice(), 9, AT_MS + 3_600_000)),
    (K.FAMILY, forge.signed(K.FAMILY, alice(), n=0, spoil=forge.wrong_pqc)),
    (K.FAMILY, forge.signed(K.FAMILY, bob(), n=4, spoil=forge.wrong_classical)),
    (K.KEY, b"{}"),
]
_VALID = len(_EVENTS) - 3

_orders = st.permutations(range(len(_EVENTS))).flatmap(
    lambda order: st.lists(st.sampled_from(order), max_size=6).map(lambda more: [*order, *more])
)
_sources = st.sampled_from([PEER, Source("peer", "relay"), Source("import"), OWN])


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(order=_orders, data=st.data())
def test_any_order_of_arrival_ends_in_the_same_directory(
    store: str,
    order: list[int],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory: DirectoryCore = (
        MemoryDirectory(trust=_TRUST)
        if store == "memory"
        else SqliteDirectory(tmp_path_factory.mktemp("any") / "records.db", trust=_TRUST)
    )
    try:
        for index in order:
            kind, raw = _EVENTS[index]
            directory.admit(kind, raw, data.draw(_sources), now_ms=AT_MS)
        directory.retry_due(AT_MS + 3_600_000)
        assert directory.pools().deferred == 0
        for kind, expected in _expected().items():
            assert {ref.envelope_hash for ref in directory.holdings(kind)} == expected
            assert directory.digest(kind) == digest_of(copies_held(directory, kind))
    finally:
        directory.close()


@cache
def _expected() -> dict[EnvelopeKind, set[bytes]]:
    ids: dict[EnvelopeKind, set[bytes]] = {kind: set() for kind in EnvelopeKind}
    for kind, raw in _EVENTS[:_VALID]:
        ids[kind].add(parse_envelope(kind, raw).envelope_id)
    return ids


def test_the_events_of_the_order_test_are_all_of_them() -> None:
    reference = MemoryDirectory(trust=_TRUST)
    outcomes = [
        reference.admit(kind, raw, PEER, now_ms=AT_MS + 3_600_000).outcome for kind, raw in _EVENTS
    ]
    assert outcomes.count(Outcome.ADMITTED) == _VALID
