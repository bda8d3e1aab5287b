"""How a peer could be reached: evidence by medium, forgotten after a day, unknown without any."""

from __future__ import annotations

from ciris_mesh.runtime.reach import UNKNOWN, WINDOW_S, MediumReach, Reach


def test_nobody_tried_is_unknown_and_not_zero() -> None:
    assert Reach().rows(5.0) == ()
    reach = Reach()
    reach.came_in("tcp", 1.0)
    (row,) = reach.rows(5.0)
    assert row == MediumReach("tcp", 0, 0, 1, share=None, last_s=4.0)


def test_media_are_counted_apart() -> None:
    reach = Reach()
    reach.answered("radio", 1.0)
    reach.failed(2.0, "radio")
    reach.failed(3.0, "radio")
    reach.came_in("tcp", 4.0)
    assert reach.rows(10.0) == (
        MediumReach("radio", 3, 1, 0, share=0.333, last_s=9.0),
        MediumReach("tcp", 0, 0, 1, share=None, last_s=6.0),
    )


def test_a_dial_that_found_no_way_counts_for_the_last_medium() -> None:
    reach = Reach()
    reach.failed(0.0)
    reach.answered("tcp", 1.0)
    reach.failed(2.0)
    rows = {row.medium: (row.dialled, row.answered, row.last_s) for row in reach.rows(2.0)}
    assert rows == {UNKNOWN: (1, 0, None), "tcp": (2, 1, 1.0)}


def test_evidence_is_forgotten_after_a_day_and_bounded_meanwhile() -> None:
    reach = Reach()
    for second in range(0, 3 * int(WINDOW_S), 60):
        reach.failed(float(second), "tcp")
    (row,) = reach.rows(3 * WINDOW_S)
    assert WINDOW_S / 60 - 60 <= row.dialled <= WINDOW_S / 60
    assert len(reach._counts) <= 25
    assert reach.rows(5 * WINDOW_S) == ()
