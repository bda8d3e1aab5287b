"""Two nodes joined by nothing but emulated radios: records arrive, and `budget` says how dear."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import virtual_block
from ciris_mesh.radio.profiles import profile
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from ciris_mesh.records.kinds import EnvelopeKind
from support.node_processes import Mesh, NodeProcess, mesh, run_cli, wait_until

pytestmark = pytest.mark.rns

SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
SHIM = "VirtualRNodeInterface"
#: A key, a binding and a record each way: some 25 kB on a channel 16 times as fast as it is.
ARRIVES_S = 400.0

#: The 10 % band: what two nodes say to get to know each other takes all of an hour at 1 %.
SETTINGS = {
    ("rounds", "cadence_s"): "1",
    ("rounds", "no_progress_timeout_s"): "30",
    ("radio", "duty"): "10%",
}


@dataclass
class RadioMesh(Mesh):
    """Nodes that have one interface each, an emulated radio."""

    ether: Ether | None = None

    def reticulum(self, name: str) -> Path:
        assert self.ether is not None
        rns = self.root / f"{name}-reticulum"
        (rns / "interfaces").mkdir(parents=True)
        (rns / "interfaces" / f"{SHIM}.py").write_text(profile(SHIM).text)
        block = virtual_block(self.ether.ports[len(self.nodes)], SF8)
        (rns / "config").write_text(
            "[reticulum]\n  enable_transport = No\n  share_instance = No\n"
            f"[logging]\n  loglevel = 3\n[interfaces]\n{block}"
        )
        return rns


@pytest.fixture
def radios() -> Iterator[RadioMesh]:
    with mesh(SETTINGS) as plain:
        ether = Ether(plain.root / "e", full(2), randomness=random.Random(1), speed=16.0)
        with ether:
            made = RadioMesh(plain.root, plain.settings, ether=ether)
            made.nodes = plain.nodes  # ended and shown by the plain one
            yield made
            made.close()


def budget(node: NodeProcess) -> dict[str, Any]:
    result = run_cli(*node.arguments("budget", "--json"))
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_budget_shows_what_was_sent_by_radio_and_keeps_it_over_a_restart(
    radios: RadioMesh,
) -> None:
    alice, bob = radios.make_peers("alice", "bob")
    radios.start(alice, bob)
    sent = alice.sign(1, EnvelopeKind.REVOCATION)
    wait_until(lambda: sent in bob.ids(EnvelopeKind.REVOCATION), "the record is there", ARRIVES_S)
    wait_until(lambda: budget(alice)["owed"] == [], "bob said that it has arrived", ARRIVES_S)
    assert radios.ether is not None
    true_s = radios.ether.counters()[0].airtime_s  # before it is asked: it goes on sending
    (radio,) = budget(alice)["interfaces"]
    assert (radio["duty"], radio["limit_s"], radio["counted"]) == ("10%", 360.0, True)
    assert radio["own_s"] > 30, "a key, a binding and a record"
    assert radio["own_s"] <= radio["used_s"] <= radio["limit_s"]
    assert radio["used_s"] >= 0.9 * true_s, "what the channel counted is what is shown, or more"
    (other,) = budget(bob)["interfaces"]
    assert other["used_s"] > 20, "a key and a binding"

    bob.stop()
    alice.stop()
    kept = alice.home.storage / "airtime.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    alice.start()
    alice.wait_ready()
    (again,) = budget(alice)["interfaces"]
    assert again["used_s"] >= radio["own_s"], "a restart does not begin a new hour"
