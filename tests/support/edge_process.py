"""Starts and asks a stand-in registry node (`support.edge_peer`) in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.localnodes import reticulum_config
from support.node_processes import PATIENCE_S, TESTS, environment

SEED: Final = bytes([7]) * 32
KEY_ID: Final = "registry-eu"


def public_of(seed: bytes = SEED) -> bytes:
    """The Ed25519 key such a node attests with."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def pin(key_id: str = KEY_ID, seed: bytes = SEED, basis: str = "") -> str:
    """What the configuration of a node says of it."""
    return f"{key_id} {public_of(seed).hex()} {basis}".strip()


class EdgeProcess:
    """One stand-in registry node; connects to the port somebody listens on."""

    def __init__(
        self, root: Path, port: int, *flags: str, key_id: str = KEY_ID, seed: bytes = SEED
    ) -> None:
        root.mkdir(exist_ok=True)
        (root / "config").write_text(reticulum_config(port=port, listens=False))
        self._errors = root / "stderr"
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "support.edge_peer", "--rns", str(root)),
                    *("--key-id", key_id, "--seed", seed.hex(), *flags),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=TESTS,
                env=environment(),
            )
        self.address = self._read()["address"]

    def do(self, do: str, **fields: Any) -> Any:
        """Run one command; see `edge_peer.EdgePeer.do`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def publish(self, kind: EnvelopeKind, envelope: bytes) -> str:
        """Have it hold and offer a record; returns its id there."""
        envelope_id: str = self.do("publish", kind=kind.value, envelope=envelope.hex())
        return envelope_id

    def state(self) -> dict[str, Any]:
        """What it holds and counted."""
        state: dict[str, Any] = self.do("state")
        return state

    def stop(self) -> None:
        """End it. Idempotent."""
        assert self.process.stdin is not None
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the stand-in ended: {self._errors.read_text()}"
        return json.loads(line)["answer"]
