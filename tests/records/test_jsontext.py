"""Strict parsing that keeps how numbers were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.jsontext import (
    DEPTH_MAX,
    JsonNumber,
    JsonValue,
    from_plain,
    parse_json,
    to_plain,
)
from support.json_values import number_tokens, values


def reason_of(text: bytes) -> str:
    with pytest.raises(MalformedRecord) as caught:
        parse_json(text)
    return caught.value.reason


@given(values)
def test_compact_text_parses_back_to_the_same_tokens(value: JsonValue) -> None:
    assert parse_json(compact(value)) == value


@given(number_tokens)
def test_a_number_keeps_its_spelling(token: str) -> None:
    assert parse_json(token.encode()) == JsonNumber(token)


def test_numbers_are_equal_by_spelling() -> None:
    assert JsonNumber("1.0") != JsonNumber("1")
    assert JsonNumber("1.0") == JsonNumber("1.0")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"[1] x",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"01",
        b"-01",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"1e+",
        b"-",
        b"0x10",
        b"1_000",
        b"'a'",
        b'"\n"',
        b'"\x00"',
        b'"\\x41"',
        b'"\\u12"',
        b'"\\u+123"',
        b'"\\u 123"',
        b'"open',
        b'"open\\',
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\udfff":1}',
        b'["\\uD83D"]',
        "[\u0661]".encode(),
        "[1\u00a0]".encode(),
        b"[1]\x00",
        b"// c\n1",
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    assert reason_of(text) == "not_json"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\uD83D\\uDE00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'"\x7f"', "\x7f"),
        (b' \t\r\n{"a" : [ ] }\n', {"a": []}),
        (b'"\\/"', "/"),
        (b'{"":null}', {"": None}),
    ],
)
def test_unusual_but_valid_text_is_read(text: bytes, value: JsonValue) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize(
    "text", [b'{"a":1,"a":1}', b'[{"a":{"b":1,"\\u0062":2}}]', b'{"a":null,"b":0,"a":null}']
)
def test_a_repeated_member_is_refused(text: bytes) -> None:
    assert reason_of(text) == "duplicate_member"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_is_bounded_exactly(opening: bytes, closing: bytes) -> None:
    deepest = opening * DEPTH_MAX + b"1" + closing * DEPTH_MAX
    assert parse_json(deepest) is not None
    assert reason_of(opening + deepest + closing) == "too_deep"
    assert parse_json(opening + deepest + closing, depth_max=DEPTH_MAX + 1) is not None


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
        b"[[]," * 100 + b"[" * 1_000_000,
        b'["]",' * 1_000_000,
    ],
    ids=["arrays", "objects", "after shallow ones", "closing brackets in strings"],
)
def test_megabytes_of_brackets_are_refused_and_do_not_recurse(text: bytes) -> None:
    assert reason_of(text) == "too_deep"


def test_brackets_in_strings_are_not_nesting() -> None:
    text = json.dumps(["[" * 5000, '"[{\\' * 5000, {"{" * 5000: 1}]).encode()
    assert to_plain(parse_json(text)) == json.loads(text)


def test_many_shallow_brackets_are_fine() -> None:
    assert parse_json(b"[" + b"[],{}," * 5000 + b"0]") is not None


def test_escaped_quotes_in_an_open_string_are_scanned_once() -> None:
    # Were each escaped quote tried as a new string, this would take minutes.
    assert reason_of(b"[" * 40 + b"{" * 40 + b'"' + b'\\"' * 1_000_000) == "too_deep"
    assert reason_of(b"[" * 10 + b"]" * 80 + b'"' + b'\\"' * 1_000_000) == "not_json"


@given(st.binary(max_size=60))
def test_arbitrary_bytes_parse_or_are_refused_by_name(data: bytes) -> None:
    try:
        value = parse_json(data)
    except MalformedRecord as error:
        reason = error.reason
    else:
        reason = ""
        assert parse_json(compact(value)) == value
    assert reason in ("", "not_json", "too_deep", "duplicate_member")


@given(st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b",", b"1", b'"a":'])))
def test_depth_is_judged_before_parsing(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    try:
        value = parse_json(text, depth_max=3)
    except MalformedRecord:
        return
    assert _depth(value) <= 3


def _depth(value: JsonValue) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0


@pytest.mark.parametrize(
    ("plain", "token"),
    [
        (0, "0"),
        (-7, "-7"),
        (2**53 - 1, "9007199254740991"),
        (1.0, "1"),
        (0.5, "0.5"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (0.00001, "0.00001"),
        (-0.0, "0"),
    ],
)
def test_plain_numbers_enter_with_their_jcs_spelling(plain: float, token: str) -> None:
    assert from_plain(plain) == JsonNumber(token)


def test_plain_containers_and_token_values_mix() -> None:
    plain = {"a": (1, [True, None, "x"]), "b": JsonNumber("1.50")}
    assert from_plain(plain) == {
        "a": [JsonNumber("1"), [True, None, "x"]],
        "b": JsonNumber("1.50"),
    }


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (2**53, "value_not_allowed"),
        (-(2**53), "value_not_allowed"),
        (float("nan"), "value_not_allowed"),
        (float("inf"), "value_not_allowed"),
        ("\ud800", "value_not_allowed"),
        ({"\udfff": 1}, "value_not_allowed"),
        (b"bytes", "wrong_type"),
        ({1: 2}, "wrong_type"),
        ([object()], "wrong_type"),
    ],
)
def test_what_json_cannot_hold_exactly_is_refused(plain: object, reason: str) -> None:
    with pytest.raises(MalformedRecord) as caught:
        from_plain(plain)
    assert caught.value.reason == reason


def test_to_plain_keeps_integers_exact() -> None:
    assert to_plain(parse_json(b'{"a":[18446744073709551617,-3,1.5,1e2]}')) == {
        "a": [18446744073709551617, -3, 1.5, 100.0]
    }


def test_to_plain_keeps_what_fits_no_number_as_text() -> None:
    assert to_plain(JsonNumber("1e400")) == "1e400"
    assert to_plain(JsonNumber("9" * 5000)) == "9" * 5000
    assert to_plain(JsonNumber("-" + "9" * 150)) == -1e150
