"""The demo's table and its sentence."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from ciris_mesh.demo.progress import Airtime, Channel, DemoResult, NodeProgress, Phase, Progress
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.demo import follow, progress_line, progress_view, result_text, result_view


def progress(nodes: int = 3, held: int = 2, phase: Phase = Phase.CONVERGING) -> Progress:
    counts = {"revocation": held, "key": 3, "identity_occurrence_revocation": 1}
    rows = tuple(NodeProgress(f"node{number}", counts) for number in range(nodes))
    return Progress(phase, 4.4, 9, rows)


CHANNEL = Channel(
    sf=8,
    bandwidth_hz=125_000,
    bitrate_bps=3125,
    speed=16.0,
    channel_s=1_044.0,
    nodes=(Airtime("node0", 215, 41_300, 121.1), Airtime("node1", 284, 59_200, 172.0)),
)


def shown(view: Progress) -> str:
    out = io.StringIO()
    make_console(out).print(progress_view(view))
    return out.getvalue()


def test_a_small_mesh_is_kinds_by_nodes_in_wire_order() -> None:
    lines = shown(progress()).splitlines()
    assert lines[0] == "converging (4 s)"
    assert lines[2].split() == ["kind", "node0", "node1", "node2"]
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "key",
        "revocation",
        "identity occurrence removal",
        "total",
    ]
    assert lines[6].split() == ["total", "6/9", "6/9", "6/9"]


def test_a_large_mesh_is_nodes_with_totals() -> None:
    lines = shown(progress(nodes=12)).splitlines()
    assert lines[2].split() == ["node", "records"]
    assert len(lines) == 15
    assert lines[3].split() == ["node0", "6/9"]


@pytest.mark.parametrize("nodes", [0, 1, 6, 64])
def test_it_fits_80_columns_in_ascii(nodes: int) -> None:
    text = shown(progress(nodes))
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


def test_one_line_form() -> None:
    assert progress_line(progress(2)) == "  4.4 s  converging: node0 6, node1 6 of 9"
    assert progress_line(progress(9)) == "  4.4 s  converging: 9 nodes hold 6 to 6 of 9"
    assert progress_line(progress(0, phase=Phase.STARTING)) == "  4.4 s  starting nodes"


def test_a_pipe_gets_a_line_only_when_something_changed() -> None:
    out = io.StringIO()
    with follow(make_console(out)) as show:
        for held in (1, 1, 2):
            show(progress(held=held))
    assert out.getvalue().count("\n") == 2


def test_a_pipe_gets_a_line_now_and_then_while_nothing_changes() -> None:
    out = io.StringIO()
    with follow(make_console(out)) as show:
        for elapsed_s in (1.0, 9.0, 11.0, 19.0, 35.0):
            show(replace(progress(), elapsed_s=elapsed_s))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["1.0", "11.0", "35.0"]


def test_by_radio_it_shows_how_long_each_was_on_air() -> None:
    on_air = replace(progress(2), channel=CHANNEL)
    assert shown(on_air).splitlines()[-1].split() == ["on", "air", "121", "s", "172", "s"]
    assert progress_line(on_air).endswith("node0 6, node1 6 of 9, 293 s on air")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    with follow(make_console(out)) as show:
        show(progress())
    assert "identity occurrence removal" in out.getvalue()


def test_the_result_says_whether_it_worked() -> None:
    good = DemoResult(converged=True, nodes=3, kinds=13, records=39, seconds=9.04, bytes=410_000)
    assert str(result_text(good)) == (
        "Converged: 3 nodes, 39 records of 13 kinds, 410.0 kB sent, 9.0 s. "
        "Every envelope id is equal on all nodes."
    )
    bad = DemoResult(converged=False, nodes=3, kinds=12, records=38, seconds=90, bytes=1)
    assert str(result_text(bad)).startswith("Not converged: 3 nodes, 38 records of 12 kinds")


@pytest.mark.parametrize(
    ("speed", "pace"), [(1.0, "bit/s."), (16.0, "bit/s, passed 16 x as fast.")]
)
def test_by_radio_the_result_has_airtime_by_node(speed: float, pace: str) -> None:
    channel = replace(CHANNEL, speed=speed)
    good = DemoResult(True, 2, 3, 9, 65.5, 145_400, channel)
    out = io.StringIO()
    make_console(out).print(result_view(good))
    text = out.getvalue()
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[3] == f"1044 s of one channel, SF8 in 125 kHz, 3125 {pace}"
    assert lines[5].split() == ["node0", "215", "41.3", "kB", "121.1", "11.6", "3.4", "h"]
    assert lines[6].split() == ["node1", "284", "59.2", "kB", "172.0", "16.5", "4.8", "h"]
