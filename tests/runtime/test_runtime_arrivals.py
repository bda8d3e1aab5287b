"""Batches that come before their turn: read early, worked off in order, paid for, forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ciris_mesh.directory.base import Source
from ciris_mesh.directory.foresight import Place
from ciris_mesh.directory.verifying import Signed
from ciris_mesh.errors import BatchRefused
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason, Verdict
from ciris_mesh.runtime import arrivals
from ciris_mesh.runtime.allowance import ANSWERING_BURST_S
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.recoding import delivers_of
from ciris_mesh.wire.mesh_reconcile import More, Sketch
from ciris_mesh.wire.mesh_records import Records, Taken
from ciris_mesh.wire.transcode import plain_batch
from support.keys import key
from support.mesh import Mesh, ScriptedPeer, held, settle
from support.records import sample
from support.scripted_rounds import BOTH, SALT, Held, connected, drops, id_of
from support.waiting import wait_until

FAMILY = EnvelopeKind.FAMILY
BOB = key("bob").key_id


@pytest.fixture
def bob(mesh: Mesh, alice: Node) -> ScriptedPeer:
    return connected(mesh, BOTH)


class Verifiers:
    """Somebody who checks; what comes of it is tested with the directory."""

    def is_of_use(self) -> bool:
        return True

    def expect(self, count: int) -> None:
        pass

    def open(self, count: int) -> Verifiers:
        return self

    def hand(self, asked: Iterable[Signed]) -> None:
        pass

    def reason(self, one: Signed) -> Reason | None:
        return None

    def close(self) -> None:
        pass

    def reap(self) -> None:
        pass


class Seen:
    """What is done with batches, in order: each named by the numbers of its families."""

    def __init__(self, alice: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        directory = alice.directory
        read, give_back = directory.foresight.read, directory.foresight.give_back
        directory.employ(Verifiers())  # type: ignore[attr-defined]
        admit_many = directory.admit_many

        def reading(
            place: Place, kind: EnvelopeKind, envelopes: Sequence[bytes], now_ms: int
        ) -> None:
            assert place.source == Source("peer", BOB)
            self.log.append(f"read {named(envelopes)}")
            read(place, kind, envelopes, now_ms)

        def giving_back(place: Place) -> None:
            for one in place.foreseen:
                self.log.append(f"forget {named(one.envelopes)}")
            give_back(place)

        def admitting(
            kind: EnvelopeKind, envelopes: Sequence[bytes], source: Source, *, now_ms: int
        ) -> list[Verdict]:
            self.log.append(f"admit {named(envelopes)}")
            return admit_many(kind, envelopes, source, now_ms=now_ms)

        monkeypatch.setattr(directory.foresight, "read", reading)
        monkeypatch.setattr(directory.foresight, "give_back", giving_back)
        monkeypatch.setattr(directory, "admit_many", admitting)


@pytest.fixture
def seen(alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(alice, monkeypatch)


def family(number: int) -> bytes:
    return sample(FAMILY, key("bob"), number)


def named(envelopes: Sequence[bytes]) -> str:
    return " ".join(
        str(number) for one in envelopes for number in range(9) if family(number) == one
    )


def batch(*numbers: int) -> Records:
    return Records(9, plain_batch([(FAMILY, family(number)) for number in numbers]))


@contextmanager
def busy(alice: Node, bob: ScriptedPeer, frames: int) -> Iterator[None]:
    """Bob's strand is at something else until so many frames of his wait for it."""
    links, done = alice.runtime._links, threading.Event()
    alice.runtime._pool.submit(BOB, lambda: wait_until(done.is_set, "the frames"))
    try:
        yield
        wait_until(lambda: len(links._queued.get(BOB, ())) == frames, "the frames wait")
    finally:
        done.set()


def test_the_next_batch_is_read_before_this_one_is_judged(
    alice: Node, bob: ScriptedPeer, seen: Seen
) -> None:
    with busy(alice, bob, 3):
        bob.say(batch(0), batch(1, 2), batch(3))
    for _ in range(3):
        assert bob.hear(Taken) == Taken(9)
    settle(alice)
    assert seen.log == [
        *("read 1 2", "admit 0"),
        *("read 3", "admit 1 2", "forget 1 2"),
        *("admit 3", "forget 3"),
    ]
    assert held(alice)[FAMILY] == {id_of(family(number)) for number in range(4)}
    assert alice.runtime._links._queued == {}


