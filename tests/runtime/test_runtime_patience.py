"""Two honest nodes, one of which can't take what the other has: no hot loop, no false comfort."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import RoundEvent, RoundOutcome
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from support.keys import alice, bob
from support.records import AT_MS, sample
from support.waiting import wait_until

DAY_MS = 86_400_000
RECORDS = 24
LIMITS = PoolLimits(deferred_per_signer=8, deferred_per_source=16)


@pytest.fixture
def behind() -> Iterator[tuple[Node, Node]]:
    """Alice holds records; bob's clock is a day behind and his pools are smaller than her offer."""
    network = LoopbackNetwork()
    right = Node(alice(), LoopbackTransport(network, "alice"), wall_ms=lambda: AT_MS)
    wrong = Node(
        bob(),
        LoopbackTransport(network, "bob"),
        directory=MemoryDirectory(limits=LIMITS),
        wall_ms=lambda: AT_MS - DAY_MS,
    )
    for node, other in ((right, wrong), (wrong, right)):
        node.add_peer(PeerConfig(other.key_id, other.runtime.transport.address))
    with right, wrong:
        for n in range(RECORDS):
            right.runtime.admit_own(
                EnvelopeKind.LOCATION_PROOF, sample(EnvelopeKind.LOCATION_PROOF, alice(), n)
            )
        yield right, wrong


def test_a_node_whose_clock_is_behind_is_not_sent_the_same_for_ever(
    behind: tuple[Node, Node],
) -> None:
    right, wrong = behind
    rounds: list[RoundEvent] = []
    wrong.subscribe(rounds.append)
    wait_until(lambda: wrong.directory.pools().deferred > 0)
    for _ in range(20):  # every comparison there is, asked for by hand
        right.handle.sync()
        wrong.handle.sync()
        wait_until(lambda: quiet(right, wrong))
    delivered = sum(
        event.report.deferred + event.report.refused
        for event in rounds
        if event.outcome is RoundOutcome.COMPLETED and event.report is not None
    )
    assert delivered <= 4 * RECORDS


def quiet(*nodes: Node) -> bool:
    return all(
        not node.runtime.scheduler.is_busy(peer)
        for node in nodes
        for peer in node.runtime.peers.key_ids()
    )


def test_a_node_that_holds_nothing_does_not_call_itself_fresh(behind: tuple[Node, Node]) -> None:
    _, wrong = behind
    wait_until(lambda: wrong.directory.pools().deferred > 0)
    wait_until(lambda: quiet(wrong))
    assert not wrong.is_fresh(EnvelopeKind.LOCATION_PROOF)
    assert wrong.directory.digest(EnvelopeKind.LOCATION_PROOF).count == 0
