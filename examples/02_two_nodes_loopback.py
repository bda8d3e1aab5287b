"""Two whole nodes inside one program: sign a record on one, wait, read it on the other.

Look at how little an embedding program does: a key, a transport and a peer make a `Node`, which
owns its threads and its store. `LoopbackTransport` carries the frames here; give the nodes an
`RnsTransport` instead and nothing else changes.
"""

from __future__ import annotations

import sys
import time

from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.keyfiles import FederationSeeds
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport

network = LoopbackNetwork()


def make_node(name: str) -> Node:
    """A node with fresh keys. The key's name is only a label: its id is a hash of the key."""
    key: FederationKey = FederationSeeds.generate(name).key()
    return Node(key, LoopbackTransport(network, name))


def introduce(node: Node, other: Node) -> None:
    """What an invite does: whom to exchange with, under which address, with which key."""
    node.add_peer(
        PeerConfig(other.key_id, other.runtime.transport.address, fingerprint=other.fingerprint)
    )


alice, bob = make_node("alice"), make_node("bob")
introduce(alice, bob)
introduce(bob, alice)  # peering is mutual: each decides for itself

with alice, bob:
    started_s = time.monotonic()
    # An attestation waits for the key it is about, so let the two exchange their keys first.
    if waiting := alice.wait_converged(timeout_s=120.0):
        sys.exit(f"not converged: {'; '.join(waiting)}")
    verdict = alice.put(
        EnvelopeKind.ATTESTATION,
        {
            "attested_key_id": bob.key_id,
            "attestation_type": "scores",
            "weight": 1.0,
            "attestation_envelope": {"dimension": "trust:field:v1", "score": 0.9},
        },
    )
    print(f"alice signed an attestation: {verdict.outcome}")
    assert verdict.envelope_id is not None

    for node in (alice, bob):
        if waiting := node.wait_converged(timeout_s=120.0):
            sys.exit(f"not converged: {'; '.join(waiting)}")
    print(f"both agree after {time.monotonic() - started_s:.1f} s")

    row = bob.get(EnvelopeKind.ATTESTATION, verdict.envelope_id)
    assert row is not None, "converged, so it is there"
    print(f"bob holds {row.envelope_id.hex()[:16]} on the {row.shelf.name.lower()} shelf")
    print(f"signed by {', '.join(row.signers)}, {len(row.envelope)} bytes as alice wrote them")
    print(f"bob is fresh for attestations: {bob.is_fresh(EnvelopeKind.ATTESTATION)}")
