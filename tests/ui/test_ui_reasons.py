"""Answers in words: every rule and status has its sentence, and all of it fits 80 columns."""

from __future__ import annotations

from typing import Any

import pytest

from ciris_mesh.cli.plain import dump
from ciris_mesh.records.provenance import ProvenanceReason
from ciris_mesh.records.resolve.base import Rule, Status, Step
from ciris_mesh.records.resolve.revocations import Say
from ciris_mesh.records.resolve.table import QUESTIONS
from ciris_mesh.ui import reasons
from ciris_mesh.ui.reasons import (
    COLUMNS,
    SENTENCES,
    STEPS_MAX,
    answer_lines,
    freshness_line,
    headline,
    sentence,
)
from support.answers import admitted, ask, every_question

FRESH = {"word": "fresh", "peers": 1, "tau_partial_s": 300.0, "age_s": 12.0, "behind": []}


def told(question: str = "key", status: str = "valid", **more: Any) -> dict[str, Any]:
    given = {
        "question": question,
        "subject": "alice",
        "more": "bob",
        "as_of": "2027-06-01T00:00:00Z",
        "status": status,
        "steps": [],
        "freshness": FRESH,
    }
    return {**given, **more}


def step(rule: Rule, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = dump(Step(rule, **more))
    return plain


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_a_sentence(rule: Rule) -> None:
    text = sentence(step(rule, about="alice", by="bob carol", at="then", count=2, needed=3))
    assert text.endswith(".")
    assert "{" not in text


@pytest.mark.parametrize("rule", [Rule.SET_ASIDE, Rule.MADE_LATER])
def test_one_record_is_not_records(rule: Rule) -> None:
    assert sentence(step(rule, count=1)).endswith(": 1 record.")
    assert sentence(step(rule, count=2)).endswith(": 2 records.")


def test_there_is_no_sentence_for_nothing() -> None:
    assert set(SENTENCES) == {rule.value for rule in Rule}


def test_every_answer_there_can_be_has_a_headline() -> None:
    """Of questions and statuses that go together; the others cannot come about."""
    for question, status in reasons._HEADLINES:
        assert question in QUESTIONS
        assert Status(status)
        assert headline(told(question, status))
    for asked in every_question():
        assert headline(dump(ask(admitted(signed=True), *asked)))
    for question in QUESTIONS:
        assert "alice" in headline(told(question, "unknown"))
        assert headline(told(question, "too_many")).startswith("Not answered")


@pytest.mark.parametrize("word", [*Say, *(it for it in ProvenanceReason if it)])
def test_every_word_of_a_closed_set_is_spelled_out(word: Say | ProvenanceReason) -> None:
    assert sentence(step(Rule.NO_CHAIN, note=word.value)) != f"No chain: {word.value}."


def test_a_whole_answer_reads_so() -> None:
    steps = [
        step(Rule.SELF_SIGNED, about="alice", by="alice", at="t1", record="ab" * 32),
        step(Rule.IN_FORCE, at="t1", note="t2"),
        step(Rule.CLAIM, about="alice", by="bob", at="t3", record="cd" * 32, note="no_say"),
    ]
    assert list(answer_lines(told(steps=steps), is_running=True)) == [
        "alice is valid.",
        "",
        "  - It speaks for itself by record abababababab, signed t1.",
        "  - It is valid from t1 on, until t2.",
        "  - Only a claim: bob says it is revoked from t3 on, but it has no say over this",
        "    key here. Record cdcdcdcdcdcd.",
        "",
        "As of 2027-06-01T00:00:00Z.",
        "Fresh: a peer confirmed all of it 12 s ago.",
    ]


@pytest.mark.parametrize("question", every_question(), ids=" ".join)
def test_every_line_fits_and_is_ascii(question: tuple[str, str, str]) -> None:
    for line in answer_lines(dump(ask(admitted(), *question)), is_running=False):
        assert len(line) <= COLUMNS
        assert line.isascii()


def test_what_strangers_wrote_cannot_draw_on_the_screen() -> None:
    text = sentence(step(Rule.ATTESTATION_CURRENT, by="b\u0430d", note="x\x1b[31m\ny"))
    assert text.isprintable()
    assert text.isascii()
    assert "\\u0430" in text


def test_what_a_newer_node_says_is_shown_as_it_stands() -> None:
    assert headline(told(status="pending")) == "alice: pending."
    newer = {**step(Rule.IN_FORCE, about="a"), "rule": "new_rule", "note": "x"}
    assert sentence(newer) == "new_rule: a x."


def test_several_signers_are_listed_as_people_do() -> None:
    assert "by a, b and c:" in sentence(step(Rule.REVOKED_BY, by="a b c", note="self"))


def test_a_long_reasoning_is_cut_and_says_so() -> None:
    steps = [step(Rule.IN_FORCE, at=f"t{n}") for n in range(STEPS_MAX + 5)]
    lines = list(answer_lines(told(steps=steps), is_running=True))
    assert "  - 5 more; --json has all." in lines
    assert sum(line.startswith("  - It is valid") for line in lines) == STEPS_MAX


@pytest.mark.parametrize(
    ("freshness", "is_running", "line"),
    [
        ({}, True, "Fresh: a peer confirmed all of it 12 s ago."),
        (
            {"word": "partial", "behind": ["key", "family"]},
            True,
            "Partly fresh: no peer confirmed key, family within 5 min; some may be missing.",
        ),
        (
            {"word": "stale", "behind": ["key"], "tau_partial_s": 21_600.0},
            True,
            "Stale: no peer confirmed any of it within 6 h; much may be missing.",
        ),
        ({"word": "alone"}, True, "Alone: this node has no peer; told from what is here."),
        ({"word": "alone"}, False, "Alone: no node runs here; told from what is here."),
    ],
)
def test_how_much_can_be_missing(freshness: dict[str, Any], is_running: bool, line: str) -> None:
    assert freshness_line({**FRESH, **freshness}, is_running=is_running) == line