def test_a_batch_alone_is_read_in_its_turn(alice: Node, bob: ScriptedPeer, seen: Seen) -> None:
    for number in range(2):
        bob.say(batch(number))
        bob.hear(Taken)
        settle(alice)
    assert seen.log == ["admit 0", "admit 1"]


def test_what_is_no_batch_is_not_read(alice: Node, bob: ScriptedPeer, seen: Seen) -> None:
    with busy(alice, bob, 2):
        bob.say(batch(0), Taken(8))
    bob.hear(Taken)
    settle(alice)
    assert seen.log == ["admit 0"]


def test_a_batch_nobody_can_read_is_refused_in_its_turn(
    alice: Node, bob: ScriptedPeer, seen: Seen, mesh: Mesh
) -> None:
    peer = mesh.peer("alice", "bob")
    with busy(alice, bob, 2):
        bob.say(batch(0), Records(9, b"\x01garbage"))
    bob.wait_down()
    settle(alice)
    assert seen.log == ["admit 0"]
    assert sum(n for why, n in alice.runtime.drops.snapshot().items() if "batch_" in why) == 1
    wait_until(lambda: peer.waste.left_s < ANSWERING_BURST_S, "paid")


def test_frames_after_garbage_are_not_worked_off_for_a_link_that_is_gone(
    alice: Node, bob: ScriptedPeer, seen: Seen
) -> None:
    """They are forgotten all the same."""
    with busy(alice, bob, 3):
        bob.say(batch(0), batch(1))
        bob.say_bytes(b"garbage")
    bob.wait_down()
    settle(alice)
    assert seen.log == ["read 1", "admit 0", "admit 1", "forget 1"]


