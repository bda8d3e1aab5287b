"""Everything turned away is counted, and said aloud ever more seldom."""

from __future__ import annotations

import logging
import threading

import pytest

from ciris_mesh.runtime import counters
from ciris_mesh.runtime.counters import DropCounter


def test_reasons_are_counted_apart() -> None:
    drops = DropCounter()
    for reason in ("a", "b", "a"):
        drops.count(reason, "detail")
    assert drops.snapshot() == {"a": 2, "b": 1}


def test_a_snapshot_is_a_copy() -> None:
    drops = DropCounter()
    drops.count("a")
    drops.snapshot()["a"] = 99
    assert drops.snapshot() == {"a": 1}


def test_the_log_hears_of_a_reason_the_1st_2nd_4th_8th_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    drops = DropCounter()
    with caplog.at_level(logging.WARNING):
        for n in range(100):
            drops.count("garbage", f"detail-{n}")
    said = [record.getMessage().split() for record in caplog.records]
    assert [words[2] for words in said] == [f"times={2**n}" for n in range(7)]
    assert said[0] == ["dropped", "reason=garbage", "times=1", "detail-0"]


def test_reasons_are_bounded_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "REASONS_MAX", 3)
    drops = DropCounter()
    for n in range(10):
        drops.count(f"reason-{n}")
    drops.count("reason-0")
    assert drops.snapshot() == {"reason-0": 2, "reason-1": 1, "reason-2": 1, "other": 7}


def test_counts_of_many_threads_add_up() -> None:
    drops = DropCounter()

    def count() -> None:
        for _ in range(500):
            drops.count("x")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drops.snapshot() == {"x": 2000}
