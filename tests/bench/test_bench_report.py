"""Rows compare with a floor and nothing else decides."""

from __future__ import annotations

import pytest

from ciris_mesh.bench.report import Report, median, row


@pytest.mark.parametrize(
    ("measured", "floor", "limit", "ok"),
    [(8.0, 1.0, 8.0, True), (8.001, 1.0, 8.0, False), (0, 1, 0, True), (1, 1, 0, False)],
)
def test_within_the_limit_is_ok(measured: float, floor: float, limit: float, *, ok: bool) -> None:
    assert row("x", measured, floor=floor, limit=limit).ok is ok


def test_without_a_limit_nothing_is_demanded() -> None:
    shown = row("x", 500, floor=1, limit=None)
    assert shown.ok
    assert shown.limit is None


def test_one_row_over_its_limit_fails_the_bench() -> None:
    good, bad = row("a", 1, floor=1, limit=1), row("b", 2, floor=1, limit=1)
    assert Report("x", (good, good)).ok
    assert not Report("x", (good, bad)).ok


def test_the_line_has_exactly_these_members() -> None:
    report = Report("tcp", (row("n records, s", 3.0, floor=1.5, limit=8),))
    assert report.fields() == {
        "bench": "tcp",
        "rows": [
            {
                "quantity": "n records, s",
                "measured": 3.0,
                "floor": 1.5,
                "ratio": 2.0,
                "limit": 8,
                "ok": True,
            }
        ],
    }


def test_the_median_is_the_middle_one() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2
