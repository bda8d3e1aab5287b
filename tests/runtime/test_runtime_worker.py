"""Strands and timers: order within a strand, few threads, nothing lost quietly, an end in time."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import pytest

from ciris_mesh.errors import BackPressure, LifecycleError, ShutdownTimeout
from ciris_mesh.runtime import worker
from ciris_mesh.runtime.worker import STRAND_TASKS_MAX, Timer, WorkerPool
from support.virtual_time import LeapClock
from support.waiting import DEADLINE_S, wait_until


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(threads=3)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def clock() -> LeapClock:
    return LeapClock()


@pytest.fixture
def timer(clock: LeapClock) -> Iterator[Timer]:
    made = Timer(clock)
    clock.wakes(made)
    made.start()
    yield made
    made.stop()


class Gate:
    """A task that runs until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self._open.wait(DEADLINE_S)

    def open(self) -> None:
        self._open.set()


# --- strands --------------------------------------------------------------------------------------


def test_tasks_of_a_strand_run_in_order_one_at_a_time(pool: WorkerPool) -> None:
    done: dict[int, list[int]] = defaultdict(list)
    inside: dict[int, int] = defaultdict(int)
    together: list[int] = []

    def task(strand: int, n: int) -> None:
        inside[strand] += 1
        together.append(inside[strand])
        done[strand].append(n)
        inside[strand] -= 1

    for n in range(50):
        for strand in range(8):
            pool.submit(strand, partial(task, strand, n))
    wait_until(lambda: sum(map(len, done.values())) == 400)
    assert all(done[strand] == list(range(50)) for strand in range(8))
    assert set(together) == {1}


def test_a_strand_that_is_stuck_holds_up_nobody_else(pool: WorkerPool) -> None:
    gate, other = Gate(), threading.Event()
    pool.submit("stuck", gate)
    assert gate.entered.wait(DEADLINE_S)
    pool.submit("stuck", lambda: None)
    pool.submit("lively", other.set)
    assert other.wait(DEADLINE_S)
    gate.open()


def test_strands_run_beside_each_other(pool: WorkerPool) -> None:
    meeting = threading.Barrier(3, timeout=DEADLINE_S)
    met: list[int] = []
    for strand in range(3):
        pool.submit(strand, lambda: met.append(meeting.wait()))
    wait_until(lambda: len(met) == 3)


def test_fifty_peers_times_thirteen_kinds_are_a_handful_of_threads(pool: WorkerPool) -> None:
    seen: set[str] = set()
    done = threading.Semaphore(0)

    def task() -> None:
        seen.add(threading.current_thread().name)
        done.release()

    for n in range(50 * 13):
        pool.submit(("peer", n % 50), task)
    for _ in range(50 * 13):
        assert done.acquire(timeout=DEADLINE_S)
    assert seen <= {f"ciris-worker-{n}" for n in range(3)}


def test_a_full_strand_is_back_pressure_and_others_have_room(pool: WorkerPool) -> None:
    gate = Gate()
    pool.submit("full", gate)
    assert gate.entered.wait(DEADLINE_S)
    for _ in range(STRAND_TASKS_MAX):
        pool.submit("full", lambda: None)
    with pytest.raises(BackPressure, match="full"):
        pool.submit("full", lambda: None)
    pool.submit("other", lambda: None)
    gate.open()
    reached = threading.Event()
    wait_until(lambda: _accepts(pool, "full", reached))
    assert reached.wait(DEADLINE_S)


def _accepts(pool: WorkerPool, strand: str, then: threading.Event) -> bool:
    try:
        pool.submit(strand, then.set)
    except BackPressure:
        return False
    return True


