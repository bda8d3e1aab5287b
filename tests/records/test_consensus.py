"""The grammar of a roster's protocol, and what each form asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.consensus import (
    TEXT_CHARS_MAX,
    ConsensusForm,
    ConsensusProtocol,
    Electorate,
    Requirement,
    parse_consensus,
)
from ciris_mesh.records.outcome import Reason

MEMBERS, FOUNDERS = Electorate.MEMBERS, Electorate.FOUNDERS
GOOD = [
    "founder_only",
    "unanimous",
    "majority",
    "quorum:1/1",
    "quorum:1/2",
    "quorum:2/3",
    "quorum:3/3",
    "weighted:by-tenure",
    "weighted:a:b",
    "custom:see the charter",
    "custom:" + "x" * TEXT_CHARS_MAX,
]


@pytest.mark.parametrize("text", GOOD)
def test_a_protocol_is_read_and_written_the_same(text: str) -> None:
    assert str(parse_consensus(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "anarchy", "quorum", "quorum:", "quorum:3/2", "quorum:0/0", "quorum:0/3", "quorum:2",
        "quorum:02/3", "quorum:2/03", "quorum: 2/3", "quorum:2/3 ", "quorum:+2/3", "2/3",
        "quorum:1/1000000", "quorum:\u0662/\u0663", "Majority", "majority ", "majority:",
        "founder_only:1", "unanimous:", "weighted", "weighted:", "custom", "custom:",
        "custom:a\nb", "custom:a\x00", "custom:" + "x" * (TEXT_CHARS_MAX + 1),
    ],
)  # fmt: skip
def test_anything_else_is_no_protocol(text: str) -> None:
    with pytest.raises(MalformedRecord) as caught:
        parse_consensus(text)
    assert caught.value.reason == Reason.VALUE_NOT_ALLOWED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("founder_only", Requirement(1, FOUNDERS)),
        ("unanimous", Requirement(5, MEMBERS)),
        ("majority", Requirement(3, MEMBERS)),
        ("quorum:2/3", Requirement(2, MEMBERS)),
        ("quorum:9/9", Requirement(9, MEMBERS)),
        ("weighted:x", None),
        ("custom:x", None),
    ],
)
def test_who_must_sign_among_five_members_of_whom_two_founded(
    text: str, expected: Requirement | None
) -> None:
    assert parse_consensus(text).required(5, 2) == expected


@pytest.mark.parametrize(
    ("text", "count"), [("founder_only", 1), ("unanimous", 4), ("majority", 3), ("quorum:2/3", 2)]
)
def test_where_founders_are_the_basis_members_do_not_count(text: str, count: int) -> None:
    assert parse_consensus(text).required(9, 4, basis=FOUNDERS) == Requirement(count, FOUNDERS)


@pytest.mark.parametrize("text", ["founder_only", "unanimous", "majority", "quorum:1/1"])
def test_an_empty_roster_is_met_by_nobody(text: str) -> None:
    protocol = parse_consensus(text)
    assert not protocol.is_met([], [], [])
    assert not protocol.is_met([], [], ["mallory"])


@pytest.mark.parametrize(
    ("text", "enough", "too_few"),
    [
        ("founder_only", ["b"], ["c", "d"]),
        ("unanimous", ["a", "b", "c", "d"], ["a", "b", "c"]),
        ("majority", ["a", "c", "d"], ["a", "b"]),
        ("quorum:2/3", ["c", "d"], ["c"]),
    ],
)
def test_enough_and_too_few(text: str, enough: list[str], too_few: list[str]) -> None:
    protocol = parse_consensus(text)
    assert protocol.is_met("abcd", "ab", enough)
    assert not protocol.is_met("abcd", "ab", too_few)


def test_strangers_and_repetition_do_not_help() -> None:
    protocol = parse_consensus("quorum:2/3")
    assert not protocol.is_met("abc", "a", ["c", "c", "x", "y"])
    assert protocol.is_met(["a", "b", "b"], ["a"], ["a", "b"])


def test_a_founder_who_is_gone_does_not_decide() -> None:
    protocol = parse_consensus("founder_only")
    assert protocol.is_met("ab", "a", ["a"])
    assert not protocol.is_met("b", "a", ["a"])


def test_a_quorum_larger_than_the_roster_is_out_of_reach_not_scaled_down() -> None:
    protocol = parse_consensus("quorum:3/4")
    assert not protocol.is_met("ab", "ab", "ab")
    assert protocol.is_met("abc", "ab", "abc")


def test_the_founder_basis_ignores_members() -> None:
    protocol = parse_consensus("quorum:2/3")
    assert protocol.is_met("abcd", "abc", "ab", basis=FOUNDERS)
    assert not protocol.is_met("abcd", "abc", "ad", basis=FOUNDERS)


@pytest.mark.parametrize("text", ["weighted:x", "custom:x"])
def test_a_rule_we_do_not_have_is_never_met(text: str) -> None:
    assert not parse_consensus(text).is_met("abc", "abc", "abc")


@pytest.mark.parametrize(
    ("text", "is_safe"),
    [("quorum:2/3", True), ("quorum:1/2", False), ("quorum:2/4", False), ("majority", False)],
)
def test_which_quorums_are_safe_for_founders(text: str, is_safe: bool) -> None:
    assert parse_consensus(text).is_deadlock_free is is_safe


@given(st.integers(1, 200), st.integers(1, 200))
def test_quorums_are_read_exactly(needed: int, of: int) -> None:
    text = f"quorum:{needed}/{of}"
    if needed > of:
        with pytest.raises(MalformedRecord):
            parse_consensus(text)
    else:
        assert parse_consensus(text) == ConsensusProtocol(ConsensusForm.QUORUM, needed, of)


@given(st.text(max_size=40))
def test_what_is_read_is_written_back(text: str) -> None:
    try:
        protocol = parse_consensus(text)
    except MalformedRecord:
        return
    assert str(protocol) == text


@given(
    st.sampled_from(["founder_only", "unanimous", "majority", "quorum:2/3", "quorum:3/3"]),
    st.sets(st.sampled_from("abcdef")),
    st.sets(st.sampled_from("abcdef")),
    st.sets(st.sampled_from("abcdefxy")),
    st.sampled_from("abcdefxy"),
)
def test_one_more_signature_never_undoes_consent(
    text: str, members: set[str], founders: set[str], signers: set[str], extra: str
) -> None:
    protocol = parse_consensus(text)
    if protocol.is_met(members, founders, signers):
        assert protocol.is_met(members, founders, signers | {extra})


@given(
    st.sampled_from(["founder_only", "unanimous", "majority", "quorum:1/1", "quorum:2/3"]),
    st.sets(st.sampled_from("abcdef")),
    st.sets(st.sampled_from("xyz")),
)
def test_outsiders_alone_never_consent(text: str, members: set[str], outsiders: set[str]) -> None:
    assert not parse_consensus(text).is_met(members, members, outsiders)


@given(st.sets(st.sampled_from("abcdef"), min_size=1), st.data())
def test_two_majorities_share_a_member(members: set[str], data: st.DataObject) -> None:
    protocol = parse_consensus("majority")
    one = data.draw(st.sets(st.sampled_from(sorted(members))))
    other = data.draw(st.sets(st.sampled_from(sorted(members))))
    if protocol.is_met(members, (), one) and protocol.is_met(members, (), other):
        assert one & other
