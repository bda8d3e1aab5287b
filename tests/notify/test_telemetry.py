"""Telemetry: asked for in the way Sideband asks, answered in the shapes it draws."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from ciris_mesh.notify.telemetry import (
    FIELD_COMMANDS,
    FIELD_TELEMETRY,
    Readings,
    asks_for_telemetry,
    telemetry_fields,
)


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({FIELD_COMMANDS: [{1: [1700000000, False]}]}, True),
        ({FIELD_COMMANDS: [{2: "ping"}, {1: 0}]}, True),
        ({}, False),
        ({FIELD_COMMANDS: [{2: "ping"}]}, False),
        ({FIELD_COMMANDS: {1: 0}}, False),
        ({FIELD_COMMANDS: None}, False),
        ({FIELD_COMMANDS: [1, "1", None, []]}, False),
        ({FIELD_COMMANDS: [{2: 0}] * 1000 + [{1: 0}]}, False),
        ({"9": [{1: 0}]}, False),
    ],
)
def test_who_asks(fields: dict[object, Any], *, asked: bool) -> None:
    assert asks_for_telemetry(fields) is asked


def test_the_answer_is_what_sideband_reads() -> None:
    readings = Readings(
        1_800_000_000, "ciris-mesh x", 0.25, (0.1, 0.2, 0.3), (4 << 30, 1 << 30), (64 << 30, 5)
    )
    fields = telemetry_fields(readings)
    assert list(fields) == [FIELD_TELEMETRY]
    assert msgpack.unpackb(fields[FIELD_TELEMETRY], strict_map_key=False) == {
        0x01: 1_800_000_000,
        0x0F: "ciris-mesh x",
        0x13: [[0, [0.25, [0.1, 0.2, 0.3], None]]],
        0x14: [[0, [4 << 30, 1 << 30]]],
        0x15: [[0, [64 << 30, 5]]],
    }
    assert 0x02 not in msgpack.unpackb(fields[FIELD_TELEMETRY], strict_map_key=False)
