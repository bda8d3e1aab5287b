"""`peer add`, `peer remove`, `peers`: with a node running, and without."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.cli.plain import dump
from ciris_mesh.runtime.home import HomeLock
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.reach import MediumReach
from ciris_mesh.runtime.setup import NodeIdentity, node_identity
from ciris_mesh.runtime.status import KindFreshness, PeerStatus
from support.cli import Shell, answering, shell

STATUS = PeerStatus(
    key_id="bob-abcdefghijklmnop",
    alias="bob",
    address="00" * 16,
    state="connected",
    medium="tcp",
    reason="",
    last_heard_s=2.0,
    fresh=False,
    missing=3,
    rounds={"completed": 2},
    kinds=(KindFreshness("key", "bounded", 3, 400.0, fresh=False),),
)


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return shell(tmp_path / "home")


@pytest.fixture
def other(tmp_path: Path) -> NodeIdentity:
    return node_identity(shell(tmp_path / "other", "bob").home)


def test_a_peer_is_added_to_the_book_and_the_words_are_shown(
    sh: Shell, other: NodeIdentity
) -> None:
    result = sh.run("peer", "add", other.invite, "--alias", "bob")
    assert result.exit_code == 0
    assert result.stdout == f"{other.key_id}\n"
    assert " ".join(other.words) in result.stderr
    (peer,) = PeerBook.load(sh.home.peers).peers()
    assert (peer.key_id, peer.fingerprint, peer.address, peer.alias) == (
        other.key_id,
        other.fingerprint,
        other.address,
        "bob",
    )
    assert peer.added_at_ms > 0


def test_an_invite_is_read_from_standard_input_with_what_mail_did_to_it(
    sh: Shell, other: NodeIdentity
) -> None:
    mangled = f'  "{other.invite[:40]}\n{other.invite[40:]}"\n'
    assert sh.ok("peer", "add", "-", input=mangled) == f"{other.key_id}\n"


def test_peer_add_json_is_the_row_and_the_words(sh: Shell, other: NodeIdentity) -> None:
    answer = sh.json("peer", "add", other.invite)
    assert answer.pop("words") == list(other.words)
    assert answer.pop("outcome") == "added"
    assert [answer] == sh.json("peers")


PEER_MEMBERS = sorted(each.name for each in fields(PeerStatus))


def test_peers_without_a_node_have_the_same_members(sh: Shell, other: NodeIdentity) -> None:
    sh.ok("peer", "add", other.invite)
    (row,) = sh.json("peers")
    assert sorted(row) == PEER_MEMBERS
    assert row["state"] == "not running"
    assert "not running" in sh.ok("peers")


@pytest.mark.parametrize("verb", [["peers"], ["peer", "list"]], ids=" ".join)
def test_peers_of_a_running_node(sh: Shell, verb: list[str]) -> None:
    with answering(sh.home, {"peers": lambda _: [STATUS]}):
        (row,) = sh.json(*verb)
        text = sh.ok(*verb)
    assert sorted(row) == PEER_MEMBERS
    assert row == dump(STATUS)
    assert text.splitlines()[-1].split() == ["bob", "connected", "tcp", "2", "s", "3", "not", "yet"]


def test_one_peer_kind_by_kind(sh: Shell) -> None:
    with answering(sh.home, {"peers": lambda _: [STATUS]}):
        text = sh.ok("peers", "bob")
        assert "no peer is called 'carol'" in sh.error("peers", "carol")
    assert text.splitlines()[-1].split() == ["key", "bounded", "3", "7", "min"]


def test_without_peers_the_next_step_is_said(sh: Shell) -> None:
    result = sh.run("peers")
    assert result.exit_code == 0
    assert "! no node runs here" in result.stdout
    assert "peer add INVITE" in result.stderr
    assert sh.json("peers") == []
    with answering(sh.home, {"peers": lambda _: [], "registries": lambda _: []}):
        result = sh.run("peers")
    assert "+ healthy: no peers yet" in result.stdout
    assert "peer add INVITE" in result.stderr


def test_a_peer_added_again_is_told_from_a_new_one(sh: Shell, other: NodeIdentity) -> None:
    assert "\nAdded. Words" in sh.run("peer", "add", other.invite).stderr
    again = sh.run("peer", "add", other.invite)
    assert again.exit_code == 0
    assert "It was a peer already; nothing is changed.\nWords" in again.stderr
    assert "Added" not in again.stderr
    named = sh.run("peer", "add", other.invite, "--alias", "bob")
    assert "It was a peer already; what you gave is changed." in named.stderr
    assert sh.json("peer", "add", other.invite)["outcome"] == "unchanged"
    assert sh.json("peer", "add", other.invite, "--note", "x")["outcome"] == "updated"


def test_a_running_node_adds_and_removes_itself(sh: Shell, other: NodeIdentity) -> None:
    asked: list[dict[str, Any]] = []

    def note(arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(arguments)
        return {"removed": "bob"}

    table = {"peer_add": note, "peer_remove": note, "peers": lambda _: [STATUS]}
    with answering(sh.home, table):
        sh.ok("peer", "add", "-", "--alias", "bob", input=f"{other.invite}\n")
        assert "Removed bob." in sh.run("peer", "remove", "bob").stderr
        assert sh.json("peer", "remove", "bo", "--yes") == {"removed": "bob"}
    assert asked[:2] == [{"invite": other.invite, "alias": "bob"}, {"key_id": STATUS.key_id}]
    assert PeerBook.load(sh.home.peers).peers() == ()


def test_a_peer_is_removed_by_the_start_of_its_name(sh: Shell, other: NodeIdentity) -> None:
    sh.ok("peer", "add", other.invite)
    assert "add --yes" in sh.run("peer", "remove", other.key_id[:5]).stderr
    assert len(sh.json("peers")) == 1
    assert sh.json("peer", "remove", other.key_id[:5], "--yes") == {"removed": other.key_id}
    assert sh.json("peers") == []
    assert "no peer is called" in sh.error("peer", "remove", "bob")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda line: line[:-3], "cut short"),
        (lambda line: line[:-5] + ("b" if line[-5] != "b" else "c") + line[-4:], "altered"),
        (lambda line: "hello", "no invite"),
        (lambda line: "x" * 9999, "no invite"),
    ],
)
def test_a_damaged_invite_is_refused_and_nothing_is_written(
    sh: Shell, other: NodeIdentity, change: Any, text: str
) -> None:
    assert text in sh.error("peer", "add", change(other.invite))
    assert text in sh.error("peer", "add", "-", input=change(other.invite))
    assert not sh.home.peers.exists()


def test_ones_own_invite_is_refused(sh: Shell) -> None:
    assert "this node's own" in sh.error("peer", "add", node_identity(sh.home).invite)


def test_a_node_that_holds_the_home_but_does_not_answer_is_not_worked_around(
    sh: Shell, other: NodeIdentity
) -> None:
    with HomeLock(sh.home):
        assert "should it run and not answer" in sh.error("peer", "add", other.invite)
    assert not sh.home.peers.exists()


# --- without an invite ----------------------------------------------------------------------------

MET: dict[str, Any] = {
    "address": "ab" * 16,
    "key_id": "carol-abcdefghijklmnop",
    "hops": 2,
    "last_heard_s": 4.0,
    "fingerprint": "cd" * 32,
    "claimed": "cd" * 8,
    "reason": "",
    "blackholed": False,
}
UNMET = {**MET, "key_id": "", "fingerprint": ""}
CAROL = replace(STATUS, key_id=MET["key_id"], alias="carol")


def lists(*rows: dict[str, Any], **more: list[str]) -> dict[str, Any]:
    names: dict[str, Any] = {"allowed": [], "ignored": [], "blackholed": [], **more}
    return {"candidates": list(rows), **names}


class Node:
    """A node that meets carol when it is told to, or says why not."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        self.row = dict(UNMET)
        self.added: list[dict[str, Any]] = []

    def table(self) -> dict[str, Any]:
        return {"candidates": lambda _: lists(self.row), "meet": self.meet, "peer_add": self.add}

    def meet(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert arguments == {"address": MET["address"]}
        self.row = {**UNMET, "reason": self.reason} if self.reason else dict(MET)
        return arguments

    def add(self, arguments: dict[str, Any]) -> PeerStatus:
        self.added.append(arguments)
        return CAROL


@pytest.mark.parametrize("who", ["ab" * 16, "AB" * 16, "abab"])
def test_a_node_is_added_by_its_address_after_it_showed_its_key(sh: Shell, who: str) -> None:
    node = Node()
    with answering(sh.home, node.table()):
        result = sh.run("peer", "add", who, "--alias", "carol", "--direction", "send", "--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{MET['key_id']}\n"
    assert "Calling" in result.stderr
    assert "showed this key itself, 2 hops away. Nobody vouched" in result.stderr
    assert node.added == [{"address": MET["address"], "alias": "carol", "direction": "send"}]


def test_a_candidate_whose_key_is_known_is_not_called_again(sh: Shell) -> None:
    node = Node()
    node.row = dict(MET)
    with answering(sh.home, node.table()):
        answer = sh.json("peer", "add", "carol")
    assert answer["key_id"] == MET["key_id"]
    assert len(answer["words"]) == 5
    assert node.added == [{"address": MET["address"], "alias": ""}]


def test_a_node_without_an_invite_is_not_added_unasked(sh: Shell) -> None:
    node = Node()
    with answering(sh.home, node.table()):
        assert "add --yes" in sh.run("peer", "add", "ab" * 16).stderr
    assert node.added == []


def test_why_nobody_answered_is_said(sh: Shell) -> None:
    node = Node("no_path")
    with answering(sh.home, node.table()):
        said = sh.run("peer", "add", "ab" * 16, "--yes").stderr
    assert "did not answer (no_path): is it running" in said
    assert node.added == []


def test_an_address_needs_a_running_node(sh: Shell) -> None:
    assert "only a running node can find out" in sh.error("peer", "add", "ab" * 16)


def test_candidates_are_shown_with_key_hops_and_age(sh: Shell) -> None:
    answer = lists({**UNMET, "address": "12" * 16, "reason": "timeout"}, MET, ignored=["ef" * 16])
    with answering(sh.home, {"candidates": lambda _: answer}):
        text = sh.ok("peers", "--candidates")
        assert sh.json("peers", "--candidates") == answer
    lines = text.splitlines()
    assert lines[1].split() == ["12" * 16, "?", "2", "4", "s", "timeout"]
    assert lines[2].split()[:2] == ["ab" * 16, "carol-abcdefghijkl.."]
    assert "peer add ADDRESS" in text
    assert "ef" * 16 in text
    assert all(len(line) <= 80 for line in lines)
    with answering(sh.home, {"candidates": lambda _: lists()}):
        assert "No node was heard" in sh.ok("peers", "--candidates")


# --- decisions ------------------------------------------------------------------------------------


def test_decisions_are_changed_without_a_node(sh: Shell, other: NodeIdentity) -> None:
    sh.ok("peer", "add", other.invite, "--alias", "bob", "--kinds", "key,revocation", "--bootstrap")
    (row,) = sh.json("peers")
    assert (row["bootstrap"], row["direction"]) == (True, "both")
    changed = sh.json("peer", "set", "bob", "--direction", "receive", "--note", "on the roof")
    assert (changed["direction"], changed["note"]) == ("receive", "on the roof")
    assert (
        "Changed Bob: alias, kinds"
        in sh.run("peer", "set", "bob", "--alias", "Bob", "--kinds", "all").stderr
    )
    (peer,) = PeerBook.load(sh.home.peers).peers()
    assert (peer.alias, peer.note, len(peer.kinds)) == ("Bob", "on the roof", 13)
    assert "--even-bootstrap" in sh.error("peer", "remove", "Bob")
    assert sh.json("peer", "remove", "Bob", "--even-bootstrap") == {"removed": other.key_id}


def test_a_running_node_is_told_of_decisions(sh: Shell) -> None:
    asked: list[dict[str, Any]] = []

    def note(arguments: dict[str, Any]) -> PeerStatus:
        asked.append(arguments)
        return STATUS

    with answering(sh.home, {"peer_set": note, "peers": lambda _: [STATUS]}):
        sh.ok("peer", "set", "bob", "--no-bootstrap", "--kinds", "key")
    assert asked == [{"key_id": STATUS.key_id, "bootstrap": False, "kinds": ["key"]}]


def test_nothing_to_change_or_no_such_kind_is_wrong_usage(sh: Shell, other: NodeIdentity) -> None:
    sh.ok("peer", "add", other.invite, "--alias", "bob")
    assert sh.run("peer", "set", "bob").exit_code == 2
    assert sh.run("peer", "set", "bob", "--kinds", "keys").exit_code == 2


def test_one_peer_is_shown_with_decisions_and_reach(sh: Shell) -> None:
    reach = (MediumReach("tcp", 4, 3, 2, 0.75, 5.0), MediumReach("radio", 0, 0, 1, None, 60.0))
    shown = replace(STATUS, reach=reach, direction="send", note="roof", bootstrap=True)
    with answering(sh.home, {"peers": lambda _: [shown]}):
        text = sh.ok("peers", "bob")
    assert "only from here: nothing of its records is taken" in text
    assert "not removed by accident" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["tcp", "4", "3", "75", "%", "2", "5", "s"] in lines
    assert ["radio", "0", "0", "?", "1", "1", "min"] in lines
    with answering(sh.home, {"peers": lambda _: [replace(STATUS, blackholed=True)]}):
        text = sh.ok("peers", "bob")
    assert "unknown, nobody tried" in text
    assert "BLACKHOLED" in text


def test_a_peer_that_takes_nothing_is_shown_as_such(sh: Shell) -> None:
    with answering(sh.home, {"peers": lambda _: [replace(STATUS, takes_nothing=True)]}):
        assert "it takes no records of this node" in sh.ok("peers", "bob")
        assert f"{STATUS.state}, takes nothing" in sh.ok("peers")
        assert sh.json("peers")[0]["takes_nothing"]


@pytest.mark.parametrize("which", ["allow", "ignore"])
def test_lists_are_changed_without_a_node_and_with_one(sh: Shell, which: str) -> None:
    name = {"allow": "allowed", "ignore": "ignored"}[which]
    assert sh.json("peer", which, "ab" * 16) == {name: ["ab" * 16]}
    assert "nobody by name" in sh.run("peer", f"un{which}", "ab" * 16).stderr
    assert "not on the list" in sh.error("peer", f"un{which}", "ab" * 16)
    asked: list[dict[str, Any]] = []

    def note(arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(arguments)
        return {name: ["carol"]}

    with answering(sh.home, {"door": note}):
        assert f"{name}: carol" in sh.run("peer", which, "carol").stderr
    assert asked == [{"list": name, "name": "carol", "on": True}]


def test_a_peer_is_removed_and_not_ignored(sh: Shell, other: NodeIdentity) -> None:
    sh.ok("peer", "add", other.invite)
    assert "is a peer; remove it first" in sh.error("peer", "ignore", other.key_id)
