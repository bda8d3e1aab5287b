"""Real nodes, real Reticulum, real faults: whatever breaks, they agree afterwards."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest

from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport.limits import FRAME_BYTES_MAX
from ciris_mesh.wire.frame import wrap
from ciris_mesh.wire.mesh import Hello
from ciris_mesh.wire.messages import Deliver, Diff
from support.forge import no_pqc, signed, wrong_classical, wrong_pqc
from support.node_processes import (
    HOSTILE,
    IMPATIENT,
    PATIENCE_S,
    Mesh,
    NodeProcess,
    becomes_true,
    mesh,
    wait_converged,
    wait_until,
)
from support.records import sample

pytestmark = pytest.mark.rns

KIND = EnvelopeKind.ATTESTATION
KINDS = (KIND, EnvelopeKind.REVOCATION, EnvelopeKind.LOCATION_PROOF)
#: A busy machine is no timeout: between healthy nodes there is to be none.
UNHURRIED = MappingProxyType({**IMPATIENT, ("rounds", "no_progress_timeout_s"): "25"})
#: Garbage is noticed at once, unless the transport has to repeat it.
NOTICE_S = 5.0
#: Of records, and how often one more is tried.
BATCH, TRIES = 300, 5
#: Signed before a node is killed, so that they come fast; and how many there may be in all.
FAST, MOST = 60, 5_000
HALF, NINE_TENTHS = b'"weight":0.5', b'"weight":0.9'
HELLO = Hello((1, 2, 0x81), 0, KINDS, bytes(8), bytes(8), 0, bytes(8), bytes(8))


@pytest.fixture
def net() -> Iterator[Mesh]:
    with mesh() as made:
        yield made


def batches(sender: NodeProcess) -> Iterator[set[str]]:
    """Let a node have ever more records. Yields all it ever had, as soon as it runs with them.

    A machine that stands still while they are sent sees no round that is cut in two.
    """
    expected: set[str] = set()
    for number in range(TRIES):
        if sender.process is not None:
            sender.stop()
        expected |= sender.preload(KIND, BATCH, number * BATCH)
        sender.start().wait_ready()
        yield expected
    raise AssertionError("all were there each time before anybody could be ended")


def more_than(node: NodeProcess, had: int) -> Callable[[], bool]:
    """True once the node holds more records than that."""
    return lambda: len(node.ids(KIND)) > had


def test_the_receiver_restarts_in_mid_round(net: Mesh) -> None:
    """The sender is frozen meanwhile, so that the round is surely cut in two."""
    alice, bob = net.make_peers("alice", "bob")
    had = 0
    for expected in batches(alice):
        if bob.process is None:
            bob.start().wait_ready()
        wait_until(more_than(bob, had), "a first batch is at bob's")
        alice.freeze()
        bob.stop()
        bob.start().wait_ready()
        held = bob.ids(KIND)
        alice.thaw()
        if had < len(held) < len(expected):
            break
        wait_converged(alice, bob)
        had = len(expected)

    wait_converged(alice, bob)
    assert bob.ids(KIND) == expected


def test_the_sender_restarts_in_mid_round(net: Mesh) -> None:
    alice, bob = net.make_peers("alice", "bob")
    alice.start().wait_ready()
    had = 0
    for expected in batches(bob):
        wait_until(more_than(alice, had), "a first batch is at alice's")
        alice.freeze()
        bob.stop()
        alice.thaw()
        held = alice.ids(KIND)
        bob.start().wait_ready()
        if had < len(held) < len(expected):
            break
        wait_converged(alice, bob)
        had = len(expected)

    wait_converged(alice, bob)
    assert alice.ids(KIND) == expected


def integrity(node: NodeProcess) -> str:
    """What SQLite says of the store of a node that does not run."""
    connection = sqlite3.connect(node.home.database)
    try:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        return str(verdict)
    finally:
        connection.close()


def stream_until_killed(node: NodeProcess, numbers: range, *, acknowledged: int) -> set[str]:
    """Hand in records one after the other; the node dies under way. Returns what it confirmed."""
    confirmed: set[str] = set()
    enough = threading.Event()

    def kill() -> None:
        assert enough.wait(PATIENCE_S)
        node.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for n in numbers:
            confirmed.add(node.sign(n, KINDS[n % len(KINDS)]))
            if len(confirmed) == acknowledged:
                enough.set()
    except NodeNotRunning:
        return confirmed
    finally:
        enough.set()
        killer.join(PATIENCE_S)
    raise AssertionError("every record was admitted before the node died")


def check_kills(net: Mesh, kills: int) -> None:
    alice, bob = net.make_peers("alice", "bob")
    for number in range(kills):
        for n in range(number * MOST, number * MOST + FAST):
            sample(KINDS[n % len(KINDS)], bob.identity.key, n)
    net.start(alice, bob)
    confirmed: set[str] = set()
    for number in range(kills):
        numbers = range(number * MOST, (number + 1) * MOST)
        confirmed |= stream_until_killed(bob, numbers, acknowledged=7 + 5 * number % 30)
        assert integrity(bob) == "ok"
        bob.start().wait_ready()
        assert confirmed <= set().union(*bob.all_ids().values())

    wait_converged(alice, bob)
    assert confirmed <= set().union(*alice.all_ids().values())


def test_kill_in_mid_admit_loses_nothing_acknowledged(net: Mesh) -> None:
    check_kills(net, 2)


@pytest.mark.slow
def test_many_kills_in_mid_admit_lose_nothing_acknowledged(net: Mesh) -> None:
    check_kills(net, 12)


def test_a_silent_peer_costs_nobody_else_anything(net: Mesh) -> None:
    """Carol is frozen: her links look alive and nothing answers. Alice and bob go on."""
    net.settings = UNHURRIED
    alice, bob, carol = net.make_peers("alice", "bob", "carol")
    net.start(alice, bob, carol)
    wait_converged(alice, bob, carol)

    carol.freeze()
    before, failed = alice.completed(bob), alice.failed(bob)
    signed = set()
    for n in range(8):
        signed.add(bob.sign(n))
        wait_until(lambda: signed <= alice.ids(KIND), f"record {n} is at alice's")
        # A record signed while the round before is still closing would ride with it.
        wait_until(lambda: alice.completed(bob) - before >= len(signed), f"round {n} is over")
    silent: dict[str, Any] = {}

    def is_given_up() -> bool:  # why is known a moment before the link is gone
        silent.update(alice.peer(carol))
        return bool(silent["reason"]) and silent["state"] != "connected"

    wait_until(is_given_up, "alice notices that carol is silent")
    assert silent["reason"] in ("no_answer", "no_progress", "timeout", "stalled")
    assert any("carol" in problem for problem in alice.status()["health"])
    for n in range(8, 16):
        signed.add(bob.sign(n))
        wait_until(lambda: signed <= alice.ids(KIND), f"record {n} is at alice's")
        # A record signed while the round before is still closing would ride with it.
        wait_until(lambda: alice.completed(bob) - before >= len(signed), f"round {n} is over")
    assert alice.completed(bob) - before >= 16
    assert alice.failed(bob) == failed

    carol.thaw()
    wait_converged(alice, bob, carol)
    assert carol.ids(KIND) == signed


@dataclass(frozen=True)
class Hostile:
    """A peer that says what no honest node says, and whom it says it to.

    It says it again until it is noticed: the victim closes the link over most of it, and what was
    said on a link that is just being closed, or replaced by another, is lost.
    """

    node: NodeProcess
    victim: NodeProcess

    def say(self, frame: bytes, noticed: Callable[[], bool]) -> None:
        """Send one frame."""
        self._insist(noticed, "say", frame_hex=frame.hex())

    def flood(self, size_bytes: int, noticed: Callable[[], bool]) -> None:
        """Offer a Resource."""
        self._insist(noticed, "flood", size_bytes=size_bytes)

    def deliver(self, kind: EnvelopeKind, envelope: bytes, noticed: Callable[[], bool]) -> None:
        """Push a record nobody asked for."""
        self.say(wrap(Deliver(kind, (envelope,))), noticed)

    def _insist(self, noticed: Callable[[], bool], op: str, **arguments: Any) -> None:
        def once() -> bool:
            said = self.node.call(op, peer=self.victim.key_id, **arguments)
            return bool(said) and becomes_true(noticed, NOTICE_S)

        wait_until(once, f"{self.victim.name} notices {op} {arguments}")


#: Frames that a node closes the link over -> the counter that tells of them.
GARBAGE = {
    "noise": (bytes(range(200)), "frame_notareplicationframe"),
    "a version nobody knows": (b"CRPL\x7f{}", "frame_unknownversion"),
    "half a message": (b'CRPL\x01{"type":"summary","kind":"key"', "frame_decodeerror"),
    "a ref of the wrong size": (
        b'CRPL\x01{"type":"diff","kind":"key","want":[[1,2]]}',
        "frame_decodeerror",
    ),
    "half a mesh message": (b"CRPL\x81\x93\x01", "frame_decodeerror"),
    "a hello in the middle": (wrap(HELLO), "link_out_of_turn"),
    "an answer nobody waits for": (wrap(Diff(KIND, (bytes(32),))), "round_unexpectedmessage"),
    "nothing at all": (b"", "frame_notareplicationframe"),
}


def more_drops(node: NodeProcess, counter: str) -> Callable[[], bool]:
    """True once the counter has grown since this was called."""
    before = node.drops(counter)
    return lambda: node.drops(counter) > before


def more_outcomes(node: NodeProcess, outcome: tuple[str, str, str]) -> Callable[[], bool]:
    """The same for what became of records."""
    before = node.outcomes().get(outcome, 0)
    return lambda: node.outcomes().get(outcome, 0) > before


def test_garbage_from_a_peer_is_counted_and_harms_nobody_else(net: Mesh) -> None:
    net.settings = UNHURRIED
    alice, bob, mallory = net.make_peers("alice", "bob", "mallory")
    mallory.program = HOSTILE
    net.start(alice, bob, mallory)
    wait_converged(alice, bob, mallory)
    hostile = Hostile(mallory, alice)
    failed = alice.failed(bob)

    signed = set()
    for n, (what, (frame, counter)) in enumerate(GARBAGE.items()):
        hostile.say(frame, more_drops(alice, counter))
        signed.add(bob.sign(n))
        wait_until(lambda: signed <= alice.ids(KIND), f"bob's record {n} comes after {what}")
    hostile.flood(FRAME_BYTES_MAX + 1, more_drops(alice, "frame_too_large"))

    assert alice.failed(bob) == failed
    signed.add(mallory.sign(0))
    wait_converged(alice, bob, mallory)
    assert alice.ids(KIND) == signed


def test_forged_records_are_counted_and_never_stored(net: Mesh) -> None:
    """They come from a peer, on an attributed link, in the name of another peer."""
    alice, bob, mallory = net.make_peers("alice", "bob", "mallory")
    mallory.program = HOSTILE
    net.start(alice, bob, mallory)
    wait_converged(alice, bob, mallory)
    expected = {kind: set(ids) for kind, ids in alice.all_ids().items()}
    hostile = Hostile(mallory, alice)
    victim = bob.identity.key
    valid = sample(KIND, victim, 1)

    for envelope, outcome, reason in (
        (signed(KIND, victim, spoil=wrong_classical), "refused", "classical_signature_invalid"),
        (signed(KIND, victim, spoil=wrong_pqc), "refused", "pqc_signature_invalid"),
        (signed(KIND, victim, spoil=no_pqc), "refused", "pqc_signature_missing"),
        (valid.replace(HALF, NINE_TENTHS, 1), "refused", "columns_not_signed"),
        (valid.replace(HALF, NINE_TENTHS), "refused", "content_hash_mismatch"),
        (valid[:-1], "malformed", "not_json"),
        (b"[" * 1000, "malformed", "too_deep"),
    ):
        hostile.deliver(KIND, envelope, more_outcomes(alice, ("peer", outcome, reason)))

    assert alice.all_ids() == expected
    expected[KIND] = {bob.admit(KIND, valid), mallory.sign(2)}
    wait_converged(alice, bob, mallory)
    assert alice.all_ids() == expected
