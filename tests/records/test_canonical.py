"""V1Python, JCS and compact bytes."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records import canonical
from ciris_mesh.records.canonical import (
    compact,
    jcs,
    jcs_number,
    v1python,
    v1python_for_signing,
    v1python_number,
)
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain, parse_json
from support.golden import vectors
from support.json_values import texts, values

CASES = vectors("canonical_persist_7.2.0")["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["input"])
def test_canonical_vectors(case: dict[str, Any]) -> None:
    value = parse_json(case["input"].encode())
    assert jcs(value).hex() == case["canonicalize_envelope_hex"]
    assert v1python_for_signing(value).hex() == case["canonicalize_envelope_for_signing_hex"]


@pytest.mark.parametrize(
    "sample", vectors("derived_rows_and_v2_jcs")["jcs_samples"], ids=lambda it: it["sha256_jcs"][:8]
)
def test_jcs_samples(sample: dict[str, Any]) -> None:
    assert jcs(from_plain(sample["signed_record"])).hex() == sample["jcs_hex"]


@pytest.mark.parametrize(
    "row", vectors("derived_rows_and_v2_jcs")["derived_v1_rows"], ids=lambda it: it["kind"]
)
def test_v1python_of_rows_as_they_stand(row: dict[str, Any]) -> None:
    value = from_plain(row["row_without_persist_row_hash"])
    assert v1python(value).hex() == row["v1python_hex"]


@pytest.mark.parametrize(
    ("token", "kept"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("0.50", "0.50"),
        ("1.10", "1.10"),
        ("100.0", "100.0"),
        ("1e5", "1e+5"),
        ("1E5", "1e+5"),
        ("1E+05", "1e+05"),
        ("1e05", "1e+05"),
        ("1E-07", "1e-07"),
        ("1e-0", "1e-0"),
        ("-0e0", "-0e+0"),
        ("3.0e0", "3.0e+0"),
        ("-12.340E10", "-12.340e+10"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("1e400", "1e+400"),
    ],
)
def test_v1python_keeps_digits_and_normalizes_the_exponent(token: str, kept: str) -> None:
    assert v1python_number(token) == kept
    assert v1python(parse_json(token.encode())) == kept.encode()


@pytest.mark.parametrize(
    ("token", "spelled"),
    [
        ("0.50", "0.5"),
        ("1e5", "100000"),
        ("1E2", "100"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("9007199254740991", "9007199254740991"),
        ("9007199254740993", "9007199254740992"),
        ("-9007199254740993", "-9007199254740992"),
        ("12345678901234567890123", "1.2345678901234568e+22"),
        ("1e21", "1e+21"),
        ("1e20", "100000000000000000000"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("1e-400", "0"),
        ("0.1000000000000000055511151231257827", "0.1"),
    ],
)
def test_jcs_spells_every_number_as_a_double(token: str, spelled: str) -> None:
    assert jcs_number(JsonNumber(token)) == spelled


@pytest.mark.parametrize("token", ["1e400", "-1e309", "9" * 400])
def test_jcs_refuses_numbers_no_double_can_hold(token: str) -> None:
    with pytest.raises(MalformedRecord, match="value_not_allowed"):
        jcs(parse_json(b'{"a":[' + token.encode() + b"]}"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_jcs_number_reads_back_as_the_same_double(number: float) -> None:
    spelled = jcs_number(JsonNumber(repr(number)))
    assert float(spelled) == number
    assert jcs_number(JsonNumber(spelled)) == spelled


def test_member_order_is_by_code_point_in_v1python_and_by_utf16_in_jcs() -> None:
    value = parse_json('{"\uffff":1,"\U0001f600":2,"z":3,"é":4}'.encode())
    assert v1python(value) == b'{"z":3,"\\u00e9":4,"\\uffff":1,"\\ud83d\\ude00":2}'
    assert jcs(value) == '{"z":3,"é":4,"\U0001f600":2,"\uffff":1}'.encode()


def test_escapes() -> None:
    text = '\x00\x1f\b\t\n\f\r"\\/\x7f\x80é\u2028\U0001f600'
    assert v1python(text) == (
        b'"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\\u007f\\u0080\\u00e9\\u2028\\ud83d\\ude00"'
    )
    raw = '"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\x7f\x80é\u2028\U0001f600"'.encode()
    assert jcs(text) == raw
    assert compact(text) == raw


def test_signature_members_are_left_out_at_the_top_only() -> None:
    value = from_plain({"signature": 1, "signature_pqc": 2, "a": {"signature": 3}})
    assert v1python_for_signing(value) == b'{"a":{"signature":3}}'
    assert v1python_for_signing(["signature"]) == b'["signature"]'


def test_compact_keeps_the_order_and_every_token() -> None:
    text = '{"b":1E5,"a":[1.0,-0,{"é":"\U0001f600"}],"c":{},"d":[]}'.encode()
    assert compact(parse_json(text)) == text


@given(values)
def test_canonical_forms_are_stable_under_reparsing(value: JsonValue) -> None:
    once = v1python(value)
    assert v1python(parse_json(once)) == once
    assert once.isascii()


@given(st.dictionaries(texts, st.booleans() | texts | st.integers(-(2**53) + 1, 2**53 - 1)))
def test_v1python_is_pythons_own_json_where_spelling_cannot_differ(plain: dict[str, Any]) -> None:
    expected = json.dumps(plain, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    assert v1python(from_plain(plain)) == expected.encode()


@given(values)
def test_jcs_is_stable_and_hides_number_spelling(value: JsonValue) -> None:
    try:
        once = jcs(value)
    except MalformedRecord:
        return
    assert jcs(parse_json(once)) == once


@given(st.binary(min_size=8, max_size=8))
def test_jcs_spells_any_double_shortest(bits: bytes) -> None:
    (number,) = struct.unpack(">d", bits)
    if number != number or number in (float("inf"), float("-inf")):
        return
    assert len(jcs_number(JsonNumber(repr(number)))) <= 25


def spelled(value: JsonValue) -> str:
    """Row bytes as their definition says, text by text."""
    match value:
        case JsonNumber(token):
            return v1python_number(token)
        case dict():
            members = [f"{json.dumps(name)}:{spelled(value[name])}" for name in sorted(value)]
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(map(spelled, value))}]"
        case _:
            return json.dumps(value)


@given(values)
def test_rows_and_signed_bytes_are_spelled_as_defined(value: JsonValue) -> None:
    assert v1python(value) == spelled(value).encode()
    try:
        exact = rfc8785.dumps(canonical._doubles(value))
    except rfc8785.CanonicalizationError:
        with pytest.raises(MalformedRecord, match="value_not_allowed"):
            jcs(value)
    else:
        assert jcs(value) == exact


@given(st.text(st.characters(codec="ascii"), min_size=200, max_size=400) | st.text(min_size=257))
def test_long_text_is_quoted_as_any_other(text: str) -> None:
    assert v1python([text, {text: None}]) == spelled([text, {text: None}]).encode()


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60))
def test_every_number_is_spelled_alike_both_ways(number: float) -> None:
    value: JsonValue = [JsonNumber(repr(number))]
    assert v1python(value) == spelled(value).encode()
    assert jcs(value) == rfc8785.dumps(canonical._doubles(value))


def test_an_interrupt_while_numbers_are_spelled_is_one() -> None:
    def interrupted(token: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        canonical._plain([JsonNumber("1")], interrupted)
