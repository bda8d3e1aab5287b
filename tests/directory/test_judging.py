"""A batch is judged side by side, and nobody can tell from the answers."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.directory import judging
from ciris_mesh.directory.judging import BATCH_MIN, THREADS_MAX, judge_all

DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_cores", lambda: 64)


@given(st.lists(st.integers(), max_size=100))
def test_answers_come_in_the_order_asked(numbers: list[int]) -> None:
    assert judge_all(lambda number: -number, numbers) == [-number for number in numbers]


def test_a_large_batch_is_judged_by_several_threads_at_once() -> None:
    meeting = threading.Barrier(THREADS_MAX)
    judges: set[str] = set()

    def judge(number: int) -> int:
        if number < THREADS_MAX:
            meeting.wait(DEADLINE_S)  # broken unless all threads are in here together
        judges.add(threading.current_thread().name)
        return number

    judge_all(judge, range(THREADS_MAX * BATCH_MIN))
    ours = judges - {threading.current_thread().name}
    assert len(judges) == THREADS_MAX
    assert all(name.startswith("ciris-judge") for name in ours)
    assert not [thread for thread in threading.enumerate() if thread.name in ours]


def test_a_small_batch_needs_no_thread() -> None:
    here = threading.get_ident()
    judges = judge_all(lambda _: threading.get_ident(), range(BATCH_MIN - 1))
    assert judges == [here] * (BATCH_MIN - 1)


def test_one_core_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_cores", lambda: 1)
    here = threading.get_ident()
    assert set(judge_all(lambda _: threading.get_ident(), range(100))) == {here}


@pytest.mark.parametrize("bad", [0, 1, 2, 50])
def test_what_a_judge_raises_is_raised(bad: int) -> None:
    def judge(number: int) -> int:
        if number == bad:
            raise KeyError(number)
        return number

    with pytest.raises(KeyError):
        judge_all(judge, range(100))


def test_this_machine_has_cores() -> None:
    assert judging._cores() >= 1
