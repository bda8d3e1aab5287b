"""Row hashes and envelope ids against golden rows, and the rules behind them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.canonical import v1python
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain, parse_json
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.rows import (
    as_persisted,
    envelope_id,
    original_content_hash,
    original_content_hash_v1python,
    persist_row_hash,
    rust_float,
)
from support.golden import vectors

EDGE_CASES = vectors("row_hash_edge_cases_persist_4.15.0")["cases"]
ATTESTATION = EnvelopeKind.ATTESTATION
KEY = EnvelopeKind.KEY


def parse_object(text: str | bytes) -> dict[str, JsonValue]:
    value = parse_json(text.encode() if isinstance(text, str) else text)
    assert isinstance(value, dict)
    return value


def plain_object(value: Any) -> dict[str, JsonValue]:
    converted = from_plain(value)
    assert isinstance(converted, dict)
    return converted


# -- golden rows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", vectors("records_persist_4.15.0")["records"], ids=lambda case: case["persist_row_hash"]
)
def test_rows_of_persist_4_15_0(case: dict[str, Any]) -> None:
    kind, row = EnvelopeKind(case["kind"]), plain_object(case["row"])
    assert persist_row_hash(kind, row) == case["persist_row_hash"]
    assert as_persisted(kind, row) == row
    del row["persist_row_hash"]
    assert v1python(row).hex() == case["canonical_hex"]


@pytest.mark.parametrize("which", ["input_row_text", "stored_row_text"])
@pytest.mark.parametrize(
    "case", [case for case in EDGE_CASES if "input_row_text" in case], ids=lambda it: it["name"]
)
def test_edge_rows_hash_alike_as_written_and_as_stored(case: dict[str, Any], which: str) -> None:
    assert persist_row_hash(KEY, parse_object(case[which])) == case["persist_row_hash"]


@pytest.mark.parametrize(
    "case", [case for case in EDGE_CASES if "weight_lexeme" in case], ids=lambda it: it["name"]
)
def test_edge_weights(case: dict[str, Any]) -> None:
    row = plain_object(case["stored_row"])
    assert persist_row_hash(ATTESTATION, row) == case["persist_row_hash"]
    assert as_persisted(ATTESTATION, row)["weight"] == JsonNumber(case["weight_lexeme"])


@pytest.mark.parametrize(
    "case", vectors("records_admitted_by_edge_13.15.0")["records"], ids=lambda it: it["kind"]
)
def test_records_delivered_to_edge_13_15_0(case: dict[str, Any]) -> None:
    kind = EnvelopeKind(case["kind"])
    wrapper = parse_object(case["envelope_bytes_utf8"])
    assert envelope_id(kind, wrapper).hex() == case["persist_row_hash"]


@pytest.mark.parametrize(
    "case", vectors("derived_rows_and_v2_jcs")["derived_v1_rows"], ids=lambda it: it["kind"]
)
def test_derived_rows(case: dict[str, Any]) -> None:
    kind = EnvelopeKind(case["kind"])
    row = plain_object(case["row_without_persist_row_hash"])
    assert persist_row_hash(kind, row) == case["persist_row_hash_by_rule"]


@pytest.mark.parametrize(
    "example", vectors("worked_examples")["examples"], ids=lambda it: it["kind"]
)
def test_worked_examples(example: dict[str, Any]) -> None:
    kind = EnvelopeKind(example["kind"])
    wrapper = parse_object(example["wire"])
    record = wrapper[KINDS[kind].wrapper_field]
    assert isinstance(record, dict)
    assert persist_row_hash(kind, record) == example["persist_row_hash"]
    assert record["persist_row_hash"] == example["persist_row_hash"]
    assert envelope_id(kind, wrapper).hex() == example["envelope_id"]
    assert as_persisted(kind, record) == record
    if "original_content_hash" in record:
        inner = record[KINDS[kind].envelope_field or ""]
        assert original_content_hash(inner) == record["original_content_hash"]
        assert original_content_hash_v1python(inner) == record["original_content_hash"]


def test_worked_examples_cover_every_kind() -> None:
    assert [it["kind"] for it in vectors("worked_examples")["examples"]] == list(EnvelopeKind)


@pytest.mark.parametrize(
    "case", vectors("worked_examples")["confirmed_rows"], ids=lambda it: it["kind"]
)
def test_other_confirmed_rows(case: dict[str, Any]) -> None:
    row = plain_object(case["record"])
    assert persist_row_hash(EnvelopeKind(case["kind"]), row) == case["persist_row_hash"]


# -- the typed view -----------------------------------------------------------------------------


def key_row(**changes: Any) -> dict[str, JsonValue]:
    text = next(it["wire"] for it in vectors("worked_examples")["examples"] if it["kind"] == "key")
    record = parse_object(text)["record"]
    assert isinstance(record, dict)
    return {**record, **plain_object(changes)}


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1, "another": {"deep": [1]}},
        {"persist_row_hash": "wrong"},
        {"valid_from": "2026-06-10T14:00:00.1234560+02:00"},
        {"scrub_timestamp": "2026-06-10t12:00:00.000z"},
    ],
    ids=["unknown members", "sent hash", "offset and zeros", "small letters"],
)
def test_what_a_typed_row_forgets_does_not_enter_the_hash(changes: dict[str, Any]) -> None:
    assert persist_row_hash(KEY, key_row(**changes)) == persist_row_hash(KEY, key_row())


def test_what_was_serialized_is_hashed_but_is_not_the_one_spelling() -> None:
    nulls = key_row(valid_until=None, attestation_evidence=None)
    assert persist_row_hash(KEY, nulls) != persist_row_hash(KEY, key_row())
    assert as_persisted(KEY, nulls) == key_row() != nulls


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_until": "2027-01-01T00:00:00Z"},
        {"roles": ["witness"]},
        {"valid_from": "2026-06-10T12:00:00.123457Z"},
        {"registration_envelope": None},
        {"registration_envelope": {"n": JsonNumber("1.0")}},
        {"scrub_signature_classical": ""},
    ],
    ids=lambda it: next(iter(it)),
)
def test_what_a_typed_row_holds_enters_the_hash(changes: dict[str, Any]) -> None:
    assert persist_row_hash(KEY, key_row(**changes)) != persist_row_hash(KEY, key_row())


def test_materialized_defaults_are_written_when_absent() -> None:
    bare = key_row()
    del bare["roles"], bare["persist_row_hash"]
    row = as_persisted(KEY, bare)
    assert (row["roles"], row["persist_row_hash"]) == ([], "")
    assert persist_row_hash(KEY, bare) == persist_row_hash(KEY, key_row())

    family = as_persisted(EnvelopeKind.FAMILY, {"family_name": "x"})
    assert family["consensus_protocol_entrenched"] is False


def test_omitted_defaults_are_left_out_and_other_values_kept() -> None:
    defaults = plain_object({"cohort_scope": "federation", "tier": "federation"})
    assert as_persisted(ATTESTATION, {**defaults, "subject_key_ids": []}).keys() == {
        "persist_row_hash"
    }
    others = plain_object({"cohort_scope": "self", "tier": "local", "subject_key_ids": ["a"]})
    assert others.items() <= as_persisted(ATTESTATION, others).items()

    revocation = EnvelopeKind.REVOCATION
    assert "observed_region" not in as_persisted(revocation, {"observed_region": "us"})
    assert "observed_region" in as_persisted(revocation, {"observed_region": "eu"})


def test_members_keep_three_members_and_their_order() -> None:
    record = plain_object(
        {
            "members": [
                {"role": None, "key_id": "b", "joined_at": "2026-06-10T14:00:00+02:00", "x": 1},
                {"key_id": "a", "joined_at": "2026-06-10T12:00:00.0Z", "role": "founder"},
            ]
        }
    )
    assert (
        as_persisted(EnvelopeKind.FAMILY, record)["members"]
        == plain_object(
            {
                "m": [
                    {"key_id": "b", "joined_at": "2026-06-10T12:00:00Z"},
                    {"key_id": "a", "joined_at": "2026-06-10T12:00:00Z", "role": "founder"},
                ]
            }
        )["m"]
    )


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (ATTESTATION, {"weight": "heavy", "asserted_at": "yesterday", "tier": 5}),
        (ATTESTATION, {"weight": JsonNumber("1e999"), "subject_key_ids": None}),
        (KEY, {"roles": None, "valid_from": 7}),
        (EnvelopeKind.FAMILY, {"members": "none", "founded_at": ["x"]}),
        (EnvelopeKind.FAMILY, {"members": [1, {"joined_at": 3}, {"joined_at": "?"}]}),
    ],
)
def test_what_does_not_fit_its_type_is_hashed_as_it_stands(
    kind: EnvelopeKind, record: dict[str, Any]
) -> None:
    given_row = plain_object(record)
    row = as_persisted(kind, given_row)
    assert given_row.items() <= row.items()
    row.pop("persist_row_hash")
    assert persist_row_hash(kind, given_row) == persist_row_hash(kind, row)


# -- ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [{}, {"record": 1}, {"record": None}, {"attestation": {}}])
def test_a_wrapper_without_its_record_has_no_id(wrapper: dict[str, Any]) -> None:
    with pytest.raises(MalformedRecord, match="wrong_wrapper"):
        envelope_id(KEY, plain_object(wrapper))


def test_ids_of_kinds_4_to_10_ignore_what_stands_beside_the_record() -> None:
    kind = EnvelopeKind.FAMILY
    family = plain_object({"family": {"family_name": "x"}})
    signed = {**family, "authority": plain_object({"a": [1]})["a"]}
    assert envelope_id(kind, family) == envelope_id(kind, signed)


def test_ids_of_kinds_11_to_13_cover_the_whole_wrapper() -> None:
    kind = EnvelopeKind.PARTNER_RECORD
    one = plain_object({"partner_record": {}, "threshold": 1})
    other = plain_object({"partner_record": {}, "threshold": 2})
    assert envelope_id(kind, one) != envelope_id(kind, other)


def test_content_hashes_differ_where_the_canonicalizers_do() -> None:
    inner = plain_object({"name": "é"})
    assert original_content_hash(inner) != original_content_hash_v1python(inner)


# -- typed floats -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "spelled"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.0, "-1.0"),
        (0.5, "0.5"),
        (0.1, "0.1"),
        (100.0, "100.0"),
        (123456.789, "123456.789"),
        (1e15, "1000000000000000.0"),
        (9999999999999998.0, "9999999999999998.0"),
        (1e16, "1e+16"),
        (1.5e16, "1.5e+16"),
        (12345678901234568.0, "1.2345678901234568e+16"),
        (1e100, "1e+100"),
        (0.0001, "0.0001"),
        (0.00001, "0.00001"),
        (0.000012, "0.000012"),
        (0.000001, "1e-6"),
        (0.0000012, "1.2e-6"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)
def test_rust_spelling(number: float, spelled: str) -> None:
    assert rust_float(number) == spelled


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rust_spelling_reads_back_bit_for_bit(number: float) -> None:
    spelled = rust_float(number)
    assert struct.pack(">d", float(spelled)) == struct.pack(">d", number)
    assert v1python(JsonNumber(spelled)) == spelled.encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_have_no_spelling(number: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        rust_float(number)


@pytest.mark.parametrize(
    ("token", "spelled"),
    [("1", "1.0"), ("1e0", "1.0"), ("1E16", "1e+16"), ("0.10", "0.1"), ("10e-8", "1e-7")],
)
def test_a_weight_is_hashed_as_a_double(token: str, spelled: str) -> None:
    row = as_persisted(ATTESTATION, {"weight": JsonNumber(token)})
    assert row["weight"] == JsonNumber(spelled)
