"""`bench records`: the mix, the same content each time, and all of it admitted."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from ciris_mesh.bench.pool import all_cores, cores, in_order
from ciris_mesh.bench.records import PIECE_RECORDS, REST, START_MS, Plan, made_records
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime.bundle import admit_mixed

#: Makes every kind of the rest twice.
COUNT = 320


def double(number: int) -> int:
    return 2 * number


def fail(number: int) -> int:
    raise ValueError(number)


@pytest.mark.parametrize("count", [320, 5_000, 1_000_000])
def test_the_mix_is_as_promised(count: int) -> None:
    plan = Plan(count, 1)
    step = max(1, count // 1000)  # a prime to four would do; this samples whole groups
    start = plan.keys
    rest = [plan.kind(number) for number in range(start, min(count, start + 256))]
    assert plan.keys == count // 5
    assert Counter(rest)[EnvelopeKind.ATTESTATION] == len(rest) * 3 / 4
    assert {kind for kind in rest if kind is not EnvelopeKind.ATTESTATION} == set(REST)
    assert all(plan.kind(number) is EnvelopeKind.KEY for number in range(0, start, step))


def test_a_fresh_node_admits_all_of_it_in_order() -> None:
    plan = Plan(COUNT, 7)
    made = [plan.make(number) for number in range(COUNT)]
    assert len({raw for _, raw in made}) == COUNT
    directory = MemoryDirectory()
    for one in made:  # one by one: nothing may need what comes after it
        ((outcome, reason),) = admit_mixed(directory, [one], now_ms=START_MS + 10**6)
        assert outcome is Outcome.ADMITTED, (one, reason)
    directory.close()


def test_few_signers_sign_everything() -> None:
    plan = Plan(COUNT, 7)
    signers = {key.key_id for key in plan.signers}
    assert len(signers) == 8
    found: set[str] = set()
    for number in range(COUNT):
        kind, raw = plan.make(number)
        found |= set(parse_envelope(kind, raw).signers)
    assert found == signers


def test_content_follows_from_number_and_seed() -> None:
    def contents(plan: Plan) -> list[tuple[EnvelopeKind, str, int]]:
        made = [plan.make(number) for number in range(0, plan.count, 3)]
        envelopes = [parse_envelope(*one) for one in made]
        return [(one.kind, one.subject, one.seq) for one in envelopes]

    assert contents(Plan(80, 1)) == contents(Plan(80, 1))
    assert contents(Plan(80, 1)) != contents(Plan(80, 2))
    families = [Plan(160, 1).make(number) for number in range(160)]
    again = [Plan(160, 1).make(number) for number in range(160)]
    ids = [parse_envelope(*one).envelope_id for one in families if one[0] is EnvelopeKind.FAMILY]
    assert ids == [parse_envelope(*o).envelope_id for o in again if o[0] is EnvelopeKind.FAMILY]
    assert ids


@pytest.mark.parametrize("count", [1, 2, 9, 13])
def test_small_numbers_are_valid_too(count: int) -> None:
    plan = Plan(count, 1)
    directory = MemoryDirectory()
    made = [plan.make(number) for number in range(count)]
    answers = admit_mixed(directory, made, now_ms=START_MS + 10**6)
    assert [outcome for outcome, _ in answers] == [Outcome.ADMITTED] * count
    directory.close()


def test_all_cores_make_the_same_as_one() -> None:
    plan = Plan(PIECE_RECORDS + 20, 5)
    with all_cores() as pool:
        made = list(made_records(pool, plan))
        doubled = list(in_order(pool, double, range(100)))
        endless = in_order(pool, double, iter(int, 1))
        assert list(islice(endless, 5)) == [0] * 5
    assert [kind for kind, _ in made] == [plan.kind(number) for number in range(plan.count)]
    subjects = [parse_envelope(*one).subject for one in made[::20]]
    assert subjects == [parse_envelope(*plan.make(n)).subject for n in range(0, plan.count, 20)]
    assert doubled == [2 * number for number in range(100)]
    assert cores() >= 1


def test_a_failure_in_another_process_is_told() -> None:
    with all_cores() as pool, pytest.raises(ValueError, match="0"):
        list(in_order(pool, fail, range(3)))
