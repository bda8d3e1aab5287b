"""Polynomials over prime fields against definitions, and every step counted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.protocol.field import Effort, EffortExceeded, Field, Poly
from ciris_mesh.wire.mesh_reconcile import PRIMES

TINY = 65_521
FIELDS = (TINY, *PRIMES.values())
ENDLESS = 10**12

primes = st.sampled_from(FIELDS)


def field(p: int, steps: int = ENDLESS) -> Field:
    return Field(p, Effort(steps))


def polys(p: int, *, most: int = 20) -> st.SearchStrategy[Poly]:
    """Lowest power first, nothing but the empty list ends with zero."""
    ends = st.integers(1, p - 1)
    starts = st.lists(st.integers(0, p - 1), max_size=most - 1)
    return st.one_of(st.just([]), st.builds(lambda start, end: [*start, end], starts, ends))


def value_at(p: int, one: Poly, x: int) -> int:
    return sum(value * pow(x, power, p) for power, value in enumerate(one)) % p


def with_roots(p: int, roots: list[int]) -> Poly:
    """The monic polynomial, multiplied out one factor at a time."""
    out = [1]
    for root in roots:
        shifted = [0, *out]
        out = [(a - root * b) % p for a, b in zip(shifted, [*out, 0], strict=True)]
    return out


@pytest.mark.parametrize("p", FIELDS)
def test_the_moduli_are_prime(p: int) -> None:
    assert all(p % divisor for divisor in range(2, int(p**0.5) + 1))


@pytest.mark.parametrize(("width", "p"), PRIMES.items())
def test_no_larger_prime_has_as_many_bits(width: int, p: int) -> None:
    for above in range(p + 1, 2**width):
        assert any(above % divisor == 0 for divisor in range(2, 2**16))


@given(st.data(), primes)
def test_a_product_is_the_product_at_every_point(data: st.DataObject, p: int) -> None:
    one, two = data.draw(polys(p)), data.draw(polys(p))
    x = data.draw(st.integers(0, p - 1))
    product = field(p).product(one, two)
    assert value_at(p, product, x) == value_at(p, one, x) * value_at(p, two, x) % p
    assert len(product) == (len(one) + len(two) - 1 if one and two else 0)


@pytest.mark.parametrize("p", FIELDS)
@pytest.mark.parametrize("length", [1, 5, 6, 7, 255, 256, 257, 300])
def test_the_largest_coefficients_do_not_run_into_each_other(p: int, length: int) -> None:
    largest = [p - 1] * length
    expected = [(min(n, 2 * length - 2 - n) + 1) % p for n in range(2 * length - 1)]
    assert field(p).product(largest, largest) == expected, "(p - 1)**2 is 1"


@given(st.data(), primes)
def test_quotient_and_rest_make_up_the_whole(data: st.DataObject, p: int) -> None:
    one, two = data.draw(polys(p)), data.draw(polys(p).filter(bool))
    some = field(p)
    quotient, rest = some.divided(one, two)
    assert len(rest) < len(two)
    assert some.difference(one, some.product(quotient, two)) == rest


@given(st.data(), primes)
def test_the_common_divisor_has_the_common_roots(data: st.DataObject, p: int) -> None:
    roots = data.draw(st.lists(st.integers(0, p - 1), min_size=3, max_size=12, unique=True))
    one, both, two = roots[:1], roots[1:-1], roots[-1:]
    common = field(p).common(with_roots(p, [*one, *both]), with_roots(p, [*both, *two]))
    assert common == with_roots(p, both)


@given(st.data(), primes, st.integers(1, 40))
def test_a_series_times_its_inverse_is_one(data: st.DataObject, p: int, length: int) -> None:
    one = [1, *data.draw(st.lists(st.integers(0, p - 1), max_size=30))]
    some = field(p)
    product = some.product(one, some.series_inverse(one, length))
    assert (product + [0] * length)[:length] == [1] + [0] * (length - 1)


@settings(max_examples=60)
@given(st.data(), primes)
def test_roots_are_found_with_their_multiplicities(data: st.DataObject, p: int) -> None:
    counts = data.draw(
        st.dictionaries(st.integers(1, p - 1), st.integers(1, 3), min_size=0, max_size=12)
    )
    roots = [root for root, times in counts.items() for _ in range(times)]
    assert field(p).roots(with_roots(p, roots)) == counts


@pytest.mark.parametrize("p", FIELDS)
@pytest.mark.parametrize("count", [1, 2, 3, 40, 128, 255])
def test_many_roots_are_found(p: int, count: int) -> None:
    roots = random.Random(count).sample(range(1, p), count)
    assert field(p).roots(with_roots(p, roots)) == dict.fromkeys(roots, 1)


@given(st.data(), primes)
def test_a_factor_without_roots_is_seen(data: st.DataObject, p: int) -> None:
    roots = data.draw(st.lists(st.integers(1, p - 1), max_size=8))
    some = field(p)
    square_free = next(n for n in range(2, p) if pow(n, (p - 1) // 2, p) == p - 1)
    shift = data.draw(st.integers(0, p - 1))  # (x + shift)**2 - a number that is no square
    no_roots = [(shift * shift - square_free) % p, 2 * shift % p, 1]
    assert some.roots(no_roots) is None
    assert some.roots(some.product(no_roots, with_roots(p, roots))) is None
    assert some.roots(some.product(some.product(no_roots, no_roots), with_roots(p, roots))) is None


@given(st.data(), primes)
def test_zero_is_no_root(data: st.DataObject, p: int) -> None:
    roots = data.draw(st.lists(st.integers(1, p - 1), max_size=5, unique=True))
    assert field(p).roots(with_roots(p, [0, *roots])) is None
    assert field(p).roots(with_roots(p, [0, 0, *roots])) is None


def test_roots_whose_residues_agree_are_parted_too() -> None:
    """Squares alone: the first cut parts nothing, and shifts must."""
    p = PRIMES[24]
    roots = sorted({n * n % p for n in range(1, 60)})
    assert field(p).roots(with_roots(p, roots)) == dict.fromkeys(roots, 1)


# --- effort ---


def test_effort_is_spent_and_ends() -> None:
    effort = Effort(100)
    effort.spend(50)
    assert effort.left < 50
    with pytest.raises(EffortExceeded):
        effort.spend(50)


@pytest.mark.parametrize("count", [10, 60, 250])
def test_what_splits_into_nothing_costs_a_small_part(count: int) -> None:
    p = PRIMES[32]
    rng = random.Random(count)
    spent = {}
    for name, one in {
        "roots": with_roots(p, rng.sample(range(1, p), count)),
        "garbage": [*(rng.randrange(1, p) for _ in range(count)), 1],
    }.items():
        some = field(p)
        found = some.roots(one)
        assert (found is None) is (name == "garbage")
        spent[name] = ENDLESS - some.effort.left
    assert spent["garbage"] < spent["roots"] / 3
    assert spent["roots"] < 8_000 * count


def test_work_stops_where_the_effort_ends() -> None:
    one = with_roots(PRIMES[32], random.Random(1).sample(range(1, 2**30), 200))
    for steps in (0, 10, 1_000, 100_000):
        some = field(PRIMES[32], steps)
        with pytest.raises(EffortExceeded):
            some.roots(one)
        assert some.effort.left > -3_000, "counted before it is done, a product at a time"
