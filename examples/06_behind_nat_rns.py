"""Two nodes that nobody can connect to, and a public node that carries what it cannot read.

Look at `reticulum_of`: alice and bob only dial out, to the one address both know. There is no port
to forward, no STUN and no relay of ours in between: Reticulum finds bob by the hash of his
identity, which he announces, and the link to him is encrypted from end to end. The public node is
nobody's peer. On a network of your own, replace 127.0.0.1 by its address; that is all.

Reticulum is one stack per process, so this script runs itself once more as the public node and
once as bob. All files go to a temporary directory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.announcing import Announcer, announce_node
from ciris_mesh.runtime.keyfiles import FederationSeeds
from ciris_mesh.runtime.localnodes import free_port, reticulum_config
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peers import PeerConfig
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.rns_node import RnsTransport, shutdown_reticulum

TIMEOUT_S = 240.0


def reticulum_of(folder: Path, name: str, port: int) -> Path:
    """The public node listens and forwards; everybody else connects to it and to nobody else."""
    reticulum = folder / name
    reticulum.mkdir()
    text = reticulum_config(port=port, listens=name == "public")
    (reticulum / "config").write_text(text)
    return reticulum


def run(name: str, folder: Path, port: int) -> None:
    """Be the node `name`; this is the whole of the public one."""
    transport = RnsTransport(reticulum_of(folder, name, port), folder / f"{name}.identity")
    node = Node(FederationSeeds.generate(name).key(), transport)
    announcer = Announcer(lambda: announce_node(node), interval_s=6 * 3_600)
    with node:
        wait_connected(transport)
        print(node.key_id, transport.address.hex(), flush=True)
        other = sys.stdin.readline().split()  # key id and address, told by voice or on paper
        announcer.start()
        if other:
            converge(node, name, *other)
        held = sum(node.directory.counts().values())
        moved = sum(row.rx_bytes for row in transport.stats().interfaces)
        print(f"{name}: records held {held}, bytes received {moved}", flush=True)
        sys.stdin.readline()
        announcer.stop()


def wait_connected(transport: RnsTransport) -> None:
    """Who announces before the other is there is not heard: a public node tells latecomers of
    nobody. They ask it for the path, as `peer add` does."""
    pause = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.1)):
        if all(row.online for row in transport.stats().interfaces):
            return
        pause.wait(0.1)
    sys.exit("the public node cannot be reached")


def converge(node: Node, name: str, key_id: str, address: str) -> None:
    """Wait for the other's announce, become its peer, sign something, and agree."""
    wanted, pause = Address(bytes.fromhex(address)), threading.Event()
    for _ in range(int(TIMEOUT_S / 0.1)):
        # A caller who is no peer yet is a candidate too, and brings no count of hops.
        heard = {each.address: each.hops for each in node.runtime.peers.candidates()}
        if heard.get(wanted):
            break
        pause.wait(0.1)
    else:
        sys.exit(f"{name} gives up: heard nothing of {key_id}")
    print(f"{name} hears the other, {heard[wanted]} hops away", flush=True)
    node.add_peer(PeerConfig(key_id, wanted))
    score = {"dimension": "identity:continuity:v1", "score": 1}
    columns = {"attested_key_id": node.key_id, "attestation_type": "scores", "weight": 1.0}
    node.put(EnvelopeKind.ATTESTATION, {**columns, "attestation_envelope": score})
    if waiting := node.wait_converged(TIMEOUT_S):
        sys.exit(f"{name} gives up: {'; '.join(waiting)}")


class Child:
    """One of the three, as a process."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        command = [sys.executable, __file__, name, str(folder), str(port)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.who = self.hear()

    def hear(self) -> str:
        """The next line it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        return line or sys.exit("a node ended; see above")

    def say(self, line: str) -> None:
        """Tell it something."""
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)


def main(folder: Path) -> None:
    """Start all three, and tell alice and bob of each other."""
    port = free_port()
    children: list[Child] = []
    try:
        for name in ("public", "alice", "bob"):
            children.append(Child(name, folder, port))
        converse(children, port)
    finally:
        for child in children:
            child.process.kill()  # where all went well they have ended
            child.process.communicate()


def converse(children: list[Child], port: int) -> None:
    """Let alice and bob agree through the public node."""
    public, alice, bob = children
    print(f"the public node listens on 127.0.0.1:{port} and has no peers")
    alice.say(bob.who)
    bob.say(alice.who)
    for _ in range(2):
        for child in (alice, bob):
            print(child.hear())
    public.say("")
    print(public.hear())
    for child in (alice, bob, public):
        child.process.communicate("\n", TIMEOUT_S)


if len(sys.argv) > 1:
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    shutdown_reticulum()
else:
    with tempfile.TemporaryDirectory(prefix="ciris-mesh-") as directory:
        main(Path(directory))
