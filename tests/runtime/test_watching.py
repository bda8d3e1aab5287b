"""What is wrong with a node, read from what `status` and `budget` say and from the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.notify.alerts import LASTS_S
from ciris_mesh.notify.texts import budget_text, peers_text, status_text
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.budget import BudgetStatus, InterfaceBudget, RadioBudget
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.config import load_config
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.runtime.operatorparts import RevokedFriends, Watch
from ciris_mesh.runtime.peerbook import Peer, PeerBook
from ciris_mesh.runtime.setup import new_node, node_identity
from ciris_mesh.runtime.status import NodeStatus, PeerStatus
from ciris_mesh.runtime.watching import DISK_FREE_BYTES_MIN, overview, readings, troubles
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport

RADIO = InterfaceBudget(
    name="RNode", online=True, duty="1%", counted=True, limit_s=36.0, used_s=10.0, own_s=0.0,
    forwarded_s=0.0, reticulum_s=0.0, handed_s=0.0, free_s=20.0, owed_records=0, owed_bytes=0,
    owed_airtime_s=0.0, drain_h=0.0,
)  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Operations]:
    """A real node alone, asked through its real operations."""
    home = new_node(tmp_path / "a", "alice")
    made = Node(node_identity(home).key, LoopbackTransport(LoopbackNetwork(), "a"))
    clock = SystemClock()
    budget = RadioBudget(load_config(home.config).radio)
    operations = Operations(made, PeerBook.load(home.peers), clock, clock.monotonic_s(), budget)
    with made:
        yield operations


def ask(operations: Operations, what: str, **given: Any) -> Any:
    return operations.table()[what](given)


def names(status: NodeStatus, budget: BudgetStatus, path: Path, **more: Any) -> list[str]:
    found = troubles(status, budget, storage=path, **{"stale_s": 3600.0, **more})
    assert all(one.name in LASTS_S for one in found)
    assert all(len(one.text.encode()) < 200 for one in found)
    return [one.name for one in found]


def test_nothing_is_wrong_with_a_node_that_is_well(node: Operations, tmp_path: Path) -> None:
    status = replace(ask(node, "status"), clock="trusted")
    assert names(status, ask(node, "budget"), tmp_path) == []


def peer(**more: Any) -> PeerStatus:
    fields = {"key_id": "bob-id", "alias": "bob", "last_heard_s": 10.0, **more}
    return SimpleNamespace(**fields)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("heard_s", "uptime_s", "stale"),
    [(10.0, 1e6, False), (3601.0, 1e6, True), (None, 10.0, False), (None, 4000.0, True)],
)
def test_a_peer_is_stale_by_what_was_heard_of_it(
    node: Operations, tmp_path: Path, heard_s: float | None, uptime_s: float, *, stale: bool
) -> None:
    status = replace(
        ask(node, "status"), clock="trusted", uptime_s=uptime_s, peers=(peer(last_heard_s=heard_s),)
    )
    assert names(status, ask(node, "budget"), tmp_path) == ["peer_stale"] * stale


def test_radios_that_are_gone_or_have_no_air_left(node: Operations, tmp_path: Path) -> None:
    status = replace(ask(node, "status"), clock="trusted")
    budget = ask(node, "budget")
    cases = [
        (RADIO, []),
        (replace(RADIO, online=False), ["radio_lost"]),
        (replace(RADIO, used_s=35.9), []),
        (replace(RADIO, used_s=35.9, owed_records=3), ["budget_exhausted"]),
        (replace(RADIO, used_s=20.0, owed_records=3), []),
        (replace(RADIO, limit_s=None, used_s=99.0, owed_records=3), []),
        (replace(RADIO, used_s=None, owed_records=3), []),
    ]
    for radio, expected in cases:
        assert names(status, replace(budget, interfaces=(radio,)), tmp_path) == expected


def test_clock_and_revoked_keys(node: Operations, tmp_path: Path) -> None:
    status, budget = ask(node, "status"), ask(node, "budget")
    assert names(replace(status, clock="before 2026"), budget, tmp_path) == ["clock_untrusted"]
    status = replace(status, clock="trusted")
    (one,) = troubles(status, budget, storage=tmp_path, stale_s=1.0, revoked=["bob"])[:1]
    assert one.text == "key of bob is revoked"


def test_a_disk_that_is_full_or_gone(
    node: Operations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, budget = replace(ask(node, "status"), clock="trusted"), ask(node, "budget")
    assert names(status, budget, tmp_path / "not there") == ["disk_read_only"]
    usage = shutil.disk_usage(tmp_path)
    little = usage._replace(free=DISK_FREE_BYTES_MIN - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: little)
    assert names(status, budget, tmp_path) == ["disk_full"]


def test_answers_are_made_of_what_the_node_says(node: Operations) -> None:
    view = overview("field-3", ask(node, "status"), ask(node, "budget"))
    assert status_text(view).startswith("field-3: ")
    assert "1 records" in status_text(view)
    assert peers_text(view) == "no peers yet"
    assert budget_text(view) == "no radio here"


def test_a_board_tells_of_itself(tmp_path: Path) -> None:
    found = readings("x", tmp_path, clock=lambda: 7.9)
    assert found.unix_s == 7
    assert 0 <= found.load <= 1
    assert found.ram[0] > found.ram[1] > 0
    assert found.disk[0] >= found.disk[1] > 0


def test_what_may_be_done_by_message_is_done(node: Operations, tmp_path: Path) -> None:
    watch = Watch("a", new_node(tmp_path / "b", "b"), node, 1.0, list)
    other = node_identity(new_node(tmp_path / "c", "carol"))
    node.book.add(Peer(other.key_id, other.fingerprint, other.address, alias="carol"))
    assert watch.act("sync", "") == "comparing with 0 peers"
    assert watch.act("untrust", "carol") == "no longer exchanging with carol"
    assert node.book.peers() == ()
    for verb, argument in (("untrust", ""), ("untrust", "nobody"), ("other", "")):
        with pytest.raises(OperatorError):
            watch.act(verb, argument)


def test_revoked_friends_are_asked_about_when_revocations_come(node: Operations) -> None:
    asked: list[str] = []

    def resolve(given: dict[str, Any]) -> object:
        asked.append(given["subject"])
        return ask(node, "resolve", **given)

    me = node.node.key_id
    friends = RevokedFriends(node.node.directory, resolve, lambda: {me: "this node"})
    assert friends() == friends() == []
    assert asked == [me]
    node.node.put(EnvelopeKind.REVOCATION, {"revoked_key_id": me, "reason": "lost"})
    assert friends() == ["this node"]
    assert friends() == ["this node"]
    assert asked == [me, me]


def test_a_directory_of_its_own_has_nobody_revoked() -> None:
    friends = RevokedFriends(MemoryDirectory(), lambda _: pytest.fail("asked"), dict)
    assert friends() == []
