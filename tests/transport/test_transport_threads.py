"""Workers, pump and ticker: order, survival of errors, and an end within a deadline."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from ciris_mesh.errors import ShutdownTimeout
from ciris_mesh.transport.base import Address, DialFailed, TransportEvent
from ciris_mesh.transport.threads import WORKERS, EventPump, Ticker, WorkerPool


def soon() -> float:
    return time.monotonic() + 240.0


def wait_for(go_on: threading.Event) -> None:
    assert go_on.wait(240)


def event(number: int) -> DialFailed:
    return DialFailed(Address(bytes(15) + bytes([number])), "no_path")


def test_the_pool_finishes_its_jobs_before_it_ends() -> None:
    pool, done = WorkerPool(), []
    pool.start()
    for number in range(100):
        pool.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    pool.stop(soon())
    assert sorted(done) == list(range(100))


def test_a_stuck_job_leaves_the_other_workers_free() -> None:
    pool, go_on, other = WorkerPool(), threading.Event(), threading.Event()
    pool.start()
    for _ in range(WORKERS - 1):
        pool.submit(lambda: wait_for(go_on))
    pool.submit(other.set)
    assert other.wait(240)
    with pytest.raises(ShutdownTimeout, match="ciris-link-"):
        pool.stop(time.monotonic() + 0.05)
    go_on.set()
    pool.stop(soon())


def test_a_failing_job_is_logged_and_the_pool_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    pool, done = WorkerPool(), threading.Event()
    pool.start()
    with caplog.at_level(logging.ERROR):
        for _ in range(WORKERS):
            pool.submit(lambda: [][0])
        pool.submit(done.set)
        assert done.wait(240)
        pool.stop(soon())
    assert "IndexError" in caplog.text


def test_the_pump_keeps_the_order_and_runs_what_follows() -> None:
    pump = EventPump()
    log: list[object] = []
    pump.start(log.append)
    for number in range(50):
        pump.put(event(number), then=lambda number=number: log.append(number))  # type: ignore[misc]
    pump.stop(soon())
    assert log == [entry for number in range(50) for entry in (event(number), number)]


def test_a_failing_sink_is_logged_and_the_pump_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[TransportEvent] = []

    def sink(each: TransportEvent) -> None:
        seen.append(each)
        raise ValueError("the sink is broken")

    pump, after = EventPump(), []
    pump.start(sink)
    with caplog.at_level(logging.ERROR):
        pump.put(event(1), then=lambda: after.append(1))
        pump.put(event(2))
        pump.stop(soon())
    assert seen == [event(1), event(2)]
    assert after == [1]
    assert "the sink is broken" in caplog.text


def test_the_ticker_ticks_when_woken_and_when_it_asked_to() -> None:
    ticked = threading.Semaphore(0)
    pauses = iter([0.0, 3600.0, 3600.0])

    def tick(_now: float) -> float:
        ticked.release()
        return next(pauses)

    ticker = Ticker(tick)
    ticker.start()
    assert ticked.acquire(timeout=240)
    assert ticked.acquire(timeout=240)
    assert not ticked.acquire(blocking=False)
    ticker.wake()
    assert ticked.acquire(timeout=240)
    ticker.stop(soon())


def test_a_failing_tick_is_logged_and_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    ticked = threading.Semaphore(0)

    def tick(_now: float) -> float:
        ticked.release()
        raise ValueError("the tick is broken")

    ticker = Ticker(tick)
    with caplog.at_level(logging.ERROR):
        ticker.start()
        assert ticked.acquire(timeout=240)
        ticker.wake()
        assert ticked.acquire(timeout=240)
        ticker.stop(soon())
    assert "the tick is broken" in caplog.text


def test_what_never_started_stops_at_once() -> None:
    WorkerPool().stop(soon())
    EventPump().stop(soon())
    Ticker(lambda _now: 1.0).stop(soon())
