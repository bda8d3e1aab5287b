"""An answer is a function of the set of records: order, repetition and losers change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.resolve import base
from ciris_mesh.records.resolve.attestations import AttestationsFound
from ciris_mesh.records.resolve.base import Row, RowSet, Rule, Status
from ciris_mesh.records.resolve.groups import MembersFound
from ciris_mesh.records.resolve.keys import KeyFound, RevokedFound
from ciris_mesh.records.resolve.occurrences import OccurrencesFound
from ciris_mesh.records.resolve.operations import WinnerFound
from ciris_mesh.records.resolve.table import QUESTIONS, Answer, resolve
from ciris_mesh.records.rules.base import Trust
from support.answers import (
    World,
    admitted,
    ask,
    attestation,
    changed,
    device_removal,
    every_question,
    family,
    grant,
    hex_id,
    member_removal,
    occurrence,
    organization,
    revocation,
    rules,
    score,
    taking,
)
from support.rulebook import key_id, key_record

NAMES = ("alice", "bob", "carol", "dave")
_names = st.sampled_from(NAMES)
_moments = st.integers(0, 6)


def answers(rows: Iterable[Row]) -> list[Answer]:
    """Every question to one set."""
    known = list(rows)
    return [ask(known, *question) for question in every_question()]


ROWS = admitted(signed=True)
EXPECTED = answers(ROWS)
_numbers = st.sampled_from(range(len(ROWS)))
_parts = st.lists(_numbers, unique=True)


def test_every_question_is_asked_and_answered() -> None:
    assert {question for question, _, _ in every_question()} == set(QUESTIONS)
    for question in QUESTIONS:
        said = {it.status for it in EXPECTED if it.question == question}
        assert said - {Status.UNKNOWN, Status.EMPTY}, question


@settings(max_examples=40)
@given(order=st.permutations(range(len(ROWS))), again=st.lists(_numbers, max_size=20))
def test_order_and_repetition_change_nothing(order: list[int], again: list[int]) -> None:
    assert answers(ROWS[number] for number in [*order, *again]) == EXPECTED


@settings(max_examples=40)
@given(part=_parts, data=st.data())
def test_so_it_is_for_any_part_of_them(part: list[int], data: st.DataObject) -> None:
    other = data.draw(st.permutations(part))
    assert answers(ROWS[n] for n in part) == answers(ROWS[n] for n in other)


@settings(max_examples=30)
@given(part=_parts)
def test_what_is_on_another_shelf_decides_nothing(part: list[int]) -> None:
    copies = [replace(ROWS[number], shelf="bridged") for number in part]
    for answer in answers(copies):
        is_said = answer.status not in (Status.UNKNOWN, Status.EMPTY, Status.NOT_REVOKED)
        assert not is_said, answer


@settings(max_examples=30)
@given(part=_parts)
def test_copies_on_another_shelf_change_no_answer(part: list[int]) -> None:
    """Of the same records a set holds one, and a store does too: it moves up, never down."""
    copies = [replace(ROWS[number], shelf="bridged") for number in part]
    assert answers([*ROWS, *copies]) == EXPECTED


# -- random histories ------------------------------------------------------------------------------

GROUP = family("majority", "alice", "bob carol", "alice", "bob")
SCORE = score("alice", "bob")

#: What a history is made of, by word. Specifications are small, so that failures can be read.
_MAKE: dict[str, Callable[..., Envelope]] = {
    "revocation": lambda when, by, of, effective, region: revocation(
        by, of, when, effective_ms=effective, region=region
    ),
    "grant": lambda when, by, to, role, status: grant(by, to, when, role, status=status),
    "organization": lambda when, by, word, status: organization(by, when, name=word, status=status),
    "roster": lambda when, others, by: changed(GROUP, when + 1, "alice", others, *by.split()),
    "removal": lambda when, who, by: member_removal(GROUP, who, when, *by.split()),
    "device": lambda when, device, by: occurrence("alice", device, by, when),
    "device_removal": lambda when, device: device_removal("alice", device, device, when),
    "taking": lambda when, by, type_: taking(
        by, type_, SCORE, when, 1 if type_ == "withdraws" else None
    ),
}
Spec = tuple[Any, ...]


@cache
def built(spec: Spec) -> Envelope:
    return _MAKE[spec[0]](*spec[1:])


def rows_of(*specs: Spec) -> list[Row]:
    return [*_BASE, *(Row(built(spec)) for spec in specs)]


def _spec(word: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Spec]:
    return st.tuples(st.just(word), _moments, *parts)


_few = st.sets(_names, min_size=1).map(lambda names: " ".join(sorted(names)))
_statuses = st.sampled_from(("active", "active", "suspended", "deactivated"))
_revocations = _spec(
    "revocation",
    st.sampled_from(("alice", "bob", "carol", "chief", "root")),
    st.sampled_from(("alice", "bob", "chief", "root")),
    _moments,
    st.sampled_from(("us", "eu", "apac")),
)
_organizations = _spec(
    "organization",
    st.sampled_from((*NAMES, "chief")),
    st.sampled_from(("Acme", "Acme Ltd")),
    _statuses,
)
_devices = st.sampled_from(("laptop", "phone"))
_histories = st.lists(
    st.one_of(
        _revocations,
        _organizations,
        _spec(
            "grant",
            st.sampled_from((*NAMES, "chief")),
            _names,
            st.sampled_from(("org_admin", "operator")),
            st.sampled_from(("active", "active", "deactivated")),
        ),
        _spec("roster", st.sampled_from(("bob", "bob carol", "carol dave")), _few),
        _spec("removal", _names, _few),
        _spec("device", _devices, st.sampled_from(("alice", "laptop", "phone"))),
        _spec("device_removal", _devices),
        _spec("taking", _names, st.sampled_from(("supersedes", "withdraws", "recants"))),
    ),
    max_size=14,
)
_KEYS = [Row(key_record(name, at_ms=1)) for name in (*NAMES, "laptop", "phone")]
_BASE = [Row(GROUP), Row(SCORE), *_KEYS]
_QUESTIONS = (
    *[(word, key_id(name)) for name in NAMES for word in ("key", "revoked", "attestations")],
    ("members", str(GROUP.record["family_key_id"])),
    ("occurrences", key_id("alice")),
    ("org", "acme"),
    ("membership", "acme", key_id("alice")),
    ("membership", "acme", key_id("bob")),
    ("revoked", ""),
)


@settings(max_examples=150)
@given(history=_histories, data=st.data(), after_ms=_moments)
def test_any_history_has_one_answer(
    history: list[Spec], data: st.DataObject, after_ms: int
) -> None:
    other = data.draw(st.permutations(history))
    rows, others = rows_of(*history), rows_of(*other, *history)[::-1]
    for question in _QUESTIONS:
        assert ask(rows, *question, after_ms=after_ms) == ask(others, *question, after_ms=after_ms)


@settings(max_examples=150)
@given(history=st.lists(_revocations, max_size=10), latest=_revocations)
def test_a_revocation_is_never_undone_by_a_later_one(history: list[Spec], latest: Spec) -> None:
    """Whoever it revokes, and however early it says that was."""
    before = rows_of(*(it for it in history if it[1] < latest[1]))
    for name in ("alice", "bob", "chief", "root"):
        first = ask(before, "key", key_id(name), after_ms=10_000)
        second = ask([*before, Row(built(latest))], "key", key_id(name), after_ms=10_000)
        if first.status is Status.REVOKED:
            assert second.status is Status.REVOKED


@settings(max_examples=100)
@given(history=st.lists(_organizations, min_size=1, max_size=8), loser=_organizations)
def test_a_record_that_loses_changes_no_answer(history: list[Spec], loser: Spec) -> None:
    by_chief = [it for it in history if it[2] == "chief"]
    before = ask(rows_of(*by_chief), "org", "acme")
    after = ask(rows_of(*by_chief, loser), "org", "acme")
    assert isinstance(before.found, WinnerFound)
    assert isinstance(after.found, WinnerFound)
    if before.status is Status.ENDED:
        assert after.status is Status.ENDED, "for good"
    latest = max((it[1] for it in by_chief), default=0)
    is_rolled_back = loser[1] < latest and loser[-1] != "deactivated"
    if by_chief and (is_rolled_back or loser[2] != "chief"):
        assert (after.status, after.found.winner) == (before.status, before.found.winner)


@settings(max_examples=100)
@given(history=_histories, stranger=st.sampled_from(("mallory", "erin")), when=_moments)
def test_strangers_change_no_answer(history: list[Spec], stranger: str, when: int) -> None:
    theirs = (
        ("revocation", when, stranger, "alice", when, "us"),
        ("grant", when, stranger, "alice", "org_admin", "active"),
        ("organization", when, stranger, "Evil", "deactivated"),
        ("roster", when, stranger, stranger),
        ("removal", when, "alice", stranger),
        ("device", when, "phone", stranger),
        ("taking", when, stranger, "recants"),
    )
    for question in _QUESTIONS:
        before, after = (
            ask(rows_of(*history), *question),
            ask(rows_of(*history, *theirs), *question),
        )
        if before.status not in (Status.UNKNOWN, Status.TOO_MANY) and question != ("revoked", ""):
            assert _decided(after) == _decided(before), question


def _decided(answer: Answer) -> tuple[Status, object]:
    """What the answer says, without what it says was passed over."""
    found = answer.found
    match found:
        case KeyFound():
            return answer.status, (found.revocations, found.weight, found.valid_until)
        case WinnerFound():
            return answer.status, (found.winner, found.ended_by)
        case MembersFound():
            return answer.status, (found.members, found.removed)
        case OccurrencesFound():
            return answer.status, (found.active, found.removed)
        case AttestationsFound():
            return answer.status, found.current
        case _:
            return answer.status, found


# -- limits ----------------------------------------------------------------------------------------


def test_too_many_records_are_said_and_not_half_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.know("alice", "bob")
    world.add(*(score("alice", "bob", n) for n in range(4)))
    assert world.status("attestations", key_id("bob")) is Status.ANSWERED
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_NAME_MAX", 4)
    assert world.status("attestations", key_id("bob")) is Status.ANSWERED
    world.add(score("alice", "bob", 5))
    answer = world.ask("attestations", key_id("bob"))
    assert (answer.status, answer.found) == (Status.TOO_MANY, None)
    assert rules(answer) == {Rule.TOO_MANY}
    assert "more than 4 of records named" in answer.steps[0].note
    assert world.status("key", key_id("bob")) is Status.VALID, "other questions are still answered"


def test_strangers_cannot_drown_what_known_keys_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carol is a steward of the configuration, dave is vouched for by the root, bob is himself."""
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_NAME_MAX", 9)
    world = World()
    world.add(key_record("root", "steward"), key_record("dave", "agent", by="root"))
    world.know("bob", "carol", "dave", "mallory")
    said = [score(by, "bob", 1) for by in ("bob", "carol", "dave")]
    withdrawn = world.add(score("carol", "bob", 2))
    world.add(*said, taking("carol", "recants", withdrawn, 3))
    world.add(*(score("mallory", "bob", n) for n in range(10)))
    answer = world.ask("attestations", key_id("bob"))
    found = answer.found
    assert isinstance(found, AttestationsFound)
    assert (answer.status, found.unread) == (Status.ANSWERED, True)
    assert {it.record for it in found.current if it.type == "scores"} == set(map(hex_id, said))
    assert [it.record for it in found.past] == [hex_id(withdrawn)]
    assert Rule.STRANGERS_UNREAD in rules(answer)
    world.add(revocation("dave", "dave", 0))
    answer = world.ask("attestations", key_id("bob"))
    assert Rule.SIGNER_REVOKED in rules(answer)


