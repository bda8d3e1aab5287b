"""The bench of a gateway: a removal from TCP overtakes what waits for the cell."""

from __future__ import annotations

from typing import Any

import pytest

from ciris_mesh.bench import gateway
from ciris_mesh.bench.gateway import run
from ciris_mesh.bench.report import Report, Row
from ciris_mesh.protocol import outqueue, planner


def small(seed: int = 1, **more: Any) -> tuple[Report, list[str]]:
    said: list[str] = []
    given = {"hours": 2, "records": 20, **more}
    return run(seed=seed, tell=said.append, **given), said


def quantity(report: Report, start: str) -> Row:
    (found,) = [row for row in report.rows if row.quantity.startswith(start)]
    return found


def test_the_revocation_crosses_first_and_the_law_is_kept() -> None:
    report, said = small()
    assert report.bench == "gateway"
    assert report.ok, report
    assert quantity(report, "records handed over before").measured > 0, "it had to overtake"
    assert quantity(report, "seconds on air").measured <= 36
    assert said[0].startswith("the revocation is in the cell ")
    assert small() == (report, said)


def test_the_defaults_are_those_of_the_requirement() -> None:
    assert gateway.RECORDS == 100


def test_an_order_that_knows_no_removals_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (planner, outqueue):
        monkeypatch.setattr(module, "priority", lambda _kind: 1)
    monkeypatch.setattr(outqueue.Item, "is_removal", property(lambda _item: False))
    report, _ = small()
    assert quantity(report, "records handed over between").measured > 0
    assert not report.ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_day_with_a_hundred_records(seed: int) -> None:
    said: list[str] = []
    report = run(seed=seed, tell=said.append)
    assert report.ok, (report, said)
