"""Power sums give back every difference they have room for, and say so when they have not."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ciris_mesh.protocol.field import Effort, EffortExceeded
from ciris_mesh.protocol.sketch import Difference, PowerSums, decode
from ciris_mesh.wire.mesh_reconcile import PRIMES

TINY = 65_521
ENDLESS = 10**12
primes = st.sampled_from((TINY, *PRIMES.values()))


def difference(
    p: int, theirs: list[int], ours: list[int], symbols: int, steps: int = ENDLESS
) -> Difference | None:
    """As between two sides: sums of each, subtracted."""
    return decode(
        p,
        PowerSums(theirs, p).first(symbols),
        PowerSums(ours, p).first(symbols),
        len(theirs) - len(ours),
        Effort(steps),
    )


def expected(theirs: list[int], ours: list[int]) -> Difference:
    left, right = Counter(theirs), Counter(ours)
    return Difference(dict(left - right), dict(right - left))


@given(primes, st.lists(st.integers(1, TINY - 1), max_size=30), st.integers(1, 20))
def test_sums_are_sums_of_powers(p: int, values: list[int], count: int) -> None:
    sums = PowerSums(values, p)
    first = sums.first(count // 2)
    assert sums.first(count)[: count // 2] == first
    assert sums.first(count) == [
        sum(pow(value, power, p) for value in values) % p for power in range(1, count + 1)
    ]
    assert sums.products_to(count) == 0
    assert sums.products_to(count + 3) == 3 * len(values)


@settings(max_examples=150)
@given(
    primes,
    st.lists(st.integers(1, TINY - 1), max_size=12),
    st.lists(st.integers(1, TINY - 1), max_size=12),
    st.lists(st.integers(1, TINY - 1), max_size=40),
    st.integers(1, 12),
)
@example(TINY, [5, 5, 5], [7, 7], [5, 7, 7], 1)
@example(TINY, [], [], [], 1)
@example(TINY, [9], [9], [1], 1)
def test_two_multisets_give_exactly_their_difference(
    p: int, theirs: list[int], ours: list[int], common: list[int], spare: int
) -> None:
    """Whatever collides: within a side multiplicities tell, between the sides it is common."""
    found = difference(p, theirs + common, ours + common, len(theirs) + len(ours) + spare)
    assert found == expected(theirs, ours)


@pytest.mark.parametrize("p", [TINY, *PRIMES.values()])
@pytest.mark.parametrize(("mine", "yours"), [(0, 23), (23, 0), (12, 11), (0, 255), (130, 125)])
def test_one_symbol_more_than_differences_is_enough(p: int, mine: int, yours: int) -> None:
    rng = random.Random(p + mine)
    values = rng.sample(range(1, p), mine + yours + 50)
    ours, theirs, common = values[:mine], values[mine : mine + yours], values[mine + yours :]
    found = difference(p, theirs + common, ours + common, mine + yours + 1)
    assert found == expected(theirs, ours)


@pytest.mark.parametrize("p", PRIMES.values())
@pytest.mark.parametrize("short_by", [0, 1, 2, 5, 20, 60])
def test_too_few_symbols_are_seen(p: int, short_by: int) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        values = rng.sample(range(1, p), 61)
        cut = rng.randrange(62)
        symbols = 61 - short_by
        assert difference(p, values[:cut], values[cut:], symbols) is None


def test_a_wrong_surplus_is_seen() -> None:
    p = PRIMES[24]
    theirs, ours = PowerSums([1, 2, 3], p).first(24), PowerSums([4, 5], p).first(24)
    for surplus in range(-40, 41):
        found = decode(p, theirs, ours, surplus, Effort(ENDLESS))
        assert (found is not None) is (surplus == 1)


@settings(max_examples=200)
@given(st.data(), primes, st.integers(1, 40), st.integers(-300, 300))
def test_any_symbols_end_in_a_difference_that_has_them_or_in_none(
    data: st.DataObject, p: int, count: int, surplus: int
) -> None:
    """A hostile sketch that decodes is a sketch of something."""
    symbols = data.draw(st.lists(st.integers(0, p - 1), min_size=count, max_size=count))
    found = decode(p, symbols, [0] * count, surplus, Effort(ENDLESS))
    if found is None:
        return
    assert not found.theirs.keys() & found.ours.keys()
    assert sum(found.theirs.values()) - sum(found.ours.values()) == surplus
    for power, symbol in enumerate(symbols, 1):
        sums = [
            sum(times * pow(value, power, p) for value, times in side.items())
            for side in (found.theirs, found.ours)
        ]
        assert (sums[0] - sums[1]) % p == symbol


def test_random_symbols_decode_to_nothing() -> None:
    for p in PRIMES.values():
        for seed in range(100):
            rng = random.Random(seed)
            count = rng.choice((5, 24, 60, 128))
            symbols = [rng.randrange(p) for _ in range(count)]
            surplus = rng.randint(-count, count)
            assert decode(p, symbols, [0] * count, surplus, Effort(ENDLESS)) is None


@pytest.mark.parametrize("count", [24, 64, 128, 256])
def test_hostile_symbols_cost_a_bounded_number_of_steps(count: int) -> None:
    """Garbage; sketches that decode; and a rational function that does not split into factors."""
    p = PRIMES[32]
    rng = random.Random(count)
    full = rng.sample(range(1, p), count - 1)
    sketches = {
        "garbage": [rng.randrange(p) for _ in range(count)],
        "zeros": [0] * count,
        "ones": [1] * count,
        "full": PowerSums(full, p).first(count),
        "half": PowerSums(full[: count // 2], p).first(count),
        "twice": PowerSums(full[: count // 2] * 2, p).first(count),
        "no roots": no_roots(p, count),
    }
    for name, symbols in sketches.items():
        for surplus in (0, count - 1, count // 2, -(count // 2)):
            effort = Effort(ENDLESS)
            decode(p, symbols, [0] * count, surplus, effort)
            assert ENDLESS - effort.left < 25 * count * count + 6_000 * count, (name, surplus)


def no_roots(p: int, count: int) -> list[int]:
    """Power sums of the roots of x**k - c, which are not in the field for a c that is no power."""
    power = next(k for k in range(count // 2, count) if k % 2 == 0)
    c = next(n for n in range(2, p) if pow(n, (p - 1) // 2, p) == p - 1)
    return [
        power * pow(c, number // power, p) % p if number % power == 0 else 0
        for number in range(1, count + 1)
    ]


def test_what_does_not_split_decodes_to_nothing() -> None:
    for count in (24, 128):
        power = next(k for k in range(count // 2, count) if k % 2 == 0)
        symbols = no_roots(PRIMES[32], count)
        assert decode(PRIMES[32], symbols, [0] * count, power, Effort(ENDLESS)) is None


def test_a_limit_of_steps_ends_it() -> None:
    theirs = random.Random(1).sample(range(1, 2**24 - 3), 60)
    with pytest.raises(EffortExceeded):
        difference(PRIMES[24], theirs, [], 64, steps=10_000)
    assert difference(PRIMES[24], theirs, [], 64, steps=1_000_000) == expected(theirs, [])


def test_decoding_is_the_same_every_time() -> None:
    theirs = random.Random(1).sample(range(1, 2**24 - 3), 40)
    spent = set()
    for _ in range(3):
        effort = Effort(ENDLESS)
        sums = PowerSums(theirs, PRIMES[24]).first(48)
        decode(PRIMES[24], sums, [0] * 48, 40, effort)
        spent.add(effort.left)
    assert len(spent) == 1
