"""Telemetry as Sideband asks for it and draws it. Pure.

A request is the LXMF field 0x09, a list with a map in it that has the key 0x01; the answer is
field 0x02, a msgpack map from sensor number to that sensor's value. Numbers and shapes are those
of Sideband's sensors; a place is never among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgpack  # type: ignore[import-untyped]

FIELD_TELEMETRY: Final = 0x02
FIELD_COMMANDS: Final = 0x09
_TELEMETRY_REQUEST: Final = 0x01
#: Commands in one message that are looked at.
_COMMANDS_MAX: Final = 8

_TIME: Final = 0x01
_INFORMATION: Final = 0x0F
_PROCESSOR: Final = 0x13
_RAM: Final = 0x14
_NVM: Final = 0x15
#: The label of the only one of its sort.
_DEFAULT: Final = 0x00


@dataclass(frozen=True, slots=True)
class Readings:
    """What a board tells of itself. Sizes in bytes, load 0..1, `unix_s` seconds since 1970."""

    unix_s: int
    information: str
    load: float
    load_averages: tuple[float, float, float]
    ram: tuple[int, int]
    disk: tuple[int, int]


def asks_for_telemetry(fields: Mapping[object, object]) -> bool:
    """True when a message's fields hold such a request, whatever else they hold."""
    commands = fields.get(FIELD_COMMANDS)
    if not isinstance(commands, list):
        return False
    return any(
        isinstance(command, dict) and _TELEMETRY_REQUEST in command
        for command in commands[:_COMMANDS_MAX]
    )


def telemetry_fields(readings: Readings) -> dict[int, bytes]:
    """The fields of the answer. `ram` and `disk` are (capacity, used)."""
    sensors = {
        _TIME: readings.unix_s,
        _INFORMATION: readings.information,
        _PROCESSOR: [[_DEFAULT, [readings.load, list(readings.load_averages), None]]],
        _RAM: [[_DEFAULT, list(readings.ram)]],
        _NVM: [[_DEFAULT, list(readings.disk)]],
    }
    packed: bytes = msgpack.packb(sensors)
    return {FIELD_TELEMETRY: packed}
