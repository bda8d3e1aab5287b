"""What one peer may make a node work."""

from __future__ import annotations

import pytest

from ciris_mesh.runtime.allowance import (
    ANSWERING_BURST_S,
    ANSWERING_SHARE,
    OPENING_COST_S,
    Allowance,
)


def test_it_is_spent_by_work_and_refilled_by_time() -> None:
    now = [0.0]
    allowance = Allowance(lambda: now[0])
    assert allowance.is_open()
    allowance.spend(ANSWERING_BURST_S + 1.0)  # what is under way is finished
    assert not allowance.is_open()
    now[0] += 0.9 / ANSWERING_SHARE
    assert not allowance.is_open()
    now[0] += 0.2 / ANSWERING_SHARE
    assert allowance.is_open()
    now[0] += 10 * ANSWERING_BURST_S / ANSWERING_SHARE
    assert allowance.is_open()
    allowance.spend(ANSWERING_BURST_S)
    assert not allowance.is_open(), "time saves up no more than a burst"


def test_work_that_fails_is_spent_as_well() -> None:
    worked = [0.0]
    allowance = Allowance(lambda: 0.0, lambda: worked[0])

    def fail() -> None:
        worked[0] += ANSWERING_BURST_S
        raise KeyError

    with pytest.raises(KeyError), allowance.working():
        fail()
    assert not allowance.is_open()


def test_openings_alone_are_bounded_by_a_rate() -> None:
    allowance = Allowance(lambda: 0.0, lambda: 0.0)
    opened = 0
    while allowance.is_open():
        allowance.spend(OPENING_COST_S)
        opened += 1
    assert opened == pytest.approx(ANSWERING_BURST_S / OPENING_COST_S, abs=1)
