"""Short ids: another key, another id; nothing is zero; cells say nothing about ids."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.protocol.shortid import (
    CELL_SHIFT,
    SaltedSet,
    bucket_elements,
    check_of,
    id_of,
    item,
    kind_of,
    short_digests,
)
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.mesh_reconcile import PRIMES
from support.reconciling import made

ITEMS = made("shortid", 4_000)
KEY = b"salt" + bytes(16)


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_an_item_is_id_and_kind(kind: EnvelopeKind) -> None:
    one = item(kind, bytes(range(32)))
    assert len(one) == 33
    assert (kind_of(one), id_of(one)) == (kind, bytes(range(32)))


def test_the_same_id_of_another_kind_is_another_short_id() -> None:
    one, two = (item(kind, bytes(32)) for kind in (EnvelopeKind.KEY, EnvelopeKind.FAMILY))
    first, second = SaltedSet([one, two], KEY).values(32)
    assert first != second


@pytest.mark.parametrize(("width", "p"), PRIMES.items())
@pytest.mark.parametrize("cells_log2", [0, 1, 5, 8])
def test_short_ids_are_1_to_p_minus_1(width: int, p: int, cells_log2: int) -> None:
    own = SaltedSet(ITEMS, KEY)
    values = own.values(width, cells_log2)
    mask = (1 << CELL_SHIFT) - 1
    assert all(1 <= value & mask < p and value >> CELL_SHIFT < 1 << cells_log2 for value in values)
    assert [value & mask for value in values] == own.values(width)
    groups = own.cells(width, cells_log2)
    assert len(groups) == 1 << cells_log2
    assert Counter(v for group in groups for v in group) == Counter(own.values(width))


def test_zero_cannot_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a field of three every id is 1 or 2; a 0 would be invisible in every power sum."""
    monkeypatch.setitem(PRIMES, 24, 3)
    assert set(SaltedSet(ITEMS, KEY).values(24)) == {1, 2}


def test_cells_are_evenly_filled() -> None:
    own = SaltedSet(ITEMS, KEY)
    for group in own.cells(24, 4):
        assert 170 < len(group) < 330  # 250 on average, 16 a standard deviation
    histogram = own.histogram()
    assert len(histogram) == 64
    assert sum(histogram) == len(ITEMS)
    assert all(30 < count < 100 for count in histogram)


def test_a_histogram_counts_modulo_256() -> None:
    assert sum(SaltedSet(made("many", 20_000), KEY).histogram()) < 20_000


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64))
def test_another_key_makes_other_ids(one: bytes, two: bytes) -> None:
    same = SaltedSet(ITEMS[:8], one).hashes == SaltedSet(ITEMS[:8], two).hashes
    assert same is (one.ljust(64, b"\0") == two.ljust(64, b"\0"))


def test_the_order_of_items_is_kept() -> None:
    own, back = SaltedSet(ITEMS, KEY), SaltedSet(ITEMS[::-1], KEY)
    assert own.values(28) == back.values(28)[::-1]
    assert own.histogram() == back.histogram()


def test_the_check_is_of_the_set_and_the_key() -> None:
    check = check_of(ITEMS, KEY)
    assert len(check) == 4
    assert check == check_of(reversed(ITEMS), KEY)
    others = [check_of(ITEMS[1:], KEY), check_of([], KEY), check_of(ITEMS, KEY + b"x")]
    assert check not in others
    assert len(set(others)) == 3


def test_equal_buckets_under_different_numbers_are_different_elements() -> None:
    elements = bucket_elements([b"same", b"same", b"other"])
    own = SaltedSet(elements, KEY)
    assert len(set(own.values(24))) == 3
    digests = short_digests(own)
    assert len(digests) == 9
    assert digests[:3] != digests[3:6]
