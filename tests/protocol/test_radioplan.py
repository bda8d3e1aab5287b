"""What an operator decides, and what a transfer takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.protocol.handover import HANDED_S_MAX, airtime_of, hours_for, join_estimate
from ciris_mesh.protocol.radioplan import (
    POLICY,
    Cost,
    KindPolicy,
    QuietHours,
    RadioPlan,
    parse_quiet,
)
from ciris_mesh.records.kinds import EnvelopeKind

K = EnvelopeKind
#: SF8, 125 kHz, roughly.
SF8 = Cost(setup_s=1.5, byte_s=0.0033, frame_s=0.71)


def test_by_default_all_may_learn_what_everybody_needs_and_peers_the_rest() -> None:
    assert set(POLICY) == set(K)
    assert {kind for kind in K if POLICY[kind] is KindPolicy.ON} == {
        K.KEY,
        K.IDENTITY_OCCURRENCE,
        K.REVOCATION,
        K.IDENTITY_OCCURRENCE_REVOCATION,
        K.FAMILY_MEMBERSHIP_REVOCATION,
        K.COMMUNITY_MEMBERSHIP_REVOCATION,
    }
    assert KindPolicy.OFF not in POLICY.values()


@pytest.mark.parametrize(
    ("policy", "to_peer", "to_others"),
    [(KindPolicy.OFF, False, False), (KindPolicy.PEERS, True, False), (KindPolicy.ON, True, True)],
)
def test_a_policy_says_who_may_have_a_kind(
    policy: KindPolicy, *, to_peer: bool, to_others: bool
) -> None:
    plan = RadioPlan({**POLICY, K.FAMILY: policy})
    assert plan.allows(K.FAMILY, is_peer=True) is to_peer
    assert plan.allows(K.FAMILY, is_peer=False) is to_others


def test_quiet_hours_pass_midnight() -> None:
    night = parse_quiet("22:00-06:30")
    assert night == QuietHours(1_320, 390)
    assert (night.length_min, str(night)) == (510, "22:00-06:30")
    left = {minute: night.left_min(minute) for minute in (1_319, 1_320, 1_439, 0, 389, 390, 720)}
    assert left == {1_319: 0, 1_320: 510, 1_439: 391, 0: 390, 389: 1, 390: 0, 720: 0}


@given(st.integers(0, 1_439), st.integers(0, 1_439), st.integers(0, 1_439))
def test_they_end_when_they_say(begin: int, end: int, minute: int) -> None:
    quiet = QuietHours(begin, end)
    left_min = quiet.left_min(minute)
    assert 0 <= left_min <= quiet.length_min
    if left_min:
        assert (minute + left_min) % 1_440 == end
        assert quiet.left_min((minute + left_min) % 1_440) == 0
    if begin != end:
        assert parse_quiet(str(quiet)) == quiet


@pytest.mark.parametrize(
    "text", ["", "22-6", "22:00", "24:00-06:00", "22:60-06:00", "22:00 - 06:00", "07:00-07:00"]
)
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no"):
        parse_quiet(text)


def test_without_a_clock_there_are_no_quiet_hours() -> None:
    plan = RadioPlan(quiet=parse_quiet("22:00-06:00"))
    assert plan.quiet_s(None) == 0
    assert plan.quiet_s(23 * 60) == 7 * 3_600
    assert plan.open_part == pytest.approx(16 / 24)
    assert (RadioPlan().quiet_s(0), RadioPlan().open_part) == (0, 1)


def test_a_hybrid_cold_join_at_one_percent_takes_a_week() -> None:
    """`500 of 500` of the radio study: 1.92 MB, 6,008 s, 167 h at the whole of 1 %."""
    answer = join_estimate(1_920_000, 0, SF8, hour_s=36)
    assert answer.airtime_s == pytest.approx(6_008 + 1_000, rel=0.1)
    assert 160 < answer.hours < 220
    assert answer.use_bundle
    assert not join_estimate(36_500, 36_500, SF8, hour_s=36).use_bundle


def test_both_sides_send_at_the_same_time() -> None:
    one = join_estimate(100_000, 0, SF8, hour_s=36)
    both = join_estimate(100_000, 60_000, SF8, hour_s=36)
    assert both.hours == one.hours
    assert both.airtime_s > one.airtime_s


def test_what_may_not_be_sent_never_arrives() -> None:
    assert join_estimate(1, 0, SF8, hour_s=0) == join_estimate(1, 0, SF8, hour_s=-1)
    assert join_estimate(1, 0, SF8, hour_s=0).hours == math.inf
    assert join_estimate(0, 0, SF8, hour_s=0).hours == 0
    assert hours_for(72, 36) == 2


@given(st.integers(0, 10_000_000))
def test_airtime_is_that_of_full_batches(size_bytes: int) -> None:
    batch_bytes = (HANDED_S_MAX - SF8.setup_s) / SF8.byte_s
    least_s = size_bytes / batch_bytes * HANDED_S_MAX
    assert least_s - 1e-6 <= airtime_of(size_bytes, SF8) <= least_s + SF8.setup_s + 1e-6
