"""`bench transcode`: the floor counts what it says and no more, and the goals are met."""

from __future__ import annotations

import json

import pytest

from ciris_mesh.bench import transcode
from ciris_mesh.bench.records import Plan
from ciris_mesh.bench.transcode import SPAN_MS, floor_bytes, run, without_mldsa
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import decode_base64, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from support.keys import alice, bob

K = EnvelopeKind
TIME = 4.359  # log2 of a year's milliseconds, in bytes
NOW_MS = 1_780_000_000_123


def attestation(**columns: object) -> bytes:
    given = {
        "attestation_id": "9c5e668f-66a4-4259-99d9-c666c1484c74",
        "attested_key_id": bob().key_id,
        "attestation_type": "scores",
        "weight": 1.0,
        "attestation_envelope": {"dimension": "d", "score": 0.5},
        **columns,
    }
    return author(K.ATTESTATION, given, alice(), at_ms=NOW_MS)


def hints(raw: bytes, column: str = "scrub_signature_pqc") -> int:
    """How many places the ML-DSA signature of a record names."""
    (record, *_) = json.loads(raw).values()
    return decode_base64(record[column])[-1]


def test_the_floor_of_an_attestation() -> None:
    raw = attestation()
    expected = 64 + 3254 + hints(raw) + 122 / 8 + TIME + 2 * 10 + 1
    assert floor_bytes([(K.ATTESTATION, raw)]) == pytest.approx(expected, abs=0.01)
    classical = without_mldsa(raw)
    assert floor_bytes([classical]) == pytest.approx(64 + 122 / 8 + TIME + 2 * 10 + 1, abs=0.01)


def test_words_count_for_nothing() -> None:
    one = without_mldsa(attestation())
    other = without_mldsa(
        attestation(attestation_envelope={"dimension": "a dimension of many words", "score": 0.5})
    )
    assert floor_bytes([one]) == floor_bytes([other])


def test_what_a_batch_repeats_counts_once() -> None:
    first = without_mldsa(attestation())
    second = without_mldsa(attestation(attestation_id="9c5e668f-66a4-4259-99d9-c666c1484c75"))
    alone = floor_bytes([first])
    assert floor_bytes([first, first]) == pytest.approx(alone + 1), "the score"
    again = floor_bytes([first, second]) - alone
    assert again == pytest.approx(64 + 122 / 8 + 1), "both key ids and the time are known"


def test_a_key_id_follows_from_its_key_record() -> None:
    key = author(K.KEY, {"identity_type": "agent", "identity_ref": "a"}, alice(), at_ms=NOW_MS)
    expected = 32 + 1952 + 64 + 3254 + hints(key) + TIME
    assert floor_bytes([(K.KEY, key)]) == pytest.approx(expected, abs=0.01)
    raw = attestation()
    both = floor_bytes([(K.KEY, key), (K.ATTESTATION, raw)])
    alone = floor_bytes([(K.KEY, key)]) + floor_bytes([(K.ATTESTATION, raw)])
    assert both == pytest.approx(alone - 10 - TIME, abs=0.01)


def test_an_attestation_without_its_post_quantum_half_is_one_still() -> None:
    kind, raw = without_mldsa(attestation())
    envelope = parse_envelope(kind, raw)
    assert envelope.claims[0].signature.mldsa65 is None
    assert envelope.record["persist_row_hash"] == envelope.row_hash.hex()


def test_times_are_drawn_from_a_year_and_from_the_seed() -> None:
    plan = Plan(50, 3, SPAN_MS)
    times = [plan.time_ms(number) for number in range(50)]
    assert times == [Plan(50, 3, SPAN_MS).time_ms(number) for number in range(50)]
    assert max(times) - min(times) > SPAN_MS / 2
    assert len(set(times)) == 50
    record = json.loads(plan.make(20)[1])["attestation"]
    assert record["asserted_at"] == record["scrub_timestamp"]
    assert [Plan(3, 3).time_ms(n) - Plan(3, 3).time_ms(0) for n in range(3)] == [0, 1, 2]


def test_the_goals_are_met_on_a_small_run() -> None:
    said: list[str] = []
    report = run(records=120, seed=2, tell=said.append)
    assert said == ["signing 120 records", "coding them"]
    assert report.ok
    demanded = [row for row in report.rows if row.limit is not None]
    names = [row.quantity.split(", ")[:2] for row in demanded]
    worst = names.pop(3)
    assert worst[0].removeprefix("hybrid ") in {kind.value for kind in K}
    assert names == [
        [name, f"batches of {size}"] for name in ("hybrid", "Ed25519 only") for size in (1, 10, 100)
    ]
    assert all(row.ratio > 0.99 for row in demanded), "nothing comes from nowhere"
    shown = [row for row in report.rows if row.limit is None]
    assert len(shown) == 8
    assert all(row.ok and row.measured > 0 and row.floor > 0 for row in shown)
    assert json.loads(json.dumps(report.fields()))["bench"] == "transcode"


def test_one_record_is_enough() -> None:
    assert run(records=1, seed=1, tell=lambda _: None).ok


def test_the_limits_are_those_that_were_asked_for() -> None:
    assert set(transcode.HYBRID_LIMITS.values()) == {1.02}
    assert transcode.ED25519_LIMITS == {1: 1.7, 10: 1.4, 100: 1.25}
