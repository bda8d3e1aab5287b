"""Reading envelopes, and the one-spelling rule of the federation shelf."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.authoring import author
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.envelope import (
    ENVELOPE_BYTES_MAX,
    Envelope,
    decode_base64,
    encode_base64,
    one_spelling_problem,
    parse_envelope,
)
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, from_plain, parse_json
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, Presence, SignatureStyle
from ciris_mesh.records.rows import envelope_id, persist_row_hash
from support.golden import vectors
from support.keys import alice, bob, carol
from support.records import AT_MS, columns, sample

K = EnvelopeKind
ALL = list(EnvelopeKind)
Json = dict[str, Any]


def edited(kind: EnvelopeKind, edit: Callable[[Json, Json], None], *, rehash: bool = True) -> bytes:
    """A sample of `kind` after `edit(wrapper, record)`; its row hash made right again."""
    wrapper: Any = parse_json(sample(kind, alice()))
    record = wrapper[KINDS[kind].wrapper_field]
    edit(wrapper, record)
    if rehash and "persist_row_hash" in record:
        record["persist_row_hash"] = persist_row_hash(kind, record)
    return compact(wrapper)


def record_with(kind: EnvelopeKind, **changes: Any) -> bytes:
    tokens: Any = from_plain(changes)
    rehash = "persist_row_hash" not in changes
    return edited(kind, lambda wrapper, record: record.update(tokens), rehash=rehash)


def record_without(kind: EnvelopeKind, name: str) -> bytes:
    return edited(kind, lambda wrapper, record: record.pop(name))


def refusal(kind: EnvelopeKind, raw: bytes) -> MalformedRecord:
    with pytest.raises(MalformedRecord) as caught:
        parse_envelope(kind, raw)
    return caught.value


def spelling(kind: EnvelopeKind, raw: bytes) -> str:
    problem = one_spelling_problem(parse_envelope(kind, raw))
    assert problem is not None
    return problem


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_authored_envelopes_read_back(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice(), 3)
    envelope = parse_envelope(kind, raw)
    wrapper = parse_json(raw)
    assert isinstance(wrapper, dict)
    assert envelope.raw == raw
    assert envelope.envelope_id == envelope_id(kind, wrapper)
    assert envelope.row_hash.hex() == persist_row_hash(kind, envelope.record)
    assert envelope.record["persist_row_hash"] == envelope.row_hash.hex()
    assert envelope.seq == AT_MS
    assert envelope.signers == (alice().key_id,)
    assert envelope.subject
    assert not envelope.tier_local
    assert one_spelling_problem(envelope) is None


@pytest.mark.parametrize("kind", ALL)
def test_every_required_column_is_required(kind: EnvelopeKind) -> None:
    required = [it for it in KINDS[kind].fields if it.presence is Presence.REQUIRED]
    for column in required:
        error = refusal(kind, record_without(kind, column.name))
        assert (error.reason, error.detail) == ("missing_member", column.name)


@pytest.mark.parametrize("kind", ALL)
def test_every_column_has_a_type(kind: EnvelopeKind) -> None:
    for column in KINDS[kind].fields:
        if column.type.value == "any":
            continue
        wrong = [1] if column.type.value != "byte list" else [256]
        error = refusal(kind, record_with(kind, **{column.name: wrong}))
        assert error.reason == "wrong_type", column.name


@pytest.mark.parametrize("kind", ALL)
def test_null_passes_for_optional_columns_only(kind: EnvelopeKind) -> None:
    for column in KINDS[kind].fields:
        raw = record_with(kind, **{column.name: None})
        if column.presence is Presence.OPTIONAL:
            assert f"{column.name} must be left out" in spelling(kind, raw)
        elif column.type.value != "any":
            assert refusal(kind, raw).reason == "wrong_type"


@pytest.mark.parametrize("kind", ALL)
def test_closed_sets_are_closed(kind: EnvelopeKind) -> None:
    for column in KINDS[kind].fields:
        if column.allowed is not None:
            error = refusal(kind, record_with(kind, **{column.name: "neither"}))
            assert error.reason == "value_not_allowed"


@pytest.mark.parametrize("kind", ALL)
def test_keys_and_signatures_have_their_lengths(kind: EnvelopeKind) -> None:
    for column in KINDS[kind].fields:
        if column.length_bytes is not None:
            short = base64.b64encode(bytes(column.length_bytes - 1)).decode()
            error = refusal(kind, record_with(kind, **{column.name: short}))
            assert error.reason == "value_not_allowed"
            assert column.name in error.detail


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b"1", b'{"x":{}}', b'{"record":1}'], ids=lambda raw: raw.decode()
)
def test_the_wrapper_must_hold_the_record(kind: EnvelopeKind, raw: bytes) -> None:
    assert refusal(kind, raw).reason == "wrong_wrapper"


def test_an_envelope_of_another_kind_is_the_wrong_wrapper() -> None:
    assert refusal(K.FAMILY, sample(K.COMMUNITY, alice())).reason == "wrong_wrapper"


def test_the_size_limit_is_exact_and_checked_first() -> None:
    raw = sample(K.FAMILY, alice())
    padded = raw + b" " * (ENVELOPE_BYTES_MAX - len(raw))
    assert parse_envelope(K.FAMILY, padded).envelope_id == parse_envelope(K.FAMILY, raw).envelope_id
    assert refusal(K.FAMILY, padded + b" ").reason == "too_large"
    assert refusal(K.FAMILY, b"\xff" * 10_000_000).reason == "too_large"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_json"),
        (b'{"family":{"a":1,"a":1}}', "duplicate_member"),
        (b'{"family":' + b"[" * 1000, "too_deep"),
    ],
)
def test_text_problems_come_through(raw: bytes, reason: str) -> None:
    assert refusal(K.FAMILY, raw).reason == reason


def test_seq_of_a_time_before_1970_is_zero() -> None:
    raw = record_with(K.FAMILY, founded_at="1969-12-31T23:59:59Z")
    assert parse_envelope(K.FAMILY, raw).seq == 0


def test_subjects_of_several_columns_stay_apart() -> None:
    def subject(identity: str, occurrence: str) -> str:
        raw = record_with(
            K.IDENTITY_OCCURRENCE, identity_key_id=identity, occurrence_key_id=occurrence
        )
        return parse_envelope(K.IDENTITY_OCCURRENCE, raw).subject

    assert subject("a", "b") == "a|b"
    assert len({subject("a|", "b"), subject("a", "|b"), subject("a\\", "|b")}) == 3


def test_only_a_local_attestation_is_local() -> None:
    local = author(
        K.ATTESTATION,
        {**columns(K.ATTESTATION, alice().key_id, 1), "tier": "local"},
        alice(),
        at_ms=AT_MS,
    )
    assert parse_envelope(K.ATTESTATION, local).tier_local


def test_signers_are_read_where_each_kind_keeps_them() -> None:
    together = author(
        K.FAMILY,
        columns(K.FAMILY, "x", 1),
        carol(),
        at_ms=AT_MS,
        cosigners=[bob(), alice()],
    )
    expected = tuple(sorted(key.key_id for key in (alice(), bob(), carol())))
    assert parse_envelope(K.FAMILY, together).signers == expected
    unsigned = edited(K.FAMILY, lambda wrapper, record: wrapper.pop("authority"))
    assert parse_envelope(K.FAMILY, unsigned).signers == ()


@pytest.mark.parametrize(
    ("authority", "reason"),
    [
        ({}, "wrong_type"),
        (None, "wrong_type"),
        ([1], "wrong_type"),
        ([{}], "wrong_type"),
        ([{"key_id": "a", "ed25519_signature_base64": "!"}], "wrong_type"),
        ([{"key_id": "a", "ed25519_signature_base64": "AAAA"}], "value_not_allowed"),
        (
            [
                {
                    "key_id": 1,
                    "ed25519_signature_base64": base64.b64encode(bytes(64)).decode(),
                }
            ],
            "wrong_type",
        ),
    ],
)
def test_signature_lists_have_a_shape(authority: Any, reason: str) -> None:
    raw = edited(K.FAMILY, lambda wrapper, record: wrapper.update(authority=from_plain(authority)))
    assert refusal(K.FAMILY, raw).reason == reason


@pytest.mark.parametrize("member", ["threshold", "steward_signatures"])
def test_a_partner_record_needs_its_wrapper_members(member: str) -> None:
    raw = edited(K.PARTNER_RECORD, lambda wrapper, record: wrapper.pop(member))
    assert refusal(K.PARTNER_RECORD, raw).reason in ("missing_member", "wrong_type")


@pytest.mark.parametrize(
    ("token", "fits"),
    [
        ("0", True),
        ("18446744073709551615", True),
        ("18446744073709551616", False),
        ("-1", False),
        ("-0", False),
        ("1.0", False),
        ("1e2", False),
    ],
)
def test_integers_are_unsigned_64_bit(token: str, *, fits: bool) -> None:
    raw = record_with(K.LOCATION_PROOF, cell_resolution=JsonNumber(token))
    if fits:
        assert parse_envelope(K.LOCATION_PROOF, raw).kind is K.LOCATION_PROOF
    else:
        assert refusal(K.LOCATION_PROOF, raw).reason == "wrong_type"


def test_a_weight_must_be_finite() -> None:
    raw = record_with(K.ATTESTATION, weight=JsonNumber("1e999"))
    assert refusal(K.ATTESTATION, raw).reason == "wrong_type"


@pytest.mark.parametrize(
    "case", vectors("records_admitted_by_edge_13.15.0")["records"], ids=lambda it: it["kind"]
)
def test_live_upstream_records_can_be_read(case: dict[str, Any]) -> None:
    kind = EnvelopeKind(case["kind"])
    envelope = parse_envelope(kind, case["envelope_bytes_utf8"].encode())
    assert isinstance(envelope, Envelope)
    assert (one_spelling_problem(envelope) is None) == (kind is not K.ATTESTATION)


# -- one spelling --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_unknown_members_are_noticed(kind: EnvelopeKind) -> None:
    in_record = edited(kind, lambda wrapper, record: record.update(extra="x"))
    assert "unknown member 'extra'" in spelling(kind, in_record)
    in_wrapper = edited(kind, lambda wrapper, record: wrapper.update(extra="x"))
    assert "unknown wrapper member 'extra'" in spelling(kind, in_wrapper)


@pytest.mark.parametrize("kind", [it for it in ALL if KINDS[it].style is SignatureStyle.SCRUB])
def test_authority_belongs_to_kinds_4_to_10_only(kind: EnvelopeKind) -> None:
    raw = edited(kind, lambda wrapper, record: wrapper.update(authority=[]))
    assert "unknown wrapper member 'authority'" in spelling(kind, raw)


@pytest.mark.parametrize("kind", ALL)
def test_times_must_be_normalized(kind: EnvelopeKind) -> None:
    for column in KINDS[kind].fields:
        if column.type.value == "timestamp":
            raw = record_with(kind, **{column.name: "2026-06-10T12:00:00.0Z"})
            assert column.name in spelling(kind, raw)


@pytest.mark.parametrize("kind", ALL)
def test_defaults_must_be_omitted_or_materialized(kind: EnvelopeKind) -> None:
    for column in KINDS[kind].fields:
        if column.presence is Presence.OMIT_DEFAULT:
            default = list(column.default) if isinstance(column.default, tuple) else column.default
            raw = record_with(kind, **{column.name: default})
            assert f"{column.name} must be left out" in spelling(kind, raw)
        elif column.presence is Presence.MATERIALIZED and column.name != "persist_row_hash":
            assert f"{column.name} is missing" in spelling(kind, record_without(kind, column.name))


@pytest.mark.parametrize("token", ["1", "1e0", "0.50", "5e-1", "1E-7"])
def test_weights_have_rusts_spelling(token: str) -> None:
    raw = record_with(K.ATTESTATION, weight=JsonNumber(token))
    assert "weight" in spelling(K.ATTESTATION, raw)


@pytest.mark.parametrize(
    "token", ["1.0", "0.50", "1e2", "1E+21", "-0", "9007199254740993", "1e999"]
)
@pytest.mark.parametrize("nest", [lambda it: it, lambda it: {"deep": [it]}], ids=["flat", "deep"])
def test_free_numbers_have_jcs_spelling(token: str, nest: Callable[[Any], Any]) -> None:
    def edit(wrapper: Json, record: Json) -> None:
        record["policy_blob"] = {"n": nest(JsonNumber(token))}

    assert "JCS" in spelling(K.COMMUNITY, edited(K.COMMUNITY, edit))


@pytest.mark.parametrize("token", ["1", "0.5", "1e+21", "1e-7", "-3", "9007199254740992"])
def test_jcs_spelled_numbers_pass(token: str) -> None:
    raw = record_with(K.COMMUNITY, policy_blob={"n": [JsonNumber(token)]})
    assert one_spelling_problem(parse_envelope(K.COMMUNITY, raw)) is None


def test_integers_beyond_a_double_have_two_spellings_and_so_none() -> None:
    raw = record_with(K.LOCATION_PROOF, cell_resolution=JsonNumber("9007199254740993"))
    assert "cell_resolution" in spelling(K.LOCATION_PROOF, raw)


def test_base64_must_be_canonical_everywhere() -> None:
    def loosened(text: str) -> str:
        # The last character before the padding carries unused bits; set one of them.
        body = text.rstrip("=")
        digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        last = digits[digits.index(body[-1]) | 1]
        changed = body[:-1] + last + "=" * (len(text) - len(body))
        assert changed != text
        assert base64.b64decode(changed) == base64.b64decode(text)
        return changed

    def in_record(wrapper: Json, record: Json) -> None:
        record["scrub_signature_classical"] = loosened(record["scrub_signature_classical"])

    def in_authority(wrapper: Json, record: Json) -> None:
        entry = wrapper["authority"][0]
        entry["ed25519_signature_base64"] = loosened(entry["ed25519_signature_base64"])

    assert "canonical base64" in spelling(K.KEY, edited(K.KEY, in_record))
    assert "canonical base64" in spelling(K.FAMILY, edited(K.FAMILY, in_authority))


@pytest.mark.parametrize("kind", ALL)
def test_padding_behind_a_whole_signature_makes_no_second_record(kind: EnvelopeKind) -> None:
    """Nothing has to be signed for it, and nothing else in the record changes."""
    raw = sample(kind, alice())
    end = next(raw.index(b'"', at + 4412) for at in _pieces(raw) if raw[at + 4412 :][:1] == b'"')
    assert parse_envelope(kind, raw)
    for padding in (b"=", b"==", b"===", b"===="):
        padded = raw[:end] + padding + raw[end:]
        assert refusal(kind, padded).reason == "wrong_type"


def _pieces(raw: bytes) -> list[int]:
    return [at + 1 for at, one in enumerate(raw) if one == ord('"')]


@pytest.mark.parametrize("member", ["steward_signatures", "authority"])
def test_an_entry_of_a_signature_list_holds_nothing_else(member: str) -> None:
    kind = K.PARTNER_RECORD if member == "steward_signatures" else K.FAMILY

    def edit(change: Callable[[Json], None]) -> str:
        return spelling(kind, edited(kind, lambda wrapper, record: change(wrapper[member][0])))

    assert f"unknown member in an entry of {member}" in edit(lambda entry: entry.update(x="y"))
    pqc = "mldsa65_signature_base64"
    assert "canonical base64" in edit(lambda entry: entry.update({pqc: None}))


@pytest.mark.parametrize(
    "text",
    [
        *("A", "AAA", "AA=A", "AAAA\n", " AAAA", "AA==AA==", "-_8=", "é==="),
        *("AAAA=", "AAAA==", "AAAA===", "AAAA====", "AAAAAAA==", "AA==="),
    ],
)
def test_stray_characters_are_no_base64(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_base64(text)


def test_base64_round_trip() -> None:
    assert decode_base64(encode_base64(bytes(range(256)))) == bytes(range(256))


@pytest.mark.parametrize("values", [["b", "a"], ["a", "a"], ["\uffff", "\U0001f600"]])
@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (K.KEY, "roles"),
        (K.ATTESTATION, "subject_key_ids"),
        (K.FAMILY_MEMBERSHIP_REVOCATION, "witness_set"),
    ],
)
def test_sets_are_sorted_by_utf16_and_unique(
    kind: EnvelopeKind, column: str, values: list[str]
) -> None:
    assert column in spelling(kind, record_with(kind, **{column: values}))
    in_order = ["a", "b", "\U0001f600", "\uffff"]
    raw = record_with(kind, **{column: in_order})
    assert one_spelling_problem(parse_envelope(kind, raw)) is None


@pytest.mark.parametrize("kind", [K.FAMILY, K.COMMUNITY])
@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"role": None}, {"joined_at": "2026-06-10T12:00:00.000Z"}],
    ids=["unknown", "null role", "time"],
)
def test_entries_of_members_have_one_spelling_too(kind: EnvelopeKind, change: Json) -> None:
    def edit(wrapper: Json, record: Json) -> None:
        record["members"][0].update(from_plain(change))

    assert "members" in spelling(kind, edited(kind, edit))


@pytest.mark.parametrize("kind", ALL)
def test_the_hash_sent_along_matters_only_where_the_id_covers_it(kind: EnvelopeKind) -> None:
    raw = edited(kind, lambda _, record: record.update(persist_row_hash="0" * 64), rehash=False)
    problem = one_spelling_problem(parse_envelope(kind, raw))
    assert (problem is not None) == (KINDS[kind].number >= 11)


def test_signers_are_sorted_unique_and_few() -> None:
    signed = author(K.FAMILY, columns(K.FAMILY, "x", 1), alice(), at_ms=AT_MS, cosigners=[bob()])
    wrapper = json.loads(signed)
    wrapper["authority"].reverse()
    assert "sorted" in spelling(K.FAMILY, json.dumps(wrapper).encode())
    wrapper["authority"] = [wrapper["authority"][0]] * 2
    assert "sorted" in spelling(K.FAMILY, json.dumps(wrapper).encode())
    entry = {"ed25519_signature_base64": wrapper["authority"][0]["ed25519_signature_base64"]}
    wrapper["authority"] = [{"key_id": f"k{n:02}", **entry} for n in range(17)]
    assert "limit of 16" in spelling(K.FAMILY, json.dumps(wrapper).encode())


def test_entries_of_signature_lists_hold_nothing_else() -> None:
    def edit(wrapper: Json, record: Json) -> None:
        wrapper["authority"][0]["note"] = "x"

    assert "authority" in spelling(K.FAMILY, edited(K.FAMILY, edit))

    def null_half(wrapper: Json, record: Json) -> None:
        wrapper["authority"][0]["mldsa65_signature_base64"] = None

    assert "mldsa65" in spelling(K.FAMILY, edited(K.FAMILY, null_half))


def test_member_order_whitespace_and_escapes_are_not_spelling() -> None:
    wrapper: JsonValue = parse_json(sample(K.ORGANIZATION, alice()))
    plain = json.loads(compact(wrapper))
    shuffled = dict(reversed(plain["organization"].items()))
    raw = json.dumps({"organization": shuffled}, indent=2, ensure_ascii=True).encode()
    envelope = parse_envelope(K.ORGANIZATION, raw)
    assert one_spelling_problem(envelope) is None
    original = parse_envelope(K.ORGANIZATION, sample(K.ORGANIZATION, alice()))
    assert envelope.envelope_id == original.envelope_id


@pytest.mark.parametrize("threshold", ["0", "2", "1000", "18446744073709551615"])
def test_a_threshold_is_one_of_the_numbers_the_signatures_can_meet(threshold: str) -> None:
    raw = edited(
        K.PARTNER_RECORD, lambda wrapper, record: wrapper.update(threshold=JsonNumber(threshold))
    )
    assert "threshold" in spelling(K.PARTNER_RECORD, raw)
