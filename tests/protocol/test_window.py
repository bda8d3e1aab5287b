"""A sliding sum is never less than the truth, hardly more, and bounded."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.protocol.window import HOUR_S, SlidingSum, to_s, to_us

times = st.lists(st.floats(0, 20_000), min_size=1, max_size=60).map(sorted)


@pytest.mark.parametrize("seconds", [-1e-9, math.nan, math.inf, -math.inf])
def test_only_lengths_of_time_are_taken(seconds: float) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        to_us(seconds)


def test_microseconds_are_rounded_up() -> None:
    assert [to_us(0), to_us(1e-9), to_us(1.0), to_us(1.0000001)] == [0, 1, 1_000_000, 1_000_001]
    assert to_s(1_500_000) == 1.5


def test_it_slides_and_does_not_jump() -> None:
    window = SlidingSum(1.0)
    for minute in range(60):
        window.add(1, 60.0 * minute)
    assert window.total_us(3_540) == 60
    sums = [window.total_us(HOUR_S + 60.0 * minute + 1) for minute in range(61)]
    assert sums == [*range(59, -1, -1), 0]


@given(times, st.sampled_from([0.5, 1.0, 10.0]))
def test_never_less_than_the_hour_and_at_most_a_slot_more(
    ends_s: list[float], slot_s: float
) -> None:
    window = SlidingSum(slot_s)
    for number, end_s in enumerate(ends_s):
        window.add(1, end_s)
        known = ends_s[: number + 1]
        in_hour = sum(each > end_s - HOUR_S for each in known)
        in_slack = sum(each > end_s - HOUR_S - slot_s for each in known)
        assert in_hour <= window.total_us(end_s) <= in_slack


@given(times)
def test_the_expiries_are_the_whole_sum_in_order(ends_s: list[float]) -> None:
    window = SlidingSum(1.0)
    for end_s in ends_s:
        window.add(3, end_s)
    total_us = window.total_us(ends_s[-1])
    expiries = list(window.expiries())
    assert expiries == sorted(expiries)
    assert sum(us for _, us in expiries) == total_us
    for at_s, us in expiries:
        before_us = total_us
        total_us = window.total_us(at_s)
        assert total_us == before_us - us


def test_memory_is_an_hour_of_slots_whatever_comes() -> None:
    window = SlidingSum(1.0)
    chance = random.Random(5)
    now_s = 0.0
    for _ in range(50_000):
        now_s += chance.random() / 2
        window.add(1, now_s)
        window.total_us(now_s)
        assert len(window) <= HOUR_S + 2


def test_what_ends_earlier_than_the_last_counts_as_late_as_that() -> None:
    window = SlidingSum(1.0)
    window.add(1, 100.0)
    window.add(1, 50.0)
    assert window.total_us(HOUR_S + 100.5) == 2
    assert window.total_us(HOUR_S + 101.0) == 0


@given(times, st.integers(0, 200))
def test_the_newest_is_taken_back_first(ends_s: list[float], amount_us: int) -> None:
    window = SlidingSum(1.0)
    for end_s in ends_s:
        window.add(2, end_s)
    before = list(window.expiries())
    total_us = sum(us for _, us in before)
    taken_us = window.take_back(amount_us)
    assert taken_us == min(amount_us, total_us)
    after = list(window.expiries())
    assert sum(us for _, us in after) == total_us - taken_us
    assert after[:-1] == before[: max(len(after) - 1, 0)]


def test_nothing_leaves_no_slot() -> None:
    window = SlidingSum(1.0)
    window.add(0, 5.0)
    assert len(window) == 0
