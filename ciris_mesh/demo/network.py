"""What joins the nodes of a demo: TCP on loopback, or one emulated LoRa channel."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from ciris_mesh.demo.progress import Airtime, Channel
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.blocks import rnode_block
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from ciris_mesh.runtime.localnodes import free_port, reticulum_config, reticulum_config_around

Settings = Mapping[tuple[str, str], str]

#: In the band of 1 % of the time that the profiles for Europe have; no radio hears it here.
LORA: Final = LoraSettings(868_100_000, 125_000, 8, 5)


class Network(Protocol):
    """Made before the nodes, started before and stopped after them."""

    @property
    def settings(self) -> Settings:
        """What a node's configuration says because of it."""
        ...

    def reticulum(self, index: int) -> str:
        """The text of the Reticulum configuration of the node at `index`."""
        ...

    def start(self) -> None:
        """Begin to carry.

        Raises:
            OSError: a port could not be made.
        """
        ...

    def stop(self) -> None:
        """End, and leave nothing. Idempotent."""
        ...

    def channel(self) -> Channel | None:
        """What was on the air until now; None where there is no air."""
        ...


class Loopback:
    """TCP on 127.0.0.1: the first node listens and routes, the others connect to it."""

    settings: Settings = MappingProxyType({("reticulum", "announce_kinds"): "Demo"})

    def __init__(self) -> None:
        self._port = free_port()

    def reticulum(self, index: int) -> str:
        """See Network."""
        return reticulum_config(port=self._port, listens=index == 0)

    def start(self) -> None:
        """See Network."""

    def stop(self) -> None:
        """See Network."""

    def channel(self) -> Channel | None:
        """See Network."""
        return None


class VirtualLora:
    """One channel on which all hear each other, a pty and an emulated RNode for each node.

    Args:
        directory: of the ports; made and emptied here.
        names: of the nodes, in order.
        speed: how much faster than real time the channel's time passes.
    """

    #: Meeting each other takes the whole hour that 1 % gives, and a demo is to end before.
    settings: Settings = MappingProxyType({("radio", "duty"): "none"})

    def __init__(self, directory: Path, names: tuple[str, ...], *, speed: float) -> None:
        self._names = names
        self._speed = speed
        reach = full(len(names))
        self._ether = Ether(directory, reach, randomness=random.Random(), speed=speed)

    def reticulum(self, index: int) -> str:
        """See Network."""
        return reticulum_config_around(rnode_block(self._ether.ports[index], LORA))

    def start(self) -> None:
        """See Network."""
        self._ether.start()

    def stop(self) -> None:
        """See Network."""
        self._ether.stop()

    def channel(self) -> Channel:
        """See Network."""
        return Channel(
            sf=LORA.sf,
            bandwidth_hz=LORA.bandwidth_hz,
            bitrate_bps=round(LORA.bitrate_bps),
            speed=self._speed,
            channel_s=round(self._ether.elapsed_s, 1),
            nodes=tuple(
                Airtime(name, each.frames_sent, each.bytes_sent, round(each.airtime_s, 1))
                for name, each in zip(self._names, self._ether.counters(), strict=True)
            ),
        )
