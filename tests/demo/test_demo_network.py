"""What joins the nodes of a demo, without any node."""

from __future__ import annotations

from pathlib import Path

from configobj import ConfigObj

from ciris_mesh.demo.network import Loopback, VirtualLora
from ciris_mesh.radio.kiss import Command, encode
from support.radio_hosts import open_pty

NAMES = ("alice", "bob")


def interface(text: str) -> dict[str, str]:
    config = ConfigObj(text.splitlines())
    assert config["reticulum"]["share_instance"] == "No"
    (found,) = config["interfaces"].values()
    return dict(found)


def test_by_tcp_the_first_listens_and_the_others_call_it() -> None:
    network = Loopback()
    first, second = (interface(network.reticulum(index)) for index in range(2))
    assert (first["type"], second["type"]) == ("TCPServerInterface", "TCPClientInterface")
    assert first["listen_port"] == second["target_port"]
    assert first["listen_ip"] == second["target_host"] == "127.0.0.1"
    assert network.channel() is None


def test_by_radio_each_has_the_real_driver_and_a_port_of_its_own(short: Path) -> None:
    network = VirtualLora(short / "ether", NAMES, speed=8.0)
    first, second = (interface(network.reticulum(index)) for index in range(2))
    assert first["type"] == second["type"] == "RNodeInterface"
    assert first["port"] != second["port"]
    assert not (short / "ether").exists()
    network.start()
    try:
        assert all(Path(each["port"]).is_char_device() for each in (first, second))
        channel = network.channel()
        assert (channel.sf, channel.bitrate_bps, channel.speed) == (8, 3125, 8.0)
        assert [(each.name, each.frames) for each in channel.nodes] == [("alice", 0), ("bob", 0)]
    finally:
        network.stop()
    network.stop()
    assert list((short / "ether").iterdir()) == []
    assert network.channel().nodes == channel.nodes, "what was counted can still be asked"


def test_a_host_finds_an_rnode_at_its_port(short: Path) -> None:
    network = VirtualLora(short / "ether", NAMES, speed=8.0)
    network.start()
    try:
        host = open_pty(Path(interface(network.reticulum(1))["port"]))
        try:
            host.say(encode(Command.DETECT, b"\x73"))
            assert host.expect(Command.DETECT) == b"\x46"
        finally:
            host.close()
    finally:
        network.stop()
