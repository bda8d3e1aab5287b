"""Where a host plugs in, and the Reticulum configuration for it, ready to paste. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ciris_mesh.radio.airtime import LoraSettings

#: 25 mW, what the 868.0-868.6 MHz band allows. An emulated radio does not care.
TXPOWER_DBM: Final = 14


@dataclass(frozen=True, slots=True)
class NodePort:
    """Where the host of a node plugs in.

    Attributes:
        node: its number, from 0.
        port: the serial port for `RNodeInterface`; a link that stays the same when replugged.
        socket: the Unix socket for `VirtualRNodeInterface`; the same bytes.
    """

    node: int
    port: Path
    socket: Path


def rnode_block(place: NodePort, settings: LoraSettings) -> str:
    """The block for Reticulum's own driver on the pty."""
    return _block(place, settings, "RNodeInterface", f"port = {place.port}")


def virtual_block(place: NodePort, settings: LoraSettings) -> str:
    """The block for the external interface on the socket, without a pty."""
    return _block(place, settings, "VirtualRNodeInterface", f"socket = {place.socket}")


def whole_config(place: NodePort, block: str) -> str:
    """A whole configuration file around a block, for a Reticulum beside others on this machine."""
    return (
        "[reticulum]\n"
        "  enable_transport = No\n"
        "  share_instance = Yes\n"
        f"  instance_name = rnode{place.node}\n\n"
        f"[interfaces]\n{block}"
    )


def _block(place: NodePort, settings: LoraSettings, type_: str, where: str) -> str:
    lines = (
        f"[[rnode{place.node}]]",
        f"  type = {type_}",
        "  enabled = Yes",
        f"  {where}",
        f"  frequency = {settings.frequency_hz}",
        f"  bandwidth = {settings.bandwidth_hz}",
        f"  txpower = {TXPOWER_DBM}",
        f"  spreadingfactor = {settings.sf}",
        f"  codingrate = {settings.cr}",
    )
    return "".join(f"  {line}\n" for line in lines)
