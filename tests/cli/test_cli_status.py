"""`status`, `wait` and `sync`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh import __version__
from ciris_mesh.cli.quick import SCHEMA
from ciris_mesh.runtime.status import STATUS_SCHEMA, NodeStatus
from support.cli import Shell, answering, shell

ANSWER: dict[str, Any] = {
    "schema": 1,
    "version": "9.9",
    "key_id": "alice-abcdefghijklmnop",
    "address": "11" * 16,
    "fingerprint": "22" * 32,
    "uptime_s": 7,
    "clock": "trusted",
    "health": [],
    "peers": [],
    "candidates": [],
    "kinds": [{"kind": "key", "federation": 3, "bridged": 0, "local": 0}],
    "deferred": 0,
    "first_contact": 0,
    "refused_remembered": 0,
    "outcomes": [],
    "interfaces": [],
    "drops": {},
    "rss_bytes": 1,
    "clock_source": "ntp",
    "written_bytes": 4096,
    "pending_removals": [],
    "transfers": [],
    "registries": [],
}


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "home")


def test_json_is_what_the_node_said_and_that_it_runs(sh: Shell) -> None:
    assert set(ANSWER) == set(NodeStatus.__dataclass_fields__)
    with answering(sh.home, {"status": lambda _: ANSWER}):
        assert sh.json("status") == {"running": True, **ANSWER}


def test_tables(sh: Shell) -> None:
    with answering(sh.home, {"status": lambda _: ANSWER}):
        text = sh.ok("status")
    assert text.startswith("# Health\n+ healthy: ")
    assert "\n\nalice-abcdefghijklmnop\nciris-mesh 9.9, up 7 s" in text
    assert "No peers yet" in text


def test_a_newer_node_may_say_more(sh: Shell) -> None:
    with answering(sh.home, {"status": lambda _: {**ANSWER, "news": 1}}):
        assert "alice-" in sh.ok("status")


def test_a_node_that_does_not_run_is_an_answer_too(sh: Shell) -> None:
    assert f"start it with: ciris-mesh --config {sh.home.path} run" in sh.ok("status")
    assert sh.json("status") == {
        "running": False,
        "schema": 1,
        "version": __version__,
        "home": str(sh.home.path),
        "health": ["no node is running here; start it with: ciris-mesh run"],
    }


@pytest.mark.parametrize(("health", "code"), [([], 0), (["interface lab is down"], 1)])
def test_check_turns_unhealthy_into_1(sh: Shell, health: list[str], code: int) -> None:
    with answering(sh.home, {"status": lambda _: {**ANSWER, "health": health}}):
        assert sh.run("status").exit_code == 0
        assert sh.run("status", "--check").exit_code == code
        assert sh.run("status", "--check", "--json").exit_code == code


def test_check_fails_when_nothing_runs(sh: Shell) -> None:
    assert sh.run("status", "--check").exit_code == 1


def test_monitor_shows_events_as_they_come_and_ends_with_ctrl_c(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, None])

    def pause(_: float) -> None:
        try:
            next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("ciris_mesh.cli.status.time.sleep", pause)
    afters: list[int] = []

    def events(arguments: dict[str, Any]) -> list[dict[str, Any]]:
        afters.append(arguments["after"])
        number = arguments["after"] + 3
        return [{"number": number, "outcome": "completed", "peer": f"bob-{number}"}]

    with answering(sh.home, {"status": lambda _: ANSWER, "events": events}):
        text = sh.ok("status", "-m")
    assert text.count("alice-abcdefghijklmnop") == 3
    events_shown = [line for line in text.splitlines() if line.startswith("round.")]
    assert events_shown == [f"round.completed peer=bob-{number}" for number in (3, 6, 9)]
    assert afters == [0, 3, 6]


def test_monitor_with_json_is_a_line_each_time(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Iterator[None] = iter([None])

    def pause(_: float) -> None:
        if next(looks, "end") == "end":
            raise KeyboardInterrupt

    monkeypatch.setattr("ciris_mesh.cli.status.time.sleep", pause)
    with answering(sh.home, {"status": lambda _: ANSWER}):
        assert sh.ok("status", "-m", "--json").count("\n") == 2


def test_monitor_needs_a_node(sh: Shell) -> None:
    assert "no node is running" in sh.error("status", "-m")


BOB = {
    "key_id": "bob-abcdefghijklmnop",
    "alias": "bob",
    "address": "00" * 16,
    "state": "connected",
    "reason": "",
}
PEERED: dict[str, Any] = {"peers": lambda _: [BOB], "sync": lambda _: {"queued": 1}}


def converging(after: int) -> Any:
    """An operation that says yes from the call after `after` calls on."""
    calls = iter(range(1000))

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        done = next(calls) >= after
        return {"converged": done, "waiting": [] if done else ["bob: key: 3 missing"]}

    return answer


def test_wait_returns_when_all_agree(sh: Shell) -> None:
    with answering(sh.home, {**PEERED, "converged": converging(2)}):
        result = sh.run("wait", "--converged", "--timeout", "30")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "agree" in result.stderr


def test_wait_gives_up_and_says_what_is_missing(sh: Shell) -> None:
    with answering(sh.home, {**PEERED, "converged": converging(1000)}):
        result = sh.run("wait", "--timeout", "0.1")
    assert result.exit_code == 1
    assert "bob: key: 3 missing" in result.stderr


def test_wait_json(sh: Shell) -> None:
    with answering(sh.home, {**PEERED, "converged": converging(0)}):
        answer = sh.json("wait")
    assert sorted(answer) == ["converged", "seconds", "waiting"]
    assert (answer["converged"], answer["waiting"]) == (True, [])


def test_a_long_list_of_reasons_is_cut(sh: Shell) -> None:
    answer = {"converged": False, "waiting": [f"peer {number}" for number in range(30)]}
    with answering(sh.home, {**PEERED, "converged": lambda _: answer}):
        text = sh.run("wait", "--timeout", "0").stderr
    assert "peer 9" in text
    assert "peer 10" not in text
    assert "and 20 more" in text


@pytest.mark.parametrize("verb", [["wait"], ["sync", "bob"]], ids=" ".join)
def test_they_need_a_running_node(sh: Shell, verb: list[str]) -> None:
    assert f"start it with: ciris-mesh --config {sh.home.path} run" in sh.error(*verb)


def test_sync_asks_for_rounds_with_one_peer(sh: Shell) -> None:
    asked: list[dict[str, Any]] = []

    def note(arguments: dict[str, Any]) -> dict[str, int]:
        asked.append(arguments)
        return {"queued": 13}

    with answering(sh.home, {**PEERED, "sync": note}):
        assert sh.json("sync", "bob") == {"queued": 13}
        assert sh.run("sync", BOB["key_id"][:6]).stderr == "13 rounds queued with bob.\n"
        assert "no peer is called 'carol'" in sh.error("sync", "carol")
    assert asked == [{"peer": BOB["key_id"]}] * 2


def test_sync_says_when_the_peer_is_not_connected(sh: Shell) -> None:
    away = {**BOB, "state": "unreachable", "reason": "no_path"}
    table = {"peers": lambda _: [away], "sync": lambda _: {"queued": 1}}
    with answering(sh.home, table):
        text = sh.run("sync", "bob").stderr
    assert text.startswith("1 round queued with bob.\n")
    assert "bob is not connected (no_path)" in text


def test_announce_says_under_which_address(sh: Shell) -> None:
    said = {"address": "ab" * 16, "radios_left_out": False}
    with answering(sh.home, {"announce": lambda _: said}):
        assert sh.json("announce") == said
        assert sh.run("announce").stderr == f"Announced as {'ab' * 16}.\n"
        said["radios_left_out"] = True
        assert "Not by radio" in sh.run("announce").stderr
    assert "start it with" in sh.error("announce")


def test_waiting_for_nobody_is_a_failure(sh: Shell) -> None:
    table = {"peers": lambda _: [], "converged": converging(0)}
    with answering(sh.home, table):
        line = sh.error("wait", "--converged")
    hint = f"ciris-mesh --config {sh.home.path} peer add INVITE"
    assert line == f"ciris-mesh: no peers; add one with: {hint}\n"


@pytest.mark.parametrize("verb", [["wait"], ["sync", "bob"]], ids=" ".join)
def test_ctrl_c_ends_them_with_130(
    sh: Shell, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ciris_mesh.cli.wait.ask", interrupted)
    result = sh.run(*verb)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Aborted" not in result.stderr


def test_the_schema_is_the_same_whether_a_node_runs_or_not() -> None:
    assert SCHEMA == STATUS_SCHEMA
