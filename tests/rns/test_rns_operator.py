"""People with real LXMF in other processes: they write, are let in, ask, act, and read the page."""

from __future__ import annotations

import hashlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ciris_mesh.runtime.operatorbook import OperatorBook
from ciris_mesh.runtime.operatorops import message_address
from support.node_processes import Mesh, NodeProcess, environment, mesh, run_cli

pytestmark = pytest.mark.rns

PATIENCE_S = 90.0


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


@pytest.fixture
def net() -> Iterator[Mesh]:
    with mesh() as made:
        yield made


@contextmanager
def phone_of(net: Mesh) -> Iterator[Phone]:
    """A phone that reaches the first node of the mesh."""
    rns = net.reticulum("phone")
    (rns / "identity-of-phone").write_bytes(SECRET)
    script = Path(__file__).parent.parent / "support" / "phone_child.py"
    arguments = ("--rns", rns, "--storage", rns / "s", "--identity", rns / "identity-of-phone")
    with subprocess.Popen(
        [sys.executable, script, *arguments],
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


def make_node(net: Mesh, *, readers: str = "") -> NodeProcess:
    settings = {("operator", "enabled"): "yes", ("page", "enabled"): "yes"}
    net.settings = {**net.settings, **settings, ("page", "allowed"): readers}
    return net.make("alice")


def test_a_person_is_let_in_asks_and_acts(net: Mesh) -> None:
    node = make_node(net)
    net.start(node)
    with phone_of(net) as phone:
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
    assert node.drops("operator_stranger") == 1
    assert node.drops("operator_may_not_act") == 1


@pytest.mark.parametrize(("readers", "shown"), [("", "invited"), (IDENTITY, ">>Health")])
def test_the_page_is_for_who_is_on_the_list(net: Mesh, readers: str, shown: str) -> None:
    node = make_node(net, readers=readers)
    net.start(node)
    with phone_of(net) as phone:
        phone.tell(do="page", of=page_address(node))
        assert shown in phone.next(lambda line: "page" in line)["page"]
        assert node.drops("page_denied") == (not readers)


def test_an_alert_reaches_the_operator(net: Mesh) -> None:
    node = make_node(net)
    book = OperatorBook(node.home.operators)
    book.knock(ADDRESS, PUBLIC_KEY.hex(), now_s=1.0)
    book.accept(ADDRESS, name="Ana")
    net.start(node)
    with phone_of(net) as phone:
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
