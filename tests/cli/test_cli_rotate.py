"""A node hands over to a new key, and its peers follow when a person says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from ciris_mesh.cli import rotate as rotate_module
from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import ConfigError, OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name
from ciris_mesh.runtime import handover as handover_module
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.former import add_former, read_former
from ciris_mesh.runtime.handover import DIMENSION, find_handover
from ciris_mesh.runtime.home import Home, HomeLock
from ciris_mesh.runtime.keyfiles import read_key_file
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.peeroperations import peer_config
from ciris_mesh.runtime.setup import node_identity
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from support.cli import Shell, answering, shell
from support.records import sample


@pytest.fixture
def alice(tmp_path: Path) -> Shell:
    sh = shell(tmp_path / "a")
    me = node_identity(sh.home).key_id
    sh.ok("attest", me, "--dimension", "identity:x:v1", "--score", "1", "--yes")
    return sh


@pytest.fixture
def bob(tmp_path: Path, alice: Shell) -> Shell:
    sh = shell(tmp_path / "b", "bob")
    sh.ok("peer", "add", node_identity(alice.home).invite, "--alias", "alice")
    return sh


def carry(source: Shell, to: Shell) -> None:
    """Let all records of one node come to another, as on a stick."""
    path = source.home.path / "stick"
    source.ok("export", str(path), "--force")
    to.run("import", str(path))


def hand_over(alice: Shell) -> tuple[str, str]:
    old = node_identity(alice.home).key_id
    begun = alice.json("identity", "rotate")
    assert begun == {"old": old, "new": begun["new"], "finished": False}
    return old, begun["new"]


def test_the_whole_way(alice: Shell, bob: Shell) -> None:
    address = node_identity(alice.home).address
    old, new = hand_over(alice)
    assert node_identity(alice.home).key_id == old, "nothing changed yet"
    done = alice.run("identity", "rotate", "--finish", "--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == new
    identity = node_identity(alice.home)
    assert (identity.key_id, identity.address) == (new, address)
    assert " ".join(identity.words) in done.stderr
    assert read_key_file(alice.home.path / "federation.key.old-1").key().key_id == old
    assert not (alice.home.path / "federation.key.next").exists()
    assert read_former(alice.home.former) == {old}
    assert alice.json("resolve", "key", old)["status"] == "revoked"
    assert alice.json("resolve", "key", new)["status"] == "valid"

    carry(alice, bob)
    followed = bob.run("peer", "follow", "alice", "--yes")
    assert followed.exit_code == 0, followed.output
    assert " ".join(identity.words) in followed.stderr
    (peer,) = PeerBook.load(bob.home.peers).peers()
    assert (peer.key_id, peer.alias, peer.address) == (new, "alice", address)
    assert peer.fingerprint == identity.fingerprint
    assert read_former(bob.home.former) == {old}


def test_beginning_twice_makes_one_key_and_signs_once(alice: Shell) -> None:
    _, new = hand_over(alice)
    before = alice.json("records")
    again = alice.run("identity", "rotate", "--yes")
    assert (again.exit_code, again.stdout) == (0, f"{new}\n")
    assert "nothing was signed again. Let every peer have it" in again.stderr
    assert alice.json("records") == before


def test_a_running_node_is_asked_whether_it_was_signed(alice: Shell) -> None:
    _, new = hand_over(alice)
    with answering(alice.home, {"own_handover": lambda _: {"new": new}}):
        assert "nothing was signed again" in alice.run("identity", "rotate", "--yes").stderr


def test_finishing_needs_a_beginning_that_was_signed(alice: Shell) -> None:
    assert "begin with" in alice.error("identity", "rotate", "--finish", "--yes")
    alice.run("identity", "rotate", input="n\n")
    assert (alice.home.path / "federation.key.next").exists()
    text = alice.error("identity", "rotate", "--finish", "--yes")
    assert "not signed yet" in text
    assert read_former(alice.home.former) == frozenset()


def test_a_running_node_is_not_swapped_under_its_feet(alice: Shell) -> None:
    hand_over(alice)
    with answering(alice.home, {"status": lambda _: {}}):
        text = alice.error("identity", "rotate", "--finish", "--yes")
    assert "stop the node first" in text


def test_a_node_started_while_we_asked_is_not_swapped_either(
    alice: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = hand_over(alice)
    with ExitStack() as node:

        def confirmed(_text: str, *, yes: bool) -> None:
            node.enter_context(HomeLock(alice.home))
            monkeypatch.setattr(rotate_module, "confirm", lambda *_, **__: None)

        monkeypatch.setattr(rotate_module, "confirm", confirmed)
        monkeypatch.setattr(rotate_module, "submit", lambda *_: {"outcome": "admitted"})
        text = alice.run("identity", "rotate", "--finish", "--yes").stderr
    assert "stop the node first" in text
    assert node_identity(alice.home).key_id == old


def test_what_was_cut_before_the_swap_is_finished_by_running_it_again(
    alice: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = hand_over(alice)

    def cut(_home: Home) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(handover_module, "swap_keys", cut)
        assert alice.run("identity", "rotate", "--finish", "--yes").exit_code == 130
    assert node_identity(alice.home).key_id == old
    assert alice.run("identity", "rotate", "--finish", "--yes").exit_code == 0
    assert node_identity(alice.home).key_id == new
    text = alice.error("identity", "rotate", "--finish", "--yes")
    assert f"{new} is this node's key" in text, "who asks again must not begin another hand-over"


def test_saying_no_changes_nothing(alice: Shell, bob: Shell) -> None:
    old, _ = hand_over(alice)
    assert alice.run("identity", "rotate", "--finish", input="n\n").exit_code != 0
    assert node_identity(alice.home).key_id == old
    carry(alice, bob)
    assert bob.run("peer", "follow", "alice", input="n\n").exit_code != 0
    assert PeerBook.load(bob.home.peers).peers()[0].key_id == old


def test_nobody_follows_what_others_say(alice: Shell, bob: Shell) -> None:
    """Only the old key's own word counts, in that dimension."""
    old = node_identity(alice.home).key_id
    me = node_identity(bob.home).key_id
    carry(alice, bob)
    bob.ok("attest", old, "--dimension", DIMENSION, "--score", "1", "--yes")
    assert "hands over to nobody" in bob.error("peer", "follow", "alice", "--yes")
    alice.ok("attest", old, "--dimension", "mesh:other:v1", "--score", "1", "--yes")
    carry(alice, bob)
    assert "hands over to nobody" in bob.error("peer", "follow", "alice", "--yes")
    assert me != old


