"""`peer add`, `peer remove`, `peers`: with a node running, and without."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.cli.plain import dump
from ciris_mesh.runtime.home import HomeLock
from ciris_mesh.runtime.peerbook import PeerBook
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
    assert text.splitlines()[1].split() == ["bob", "connected", "tcp", "2", "s", "3", "not", "yet"]


def test_one_peer_kind_by_kind(sh: Shell) -> None:
    with answering(sh.home, {"peers": lambda _: [STATUS]}):
        text = sh.ok("peers", "bob")
        assert "no peer is called 'carol'" in sh.error("peers", "carol")
    assert text.splitlines()[-1].split() == ["key", "bounded", "3", "7", "min"]


def test_without_peers_the_next_step_is_said(sh: Shell) -> None:
    result = sh.run("peers")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "peer add INVITE" in result.stderr
    assert sh.json("peers") == []


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
        assert "does not answer" in sh.error("peer", "add", other.invite)
    assert not sh.home.peers.exists()
