"""`records --waiting`: from the store while nothing runs, and of a running node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.runtime.clock import SystemClock
from support.authoring import key_of, shells
from support.cli import Shell, answering

ROW: dict[str, Any] = {
    "position": 3,
    "kind": "family",
    "envelope_id": "ab" * 32,
    "signers": ["alice-aaaaaaaaaaaaaaaa"],
    "path": "peer",
    "peer": "bob-bbbbbbbbbbbbbbbb",
    "waits_for": ["key:carol-cccccccccccccccc"],
    "not_before_ms": None,
    "since_ms": 0,
    "bytes": 3400,
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Shell, Shell]:
    alice, bob = shells(tmp_path, "alice", "bob")
    return alice, bob


def test_what_waits_is_told_while_no_node_runs(pair: tuple[Shell, Shell]) -> None:
    sh, other = pair
    assert sh.json("records", "--waiting") == []
    bob = key_of(other).key_id
    sh.ok("attest", bob, "--unknown", "--dimension", "d:v1", "--score", "1", "--yes")
    (row,) = sh.json("records", "--waiting")
    me = key_of(sh).key_id
    assert sorted(row) == sorted(ROW)
    assert (row["kind"], row["signers"], row["path"]) == ("attestation", [me], "own")
    assert row["waits_for"] == [f"key:{bob}"]
    assert row["since_ms"] is None, "longer than this command runs"
    shown = sh.ok("records", "--waiting")
    assert "no node runs here" in shown
    assert "the key bob-" in shown
    assert sh.json("records", "--waiting", "--kind", "family") == []


def test_a_running_node_is_asked_page_by_page(
    pair: tuple[Shell, Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    sh, _ = pair
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: 7_200_000)
    rows = [{**ROW, "position": number} for number in (1, 2, 3)]

    def waiting(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [row for row in rows if row["position"] > asked["after"]][:2]

    with answering(sh.home, {"waiting": waiting, "status": lambda _: {"health": []}}):
        assert [row["position"] for row in sh.json("records", "--waiting")] == [1, 2, 3]
        result = sh.run("records", "--waiting", "--limit", "2")
        assert "There are more: add --after 2" in result.stderr
        assert result.stdout.count("2 h") == 2
        assert "healthy: what waits comes in by itself" in " ".join(result.stdout.split())
        assert sh.ok("records", "--waiting", "--wide").count("bob-bbbbbbbbbbbbbbbb") == 3


def test_nothing_to_show_is_said_to_be_well(pair: tuple[Shell, Shell]) -> None:
    sh, _ = pair
    with answering(sh.home, {"waiting": lambda _: [], "status": lambda _: {"health": []}}):
        result = sh.run("records", "--waiting")
        assert "healthy: no record waits for another" in " ".join(result.stdout.split())
        assert "Nothing waits." in result.stderr
    with answering(sh.home, {"waiting": lambda _: [], "status": lambda _: {"health": ["ill"]}}):
        assert "! ill" in sh.run("records", "--waiting", "--after", "9").stdout


def test_an_id_and_a_list_do_not_go_together(pair: tuple[Shell, Shell]) -> None:
    result = pair[0].run("records", "abcdef", "--waiting")
    assert result.exit_code == 2
