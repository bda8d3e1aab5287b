"""Every screen a person reads in the field: 80 columns, no colour, no Unicode, and what it says
is in `--json` too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.cli import Shell, answering, shell
from support.doctoring import BUDGET, PEER, STATUS

TROUBLED: dict[str, Any] = {
    **STATUS,
    "health": ["interface RNodeInterface[roof] is down; records wait until it is back"],
    "peers": [
        {**PEER, "alias": "bob-with-a-very-long-name-" + "x" * 60, "fresh": False},
        {**PEER, "alias": "", "state": "unreachable", "reason": "refused_not_a_peer"},
    ],
    "drops": {"frame_unattributed": 12},
    "transfers": [
        {"peer": "bob", "direction": "in", "done_bytes": 1700, "total_bytes": 3400,
         "rate_bytes_s": 85.0, "left_s": 20.0},
    ],
}  # fmt: skip
OWED = {
    "peer": PEER["key_id"], "alias": "bob", "kind": "attestation", "records": 38,
    "size_bytes": 129_200, "never_fits": 0,
}  # fmt: skip
RECORD = {
    "position": 1, "kind": "key", "envelope_id": "ab" * 32, "shelf": "federation",
    "seq": 1_796_000_000_000, "subject": "alice-abcdefghijklmnop",
    "signers": ["alice-abcdefghijklmnop"], "admitted_at_ms": 1_796_000_000_000,
}  # fmt: skip
HANDLERS: dict[str, Any] = {
    "status": lambda _: TROUBLED,
    "peers": lambda _: TROUBLED["peers"],
    "budget": lambda _: {**BUDGET, "owed": [OWED]},
    "records": lambda asked: [RECORD] if asked["after"] == 0 else [],
    "record": lambda _: {**RECORD, "envelope": "{}"},
}
SCREENS = [
    ["status"], ["peers"], ["peers", "bob"], ["budget"], ["records"], ["doctor"], ["explain"],
    ["explain", "no_path"],
]  # fmt: skip


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "h")


@pytest.mark.parametrize("words", SCREENS, ids=[" ".join(words) for words in SCREENS])
def test_80_columns_without_colour_or_unicode(
    sh: Shell, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    peers = [{**PEER, "alias": "bob"}] if words == ["peers", "bob"] else TROUBLED["peers"]
    with answering(sh.home, {**HANDLERS, "peers": lambda _: peers}):
        text = sh.ok(*words)
    commands = [line for line in text.splitlines() if line.lstrip().startswith("run: ")]
    for line in text.splitlines():
        assert line in commands or len(line) <= 80, line
    assert text.isascii()
    assert "\x1b" not in text


@pytest.mark.parametrize("words", [["status"], ["peers"], ["budget"], ["records"]])
def test_health_stands_on_top(sh: Shell, words: list[str]) -> None:
    with answering(sh.home, HANDLERS):
        assert sh.ok(*words).startswith("# Health\n")


def test_transfers_are_on_the_screen_and_in_json(sh: Shell) -> None:
    with answering(sh.home, HANDLERS):
        assert "from bob  [########........]  1.7 kB of 3.4 kB  85 B/s  20 s" in sh.ok("status")
        assert sh.json("status")["transfers"] == TROUBLED["transfers"]


EMPTY: dict[str, Any] = {
    "status": lambda _: {**STATUS, "peers": [], "health": []},
    "peers": lambda _: [],
    "budget": lambda _: {**BUDGET, "interfaces": []},
    "records": lambda _: [],
}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["peers"], "+ healthy: no peers yet, so there is nobody to agree with"),
        (["budget"], "+ healthy: no radio, so there is no duty to keep"),
        (["records"], "+ healthy: the node answers and holds no records"),
        (["records", "--kind", "family"], "holds no records of kind family"),
        (["status"], "+ healthy: 0 peers, nothing to complain of"),
    ],
)
def test_nothing_to_show_says_that_this_is_well(sh: Shell, words: list[str], says: str) -> None:
    with answering(sh.home, EMPTY):
        assert says in sh.ok(*words)


@pytest.mark.parametrize("words", [["status"], ["records"]])
def test_nothing_to_show_says_that_this_is_broken(sh: Shell, words: list[str]) -> None:
    text = sh.ok(*words)
    assert text.startswith("# Health\n! no node")
    assert f"ciris-mesh --config {sh.home.path} run" in " ".join(text.split())


def test_a_broken_node_behind_an_empty_list_is_said(sh: Shell) -> None:
    broken = {**EMPTY, "status": lambda _: {**STATUS, "health": ["clock: wrong"]}}
    with answering(sh.home, broken):
        assert "! clock: wrong" in sh.ok("records")


def test_check_is_about_health_alone(sh: Shell) -> None:
    with answering(sh.home, HANDLERS):
        assert sh.run("status", "--check").exit_code == 1
    with answering(sh.home, EMPTY):
        assert sh.run("status", "--check").exit_code == 0
        assert json.loads(sh.ok("status", "--json"))["health"] == []
