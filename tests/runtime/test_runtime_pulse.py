"""When a node does not do its work, and when it is only that nobody is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ciris_mesh.errors import BackPressure
from ciris_mesh.runtime.clock import ManualClock
from ciris_mesh.runtime.pulse import CADENCES_MISSED, STILL_MIN_S, Pulse, pulse_of
from support.mesh import Mesh


class Body:
    """A node of which only what a pulse looks at is there."""

    def __init__(self, cadence_s: float = 60.0) -> None:
        self.clock = ManualClock()
        self.moved_s: float | None = None
        self.peer: Any = SimpleNamespace(
            config=SimpleNamespace(key_id="bob"), link=object(), checks=1, radio=""
        )
        self.pulse = Pulse(
            beats=lambda done: done(),
            peers=lambda: [self.peer],
            progress_s=lambda _: self.moved_s,
            clock=self.clock.monotonic_s,
            cadence_s=cadence_s,
        )
        self.pulse.stuck()  # what is seen first counts from now

    def after(self, seconds: float) -> bool:
        self.clock.advance(seconds)
        return self.pulse.is_well()


STILL_S = CADENCES_MISSED * 60.0


def test_a_linked_peer_nobody_compares_with_any_more() -> None:
    body = Body()
    assert body.after(STILL_S)
    assert not body.after(1)
    body.peer.checks += 1
    assert body.after(0), "and it is well again when that goes on"


def test_bytes_that_move_are_progress() -> None:
    body = Body()
    body.clock.advance(STILL_S)
    body.moved_s = body.clock.monotonic_s()
    assert body.after(STILL_S)
    assert not body.after(1)


def change(body: Body, **members: Any) -> None:
    for name, value in members.items():
        setattr(body.peer, name, value)


@pytest.mark.parametrize("members", [{"link": None}, {"radio": "RNode"}])
def test_a_peer_that_is_away_or_behind_a_radio_proves_nothing(members: dict[str, Any]) -> None:
    body = Body()
    change(body, **members)
    assert body.after(100 * STILL_S)


def test_a_short_cadence_is_no_reason_to_hurry() -> None:
    body = Body(cadence_s=1.0)
    assert body.after(STILL_MIN_S)
    assert not body.after(1)


@pytest.mark.parametrize("beats", ["never", "no room"])
def test_workers_that_stand_still(beats: str) -> None:
    def beat(done: Callable[[], None]) -> None:
        if beats == "no room":
            raise BackPressure("full")

    pulse = Pulse(
        beats=beat, peers=list, progress_s=lambda _: None, clock=lambda: 0.0, cadence_s=1,
        beat_s=0.01,
    )  # fmt: skip
    assert not pulse.is_well()


def test_a_running_node_has_one_and_a_stopped_node_has_not(mesh: Mesh) -> None:
    alice, _ = mesh.started("alice", "bob")
    mesh.wait_converged()
    done = threading.Event()
    pulse = pulse_of(alice.runtime)
    alice.runtime.beat(done.set)
    mesh.clock.leap(1.0)
    assert done.wait(240)
    assert pulse.stuck() == ()