@contextmanager
def running(sh: Shell) -> Iterator[Operations]:
    directory = SqliteDirectory(sh.home.database)
    clock = SystemClock()
    book = PeerBook.load(sh.home.peers)
    node = Node(
        node_identity(sh.home).key, LoopbackTransport(LoopbackNetwork(), "b"), directory=directory
    )
    for peer in book.peers():
        node.add_peer(peer_config(peer))
    budget = RadioBudget(load_config(sh.home.config).radio)
    operations = Operations(node, book, clock, clock.monotonic_s(), budget, former=sh.home.former)
    with node, answering(sh.home, operations.table()):
        yield operations
    directory.close()


def test_a_running_node_follows_and_goes_on_passing_on(alice: Shell, bob: Shell) -> None:
    old, new = hand_over(alice)
    carry(alice, bob)
    with running(bob) as operations:
        followed = bob.run("peer", "follow", "alice", "--json")
        assert followed.exit_code == 0, followed.output
        answer = json.loads(followed.stdout)
        assert (answer["old"], answer["new"]) == (old, new)
        assert len(answer["words"]) == 5
        assert old in operations.node.runtime._trusted()
        assert new in operations.node.runtime._trusted()
        with pytest.raises(OperatorError, match="does not follow"):
            operations.table()["peer_follow"]({"key_id": "alice", "to": old})
    assert read_former(bob.home.former) == {old}


def test_the_latest_word_counts(alice: Shell) -> None:
    old, first = hand_over(alice)
    (alice.home.path / "federation.key.next").unlink()
    _, second = hand_over(alice)
    directory = SqliteDirectory(alice.home.database)
    try:
        found = find_handover(directory, old)
        assert found is not None
        assert found.key_id == second != first
        assert find_handover(directory, second) is None
        kinds = [row.kind for _, row in directory.rows(None, limit=50, after=0)]
        assert kinds.count(EnvelopeKind.KEY) >= 3
    finally:
        directory.close()


def test_a_hand_over_behind_much_else_the_key_said_of_itself_is_found(alice: Shell) -> None:
    me = node_identity(alice.home)
    rows = [sample(EnvelopeKind.KEY, me.key, 0)]
    rows += [sample(EnvelopeKind.ATTESTATION, me.key, n) for n in range(70)]
    with closing(SqliteDirectory(alice.home.database)) as directory:
        for kind, envelopes in ((EnvelopeKind.KEY, rows[:1]), (EnvelopeKind.ATTESTATION, rows[1:])):
            directory.admit_many(kind, envelopes, OWN, now_ms=SystemClock().wall_ms())
        assert len(directory.named_rows(name("about", me.key_id, me.key_id), limit=100)) > 64
    old, new = hand_over(alice)
    with closing(SqliteDirectory(alice.home.database)) as directory:
        found = find_handover(directory, old)
    assert found is not None
    assert found.key_id == new


def test_former_keys_are_kept_and_a_damaged_list_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "former"
    assert read_former(path) == frozenset()
    add_former(path, "a-key")
    add_former(path, "b-key")
    add_former(path, "a-key")
    assert read_former(path) == {"a-key", "b-key"}
    for text in ("{", "{}", "[1]", ""):
        path.write_text(text)
        with pytest.raises(ConfigError, match="damaged"):
            read_former(path)
        assert path.read_text() == text
    path.write_text("[]")
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod"):
        read_former(path)
