"""The simulated cell, and the onlooker that judges it."""

from __future__ import annotations

import random

import pytest

from ciris_mesh.bench import budget
from ciris_mesh.bench.budget import Watch, run
from ciris_mesh.bench.cell import LORA, SETTINGS, Cell, answer_s, cost, part_sizes
from ciris_mesh.bench.report import Report
from ciris_mesh.protocol.duty import Rule
from ciris_mesh.protocol.handover import Batch
from ciris_mesh.protocol.ledger import Ledger, Reservation
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.protocol.radioplan import RadioPlan
from ciris_mesh.protocol.window import HOUR_S
from ciris_mesh.records.kinds import EnvelopeKind
from support.airworld import Radio

K = EnvelopeKind
NOBODY: frozenset[int] = frozenset()


def item(number: int, kind: K = K.ATTESTATION, size: int = 3_450) -> Item:
    return Item(kind, number.to_bytes(32, "big"), size, number)


def cell(nodes: int = 3, *, loss: float = 0.0, duty: float = 0.1) -> tuple[Cell, Watch]:
    watch = Watch(nodes)
    made = Cell(nodes, 7, Rule(duty), plan=RadioPlan(), share=0.8, loss=loss, watcher=watch)
    return made, watch


def small(seed: int = 1, hours: int = 3, loss: float = 0.02) -> tuple[Report, list[str]]:
    said: list[str] = []
    report = run(
        seed=seed, tell=said.append, hours=hours, nodes=4, records=30, new_per_hour=10, loss=loss
    )
    return report, said


# --- the onlooker ---------------------------------------------------------------------------------


def test_the_worst_hour_is_found_wherever_it_lies() -> None:
    chance = random.Random(3)
    watch, radio, now_s = Watch(1), Radio(), 0.0
    for _ in range(300):
        airtime_s = chance.random() * 2
        now_s += airtime_s + chance.expovariate(1 / 60)
        watch.air(0, airtime_s, now_s)
        radio.send("own", now_s - airtime_s, airtime_s)
    assert watch.worst_hour_s(0) == pytest.approx(radio.worst_hour())
    assert watch.used_s(0) == pytest.approx(radio.between(0, now_s))


def test_it_sees_who_is_overtaken_and_who_is_not() -> None:
    watch = Watch(3)
    for other, kind in ((1, K.KEY), (2, K.REVOCATION)):
        watch.owes(0, other, item(other, kind), 0.0)
    watch.owes(1, 2, item(9), 0.0)
    key = Batch(1, LORA, "1", (item(1, K.KEY),), 10.0)
    watch.hands(0, key, 5.0, frozenset({2}))
    assert watch.overtaken == 0, "who is left alone is not waiting"
    watch.hands(0, Batch(2, LORA, "1", key.items, 10.0), 5.0, NOBODY)
    assert watch.overtaken == 1
    removal = Batch(3, LORA, "2", (item(2, K.REVOCATION),), 10.0)
    watch.hands(0, removal, 6.0, NOBODY)
    watch.hands(0, Batch(4, LORA, "1", key.items, 10.0), 6.0, NOBODY)
    assert watch.overtaken == 1, "what is handed over does not wait"
    assert watch.most_handed_s == 40
    for batch in (key, removal):
        watch.ends(0, batch)
    watch.hands(0, Batch(5, LORA, "1", key.items, 1.0), 7.0, NOBODY)
    assert watch.overtaken == 2, "it came back"


def test_it_knows_what_is_owed_and_for_how_long() -> None:
    watch = Watch(2)
    for number in range(3):
        watch.owes(0, 1, item(number), 100.0 * number)
    watch.paid(0, 1, item(0).name)
    assert (watch.owed_bytes(0), watch.owed_bytes(1), watch.paid_for) == (6_900, 0, 1)
    watch.hands(0, Batch(1, LORA, "1", (item(1),), 1.0), 110.0, NOBODY)
    watch.paid(0, 1, item(1).name)
    assert watch.median_wait_s(1_000.0, removals=False) == 10.0
    assert watch.median_wait_s(1_000.0, removals=True) == 0.0


# --- the cell -------------------------------------------------------------------------------------


