"""Two processes joined by nothing but LoRa radios, and no radio: one record, and what it costs.

Look at `make_node`: it differs from example 03 in Reticulum's configuration alone. The channel and
the two RNodes on it are emulated by alice's process; each is a serial port that Reticulum's own
RNodeInterface opens as it would a real one. The channel's time passes 32 times as fast, so that
this takes half a minute; what it counts is what real radios at SF8 would have been on air for.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import rnode_block
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import RoundEvent
from ciris_mesh.runtime.invite import make_invite, parse_invite
from ciris_mesh.runtime.keyfiles import FederationSeeds
from ciris_mesh.runtime.localnodes import reticulum_config_around
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.rns_node import RnsTransport, shutdown_reticulum

SF8 = LoraSettings(frequency_hz=868_100_000, bandwidth_hz=125_000, sf=8, cr=5)
SPEED = 32.0
DUTY_S = 36.0  # what a radio may send in an hour, at 1 %
TIMEOUT_S = 600.0  # where an exchange fails it is tried again after a minute


def make_node(folder: Path, name: str, interface: str) -> Node:
    """A node with fresh keys, behind the one interface of a Reticulum of its own."""
    reticulum = folder / name
    reticulum.mkdir()
    (reticulum / "config").write_text(reticulum_config_around(interface))
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


def alice(folder: Path, ether: Ether) -> None:
    """Start bob on the second radio, sign a record, wait until bob confirms it, tell the cost."""
    interface, other = (rnode_block(port, SF8) for port in ether.ports)
    command = [sys.executable, __file__, str(folder), other]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        node = make_node(folder, "alice", interface)
        with node:
            print(f"one channel at SF8, {SF8.bitrate_bps:.0f} bit/s, {SPEED:g} x as fast")
            accept(node, child.stdout.readline().strip())
            print(invite_of(node), file=child.stdin, flush=True)  # bob speaks from here on
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
            child.stdin.close()  # bob reads until here
            print(child.stdout.read().strip())
    if child.returncode:
        sys.exit(f"bob ended with code {child.returncode}")
    for name, sent in zip(("alice", "bob"), ether.counters(), strict=True):
        print(
            f"{name} was on air for {sent.airtime_s:.1f} s, {sent.bytes_sent} bytes in "
            f"{sent.frames_sent} frames: {sent.airtime_s / DUTY_S:.1f} h at 1 %"
        )


def bob(folder: Path, interface: str) -> None:
    """Wait for an attestation, say what it is, stay until alice is done."""
    node = make_node(folder, "bob", interface)
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
    bob(Path(sys.argv[1]), sys.argv[2])
    shutdown_reticulum()
else:
    with tempfile.TemporaryDirectory(prefix="ciris-mesh-") as directory:
        place = Path(directory)
        with Ether(place / "radios", full(2), randomness=random.Random(), speed=SPEED) as channel:
            alice(place, channel)
            shutdown_reticulum()  # before its radios go; after it nothing can be printed
