"""What holds for every record, however it is written, changed or broken."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.checks import verify, verify_bytes
from ciris_mesh.records.envelope import one_spelling_problem, parse_envelope
from ciris_mesh.records.hybrid import HybridPolicy
from ciris_mesh.records.jsontext import JsonNumber, JsonValue, parse_json
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.rows import as_persisted, envelope_id, persist_row_hash
from support.json_values import objects, texts, values
from support.keys import alice, bob, lookup
from support.records import sample

K = EnvelopeKind
kinds = st.sampled_from(list(K))
#: For text with thousands of choices in it, which hypothesis could not draw one by one.
seeds = st.integers(0, 2**32 - 1)


@st.composite
def loose_records(draw: st.DrawFn) -> tuple[EnvelopeKind, dict[str, JsonValue]]:
    """A sample's record with some columns dropped, nulled, replaced or added."""
    kind = draw(kinds)
    record = dict(parse_envelope(kind, sample(kind, alice())).record)
    for column in draw(st.lists(st.sampled_from(KINDS[kind].fields), max_size=6)):
        times = ["2026-06-10T12:00:00.50+02:00", "2026-06-10t12:00:00z", "then"]
        choice = draw(st.none() | values | st.sampled_from(times) | st.just(JsonNumber("1E2")))
        record[column.name] = choice
    for name in draw(st.lists(st.sampled_from(list(record)), max_size=3)):
        record.pop(name, None)
    record.update(draw(st.dictionaries(texts.map(lambda text: "x-" + text), values, max_size=2)))
    return kind, record


def rewritten(value: JsonValue, rng: random.Random) -> str:
    """The same value as other JSON text: shuffled members, spaces, escapes."""

    def space() -> str:
        return rng.choice(["", "", " ", "\n\t"])

    match value:
        case dict():
            members = list(value.items())
            rng.shuffle(members)
            inside = f"{space()},".join(
                f"{space()}{quoted(name, rng)}{space()}:{space()}{rewritten(item, rng)}"
                for name, item in members
            )
            return f"{{{inside}{space()}}}"
        case list():
            return f"[{','.join(space() + rewritten(item, rng) for item in value)}{space()}]"
        case str():
            return quoted(value, rng)
        case _:
            return compact(value).decode()


def quoted(text: str, rng: random.Random) -> str:
    out = []
    for char in text:
        units = char.encode("utf-16-be")
        escaped = "".join(f"\\u{units[i]:02X}{units[i + 1]:02x}" for i in range(0, len(units), 2))
        plain = json.dumps(char, ensure_ascii=False)[1:-1]
        out.append(escaped if rng.random() < 0.05 else plain)
    return f'"{"".join(out)}"'


@given(loose_records())
def test_the_typed_view_is_idempotent_and_keeps_the_hash(
    row: tuple[EnvelopeKind, dict[str, JsonValue]],
) -> None:
    kind, record = row
    once = as_persisted(kind, record)
    assert as_persisted(kind, once) == once
    left_out = {name for name in record if KINDS[kind].field(name) and name not in once}
    same = persist_row_hash(kind, once) == persist_row_hash(kind, record)
    assert same is not bool(left_out)


@given(loose_records(), seeds)
def test_the_row_hash_ignores_order_whitespace_and_escapes(
    row: tuple[EnvelopeKind, dict[str, JsonValue]], seed: int
) -> None:
    kind, record = row
    other: Any = parse_json(rewritten(record, random.Random(seed)).encode())
    assert persist_row_hash(kind, other) == persist_row_hash(kind, record)


@given(kinds, seeds)
def test_a_rewritten_envelope_is_the_same_record_under_the_same_id(
    kind: EnvelopeKind, seed: int
) -> None:
    raw = sample(kind, alice())
    text = rewritten(parse_json(raw), random.Random(seed)).encode()
    verdict = verify_bytes(kind, text, lookup).verdict
    assert verdict.outcome is Outcome.ADMITTED
    assert verdict.envelope_id == parse_envelope(kind, raw).envelope_id


@given(loose_records(), values)
def test_the_hash_sent_along_never_enters_the_row_hash(
    row: tuple[EnvelopeKind, dict[str, JsonValue]], sent: JsonValue
) -> None:
    kind, record = row
    changed = {**record, "persist_row_hash": sent}
    assert persist_row_hash(kind, changed) == persist_row_hash(kind, record)


