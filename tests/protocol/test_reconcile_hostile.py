"""What a hostile peer says in a reconciliation ends in a named refusal, or in bounded work."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, ReconcileRefused, RemoteProtocolError, UnexpectedMessage
from ciris_mesh.protocol import sizing
from ciris_mesh.protocol.answering import Answering
from ciris_mesh.protocol.opening import Opening
from ciris_mesh.protocol.reconcile import Exchange, step
from ciris_mesh.protocol.reconcile_events import (
    FallBack,
    GaveUp,
    Loaded,
    LoadedBuckets,
    Received,
    ReconcileAction,
    Refused,
    Resolved,
    Start,
)
from ciris_mesh.protocol.shortid import SaltedSet
from ciris_mesh.protocol.sizing import EFFORT_STEPS, PRODUCTS_MAX, Limits
from ciris_mesh.protocol.sketch import PowerSums
from ciris_mesh.wire import bitpack
from ciris_mesh.wire.mesh import decode, encode
from ciris_mesh.wire.mesh_reconcile import (
    PRIMES,
    SYMBOLS_MAX,
    BucketDigests,
    Extend,
    Failed,
    IdList,
    More,
    Narrow,
    ReconcileMessage,
    Sketch,
    Symbols,
    Wants,
)
from support import strategies
from support.reconciling import NONCES, Side, converse, differing, enough, made

SALT = b"salt"
HISTOGRAM = bytes(64)


def opener(count: int = 300, theirs: int = 300, **more: Any) -> Side:
    """One side that has sent its first sketch, in round 102."""
    side = Side(made("hostile", count))
    side.open(theirs, **more)
    side.outbox.clear()
    return side


def answerer(count: int = 300, limits: Limits | None = None) -> Side:
    return Side(made("hostile", count), limits or Limits())


def large_opener(monkeypatch: pytest.MonkeyPatch) -> Side:
    monkeypatch.setattr(sizing, "BUCKETS_FROM", 100)
    return opener()


def sketch(symbols: int, *, cells: int = 1, seed: int = 1, width: int = 24) -> Sketch:
    rng = random.Random(seed)
    counts = (300,) if cells == 1 else (1,) * cells
    drawn = tuple(rng.randrange(PRIMES[width]) for _ in range(symbols * cells))
    return Sketch(102, SALT, width, False, counts, drawn)


def symbols(count: int, start: int = 24, seed: int = 1) -> Symbols:
    rng = random.Random(seed)
    return Symbols(102, 24, start, tuple(rng.randrange(PRIMES[24]) for _ in range(count)))


def refusal(side: Side, message: ReconcileMessage) -> str:
    """The named reason, and nothing changed."""
    before = side.exchange
    with pytest.raises(ReconcileRefused) as caught:
        side.receive(message)
    assert side.exchange == before
    return caught.value.reason


# --- named refusals: the opening side ---


@pytest.mark.parametrize("ranks", ["ff", "0200", "8100", "ffffffff0f", "01" + "ff" * 9])
def test_ranks_that_are_none_are_refused(ranks: str) -> None:
    assert refusal(opener(), Wants(102, b"chck", bytes.fromhex(ranks))) == Refused.RANKS_MALFORMED


def test_ranks_of_more_than_there_are_are_refused() -> None:
    ranks = bitpack.pack_distinct(tuple(range(301)), 400)
    assert refusal(opener(), Wants(102, b"chck", ranks)) == Refused.RANKS_MALFORMED


def test_wants_that_name_other_records_than_they_check_are_not_served() -> None:
    side = opener()
    side.receive(Wants(102, b"chck", bitpack.pack_distinct((1, 2, 3), 300)))
    assert not side.ends
    retry = side.take()
    assert isinstance(retry, Sketch)
    assert retry.round_id == 103


def test_a_cell_that_does_not_exist_is_refused() -> None:
    assert refusal(opener(), Extend(102, 30, (1,))) == Refused.NO_SUCH_CELL


@pytest.mark.parametrize("total", [1, 23, 24])
def test_symbols_sent_before_are_not_sent_again(total: int) -> None:
    assert refusal(opener(), Extend(102, total, (0,))) == Refused.TOO_MANY_SYMBOLS


def test_cells_of_uneven_length_are_not_extended_together() -> None:
    side = opener(2_000, 2_600)
    assert isinstance(side.exchange.task, Opening)
    assert len(side.exchange.task.sums) > 1
    each = side.exchange.task.sent[0]
    side.receive(Extend(102, each + 6, (0,)))
    assert refusal(side, Extend(102, each + 12, (0, 1))) == Refused.TOO_MANY_SYMBOLS
    assert refusal(side, Extend(102, 129, (2,))) == Refused.TOO_MANY_SYMBOLS


def test_endless_questions_are_refused() -> None:
    side = opener()
    for total in range(25, 35):
        side.receive(Extend(102, total, (0,)))
    assert refusal(side, Extend(102, 36, (0,))) == Refused.TOO_MANY_QUESTIONS
    assert refusal(side, More(102, HISTOGRAM)) == Refused.TOO_MANY_QUESTIONS


def test_endless_mores_are_refused() -> None:
    side = opener(5_000, 5_000)
    more = More(102, SaltedSet(side.items, SALT + NONCES).histogram())
    side.receive(more)
    assert isinstance(side.take(), Symbols)
    side.receive(more)
    assert isinstance(side.exchange.task, Opening)
    assert len(side.exchange.task.sums) > 1, "the second one is answered with cells"
    assert refusal(side, more) == Refused.WRONG_KIND_OF_MORE


def test_more_must_fit_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(opener(), More(102, b"")) == Refused.WRONG_KIND_OF_MORE
    large = large_opener(monkeypatch)
    assert refusal(large, More(102, HISTOGRAM)) == Refused.WRONG_KIND_OF_MORE
    for _ in range(10):
        large.receive(More(102, b""))
    assert refusal(large, More(102, b"")) == Refused.TOO_MANY_QUESTIONS


def test_a_bucket_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    side = large_opener(monkeypatch)
    assert refusal(side, Narrow(102, 5, (0, 256))) == Refused.NO_SUCH_BUCKET


def test_narrowing_to_all_of_a_huge_view_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    side = large_opener(monkeypatch)
    monkeypatch.setattr(sizing, "ITEMS_MAX", 100)
    side.receive(Narrow(102, 5, tuple(range(256))))
    assert isinstance(side.end, FallBack)
    assert not side.loads


@pytest.mark.parametrize(
    "message",
    [Symbols(102, 24, 24, (1,)), BucketDigests(102, b"abc"), Narrow(102, 1, (1,))],
    ids=lambda message: type(message).__name__,
)
def test_what_an_opening_side_never_waits_for(message: ReconcileMessage) -> None:
    with pytest.raises(UnexpectedMessage):
        opener().receive(message)


def test_wants_before_ids_were_sketched_are_out_of_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnexpectedMessage):
        large_opener(monkeypatch).receive(Wants(102, b"chck", b"\0"))


# --- named refusals: the answering side ---


def waiting() -> Side:
    """An answering side that has said More."""
    side = answerer()
    side.receive(sketch(24))
    assert isinstance(side.take(), More)
    return side


@pytest.mark.parametrize(
    "message",
    [
        symbols(10, start=23),
        symbols(10, start=25),
        symbols(233),
        Symbols(102, 28, 24, (1, 2)),
    ],
    ids=["earlier", "later", "over 256", "another width"],
)
def test_symbols_that_do_not_continue_are_refused(message: Symbols) -> None:
    assert refusal(waiting(), message) == Refused.SYMBOLS_NOT_ASKED_FOR


def test_symbols_must_be_as_many_as_asked_for() -> None:
    side = waiting()
    side.receive(symbols(10))
    extend = side.take()
    assert isinstance(extend, Extend)
    for count in (1, extend.total - 34 - 1, extend.total - 34 + 1):
        assert refusal(side, symbols(count, start=34)) == Refused.SYMBOLS_NOT_ASKED_FOR


def test_symbols_nobody_asked_for_are_out_of_turn() -> None:
    """After Wants the exchange is over here, so nothing is decoded that was not asked for."""
    side = answerer()
    own = SaltedSet(side.items, SALT + NONCES).values(24)
    sums = PowerSums(own, PRIMES[24]).first(24)
    side.receive(Sketch(102, SALT, 24, False, (300,), tuple(sums)))
    assert isinstance(side.end, Resolved)
    side.receive(symbols(100))
    assert side.ignored == ["nothing_open"]


@pytest.mark.parametrize(
    "message",
    [Wants(102, b"chck", b"\0"), Extend(102, 30, (0,)), More(102, HISTOGRAM), Narrow(102, 1, ())],
    ids=lambda message: type(message).__name__,
)
def test_what_an_answering_side_never_waits_for(message: ReconcileMessage) -> None:
    with pytest.raises(UnexpectedMessage):
        waiting().receive(message)


def test_a_sketch_that_decodes_to_what_we_do_not_hold_is_a_failure() -> None:
    """Sums that claim we hold an id we do not: minus one root that is not ours."""
    side = answerer()
    own = SaltedSet(side.items, SALT + NONCES).values(24)
    stranger = next(v for v in range(1, 1_000) if v not in own)
    sums = PowerSums([*own], PRIMES[24]).first(24)
    less = PowerSums([stranger], PRIMES[24]).first(24)
    forged = tuple((a - b) % PRIMES[24] for a, b in zip(sums, less, strict=True))
    side.receive(Sketch(102, SALT, 24, False, (299,), forged))
    assert side.end == GaveUp("impossible")  # type: ignore[arg-type]
    assert side.take() == Failed(102)


def test_a_sketch_of_what_does_not_exist_makes_us_want_no_more_than_its_symbols() -> None:
    side = answerer()
    own = SaltedSet(side.items, SALT + NONCES).values(24)
    invented = random.Random(1).sample(range(1, PRIMES[24]), 200)
    sums = PowerSums([*own, *invented], PRIMES[24]).first(210)
    side.receive(Sketch(102, SALT, 24, False, (500,), tuple(sums)))
    assert isinstance(side.end, Resolved)
    assert side.end.offer == ()
    assert side.end.expected == 200


def test_a_list_of_what_does_not_exist_ends_too() -> None:
    side = answerer()
    side.receive(IdList(102, SALT, 32, tuple(range(0, 2**32 - 6, 2**17))))
    assert isinstance(side.end, Resolved)
    assert len(side.end.offer) == 300


# --- bounded work ---


class Hostile:
    """Answers every question with garbage, and counts what that costs the other side."""

    def __init__(self, side: Side, seed: int) -> None:
        self.side = side
        self.rng = random.Random(seed)
        self.messages = 0
        self.effort = 0

    def say(self, message: ReconcileMessage) -> None:
        self.side.receive(message)
        self.messages += 1
        task = self.side.exchange.task
        if isinstance(task, Answering):
            self.effort = task.limits.effort_steps - task.effort_left

    def run(self, first: ReconcileMessage) -> None:
        self.say(first)
        width = first.width if isinstance(first, Sketch) else 24
        while self.side.exchange.task is not None:
            task = self.side.exchange.task
            assert isinstance(task, Answering)
            question = self.side.take()
            if isinstance(question, Extend):
                start = len(task.cells[question.cells[0]].theirs)
                count = (question.total - start) * len(question.cells)
            else:
                assert isinstance(question, More)
                start = len(task.cells[0].theirs)
                count = 256 - start
            if not count:
                self.say(Failed(102))
                continue
            drawn = tuple(self.rng.randrange(PRIMES[width]) for _ in range(count))
            self.say(Symbols(102, width, start, drawn))


@pytest.mark.parametrize("width", [24, 32])
@pytest.mark.parametrize(
    ("each", "cells"),
    [
        (24, 1),
        (256, 1),
        (1, 64),
        (24, 32),
        (128, 16),
        pytest.param(1, 256, marks=pytest.mark.slow),
        pytest.param(64, 256, marks=pytest.mark.slow),
    ],
)
def test_garbage_ends_in_a_bounded_number_of_steps(each: int, cells: int, width: int) -> None:
    side = answerer(600)
    hostile = Hostile(side, seed=each)
    hostile.run(sketch(each, cells=cells, width=width))
    assert isinstance(side.end, GaveUp)
    assert hostile.messages <= sizing.EXTENDS_MAX + 4
    assert hostile.effort < EFFORT_STEPS
    assert side.exchange == Exchange(NONCES)


def expensive(cells: int, each: int) -> Sketch:
    """Every cell decodes, at full length, to ids nobody has."""
    rng = random.Random(cells)
    drawn: list[int] = []
    for _ in range(cells):
        values = rng.sample(range(1, PRIMES[32]), each - 1)
        drawn += PowerSums(values, PRIMES[32]).first(each)
    return Sketch(102, SALT, 32, False, (each - 1,) * cells, tuple(drawn))


def test_the_dearest_sketch_is_cut_off_where_the_effort_ends() -> None:
    limits = Limits(effort_steps=200_000)
    side = Side([], limits)
    side.receive(expensive(16, 40))
    assert side.end == GaveUp("too_costly")  # type: ignore[arg-type]
    assert side.take() == Failed(102)
    patient = Side([])
    patient.receive(expensive(16, 40))
    assert isinstance(patient.end, Resolved), "with the default there is room for it"


def test_sums_of_a_huge_view_count_as_effort() -> None:
    """A sketch over the whole view, however large it is here, costs us its sums too."""
    side = Side(made("sums", 3_000), Limits(effort_steps=3_000 * 64 // 3))
    side.receive(sketch(64))
    assert side.end == GaveUp("too_costly")  # type: ignore[arg-type]


def test_the_opening_side_sums_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    side = opener()
    monkeypatch.setattr(sizing, "PRODUCTS_MAX", 300 * 40)
    side.receive(Extend(102, 40, (0,)))
    assert isinstance(side.exchange.task, Opening)
    assert side.exchange.task.products == 300 * 40
    side.receive(Extend(102, 41, (0,)))
    assert side.end == FallBack("too_costly")  # type: ignore[arg-type]


def test_the_limits_bound_what_was_said_to_be_bounded() -> None:
    assert PRODUCTS_MAX // 4 >= 30_000 * 256
    assert PRODUCTS_MAX // 4 >= 2 * sizing.ITEMS_MAX * 24


@pytest.mark.parametrize("histogram", [bytes(64), b"\x80" * 64, b"\xff" * 64, bytes(range(64))])
@pytest.mark.parametrize("count", [10, 300, 5_000])
def test_a_lying_histogram_gets_a_bounded_answer(histogram: bytes, count: int) -> None:
    side = opener(count, count)
    side.receive(More(102, histogram))
    if side.exchange.task is None:
        assert isinstance(side.end, FallBack)
        return
    answer = side.take()
    match answer:
        case Sketch() | Symbols():
            assert len(answer.symbols) <= SYMBOLS_MAX
        case IdList():
            assert len(answer.ids) == count
        case _:
            raise AssertionError(answer)


def test_hostile_messages_take_little_memory() -> None:
    side = answerer(300)
    dearest = sketch(64, cells=32, width=32)
    tracemalloc.start()
    try:
        side.receive(dearest)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


# --- anything, in any order ---

inputs = st.lists(
    st.one_of(
        strategies.reconcile_messages.map(Received),
        st.builds(
            Start,
            st.integers(0, 2**16 - 1),
            st.binary(min_size=4, max_size=4),
            st.integers(0, 40_000),
            st.integers(0, 40_000),
        ),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(inputs, st.integers(0, 30), st.booleans())
def test_any_messages_in_any_order_end_in_an_action_or_a_refusal(
    events: list[Any], count: int, same_round: bool
) -> None:
    side = Side(made("any", count), Limits(effort_steps=300_000))
    for event in events:
        if isinstance(event, Start):
            side.exchange = side.exchange.reset()
        elif same_round and side.exchange.task is not None:
            object.__setattr__(event.message, "round_id", side.exchange.task.round_id)
        try:
            side.feed(event)
        except RemoteProtocolError:
            side.exchange = side.exchange.reset()
    for end in side.ends:
        if isinstance(end, Resolved):
            assert set(end.offer) <= set(side.items)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 40), st.integers(0, 20))
def test_a_changed_message_ends_right_or_known_to_be_wrong(
    data: st.DataObject, mine: int, theirs: int
) -> None:
    """One byte of one message is another: whatever comes of it is not taken for a result."""
    one, two = differing("changed", 60, mine, theirs)
    target = data.draw(st.integers(0, 5))
    seen = 0

    def change(message: ReconcileMessage) -> ReconcileMessage:
        nonlocal seen
        seen += 1
        if seen - 1 != target:
            return message
        changed = bytearray(encode(message))
        changed[data.draw(st.integers(6, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
        try:
            other = decode(bytes(changed))
        except DecodeError:
            return message  # dropped with its link; the next exchange is another case
        assert isinstance(other, ReconcileMessage)
        return other

    one.peer_count, two.peer_count = len(two.items), len(one.items)
    one.open(len(two.items))
    try:
        converse(one, two, change=change)
    except RemoteProtocolError:
        return
    ended = [side.ends[-1] if side.ends else None for side in (one, two)]
    if not all(isinstance(end, Resolved) and not end.everything for end in ended):
        return
    one.ends, two.ends = one.ends[-1:], two.ends[-1:]
    assert enough(one, two)


def outcome_names(actions: tuple[ReconcileAction, ...]) -> list[str]:
    return [type(action).__name__ for action in actions]


def test_refused_and_given_up_exchanges_leave_room_for_the_next() -> None:
    exchange = Exchange(NONCES)
    exchange, actions = step(exchange, Received(sketch(24)))
    assert outcome_names(actions) == ["Load"]
    exchange, actions = step(exchange, Loaded(None))
    assert outcome_names(actions) == ["Send", "GaveUp"]
    exchange, actions = step(exchange, Received(Sketch(9, SALT, 24, True, (256,), (1, 2))))
    assert outcome_names(actions) == ["LoadBuckets"]
    exchange, actions = step(exchange, LoadedBuckets([]))
    assert outcome_names(actions) == ["Send", "GaveUp"]
    assert exchange == Exchange(NONCES)
