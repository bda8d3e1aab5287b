"""Sizes: enough in one round trip for few, an estimate for more, and something cheaper for most."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.protocol.shortid import SaltedSet
from ciris_mesh.protocol.sizing import (
    CELL_TARGET,
    PRODUCTS_MAX,
    CutIntoCells,
    Limits,
    OneSketch,
    SendList,
    cells_for,
    estimate,
    longer,
    plan,
    shares_little,
    spread_over,
    width_for,
)
from ciris_mesh.wire.mesh_reconcile import SYMBOLS_MAX
from support.reconciling import differing

LIMITS = Limits()


@pytest.mark.parametrize(
    ("count", "width"), [(0, 24), (4_000, 24), (4_001, 28), (32_000, 28), (32_001, 32), (10**9, 32)]
)
def test_larger_sets_have_wider_ids(count: int, width: int) -> None:
    assert width_for(count) == width


@pytest.mark.parametrize(
    ("count", "theirs", "total"),
    [(1_000, 1_000, 24), (1_000, 1_020, 24), (1_020, 1_000, 24), (1_021, 1_000, 25), (10, 60, 54)],
)
def test_a_first_sketch_has_24_symbols_or_4_more_than_the_counts_differ(
    count: int, theirs: int, total: int
) -> None:
    assert plan(0, count, theirs, LIMITS) == OneSketch(total)


@pytest.mark.parametrize("symbols_max", [128, 256])
def test_what_one_sketch_does_not_hold_is_cut(symbols_max: int) -> None:
    limits = Limits(symbols_max=symbols_max)
    for expected in range(0, 2_000, 7):
        chosen = plan(expected, 10_000, 10_000, limits)
        match chosen:
            case OneSketch(total=total):
                assert expected <= total <= symbols_max
            case CutIntoCells(log2=log2, each=each):
                assert expected * 9 // 8 + 6 > symbols_max
                assert (each << log2) >= expected
                assert 20 <= each <= CELL_TARGET * 3 // 2
            case _:
                raise AssertionError(chosen)


def test_sets_that_share_little_are_listed() -> None:
    assert plan(6_000, 8_000, 8_000, LIMITS) == SendList()
    assert plan(700, 400, 450, LIMITS) == SendList()
    assert isinstance(plan(1_000, 8_000, 8_000, LIMITS), CutIntoCells)


def test_what_nothing_here_is_fit_for() -> None:
    assert plan(100_000, 100_000, 100_000, LIMITS) is None


def test_a_large_set_is_not_summed_too_often() -> None:
    chosen = plan(200, 130_000, 130_000, LIMITS)
    assert isinstance(chosen, CutIntoCells)
    assert 130_000 * chosen.each < PRODUCTS_MAX


@given(st.integers(0, 20_000))
def test_cells_hold_about_32_each_and_fit_a_message(expected: int) -> None:
    cut = cells_for(expected)
    if cut is None:
        assert expected > 256 * CELL_TARGET
        return
    assert (cut.each << cut.log2) <= SYMBOLS_MAX
    assert 1 <= cut.log2 <= 8
    if expected > 100:
        assert expected <= cut.each << cut.log2 <= expected + (1 << cut.log2)


@given(st.integers(1, 256), st.integers(1, 256))
def test_an_extension_grows_until_the_end(total: int, most: int) -> None:
    longer_now = longer(total, most)
    assert longer_now <= most
    assert longer_now >= min(most, total + 6)


@pytest.mark.parametrize(
    ("one", "two", "little"),
    [(0, 0, False), (0, 1, True), (1, 2, False), (1, 3, True), (3, 1, True), (50, 101, True)],
)
def test_less_than_half_is_little(one: int, two: int, *, little: bool) -> None:
    assert shares_little(one, two) is little


@pytest.mark.parametrize(("mine", "theirs"), [(50, 50), (500, 500), (1_000, 0), (100, 700)])
def test_an_estimate_is_within_a_fifth_most_of_the_time(mine: int, theirs: int) -> None:
    good = 0
    for seed in range(40):
        one, two = differing(seed, 2_000, mine, theirs)
        key = random.Random(seed).randbytes(20)
        ours, others = (SaltedSet(side.items, key).histogram() for side in (one, two))
        guess = estimate(ours, others, mine - theirs)
        good += abs(guess - mine - theirs) <= 0.25 * (mine + theirs)
        assert abs(mine - theirs) <= guess < 2 * (mine + theirs)
    assert good >= 28, "a quarter is 1.4 standard deviations: 84 %"


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=64, max_size=64), st.integers())
def test_any_histogram_gives_a_number(one: bytes, two: bytes, surplus: int) -> None:
    assert estimate(one, two, surplus) >= abs(surplus)
    assert estimate(one, two, 0) <= 64 * 128**2 * 64 // 63


@pytest.mark.parametrize(("differences", "buckets"), [(10, 256), (100, 256), (800, 3_328)])
def test_differing_buckets_tell_how_many_differences(differences: int, buckets: int) -> None:
    rng = random.Random(differences)
    for _ in range(20):
        hit = sorted({rng.randrange(buckets) for _ in range(differences)})
        assert 0.7 * differences < spread_over(hit) < 1.4 * differences


def test_all_buckets_differ_by_as_many_as_it_takes() -> None:
    assert spread_over([0]) == 1
    assert spread_over(range(256)) > 1_000


@pytest.mark.parametrize("symbols_max", [0, 31, 257])
def test_a_limit_that_makes_no_sense_is_our_fault(symbols_max: int) -> None:
    with pytest.raises(LocalProtocolError):
        Limits(symbols_max=symbols_max)
