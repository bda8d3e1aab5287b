"""`operator`: the address to give, who is let in, and the code for phones."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciris_mesh.runtime.operatorbook import OperatorBook
from ciris_mesh.runtime.operatorops import message_address, operator_table
from ciris_mesh.runtime.setup import node_identity
from ciris_mesh.ui.qr import qr_lines
from support.cli import Shell, answering, shell

KEY = "cd" * 64
ANA = "ab" * 16


@pytest.fixture
def alice(tmp_path: Path) -> Shell:
    return shell(tmp_path / "a")


def test_the_invite_is_an_address_and_says_when_messages_are_off(alice: Shell) -> None:
    public_key = node_identity(alice.home).rns_public_key
    address = message_address(public_key).hex()
    result = alice.run("operator", "invite")
    grouped, uri = result.stdout.splitlines()
    assert grouped.replace(" ", "") == address
    assert [len(group) for group in grouped.split()] == [4] * 8
    assert uri == f"lxma://{address}:{public_key.hex()}"
    assert "Messages are off" in result.stderr
    text = alice.home.config.read_text()
    alice.home.config.write_text(text.replace("enabled = no", "enabled = yes", 1))
    assert alice.json("operator", "invite") == {"address": address, "uri": uri, "enabled": True}
    assert "off" not in alice.run("operator", "invite").stderr


def test_somebody_is_let_in_and_let_go(alice: Shell) -> None:
    result = alice.run("operator", "list")
    assert result.stdout == ""
    assert "operator invite" in result.stderr
    OperatorBook(alice.home.operators).knock(ANA, KEY, now_s=1.0)
    assert "nothing: waits" in alice.ok("operator", "list")
    row = alice.json("operator", "accept", ANA[:6], "--name", "Ana")
    assert (row["accepted"], row["may_act"], row["name"]) == (True, False, "Ana")
    assert alice.run("operator", "allow", "Ana", "act", input="n\n").exit_code != 0
    assert alice.json("operator", "list")[0]["may_act"] is False
    assert alice.run("operator", "allow", "Ana", "act", "--yes").stderr == "Ana may act.\n"
    assert " act " in alice.ok("operator", "list")
    assert alice.json("operator", "allow", "Ana", "ask")["may_act"] is False
    alice.ok("operator", "remove", "Ana")
    assert alice.json("operator", "list") == []


def test_who_never_wrote_can_be_accepted_by_the_whole_address(alice: Shell) -> None:
    assert alice.json("operator", "accept", f"<{ANA}>")["address"] == ANA
    assert "nobody is called" in alice.error("operator", "accept", "ff")
    assert "nobody is called" in alice.error("operator", "remove", "ff")


def test_a_running_node_is_asked(alice: Shell) -> None:
    book = OperatorBook(alice.home.operators)
    with answering(alice.home, operator_table(book)):
        alice.ok("operator", "accept", ANA, "--name", "Ana")
        assert alice.json("operator", "list")[0]["name"] == "Ana"
    assert book.find("Ana").accepted


def test_the_list_fits_eighty_columns_and_strangers_cannot_draw(alice: Shell) -> None:
    book = OperatorBook(alice.home.operators)
    book.accept(ANA, name="Ünïcode name of 32 characters ..")
    for line in alice.ok("operator", "list").splitlines():
        assert len(line) <= 80
        assert line.isascii()


def test_the_code_is_square_and_light_all_around() -> None:
    lines = qr_lines("lxma://" + "ab" * 16 + ":" + "cd" * 64)
    width = len(lines[0])
    assert all(len(line) == width for line in lines)
    assert width <= 60
    assert (width + 1) // 2 == len(lines)
    assert set(lines[0]) == {"█"}
    assert all(line.startswith("██") and line.endswith("██") for line in lines)
    assert set("".join(lines)) <= set("█▀▄ ")
