"""Waits grow with the round trip and stay apart from each other."""

from __future__ import annotations

import pytest

from ciris_mesh.transport import patience
from ciris_mesh.transport.outbox import ATTEMPTS_MAX

#: Round trips measured at link set-up: TCP, SF7, SF9, SF12.
RTTS = (0.003, 0.85, 2.0, 13.5)


def test_a_fast_link_stalls_after_ten_seconds() -> None:
    assert patience.stall_s(0.0) == 10.0


@pytest.mark.parametrize("rtt_s", RTTS)
def test_a_window_of_parts_fits_into_the_stall_time(rtt_s: float) -> None:
    """Six round trips is what a window of four parts takes at SF12."""
    assert patience.stall_s(rtt_s) > 6 * rtt_s
    assert patience.identify_s(rtt_s) > patience.stall_s(rtt_s)


def test_lost_requests_add_up_to_about_a_stall() -> None:
    assert patience.stall_s(0.0) <= ATTEMPTS_MAX * patience.answer_s(0.0, slow=False) <= 15


@pytest.mark.parametrize("rtt_s", RTTS)
def test_a_refusal_lingers_long_enough_to_be_told_from_a_hang_up(rtt_s: float) -> None:
    assert patience.was_ignored(patience.linger_s(rtt_s), rtt_s)
    assert patience.was_ignored(patience.linger_s(0.0), min(rtt_s, 1.0)), "measured apart"
    assert not patience.was_ignored(rtt_s, rtt_s)


@pytest.mark.parametrize("rtt_s", RTTS)
def test_a_slow_link_waits_longer_for_an_answer(rtt_s: float) -> None:
    assert patience.answer_s(rtt_s, slow=True) > patience.answer_s(rtt_s, slow=False) > 6 * rtt_s


@pytest.mark.parametrize("rtt_s", RTTS)
def test_first_contact_outlasts_identifying(rtt_s: float) -> None:
    assert patience.first_contact_s(rtt_s) > patience.identify_s(rtt_s)


def test_first_contact_over_tcp_takes_a_minute_and_fits_the_slowest_radio() -> None:
    assert patience.first_contact_s(0.0) == 60.0
    seconds_at_sf12 = 2 * 14_000 / 29  # bytes each way, bytes a second
    assert patience.first_contact_s(13.5) > seconds_at_sf12


@pytest.mark.parametrize("medium", ["tcp", "radio", "serial", "unknown"])
def test_a_round_trip_that_is_measured_is_believed(medium: str) -> None:
    for rtt_s in RTTS:
        assert patience.believed_rtt_s(rtt_s, medium) == rtt_s
    assert patience.believed_rtt_s(None, medium) == 0.0


@pytest.mark.parametrize("claimed_s", [1e6, 10**400, float("inf")])
@pytest.mark.parametrize(("medium", "most_s"), [("tcp", 15.0), ("radio", 60.0), ("unknown", 60.0)])
def test_a_round_trip_somebody_makes_up_is_not(
    medium: str, most_s: float, claimed_s: float
) -> None:
    assert patience.believed_rtt_s(claimed_s, medium) == most_s