def test_a_flood_of_what_refers_to_an_id_leaves_the_other_statements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The id is free text: mallory says something under the same, and takes hers back often."""
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_NAME_MAX", 9)
    world = World()
    world.know("alice", "bob", "mallory")
    target, other = world.add(score("alice", "bob", 1)), world.add(score("alice", "bob", 2))
    same = {"attestation_id": target.record["attestation_id"]}
    world.add(score("mallory", "mallory", 1, **same))
    world.add(*(taking("mallory", "withdraws", target, n, 1) for n in range(2, 8)))
    states = _states(world)
    assert (states[hex_id(target)], states[hex_id(other)]) == ("current", "current")
    world.add(*(taking("mallory", "recants", target, n) for n in range(2, 8)))
    states = _states(world)
    assert (states[hex_id(target)], states[hex_id(other)]) == ("undecided", "current")


def _states(world: World) -> dict[str, str]:
    found = world.ask("attestations", key_id("bob")).found
    assert isinstance(found, AttestationsFound)
    return {it.record: it.state for it in (*found.current, *found.past)}


def test_a_flood_of_claims_does_not_hide_who_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ciris_mesh.records.resolve.revocations.REVOCATIONS_EACH_MAX", 2)
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_NAME_MAX", 5)
    world = World()
    world.add(key_record("root", "steward"))
    world.know("alice", "bob")
    world.add(*(revocation("mallory", "bob", n) for n in range(6)))
    assert world.status("revoked", "") is Status.TOO_MANY, "not: nobody is revoked"
    world.add(revocation("chief", "alice", 1), revocation("root", "bob", 2))
    answer = world.ask("revoked", "")
    assert isinstance(answer.found, RevokedFound)
    assert [it.key_id for it in answer.found.keys] == [key_id("alice"), key_id("bob")]
    assert answer.found.unread
    assert Rule.STRANGERS_UNREAD in rules(answer)


def test_a_flood_of_vouchers_leaves_what_is_asked_of_other_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_NAME_MAX", 3)
    world = World()
    world.add(*(key_record("bob", by="mallory", ref=f"{n}") for n in range(4)))
    for question in ("attestations", "occurrences", "location"):
        assert world.status(question, key_id("bob")) is Status.EMPTY, question


def test_one_answer_reads_so_many_rows_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.know("alice", "bob")
    world.add(*(score("alice", "bob", n) for n in range(9)))
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_ANSWER_MAX", 8)
    answer = world.ask("attestations", key_id("bob"))
    assert answer.status is Status.TOO_MANY
    assert "records for one answer" in answer.steps[0].note


def test_a_flood_of_claims_hides_no_revocation_that_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ciris_mesh.records.resolve.revocations.REVOCATIONS_EACH_MAX", 2)
    monkeypatch.setattr("ciris_mesh.records.resolve.view.ROWS_PER_NAME_MAX", 5)
    world = World()
    world.know("alice")
    world.add(*(revocation("mallory", "alice", n) for n in range(6)))
    answer = world.ask("key", key_id("alice"))
    assert answer.status is Status.VALID
    assert Rule.CLAIMS_UNREAD in rules(answer)
    assert isinstance(answer.found, KeyFound)
    assert (answer.found.claims, answer.found.claims_unread) == ((), True)
    for by in ("alice", "chief", "root"):
        flooded = World(rows=[*world.rows, Row(revocation(by, "alice", 9))])
        assert flooded.status("key", key_id("alice")) is Status.REVOKED


def test_what_is_no_question_and_no_shelf_is_the_callers_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="no question; one of: key, chain"):
        resolve("why", "alice", RowSet([]), Trust(), 0, tau_partial_s=1.0)
    with pytest.raises(LocalProtocolError, match="no shelf"):
        Row(SCORE, "attic")


def test_long_texts_are_cut() -> None:
    assert base.shown("x" * 200) == "x" * 200
    assert base.shown("x" * 201) == "x" * 198 + ".."
    world = World()
    world.know("alice", "bob")
    world.add(attestation("alice", "bob", "scores", 0, {"dimension": "d" * 5000}))
    (told,) = world.ask("attestations", key_id("bob")).found.current  # type: ignore[union-attr]
    assert len(told.dimension) == base.TEXT_CHARS_MAX
