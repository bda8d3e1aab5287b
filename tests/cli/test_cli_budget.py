"""`budget`: the node's answer, as JSON and as a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.runtime.budget import BudgetStatus, InterfaceBudget, PeerOwed
from support.cli import Shell, answering, shell

RADIO: dict[str, Any] = {
    "name": "RNodeInterface[LoRa]",
    "online": True,
    "duty": "1%",
    "counted": True,
    "limit_s": 36.0,
    "used_s": 12,
    "own_s": 11.5,
    "forwarded_s": 0,
    "reticulum_s": 0.5,
    "handed_s": 0,
    "free_s": 16.8,
    "owed_records": 1,
    "owed_bytes": 3_400,
    "owed_airtime_s": 11.2,
    "drain_h": 0.43,
}
OWED: dict[str, Any] = {
    "peer": "bob-abcdefghijklmnop",
    "alias": "bob",
    "kind": "key",
    "records": 1,
    "size_bytes": 3_400,
    "never_fits": 0,
}
ANSWER: dict[str, Any] = {
    "schema": 1,
    "health": [],
    "advice": [],
    "quiet": "",
    "interfaces": [RADIO],
    "owed": [OWED],
    "counts": {},
    "policy": {"location_proof": "off"},
    "joins": [],
}


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "home")


def test_the_answer_here_has_the_members_of_the_real_one() -> None:
    for row, cls in ((RADIO, InterfaceBudget), (OWED, PeerOwed), (ANSWER, BudgetStatus)):
        assert set(row) == set(cls.__dataclass_fields__)


def test_json_is_what_the_node_said(sh: Shell) -> None:
    with answering(sh.home, {"budget": lambda _: ANSWER}):
        assert sh.json("budget") == ANSWER


def test_the_screen_shows_used_limit_owed_and_how_long(sh: Shell) -> None:
    with answering(sh.home, {"budget": lambda _: ANSWER}):
        text = sh.ok("budget")
    assert "RNodeInterface[LoRa]  1%      12.0    36  11.5     0.5  3.4 kB" in text
    assert "26 min" in text
    assert "bob" in text
    assert "Never by radio, as [radio] says: location_proof." in text


def test_a_newer_node_may_say_more(sh: Shell) -> None:
    newer = {**ANSWER, "news": 1, "interfaces": [{**RADIO, "more": 2}]}
    with answering(sh.home, {"budget": lambda _: newer}):
        assert "LoRa" in sh.ok("budget")
        assert sh.json("budget") == newer


def test_no_radio_is_no_failure(sh: Shell) -> None:
    none = {**ANSWER, "interfaces": [], "owed": []}
    with answering(sh.home, {"budget": lambda _: none}):
        assert "\n\nNo radio interface here" in sh.ok("budget")
        assert sh.run("budget", "--check").exit_code == 0


def test_check_turns_a_problem_into_1(sh: Shell) -> None:
    over = {**ANSWER, "health": ["LoRa was on air for too long"]}
    with answering(sh.home, {"budget": lambda _: over}):
        assert "! LoRa was on air for too long" in sh.ok("budget")
        for arguments in (("--check",), ("--check", "--json")):
            assert sh.run("budget", *arguments).exit_code == 1


def test_a_command_it_advises_names_the_home(sh: Shell) -> None:
    slow = {**ANSWER, "advice": ["carry it, here with: ciris-mesh export FILE, there by import"]}
    with answering(sh.home, {"budget": lambda _: slow}):
        flat = " ".join(sh.ok("budget").split())
    assert f"here with: ciris-mesh --config {sh.home.path} export FILE" in flat


def test_it_needs_a_node(sh: Shell) -> None:
    assert "no node is running" in sh.error("budget")
    assert "no node is running" in sh.error("budget", "--json")
