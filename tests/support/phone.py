"""A person's phone as tests see it: LXMF and a page reader in a process, by `phone_child`."""

from __future__ import annotations

import hashlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ciris_mesh.runtime.operatorops import message_address
from support.node_processes import environment

PATIENCE_S = 240.0


#: The phone's identity, known before it is switched on.
SECRET = bytes(range(64))


def public_key(secret: bytes) -> bytes:
    exchange = X25519PrivateKey.from_private_bytes(secret[:32]).public_key()
    signing = Ed25519PrivateKey.from_private_bytes(secret[32:]).public_key()
    return exchange.public_bytes_raw() + signing.public_bytes_raw()


PUBLIC_KEY = public_key(SECRET)
IDENTITY = hashlib.sha256(PUBLIC_KEY).digest()[:16].hex()
ADDRESS = message_address(PUBLIC_KEY).hex()


@dataclass
class Phone:
    process: subprocess.Popen[str]
    lines: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def tell(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def next(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The next line of that sort; others, such as receipts, are passed over."""
        while True:
            line = self.lines.get(timeout=PATIENCE_S)
            assert "failed" not in line, line
            if wanted(line):
                return line

    def ask(self, node: str, text: str, **more: Any) -> dict[str, Any]:
        """Write to a node and return its answer."""
        self.tell(do="send", to=node, text=text, **more)
        return self.next(lambda line: "text" in line)


@contextmanager
def phone_at(rns: Path, prefix: Sequence[str] = ()) -> Iterator[Phone]:
    """A phone with this Reticulum configuration.

    Args:
        prefix: what stands before Python: a command that ends by becoming it.
    """
    (rns / "identity-of-phone").write_bytes(SECRET)
    script = Path(__file__).parent / "phone_child.py"
    arguments = ("--rns", rns, "--storage", rns / "s", "--identity", rns / "identity-of-phone")
    with subprocess.Popen(
        [*prefix, sys.executable, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    ) as process:
        made = Phone(process)
        reader = threading.Thread(target=made.read, name="ciris-test-phone", daemon=True)
        reader.start()
        try:
            assert made.next(lambda line: "address" in line)["address"] == ADDRESS
            yield made
        finally:
            process.kill()
            reader.join(PATIENCE_S)
