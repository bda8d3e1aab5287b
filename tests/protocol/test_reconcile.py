"""Reconciliation between two sides, in real frames: exact, or known not to be.

Every case follows from its seed: a failing one is replayed by its parameter alone.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.protocol import sizing
from ciris_mesh.protocol.reconcile import Exchange, step
from ciris_mesh.protocol.reconcile_events import (
    FallBack,
    GaveUp,
    Load,
    Loaded,
    LoadedBuckets,
    Passed,
    Received,
    Resolved,
    Send,
    Start,
)
from ciris_mesh.protocol.shortid import item
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.mesh_reconcile import (
    PRIMES,
    Failed,
    IdList,
    More,
    Narrow,
    Sketch,
    Symbols,
    Turn,
    Wants,
)
from support.reconciling import (
    NONCES,
    Side,
    converse,
    differing,
    enough,
    exact,
    made,
    reconcile,
    said,
)

TINY = 65_521


@pytest.fixture
def tiny_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of 16 bits in place of 24, 28 and 32: collisions come by the dozen."""
    for width in PRIMES:
        monkeypatch.setitem(PRIMES, width, TINY)


# --- one round trip ---


@pytest.mark.parametrize("common", [1_000, 10_000])
@pytest.mark.parametrize(("mine", "theirs"), [(0, 1), (1, 0), (5, 5), (10, 0), (0, 20), (11, 9)])
def test_up_to_twenty_differences_take_one_round_trip(common: int, mine: int, theirs: int) -> None:
    one, two = differing(common, common, mine, theirs)
    assert reconcile(one, two) == 2
    assert said(one, two) == ["Sketch", "Wants"]
    assert exact(one, two)
    budget = 135 if mine + theirs <= 10 else 170
    assert one.sent_bytes + two.sent_bytes <= budget


def test_counts_that_differ_by_much_are_foreseen() -> None:
    one, two = differing("foreseen", 1_000, 150, 1)
    assert reconcile(one, two) == 2
    assert exact(one, two)


def test_what_the_caller_expects_is_foreseen() -> None:
    one, two = differing("expected", 1_000, 60, 60)
    assert reconcile(one, two, expected=120) == 2
    assert exact(one, two)


def test_equal_views_have_nothing_to_send() -> None:
    one, two = differing("equal", 300, 0, 0)
    assert reconcile(one, two) == 2
    assert exact(one, two)
    assert one.end == Resolved(())
    assert two.end == Resolved((), expected=0)


def test_all_kinds_are_compared_at_once() -> None:
    shared = [one for kind in EnvelopeKind for one in made(kind, 20, kind)]
    own = [item(kind, bytes(32)) for kind in EnvelopeKind]
    one, two = Side([*shared, *own[::2]]), Side([*shared, *own[1::2]])
    assert reconcile(one, two) == 2
    assert exact(one, two)


def test_the_answering_side_knows_how_many_will_come() -> None:
    one, two = differing("expected", 500, 4, 3)
    reconcile(one, two)
    assert isinstance(two.end, Resolved)
    assert isinstance(one.end, Resolved)
    assert (two.end.expected, one.end.expected) == (4, None)


# --- more differences ---


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("mine", "theirs"), [(30, 30), (100, 0), (60, 40), (110, 100)])
def test_more_differences_are_estimated_and_extended(seed: int, mine: int, theirs: int) -> None:
    one, two = differing(seed, 2_000, mine, theirs)
    assert reconcile(one, two) <= 10
    assert exact(one, two)


def test_nothing_is_sent_again() -> None:
    one, two = differing(3, 2_000, 60, 60)
    reconcile(one, two)
    sketch = two.heard[0]
    assert isinstance(sketch, Sketch)
    have = len(sketch.symbols)
    for message in two.heard[1:]:
        assert isinstance(message, Symbols)
        assert message.start == have
        have += len(message.symbols)
    assert 121 <= have <= 200


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("mine", "theirs"), [(150, 150), (500, 500), (700, 1_500)])
def test_many_differences_are_cut_into_cells(seed: int, mine: int, theirs: int) -> None:
    one, two = differing(seed, 8_000, mine, theirs)
    assert reconcile(one, two) <= 24
    cut = [m for m in two.heard if isinstance(m, Sketch) and len(m.counts) > 1]
    assert len(cut) == 1
    assert enough(one, two)
    assert len(one.offer) + len(two.offer) <= mine + theirs + 4


