"""The one spelling of values: each short way says what the rule says."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.envelope import decode_base64, piped
from ciris_mesh.records.jsontext import JsonNumber, JsonValue
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.spelling import columns_problem, difference, is_canonical_base64
from support.json_values import objects

K = EnvelopeKind
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@pytest.mark.parametrize("padding", ["", "=", "=="])
@given(before=st.binary(max_size=6), last=st.text(_ALPHABET, min_size=4, max_size=4))
def test_base64_is_canonical_when_encoding_it_again_changes_nothing(
    before: bytes, last: str, padding: str
) -> None:
    whole = b2a_base64(before + bytes(-len(before) % 3), newline=False).decode()
    text = whole + last[: 4 - len(padding)] + padding
    again = b2a_base64(a2b_base64(text, strict_mode=True), newline=False).decode()
    assert is_canonical_base64(text) is (again == text)


def test_every_last_character_of_base64_is_known() -> None:
    for padding, head in (("=", "QU"), ("==", "Q")):
        texts = [head + last + padding for last in _ALPHABET]
        canonical = {b2a_base64(decode_base64(it), newline=False).decode() for it in texts}
        assert {it for it in texts if is_canonical_base64(it)} == canonical
    assert is_canonical_base64("")


@given(objects, objects)
def test_equal_members_differ_in_nothing(one: dict[str, JsonValue], other: JsonValue) -> None:
    spec = KINDS[K.FAMILY]
    assert difference(spec, one, dict(one)) is None
    if other != one and isinstance(other, dict):
        assert difference(spec, one, other) is not None


def test_a_record_that_lacks_its_row_hash_alone_differs_in_nothing() -> None:
    spec = KINDS[K.FAMILY]
    assert difference(spec, {"a": "b"}, {"a": "b", "persist_row_hash": ""}) is None
    assert difference(spec, {"a": "b", "persist_row_hash": "c"}, {"a": "b"}) is not None


def test_a_number_is_named_by_where_it_stands() -> None:
    number: JsonValue = {"a": {"b": [None, {"c": [JsonNumber("1.0")]}]}}
    problem = columns_problem(KINDS[K.ATTESTATION], {"attestation_envelope": number})
    assert problem == "attestation_envelope.a.b.c: 1.0 is not how JCS spells that number"


@given(st.lists(st.text("ab|\\", max_size=6), min_size=1, max_size=4))
def test_values_joined_by_pipes_can_be_told_apart(values: list[str]) -> None:
    escaped = (it.replace("\\", "\\\\").replace("|", "\\|") for it in values)
    assert piped(values) == "|".join(escaped)
