"""Journey (c): a gateway with a radio on one side and a registry by TCP on the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ciris_mesh.runtime.setup import node_identity
from support.journeys import base_on_radio, invite_of, key_of, node_home, own_reticulum
from support.screen import Machine, Screen, a_machine, fits, needs_a_machine

pytestmark = [pytest.mark.rns, pytest.mark.air, pytest.mark.slow, needs_a_machine]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as made:
        yield made


def test_what_a_registry_says_crosses_to_the_field(machine: Machine) -> None:
    hub = machine.person("hub")
    hub.run("ciris-mesh setup registry --name hub --listen 127.0.0.1:4242 --yes --write-rns")
    own_reticulum(machine.home(hub))
    hub_runs = machine.another(hub, "hub-2")
    hub_runs.begin("ciris-mesh run")
    hub_runs.wait("ready hub-")
    air = machine.person("air")
    lab = machine.root / "lab"
    air.begin(f"ciris-mesh ether --nodes 2 --speed 16 --dir {lab}")
    air.wait("2 radios at 3125 bit/s")
    field = base_on_radio(machine, f"{lab}/rnode1", "field")

    roof = machine.person("roof")
    sets_up(roof, f"{lab}/rnode0")
    runs = machine.another(roof, "roof-2")
    runs.begin("ciris-mesh run")
    runs.wait("ready roof-")
    for other, name in ((hub, "hub"), (field, "field")):
        address = node_identity(node_home(machine.home(other))).address.hex()
        meets(roof, other, name, address, invite_of(machine.home(roof)))

    said = hub.run(f"ciris-mesh attest {key_of(machine.home(hub))} --dimension a:b:v1 --score 1 -y")
    record = said.split()[-1][:8]
    field.until("ciris-mesh records", record)
    roof.until("ciris-mesh wait --converged", "This node and its peers agree.")
    for command, tells in (
        ("budget", ("+ healthy: 1 radio within duty", "RNodeInterface")),
        ("peers", ("hub", "tcp", "field", "radio", "fresh")),
        ("status", ("+ healthy: 2 peers, nothing to complain of",)),
    ):
        roof.until(f"ciris-mesh {command}", *tells)
        fits(roof.run(f"ciris-mesh {command}"))
    roof.watch("ciris-mesh status -m", "# Health", "batch.taken")

    hub_runs.pull_the_plug()
    said = roof.until("ciris-mesh status", "interface TCPInterface[Hub/127.0.0.1:4242] is down")
    assert "RNodeInterface[RNode] radio" in said, "one side is missed, and the other serves"


def sets_up(roof: Screen, port: str) -> None:
    roof.begin("ciris-mesh setup gateway --hub 127.0.0.1:4242")
    roof.answer("A name for its key:", "roof")
    roof.answer("Region: a number, or a name:", "eu868-p")
    roof.answer("Port:", port)
    roof.answer("A peer's invite (empty to go on):", "")
    roof.answer("Write this node's files in", "y")
    roof.answer("config too? [y/N]:", "y")
    said = roof.finish()
    for line in (
        "enable_transport = Yes", "mode = boundary", "airtime_limit_long = 8",
        "target_host = 127.0.0.1",
    ):  # fmt: skip
        assert line in said
    said = roof.run("ciris-mesh doctor")
    assert "+ ok   interface_modes" in said
    assert "+ ok   airtime_limit" in said


def meets(roof: Screen, other: Screen, name: str, address: str, invite: str) -> None:
    """The other adds the gateway by its invite; the gateway adds who it heard, and asks."""
    other.run(f"ciris-mesh peer add '{invite}' --alias roof")
    roof.until("ciris-mesh peers --candidates", address)  # it may have shown its key by then
    roof.begin(f"ciris-mesh peer add {address} --alias {name}")
    roof.wait("compare")
    roof.answer("[y/N]:", "y")
    roof.finish()
