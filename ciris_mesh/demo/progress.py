"""What a demo reports while it runs and when it ends. Values only; `ui` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where the demo stands. The values are what a person reads."""

    PREPARING = "making keys and configurations"
    STARTING = "starting nodes"
    SIGNING = "signing records"
    CONVERGING = "converging"
    COMPARING = "comparing envelope ids"


@dataclass(frozen=True, slots=True)
class Airtime:
    """What one node's radio sent so far, in LoRa frames with their header byte."""

    name: str
    frames: int
    bytes: int
    airtime_s: float


@dataclass(frozen=True, slots=True)
class Channel:
    """One emulated LoRa channel.

    Attributes:
        speed: how many seconds of the channel pass in one second.
        channel_s: seconds of the channel since it began.
    """

    sf: int
    bandwidth_hz: int
    bitrate_bps: int
    speed: float
    channel_s: float
    nodes: tuple[Airtime, ...]


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """One node. `held` maps each kind to the records on the federation shelf."""

    name: str
    held: dict[str, int]

    @property
    def total(self) -> int:
        """Records of all kinds."""
        return sum(self.held.values())


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of the demo.

    Attributes:
        signed: records signed so far by all nodes; each node should end up with all of them.
        elapsed_s: seconds since the demo began.
        channel: where nodes speak by radio.
    """

    phase: Phase
    elapsed_s: float
    signed: int
    nodes: tuple[NodeProgress, ...]
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How it ended. `demo --json` prints exactly this as its last line, `channel` with --radio.

    Attributes:
        converged: every envelope id of every kind is equal on all nodes, and none is missing.
        kinds: kinds of which every node holds at least one record.
        records: distinct envelope ids over all nodes.
        seconds: from the first key to the comparison.
        bytes: sent by all Reticulum interfaces of all nodes.
        channel: what was on the air, counted by the channel; None where nodes speak by TCP.
    """

    converged: bool
    nodes: int
    kinds: int
    records: int
    seconds: float
    bytes: int
    channel: Channel | None = None
