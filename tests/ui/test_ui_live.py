"""The live view draws what it is given and stops when told."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from ciris_mesh.runtime.events import BatchEvent, BatchOutcome
from ciris_mesh.runtime.status import NodeStatus
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.live import EVENT_LINES, Snapshot, event_line, watch


def status(version: str = "0.1.0") -> NodeStatus:
    return NodeStatus(
        schema=1,
        version=version,
        key_id="alice-abcdefghijklmnop",
        address="11" * 16,
        fingerprint="22" * 32,
        uptime_s=1.0,
        clock="trusted",
        health=(),
        peers=(),
        candidates=(),
        kinds=(),
        deferred=0,
        first_contact=0,
        refused_remembered=0,
        outcomes=(),
        interfaces=(),
        drops={},
        rss_bytes=1,
    )


def times(number: int) -> Callable[[], bool]:
    left = iter([True] * number)
    return lambda: next(left, False)


def event(number: int) -> dict[str, object]:
    return {"number": number, "outcome": "completed", "peer": f"bob-{number}", "reason": ""}


@pytest.mark.parametrize("is_terminal", [False, True])
def test_without_a_screen_each_look_is_a_snapshot_after_its_events(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal() if is_terminal else io.StringIO()
    shots = iter(Snapshot(status(f"v{number}"), (event(number),)) for number in range(3))
    watch(make_console(out), lambda: next(shots), times(2))
    text = out.getvalue()
    assert text.count("alice-abcdefghijklmnop") == 3
    marks = [text.index(mark) for n in range(3) for mark in (f"peer=bob-{n}", f"ciris-mesh v{n}")]
    assert marks == sorted(marks)
    assert "\x1b" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_screen_is_redrawn_with_the_latest_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    out = Terminal()
    many = tuple(event(number) for number in range(EVENT_LINES + 3))
    shots = iter([Snapshot(status("1.0"), ()), Snapshot(status("2.0"), many)])
    watch(make_console(out), lambda: next(shots), times(1))
    text = out.getvalue()
    assert "ciris-mesh 1.0" in text
    assert "ciris-mesh 2.0" in text
    assert f"peer=bob-{EVENT_LINES + 2}" in text
    assert "peer=bob-2\n" not in text


def test_an_event_line_says_what_changed_before_who() -> None:
    fields = {"peer": "bob", "kind": "key", "outcome": "completed", "admitted": 3, "refused": 1}
    assert event_line(fields) == "round.completed admitted=3 refused=1 peer=bob kind=key"


def test_a_batch_by_radio_is_told_apart_from_a_round() -> None:
    shown = BatchEvent(
        peer="bob", over="RNodeInterface[roof]", outcome=BatchOutcome.SENT, records=2, airtime_s=9.5
    )
    assert event_line({"number": 3, **shown.fields()}) == (
        "batch.sent records=2 airtime_ms=9500 peer=bob over=RNodeInterface[roof]"
    )


def test_an_event_line_is_a_name_and_pairs() -> None:
    fields = {"number": 7, "peer": "bob", "outcome": "error", "admitted": 0, "reason": "no_path"}
    assert event_line(fields) == "round.error peer=bob reason=no_path"
    assert event_line({"outcome": "completed", "peer": "b\x1bob"}) == "round.completed peer=b?ob"
