"""A node asked from afar: real nodes, real commands, each a process with a Reticulum of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ciris_mesh.runtime.setup import new_node, node_identity
from support.node_processes import (
    IMPATIENT,
    Mesh,
    NodeProcess,
    befriend,
    mesh,
    run_cli,
    wait_converged,
)

pytestmark = pytest.mark.rns

#: More than any of it takes; a machine that runs other tests beside this one is slow.
WAIT = ("-w", "200")


class Operator:
    """Somebody with an identity and a Reticulum, and no node."""

    def __init__(self, world: Mesh, name: str) -> None:
        home = new_node(world.root / name, name)
        self.identity = home.identity
        self.address = node_identity(home).address.hex()
        self.rns = world.root / f"{name}-reticulum"

    def ask(self, node: NodeProcess, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command against the node, as this operator."""
        who = ("-R", node.identity.address.hex(), "-i", self.identity, *WAIT)
        return run_cli("--rnsconfig", self.rns, *words, *who)


@pytest.fixture(scope="module")
def world() -> object:
    with mesh() as made:
        reader, actor, stranger = (Operator(made, name) for name in ("ann", "abe", "eve"))
        made.settings = {
            **IMPATIENT,
            ("control", "remote_allowed"): reader.address,
            ("control", "remote_acting"): actor.address,
        }
        hub, leaf = made.make("hub"), made.make("leaf")
        befriend(hub, leaf)
        befriend(leaf, hub)
        for each in (reader, actor, stranger):
            made.reticulum(each.rns.name.removesuffix("-reticulum"))
        made.start(hub, leaf)
        wait_converged(hub, leaf)  # until then a dial may have failed, and what is ill is said
        yield made, reader, actor, stranger


World = tuple[Mesh, Operator, Operator, Operator]


def test_who_is_listed_may_read(world: World) -> None:
    made, reader, _, _ = world
    hub, leaf = made.nodes
    status = reader.ask(leaf, "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["key_id"] == leaf.key_id
    assert [row["key_id"] for row in json.loads(status.stdout)["peers"]] == [hub.key_id]
    records = reader.ask(leaf, "records")
    assert "# Health\n+ healthy" in records.stdout, records.stderr
    assert leaf.key_id[:8] in records.stdout


def test_who_may_read_may_not_act_and_is_told(world: World) -> None:
    made, reader, actor, _ = world
    _, leaf = made.nodes
    denied = reader.ask(leaf, "sync", "hub")
    assert denied.returncode == 204
    assert "may not sync" in denied.stderr
    assert leaf.drops("remote_denied") >= 1  # it asks again where an answer is lost
    done = actor.ask(leaf, "sync", "hub", "--json")
    assert (done.returncode, json.loads(done.stdout)["queued"] > 0) == (0, True), done.stderr


@pytest.mark.slow
def test_operators_leave_no_trace_on_the_mesh(world: World) -> None:
    made, reader, _, _ = world
    _, leaf = made.nodes
    assert reader.ask(leaf, "status", "--json").returncode == 0
    assert leaf.drops("link_no_handshake") == 0
    assert leaf.status()["candidates"] == []


@pytest.mark.slow
def test_to_strangers_it_is_silent(world: World) -> None:
    made, _, _, stranger = world
    _, leaf = made.nodes
    who = ("-R", leaf.identity.address.hex(), "-i", stranger.identity, "-w", "30")
    asked = run_cli("--rnsconfig", stranger.rns, "status", *who)
    assert asked.returncode == 200
    assert "remote_allowed" in asked.stderr


@pytest.mark.slow
def test_each_failure_has_its_exit_code(world: World, tmp_path: Path) -> None:
    made, reader, _, _ = world
    _, leaf = made.nodes
    there, rns = leaf.identity.address.hex(), reader.rns
    nothing = tmp_path / "nothing"

    def code(config: Path, address: str, *identity: str | Path) -> int:
        words = ("--rnsconfig", config, "status", "-R", address, *identity, "-w", "2")
        return run_cli(*words).returncode

    assert code(rns, "ab" * 16, "-i", reader.identity) == 200, "nobody has that address"
    assert code(nothing, there, "-i", reader.identity) == 201
    assert code(rns, there, "-i", nothing) == 202
    assert code(rns, there) == 202
    assert code(rns, "xyz", "-i", reader.identity) == 203
    unknown = reader.ask(leaf, "sync", "nobody-of-that-name")
    assert unknown.returncode == 1
    assert "no peer is called" in unknown.stderr
