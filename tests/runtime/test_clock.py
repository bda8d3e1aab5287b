"""Waiting and dating: the two clocks, and when nothing may be signed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ciris_mesh.errors import ClockUntrusted
from ciris_mesh.runtime.clock import (
    BUILD_DATE_MS,
    Clock,
    ManualClock,
    SystemClock,
    ensure_signing_allowed,
    signing_allowed,
)


def test_the_build_date_is_the_day_in_utc() -> None:
    assert datetime.fromtimestamp(BUILD_DATE_MS / 1000, UTC) == datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wall_ms", "allowed"),
    [(BUILD_DATE_MS, True), (BUILD_DATE_MS - 1, False), (0, False), (4_000_000_000_000, True)],
)
def test_signing_needs_a_clock_not_before_the_build_date(wall_ms: int, allowed: bool) -> None:
    clock = ManualClock(wall_ms=wall_ms)
    assert signing_allowed(clock) is allowed
    if allowed:
        ensure_signing_allowed(clock)
    else:
        with pytest.raises(ClockUntrusted):
            ensure_signing_allowed(clock)


@pytest.mark.parametrize("wall_ms", [0, -(10**20), 1_000_000_000_000])
def test_the_refusal_is_one_line_that_says_what_to_do(wall_ms: int) -> None:
    with pytest.raises(ClockUntrusted) as caught:
        ensure_signing_allowed(ManualClock(wall_ms=wall_ms))
    text = str(caught.value)
    assert "\n" not in text
    assert "2026-11-22" in text
    assert "date -s" in text


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(wall_ms=1_000, monotonic_s=5.0)
    assert (clock.monotonic_s(), clock.wall_ms()) == (5.0, 1_000)
    clock.advance(1.5)
    assert (clock.monotonic_s(), clock.wall_ms()) == (6.5, 2_500)
    clock.set_wall_ms(10)
    assert (clock.monotonic_s(), clock.wall_ms()) == (6.5, 10)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_the_system_clock_is_a_clock() -> None:
    clock: Clock = SystemClock()
    first = clock.monotonic_s()
    assert clock.monotonic_s() >= first
    year = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC).year
    assert 1970 <= year < 10_000  # milliseconds, not seconds or nanoseconds
    assert clock.wall_ms() > 10_000_000_000 or year == 1970
