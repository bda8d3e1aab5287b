"""Numbers as people say them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.ui.words import (
    age,
    ascii_text,
    count,
    cut,
    instant,
    json_lines,
    printable,
    size,
    wrapped,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (-3.0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60.0, "1 min"),
        (3_600.0, "1 h"),
        (200_000.0, "2 d"),
    ],
)
def test_age(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (3_449, "3.4 kB"), (12_000_000, "12.0 MB")],
)
def test_size(number: int, text: str) -> None:
    assert size(number) == text


def test_count() -> None:
    assert (count(1, "peer"), count(0, "peer"), count(2, "peer")) == (
        "1 peer",
        "0 peers",
        "2 peers",
    )


def test_instant() -> None:
    assert instant(1_795_335_302_999) == "2026-11-22 08:15:02Z"


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_any_seq_can_be_shown(seq: int) -> None:
    assert instant(seq).isascii()


@given(st.text())
def test_nothing_a_stranger_wrote_moves_the_cursor(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)


def test_json_is_indented_and_stays_json() -> None:
    value = {"ref": "\x1b[2J", "reason": "A" * 300}
    text = json_lines(json.dumps(value))
    assert json.loads(text) == value
    assert text.splitlines()[1] == '  "ref": "\\u001b[2J",'


@pytest.mark.parametrize("text", ["\x07{", "[" * 100_000])
def test_what_is_no_json_is_shown_as_it_is(text: str) -> None:
    assert json_lines(text) == text.replace("\x07", "?")


def test_signatures_and_public_keys_are_shortened_at_any_depth() -> None:
    long = "A" * 88
    value = {"a": [{"scrub_signature_pqc": long}], "pubkey_ed25519_base64": long, "said": long}
    shown = json.loads(json_lines(json.dumps(value)))
    for text in (shown["a"][0]["scrub_signature_pqc"], shown["pubkey_ed25519_base64"]):
        assert text.endswith("A..")
        assert len(text) < 30
    assert shown["said"] == long


@given(st.text(), st.integers(2, 40))
def test_cut_says_that_it_cut(text: str, chars: int) -> None:
    shown = cut(text, chars)
    assert len(shown) <= chars
    assert (shown == text) or (shown.endswith("..") and text.startswith(shown[:-2]))


@given(st.text())
def test_escaped_text_is_ascii_and_ascii_stays(text: str) -> None:
    shown = ascii_text(text)
    assert shown.isascii()
    assert (shown == text) == text.isascii()


def test_lines_are_wrapped_between_words_and_names_stay_whole() -> None:
    name = "a-very-long-name-" * 6
    text = f"To be signed by {name} as family, 5,412 bytes with one signature:\n  by hand"
    lines = wrapped(text).split("\n")
    assert name in lines
    assert [line for line in lines if len(line) > 80] == [name]
    assert lines[-1] == "  by hand"
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
