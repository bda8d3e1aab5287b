"""People with real LXMF in other processes: they write, are let in, ask, act, and read the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from ciris_mesh.runtime.operatorbook import OperatorBook
from ciris_mesh.runtime.operatorops import message_address
from support.node_processes import Mesh, NodeProcess, mesh, run_cli
from support.phone import ADDRESS, IDENTITY, PUBLIC_KEY, Phone, phone_at

pytestmark = pytest.mark.rns


@pytest.fixture
def net() -> Iterator[Mesh]:
    with mesh() as made:
        yield made


def make_node(net: Mesh, *, readers: str = "") -> NodeProcess:
    settings = {("operator", "enabled"): "yes", ("page", "enabled"): "yes"}
    net.settings = {**net.settings, **settings, ("page", "allowed"): readers}
    return net.make("alice")


def test_a_person_is_let_in_asks_and_acts(net: Mesh) -> None:
    node = make_node(net)
    net.start(node)
    with phone_at(net.reticulum("phone")) as phone:
        converse(node, phone)


def converse(node: NodeProcess, phone: Phone) -> None:
    address = message_address(node.identity.rns_public_key).hex()
    invited = json.loads(run_cli(*node.arguments("operator", "invite", "--json")).stdout)
    assert invited["address"] == address
    assert invited["enabled"] is True

    told = phone.ask(address, "hello")
    assert told["valid"], "the node signs what it says"
    assert f"ciris-mesh operator accept {ADDRESS}" in told["text"]
    waiting = json.loads(run_cli(*node.arguments("operator", "list", "--json")).stdout)
    assert [(row["address"], row["accepted"]) for row in waiting] == [(ADDRESS, False)]

    accepted = run_cli(*node.arguments("operator", "accept", ADDRESS[:8], "--name", "Ana"))
    assert accepted.returncode == 0, accepted.stderr
    status = phone.ask(address, "status")
    assert status["text"].startswith("alice: ")
    assert status["size"] < 500

    assert "you may ask, not act" in phone.ask(address, "sync")["text"]
    allowed = run_cli(*node.arguments("operator", "allow", "Ana", "act", "--yes"))
    assert allowed.returncode == 0, allowed.stderr
    assert phone.ask(address, "sync")["text"] == "comparing with 0 peers"
    assert "2" in phone.ask(address, "", fields={"9": True})["fields"]
    assert node.drops("operator_stranger") >= 1  # LXMF sends again what nobody acknowledged
    assert node.drops("operator_may_not_act") >= 1


@pytest.mark.parametrize(("readers", "shown"), [("", "invited"), (IDENTITY, ">>Health")])
def test_the_page_is_for_who_is_on_the_list(net: Mesh, readers: str, shown: str) -> None:
    node = make_node(net, readers=readers)
    net.start(node)
    with phone_at(net.reticulum("phone")) as phone:
        phone.tell(do="page", of=page_address(node))
        assert shown in phone.next(lambda line: "page" in line)["page"]
        assert (node.drops("page_denied") > 0) is (not readers)


def test_an_alert_reaches_the_operator(net: Mesh) -> None:
    node = make_node(net)
    book = OperatorBook(node.home.operators)
    book.knock(ADDRESS, PUBLIC_KEY.hex(), now_s=1.0)
    book.accept(ADDRESS, name="Ana")
    net.start(node)
    with phone_at(net.reticulum("phone")) as phone:
        phone.tell(do="announce")
        revoked = run_cli(*node.arguments("revoke", node.key_id, "--reason", "lost", "--yes"))
        assert revoked.returncode == 0, revoked.stderr
        told = phone.next(lambda line: "ALERT" in line.get("text", ""))
        assert told["text"] == "ALERT key of this node is revoked"
        assert told["sender"] == message_address(node.identity.rns_public_key).hex()


def page_address(node: NodeProcess) -> str:
    identity = hashlib.sha256(node.identity.rns_public_key).digest()[:16]
    name = hashlib.sha256(b"nomadnetwork.node").digest()[:10]
    return hashlib.sha256(name + identity).digest()[:16].hex()
