"""The law of the transcoder: what comes out are the bytes that went in, whatever they were."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, parse_json
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.wire.transcode import (
    BatchLimits,
    decode_batch,
    derive,
    encode_batch,
    plain_batch,
)
from support import transcode
from support.golden import vectors
from support.keys import alice, bob
from support.records import AT_MS, sample
from support.transcode import Item, first_operation, inflated, valid_records

_K = EnvelopeKind
TOO_LONG = JsonNumber("1" * 65)
ATTESTATION = sample(_K.ATTESTATION, alice())
KEY = sample(_K.KEY, alice())


def record_of(kind: EnvelopeKind, raw: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(raw)[KINDS[kind].wrapper_field]
    return record


def shaped(batch: bytes) -> bool:
    """True when the first record of the batch went as operations."""
    return first_operation(batch) < 0x20


# --- the law ---


@given(st.lists(transcode.items, max_size=4))
def test_any_batch_comes_out_byte_for_byte(items: list[Item]) -> None:
    assert decode_batch(encode_batch(items)) == tuple(items)


@given(st.lists(transcode.items, max_size=8))
def test_a_plain_batch_comes_out_byte_for_byte_and_costs_four_bytes_a_record(
    items: list[Item],
) -> None:
    batch = plain_batch(items)
    assert decode_batch(batch) == tuple(items)
    assert len(batch) <= sum(len(raw) for _, raw in items) + 4 * len(items) + 16


@pytest.mark.slow
@given(st.lists(transcode.items, max_size=8))
@settings(max_examples=3000, suppress_health_check=list(HealthCheck))
def test_thousands_of_batches_come_out_byte_for_byte(items: list[Item]) -> None:
    assert decode_batch(encode_batch(items)) == tuple(items)


@given(st.lists(st.sampled_from(valid_records()), max_size=20))
@settings(max_examples=50)
def test_any_batch_of_valid_records_comes_out_byte_for_byte(items: list[Item]) -> None:
    assert decode_batch(encode_batch(items)) == tuple(items)


@given(transcode.near_records())
def test_what_looks_like_a_record_goes_as_operations(item: Item) -> None:
    """Odd values cost bytes, not the whole coding; only overlong numbers do."""
    batch = encode_batch([item])
    assert decode_batch(batch) == (item,)
    assert shaped(batch)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b" {}",
        b"{} ",
        b'{"a": 1}',
        b'{"a":1,"a":1}',
        b'{"\\u0061":1}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\u001F"}',
        b'{"a":"\\u001f"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\ud83d\\udd10"}',
        b'{"a":1E5}',
        b'{"a":1e05}',
        b'{"a":-0,"b":-0.0,"c":0.00}',
        b'{"a":' + b"9" * 400 + b"}",
        b'{"a":NaN}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xc3\x28"}',
        b'{"a":"\xed\xa0\x80"}',
        b"\x00" * 1000,
        b"\xff" * 1000,
        b'{"a":' * 64 + b"1" + b"}" * 64,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"":{"":{"":[]}}}',
        b'{"record":[]}',
        b'{"record":null,"authority":7}',
        b'{"a":"' + b"-" * 60_000 + b'"}',
        b'{"a":"' + b"a" * 60_000 + b'z"}',
        b'{"a":"' + b"a" * 60_001 + b'"}',
        b'{"a":[' + b"1," * 30_000 + b"1]}",
        b'{"a":[' + b'"",' * 20_000 + b'""]}',
        b'{"a":[' + b"[]," * 20_000 + b"[]]}",
        b'{"a":[' + b"null," * 12_000 + b"null]}",
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_odd_bytes_come_out_as_they_are(raw: bytes) -> None:
    for kind in (_K.KEY, _K.PARTNER_RECORD):
        items = ((kind, raw), (_K.ATTESTATION, ATTESTATION))
        assert decode_batch(encode_batch(items)) == items


def test_rows_as_other_implementations_write_them() -> None:
    admitted = vectors("records_admitted_by_edge_13.15.0")["records"]
    examples = vectors("worked_examples")["examples"]
    items = [
        *((EnvelopeKind(one["kind"]), one["envelope_bytes_utf8"].encode()) for one in admitted),
        *((EnvelopeKind(one["kind"]), one["wire"].encode()) for one in examples),
    ]
    for item in items:
        batch = encode_batch([item])
        assert decode_batch(batch) == (item,)
        assert shaped(batch), "serde's order is what the shapes expect"
    assert decode_batch(encode_batch(items)) == tuple(items)


def test_no_record_is_a_batch_too() -> None:
    assert decode_batch(encode_batch([])) == ()


# --- what the parts of a record cost ---


def coded(*items: Item) -> int:
    return len(encode_batch(items))


def edited(raw: bytes, **columns: JsonValue) -> bytes:
    wrapper = parse_json(raw)
    assert isinstance(wrapper, dict)
    (record, *_) = wrapper.values()
    assert isinstance(record, dict)
    record.update(columns)
    return compact(wrapper)


def test_derived_hashes_are_not_sent_and_others_are() -> None:
    whole = coded((_K.ATTESTATION, ATTESTATION))
    for column in ("persist_row_hash", "original_content_hash"):
        other = edited(ATTESTATION, **{column: "ab" * 32})
        assert decode_batch(encode_batch([(_K.ATTESTATION, other)])) == ((_K.ATTESTATION, other),)
        # 32 bytes and an operation or two; the row hash covers the content hash.
        expected = 32 if column == "persist_row_hash" else 64
        assert expected <= coded((_K.ATTESTATION, other)) - whole <= expected + 12


def test_a_mirrored_column_costs_nothing_and_a_changed_one_its_value() -> None:
    record = record_of(_K.ATTESTATION, ATTESTATION)
    inner = parse_json(json.dumps(record["attestation_envelope"]).encode())
    assert isinstance(inner, dict)
    inner["attested_key_id"] = "somebody-else"
    other = edited(ATTESTATION, attestation_envelope=inner)
    difference = coded((_K.ATTESTATION, other)) - coded((_K.ATTESTATION, ATTESTATION))
    assert 2 * 32 < difference < 2 * 32 + 40, "both hashes, and the changed text"


def test_a_key_id_follows_from_the_keys_in_its_record() -> None:
    mine = coded((_K.KEY, KEY))
    stolen = KEY.replace(alice().key_id.encode(), bob().key_id.encode())
    assert decode_batch(encode_batch([(_K.KEY, stolen)])) == ((_K.KEY, stolen),)
    difference = coded((_K.KEY, stolen)) - mine
    assert 10 + 2 * 32 <= difference <= 10 + 2 * 32 + 12, "the fingerprint, and both hashes"


def test_an_id_is_sent_once_in_a_batch() -> None:
    one = (_K.ATTESTATION, sample(_K.ATTESTATION, alice(), 1))
    key = (_K.KEY, KEY)
    assert coded(key, one) <= coded(key) + coded(one) - 10


def test_a_record_said_twice_is_smaller_but_for_its_ml_dsa_signature() -> None:
    once = coded((_K.ATTESTATION, ATTESTATION))
    twice = coded((_K.ATTESTATION, ATTESTATION), (_K.ATTESTATION, ATTESTATION))
    assert twice - once < 3330


def test_hint_padding_is_not_sent_and_comes_back() -> None:
    """A signature that breaks the rules of hints goes whole."""
    record = record_of(_K.ATTESTATION, ATTESTATION)
    signature = base64.b64decode(record["scrub_signature_pqc"], validate=True)
    used = signature[-1]
    assert 0 < used < 55
    assert not any(signature[3248 + used : 3303])
    broken = signature[:3302] + b"\x01" + signature[3303:]
    whole = coded((_K.ATTESTATION, ATTESTATION))
    for other in (broken, signature[:-1] + b"\x38", signature[:-1] + b"\xff", bytes(3309)):
        text = edited(ATTESTATION, scrub_signature_pqc=base64.b64encode(other).decode())
        assert decode_batch(encode_batch([(_K.ATTESTATION, text)])) == ((_K.ATTESTATION, text),)
    longer = edited(ATTESTATION, scrub_signature_pqc=base64.b64encode(broken).decode())
    assert coded((_K.ATTESTATION, longer)) - whole >= 55 - used + 32


def test_a_column_that_is_no_time_is_mirrored_as_it_is() -> None:
    plain = b'{"attestation":{"asserted_at":"soon","attestation_envelope":{"asserted_at":"soon"}}}'
    other = plain.replace(b'"soon"}', b'"late"}')
    item = (_K.ATTESTATION, plain)
    assert decode_batch(encode_batch([item])) == (item,)
    assert coded(item) < coded((_K.ATTESTATION, other))


def test_weights_no_double_holds_are_mirrored_as_they_are() -> None:
    raw = b'{"attestation":{"weight":1e999,"attestation_envelope":{"weight":1e999}}}'
    assert decode_batch(encode_batch([(_K.ATTESTATION, raw)])) == ((_K.ATTESTATION, raw),)


#: Ed25519 signature, challenge, response and counts; hints come on top, 55 at most.
SIGNATURE_BYTES = 64 + 3254


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_a_signed_record_costs_little_beside_its_signature(kind: EnvelopeKind) -> None:
    """Ids, times and words of the samples take 40 to 120 bytes in all; the JSON takes 1,000."""
    raw = sample(kind, alice())
    keys = 32 + 1952 if kind is _K.KEY else 0
    over = coded((kind, raw)) - SIGNATURE_BYTES - keys
    assert 40 < over < 55 + 120, over


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_a_like_record_costs_less_in_company(kind: EnvelopeKind) -> None:
    items = [(kind, sample(kind, alice(), n)) for n in range(2)]
    alone = sum(coded(item) for item in items)
    assert coded(*items) < alone - 10, "the signer's id at the least"


def test_one_deflate_serves_all_kinds() -> None:
    items = [(kind, sample(kind, alice())) for kind in EnvelopeKind]
    assert coded(*items) < sum(coded(item) for item in items) - 12 * 20


def test_the_order_of_a_batch_is_kept() -> None:
    items = [(kind, sample(kind, alice())) for kind in EnvelopeKind]
    assert decode_batch(encode_batch(items[::-1])) == tuple(items[::-1])
    assert decode_batch(encode_batch(items)) == tuple(items)


@pytest.mark.parametrize("order", [sorted, lambda names: sorted(names, reverse=True)])
def test_a_signed_envelope_in_another_order_is_still_mirrored(order: Any) -> None:
    """Other authors sort it. What it costs is its order, not its values."""
    wrapper = parse_json(ATTESTATION)
    assert isinstance(wrapper, dict)
    record = wrapper["attestation"]
    assert isinstance(record, dict)
    inner = record["attestation_envelope"]
    assert isinstance(inner, dict)
    record["attestation_envelope"] = {name: inner[name] for name in order(inner)}
    item = (_K.ATTESTATION, compact(wrapper))
    assert decode_batch(encode_batch([item])) == (item,)
    assert coded(item) - coded((_K.ATTESTATION, ATTESTATION)) < 40


# --- wrong assumptions ---


def hashes(*texts: str) -> Iterator[str]:
    yield from texts
    while True:
        yield texts[-1]


def test_a_prediction_that_fails_when_decoding_costs_bytes_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = (_K.ATTESTATION, ATTESTATION)
    right = record_of(*item)["persist_row_hash"]
    whole = coded(item)
    answers = hashes(right, "0" * 64)  # to the encoder first, then to the decoder
    monkeypatch.setattr(derive, "row_hash", lambda kind, record: next(answers))
    batch = encode_batch([item])
    assert not shaped(batch), "sent as it is"
    assert decode_batch(batch) == (item,)
    assert whole < len(batch) < len(ATTESTATION)


def test_a_batch_its_own_decoder_refuses_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([record_of(_K.ATTESTATION, ATTESTATION)["original_content_hash"], None])
    monkeypatch.setattr(derive, "content_hash", lambda record, envelope: next(answers))
    items = ((_K.ATTESTATION, ATTESTATION), (_K.KEY, b"\x00\x01"))
    assert decode_batch(encode_batch(items)) == items


def test_when_leaving_out_one_spoils_the_next_all_are_sent_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = tuple((_K.ATTESTATION, sample(_K.ATTESTATION, alice(), n)) for n in range(2))
    first, second = (record_of(*item)["persist_row_hash"] for item in items)
    wrong = "0" * 64
    answers = iter([first, second, wrong, second, second, wrong])
    monkeypatch.setattr(derive, "row_hash", lambda kind, record: next(answers))
    batch = encode_batch(items)
    assert not shaped(batch)
    assert decode_batch(batch) == items
    assert next(answers, None) is None, "both tries were made"


# --- limits of the encoder ---


def test_more_than_a_batch_holds_is_our_own_mistake() -> None:
    limits = BatchLimits(records=2, record_bytes=10, decoded_bytes=15)
    assert decode_batch(encode_batch([(_K.KEY, b"x" * 10)], limits=limits)) == (
        (_K.KEY, b"x" * 10),
    )
    for items in (
        [(_K.KEY, b"")] * 3,
        [(_K.KEY, b"x" * 11)],
        [(_K.KEY, b"x" * 8), (_K.KEY, b"x" * 8)],
    ):
        with pytest.raises(LocalProtocolError):
            encode_batch(items, limits=limits)


def test_a_batch_of_many_small_values_stays_within_what_a_decoder_takes() -> None:
    """16,384 operations are not enough for these: the later ones are sent as they are."""
    items = tuple((_K.KEY, b'{"a":[' + b'{"":""},' * 2_000 + f"{n}]}}".encode()) for n in range(20))
    batch = encode_batch(items)
    assert decode_batch(batch) == items
    assert shaped(batch)


def test_one_record_that_cannot_be_coded_costs_the_others_nothing() -> None:
    """Its number is too long, which shows only after an id and half its columns were written."""
    odd = edited(ATTESTATION, attesting_key_id="nobody-else", withdraws_admission_rule=TOO_LONG)
    first, last = ((_K.ATTESTATION, sample(_K.ATTESTATION, alice(), n)) for n in (1, 2))
    items = (first, (_K.ATTESTATION, odd), last, last)  # the last refers to the one before
    batch = encode_batch(items)
    assert decode_batch(batch) == items
    assert shaped(batch)
    assert len(batch) < coded(first) + coded((_K.ATTESTATION, odd)) + 2 * coded(last)


def test_an_envelope_that_mirrors_nothing_is_coded_without_its_shape() -> None:
    bare = edited(KEY, registration_envelope={})
    low, _ = inflated(encode_batch([(_K.KEY, bare)]))
    assert low[0] <= 20, "operations: one for each slot, not for those of the envelope"


@given(st.integers(0, 10**12))
@example(AT_MS)
@settings(max_examples=20)
def test_the_time_of_one_record_is_counted_from_the_one_before(at_ms: int) -> None:
    near = [(_K.ATTESTATION, sample(_K.ATTESTATION, alice(), 0, at_ms + n)) for n in range(2)]
    assert decode_batch(encode_batch(near)) == tuple(near)


def test_a_group_that_its_id_commits_to_is_sent_without_the_digest() -> None:
    kind = EnvelopeKind.FAMILY
    raw = sample(kind, alice())
    digest = json.loads(raw)["family"]["family_key_id"].rpartition("-")[2].encode()
    batch = encode_batch([(kind, raw)])
    assert decode_batch(batch) == ((kind, raw),)
    other = raw.replace(digest, digest[::-1])
    changed = encode_batch([(kind, other)])
    assert decode_batch(changed) == ((kind, other),)
    assert len(batch) + 18 < len(changed), "another digest cannot be derived"
