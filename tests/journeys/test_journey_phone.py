"""Journey (e): a phone with an LXMF app asks a node, and is told when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ciris_mesh.runtime.localnodes import reticulum_config
from ciris_mesh.runtime.operatorops import message_address
from ciris_mesh.runtime.setup import node_identity
from support.journeys import node_home
from support.phone import ADDRESS, phone_at
from support.screen import Machine, Screen, a_machine, needs_a_machine

pytestmark = [pytest.mark.rns, pytest.mark.slow, needs_a_machine]

PORT = 4242


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as made:
        yield made


def test_a_phone_is_let_in_asks_and_is_told(machine: Machine) -> None:
    pi = machine.person("pi")
    pi.run(f"ciris-mesh setup registry --name pi --listen 127.0.0.1:{PORT} --yes --write-rns")
    said = pi.run("ciris-mesh operator invite")
    assert "Messages are off. Write `enabled = yes` under [operator]" in " ".join(said.split())
    pi.run(f"ciris-mesh setup registry --listen 127.0.0.1:{PORT} --set operator.enabled=yes --yes")
    runs = machine.another(pi, "pi-2")
    runs.begin("ciris-mesh run")
    runs.wait("ready pi-")
    said = pi.run("ciris-mesh operator invite")
    address = message_address(node_identity(node_home(machine.home(pi))).rns_public_key).hex()
    assert " ".join(address[at : at + 4] for at in range(0, 32, 4)) in said
    assert f"lxma://{address}:" in said
    assert "Messages are off" not in said
    converse(machine, pi, address)


def converse(machine: Machine, pi: Screen, address: str) -> None:
    rns = machine.root / "phone"
    rns.mkdir()
    (rns / "config").write_text(reticulum_config(port=PORT, listens=False))
    with phone_at(rns, machine.inside()) as phone:
        told = phone.ask(address, "hello")["text"]
        assert f"ciris-mesh operator accept {ADDRESS}" in told
        assert "nothing: waits" in pi.run("ciris-mesh operator list")
        assert "Ana may ask." in pi.run(f"ciris-mesh operator accept {ADDRESS} --name Ana")
        for question, answer in (
            ("status", "pi: "), ("peers", "no peers"), ("budget", ""), ("owed", ""),
            ("help", "mute"), ("mute 8h", "8 h"),
        ):  # fmt: skip
            reply = phone.ask(address, question)
            assert answer in reply["text"]
            assert 0 < len(reply["text"].encode()) < 300
        assert "muted" in pi.run("ciris-mesh operator list")
        phone.ask(address, "mute 0h")
        phone.tell(do="announce")
        pi.run(
            "ciris-mesh revoke $(ciris-mesh id --json | grep -o 'pi-[a-z2-7]*') --reason lost -y"
        )
        told = phone.next(lambda line: "ALERT" in line.get("text", ""))["text"]
        assert told == "ALERT key of this node is revoked"