def test_a_small_board_takes_cells_where_others_take_one_sketch() -> None:
    small = Limits(symbols_max=128)
    for limits in ((small, small), (small, Limits()), (Limits(), small)):
        one, two = differing("small", 2_000, 100, 80)
        for side, its in zip((one, two), limits, strict=True):
            side.limits, side.exchange = its, Exchange(NONCES, its)
        assert reconcile(one, two) <= 12
        assert exact(one, two)
        assert any(isinstance(m, Sketch) and len(m.counts) > 1 for m in two.heard)


def test_sets_that_share_little_end_in_a_list() -> None:
    one, two = differing("little", 50, 400, 410)
    reconcile(one, two)
    assert said(one, two) == ["Sketch", "More", "IdList", "Wants"]
    assert exact(one, two)


# --- one side has little or nothing ---


def test_an_empty_side_asks_for_all_in_eleven_bytes_and_some() -> None:
    one, two = Side([]), Side(made("all", 5_000))
    assert reconcile(one, two) == 2
    assert exact(one, two)
    assert not two.loads, "all is all: nothing need be read to say so"
    assert one.sent_bytes + two.sent_bytes <= 40


def test_to_an_empty_peer_all_is_sent_unasked() -> None:
    one, two = Side(made("all", 5_000)), Side([])
    assert reconcile(one, two) == 0
    assert one.end == Resolved((), everything=True)


def test_the_smaller_side_lists_what_it_has() -> None:
    one, two = differing("smaller", 100, 5, 3_000)
    assert reconcile(one, two) == 2
    assert said(one, two) == ["IdList", "Wants"]
    assert exact(one, two)
    assert one.sent_bytes < 105 * 3 + 20


def test_the_larger_side_lets_the_smaller_open() -> None:
    one, two = differing("larger", 100, 3_000, 5)
    assert reconcile(one, two) == 3
    assert isinstance(two.heard[0], Turn)
    assert isinstance(one.heard[0], IdList)
    assert exact(one, two)


def test_a_turn_is_not_handed_back() -> None:
    """Both believe the other to hold less, e.g. by counts that are out of date."""
    one, two = differing("turns", 100, 20, 20)
    one.peer_count = two.peer_count = 30
    one.open(30)
    assert converse(one, two) == 3
    assert said(one, two)[0] == "Turn"
    assert exact(one, two)


# --- large views ---


