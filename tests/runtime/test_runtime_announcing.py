"""Announces: 23 bytes, at start and once an interval, whatever the transport says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ciris_mesh.errors import TransportError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import announcing
from ciris_mesh.runtime.announcing import Announcer, announce_data, announce_node, lacks_peer
from ciris_mesh.runtime.node import Node
from ciris_mesh.transport.rns_announce import RADIO_SPACING_S
from ciris_mesh.wire.announce import ANNOUNCE_BYTES, decode_announce, encode_announce
from support.keys import key
from support.mesh import Mesh
from support.waiting import DEADLINE_S, wait_until


class Heard:
    """Takes the place of a transport's `announce`."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[bytes] = []
        self.errors: list[Exception] = []
        monkeypatch.setattr(node.runtime.transport, "announce", self)

    def __call__(self, app_data: bytes) -> None:
        self.said.append(app_data)
        if self.errors:
            raise self.errors.pop()


def test_what_is_announced_are_23_bytes_of_who_and_how_much(mesh: Mesh, alice: Node) -> None:
    mesh.put("alice", EnvelopeKind.FAMILY)
    data = announce_data(alice)
    said = encode_announce(data)
    assert len(said) == ANNOUNCE_BYTES == 23
    assert decode_announce(said) == data
    assert data.fingerprint == key("alice").public.fingerprint[:8]
    assert data.count == 2


def test_the_digest_changes_with_what_is_held_and_only_then(mesh: Mesh, alice: Node) -> None:
    first = announce_data(alice).view_digest
    assert announce_data(alice).view_digest == first
    mesh.put("alice", EnvelopeKind.FAMILY)
    assert announce_data(alice).view_digest != first


def test_the_first_announce_is_at_start_and_others_hear_it(mesh: Mesh, alice: Node) -> None:
    bob = mesh.node("bob")
    bob.start()
    announcer = Announcer(lambda: announce_node(alice), interval_s=3600.0)
    announcer.start()
    wait_until(lambda: list(bob.runtime.peers.candidates()), "heard")
    announcer.stop()


def test_it_is_repeated_once_an_interval(alice: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(alice, monkeypatch)
    announcer = Announcer(lambda: announce_node(alice), interval_s=0.001)
    announcer.start()
    wait_until(lambda: len(heard.said) >= 3, "repeated")
    announcer.stop()
    assert set(heard.said) == {encode_announce(announce_data(alice))}


@pytest.mark.parametrize("error", [TransportError("no interface"), RuntimeError("a bug")])
def test_an_announce_that_fails_is_logged_and_the_next_one_comes(
    alice: Node,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    heard = Heard(alice, monkeypatch)
    heard.errors = [error]
    announcer = Announcer(lambda: announce_node(alice), interval_s=0.001)
    announcer.start()
    wait_until(lambda: len(heard.said) >= 2, "repeated")
    announcer.stop()
    assert "announce.failed" in caplog.text


def impatient(
    node: Node, monkeypatch: pytest.MonkeyPatch, lacks_peer: Callable[[], bool]
) -> Announcer:
    """One whose hour is a millisecond and whose interval does not pass."""
    monkeypatch.setattr(announcing, "AGAIN_S", 0.001)
    monkeypatch.setattr(announcing, "AGAIN_SPREAD_S", 0.001)
    return Announcer(lambda: announce_node(node), interval_s=6 * 3600.0, lacks_peer=lacks_peer)


@pytest.mark.parametrize("lacks", [True, False])
def test_while_a_peer_was_never_met_some_come_earlier(
    alice: Node, monkeypatch: pytest.MonkeyPatch, *, lacks: bool
) -> None:
    heard, asked = Heard(alice, monkeypatch), threading.Semaphore(0)

    def lacks_peer() -> bool:
        asked.release()
        return lacks

    announcer = impatient(alice, monkeypatch, lacks_peer)
    announcer.start()
    for _ in range(announcing.AGAIN_MAX if lacks else 9):
        assert asked.acquire(timeout=DEADLINE_S)
    wait_until(lambda: len(heard.said) == (1 + announcing.AGAIN_MAX if lacks else 1), "announced")
    announcer.stop()
    assert not (lacks and asked.acquire(blocking=False)), "then it waits the interval"


def test_a_peer_that_comes_later_is_announced_for_within_an_hour(
    alice: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard(alice, monkeypatch)
    answers: Iterator[bool | Exception] = iter([False, RuntimeError("a bug"), True])

    def lacks_peer() -> bool:
        answer = next(answers, False)
        if isinstance(answer, Exception):
            raise answer
        return answer

    announcer = impatient(alice, monkeypatch, lacks_peer)
    announcer.start()
    wait_until(lambda: len(heard.said) == 2, "again")
    announcer.stop()
    assert "a bug" in caplog.text


def test_an_early_announce_is_no_earlier_than_a_radio_takes_one() -> None:
    assert announcing.AGAIN_S > RADIO_SPACING_S


def test_a_peer_is_lacked_until_it_was_met(mesh: Mesh, alice: Node) -> None:
    assert not lacks_peer(alice), "it has none"
    bob = mesh.node("bob")
    mesh.befriend("alice", "bob")
    assert lacks_peer(alice)
    bob.start()
    wait_until(lambda: not lacks_peer(alice), "met")


def test_stop_does_not_wait_for_the_interval_and_is_idempotent(alice: Node) -> None:
    announcer = Announcer(lambda: announce_node(alice), interval_s=6 * 3600.0)
    announcer.start()
    stopped = threading.Event()

    def stop() -> None:
        announcer.stop(DEADLINE_S * 2)
        announcer.stop()
        stopped.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert stopped.wait(DEADLINE_S)
    stopper.join()


def test_stopping_one_that_never_started_is_fine(alice: Node) -> None:
    Announcer(lambda: announce_node(alice), interval_s=1.0).stop()