def test_a_resource_is_cut_as_reticulum_cuts_it() -> None:
    """3,440 B go as seven packets of 483 and one of 211 to 275, measured."""
    sizes = part_sizes(3_440)
    assert sizes == [483] * 7 + [211]
    assert part_sizes(928) == [483, 483]


def test_a_transfer_costs_what_was_planned_for_it() -> None:
    made, watch = cell(2)
    made.put(0, item(1))
    made.run(200)
    assert item(1).name in made.nodes[1].held
    planned_s = cost().batch_s(3_450)
    announces_s = SETTINGS.packet_s(191)
    assert planned_s * 0.8 < watch.used_s(0) <= planned_s + announces_s
    proof_s = SETTINGS.packet_s(118)
    assert watch.used_s(1) <= answer_s(3_450) + proof_s + announces_s
    usage = made.nodes[0].ledger.usage(LORA, made.now_s)
    assert usage.used_s == pytest.approx(watch.used_s(0), abs=0.1), "by its own account"


def test_everybody_gets_everything_in_spite_of_losses() -> None:
    made, watch = cell(4, loss=0.1)
    for number in range(5):
        made.put(number % 4, item(number))
    made.run(4 * HOUR_S)
    assert all(len(node.held) == 5 for node in made.nodes)
    assert sum(watch.owed_bytes(node) for node in range(4)) == 0
    assert [node.planner.owed() for node in made.nodes] == [()] * 4


def test_what_the_other_has_already_is_not_sent() -> None:
    made, watch = cell(2)
    for number in range(3):
        made.put(0, item(number))
        made.nodes[1].held[item(number).name] = item(number)
    made.run(60)
    assert watch.paid_for == 3
    assert watch.used_s(0) < 2


def test_who_has_no_air_to_answer_says_so_and_is_asked_later() -> None:
    made, watch = cell(2, duty=0.01)
    busy = made.nodes[1].ledger.reserve(LORA, 28.0, 0.0)
    assert isinstance(busy, Reservation)
    made.put(0, item(1))
    made.run(600)
    assert item(1).name not in made.nodes[1].held
    assert made.nodes[0].planner.counts() == {"peer_had_no_air": 3}
    assert watch.used_s(0) < 3 * 2, "a link and a comparison each time"
    made.nodes[1].ledger.release(busy)
    made.run(1_800)
    assert item(1).name in made.nodes[1].held


# --- the bench ------------------------------------------------------------------------------------


def test_a_few_hours_are_within_all_limits_and_follow_from_the_seed() -> None:
    report, said = small()
    assert report.bench == "budget"
    assert report.ok, report
    assert [line.split(":")[0] for line in said] == ["the last node joins with nothing", "hour 3"]
    assert "MB owed" in said[-1]
    assert small() == (report, said)
    assert small(seed=2) != (report, said)


def test_the_defaults_are_those_of_the_requirement() -> None:
    assert (budget.NODES, budget.RECORDS, budget.NEW_PER_HOUR, budget.HOURS) == (6, 500, 10, 24)
    assert Rule(0.01) == budget.DUTY
    assert (SETTINGS.sf, SETTINGS.bandwidth_hz) == (8, 125_000)


def test_a_ledger_that_gives_too_much_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "free_s", lambda *_, **__: 1_000.0)

    def generous(_: Ledger, interface: str, airtime_s: float, *__: float, **___: float) -> object:
        return Reservation(next(numbers), interface, airtime_s)

    numbers = iter(range(1, 1_000_000))
    monkeypatch.setattr(Ledger, "reserve", generous)
    report, _ = small(hours=1)
    assert not report.rows[0].ok
    assert report.rows[0].measured > 36


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_day_at_one_percent(seed: int) -> None:
    said: list[str] = []
    report = run(seed=seed, tell=said.append)
    assert report.ok, (report, said)


@pytest.mark.slow
def test_a_day_with_heavy_losses_is_within_the_law_all_the_same() -> None:
    report = run(seed=1, tell=lambda _: None, loss=0.1)
    law, overtaken, handed, shown, *_ = report.rows
    assert all(row.ok for row in (law, overtaken, handed, shown)), report