@pytest.fixture
def soon_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views are large from 500 on."""
    monkeypatch.setattr(sizing, "BUCKETS_FROM", 500)


@pytest.mark.usefixtures("soon_large")
def test_of_a_large_view_only_differing_buckets_are_read() -> None:
    one, two = differing("large", 3_000, 3, 4)
    assert reconcile(one, two) == 4
    assert said(one, two) == ["Sketch", "Narrow", "Sketch", "Wants"]
    assert exact(one, two)
    for side in (one, two):
        (load,) = side.loads
        assert load.buckets is not None
        assert 1 <= len(load.buckets) <= 7


@pytest.mark.usefixtures("soon_large")
@pytest.mark.parametrize("count", [40, 150, 600])
def test_when_many_buckets_differ_their_digests_are_listed(count: int) -> None:
    one, two = differing("listed", 4_000, count, count)
    reconcile(one, two)
    assert said(one, two)[:5] == ["Sketch", "More", "BucketDigests", "Narrow", "Sketch"]
    assert enough(one, two)


@pytest.mark.usefixtures("soon_large")
def test_equal_large_views_read_nothing() -> None:
    one, two = differing("equal", 1_000, 0, 0)
    reconcile(one, two)
    assert said(one, two) == ["Sketch", "Narrow"]
    assert exact(one, two)
    assert not one.loads
    assert not two.loads


@pytest.mark.usefixtures("soon_large")
def test_what_is_too_much_for_one_exchange_is_done_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizing, "ITEMS_MAX", 600)
    one, two = differing("parts", 1_000, 200, 300)
    exchanges = 0
    while set(one.items) != set(two.items):
        one.ends.clear()
        two.ends.clear()
        one.groups = two.groups = None
        reconcile(one, two, salt=bytes([exchanges]) * 4)
        assert isinstance(two.end, Resolved)
        assert all(load.at_most <= 1_200 for load in [*one.loads, *two.loads])
        mine, theirs = one.offer, two.offer
        before = len(set(one.items) ^ set(two.items))
        one.items = sorted({*one.items, *theirs})
        two.items = sorted({*two.items, *mine})
        assert len(set(one.items) ^ set(two.items)) < before
        assert two.end.is_partial is (set(one.items) != set(two.items))
        exchanges += 1
    assert 2 <= exchanges <= 6


@pytest.mark.usefixtures("soon_large")
def test_a_large_view_meets_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "ITEMS_MAX", 1_000)
    for mine, theirs in ((2_000, 20), (20, 2_000)):
        one, two = differing(f"{mine}", 100, mine, theirs)
        reconcile(one, two)
        for side in (one, two):
            assert isinstance(side.end, Resolved)
            assert side.offer <= set(side.items)
            assert all(load.buckets is not None for load in side.loads)


def test_views_with_other_buckets_are_left_to_0x01() -> None:
    """The two serve different kinds, so one has more buckets."""
    exchange, _ = step(Exchange(NONCES), Start(1, b"salt", 40_000, 40_000))
    one = Side(made("x", 10))
    buckets = LoadedBuckets([one._kept([])] * 512)
    _, (send,) = step(exchange, buckets)
    assert isinstance(send, Send)
    two = Side(made("x", 10))
    two.receive(send.message)
    assert isinstance(two.end, GaveUp)
    assert isinstance(two.take(), Failed)


# --- wrong results are seen ---


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 60),
    st.integers(0, 40),
    st.integers(0, 40),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 2**16 - 1),
)
def test_any_two_views_under_any_salt(
    common: int, mine: int, theirs: int, salt: bytes, seed: int
) -> None:
    one, two = differing(seed, common, mine, theirs)
    reconcile(one, two, salt)
    if not two.items:  # all is sent, and nothing need be said first
        assert one.end == Resolved((), everything=True) or not one.items
        return
    assert enough(one, two)


def collided(seed: int, most: int) -> str:
    """One exchange in a tiny field: "right", "again" (after a second salt) or "gave up"."""
    rng = random.Random(seed)
    one, two = differing(seed, 150, rng.randrange(most), rng.randrange(most))
    reconcile(one, two, rng.randbytes(4))
    if not all(isinstance(side.ends[-1], Resolved) for side in (one, two)):
        assert isinstance(one.ends[-1], FallBack), f"seed={seed}"
        return "gave up"
    again = len(two.ends) > 1
    one.ends, two.ends = one.ends[-1:], two.ends[-1:]
    assert enough(one, two), f"seed={seed}"
    return "again" if again else "right"


def test_with_many_collisions_a_result_is_right_or_known_to_be_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """12-bit ids: of 40 exchanges one has two differences that cancel. No seed may end wrong."""
    for width in PRIMES:
        monkeypatch.setitem(PRIMES, width, 4_093)
    outcomes = [collided(seed, most=20) for seed in range(200)]
    assert outcomes.count("right") > 180
    assert "again" in outcomes, "otherwise nothing was tried"


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_field")
def test_no_result_is_wrong_without_being_seen() -> None:
    """2,000 exchanges with 16-bit ids, some 25 of them with a wrong first result."""
    outcomes = [collided(seed, most=60) for seed in range(1_000, 3_000)]
    assert 5 < outcomes.count("again") < 100
    assert outcomes.count("gave up") < 5


@pytest.mark.usefixtures("tiny_field")
def test_cancelled_differences_are_tried_again_under_another_salt() -> None:
    """Search a salt under which one record here and one there have the same short id."""
    one, two = differing("cancel", 200, 8, 8)
    salt = next(salt for salt in salts(5_000) if cancels(one, two, salt))
    messages = reconcile(one, two, salt)
    assert messages == 4
    assert said(one, two) == ["Sketch", "Wants", "Sketch", "Wants"]
    first, second = two.heard
    assert isinstance(first, Sketch)
    assert isinstance(second, Sketch)
    assert (second.round_id, second.salt) == (first.round_id + 1, next_salt(salt))
    assert second.width == 32
    two.ends = two.ends[-1:]
    assert enough(one, two)


def salts(count: int) -> list[bytes]:
    return [number.to_bytes(4) for number in range(count)]


def next_salt(salt: bytes) -> bytes:
    return ((int.from_bytes(salt) + 1) % 2**32).to_bytes(4)


def short(items: Any, salt: bytes) -> set[int]:
    from ciris_mesh.protocol.shortid import SaltedSet

    return set(SaltedSet(list(items), salt + NONCES).values(24))


def cancels(one: Side, two: Side, salt: bytes) -> bool:
    mine, theirs = set(one.items) - set(two.items), set(two.items) - set(one.items)
    return bool(short(mine, salt) & short(theirs, salt))


@pytest.mark.usefixtures("tiny_field")
def test_a_collision_with_a_common_record_sends_that_too() -> None:
    one, two = differing("extra", 400, 3, 2)
    common, mine = set(one.items) & set(two.items), set(one.items) - set(two.items)
    salt = next(
        salt
        for salt in salts(5_000)
        if short(common, salt) & short(mine, salt) and not cancels(one, two, salt)
    )
    assert reconcile(one, two, salt) == 2
    assert enough(one, two)
    assert len(one.offer) > 3


def test_a_second_wrong_result_ends_in_0x01() -> None:
    one, two = differing("wrong", 200, 5, 5)

    def spoil(message: Any) -> Any:
        return Wants(message.round_id, b"!!!!", message.ranks) if is_wants(message) else message

    one.open(len(two.items))
    assert converse(one, two, change=spoil) == 4
    assert isinstance(one.end, FallBack)
    assert one.end.reason == "wrong_result"
    assert one.exchange == Exchange(NONCES)


def is_wants(message: Any) -> bool:
    return isinstance(message, Wants)


def test_a_later_attempt_has_wide_ids_and_no_second_try() -> None:
    one, two = differing("later", 200, 5, 5)
    one.open(len(two.items), attempt=2)
    sketch = one.take()
    assert isinstance(sketch, Sketch)
    assert sketch.width == 32
    one.receive(Failed(sketch.round_id))
    assert isinstance(one.end, FallBack)


# --- order, lateness, both at once ---


def test_of_two_that_open_at_once_the_larger_salt_goes_first() -> None:
    for mine, theirs in ((b"aaaa", b"bbbb"), (b"bbbb", b"aaaa")):
        one, two = differing("both", 300, 4, 6)
        one.open(len(two.items), mine)
        two.open(len(one.items), theirs)
        converse(one, two)
        assert exact(one, two)
        winner = one if mine > theirs else two
        assert winner.ignored == [Passed.OURS_GOES_FIRST]


def test_late_messages_of_another_round_are_passed_over() -> None:
    one, two = differing("late", 300, 4, 6)
    one.open(len(two.items))
    for late in (More(9, bytes(64)), Wants(9, b"chck", b"\0"), Failed(9), Narrow(9, 0, ())):
        one.receive(late)
    assert one.ignored == [Passed.OTHER_ROUND] * 4
    converse(one, two)
    assert exact(one, two)
    two.receive(Symbols(9, 24, 24, (1,)))
    assert two.ignored == [Passed.NOTHING_OPEN]


def test_a_peer_that_opens_anew_is_answered_anew() -> None:
    one, two = differing("anew", 2_000, 60, 60)
    one.open(len(two.items))
    two.receive(one.take())
    assert two.exchange.task is not None, "waits for more symbols"
    one.exchange = one.exchange.reset()
    one.open(len(two.items), b"next")
    two.outbox.clear()
    converse(one, two)
    assert exact(one, two)


def test_every_way_out_resets() -> None:
    blank = Exchange(NONCES)
    one, two = differing("reset", 300, 4, 6)
    reconcile(one, two)
    assert one.exchange == two.exchange == blank
    one.open(len(two.items))
    two.receive(one.take())
    two.outbox.clear()
    assert one.exchange.reset() == blank
    one.receive(Failed(one.next_round))
    one.receive(Failed(one.next_round + 1))
    assert one.exchange == blank


def test_a_store_with_more_than_an_exchange_takes_is_left_to_0x01() -> None:
    exchange, (load,) = step(Exchange(NONCES), Start(1, b"salt", 900, 900))
    assert isinstance(load, Load)
    exchange, actions = step(exchange, Loaded(None))
    assert isinstance(actions[-1], FallBack)
    two = Side([])
    two.exchange, _ = step(two.exchange, Received(Sketch(1, b"salt", 24, False, (9,), (1,) * 24)))
    two.feed(Loaded(None))
    assert isinstance(two.end, GaveUp)
    assert two.take() == Failed(1)


@pytest.mark.parametrize("event", [Loaded([]), LoadedBuckets([])])
def test_answers_nobody_asked_for_are_our_own_fault(event: Any) -> None:
    one, two = differing("fault", 300, 4, 6)
    with pytest.raises(LocalProtocolError, match="idle"):
        step(one.exchange, event)
    one.open(len(two.items))
    with pytest.raises(LocalProtocolError, match="opening_waiting"):
        step(one.exchange, event)
    with pytest.raises(LocalProtocolError, match="opening_waiting"):
        step(one.exchange, Start(9, b"salt", 1, 1))
    loading, _ = step(Exchange(NONCES), Start(1, b"salt", 9, 9))
    with pytest.raises(LocalProtocolError, match="opening_loading"):
        step(loading, Received(Failed(1)))


def test_a_step_leaves_the_old_exchange_as_it_was() -> None:
    one, two = differing("frozen", 2_000, 60, 60)
    one.open(len(two.items))
    before = one.exchange
    two.receive(one.take())
    more = two.take()
    first = step(before, Received(more))
    second = step(before, Received(more))
    assert [first[1], before] == [second[1], one.exchange]
