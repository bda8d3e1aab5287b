"""The reconcile bench measures what it says. Bytes and round trips are exact, so they are held."""

from __future__ import annotations

import math
import random

import pytest

from ciris_mesh.bench.reconcile import Trial, large_trial, made_items, run, trial
from ciris_mesh.errors import OperatorError
from ciris_mesh.protocol import compared, sizing
from ciris_mesh.protocol.shortid import Item

BASE = made_items(random.Random(1), 1_000)


def test_the_bench_runs_end_to_end() -> None:
    told: list[str] = []
    report = run(seeds=2, seed=1, records=40_000, tell=told.append)
    assert report.bench == "reconcile"
    assert [row.quantity for row in report.rows] == [
        "payload both ways, bytes, N=1,000, d=10, worst of 2",
        "round trips, N=1,000, d=10, worst of 2",
        "payload both ways, bytes, N=1,000, d=20, worst of 2",
        "round trips, N=1,000, d=20, worst of 2",
        "payload both ways, bytes, N=10,000, d=10, worst of 2",
        "round trips, N=10,000, d=10, worst of 2",
        "CPU both sides, ms, N=10,000, d=10, median",
        "payload both ways, bytes, N=10,000, d=20, worst of 2",
        "round trips, N=10,000, d=20, worst of 2",
        "payload both ways, bytes, N=10,000, d=100, median of 1",
        "payload both ways, bytes, N=10,000, d=1,000, median of 1",
        "CPU both sides, s, N=40,000, d=10, bucket digests kept",
        "undetected wrong results, 11 exchanges",
    ]
    assert all(row.ok for row in report.rows if "CPU" not in row.quantity)
    assert all(row.measured > 0 for row in report.rows if "wrong" not in row.quantity)
    limits = {(row.floor, row.limit) for row in report.rows if "payload" in row.quantity}
    assert {(135, 1), (170, 1)} <= limits
    assert {6, 8} <= {limit for _, limit in limits}
    assert told


@pytest.mark.parametrize("differences", [10, 20])
def test_small_differences_stay_within_their_bytes_whatever_the_seed(differences: int) -> None:
    limit = {10: 135, 20: 170}[differences]
    for seed in range(30):
        one = trial(BASE, differences, seed)
        assert one.payload_bytes <= limit, f"seed={seed}"
        assert one.round_trips == 1, f"seed={seed}"
        assert not one.is_wrong


def test_a_seed_is_replayed() -> None:
    def exact(one: Trial) -> tuple[float, ...]:
        return one.payload_bytes, one.round_trips, one.floor_bytes

    assert exact(trial(BASE, 100, 7)) == exact(trial(BASE, 100, 7))
    assert exact(trial(BASE, 100, 7)) != exact(trial(BASE, 100, 8))


def test_the_floor_is_what_each_side_must_learn() -> None:
    one = trial(BASE, 10, 3)
    possible = [
        (math.log2(math.comb(995 + mine, mine)) + math.log2(math.comb(1005 - mine, 10 - mine))) / 8
        for mine in range(11)
    ]
    assert min(abs(one.floor_bytes - floor) for floor in possible) < 1e-6


def test_a_large_view_is_compared_by_its_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "BUCKETS_FROM", 1_000)
    one = large_trial(5_000, seed=1)
    assert one.round_trips == 2
    assert not one.is_wrong


def test_a_wrong_result_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one record out on the way from short ids to records, and hide it from the check."""
    split = compared._split

    def short(*arguments: object) -> tuple[tuple[Item, ...], list[bytes]]:
        apart, common = split(*arguments)  # type: ignore[arg-type]
        return apart[1:], common

    monkeypatch.setattr(compared, "_split", short)
    assert trial(BASE, 10, 1).is_wrong


def test_an_exchange_without_a_result_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared, "check_of", lambda items, key: random.randbytes(4))
    with pytest.raises(OperatorError, match="could not compare"):
        trial(BASE, 10, 1)
