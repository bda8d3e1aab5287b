"""The host's side against the emulated device, and against devices that say strange things."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.device import Device
from ciris_mesh.radio.host import (
    Gone,
    HostEvent,
    HostSide,
    Load,
    Packet,
    RadioSetup,
    Ready,
    Refused,
    Signal,
)
from ciris_mesh.radio.kiss import Command, DeviceError, encode

SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
SETUP = RadioSetup(SF8, 14, short_limit=0.5, long_limit=0.1)


def joined(setup: RadioSetup = SETUP) -> tuple[HostSide, Device, list[HostEvent]]:
    host, device = HostSide(setup), Device(random.Random(1))
    return host, device, host.feed(device.from_host(host.hello(), 0.0))


def test_a_device_is_set_up_in_one_exchange() -> None:
    _, device, events = joined()
    assert events == [Ready()]
    assert device.settings == SF8
    assert (device._short_limit, device._long_limit) == (0.5, 0.1)


@pytest.mark.parametrize(
    ("setup", "what"),
    [
        (RadioSetup(SF8, 30), "txpower"),  # this chip can do 22
        (RadioSetup(SF8, 14, long_limit=1.0), "lt_alock"),  # 100 % is no limit to a device
    ],
)
def test_a_setting_the_device_changes_is_named(setup: RadioSetup, what: str) -> None:
    assert joined(setup)[2] == [Refused(what)]


def test_a_radio_that_does_not_start_is_named() -> None:
    host, device, _ = joined()
    answers = device.from_host(host.hello().replace(b"\xc0\x06\x01", b"\xc0\x06\x00"), 1.0)
    assert host.feed(answers) == [Refused("radio_state")]


def test_packets_both_ways() -> None:
    host, device, _ = joined()
    packet = b"\xc0\xdb" + bytes(300)
    device.from_host(host.packet(packet), 1.0)
    frames = device.take_burst()
    device.burst_over(3.0)
    events = [one for frame in frames for one in host.feed(device.hear(frame, -91.0, -7.5))]
    assert events == [Signal(rssi_dbm=-91), Signal(snr_db=-7.5), Packet(packet)]


def test_statistics() -> None:
    host, device, _ = joined()
    device.frame_sent(1.5, 3.0)
    device.carrier(3.0, 4.5)
    load = [one for one in host.feed(device.tick(4.5)) if isinstance(one, Load)]
    assert load == [Load(0.1, 0.0004, 0.3, 0.0006)]


def test_a_device_that_starts_anew_or_fails_must_be_set_up_again() -> None:
    host, device, _ = joined()
    assert host.feed(device.boot()) == [Gone("reset")]
    assert host.feed(device.from_host(host.hello(), 1.0)) == [Ready()]
    assert host.feed(device.error(DeviceError.TXFAILED)) == [Gone("error 02")]


def test_half_a_frame_does_not_survive_a_new_hello() -> None:
    host, device, _ = joined()
    host.feed(b"\xc0\x00half")
    assert host.feed(device.from_host(host.hello(), 1.0)) == [Ready()]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=700),
            st.builds(encode, st.sampled_from(Command), st.binary(max_size=14)),
        ),
        max_size=20,
    )
)
def test_any_device_is_survived(pieces: list[bytes]) -> None:
    host = HostSide(SETUP)
    host.hello()
    for piece in pieces:
        for event in host.feed(piece):
            assert not isinstance(event, Packet) or 0 < len(event.data) <= 508
