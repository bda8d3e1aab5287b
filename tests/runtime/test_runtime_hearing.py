"""How long an interface has been silent."""

from __future__ import annotations

from ciris_mesh.runtime.clock import ManualClock
from ciris_mesh.runtime.hearing import Hearing
from ciris_mesh.transport.base import InterfaceRow


def row(rx_bytes: int, *, online: bool = True, name: str = "roof") -> InterfaceRow:
    return InterfaceRow(name, "radio", online, 3125, rx_bytes, 0)


def test_silence_is_counted_from_the_last_byte_that_came_in() -> None:
    clock = ManualClock()
    hearing = Hearing(clock.monotonic_s)
    assert hearing.silent_s("roof") is None
    hearing.look([row(100)])
    clock.advance(50)
    hearing.look([row(100)])
    assert hearing.silent_s("roof") == 50
    hearing.look([row(101)])
    assert hearing.silent_s("roof") == 0
    clock.advance(7)
    assert hearing.silent_s("roof") == 7


def test_an_interface_that_is_down_is_not_silent_and_one_that_is_gone_is_forgotten() -> None:
    clock = ManualClock()
    hearing = Hearing(clock.monotonic_s)
    hearing.look([row(100, online=False)])
    clock.advance(50)
    hearing.look([row(100, online=False), row(5, name="hub")])
    assert hearing.silent_s("roof") == 0
    hearing.look([row(5, name="hub")])
    assert hearing.silent_s("roof") is None


def test_a_radio_that_started_again_counts_from_there() -> None:
    clock = ManualClock()
    hearing = Hearing(clock.monotonic_s)
    hearing.look([row(100)])
    clock.advance(50)
    hearing.look([row(3)])
    assert hearing.silent_s("roof") == 0
