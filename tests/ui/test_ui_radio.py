"""Counters of emulated radios on 80 columns."""

from __future__ import annotations

import io

from ciris_mesh.radio.lab import NodeCounters
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.radio import counters_view


def shown(nodes: list[NodeCounters], elapsed_s: float) -> list[str]:
    out = io.StringIO()
    make_console(out).print(counters_view(nodes, elapsed_s))
    return out.getvalue().splitlines()


def test_frames_airtime_and_what_went_wrong() -> None:
    busy = NodeCounters(
        node=0,
        frames_sent=1_200,
        bytes_sent=240_000,
        airtime_s=36.5,
        frames_received=900,
        bytes_received=100_000,
        missed={"collided": 12, "lost": 30, "deaf": 4, "off": 1},
        dropped={"queue_full": 7},
    )
    quiet = NodeCounters(1, 0, 0, 0.0, 0, 0, {"deaf": 2}, {})
    lines = shown([busy, quiet], 3650.0)
    assert lines[0] == "2 radios, 3650 s of channel time"
    numbers = ["1200", "240.0", "kB", "36.5", "1.00", "900", "12", "30", "5", "7"]
    assert lines[3].split() == ["rnode0", *numbers]
    assert lines[4].split() == ["rnode1", "0", "0", "B", "0.0", "0.00", "0", "0", "0", "2", "0"]
    assert "missed: collided 12, deaf 6, lost 30, off 1" in lines
    assert "dropped: queue_full 7" in lines
    assert max(map(len, lines)) <= 80


def test_nothing_yet() -> None:
    lines = shown([NodeCounters(0, 0, 0, 0.0, 0, 0, {}, {})], 0.0)
    assert lines[0] == "1 radio, 0 s of channel time"
    assert not any("missed:" in line or "dropped:" in line for line in lines)
