"""Group commit: many callers, few transactions, and one caller's failure is its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from ciris_mesh.directory.commit import GROUP_JOBS_MAX, GroupCommit
from ciris_mesh.directory.store import Store
from ciris_mesh.errors import LifecycleError
from support.waiting import wait_until

WAIT_S = 240.0


class Ledger:
    """Stands in for a store: counts commits, keeps what was committed, can refuse to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.commits: list[bool] = []
        self.told: list[str] = []
        self.fail_commit = False
        self.fail_reload = False
        self.group = GroupCommit(cast(Store, self), self._committed, self._rolled_back)

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        before = list(self.lines)
        try:
            yield
            if self.fail_commit:
                raise OSError("disk full")
        except BaseException:
            self.lines = before
            raise
        self.commits.append(durable)

    def _committed(self) -> None:
        self.told.append("committed")

    def _rolled_back(self) -> None:
        self.told.append("rolled back")
        if self.fail_reload:
            raise OSError("disk gone")

    def write(self, line: str) -> Callable[[], str]:
        def job() -> str:
            self.lines.append(line)
            return line

        return job


def stack_up(ledger: Ledger, jobs: list[Callable[[], str]]) -> list[object]:
    """Run `jobs` on a thread each, all queued while the writer is busy. Results in order."""
    busy, go = threading.Event(), threading.Event()

    def hold() -> str:
        busy.set()
        assert go.wait(WAIT_S)
        return "held"

    results: list[object] = [None] * len(jobs)

    def run(index: int) -> None:
        try:
            results[index] = ledger.group.run(jobs[index], durable=False)
        except Exception as error:  # noqa: BLE001 (the result under test)
            results[index] = error

    holder = threading.Thread(target=ledger.group.run, args=(hold,), kwargs={"durable": True})
    holder.start()
    assert busy.wait(WAIT_S)
    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(ledger.group._queue) == len(jobs), "all are behind the holder")
    go.set()
    for thread in (holder, *threads):
        thread.join(WAIT_S)
        assert not thread.is_alive()
    return results


def test_jobs_that_queue_up_share_a_commit() -> None:
    ledger = Ledger()
    jobs = [ledger.write(str(n)) for n in range(10)]
    assert stack_up(ledger, jobs) == [str(n) for n in range(10)]
    assert sorted(ledger.lines) == sorted(str(n) for n in range(10))
    assert ledger.commits == [True, False], "one for the holder, one for all ten"


def test_a_group_is_bounded() -> None:
    ledger = Ledger()
    stack_up(ledger, [ledger.write(str(n)) for n in range(GROUP_JOBS_MAX + 1)])
    assert len(ledger.commits) == 3


def test_a_failing_job_fails_alone() -> None:
    ledger = Ledger()

    def broken() -> str:
        ledger.lines.append("half written")
        raise ValueError("no")

    results = stack_up(ledger, [ledger.write("a"), broken, ledger.write("b")])
    assert results[0] == "a"
    assert isinstance(results[1], ValueError)
    assert results[2] == "b"
    assert sorted(ledger.lines) == ["a", "b"]
    assert "rolled back" in ledger.told


def test_a_durable_job_makes_its_group_durable() -> None:
    ledger = Ledger()
    ledger.group.run(ledger.write("a"), durable=False)
    ledger.group.run(ledger.write("b"), durable=True)
    assert ledger.commits == [False, True]


def test_a_failed_commit_is_told_and_the_next_may_work() -> None:
    ledger = Ledger()
    ledger.fail_commit = True
    with pytest.raises(OSError, match="disk full"):
        ledger.group.run(ledger.write("a"), durable=False)
    assert ledger.lines == []
    ledger.fail_commit = False
    assert ledger.group.run(ledger.write("b"), durable=False) == "b"
    assert ledger.told == ["rolled back", "committed"]


def test_when_the_store_is_gone_nobody_writes_any_more() -> None:
    ledger = Ledger()
    ledger.fail_commit = ledger.fail_reload = True
    with pytest.raises(OSError, match="disk full") as caught:
        ledger.group.run(ledger.write("a"), durable=False)
    assert any("disk gone" in note for note in caught.value.__notes__)
    with pytest.raises(LifecycleError, match="closed"):
        ledger.group.run(ledger.write("b"), durable=False)


def test_an_interrupt_reaches_its_caller_and_writes_nothing() -> None:
    ledger = Ledger()

    def interrupted() -> str:
        ledger.lines.append("half written")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.group.run(interrupted, durable=False)
    assert ledger.lines == []
    assert ledger.group.run(ledger.write("b"), durable=False) == "b"


def test_closing_runs_its_last_word_once() -> None:
    ledger = Ledger()
    last: list[str] = []
    ledger.group.close(lambda: last.append("closed"))
    ledger.group.close(lambda: last.append("again"))
    assert last == ["closed"]
    with pytest.raises(LifecycleError, match="closed"):
        ledger.group.run(ledger.write("late"), durable=False)
