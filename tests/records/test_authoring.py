"""From columns to envelopes that pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.authoring import (
    Draft,
    assemble,
    author,
    author_key,
    draft,
    measure,
)
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.outcome import Outcome
from support.keys import alice, bob, lookup
from support.records import AT_MS, columns, sample

K = EnvelopeKind
ALL = list(K)


def record_of(kind: EnvelopeKind, raw: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(raw)[KINDS[kind].wrapper_field]
    return record


def with_columns(kind: EnvelopeKind, **changes: Any) -> bytes:
    given = {**columns(kind, alice().key_id, 1), **changes}
    return author(kind, given, alice(), at_ms=AT_MS)


@pytest.mark.parametrize("kind", ALL)
def test_members_stand_in_the_order_of_the_table(kind: EnvelopeKind) -> None:
    order = [column.name for column in KINDS[kind].fields]
    names = list(record_of(kind, sample(kind, alice())))
    assert names == [name for name in order if name in names]


@pytest.mark.parametrize("kind", ALL)
def test_the_wire_text_is_compact_and_raw(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice())
    compact = json.dumps(json.loads(raw), separators=(",", ":"), ensure_ascii=False)
    assert raw.decode("utf-8") == compact


@pytest.mark.parametrize("kind", ALL)
def test_a_draft_is_deterministic_and_its_ids_follow_the_content(kind: EnvelopeKind) -> None:
    given = {**columns(kind, alice().key_id, 1), "founded_at": None}
    one, same = (draft(kind, given, alice(), at_ms=AT_MS) for _ in range(2))
    later = draft(kind, given, alice(), at_ms=AT_MS + 1)
    assert one == same
    assert one.message != later.message
    for name in ("attestation_id", "revocation_id"):
        if name in one.record:
            assert one.record[name] != later.record[name]


@pytest.mark.parametrize("kind", ALL)
def test_samples_differ_by_number_and_signer(kind: EnvelopeKind) -> None:
    raws = [sample(kind, signer, n) for signer in (alice(), bob()) for n in (0, 1)]
    assert len({parse_envelope(kind, raw).envelope_id for raw in raws}) == 4


def test_left_out_times_are_when_it_was_said() -> None:
    record = record_of(K.REVOCATION, with_columns(K.REVOCATION))
    said = "2026-05-28T20:26:40Z"
    for name in ("revoked_at", "effective_at", "scrub_timestamp"):
        assert record[name] == said
        assert record["revocation_envelope"][name] == "2026-05-28T20:26:40.000Z"


def test_given_times_are_normalized() -> None:
    raw = with_columns(K.ATTESTATION, asserted_at="2026-05-28T22:26:40.50+02:00")
    record = record_of(K.ATTESTATION, raw)
    assert record["asserted_at"] == "2026-05-28T20:26:40.500Z"
    assert record["attestation_envelope"]["asserted_at"] == "2026-05-28T20:26:40.500Z"


def test_extra_members_of_the_signed_envelope_stay_and_columns_win() -> None:
    raw = with_columns(
        K.ATTESTATION,
        attestation_envelope={"dimension": "d", "n": 1.50, "attestation_type": "forged"},
    )
    inner = record_of(K.ATTESTATION, raw)["attestation_envelope"]
    assert (inner["dimension"], inner["n"]) == ("d", 1.5)
    assert inner["attestation_type"] == "scores"
    assert inner["record_kind"] == "attestation"


def test_sets_are_sorted_and_deduplicated() -> None:
    raw = with_columns(K.ATTESTATION, subject_key_ids=("b", "\uffff", "a", "\U0001f600", "a"))
    assert record_of(K.ATTESTATION, raw)["subject_key_ids"] == ["a", "b", "\U0001f600", "\uffff"]


def test_defaults_and_nulls_are_left_out() -> None:
    raw = with_columns(
        K.ATTESTATION, cohort_scope="federation", tier="federation", expires_at=None, weight=None
    )
    names = record_of(K.ATTESTATION, raw).keys()
    assert not names & {"cohort_scope", "tier", "expires_at", "weight", "subject_key_ids"}


@pytest.mark.parametrize(
    ("weight", "column", "signed"),
    [
        (1.0, "1.0", "1"),
        (1, "1.0", "1"),
        (1e16, "1e+16", "10000000000000000"),
        (0.25, "0.25", "0.25"),
    ],
)
def test_a_weight_has_one_spelling_in_each_place(weight: float, column: str, signed: str) -> None:
    record = parse_envelope(K.ATTESTATION, with_columns(K.ATTESTATION, weight=weight)).record
    inner: Any = record["attestation_envelope"]
    assert record["weight"] == JsonNumber(column)
    assert inner["weight"] == JsonNumber(signed)


def test_evidence_may_be_given_as_bytes() -> None:
    raw = with_columns(K.LOCATION_PROOF, attestation_evidence=b"\x00\xff")
    assert record_of(K.LOCATION_PROOF, raw)["attestation_evidence"] == [0, 255]


def test_a_key_signs_itself() -> None:
    raw = author_key(alice(), identity_type="steward", identity_ref="x", at_ms=AT_MS)
    record = record_of(K.KEY, raw)
    assert record["key_id"] == record["scrub_key_id"] == alice().key_id
    assert record["identity_type"] == "steward"
    assert record["valid_from"] == "2026-05-28T20:26:40Z"
    assert record["roles"] == []


@pytest.mark.parametrize("kind", [K.COMMUNITY, K.PARTNER_RECORD])
def test_cosigners_are_listed_in_order_once(kind: EnvelopeKind) -> None:
    raw = author(
        kind, columns(kind, "x", 1), bob(), at_ms=AT_MS, cosigners=[alice(), bob(), alice()]
    )
    assert list(parse_envelope(kind, raw).signers) == sorted([alice().key_id, bob().key_id])
    assert verify_bytes(kind, raw, lookup).verdict.outcome is Outcome.ADMITTED


@pytest.mark.parametrize("kind", ALL)
def test_only_some_kinds_can_be_cosigned(kind: EnvelopeKind) -> None:
    if KINDS[kind].style in (SignatureStyle.AUTHORITY, SignatureStyle.STEWARDS):
        return
    with pytest.raises(MalformedRecord, match="exactly one signer"):
        author(kind, columns(kind, "x", 1), alice(), at_ms=AT_MS, cosigners=[bob()])


def test_the_threshold_is_the_number_of_signers_unless_given() -> None:
    given = columns(K.PARTNER_RECORD, "x", 1)
    both = author(K.PARTNER_RECORD, given, alice(), at_ms=AT_MS, cosigners=[bob()])
    assert json.loads(both)["threshold"] == 2
    one = author(K.PARTNER_RECORD, given, alice(), at_ms=AT_MS, cosigners=[bob()], threshold=1)
    assert json.loads(one)["threshold"] == 1


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (K.ATTESTATION, {"colour": "red"}, "unknown_member"),
        (K.ATTESTATION, {"attested_key_id": None}, "missing_member"),
        (K.ATTESTATION, {"attested_key_id": 5}, "wrong_type"),
        (K.ATTESTATION, {"tier": "galactic"}, "value_not_allowed"),
        (K.ATTESTATION, {"weight": float("nan")}, "value_not_allowed"),
        (K.ATTESTATION, {"attestation_envelope": {"n": 2**60}}, "value_not_allowed"),
        (K.ATTESTATION, {"attestation_envelope": [1]}, "wrong_type"),
        (K.ATTESTATION, {"attestation_envelope": {"x": JsonNumber("1.50")}}, "not_one_spelling"),
        (K.ATTESTATION, {"asserted_at": "2026-05-28T20:26:40.0001Z"}, "value_not_allowed"),
        (K.ATTESTATION, {"asserted_at": "yesterday"}, "wrong_type"),
        (K.ATTESTATION, {"attested_key_id": "\ud800"}, "value_not_allowed"),
        (K.ATTESTATION, {"subject_key_ids": "bob"}, "wrong_type"),
        (K.ATTESTATION, {"attestation_envelope": {"x": "y" * 70_000}}, "too_large"),
        (K.FAMILY, {"members": "everyone"}, "wrong_type"),
        (K.FAMILY, {"founded_at": "yesterday"}, "wrong_type"),
        (K.LOCATION_PROOF, {"cell_resolution": -1}, "wrong_type"),
        (K.IDENTITY_OCCURRENCE, {"device_class": "toaster"}, "value_not_allowed"),
    ],
)
def test_bad_columns_are_refused_by_name(
    kind: EnvelopeKind, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MalformedRecord) as caught:
        with_columns(kind, **changes)
    assert caught.value.reason == reason


@pytest.mark.parametrize("kind", [it for it in ALL if KINDS[it].number >= 4])
def test_a_family_time_may_be_finer_than_a_millisecond(kind: EnvelopeKind) -> None:
    fine = {KINDS[kind].seq_field: "2026-05-28T20:26:40.123456Z"}
    if KINDS[kind].envelope_field is None:
        record = record_of(kind, with_columns(kind, **fine))
        assert record[KINDS[kind].seq_field] == "2026-05-28T20:26:40.123456Z"
    else:
        with pytest.raises(MalformedRecord, match="finer than a millisecond"):
            with_columns(kind, **fine)


def test_an_assembled_envelope_holds_the_signatures_given() -> None:
    prepared = draft(K.FAMILY, columns(K.FAMILY, "x", 1), alice(), at_ms=AT_MS)
    signature = alice().sign(prepared.message)
    envelope = parse_envelope(K.FAMILY, assemble(prepared, {alice().key_id: signature}))
    assert envelope.claims[0].signature == signature


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_the_size_is_known_before_anybody_signs(kind: EnvelopeKind) -> None:
    prepared = draft(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)
    raw = author(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)
    assert measure(prepared, [alice().key_id]) == len(raw)


def test_what_author_refuses_is_refused_before_anybody_signs() -> None:
    kind = EnvelopeKind.FAMILY
    prepared = draft(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)
    wide = {**prepared.record, "family_name": "x" * 70_000}
    unknown = {**prepared.record, "members": [{"key_id": "a"}]}
    for record, reason in ((wide, "too_large"), (unknown, "wrong_type")):
        with pytest.raises(MalformedRecord, match=reason):
            measure(Draft(kind, from_plain_record(record), b""), [alice().key_id])


def test_a_draft_whose_envelope_does_not_bind_it_is_refused() -> None:
    kind = EnvelopeKind.ORGANIZATION
    prepared = draft(kind, columns(kind, alice().key_id, 1), alice(), at_ms=AT_MS)
    record = from_plain_record({**prepared.record, "name": "Other"})
    with pytest.raises(MalformedRecord, match="columns_not_signed"):
        measure(Draft(kind, record, prepared.message), [alice().key_id])


def from_plain_record(record: Mapping[str, Any]) -> dict[str, JsonValue]:
    typed = from_plain(record)
    assert isinstance(typed, dict)
    return typed
