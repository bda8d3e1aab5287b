"""Trying again takes twice as long each time, and never for ever."""

from __future__ import annotations

from ciris_mesh.directory.backoff import BackoffMemory


def memory() -> BackoffMemory[str]:
    return BackoffMemory(10.0, 35.0, entries_max=2)


def test_waits_double_up_to_the_longest() -> None:
    backoff, now_s, waits = memory(), 0.0, []
    for _ in range(4):
        backoff.note("a", now_s)
        wait_s = next(s for s in range(100) if not backoff.is_active("a", now_s + s))
        waits.append(wait_s)
        now_s += wait_s
    assert waits == [10, 20, 35, 35]


def test_failing_again_meanwhile_changes_nothing() -> None:
    backoff = memory()
    backoff.note("a", 0.0)
    backoff.note("a", 9.0)
    assert not backoff.is_active("a", 10.0)


def test_success_starts_afresh() -> None:
    backoff = memory()
    backoff.note("a", 0.0)
    backoff.forget("a")
    backoff.forget("b")
    assert not backoff.is_active("a", 0.0)
    backoff.note("a", 0.0)
    assert not backoff.is_active("a", 10.0)


def test_the_oldest_makes_room() -> None:
    backoff = memory()
    for name in "abc":
        backoff.note(name, 0.0)
    assert [backoff.is_active(name, 1.0) for name in "abc"] == [False, True, True]
    assert len(backoff) == 2
