"""Each operation of the control socket against a real node, and what each says to bad requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.errors import InviteError, OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.budget import BudgetStatus, RadioBudget
from ciris_mesh.runtime.clock import BUILD_DATE_MS, ManualClock
from ciris_mesh.runtime.config import parse_config
from ciris_mesh.runtime.invite import make_invite
from ciris_mesh.runtime.operations import READ_OPS, ROWS_MAX, Operations
from ciris_mesh.runtime.peerbook import Peer as BookPeer
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.peeroperations import peer_config
from ciris_mesh.runtime.remote import REMOTE_READ_OPS
from ciris_mesh.runtime.status import NodeStatus, PeerStatus
from support.keys import key
from support.mesh import Mesh, address
from support.records import sample
from support.waiting import wait_until

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY


class Desk:
    """A node, its operations, and a way to ask as the socket does."""

    def __init__(self, mesh: Mesh, book: Path) -> None:
        self.mesh = mesh
        self.node = mesh.node("alice")
        self.node.start()
        self.clock = ManualClock(monotonic_s=100.0)
        self.book = PeerBook.load(book)
        self.budget = RadioBudget(parse_config(b"").radio)
        self.operations = Operations(
            self.node, self.book, self.clock, started_s=90.0, budget=self.budget
        )

    def ask(self, operation: str, **arguments: Any) -> Any:
        return self.operations.table()[operation](arguments)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    mesh = Mesh()
    yield Desk(mesh, tmp_path / "peers.json")
    mesh.stop()


def invite(name: str) -> str:
    public = key(name).public
    return make_invite(key(name).key_id, public.fingerprint, address(name))


# --- status ---------------------------------------------------------------------------------------


def test_status_is_the_whole_answer(desk: Desk) -> None:
    status = desk.ask("status")
    assert isinstance(status, NodeStatus)
    assert (status.key_id, status.address) == (key("alice").key_id, address("alice").hex())
    assert status.uptime_s == 10.0
    assert status.clock == "trusted"
    assert status.health == ()
    assert json.loads(json.dumps(asdict(status)))["schema"] == 1


def test_status_says_when_the_clock_is_not_trusted(desk: Desk) -> None:
    desk.clock.set_wall_ms(BUILD_DATE_MS - 1)
    status = desk.ask("status")
    assert "before the build date" in status.clock
    assert any("clock" in problem for problem in status.health)


# --- budget ---------------------------------------------------------------------------------------


def test_without_a_radio_the_budget_is_empty_and_well(desk: Desk) -> None:
    answer = desk.ask("budget")
    assert isinstance(answer, BudgetStatus)
    assert (answer.schema, answer.interfaces, answer.owed, answer.health) == (1, (), (), ())
    json.dumps(asdict(answer))


def test_the_group_may_ask_for_the_budget(desk: Desk) -> None:
    assert "budget" in READ_OPS


# --- records --------------------------------------------------------------------------------------


def test_admit_takes_an_envelope_and_says_what_became_of_it(desk: Desk) -> None:
    envelope = sample(FAMILY, key("alice"))
    answer = desk.ask("admit", kind="family", envelope_hex=envelope.hex())
    assert (answer["outcome"], answer["reason"], answer["detail"]) == ("admitted", "", "")
    assert desk.ask("admit", kind="family", envelope_hex=envelope.hex())["outcome"] == "duplicate"
    malformed = desk.ask("admit", kind="family", envelope_hex=b"{}".hex())
    assert malformed["outcome"] == "malformed"
    assert malformed["envelope_id"] is None


def test_ids_are_sorted_and_of_the_federation_shelf(desk: Desk) -> None:
    ids = [desk.mesh.put("alice", FAMILY, n).hex() for n in range(5)]
    assert desk.ask("ids", kind="family") == sorted(ids)
    assert desk.ask("ids", kind="community") == []


def test_records_come_in_pages_in_order_of_admission(desk: Desk) -> None:
    ids = [desk.mesh.put("alice", FAMILY, n).hex() for n in range(5)]
    first = desk.ask("records", kind="family", limit=2)
    rest = desk.ask("records", kind="family", after=first[-1]["position"])
    assert [row["envelope_id"] for row in first + rest] == ids
    assert len(first) == 2
    assert {row["kind"] for row in desk.ask("records")} == {"key", "family"}
    row = rest[0]
    assert (row["shelf"], row["signers"]) == ("federation", [key("alice").key_id])
    assert "envelope" not in row
    json.dumps(first + rest)


def test_what_waits_is_told_page_by_page(desk: Desk) -> None:
    assert desk.ask("waiting") == []
    for name in ("carol", "dave", "erin"):
        desk.ask("admit", kind="family", envelope_hex=sample(FAMILY, key(name)).hex())
    first, second, _ = desk.ask("waiting")
    assert first["waits_for"] == [f"key:{key('carol').key_id}"]
    assert (first["path"], first["peer"], first["not_before_ms"]) == ("own", "", None)
    assert desk.ask("waiting", after=first["position"], limit=1) == [second]
    json.dumps(first)
    assert "waiting" in READ_OPS & REMOTE_READ_OPS


def test_resolve_answers_from_what_is_here_and_says_how_fresh(desk: Desk) -> None:
    answer = desk.ask("resolve", question="key", subject=key("alice").key_id)
    assert (answer.status, answer.question) == ("valid", "key")
    assert answer.freshness.word == "alone"
    early = desk.ask(
        "resolve", question="key", subject=key("alice").key_id, at="2001-01-01T00:00:00Z"
    )
    assert early.status == "not_yet_valid"
    desk.node.add_peer(desk.mesh.config("bob"))
    assert desk.ask("resolve", question="revoked", subject="").freshness.word == "stale"


def test_resolve_trusts_whom_the_configuration_names(desk: Desk) -> None:
    roots = {key("alice").key_id: key("alice").public.fingerprint}
    trusting = replace(desk.operations, trust=Trust(roots=roots))
    by_default = desk.ask("resolve", question="chain", subject=key("alice").key_id)
    answer: Any = trusting.table()["resolve"]({"question": "chain", "subject": key("alice").key_id})
    assert by_default.found.reason == answer.found.reason == "chain_root_not_steward"
    assert "resolve" in READ_OPS


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "lacks the text 'question'"),
        ({"question": "key"}, "lacks the text 'subject'"),
        ({"question": "why", "subject": "x"}, "unknown question"),
        ({"question": "key", "subject": ""}, "needs a name"),
        ({"question": "key", "subject": "x", "at": 5}, "'5' is no time"),
    ],
)
def test_resolve_refuses_what_is_no_question(desk: Desk, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        desk.ask("resolve", **asked)


def test_records_of_one_answer_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    rows = desk.node.directory.rows

    def spy(kind: EnvelopeKind | None = None, *, limit: int, after: int = 0) -> object:
        asked.append(limit)
        return rows(kind, limit=limit, after=after)

    monkeypatch.setattr(desk.node.directory, "rows", spy)
    desk.ask("records", limit=10**9)
    desk.ask("records")
    assert asked == [ROWS_MAX, 100]


def test_record_gives_one_with_its_bytes(desk: Desk) -> None:
    envelope_id = desk.mesh.put("alice", FAMILY)
    answer = desk.ask("record", kind="family", envelope_id=envelope_id.hex())
    row = desk.node.get(FAMILY, envelope_id)
    assert row is not None
    assert answer["envelope"].encode() == row.envelope
    assert answer["envelope_id"] == envelope_id.hex()


# --- peers ----------------------------------------------------------------------------------------


def test_peer_add_makes_an_active_peer_and_remembers_it(desk: Desk, tmp_path: Path) -> None:
    answer = desk.ask("peer_add", invite=invite("bob"), alias="Bob")
    assert isinstance(answer, PeerStatus)
    assert (answer.key_id, answer.alias) == (key("bob").key_id, "Bob")
    assert desk.node.runtime.peers.key_ids() == {key("bob").key_id}
    (kept,) = PeerBook.load(tmp_path / "peers.json").peers()
    assert (kept.alias, kept.added_at_ms) == ("Bob", desk.clock.wall_ms())
    assert [peer.alias for peer in desk.ask("peers")] == ["Bob"]
    bob = desk.mesh.script("bob")
    desk.mesh.clock.leap(5.0)
    bob.wait_dialled()


def test_peer_add_of_the_nodes_own_invite_is_refused(desk: Desk) -> None:
    with pytest.raises(OperatorError, match="this node's own"):
        desk.ask("peer_add", invite=invite("alice"))
    assert desk.ask("peers") == []


def test_peer_add_of_something_else_than_an_invite_is_refused(desk: Desk) -> None:
    with pytest.raises(InviteError):
        desk.ask("peer_add", invite="ciris-mesh:1:zzzz")
    assert desk.ask("peers") == []


def test_peer_add_that_clashes_changes_nothing(desk: Desk) -> None:
    desk.ask("peer_add", invite=invite("bob"), alias="Bob")
    with pytest.raises(OperatorError):
        desk.ask("peer_add", invite=invite("carol"), alias="Bob")
    assert desk.node.runtime.peers.key_ids() == {key("bob").key_id}


def test_peer_remove_takes_any_name_a_person_uses(desk: Desk, tmp_path: Path) -> None:
    desk.ask("peer_add", invite=invite("bob"), alias="Bob")
    assert desk.ask("peer_remove", key_id="Bob") == {"removed": key("bob").key_id}
    assert desk.node.runtime.peers.all() == []
    assert PeerBook.load(tmp_path / "peers.json").peers() == ()
    with pytest.raises(OperatorError, match="no peer is called"):
        desk.ask("peer_remove", key_id="Bob")


def test_announce_tells_those_in_reach(desk: Desk) -> None:
    bob = desk.mesh.node("bob")
    bob.start()
    said = {"address": address("alice").hex(), "radios_left_out": False}
    assert desk.ask("announce") == said
    wait_until(lambda: list(bob.runtime.peers.candidates()), "heard")
    assert [each.address for each in bob.runtime.peers.candidates()] == [address("alice")]


def test_the_group_may_not_announce(desk: Desk) -> None:
    assert "announce" in desk.operations.table()
    assert "announce" not in READ_OPS


def test_sync_is_of_one_peer_or_all(desk: Desk) -> None:
    desk.ask("peer_add", invite=invite("bob"), alias="Bob")
    desk.ask("peer_add", invite=invite("carol"))
    assert desk.ask("sync") == {"queued": 2}
    assert desk.ask("sync", peer="Bob") == {"queued": 1}
    with pytest.raises(OperatorError, match="no peer is called"):
        desk.ask("sync", peer="nobody")


def test_converged_says_what_it_waits_for(desk: Desk) -> None:
    assert desk.ask("converged") == {"converged": True, "waiting": []}
    desk.ask("peer_add", invite=invite("bob"), alias="Bob")
    answer = desk.ask("converged")
    assert not answer["converged"]
    assert answer["waiting"][0].startswith("Bob: not connected")


def test_a_peer_of_the_book_is_one_of_the_runtime() -> None:
    public = key("bob").public
    kinds = frozenset({KEY})
    in_book = BookPeer(key("bob").key_id, public.fingerprint, address("bob"), "Bob", kinds)
    config = peer_config(in_book)
    assert (config.key_id, config.address) == (key("bob").key_id, address("bob"))
    assert (config.alias, config.kinds, config.fingerprint) == ("Bob", kinds, public.fingerprint)


# --- events ---------------------------------------------------------------------------------------


def test_events_are_numbered_and_can_be_followed(desk: Desk) -> None:
    assert desk.ask("events") == []
    bob = desk.mesh.node("bob")
    desk.mesh.befriend("alice", "bob")
    bob.start()
    desk.mesh.put("alice", FAMILY)
    desk.mesh.clock.leap(5.0)
    desk.mesh.wait_converged()
    wait_until(lambda: desk.ask("events"), "events")
    events = desk.ask("events")
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert {event["peer"] for event in events} == {bob.key_id}
    assert desk.ask("events", after=len(events) - 1) == events[-1:]
    json.dumps(events)


# --- bad requests ---------------------------------------------------------------------------------

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("admit", {"kind": "family"}, "envelope_hex"),
    ("admit", {"kind": "family", "envelope_hex": "xyz"}, "not hexadecimal"),
    ("admit", {"kind": "family", "envelope_hex": 5}, "envelope_hex"),
    ("admit", {"envelope_hex": "00"}, "'kind'"),
    ("admit", {"kind": "gossip", "envelope_hex": "00"}, "unknown kind 'gossip'; one of: key"),
    ("ids", {}, "'kind'"),
    ("ids", {"kind": ["key"]}, "'kind'"),
    ("records", {"limit": -1}, "limit must be a number"),
    ("records", {"after": "x"}, "after must be a number"),
    ("records", {"limit": True}, "limit must be a number"),
    ("record", {"kind": "key", "envelope_id": "00"}, "no such record"),
    ("record", {"kind": "key"}, "envelope_id"),
    ("peer_add", {}, "'invite'"),
    ("peer_remove", {}, "'key_id'"),
    ("events", {"after": 1.5}, "after must be a number"),
]


@pytest.mark.parametrize(
    ("operation", "arguments", "says"), BAD, ids=[f"{b[0]}-{b[2]}" for b in BAD]
)
def test_a_bad_request_gets_one_line_that_says_what_is_wrong(
    desk: Desk, operation: str, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(OperatorError) as caught:
        desk.ask(operation, **arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# --- strangers and decisions ----------------------------------------------------------------------


def test_a_node_that_was_met_is_added_by_its_address(desk: Desk) -> None:
    other = desk.mesh.node("bob")
    other.start()
    where = address("bob").hex()
    with pytest.raises(OperatorError, match="did not show its key"):
        desk.ask("peer_add", address=where)
    assert desk.ask("meet", address=where) == {"address": where}

    def is_known() -> bool:
        (row,) = desk.ask("candidates").candidates
        return bool(row.key_id == key("bob").key_id)

    wait_until(is_known, "bob shows his key")
    (row,) = desk.ask("candidates").candidates
    assert row.fingerprint == key("bob").public.fingerprint.hex()
    added = desk.ask("peer_add", address=where, alias="bob", direction="send", bootstrap=True)
    assert (added.key_id, added.direction, added.bootstrap) == (key("bob").key_id, "send", True)
    assert desk.book.peers()[0].fingerprint == key("bob").public.fingerprint
    assert desk.ask("candidates").candidates == ()
    with pytest.raises(OperatorError, match="bob is a peer already"):
        desk.ask("meet", address=where)


@pytest.mark.parametrize("where", ["", "zz" * 16, "00" * 15, None, 5])
def test_only_an_address_can_be_met(desk: Desk, where: object) -> None:
    with pytest.raises(OperatorError, match="32 hex digits"):
        desk.ask("meet", address=where)


def test_a_node_does_not_meet_itself(desk: Desk) -> None:
    with pytest.raises(OperatorError, match="this node's own"):
        desk.ask("meet", address=address("alice").hex())


def test_decisions_about_a_peer_are_kept_and_acted_on(desk: Desk) -> None:
    desk.ask("peer_add", invite=invite("bob"), alias="bob", note="on the roof")
    changed = desk.ask("peer_set", key_id="bob", kinds=["key"], direction="receive", alias="Bob")
    assert (changed.alias, changed.note, changed.direction) == ("Bob", "on the roof", "receive")
    config = desk.mesh.peer("alice", "bob").config
    assert config.kinds == {KEY}
    assert PeerBook.load(desk.book._path).peers() == desk.book.peers()
    assert desk.ask("peer_add", invite=invite("bob")).alias == "Bob"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": ["no_kind"]}, {"kinds": 5}, {"kinds": []}, {"direction": "up"}, {"note": 5},
        {"bootstrap": "yes"}, {"alias": ["x"]},
    ],
)  # fmt: skip
def test_what_cannot_be_decided_changes_nothing(desk: Desk, wrong: dict[str, Any]) -> None:
    desk.ask("peer_add", invite=invite("bob"))
    before = desk.book.peers()
    with pytest.raises(OperatorError):
        desk.ask("peer_set", key_id=key("bob").key_id, **wrong)
    assert desk.book.peers() == before


def test_a_bootstrap_peer_stays_until_it_is_meant(desk: Desk) -> None:
    desk.ask("peer_add", invite=invite("bob"), alias="bob", bootstrap=True)
    with pytest.raises(OperatorError, match="bootstrap"):
        desk.ask("peer_remove", key_id="bob")
    assert desk.node.runtime.peers.key_ids() == {key("bob").key_id}
    desk.ask("peer_remove", key_id="bob", even_bootstrap=True)
    assert desk.node.runtime.peers.key_ids() == frozenset()


def test_the_ignored_are_neither_met_nor_added_nor_listed(desk: Desk) -> None:
    where = address("bob").hex()
    desk.ask("meet", address=where)
    assert len(desk.ask("candidates").candidates) == 1
    assert desk.ask("door", list="ignored", name=where, on=True) == {"ignored": (where,)}
    answer = desk.ask("candidates")
    assert (answer.candidates, answer.ignored) == ((), (where,))
    for operation, arguments in (
        ("meet", {"address": where}), ("peer_add", {"invite": invite("bob")}),
    ):  # fmt: skip
        with pytest.raises(OperatorError, match="list of the ignored"):
            desk.ask(operation, **arguments)
    desk.ask("door", list="ignored", name=where, on=False)
    desk.ask("peer_add", invite=invite("bob"), alias="bob")
    with pytest.raises(OperatorError, match="bob is a peer; remove it first"):
        desk.ask("door", list="ignored", name=where, on=True)
    with pytest.raises(OperatorError, match="no list"):
        desk.ask("door", list="others", name=where, on=True)


def test_reach_of_a_peer_is_told_by_medium(desk: Desk) -> None:
    desk.ask("peer_add", invite=invite("bob"))
    (row,) = desk.ask("peers")
    assert row.reach == ()
    desk.mesh.node("bob").start()
    desk.mesh.nodes["bob"].add_peer(desk.mesh.config("alice"))
    wait_until(lambda: desk.ask("peers")[0].state == "connected", "they are connected")
    (row,) = desk.ask("peers")
    (reach,) = [each for each in row.reach if each.medium == "loopback"]
    assert reach.answered + reach.came_in >= 1
    assert json.loads(json.dumps(asdict(row)))["reach"]


def test_the_group_may_look_at_candidates_and_not_change_anything(desk: Desk) -> None:
    assert "candidates" in READ_OPS
    assert READ_OPS.isdisjoint({"meet", "peer_add", "peer_set", "peer_remove", "door"})
    assert desk.operations.table().keys() >= READ_OPS
