"""What the law allows where, and limits that surely keep it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.radio.airtime import BANDWIDTHS_HZ, LoraSettings
from ciris_mesh.radio.bands import (
    BANDS,
    band_of,
    is_outside,
    longest_frame_s,
    queue_s,
    safe_limit,
)


def channel(mhz: float, khz: float = 125, sf: int = 8) -> LoraSettings:
    return LoraSettings(round(mhz * 1e6), round(khz * 1000), sf, 5)


@pytest.mark.parametrize(
    ("settings", "band"),
    [
        (channel(868.2), "868.0-868.6 MHz"),
        (channel(869.525), "869.4-869.65 MHz"),
        (channel(869.525, 250), "869.4-869.65 MHz"),
        (channel(433.92), "433 MHz"),
        (channel(914.9, 500), "902-928 MHz"),
        (channel(868.58), None),  # reaches over the edge
        (channel(868.65), None),
        (channel(2400), None),
        (channel(169.4), None),
    ],
)
def test_a_channel_lies_in_a_band_as_a_whole(settings: LoraSettings, band: str | None) -> None:
    found = band_of(settings)
    assert (found.name if found else None) == band


@pytest.mark.parametrize(
    ("settings", "outside"),
    [
        (channel(868.65), True),
        (channel(869.3), True),
        (channel(928, 500), True),
        (channel(868.2), False),
        (channel(2400), False),  # nothing is known of that
    ],
)
def test_only_where_the_law_is_known_is_anything_outside(
    settings: LoraSettings, *, outside: bool
) -> None:
    assert is_outside(settings) is outside


def test_the_queue_at_sf8_takes_seventeen_seconds() -> None:
    assert queue_s(channel(868.2)) == pytest.approx(17.57, abs=0.01)
    assert longest_frame_s(channel(914.9, 500)) == pytest.approx(0.197, abs=0.001)


@given(
    st.sampled_from([each for each in BANDS if each.duty]),
    st.integers(7, 12),
    st.sampled_from(BANDWIDTHS_HZ[5:]),
)
def test_a_safe_limit_with_a_burst_on_top_stays_within_the_law(
    band: object, sf: int, bandwidth_hz: int
) -> None:
    duty = getattr(band, "duty", 0.0)
    settings = LoraSettings(868_200_000, bandwidth_hz, sf, 5)
    limit = safe_limit(settings, duty)
    assert 0 <= limit < duty
    burst_s = queue_s(settings) if settings.sends_whole_queue else settings.packet_s(499)
    if limit:
        assert limit / 0.87 + burst_s / 3600 <= duty + 1e-12
