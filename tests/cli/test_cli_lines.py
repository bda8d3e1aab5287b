"""Filters answer every line once, in order, whatever the line."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.cli.lines import LINE_BYTES_MAX, answer_lines


def run(source: bytes) -> list[dict[str, Any]]:
    sink = io.BytesIO()
    answer_lines(
        io.BytesIO(source),
        sink,
        lambda line: {"line": line.decode("latin-1")},
        lambda reason: {"refused": reason},
    )
    return [json.loads(line) for line in sink.getvalue().splitlines()]


@given(st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b" "))))
def test_one_answer_for_each_line_in_order(lines: list[bytes]) -> None:
    source = b"".join(line + b"\n" for line in lines)
    assert run(source) == [{"line": line.strip().decode("latin-1")} for line in lines]


@pytest.mark.parametrize(
    ("source", "answers"),
    [
        (b"", []),
        (b"\n", [{"line": ""}]),
        (b"last line without an end", [{"line": "last line without an end"}]),
        (b"a\r\nb\r\n", [{"line": "a"}, {"line": "b"}]),
    ],
)
def test_line_ends(source: bytes, answers: list[dict[str, Any]]) -> None:
    assert run(source) == answers


@pytest.mark.parametrize("excess", [1, LINE_BYTES_MAX + 5, 2 * LINE_BYTES_MAX + 2])
def test_a_line_over_the_limit_gets_one_refusal_and_the_next_line_is_answered(excess: int) -> None:
    answers = run(b"x" * (LINE_BYTES_MAX + excess) + b"\nnext\n")
    assert [list(answer) for answer in answers] == [["refused"], ["line"]]
    assert str(LINE_BYTES_MAX) in answers[0]["refused"]
    assert answers[1] == {"line": "next"}


def test_a_line_at_the_limit_is_answered() -> None:
    answers = run(b"x" * (LINE_BYTES_MAX - 1) + b"\n")
    assert len(answers[0]["line"]) == LINE_BYTES_MAX - 1


def test_each_answer_is_flushed_before_the_next_line_is_read() -> None:
    order: list[str] = []

    class Source(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            order.append("read")
            return super().readline(size)

    class Sink(io.BytesIO):
        def flush(self) -> None:
            order.append("flush")

    answer_lines(Source(b"a\nb\n"), Sink(), lambda line: {}, lambda reason: {})
    assert order == ["read", "flush", "read", "flush", "read"]


def test_a_bug_in_one_line_costs_one_answer_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(line: bytes) -> dict[str, Any]:
        if line == b"boom":
            raise KeyError("x")
        return {"ok": True}

    sink = io.BytesIO()
    with caplog.at_level(logging.ERROR):
        answer_lines(io.BytesIO(b"boom\nfine\n"), sink, answer, lambda reason: {"error": reason})
    assert [json.loads(line) for line in sink.getvalue().splitlines()] == [
        {"error": "internal error: KeyError"},
        {"ok": True},
    ]
    assert "filter.line_failed" in caplog.text
