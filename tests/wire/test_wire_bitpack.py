"""Packed numbers: one spelling each, and hostile lengths cost nothing."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError, LocalProtocolError
from ciris_mesh.wire.bitpack import (
    pack_distinct,
    pack_fixed,
    pack_sorted,
    read_varint,
    rice_bits,
    unpack_distinct,
    unpack_fixed,
    unpack_sorted,
    write_varint,
)

universes = st.one_of(st.integers(1, 40), st.integers(1, 2**32))
widths = st.sampled_from((24, 28, 32))


@st.composite
def sorted_lists(draw: st.DrawFn, *, unique: bool = False) -> tuple[list[int], int]:
    universe = draw(universes)
    values = draw(st.lists(st.integers(0, universe - 1), max_size=60, unique=unique))
    return sorted(values), universe


# --- varints ---


@pytest.mark.parametrize(
    ("value", "spelt"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (10_000, "904e"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2**32 - 1, "ffffffff0f"),
    ],
)
def test_a_varint_is_spelt_so(value: int, spelt: str) -> None:
    assert write_varint(value).hex() == spelt
    assert read_varint(bytes.fromhex(spelt)) == (value, len(spelt) // 2)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=8), st.binary(max_size=8))
def test_a_varint_survives_between_other_bytes(value: int, before: bytes, after: bytes) -> None:
    data = before + write_varint(value) + after
    assert read_varint(data, len(before)) == (value, len(data) - len(after))


@pytest.mark.parametrize("spelt", ["", "80", "8000", "808000", "ffffffff10", "ffffffffff01"])
def test_a_varint_that_is_no_varint(spelt: str) -> None:
    with pytest.raises(DecodeError, match="varint"):
        read_varint(bytes.fromhex(spelt))


@pytest.mark.parametrize("value", [-1, 2**32])
def test_what_no_varint_holds_is_our_fault(value: int) -> None:
    with pytest.raises(LocalProtocolError):
        write_varint(value)


# --- fixed width ---


def test_symbols_of_28_bits_share_a_byte() -> None:
    assert pack_fixed([0x1234567, 0x89ABCDE], 28).hex() == "123456789abcde"
    assert pack_fixed([0x1234567], 28).hex() == "12345670"
    assert pack_fixed([], 28) == b""


@given(st.data(), widths)
def test_symbols_survive(data: st.DataObject, width: int) -> None:
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=40))
    packed = pack_fixed(values, width)
    assert len(packed) == math.ceil(len(values) * width / 8)
    assert unpack_fixed(packed, width) == tuple(values)


@pytest.mark.parametrize("spelt", ["12345671", "123456", "00", "0000"])
def test_bits_left_over_are_refused(spelt: str) -> None:
    with pytest.raises(DecodeError, match="left over"):
        unpack_fixed(bytes.fromhex(spelt), 28)


# --- sorted lists ---


@given(sorted_lists())
def test_a_sorted_list_survives(case: tuple[list[int], int]) -> None:
    values, universe = case
    packed = pack_sorted(values, universe)
    assert unpack_sorted(packed, universe, count_max=60) == tuple(values)


@given(sorted_lists(unique=True))
def test_a_list_of_different_numbers_survives(case: tuple[list[int], int]) -> None:
    values, universe = case
    packed = pack_distinct(values, universe)
    assert unpack_distinct(packed, universe, count_max=60) == tuple(values)


@given(st.integers(1, 400), st.randoms(use_true_random=False))
def test_many_numbers_cost_no_more_than_a_bitmap(universe: int, rng: object) -> None:
    values = sorted(rng.sample(range(universe), universe // 2))  # type: ignore[attr-defined]
    bits = 8 * (len(pack_distinct(values, universe)) - len(write_varint(len(values))))
    assert bits <= universe + 1 + 7


def test_ten_of_ten_thousand_cost_15_bytes() -> None:
    values = [500 + 1_000 * number for number in range(10)]
    assert len(pack_distinct(values, 10_000)) == 15
    assert math.log2(math.comb(10_000, 10)) / 8 == pytest.approx(13.9, abs=0.1)


@pytest.mark.parametrize(
    ("count", "universe", "bits"),
    [(0, 100, 0), (1, 1, 0), (10, 10_000, 9), (500, 10_000, 3), (50, 100, 0), (1, 2**32, 31)],
)
def test_the_low_bits_follow_from_count_and_universe(count: int, universe: int, bits: int) -> None:
    assert rice_bits(count, universe) == bits


def test_an_empty_list_is_one_byte() -> None:
    assert pack_sorted([], 2**32) == pack_distinct([], 1) == b"\0"
    assert unpack_distinct(b"\0", 0, count_max=0) == ()


@given(st.binary(max_size=40), universes, st.integers(0, 300))
@example(b"\xff\xff\xff\xff\x0f", 2**32, 2**32)  # four billion numbers in no bytes
@example(b"\x01" + b"\xff" * 30, 2, 10)  # a gap that does not end
@example(b"\x02\x00", 1, 10)
def test_any_bytes_are_one_list_or_refused(data: bytes, universe: int, most: int) -> None:
    for unpack, pack in ((unpack_sorted, pack_sorted), (unpack_distinct, pack_distinct)):
        try:
            values = unpack(data, universe, count_max=most)
        except DecodeError:
            continue
        assert len(values) <= most
        assert list(values) == sorted(values)
        assert all(0 <= value < universe for value in values)
        assert pack(values, universe) == data


@given(sorted_lists(), st.binary(min_size=1, max_size=3))
def test_nothing_may_follow_a_list(case: tuple[list[int], int], rest: bytes) -> None:
    values, universe = case
    with pytest.raises(DecodeError):
        unpack_sorted(pack_sorted(values, universe) + rest, universe, count_max=60)


@pytest.mark.parametrize(
    ("data", "universe", "reason"),
    [
        ("0b" + "00" * 2, 2**32, "exceeds"),
        ("02", 100, "cut short"),
        ("01ff", 4, "cut short"),
        ("01" + "ff" * 9, 4, "too many"),
        ("0141", 3, "left over"),
        ("01c0", 3, "too large"),
        ("03", 2, "exceeds"),
    ],
)
def test_why_a_list_is_refused(data: str, universe: int, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        unpack_distinct(bytes.fromhex(data), universe, count_max=10)


def test_a_number_beyond_the_universe_is_refused() -> None:
    packed = pack_sorted([99], 128)
    assert rice_bits(1, 128) == rice_bits(1, 99)
    with pytest.raises(DecodeError, match="too large"):
        unpack_sorted(packed, 99, count_max=10)


def test_a_hostile_count_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        for data in (b"\xff\xff\xff\xff\x0f", b"\xff\xff\x03" + bytes(64)):
            with pytest.raises(DecodeError):
                unpack_sorted(data, 2**32, count_max=2**16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("values", [[2, 1], [-1], [7]])
def test_a_list_that_is_not_sorted_or_too_large_is_our_fault(values: list[int]) -> None:
    with pytest.raises(LocalProtocolError):
        pack_sorted(values, 7)


def test_more_different_numbers_than_there_are_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="different"):
        pack_distinct([0, 1, 1], 2)


@pytest.mark.parametrize("universe", [0, 2**32 + 1])
def test_a_universe_that_is_none_is_our_fault(universe: int) -> None:
    with pytest.raises(LocalProtocolError):
        pack_sorted([], universe)
    with pytest.raises(LocalProtocolError):
        unpack_sorted(b"\0", universe, count_max=1)
