"""Two processes, each with its own Reticulum stack, joined by TCP on 127.0.0.1.

Look at `make_node`: it differs from example 02 in its transport alone. Reticulum is one stack per
process, so this script runs itself once more as bob. All files go to a temporary directory and the
port is a free one: a Reticulum you may be running, and `~/.reticulum`, are not touched.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import RoundEvent
from ciris_mesh.runtime.invite import make_invite, parse_invite
from ciris_mesh.runtime.keyfiles import FederationSeeds
from ciris_mesh.runtime.localnodes import free_port, reticulum_config
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.rns_node import RnsTransport, shutdown_reticulum

TIMEOUT_S = 240.0


def make_node(folder: Path, name: str, port: int) -> Node:
    """A node with fresh keys; alice listens on the port, bob connects to it."""
    reticulum = folder / name
    reticulum.mkdir()
    (reticulum / "config").write_text(reticulum_config(port=port, listens=name == "alice"))
    transport = RnsTransport(reticulum, folder / f"{name}.identity")
    return Node(FederationSeeds.generate(name).key(), transport)


def invite_of(node: Node) -> str:
    """The line that people exchange, and these two processes too."""
    return make_invite(node.key_id, node.fingerprint, node.runtime.transport.address)


def accept(node: Node, line: str) -> None:
    """Make the node behind an invite a peer."""
    invite = parse_invite(line)
    address = Address(invite.address)
    node.add_peer(PeerConfig(invite.key_id, address, fingerprint=invite.fingerprint))


def alice(folder: Path) -> None:
    """Start bob, sign a record, wait until bob confirms it."""
    port = free_port()
    node = make_node(folder, "alice", port)
    command = [sys.executable, __file__, str(folder), str(port)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        with node:
            print(f"alice listens on 127.0.0.1:{port}, bob is process {child.pid}")
            accept(node, child.stdout.readline().strip())
            print(invite_of(node), file=child.stdin, flush=True)  # bob connects from here on
            node.put(
                EnvelopeKind.ATTESTATION,
                {
                    "attested_key_id": node.key_id,
                    "attestation_type": "scores",
                    "weight": 1.0,
                    "attestation_envelope": {"dimension": "identity:continuity:v1", "score": 1},
                },
            )
            if waiting := node.wait_converged(TIMEOUT_S):
                sys.exit(f"alice gives up: {'; '.join(waiting)}")
            moved = node.runtime.transport.stats()
            print(f"converged: {moved.tx_bytes} bytes sent, {moved.rx_bytes} received")
            child.stdin.close()  # bob reads until here
            print(child.stdout.read().strip())
    if child.returncode:
        sys.exit(f"bob ended with code {child.returncode}")


def bob(folder: Path, port: int) -> None:
    """Wait for an attestation, say what it is, stay until alice is done."""
    node = make_node(folder, "bob", port)
    print(invite_of(node), flush=True)
    accept(node, sys.stdin.readline().strip())
    arrived = threading.Event()

    def look(event: RoundEvent) -> None:
        if event.kind is EnvelopeKind.ATTESTATION and event.report and event.report.admitted:
            arrived.set()

    node.subscribe(look)
    with node:
        if not arrived.wait(TIMEOUT_S):
            sys.exit("bob gives up: no attestation came")
        _, row = next(node.directory.rows(EnvelopeKind.ATTESTATION, limit=1))
        print(f"bob verified an attestation of {len(row.envelope)} bytes by {row.signers[0]}")
        sys.stdin.read()


if len(sys.argv) > 1:
    bob(Path(sys.argv[1]), int(sys.argv[2]))
    shutdown_reticulum()
else:
    with tempfile.TemporaryDirectory(prefix="ciris-mesh-") as directory:
        alice(Path(directory))
        shutdown_reticulum()  # the last thing: after it nothing can be printed
