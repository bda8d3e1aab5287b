"""Journey (a): a laptop without a radio. What README tells people to type, and what they see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.setup import node_identity
from support.journeys import invite_of, key_of, own_reticulum
from support.screen import Machine, a_machine, fits, needs_a_machine

pytestmark = [pytest.mark.rns, pytest.mark.slow, needs_a_machine]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as made:
        yield made


def test_it_is_seen_to_work_and_nothing_is_touched(machine: Machine) -> None:
    ana = machine.person("ana")
    said = ana.run("ciris-mesh demo")
    assert "Converged: 3 nodes, 39 records of 13 kinds" in said
    assert "What next?" in said
    fits(said)
    assert ana.run("ls -A") == ""
    assert "create one with: ciris-mesh init" in " ".join(ana.run("ciris-mesh status", 1).split())


def test_a_node_of_ones_own_meets_another(machine: Machine) -> None:
    ben = machine.person("ben")  # who runs the public node both connect to
    ben.run("ciris-mesh setup registry --name ben --listen 127.0.0.1:4242 --yes --write-rns")
    own_reticulum(machine.home(ben))
    ben_runs = machine.another(ben, "ben-2")
    ben_runs.begin("ciris-mesh run")
    ben_runs.wait("ready ben-")

    ana = machine.person("ana")
    ana.begin("ciris-mesh setup laptop")
    ana.answer("A name for its key:", "ana")
    ana.answer("Hub, as HOST:PORT:", "127.0.0.1:4242")
    ana.answer("A peer's invite (empty to go on):", invite_of(machine.home(ben)))
    ana.answer("A peer's invite (empty to go on):", "")
    ana.answer("Write this node's files in", "y")
    ana.answer("config too? [y/N]:", "y")
    said = ana.finish()
    assert "target_host = 127.0.0.1" in said
    assert "Then run it: ciris-mesh run" in said
    ana_runs = machine.another(ana, "ana-2")
    ana_runs.begin("ciris-mesh run")
    ana_runs.wait("ready ana-")

    said = ben.run(f"ciris-mesh peer add '{invite_of(machine.home(ana))}' --alias ana")
    assert "Words to compare with its operator:" in said
    assert "This node and its peers agree." in ana.run("ciris-mesh wait --converged")
    ben_key = key_of(machine.home(ben))
    ana.begin(f"ciris-mesh attest {ben_key} --dimension trust:field:v1 --score 1")
    ana.answer("[y/N]:", "y")
    ana.finish()
    ana.run("ciris-mesh wait --converged")
    for screen in (ana, ben):
        screen.until("ciris-mesh status", "+ healthy: 1 peer, nothing to complain of")
        said = screen.run("ciris-mesh status")
        fits(said)
        assert "attestation" in said
        assert "fresh" in said
    said = ben.run("ciris-mesh records")
    fits(said)
    assert "scores ben-" in said

    ana.watch("ciris-mesh status -m", "# Health", "round.completed")
    ana_runs.press("C-c")
    ana_runs.finish()
    assert "no node is running here" in ana.run("ciris-mesh status")


def test_two_nodes_on_one_machine(machine: Machine) -> None:
    """One starts the Reticulum that the other joins."""
    cy = machine.person("cy")
    config = machine.home(cy) / ".reticulum" / "config"
    config.parent.mkdir()
    config.write_text("[reticulum]\nenable_transport = No\nshare_instance = Yes\n[interfaces]\n")
    invites = {}
    for name in ("a", "b"):
        cy.run(f"ciris-mesh --config {name} init --name {name}")
        invites[name] = node_identity(Home(machine.home(cy) / name)).invite
        window = machine.another(cy, f"cy-{name}")
        window.begin(f"ciris-mesh --config {name} run")
        window.wait(f"ready {name}-")
    cy.run(f"ciris-mesh --config a peer add '{invites['b']}'")
    cy.run(f"ciris-mesh --config b peer add '{invites['a']}'")
    for name in ("a", "b"):
        said = cy.run(f"ciris-mesh --config {name} wait --converged")
        assert "This node and its peers agree." in said