@given(kinds.filter(lambda kind: KINDS[kind].number <= 10), values, values)
def test_ids_of_kinds_1_to_10_ignore_authority_and_sent_hash(
    kind: EnvelopeKind, authority: JsonValue, sent: JsonValue
) -> None:
    wrapper: Any = parse_json(sample(kind, alice()))
    expected = envelope_id(kind, wrapper)
    field = KINDS[kind].wrapper_field
    record = {**wrapper[field], "persist_row_hash": sent}
    assert envelope_id(kind, {field: record, "authority": authority}) == expected


@settings(max_examples=600)
@given(kinds, st.data())
def test_no_single_byte_changes_what_an_admitted_record_says(
    kind: EnvelopeKind, data: st.DataObject
) -> None:
    raw = sample(kind, alice())
    position = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255) | st.sampled_from(list(b'0123456789 ",:{}[]\\eE.+-Zz')))
    assume(raw[position] != byte)
    changed = raw[:position] + bytes([byte]) + raw[position + 1 :]
    verification = verify_bytes(kind, changed, lookup)
    if verification.verdict.outcome is Outcome.ADMITTED:
        before, after = parse_envelope(kind, raw), parse_envelope(kind, changed)
        assert meaning(after) == meaning(before)
        assert after.envelope_id == before.envelope_id
        assert verification.signers == before.signers


@pytest.mark.parametrize("kind", list(K))
def test_no_cut_or_doubled_piece_is_admitted(kind: EnvelopeKind) -> None:
    raw = sample(kind, alice())
    for at in range(0, len(raw), 97):
        for changed in (raw[:at], raw[:at] + raw[at + 1 :], raw[:at] + raw[at : at + 1] + raw[at:]):
            verdict = verify_bytes(kind, changed, lookup).verdict
            if verdict.outcome is Outcome.ADMITTED:
                same = meaning(parse_envelope(kind, changed))
                assert same == meaning(parse_envelope(kind, raw))


def meaning(envelope: Any) -> dict[str, JsonValue]:
    return {name: item for name, item in envelope.record.items() if name != "persist_row_hash"}


@given(kinds, kinds)
def test_an_envelope_is_of_one_kind(kind: EnvelopeKind, other: EnvelopeKind) -> None:
    assume(kind is not other)
    verdict = verify_bytes(other, sample(kind, alice()), lookup).verdict
    assert verdict.outcome is Outcome.MALFORMED


@given(kinds, st.binary(max_size=200))
def test_verifying_rubbish_never_raises(kind: EnvelopeKind, rubbish: bytes) -> None:
    assert verify_bytes(kind, rubbish, lookup).verdict.outcome is Outcome.MALFORMED


@given(kinds, objects, st.sampled_from(HybridPolicy))
def test_verifying_any_json_in_the_wrapper_never_raises(
    kind: EnvelopeKind, record: dict[str, JsonValue], policy: HybridPolicy
) -> None:
    raw = compact({KINDS[kind].wrapper_field: record})
    verdict = verify_bytes(kind, raw, lookup, policy=policy).verdict
    assert verdict.outcome is not Outcome.ADMITTED


@given(loose_records(), st.booleans())
def test_verifying_nearly_valid_records_never_raises(
    row: tuple[EnvelopeKind, dict[str, JsonValue]], is_first: bool
) -> None:
    kind, record = row
    wrapper: Any = parse_json(sample(kind, alice() if is_first else bob()))
    raw = compact({**wrapper, KINDS[kind].wrapper_field: record})
    verdict = verify_bytes(kind, raw, lookup).verdict
    try:
        envelope = parse_envelope(kind, raw)
    except MalformedRecord as error:
        assert verdict.reason.value == error.reason  # noqa: PT017 (both ways out are checked)
        return
    # Straight from the envelope no spelling is asked for: signatures alone must hold it.
    loose = verify(envelope, lookup).verdict
    strict_problem = one_spelling_problem(envelope)
    assert (verdict.outcome is Outcome.ADMITTED) == (
        loose.outcome is Outcome.ADMITTED and strict_problem is None
    )
