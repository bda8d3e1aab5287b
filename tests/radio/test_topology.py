"""Who hears whom: the named shapes, and files a person wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import ConfigError
from ciris_mesh.radio.topology import SHAPES, SIGNAL_DBM, Reach, full, line, parse, star


def pairs(reach: Reach) -> set[tuple[int, int]]:
    return set(reach.signals)


def test_shapes() -> None:
    assert pairs(full(3)) == {(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)}
    assert pairs(line(3)) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert pairs(star(3)) == {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert star(3).signal(1, 2) is None
    assert star(3).signal(1, 0) == SIGNAL_DBM


@given(st.sampled_from(sorted(SHAPES)), st.integers(1, 12))
def test_shapes_are_symmetric_and_nobody_hears_itself(name: str, nodes: int) -> None:
    reach = SHAPES[name](nodes)
    assert all((b, a) in reach.signals and a != b for a, b in reach.signals)
    assert all(max(pair) < nodes for pair in reach.signals)


def test_a_file() -> None:
    text = """
    # a hub and two leaves
    0 1
    0 2 -95     # weak
    2 > 0 -100.5
    """
    reach = parse(text, 3)
    assert dict(reach.signals) == {
        (0, 1): SIGNAL_DBM,
        (1, 0): SIGNAL_DBM,
        (0, 2): -95.0,
        (2, 0): -100.5,
    }


def test_an_empty_file_is_silence() -> None:
    assert parse("", 2).signals == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 1\n0 4", "line 2: '0 4' must name two of the nodes 0 to 3"),
        ("1 1", "line 1: '1 1' must name two"),
        ("0 - 1", "line 1: '0 - 1' is no pair"),
        ("0", "is no pair"),
        ("0 1 2 3", "is no pair"),
        ("0 1 -300", "-300.0 dBm is not from -150 to 30"),
        ("x" * 10_000, "is no pair"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, 4)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 160


@given(st.text(max_size=80))
def test_any_text_is_a_topology_or_a_mistake(text: str) -> None:
    try:
        reach = parse(text, 3)
    except ConfigError:
        return
    assert all(max(pair) < 3 for pair in reach.signals)