def test_a_task_that_fails_is_logged_and_the_strand_goes_on(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    after = threading.Event()

    def fail() -> None:
        raise RuntimeError("broken task")

    pool.submit("strand", fail)
    pool.submit("strand", after.set)
    assert after.wait(DEADLINE_S)
    assert "broken task" in caplog.text
    assert "strand=strand" in caplog.text


def test_a_task_may_queue_the_next_one(pool: WorkerPool) -> None:
    seen: list[int] = []

    def again(n: int) -> None:
        seen.append(n)
        if n:
            pool.submit("strand", lambda: again(n - 1))

    pool.submit("strand", lambda: again(20))
    wait_until(lambda: seen == list(range(20, -1, -1)))


def test_stop_lets_the_running_task_end_and_drops_those_that_wait() -> None:
    pool = WorkerPool(threads=1)
    pool.start()
    gate, ran = Gate(), threading.Event()
    pool.submit("a", gate)
    assert gate.entered.wait(DEADLINE_S)
    pool.submit("a", ran.set)
    pool.submit("b", ran.set)
    opener = threading.Timer(0.05, gate.open)
    opener.start()
    pool.stop()
    opener.join()
    assert not ran.is_set()
    with pytest.raises(LifecycleError):
        pool.submit("a", ran.set)


def test_stop_is_idempotent_and_fine_before_start() -> None:
    pool = WorkerPool()
    pool.stop()
    pool.stop()


def test_a_pool_may_be_stopped_by_one_of_its_own_tasks() -> None:
    pool = WorkerPool(threads=2)
    pool.start()
    stopped = threading.Event()

    def stop() -> None:
        pool.stop()
        stopped.set()

    pool.submit("x", stop)
    assert stopped.wait(DEADLINE_S)


def test_a_task_that_never_returns_is_reported() -> None:
    pool = WorkerPool(threads=1)
    pool.start()
    gate = Gate()
    pool.submit("stuck", gate)
    assert gate.entered.wait(DEADLINE_S)
    with pytest.raises(ShutdownTimeout) as caught:
        pool.stop(timeout_s=0.02)
    assert caught.value.thread_name == "ciris-worker-0"
    gate.open()
    pool.stop()


# --- timers ---------------------------------------------------------------------------------------


def test_functions_are_called_when_due_in_order_of_their_times(
    timer: Timer, clock: LeapClock
) -> None:
    called: list[int] = []
    for n in (3, 1, 2):
        timer.after(100.0 * n, partial(called.append, n))
    timer.after(1000.0, lambda: called.append(1000))
    assert called == []
    clock.leap(301.0)
    wait_until(lambda: called == [1, 2, 3])
    clock.leap(700.0)
    wait_until(lambda: called == [1, 2, 3, 1000])


def test_equal_times_keep_the_order_in_which_they_were_set(timer: Timer, clock: LeapClock) -> None:
    called: list[int] = []
    due_s = clock() + 50.0
    for n in range(20):
        timer.at(due_s, partial(called.append, n))
    clock.leap(60.0)
    wait_until(lambda: len(called) == 20)
    assert called == list(range(20))


def test_a_time_in_the_past_is_now(timer: Timer, clock: LeapClock) -> None:
    called = threading.Event()
    timer.at(clock() - 5.0, called.set)
    assert called.wait(DEADLINE_S)


def test_an_earlier_time_wakes_a_timer_that_sleeps_for_a_later_one(timer: Timer) -> None:
    soon = threading.Event()
    timer.after(3600.0, lambda: None)
    timer.after(0.01, soon.set)
    assert soon.wait(DEADLINE_S)


def test_a_function_that_fails_is_logged_and_the_timer_goes_on(
    timer: Timer, caplog: pytest.LogCaptureFixture
) -> None:
    after = threading.Event()

    def fail() -> None:
        raise RuntimeError("broken timer")

    timer.after(0.0, fail)
    timer.after(0.0, after.set)
    assert after.wait(DEADLINE_S)
    assert "broken timer" in caplog.text


def test_after_stop_nothing_is_called_and_setting_is_ignored(clock: LeapClock) -> None:
    timer, called = Timer(clock), threading.Event()
    timer.start()
    timer.after(10.0, called.set)
    timer.stop()
    timer.stop()
    timer.after(0.0, called.set)
    clock.leap(20.0)
    assert not called.is_set()


def test_stopping_a_timer_that_was_never_started_is_fine() -> None:
    Timer().stop()


def test_a_function_that_never_returns_is_reported(clock: LeapClock) -> None:
    timer, gate = Timer(clock), Gate()
    timer.start()
    timer.after(0.0, gate)
    assert gate.entered.wait(DEADLINE_S)
    with pytest.raises(ShutdownTimeout, match="ciris-timer"):
        timer.stop(timeout_s=0.02)
    gate.open()
    timer.stop()


def test_timers_are_bounded(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TIMERS_MAX", 3)
    for _ in range(3):
        timer.after(3600.0, lambda: None)
    with pytest.raises(BackPressure):
        timer.after(3600.0, lambda: None)


def test_failures_of_the_two_threads_are_logged_with_their_traceback(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("look here")

    with caplog.at_level(logging.ERROR):
        pool.submit("s", fail)
        wait_until(lambda: caplog.records)
    assert caplog.records[0].exc_info is not None
