"""What is signed, and that the signed envelope repeats every column."""

from __future__ import annotations

from typing import Any

import pytest

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.canonical import jcs
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, Presence, SignatureStyle
from ciris_mesh.records.signing import (
    authority_message,
    mirror,
    mirror_problem,
    mirrored_columns,
    signed_message,
)
from support.keys import alice
from support.records import sample

K = EnvelopeKind
MIRRORING = [kind for kind in K if KINDS[kind].envelope_field is not None]
ROW_SIGNING = [kind for kind in K if KINDS[kind].style is SignatureStyle.AUTHORITY]

NEVER_SIGNED = {
    "persist_row_hash",
    "original_content_hash",
    "scrub_signature_classical",
    "scrub_signature_pqc",
    "ed25519_signature_base64",
    "mldsa65_signature_base64",
}


def record_of(kind: EnvelopeKind) -> dict[str, Any]:
    return dict(parse_envelope(kind, sample(kind, alice())).record)


def inner_of(kind: EnvelopeKind, record: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = record[KINDS[kind].envelope_field or ""]
    return inner


def with_inner(kind: EnvelopeKind, **changes: Any) -> dict[str, JsonValue]:
    record = record_of(kind)
    tokens: Any = from_plain(changes)
    return {**record, KINDS[kind].envelope_field or "": {**inner_of(kind, record), **tokens}}


def without_inner(kind: EnvelopeKind, name: str) -> dict[str, JsonValue]:
    record = record_of(kind)
    inner = {key: value for key, value in inner_of(kind, record).items() if key != name}
    return {**record, KINDS[kind].envelope_field or "": inner}


def test_the_two_ways_to_sign_cover_all_kinds() -> None:
    assert len(MIRRORING) == 6
    assert len(ROW_SIGNING) == 7
    assert [KINDS[kind].number for kind in ROW_SIGNING] == list(range(4, 11))


def test_the_authority_message_is_domain_kind_and_row_hash() -> None:
    row_hash = bytes(range(32))
    assert authority_message(K.FAMILY, row_hash) == (
        b"ciris-mesh/record/v1\x00family\x00" + row_hash
    )


@pytest.mark.parametrize("kind", ROW_SIGNING)
def test_kinds_4_to_10_sign_their_row_hash(kind: EnvelopeKind) -> None:
    envelope = parse_envelope(kind, sample(kind, alice()))
    message = signed_message(kind, envelope.record, envelope.row_hash)
    assert message == authority_message(kind, envelope.row_hash)
    assert mirrored_columns(KINDS[kind]) == ()
    assert mirror_problem(kind, envelope.record) is None


@pytest.mark.parametrize("kind", MIRRORING)
def test_other_kinds_sign_the_jcs_bytes_of_their_envelope(kind: EnvelopeKind) -> None:
    record = record_of(kind)
    assert signed_message(kind, record, bytes(32)) == jcs(inner_of(kind, record))


@pytest.mark.parametrize("kind", MIRRORING)
def test_a_record_without_its_envelope_cannot_be_signed(kind: EnvelopeKind) -> None:
    with pytest.raises(MalformedRecord, match="missing_member"):
        signed_message(kind, {}, bytes(32))


@pytest.mark.parametrize("kind", MIRRORING)
def test_every_column_but_those_about_the_signature_is_mirrored(kind: EnvelopeKind) -> None:
    spec = KINDS[kind]
    names = {column.name for column in mirrored_columns(spec)}
    everything = {column.name for column in spec.fields}
    assert names == everything - NEVER_SIGNED - {spec.envelope_field}


@pytest.mark.parametrize("kind", MIRRORING)
def test_an_authored_record_is_fully_mirrored(kind: EnvelopeKind) -> None:
    record = record_of(kind)
    assert mirror_problem(kind, record) is None
    assert mirror(kind, record).items() <= inner_of(kind, record).items()
    assert inner_of(kind, record)["record_kind"] == kind.value


@pytest.mark.parametrize("kind", MIRRORING)
def test_each_present_column_must_be_in_the_envelope_and_equal(kind: EnvelopeKind) -> None:
    record = record_of(kind)
    for column in mirrored_columns(KINDS[kind]):
        if column.name in record:
            left_out = mirror_problem(kind, without_inner(kind, column.name))
            assert left_out == f"{column.name} is not signed"
            other = mirror_problem(kind, with_inner(kind, **{column.name: "something else"}))
            assert other == f"{column.name} differs"


@pytest.mark.parametrize("kind", MIRRORING)
def test_each_absent_column_must_be_absent_or_default(kind: EnvelopeKind) -> None:
    record = record_of(kind)
    absent = [it for it in mirrored_columns(KINDS[kind]) if it.name not in record]
    for column in absent:
        problem = mirror_problem(kind, with_inner(kind, **{column.name: "x"}))
        assert problem == f"{column.name} is signed but absent from the row"
        null = mirror_problem(kind, with_inner(kind, **{column.name: None}))
        assert null == f"{column.name} is signed but absent from the row"
        if column.presence is Presence.OMIT_DEFAULT:
            assert mirror_problem(kind, with_inner(kind, **{column.name: column.default})) is None


@pytest.mark.parametrize("kind", MIRRORING)
@pytest.mark.parametrize("value", ["key", "", None, 1])
def test_the_envelope_names_its_kind(kind: EnvelopeKind, value: Any) -> None:
    if value != kind.value:
        problem = mirror_problem(kind, with_inner(kind, record_kind=value))
        assert problem == f"record_kind is not {kind.value!r}"
    missing = mirror_problem(kind, without_inner(kind, "record_kind"))
    assert missing == f"record_kind is not {kind.value!r}"


@pytest.mark.parametrize("kind", MIRRORING)
def test_what_is_about_the_signature_cannot_be_inside_it(kind: EnvelopeKind) -> None:
    for name in (*sorted(NEVER_SIGNED), KINDS[kind].envelope_field or ""):
        problem = mirror_problem(kind, with_inner(kind, **{name: "x"}))
        assert problem == f"{name} cannot be part of what is signed"


@pytest.mark.parametrize("inner", [None, [], "x", 1])
def test_the_signed_envelope_is_an_object(inner: Any) -> None:
    record = {**record_of(K.KEY), "registration_envelope": from_plain(inner)}
    assert mirror_problem(K.KEY, record) == "registration_envelope is no object"


def test_extra_members_are_the_authors_business() -> None:
    assert mirror_problem(K.ATTESTATION, with_inner(K.ATTESTATION, dimension="x", n=[1])) is None


def test_times_are_compared_as_instants() -> None:
    for text in ("2026-05-28T20:26:40Z", "2026-05-28T22:26:40.000+02:00"):
        assert mirror_problem(K.ATTESTATION, with_inner(K.ATTESTATION, asserted_at=text)) is None
    for other in ("2026-05-28T20:26:40.001Z", "soon", 5):
        problem = mirror_problem(K.ATTESTATION, with_inner(K.ATTESTATION, asserted_at=other))
        assert problem == "asserted_at differs"


def test_a_leap_second_is_not_the_second_after_it() -> None:
    record = with_inner(K.ATTESTATION, asserted_at="2016-12-31T23:59:60.000Z")
    assert mirror_problem(K.ATTESTATION, {**record, "asserted_at": "2016-12-31T23:59:60Z"}) is None
    after = {**record, "asserted_at": "2017-01-01T00:00:00Z"}
    assert mirror_problem(K.ATTESTATION, after) == "asserted_at differs"


def test_floats_are_compared_as_values() -> None:
    for token in ("0.5", "0.50", "5e-1"):
        record = with_inner(K.ATTESTATION, weight=JsonNumber(token))
        assert mirror_problem(K.ATTESTATION, record) is None
    record = with_inner(K.ATTESTATION, weight=JsonNumber("0.5000000001"))
    assert mirror_problem(K.ATTESTATION, record) == "weight differs"


def test_signed_times_have_three_digits() -> None:
    members = mirror(K.ATTESTATION, record_of(K.ATTESTATION))
    assert members["asserted_at"] == "2026-05-28T20:26:40.000Z"


def test_a_time_finer_than_a_millisecond_cannot_be_mirrored() -> None:
    record = {**record_of(K.ATTESTATION), "asserted_at": "2026-05-28T20:26:40.000001Z"}
    with pytest.raises(MalformedRecord, match="finer than a millisecond"):
        mirror(K.ATTESTATION, record)
