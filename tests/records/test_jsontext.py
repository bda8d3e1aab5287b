"""Strict parsing that keeps how numbers were written."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import jsontext
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


def generally(text: bytes, depth_max: int = DEPTH_MAX) -> JsonValue | str:
    """What the standard library makes of it, or how it is refused."""
    try:
        return jsontext._parse(text, depth_max)
    except MalformedRecord as error:
        return str(error)


def quickly(text: bytes, depth_max: int = DEPTH_MAX) -> JsonValue | str:
    try:
        return parse_json(text, depth_max=depth_max)
    except MalformedRecord as error:
        return str(error)


def is_same(one: JsonValue, other: JsonValue) -> bool:
    """Equal, of the same types, and members in the same order: `True` is not 1."""
    return one == other and repr(one) == repr(other)


#: Doubles and integers as `orjson` spells them and as it does not, at the borders of both.
plain_numbers = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**65), 2**65)
    | st.sampled_from([0.0, -0.0, 1e16, 1e-7, 5e-324, 2**63, 2**64 - 1, 2**64, -(2**63)])
)
plain_values = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | plain_numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(values)
def test_both_ways_of_reading_say_the_same_of_any_value(value: JsonValue) -> None:
    text = compact(value)
    assert is_same(quickly(text), generally(text))


@given(plain_values, st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_both_say_the_same_of_what_python_writes(
    value: object, ensure_ascii: bool, separators: tuple[str, str]
) -> None:
    written = json.dumps(value, ensure_ascii=ensure_ascii, separators=separators)
    text = written.encode("utf-8", "surrogatepass")
    assert is_same(quickly(text), generally(text))


@given(plain_values)
def test_both_say_the_same_of_what_orjson_writes(value: object) -> None:
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError:
        return
    assert is_same(quickly(text), generally(text))


_PIECES = [
    *(b"{", b"}", b"[", b"]", b",", b":", b" ", b'"', b'"a"', b'"a":', b'"b":', b"\\", b"\\u00"),
    *(b"0", b"-", b"1", b".", b"e", b"E", b"+", b"-0", b"1.0", b"1e5", b"18446744073709551615"),
    *(b"null", b"true", b"NaN", b"\x7f", b"\xc3\xa9", b"\xed\xa0\x80", b"\\ud800", b"\n", b"\x00"),
]


@given(st.lists(st.sampled_from(_PIECES), max_size=12), st.integers(0, 4))
def test_both_say_the_same_of_anything(pieces: list[bytes], depth_max: int) -> None:
    text = b"".join(pieces)
    assert is_same(quickly(text, depth_max), generally(text, depth_max))


@given(st.lists(st.sampled_from([b'"a":1', b'"a":2', b'"b":"x"', b'"c":[]', b'"d":{}'])))
def test_both_say_the_same_of_members_that_may_come_twice(members: list[bytes]) -> None:
    text = b"{" + b",".join(members) + b"}"
    assert is_same(quickly(text), generally(text))


def test_what_orjson_writes_is_read_without_the_standard_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(text: bytes, depth_max: int) -> JsonValue:
        raise AssertionError(text)

    monkeypatch.setattr(jsontext, "_parse", refuse)
    assert parse_json(b'{"a":[1.5,-7,"x",null,true,{}]}') == {
        "a": [JsonNumber("1.5"), JsonNumber("-7"), "x", None, True, {}]
    }


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
