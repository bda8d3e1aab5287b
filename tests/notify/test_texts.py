"""Answers by message: what is understood, and that every answer fits into one packet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.notify.texts import (
    ANSWERS,
    REPLY_BYTES_MAX,
    VERBS,
    Overview,
    PeerLine,
    RadioLine,
    budget_text,
    fit,
    help_text,
    owed_text,
    peers_text,
    read_question,
    read_span,
    status_text,
)

VIEW = Overview(
    name="field-3",
    version="0.1",
    uptime_s=90_000,
    health=(),
    records=142,
    deferred=0,
    peers=(
        PeerLine("hut", True, 0, 12.0),
        PeerLine("ridge", False, 3, 7200.0, "no_path"),
        PeerLine("new", False, None, None),
    ),
    radios=(
        RadioLine("RNode", True, 12.0, 36.0, 4, 60.0, 2.5),
        RadioLine("spare", False, None, None),
    ),
)


@pytest.mark.parametrize("text", ["status", "STATUS", " /status ", "!status\n", "status now"])
def test_people_type_as_they_like(text: str) -> None:
    question = read_question(text)
    assert question.verb is not None
    assert question.verb.name == "status"


@given(st.text(max_size=3000))
def test_any_text_is_read(text: str) -> None:
    question = read_question(text)
    assert question.verb is None or question.verb in VERBS


def test_an_argument_follows() -> None:
    assert read_question("mute 8h").argument == "8h"
    assert read_question("untrust  ridge hut ").argument == "ridge hut"
    assert read_question("").verb is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28_800), ("30 min", 1800), ("30m", 1800), ("2d", 172_800), ("0", 0), ("1", 3600),
     ("90s", 90), ("0.5 h", 1800), ("8 d", None), ("-1h", None), ("tomorrow", None), ("", None),
     ("1e9h", None), ("h", None)],
)  # fmt: skip
def test_lengths_of_time_people_type(text: str, seconds: float | None) -> None:
    assert read_span(text) == seconds


def test_status() -> None:
    assert status_text(VIEW) == "field-3: well, up 1 d 1 h\n142 records; 1 of 3 peers fresh"
    ill = replace(VIEW, health=("clock: untrusted",), deferred=2)
    assert status_text(ill).splitlines() == [
        "field-3: 1 to look at, up 1 d 1 h",
        "142 records, 2 waiting; 1 of 3 peers fresh",
        "clock: untrusted",
    ]


def test_peers_with_those_to_worry_about_first() -> None:
    assert peers_text(VIEW).splitlines() == [
        "ridge: STALE, heard 2 h 0 min ago, 3 missing, no_path",
        "new: STALE, never heard",
        "hut: fresh, heard 12 s ago",
    ]
    assert peers_text(replace(VIEW, peers=())) == "no peers yet"


def test_budget_and_what_is_owed() -> None:
    assert budget_text(VIEW) == "RNode: 12 s of 36 s an hour\nspare DOWN: not counted no limit"
    assert owed_text(VIEW) == "RNode: 4 records, 60 s of air, 2.5 h"
    nothing = replace(VIEW, radios=())
    assert budget_text(nothing) == "no radio here"
    assert owed_text(nothing) == "nothing waits for a radio"


def test_help_shows_what_may_be_done() -> None:
    assert "sync" not in help_text(may_act=False)
    assert "untrust PEER" in help_text(may_act=True)
    for verb in VERBS:
        assert verb.name in help_text(may_act=True)


def test_what_is_left_out_is_counted() -> None:
    text = fit(f"line number {n}" for n in range(100))
    lines = text.splitlines()
    assert lines[0] == "line number 0"
    assert lines[-1] == f"+{100 - len(lines) + 1} more"


@given(st.lists(st.text(max_size=400), max_size=40))
def test_every_answer_fits_into_one_packet(lines: list[str]) -> None:
    assert len(fit(lines).encode()) <= REPLY_BYTES_MAX


@given(st.lists(st.text(max_size=60), max_size=60), st.text(max_size=300))
def test_every_answer_fits_whatever_the_names(names: list[str], health: str) -> None:
    view = replace(
        VIEW,
        health=(health,) * 3,
        peers=tuple(PeerLine(name, False, 1, 1.0, name) for name in names),
        radios=tuple(RadioLine(name, True, 1.0, 2.0, 1, 3.0) for name in names),
    )
    for answer in ANSWERS.values():
        assert len(answer(view).encode()) <= REPLY_BYTES_MAX
