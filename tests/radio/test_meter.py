"""What an RNode counts of its channel, and how long it therefore waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.radio.meter import BIN_S, BINS, AirtimeMeter, contention_window


@pytest.mark.parametrize(
    ("percent", "band", "low", "high"),
    [
        (0, 1, 0, 14),
        (7, 1, 0, 14),
        (8, 2, 15, 29),
        (38, 2, 15, 29),
        (40, 3, 30, 44),
        (78, 4, 45, 59),
        (100, 4, 45, 59),
    ],
)
def test_the_window_grows_with_airtime(percent: int, band: int, low: int, high: int) -> None:
    window = contention_window((percent + 0.5) / 100)
    assert (window.band, window.low, window.high) == (band, low, high)


@given(st.floats(0, 2))
def test_every_share_has_a_window(share: float) -> None:
    window = contention_window(share)
    assert 1 <= window.band <= 4
    assert window.high - window.low == 14


def test_short_airtime_is_two_bins() -> None:
    meter = AirtimeMeter()
    meter.add_sent(3.0, now_s=1.0)
    assert meter.short(1.0) == meter.short(2 * BIN_S - 0.1) == pytest.approx(0.2)
    assert meter.short(2 * BIN_S) == 0


def test_long_airtime_is_an_hour() -> None:
    meter = AirtimeMeter()
    for second in range(0, 3600, 10):
        meter.add_sent(0.1, now_s=second)
    assert meter.long(3599) == pytest.approx(0.01)
    assert meter.long(3599 + 1800) == pytest.approx(0.005, rel=0.01)
    assert meter.long(7200) == 0


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), max_size=2000))
def test_nothing_sent_in_an_hour_is_left_out(sent: list[tuple[float, float]]) -> None:
    """The long figure counts every frame that ended in the last 59 min 52.5 s."""
    meter, now_s, ended = AirtimeMeter(), 0.0, []
    for pause_s, airtime_s in sent:
        now_s += pause_s + airtime_s
        meter.add_sent(airtime_s, now_s)
        ended.append((now_s, airtime_s))
    surely = sum(s for at, s in ended if at >= now_s - (BINS - 1) * BIN_S)
    perhaps = sum(s for at, s in ended if at >= now_s - BINS * BIN_S)
    assert surely * (1 - 1e-9) <= meter.long(now_s) * 3600 <= perhaps * (1 + 1e-9)


def test_load_is_what_is_heard_and_what_is_sent() -> None:
    meter = AirtimeMeter()
    meter.add_heard(0.0, 1.5)
    assert meter.load_short(1.5) == pytest.approx(0.2)
    meter.add_sent(1.5, now_s=3.0)
    assert meter.load_short(3.0) == pytest.approx(0.3)
    assert meter.load_short(8.25) == pytest.approx(0.2)  # half of what was heard is too old
    assert meter.load_short(30.0) == 0


def test_overlapping_frames_are_heard_once() -> None:
    meter = AirtimeMeter()
    meter.add_heard(0.0, 3.0)
    meter.add_heard(1.0, 2.0)
    meter.add_heard(2.0, 3.75)
    assert meter.load_short(3.75) == pytest.approx(0.5)


def test_load_never_exceeds_one() -> None:
    meter = AirtimeMeter()
    meter.add_heard(0.0, 7.5)
    meter.add_sent(7.5, now_s=7.4)
    assert meter.load_short(7.5) == 1.0


def test_long_load_is_the_mean_of_the_bins() -> None:
    meter = AirtimeMeter()
    meter.add_heard(0.0, 7.5)
    assert meter.load_short(7.4) == pytest.approx(7.4 / 7.5)
    assert meter.load_long(7.4) == pytest.approx(7.4 / 7.5 / BINS)
    assert meter.load_long(7.4 + 3600) == 0


def test_a_radio_that_starts_knows_nothing() -> None:
    meter = AirtimeMeter()
    meter.add_sent(5.0, 1.0)
    meter.add_heard(0.0, 1.0)
    meter.load_short(1.0)
    meter.clear()
    assert (meter.short(2), meter.long(2), meter.load_short(2), meter.load_long(2)) == (0, 0, 0, 0)
