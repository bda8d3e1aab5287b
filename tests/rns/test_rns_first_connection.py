"""A real node whose first connection to its hub goes wrong agrees with its peer all the same."""

from __future__ import annotations

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from support.hasty_hub import HastyHub, hdlc
from support.node_processes import befriend, mesh, wait_until

pytestmark = [pytest.mark.rns, pytest.mark.slow]

#: Reticulum connects again after five seconds, and a path is asked for anew after 45. A write that
#: fails meanwhile, as here about every second time, must not make the node mute: see rns_givenup.
SURELY_S = 240.0


def test_a_hub_that_talks_too_early_and_hangs_up_costs_no_more_than_a_reconnection() -> None:
    with mesh() as net:
        alice = net.make("alice")
        with HastyHub(hdlc(bytes(range(1, 41))), behind=net.port) as hasty:
            net.port = hasty.port  # of those made from now on
            bob = net.make("bob")
            befriend(alice, bob)
            befriend(bob, alice)
            net.start(alice, bob)
            wanted = bob.sign(1)
            wait_until(lambda: hasty.connections >= 2, "another connection", SURELY_S)
            wait_until(
                lambda: wanted in alice.ids(EnvelopeKind.ATTESTATION),
                "bob's record at alice",
                SURELY_S,
            )
            for node in (bob, alice):
                node.stop()