def test_a_batch_that_was_read_for_a_link_that_was_lost_is_forgotten(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its reading and its turn the peer's link becomes another one."""
    peer = mesh.peer("alice", "bob")
    admit_many = alice.directory.admit_many

    def losing(
        kind: EnvelopeKind, envelopes: Sequence[bytes], source: Source, *, now_ms: int
    ) -> list[Verdict]:
        peer.link = None
        return admit_many(kind, envelopes, source, now_ms=now_ms)

    monkeypatch.setattr(alice.directory, "admit_many", losing)
    with busy(alice, bob, 2):
        bob.say(batch(0), batch(1))
    wait_until(lambda: "forget 1" in seen.log, "forgotten")
    assert seen.log == ["read 1", "admit 0", "forget 1"]


def test_on_a_link_that_is_not_the_peers_nothing_is_read(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, seen: Seen
) -> None:
    with busy(alice, bob, 2):
        bob.say(batch(0), batch(1))
        mesh.peer("alice", "bob").link = None
    settle(alice)
    assert seen.log == []


def test_a_batch_of_no_use_is_paid_for_whole_and_by_itself(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it early costs what reading it late does; the batch before it does not pay."""
    alice.directory.employ(Verifiers())  # type: ignore[attr-defined]
    peer = mesh.peer("alice", "bob")
    bob.say(batch(1))
    bob.hear(Taken)
    settle(alice)
    worked_s = [0.0]
    paid: list[float] = []
    monkeypatch.setattr(peer.waste, "spend", paid.append)  # and not what time refills
    monkeypatch.setattr(peer.waste, "work_s", lambda: worked_s[0])

    def dear(message: Records) -> object:
        worked_s[0] += 1.0
        return delivers_of(message)

    monkeypatch.setattr(arrivals, "delivers_of", dear)

    def paid_for(*batches: Records) -> list[float]:
        with busy(alice, bob, len(batches)):
            bob.say(*batches)
        for _ in batches:
            bob.hear(Taken)
        settle(alice)
        said = [*paid]
        paid.clear()
        return said

    assert paid_for(batch(0), batch(1)) == [1.0]
    assert paid_for(batch(1), batch(2)) == [0.0]


def test_who_has_brought_too_much_for_nothing_has_nothing_read(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = mesh.peer("alice", "bob")
    unpacked: list[int] = []

    def unpacking(message: Records) -> object:
        unpacked.append(len(message.batch))
        raise BatchRefused("truncated")

    monkeypatch.setattr(arrivals, "delivers_of", unpacking)
    with busy(alice, bob, 2):
        peer.waste.spend(2 * ANSWERING_BURST_S)
        bob.say(batch(0), batch(1))
    bob.wait_down()
    settle(alice)
    assert unpacked == []
    assert seen.log == []
    assert drops(alice, "frame_batches_for_nothing") > 0


def test_of_a_peer_nothing_is_taken_from_nothing_is_read(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, seen: Seen
) -> None:
    peer = mesh.peer("alice", "bob")
    peer.config = replace(peer.config, kinds=frozenset({EnvelopeKind.KEY}))
    with busy(alice, bob, 2):
        bob.say(batch(0), batch(1))
    bob.hear(Taken)
    bob.hear(Taken)
    settle(alice)
    assert [one for one in seen.log if "read" in one] == []


def test_a_batch_is_judged_though_reading_the_next_fails(
    alice: Node, bob: ScriptedPeer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_message: Records) -> object:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(arrivals, "delivers_of", breaks)
    with busy(alice, bob, 2):
        bob.say(batch(0), batch(1))
    bob.hear(Taken)
    bob.hear(Taken)
    settle(alice)
    assert seen.log == ["admit 0", "admit 1"]


def test_a_kind_of_which_too_much_was_refused_is_not_read(
    alice: Node, bob: ScriptedPeer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alice.runtime.bridge, "is_worth_taking", lambda _peer, _kind: False)
    with busy(alice, bob, 2):
        bob.say(batch(0), batch(1))
    bob.hear(Taken)
    bob.hear(Taken)
    settle(alice)
    assert seen.log == []


def test_without_anybody_to_check_nothing_is_unpacked_early(
    alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpacks(_message: Records) -> object:
        raise AssertionError("unpacked")

    monkeypatch.setattr(arrivals, "delivers_of", unpacks)
    with busy(alice, bob, 2):
        bob.say(batch(0), batch(1))
    bob.hear(Taken)
    bob.hear(Taken)
    settle(alice)
    assert held(alice)[FAMILY] == {id_of(family(number)) for number in range(2)}


def test_what_was_read_of_a_peer_that_may_not_go_on_is_paid_for(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = mesh.peer("alice", "bob")
    paid: list[float] = []
    open_for = [True, False]
    monkeypatch.setattr(peer.waste, "is_open", lambda: open_for.pop(0))
    monkeypatch.setattr(peer.waste, "spend", paid.append)
    with busy(alice, bob, 2):
        bob.say(batch(0), batch(1))
    bob.wait_down()
    settle(alice)
    assert seen.log == ["read 1", "admit 0", "forget 1"]
    assert len(paid) == 1
    assert paid[0] > 0


def test_frames_that_get_no_turn_are_forgotten(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node stops while one batch is judged and the next was read."""
    admit_many, judging, go_on = alice.directory.admit_many, threading.Event(), threading.Event()

    def slowly(
        kind: EnvelopeKind, envelopes: Sequence[bytes], source: Source, *, now_ms: int
    ) -> list[Verdict]:
        judging.set()
        wait_until(go_on.is_set, "stopping")
        return admit_many(kind, envelopes, source, now_ms=now_ms)

    monkeypatch.setattr(alice.directory, "admit_many", slowly)
    with busy(alice, bob, 3):
        bob.say(batch(0), batch(1), batch(2))
    wait_until(judging.is_set, "judging")
    assert len(alice.directory.foresight._places) == 1
    stopping = threading.Thread(target=alice.stop)
    stopping.start()
    pool = alice.runtime._pool
    wait_until(lambda: pool._stopping, "the pool takes no more")
    go_on.set()
    stopping.join()
    assert alice.directory.foresight._places == []
    assert alice.runtime._links._queued == {}


# -- before anything comes -------------------------------------------------------------------------


@pytest.mark.parametrize("is_slow", [False, True])
def test_who_checks_hears_of_what_is_on_its_way(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """When a round begins; where records come one by one there is time enough."""
    expected: list[int] = []
    monkeypatch.setattr(alice.directory.foresight, "expect", expected.append)
    link = mesh.peer("alice", "bob").link
    assert link is not None
    link.is_slow = is_slow
    his: Held = {**held(alice), FAMILY: frozenset(bytes([n]) * 32 for n in range(200))}
    bob.say(bob.digests(dict(his), reply=False))
    bob.hear_reply()
    settle(alice)
    assert expected == []
    bob.say(Sketch(7, SALT, 24, False, (1,), tuple(range(1, 25))))
    bob.hear(More)
    assert expected == ([] if is_slow else [200])
