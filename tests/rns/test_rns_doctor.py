"""Faults of running nodes, made for real, and what `doctor` says of them.

What needs no node that runs is in `tests/doctor/test_doctor_faults.py`.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ciris_mesh.doctor import node as node_checks
from ciris_mesh.doctor.checks import Finding, examine
from ciris_mesh.doctor.facts import Word
from ciris_mesh.doctor.gather import gather
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import rnode_block
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from support.node_processes import (
    IMPATIENT,
    Mesh,
    NodeProcess,
    becomes_true,
    befriend,
    mesh,
    run_cli,
    wait_converged,
)
from support.radio_nodes import RadioNode
from support.waiting import wait_until

pytestmark = [pytest.mark.rns, pytest.mark.slow]

DEADLINE_S = 240.0
#: Three seconds without a word are news here.
HASTY = MappingProxyType({**IMPATIENT, ("rounds", "tau_partial_s"): "3"})
SF8 = LoraSettings(868_100_000, 125_000, 8, 5)


@pytest.fixture
def net() -> Iterator[Mesh]:
    with mesh(HASTY) as made:
        yield made


def doctor(node: NodeProcess) -> dict[str, dict[str, Any]]:
    """Name of a check -> what the command says of it, as a script reads it."""
    done = run_cli(*node.arguments("--rnsconfig", node.rns, "doctor", "--json"))
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["checks"]}


def until(node: NodeProcess, name: str, word: str, *texts: str) -> dict[str, Any]:
    """What a check says once it says that."""
    last: dict[str, Any] = {}

    def says_so() -> bool:
        last.update(doctor(node)[name])
        return last["word"] == word and all(text in last["text"] for text in texts)

    assert becomes_true(says_so, DEADLINE_S), last
    return last


def test_peers_that_speak_less_are_gone_or_were_never_there(net: Mesh) -> None:
    alice, bob, carol = net.make("alice"), net.make("bob"), net.make("carol")
    text = bob.home.config.read_text()
    bob.home.config.write_text(text.replace("\nframe = 81", "\nframe = 01"))
    for one, other in ((alice, bob), (bob, alice), (alice, carol)):
        befriend(one, other)
    net.start(alice, bob)

    lost = until(alice, "peers_path", "fail", "no path to carol", "no announce of it came through")
    address = carol.identity.address.hex()
    assert lost["command"] == f"rnpath --config {alice.rns} {address}"
    asked = subprocess.run(
        [Path(sys.executable).with_name("rnpath"), "--help"], capture_output=True, check=True
    )
    assert b"--config" in asked.stdout
    skew = until(alice, "peers_version", "warn", "bob runs another version: it lacks")
    assert skew["command"].endswith(f"peers {bob.key_id}")
    until(alice, "node", "ok")
    shown = run_cli(*alice.arguments("peers", bob.key_id))
    assert shown.returncode == 0, shown.stderr

    alice.kill()
    bob_says = until(bob, "interfaces_down", "fail", "is down; records wait until it is back")
    assert bob_says["command"] == f"rnstatus -A --config {bob.rns}"
    stale = until(bob, "peers_stale", "warn", "alice", "last agreed")
    assert stale["command"].endswith("peers")
    net.nodes.remove(alice)


def test_two_that_agree_are_well_until_one_is_gone(net: Mesh) -> None:
    alice, bob = net.make_peers("alice", "bob")
    net.start(alice, bob)
    wait_converged(alice, bob)
    assert until(alice, "peers_stale", "ok")["command"] == ""
    bob.kill()
    until(alice, "peers_stale", "warn", "bob", "last agreed")
    bob.start()
    bob.wait_ready()
    until(alice, "peers_stale", "ok")


def test_reticulum_that_gets_no_time_for_what_comes_in(net: Mesh) -> None:
    """The flood is real; that one packet fills the queue is for the sake of haste."""
    alice = net.make("alice")
    config = alice.rns / "config"
    text = config.read_text()
    assert "[reticulum]\n" in text
    config.write_text(text.replace("[reticulum]\n", "[reticulum]\n  qlen_in_data = 1\n"))
    net.start(alice)
    until(alice, "rns_inbound", "ok")
    with socket.create_connection(("127.0.0.1", net.port)) as stranger:

        def is_flooded() -> bool:
            stranger.sendall(b"".join(nobodys_packet() for _ in range(500)))
            return alice.drops("rns_inbound_dropped") >= node_checks.INBOUND_DROPS_FAIL

        wait_until(is_flooded, "its queue overflows", DEADLINE_S)
    told = until(alice, "rns_inbound", "fail", "the machine is too busy, or somebody floods it")
    assert told["command"] == "top"


def nobodys_packet() -> bytes:
    """Data for a destination nobody has, framed as Reticulum's TCP interfaces do (HDLC)."""
    flags_and_hops, context = bytes(2), bytes(1)
    anything = bytes(random.choices(range(0x70), k=16 + 64))  # nothing that would need escaping
    return b"\x7e" + flags_and_hops + anything[:16] + context + anything[16:] + b"\x7e"


def test_a_radio_that_hears_nothing_any_more(
    tmp_path: Path, net: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a day of silence takes seconds here: the length alone is not real."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with Ether(tmp_path / "e", full(2), randomness=random.Random(1), speed=32.0) as ether:
        alice = net.make("alice")
        block = rnode_block(ether.ports[0], SF8)
        head = "[reticulum]\n  share_instance = No\n[interfaces]\n"
        (alice.rns / "config").write_text(head + block)
        net.start(alice)
        other = RadioNode(tmp_path / "other", rnode_block(ether.ports[1], SF8))
        try:
            other.wait("online", DEADLINE_S)
            other.do("announce")
            wait_until(lambda: heard_bytes(alice) > 0, "alice hears it", DEADLINE_S)
            radio_deaf(alice, Word.OK)
            ether.set_loss(1.0)
            heard = heard_bytes(alice)
            other.do("announce")
            monkeypatch.setattr(node_checks, "DEAF_AFTER_S", 2.0)
            said = radio_deaf(alice, Word.WARN)
            assert "is up and has heard nothing for" in said.text
            assert said.command == f"rnstatus -A --config {alice.rns}"
            assert heard_bytes(alice) == heard
            ether.set_loss(0.0)
            other.do("announce")
            wait_until(lambda: heard_bytes(alice) > heard, "it hears again", DEADLINE_S)
        finally:
            other.stop()
            alice.stop(within_s=DEADLINE_S)
            net.nodes.remove(alice)
            shutil.rmtree(alice.rns)


def radio_deaf(node: NodeProcess, word: Word) -> Finding:
    """What is said of it once it is that: a node that is busy is skipped."""
    said: list[Finding] = []

    def says_so() -> bool:
        found = examine(gather(node.home, node.rns))
        said[:] = [each for each in found if each.name == "radio_deaf"]
        return said[0].word is word

    wait_until(says_so, lambda: said, DEADLINE_S)
    return said[0]


def heard_bytes(node: NodeProcess) -> int:
    return sum(row["rx_bytes"] for row in node.status()["interfaces"])
