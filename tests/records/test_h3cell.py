"""H3 ids: golden cells of the H3 library, and the laws of coarsening."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.h3cell import RESOLUTION_MAX, H3Cell, location_cell, parse_cell

#: One cell and all its ancestors, as h3 4.5.0 prints them.
CHAIN = [
    "8019fffffffffff",
    "81197ffffffffff",
    "82196ffffffffff",
    "831969fffffffff",
    "8419691ffffffff",
    "85196903fffffff",
    "86196901fffffff",
    "87196901effffff",
    "88196901e7fffff",
    "89196901e63ffff",
    "8a196901e60ffff",
    "8b196901e60dfff",
    "8c196901e60d1ff",
    "8d196901e60d17f",
    "8e196901e60d16f",
    "8f196901e60d16e",
]
PENTAGON = "870800000ffffff"


@pytest.mark.parametrize(("resolution", "text"), list(enumerate(CHAIN)))
def test_cells_of_every_resolution(resolution: int, text: str) -> None:
    cell = parse_cell(text)
    assert cell.resolution == resolution
    assert str(cell) == text
    assert [str(cell.ancestor(coarser)) for coarser in range(resolution + 1)] == CHAIN[
        : resolution + 1
    ]


@pytest.mark.parametrize("text", [PENTAGON, "870800002ffffff", "832830fffffffff"])
def test_pentagons_and_their_children_are_cells(text: str) -> None:
    assert str(parse_cell(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "872830828",
        "872830828FFFFFF",
        "0872830828ffffff",
        "872830828fffff",
        "872830828ffffff ",
        "0x72830828ffffff",
        "872830828fffffg",
        "1270800000ffffff",  # an edge
        "2070800000ffffff",  # a corner
        "072830828ffffff",  # mode 0
        "970800000ffffff",  # mode 1, but reserved bits
        "872830828fffffe",  # a digit below the resolution that is not 7
        "87f400000ffffff",  # a digit above it that is 7
        "870800001ffffff",  # the direction a pentagon lacks
        "\u0668" * 15,
    ],
)
def test_what_h3_would_not_print_is_refused(text: str) -> None:
    with pytest.raises(MalformedRecord, match="no H3 cell") as caught:
        parse_cell(text)
    assert caught.value.reason == "value_not_allowed"
    assert len(str(caught.value)) < 150


digits = st.lists(st.integers(0, 6), max_size=15)
bases = st.integers(0, 121)


def built(base: int, used: list[int]) -> str:
    value = 8 << 56 | len(used) << 52 | base << 45
    for place in range(15):
        digit = used[place] if place < len(used) else 7
        value |= digit << 3 * (14 - place)
    return f"{value:x}"


PENTAGONS = (4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117)


@given(st.integers(122, 127), digits)
def test_there_are_122_base_cells(base: int, used: list[int]) -> None:
    with pytest.raises(MalformedRecord, match="no such cell"):
        parse_cell(built(base, used))


@given(bases, digits)
def test_a_pentagon_lacks_one_direction(base: int, used: list[int]) -> None:
    goes_there = next(filter(None, used), 0) == 1
    if base in PENTAGONS and goes_there:
        with pytest.raises(MalformedRecord, match="no such cell"):
            parse_cell(built(base, used))
    else:
        assert str(parse_cell(built(base, used))) == built(base, used)


@given(bases.filter(lambda base: base not in PENTAGONS), digits)
def test_ancestors_form_a_chain_that_ends_in_the_cell(base: int, used: list[int]) -> None:
    cell = parse_cell(built(base, used))
    chain = [cell.ancestor(resolution) for resolution in range(cell.resolution + 1)]
    assert chain[-1] == cell
    for coarse, fine in pairwise(chain):
        assert fine.is_within(coarse)
        assert not coarse.is_within(fine)
        assert parse_cell(str(coarse)) == coarse
        assert fine.ancestor(coarse.resolution) == coarse
    assert cell.is_within(cell)


def test_neighbours_do_not_contain_each_other() -> None:
    one, other = parse_cell("872830828ffffff"), parse_cell(CHAIN[7])
    assert not one.is_within(other)
    assert not one.is_within(other.ancestor(3))
    assert one.is_within(parse_cell("832830fffffffff"))


@pytest.mark.parametrize("resolution", [-1, 8, 16])
def test_there_is_no_finer_ancestor(resolution: int) -> None:
    with pytest.raises(ValueError, match="resolution 7"):
        parse_cell(CHAIN[7]).ancestor(resolution)


@pytest.mark.parametrize("resolution", range(16))
def test_locations_are_told_down_to_resolution_seven(resolution: int) -> None:
    text = CHAIN[resolution]
    if resolution <= RESOLUTION_MAX:
        assert location_cell(text, resolution) == H3Cell(int(text, 16))
    else:
        with pytest.raises(MalformedRecord, match=f"too precise.*{CHAIN[7]}"):
            location_cell(text, resolution)


@given(st.integers(0, 15), st.integers(-1, 16))
def test_the_field_must_say_what_the_id_says(told: int, field: int) -> None:
    if told != field:
        with pytest.raises(MalformedRecord, match=f"resolution {told}, not {field}"):
            location_cell(CHAIN[told], field)
