"""An application that asks, before it relies on a record: is what I hold here fresh enough?

Look at the second and third table: alice still holds everything after bob has gone silent, but
once his last confirmation is older than tau_partial, `is_fresh` stops saying so. Fresh means: some
peer confirmed within tau_partial (300 s by default, 5 s here) that nothing is missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import RoundEvent
from ciris_mesh.runtime.keyfiles import FederationSeeds
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.runtime.scheduler import SchedulerConfig
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport

KINDS = (EnvelopeKind.KEY, EnvelopeKind.ATTESTATION, EnvelopeKind.REVOCATION)
IMPATIENT = RuntimeConfig(SchedulerConfig(cadence_s=0.2), tau_partial_s=5.0)

network = LoopbackNetwork()
told: list[EnvelopeKind] = []


def make_node(name: str) -> Node:
    """A node that keeps three kinds only and looks at its peers five times a second."""
    key = FederationSeeds.generate(name).key()
    return Node(key, LoopbackTransport(network, name), kinds=KINDS, config=IMPATIENT)


def on_round(event: RoundEvent) -> None:
    """What an application gets: values, one for each finished round, on a thread of the node."""
    came = event.report.admitted if event.report else 0
    print(f"  round of {event.kind}: {event.outcome}, {came} admitted {event.reason}".rstrip())
    told.append(event.kind)


def show(title: str) -> None:
    """Print how alice stands with bob, kind by kind."""
    print(title)
    board = alice.runtime.board
    for kind in KINDS:
        age_s = board.age_s(bob.key_id, kind)
        confirmed = "never confirmed" if age_s is None else f"confirmed {age_s:.1f} s ago"
        verdict = "fresh" if alice.is_fresh(kind) else "not fresh"
        signal = str(board.standing(bob.key_id, kind).signal)
        print(f"  {kind:<12} {signal:<8} {confirmed:<19} {verdict}")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when the condition holds; end the program when that takes too long."""
    deadline_s = time.monotonic() + 120.0
    while not condition():
        if time.monotonic() > deadline_s:
            sys.exit(f"gave up waiting until {what}")
        time.sleep(0.01)


alice, bob = make_node("alice"), make_node("bob")
here, there = alice.runtime.transport.address, bob.runtime.transport.address
alice.add_peer(PeerConfig(bob.key_id, there))
bob.add_peer(PeerConfig(alice.key_id, here))
alice.subscribe(on_round)

show("before anything was compared")
with alice, bob:
    bob.put(EnvelopeKind.REVOCATION, {"revoked_key_id": "field-7-retired", "reason": "lost"})
    wait_until(lambda: EnvelopeKind.REVOCATION in told, "alice has what bob wrote")
    wait_until(lambda: all(map(alice.is_fresh, KINDS)), "every kind is fresh")
    show("after a first exchange")

    network.hold(here, there)  # bob is there, and says nothing any more
    wait_until(lambda: not any(map(alice.is_fresh, KINDS)), "the confirmations are too old")
    show("bob silent for longer than tau_partial")

    network.release(here, there)
    wait_until(lambda: all(map(alice.is_fresh, KINDS)), "every kind is fresh again")
    show("bob is back")
