"""The host's side of the RNode protocol, for a host that is not Reticulum's driver. Pure.

hello -> bytes that find a device and set it up
feed  -> what the device said: Ready, Refused, Gone, Packet, Signal, Load
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from ciris_mesh.radio import kiss
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.kiss import Command, KissDecoder, KissFault, KissFrame, encode

_LOAD_BYTES: Final = 11


@dataclass(frozen=True, slots=True)
class RadioSetup:
    """What a host wants of a device.

    Attributes:
        short_limit, long_limit: share of 15 s and of an hour the device may send; 0 for no limit.
    """

    settings: LoraSettings
    txpower_dbm: int
    short_limit: float = 0.0
    long_limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """The radio is on, set as asked for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The radio did not start, or is not set as asked for; `what` names the first difference."""

    what: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The device started anew, or told a fault: it must be set up again."""

    why: str


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet from the air."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Signal:
    """Of the packet that follows; whichever of the two was told."""

    rssi_dbm: int | None = None
    snr_db: float | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Shares from 0 to 1: of 15 s and an hour sent, of 7.5 s and an hour in use."""

    airtime_short: float
    airtime_long: float
    load_short: float
    load_long: float


HostEvent: TypeAlias = Ready | Refused | Gone | Packet | Signal | Load


class HostSide:
    """One conversation with a device. After `Gone` or a new connection, say `hello` again."""

    def __init__(self, setup: RadioSetup) -> None:
        self._setup = setup
        settings = setup.settings
        self._wanted = {
            Command.FREQUENCY: settings.frequency_hz.to_bytes(4, "big"),
            Command.BANDWIDTH: settings.bandwidth_hz.to_bytes(4, "big"),
            Command.TXPOWER: bytes([setup.txpower_dbm]),
            Command.SF: bytes([settings.sf]),
            Command.CR: bytes([settings.cr]),
            Command.ST_ALOCK: round(setup.short_limit * 10_000).to_bytes(2, "big"),
            Command.LT_ALOCK: round(setup.long_limit * 10_000).to_bytes(2, "big"),
        }
        self._start()

    def _start(self) -> None:
        self._decoder = KissDecoder()
        self._told: dict[Command, bytes] = {}

    def hello(self) -> bytes:
        """Return what to send first."""
        self._start()
        orders = b"".join(encode(command, body) for command, body in self._wanted.items())
        detect = encode(Command.DETECT, bytes([kiss.DETECT_REQUEST]))
        return detect + orders + encode(Command.RADIO_STATE, bytes([kiss.RADIO_ON]))

    def packet(self, data: bytes) -> bytes:
        """Return what to send for one packet."""
        return encode(Command.DATA, data)

    def feed(self, data: bytes) -> list[HostEvent]:
        """Take bytes from the device in any pieces. What is not understood is left out."""
        events = []
        for found in self._decoder.feed(data):
            event = None if isinstance(found, KissFault) else self._read(found)
            if event is not None:
                events.append(event)
        return events

    def _read(self, frame: KissFrame) -> HostEvent | None:
        body = frame.payload
        match frame.command:
            case Command.DATA if body:
                return Packet(body)
            case Command.RADIO_STATE:
                return self._compare(body)
            case Command.STAT_RSSI if len(body) == 1:
                return Signal(rssi_dbm=body[0] - kiss.RSSI_OFFSET)
            case Command.STAT_SNR if len(body) == 1:
                return Signal(snr_db=int.from_bytes(body, "big", signed=True) / 4)
            case Command.STAT_CHTM if len(body) == _LOAD_BYTES:
                shares = [int.from_bytes(body[at : at + 2], "big") / 10_000 for at in (0, 2, 4, 6)]
                return Load(*shares)
            case Command.RESET:
                return Gone("reset")
            case Command.ERROR:
                return Gone(f"error {body.hex()}")
            case command if command in self._wanted:
                self._told[Command(command)] = body
            case _:
                pass
        return None

    def _compare(self, state: bytes) -> HostEvent:
        """The radio told its state, the last answer to `hello`."""
        for command, body in self._wanted.items():
            if self._told.get(command) != body:
                return Refused(command.name.lower())
        return Ready() if state == bytes([kiss.RADIO_ON]) else Refused("radio_state")
