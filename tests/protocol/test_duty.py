"""Limits as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.protocol.duty import DWELL, FREE, Rule, parse_rule


@pytest.mark.parametrize(
    ("text", "limit_s"), [("1%", 36.0), ("10 %", 360.0), ("0.1%", 3.6), ("100%", 3600.0)]
)
def test_a_duty_is_seconds_of_each_hour(text: str, limit_s: float) -> None:
    assert parse_rule(text).limit_s == pytest.approx(limit_s)
    assert parse_rule(text).frame_s_max is None


def test_the_other_two() -> None:
    assert parse_rule("none") == FREE
    assert (FREE.limit_s, FREE.frame_s_max) == (None, None)
    assert parse_rule("dwell") == DWELL
    assert (DWELL.limit_s, DWELL.frame_s_max) == (None, 0.4)


@pytest.mark.parametrize(
    "text", ["", "1", "%", "0%", "-1%", "101%", "nan%", "inf%", "1%%", "1% dwell", "None", "EU"]
)
def test_whatever_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rule(text)


@pytest.mark.parametrize("frame_s", [0.0, -1.0, math.nan, math.inf])
def test_a_frame_has_a_length(frame_s: float) -> None:
    with pytest.raises(ValueError, match="frame"):
        Rule(None, frame_s)


@given(st.integers(1, 10_000).map(lambda n: f"{n / 100:g}%") | st.sampled_from(["none", "dwell"]))
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_rule(text)) == text
