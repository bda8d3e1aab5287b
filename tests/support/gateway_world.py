"""A gateway as its profile has it: an emulated LoRa cell on one side, a hub by TCP on the other.

    field --air-- gateway --TCP-- hub --TCP-- leaf
              |                    |
           listener             flooder        (plain Reticulum, no node of ours)

The radio's time passes faster than Reticulum's, so timeouts say nothing here; what goes on air,
and what does not, is what this is for.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import rnode_block
from ciris_mesh.radio.profiles import profile
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from support.node_processes import Mesh, NodeProcess
from support.radio_nodes import ONLINE_TIMEOUT_S, RadioNode

#: As the profiles of gateway and field have it.
SETTINGS: Final = LoraSettings(869_525_000, 125_000, 8, 5)
SPEED: Final = 32.0
#: No duty: its hour passes at the speed of the clock, not at the radio's.
CONFIG: Final[Mapping[tuple[str, str], str]] = {
    ("rounds", "cadence_s"): "1",
    ("rounds", "no_progress_timeout_s"): "20",
    ("radio", "duty"): "none",
}
STOP_S: Final = 60.0
_PORTS: Final = {"gateway": 0, "field": 1, "listener": 2}


@dataclass
class GatewayWorld(Mesh):
    """The nodes of one test, by the names above.

    Args:
        modes: interface type -> another mode than the gateway's profile has.
    """

    ether: Ether = field(kw_only=True)
    modes: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def reticulum(self, name: str) -> Path:
        rns = self.root / f"{name}-reticulum"
        rns.mkdir()
        (rns / "config").write_text(self._config(name))
        return rns

    def _config(self, name: str) -> str:
        text = profile(name).text.replace("share_instance = Yes", "share_instance = No")
        text = text.replace("hub.example.org", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
        text = text.replace("_port = 4242", f"_port = {self.port}")
        # The device's own limits count its own, faster hours.
        lines = [line for line in text.splitlines() if "airtime_limit" not in line]
        text = "\n".join(lines) + "\n"
        if name in _PORTS:
            port = self.ether.ports[_PORTS[name]].port
            text = text.replace("/dev/serial/by-id/CHANGE-ME", str(port))
        if name == "gateway":
            for old, new in self.modes.items():
                assert f"mode = {old}\n" in text
                text = text.replace(f"mode = {old}\n", f"mode = {new}\n")
        return text

    def close(self) -> None:
        """End what runs. A radio's driver takes its time, and nothing here is about that."""
        for node in self.nodes:
            if node.process is not None:
                node.stop(within_s=STOP_S)

    def run(self, *names: str) -> list[NodeProcess]:
        """Start nodes, each when those before are up."""
        nodes = [self.make(name) for name in names]
        for node in nodes:
            node.start().wait_ready()
        return nodes

    def listener(self) -> RadioNode:
        """A radio in the cell that hears what is announced there."""
        block = rnode_block(self.ether.ports[_PORTS["listener"]], SETTINGS)
        made = RadioNode(self.root / "listener", block)
        made.wait("online", ONLINE_TIMEOUT_S)
        return made

    def flooder(self) -> RadioNode:
        """Somebody on the internet who announces."""
        return RadioNode(
            self.root / "flooder",
            "  [[Hub]]\n    type = TCPClientInterface\n    enabled = Yes\n"
            f"    target_host = 127.0.0.1\n    target_port = {self.port}\n",
        )


@contextmanager
def gateway_world(modes: Mapping[str, str] | None = None) -> Iterator[GatewayWorld]:
    """The cell, and a place for nodes; all ends with it."""
    root = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root)
        randomness = random.Random(1)
        ether = Ether(root / "e", full(len(_PORTS)), randomness=randomness, speed=SPEED)
        stack.enter_context(ether)
        world = GatewayWorld(root, CONFIG, ether=ether, modes=modes or {})
        try:
            yield world
            world.close()
        finally:
            for node in world.nodes:
                if node.process is not None:
                    node.kill()
                print(f"--- {node.name}\n{node.output}", file=sys.stderr)  # noqa: T201
