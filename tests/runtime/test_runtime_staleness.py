"""The board: fresh, bounded or unknown, and never fresher than tau_partial allows."""

from __future__ import annotations

import pytest

from ciris_mesh.protocol.limits import TAU_PARTIAL_S
from ciris_mesh.protocol.report import BoundedBy, InSync, StalenessSignal, Unknown
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.staleness import StalenessBoard, Standing

KIND, OTHER = EnvelopeKind.KEY, EnvelopeKind.FAMILY


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> StalenessBoard:
    return StalenessBoard(clock)


def test_nothing_posted_is_unknown_and_not_fresh(board: StalenessBoard) -> None:
    assert board.standing("bob", KIND) == Standing(Unknown(), None)
    assert board.age_s("bob", KIND) is None
    assert not board.is_peer_fresh("bob", KIND)
    assert not board.is_fresh(KIND)


def test_in_sync_is_fresh_for_tau_partial_and_not_a_second_longer(
    board: StalenessBoard, clock: Clock
) -> None:
    assert board.tau_partial_s == TAU_PARTIAL_S == 300.0
    board.post("bob", KIND, InSync())
    clock.now_s += TAU_PARTIAL_S - 0.001
    assert board.is_fresh(KIND)
    clock.now_s += 0.001
    assert board.age_s("bob", KIND) == TAU_PARTIAL_S
    assert not board.is_fresh(KIND)
    board.post("bob", KIND, InSync())
    assert board.is_fresh(KIND)


def test_tau_partial_is_configurable(clock: Clock) -> None:
    board = StalenessBoard(clock, tau_partial_s=6 * 3600.0)
    board.post("bob", KIND, InSync())
    clock.now_s += 5 * 3600.0
    assert board.is_fresh(KIND)


@pytest.mark.parametrize("signal", [BoundedBy(2), Unknown()])
def test_anything_but_in_sync_is_not_fresh_and_keeps_the_time_of_the_last_confirmation(
    board: StalenessBoard, clock: Clock, signal: StalenessSignal
) -> None:
    board.post("bob", KIND, InSync())
    clock.now_s += 10.0
    board.post("bob", KIND, signal)
    assert not board.is_peer_fresh("bob", KIND)
    assert board.standing("bob", KIND) == Standing(signal, 50.0)
    assert board.age_s("bob", KIND) == 10.0


def test_one_fresh_peer_is_enough(board: StalenessBoard) -> None:
    board.post("bob", KIND, BoundedBy(1))
    board.post("carol", KIND, InSync())
    assert board.is_fresh(KIND)
    assert not board.is_peer_fresh("bob", KIND)


def test_kinds_are_apart(board: StalenessBoard) -> None:
    board.post("bob", KIND, InSync())
    assert not board.is_fresh(OTHER)
    assert board.standing("bob", OTHER).signal == Unknown()


def test_a_forgotten_peer_counts_no_more(board: StalenessBoard) -> None:
    board.post("bob", KIND, InSync())
    board.post("bob", OTHER, InSync())
    board.post("carol", OTHER, InSync())
    board.forget("bob")
    assert not board.is_fresh(KIND)
    assert board.is_fresh(OTHER)
    assert board.standing("bob", OTHER).signal == Unknown()
