"""What `budget` says of a node's ledger and planner."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from ciris_mesh.protocol.account import Source
from ciris_mesh.protocol.handover import Batch, Offered
from ciris_mesh.protocol.outqueue import Item
from ciris_mesh.protocol.radioplan import POLICY, Cost, KindPolicy
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.budget import BudgetStatus, PeerOwed, RadioBudget
from ciris_mesh.runtime.config import parse_config
from ciris_mesh.transport.base import InterfaceRow, LoraRow

K = EnvelopeKind
LORA = "RNodeInterface[LoRa]"
COST = Cost(setup_s=1.0, byte_s=0.003, frame_s=0.7)


def row(name: str = LORA, medium: str = "radio", *, online: bool = True) -> InterfaceRow:
    return InterfaceRow(name, medium, online, 3_125, 10, 20)


def made(*lines: str, wired: bool = True) -> RadioBudget:
    budget = RadioBudget(parse_config("\n".join(("[radio]", *lines)).encode()).radio)
    if wired:
        budget.ledger.set_interface(LORA, budget.settings.rule_for(LORA))
        budget.planner.set_interface(LORA, COST)
        budget.planner.set_peer("bob-id", LORA)
    return budget


def status(budget: RadioBudget, *rows: InterfaceRow, now_s: float = 10.0) -> BudgetStatus:
    return budget.status(rows or (row(),), {"bob-id": "bob"}, now_s)


def offer(budget: RadioBudget, count: int, size_bytes: int = 3_400, kind: K = K.KEY) -> None:
    for number in range(count):
        item = Item(kind, number.to_bytes(32, "big"), size_bytes, number)
        assert budget.planner.offer("bob-id", item) is Offered.QUEUED


def test_an_interface_nothing_is_counted_on_says_so() -> None:
    budget = made("duty_of = LoRa 10%", wired=False)
    (radio,) = status(budget, row("TCP", "tcp"), row()).interfaces
    assert (radio.name, radio.duty, radio.limit_s) == (LORA, "10%", 360)
    assert (radio.counted, radio.used_s, radio.free_s, radio.drain_h) == (False, None, None, None)


def test_the_schema_is_pinned() -> None:
    budget = made("quiet = 22:00-06:00")
    offer(budget, 2)
    batch = budget.planner.next(LORA, 0.0)
    assert isinstance(batch, Batch)
    budget.ledger.charge(LORA, 0.5, 0.0, Source.RETICULUM)
    budget.ledger.charge(LORA, 0.25, 0.0, Source.FORWARDED)
    answer = json.loads(json.dumps(asdict(status(budget))))
    assert answer == {
        "schema": 1,
        "health": [],
        "advice": [],
        "quiet": "22:00-06:00",
        "interfaces": [
            {
                "name": LORA,
                "online": True,
                "duty": "1%",
                "counted": True,
                "limit_s": 36.0,
                "used_s": 11.95,
                "own_s": 0.0,
                "forwarded_s": 0.25,
                "reticulum_s": 0.5,
                "handed_s": 11.2,
                "free_s": 17.6,
                "owed_records": 2,
                "owed_bytes": 6_800,
                "owed_airtime_s": 22.4,
                "drain_h": 1.3,
            }
        ],
        "owed": [
            {
                "peer": "bob-id",
                "alias": "bob",
                "kind": "key",
                "records": 2,
                "size_bytes": 6_800,
                "never_fits": 0,
            }
        ],
        "counts": {},
        "policy": {kind.value: "peers" for kind in K if POLICY[kind] is KindPolicy.PEERS},
        "joins": [],
    }


def test_a_kind_that_is_off_is_shown() -> None:
    assert status(made("policy = location_proof off")).policy["location_proof"] == "off"


def test_a_join_that_takes_days_is_told_and_is_told_once_as_new() -> None:
    budget = made()
    assert not budget.note_join("bob-id", LORA, 90_000, 0), "some hours: that is what waiting is"
    assert budget.note_join("bob-id", LORA, 1_900_000, 3_500)
    assert not budget.note_join("bob-id", LORA, 1_800_000, 0)
    (join,) = status(budget).joins
    assert (join.peer, join.alias, join.interface) == ("bob-id", "bob", LORA)
    assert (join.sent_bytes, join.received_bytes) == (1_800_000, 0)
    assert join.hours is not None
    assert join.hours > 24
    (line,) = status(budget).advice
    assert f"to bring bob up to date over {LORA} takes {join.hours:.0f} h at least" in line
    assert "export" in line
    assert "import" in line
    assert not budget.note_join("bob-id", LORA, 3_500, 0)
    assert status(budget).joins == ()
    assert not budget.note_join("bob-id", "RNode never seen", 1_900_000, 0)


def test_a_join_is_longer_where_it_is_quiet_and_goes_with_its_peer() -> None:
    budget = made("quiet = 00:00-23:59", "share = 0.1")
    assert budget.note_join("bob-id", LORA, 35_000, 0)
    budget.forget_join("bob-id")
    assert status(budget).joins == ()


def test_no_limit_is_none() -> None:
    (radio,) = status(made("duty = none")).interfaces
    assert (radio.duty, radio.limit_s, radio.free_s, radio.used_s) == ("none", None, None, 0)


def test_over_the_limit_is_a_problem_and_says_what_to_do() -> None:
    budget = made()
    budget.ledger.charge(LORA, 40, 0.0, Source.RETICULUM)
    answer = status(budget)
    (line,) = answer.health
    assert "40.0 s of the 36 s" in line
    assert "lower share" in line
    assert answer.interfaces[0].free_s == 0
    assert status(budget, now_s=3_700).health == ()


def test_a_backlog_of_more_than_a_day_is_better_carried() -> None:
    budget = made()
    offer(budget, 40)
    assert status(budget).advice == ()
    offer(budget, 500, kind=K.ATTESTATION)
    (line,) = status(budget).advice
    assert "owed over RNodeInterface[LoRa] takes 2" in line
    assert ": ciris-mesh export FILE" in line
    assert status(budget).health == ()


def test_what_never_fits_is_said() -> None:
    budget = made("duty = 0.1%")
    offer(budget, 3)
    budget.planner.next(LORA, 0.0)
    answer = status(budget)
    assert answer.owed == (PeerOwed("bob-id", "bob", "key", 3, 10_200, 3),)
    (line,) = answer.advice
    assert "a whole hour allows: 3." in line
    assert answer.counts == {"never_fits": 3}
    assert answer.interfaces[0].drain_h == 0


def test_always_quiet_but_for_a_minute_is_a_long_way() -> None:
    budget = made("quiet = 00:01-00:00")
    offer(budget, 1)
    drain_h = status(budget).interfaces[0].drain_h
    assert drain_h is not None
    assert drain_h > 24
    assert status(budget).advice


def test_counted_and_not_planned_owes_nothing() -> None:
    budget = made(wired=False)
    budget.ledger.set_interface(LORA, budget.settings.rule_for(LORA))
    (radio,) = status(budget).interfaces
    assert (radio.counted, radio.owed_records, radio.drain_h) == (True, 0, 0)


@pytest.mark.parametrize("alias", ["", "bob"])
def test_a_peer_is_shown_with_its_alias_if_it_has_one(alias: str) -> None:
    budget = made()
    offer(budget, 1)
    aliases = {"bob-id": alias} if alias else {}
    (owed,) = budget.status([row()], aliases, 0.0).owed
    assert (owed.peer, owed.alias) == ("bob-id", alias)


def test_the_share_of_the_settings_is_the_ledgers() -> None:
    assert made("share = 0.5").ledger.own_limit_s(LORA) == 18


def test_a_setting_whose_frames_are_longer_than_allowed_is_said() -> None:
    budget = made("duty = dwell", wired=False)
    slow = replace(row(), lora=LoraRow(915_000_000, 125_000, 10, 5))
    fast = replace(slow, lora=LoraRow(915_000_000, 500_000, 8, 5))
    (said,) = budget.status([slow], {}, 0.0).health
    assert "RNodeInterface[LoRa] takes 2" in said
    assert "bandwidth" in said
    assert budget.status([fast], {}, 0.0).health == ()
