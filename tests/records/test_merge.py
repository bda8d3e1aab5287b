"""Which record counts: the same answer from the same set, in whatever order it came."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.merge import (
    REGION_QUORUM,
    REGIONS,
    SKEW_MS_MAX,
    Ballot,
    MemberRow,
    OperationalRow,
    PartnerRow,
    RemovalRow,
    RevocationRow,
    active_members,
    ballot_order,
    better_ballot,
    first_withdrawal,
    is_ahead,
    lww_skew_bounded,
    monotonic_quorum,
    revocation_answer,
    withdrawal_forward_only,
)

MS = 1_000_000


def org(n: int, at: int, *, attestation_id: str = "", final: bool = False) -> OperationalRow:
    return OperationalRow(bytes([n]), attestation_id or f"a{n}", at, final)


def partner(n: int, revision: int, status: str = "active", at: int = 0, **more: Any) -> PartnerRow:
    return PartnerRow(bytes([n]), f"a{n}", at, revision, status, **more)


def revocation(by: str, *, at: int = 0, effective: int = 0, region: str = "us") -> RevocationRow:
    return RevocationRow(by, at, effective, region, by.encode().ljust(32, b"\0"))


# -- organizations and memberships ---------------------------------------------------------------


def test_no_rows_no_winner() -> None:
    assert lww_skew_bounded([]) is None
    assert withdrawal_forward_only([]) is None
    assert first_withdrawal([]) is None


def test_the_latest_wins() -> None:
    rows = [org(1, 10), org(2, 30), org(3, 20)]
    assert lww_skew_bounded(rows) == withdrawal_forward_only(rows) == rows[1]


def test_of_equals_the_smallest_attestation_id_wins() -> None:
    rows = [org(1, 10, attestation_id="b"), org(2, 10, attestation_id="a")]
    assert lww_skew_bounded(rows) == rows[1]
    later = org(3, 11, attestation_id="z")
    assert lww_skew_bounded([*rows, later]) == later


def test_one_attestation_id_with_two_contents_has_one_winner() -> None:
    rows = [org(2, 10, attestation_id="a"), org(1, 10, attestation_id="a")]
    assert lww_skew_bounded(rows) == lww_skew_bounded(rows[::-1]) == rows[1]


def test_a_withdrawal_is_final() -> None:
    active, withdrawn, again = org(1, 10), org(2, 20, final=True), org(3, 30)
    assert withdrawal_forward_only([active]) == active
    assert withdrawal_forward_only([active, withdrawn]) is None
    assert withdrawal_forward_only([active, withdrawn, again]) is None
    assert first_withdrawal([again, withdrawn, active]) == withdrawn


def test_a_withdrawal_older_than_what_is_active_is_final_too() -> None:
    assert withdrawal_forward_only([org(1, 30), org(2, 10, final=True)]) is None


def test_the_earliest_withdrawal_is_the_one_told() -> None:
    rows = [org(1, 30, final=True), org(2, 10, final=True), org(3, 5)]
    assert first_withdrawal(rows) == rows[1]


@pytest.mark.parametrize("offset_ns", [-1, 0])
def test_five_minutes_ahead_are_bearable(offset_ns: int) -> None:
    now_ms = 1_780_000_000_000
    assert not is_ahead((now_ms + SKEW_MS_MAX) * MS + offset_ns, now_ms)
    assert is_ahead((now_ms + SKEW_MS_MAX) * MS + 1, now_ms)
    assert SKEW_MS_MAX == 300_000


# -- partner records -----------------------------------------------------------------------------


def test_the_highest_revision_wins_whatever_else() -> None:
    rows = [partner(1, 1, "revoked", at=99), partner(2, 3, "active", at=1), partner(3, 2)]
    assert monotonic_quorum(rows) == rows[1]


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    list(itertools.chain.from_iterable(
        [(a, b, c), (b, a, c)]
        for a, b, c in [
            ("revoked", "suspended", "revoked"),
            ("revoked", "active", "revoked"),
            ("suspended", "active", "suspended"),
        ]
    )),
)  # fmt: skip
def test_of_one_revision_the_stricter_status_wins(one: str, other: str, winner: str) -> None:
    chosen = monotonic_quorum([partner(1, 5, one, at=9), partner(2, 5, other, at=9)])
    assert chosen is not None
    assert chosen.status == winner


def test_of_one_status_the_latest_and_then_the_smallest_id_wins() -> None:
    rows = [partner(1, 5, at=1), partner(2, 5, at=2), partner(3, 5, at=2)]
    assert monotonic_quorum(rows) == rows[1]
    assert monotonic_quorum([partner(1, 5, "suspended", at=1), *rows[1:]]) != rows[1]


def test_a_rollback_never_changes_the_answer() -> None:
    current = partner(1, 7, "revoked")
    for old in (partner(2, 6, "active", at=99), partner(3, 1, "revoked")):
        assert monotonic_quorum([current, old]) == current


def test_a_withdrawn_license_stays_withdrawn() -> None:
    rows = [partner(1, 1), partner(2, 2, is_withdrawn=True)]
    assert monotonic_quorum(rows[:1]) == rows[0]
    assert monotonic_quorum(rows) is None
    assert monotonic_quorum([*rows, partner(3, 9)]) is None
    assert monotonic_quorum([]) is None


def test_a_status_is_one_of_three_and_they_are_the_kinds() -> None:
    with pytest.raises(ValueError, match="no status"):
        partner(1, 1, "expired")
    column = KINDS[EnvelopeKind.PARTNER_RECORD].field("status")
    assert column is not None
    for status in column.allowed or ():
        assert partner(1, 1, status).status == status


# -- revocations ---------------------------------------------------------------------------------


def answered(rows: Sequence[RevocationRow]) -> Any:
    return revocation_answer(rows, "key", ["parent", "root"], ["warden"])


def test_without_revocations_a_key_is_not_revoked() -> None:
    answer = answered([])
    assert answer.effective_from_ns is None
    assert answer.weight == 0
    assert answer.quorum_reached_at_ns is None
    assert answer.counts(10**30)


@pytest.mark.parametrize("who", ["key", "parent", "root", "warden"])
def test_the_key_its_ancestors_and_stewards_revoke(who: str) -> None:
    answer = answered([revocation(who, effective=7)])
    assert answer.effective_from_ns == 7
    assert len(answer.valid) == 1
    assert answer.claims == ()


@pytest.mark.parametrize("who", ["stranger", "", "child"])
def test_anybody_elses_is_a_claim(who: str) -> None:
    row = revocation(who, effective=7)
    answer = answered([row])
    assert answer.effective_from_ns is None
    assert (answer.valid, answer.claims, answer.weight) == ((), (row,), 0)


def test_the_earliest_valid_one_counts_and_what_was_signed_before_it() -> None:
    rows = [
        revocation("parent", at=5, effective=50),
        revocation("key", at=9, effective=40),
        revocation("stranger", at=1, effective=1),
    ]
    answer = answered(rows)
    assert answer.effective_from_ns == 40
    assert answer.counts(39)
    assert not answer.counts(40)
    assert not answer.counts(41)


def test_regions_are_weighed_and_the_second_makes_the_quorum() -> None:
    rows = [
        revocation("key", at=30, region="us"),
        revocation("key", at=10, region="us"),
        revocation("parent", at=20, region="eu"),
        revocation("stranger", at=1, region="apac"),
    ]
    assert answered(rows[:2]).regions == ("us",)
    assert answered(rows[:2]).quorum_reached_at_ns is None
    answer = answered(rows)
    assert (answer.regions, answer.weight) == (("eu", "us"), REGION_QUORUM)
    assert answer.quorum_reached_at_ns == 20
    all_three = answered([*rows, revocation("root", at=15, region="apac")])
    assert (all_three.weight, all_three.quorum_reached_at_ns) == (3, 15)


def test_one_region_is_enough_to_revoke() -> None:
    assert answered([revocation("key", effective=7)]).effective_from_ns == 7


def test_the_regions_are_the_columns() -> None:
    column = KINDS[EnvelopeKind.REVOCATION].field("observed_region")
    assert column is not None
    assert column.allowed == REGIONS
    assert answered([revocation("key", region="mars")]).weight == 0


def test_the_latest_is_shown_first() -> None:
    rows = [revocation("key", at=1), revocation("parent", at=3), revocation("root", at=3)]
    assert answered(rows).valid == (rows[1], rows[2], rows[0])
    assert sorted(rows, key=ballot_order)[0] == rows[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Ballot(2, 1, b"z"), Ballot(1, 9, b"a")),
        (Ballot(2, 9, b"z"), Ballot(2, 1, b"a")),
        (Ballot(2, 9, b"a"), Ballot(2, 9, b"b")),
    ],
)
def test_ballots_go_by_weight_time_and_lower_hash(one: Ballot, other: Ballot) -> None:
    assert better_ballot(one, other) == better_ballot(other, one) == one


# -- rosters -------------------------------------------------------------------------------------

ROSTER = [MemberRow("a", 10, "founder"), MemberRow("b", 20), MemberRow("c", 30, "member")]


def active(at: int, *removals: tuple[str, int], roster: Sequence[MemberRow] = ROSTER) -> list[str]:
    rows = active_members(roster, [RemovalRow(*removal) for removal in removals], at)
    return [row.key_id for row in rows]


def test_members_are_those_who_joined() -> None:
    assert active(9) == []
    assert active(10) == ["a"]
    assert active(29) == ["a", "b"]
    assert active(30) == ["a", "b", "c"]


def test_a_removal_counts_from_the_moment_it_is_effective() -> None:
    assert active(49, ("b", 50)) == ["a", "b", "c"]
    assert active(50, ("b", 50)) == ["a", "c"]
    assert active(99, ("b", 50), ("x", 1)) == ["a", "c"]


def test_nobody_comes_back_by_joining_later() -> None:
    again = [*ROSTER, MemberRow("b", 60)]
    assert active(70, ("b", 50), roster=again) == ["a", "c"]
    assert active(45, ("b", 50), roster=again) == ["a", "b", "c"]


def test_roles_are_kept_and_a_disputed_one_is_none() -> None:
    rows = active_members(ROSTER, [], 99)
    assert [row.role for row in rows] == ["founder", None, "member"]
    disputed = [*ROSTER, MemberRow("a", 5), MemberRow("c", 40, "member")]
    assert active_members(disputed, [], 99) == (
        MemberRow("a", 5, None), ROSTER[1], ROSTER[2],
    )  # fmt: skip


# -- laws ----------------------------------------------------------------------------------------

small = st.integers(0, 3)


def named(row: Any) -> Any:
    """An envelope id is one of its content."""
    return replace(row, envelope_id=repr(row).encode())


ids = st.sampled_from("ab")
orgs = st.builds(OperationalRow, st.just(b""), ids, small, st.booleans()).map(named)
partners = st.builds(
    PartnerRow,
    st.just(b""),
    ids,
    small,
    small,
    st.sampled_from(["active", "suspended", "revoked"]),
    st.sampled_from([False, False, False, True]),
).map(named)
revocations = st.builds(
    RevocationRow,
    st.sampled_from(["key", "parent", "warden", "stranger"]),
    small,
    small,
    st.sampled_from(sorted(REGIONS)),
    st.binary(min_size=1, max_size=1),
)
member_rows = st.builds(
    MemberRow, st.sampled_from("abc"), small, st.sampled_from([None, "founder"])
)
removal_rows = st.builds(RemovalRow, st.sampled_from("abc"), small)


@st.composite
def shuffled(draw: st.DrawFn, rows: st.SearchStrategy[Any]) -> tuple[list[Any], list[Any]]:
    """Rows, and the same set again in another order with some of them twice."""
    first = draw(st.lists(rows, max_size=6))
    again = draw(st.lists(st.sampled_from(first), max_size=3)) if first else []
    return first, draw(st.permutations([*first, *again]))


@given(shuffled(orgs))
def test_organizations_depend_on_the_set_alone(pair: tuple[list[Any], list[Any]]) -> None:
    one, other = pair
    assert lww_skew_bounded(one) == lww_skew_bounded(other)
    assert withdrawal_forward_only(one) == withdrawal_forward_only(other)
    assert first_withdrawal(one) == first_withdrawal(other)


@given(shuffled(partners))
def test_partner_records_depend_on_the_set_alone(pair: tuple[list[Any], list[Any]]) -> None:
    assert monotonic_quorum(pair[0]) == monotonic_quorum(pair[1])


@given(shuffled(revocations))
def test_revocations_depend_on_the_set_alone(pair: tuple[list[Any], list[Any]]) -> None:
    assert answered(pair[0]) == answered(pair[1])


@given(shuffled(member_rows), shuffled(removal_rows), small)
def test_rosters_depend_on_the_set_alone(
    members: tuple[list[Any], list[Any]], removals: tuple[list[Any], list[Any]], at: int
) -> None:
    one = active_members(members[0], removals[0], at)
    assert one == active_members(members[1], removals[1], at)


@given(st.lists(orgs, max_size=5), orgs)
def test_once_none_always_none(rows: list[OperationalRow], extra: OperationalRow) -> None:
    if rows and withdrawal_forward_only(rows) is None:
        assert withdrawal_forward_only([*rows, extra]) is None


@given(st.lists(partners, max_size=5), partners)
def test_a_license_only_moves_forward(rows: list[PartnerRow], extra: PartnerRow) -> None:
    before, after = monotonic_quorum(rows), monotonic_quorum([*rows, extra])
    if before is None:
        assert not rows or after is None
    else:
        assert after is None or after.revision >= before.revision
        assert after in (before, extra, None)


@given(st.lists(revocations, max_size=5), revocations, small)
def test_a_revocation_is_never_undone(
    rows: list[RevocationRow], extra: RevocationRow, signed_at: int
) -> None:
    before, after = answered(rows), answered([*rows, extra])
    assert before.counts(signed_at) or not after.counts(signed_at)
    assert before.weight <= after.weight


@given(st.lists(member_rows, max_size=5), st.lists(removal_rows, max_size=4), removal_rows, small)
def test_a_removal_only_removes(
    members: list[MemberRow], removals: list[RemovalRow], extra: RemovalRow, at: int
) -> None:
    before = {row.key_id for row in active_members(members, removals, at)}
    after = {row.key_id for row in active_members(members, [*removals, extra], at)}
    assert after == before - ({extra.key_id} if extra.effective_at_ns <= at else set())


@given(st.lists(orgs, min_size=1, max_size=4), st.lists(orgs, max_size=4))
def test_merging_parts_and_merging_all_agree(
    one: list[OperationalRow], other: list[OperationalRow]
) -> None:
    parts = [row for rows in (one, other) if (row := lww_skew_bounded(rows)) is not None]
    assert lww_skew_bounded(parts) == lww_skew_bounded([*one, *other])


def test_rows_are_values() -> None:
    assert org(1, 1) == org(1, 1)
    assert replace(partner(1, 1), revision=2) == partner(1, 2)
