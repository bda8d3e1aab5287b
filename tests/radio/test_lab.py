"""Devices on a channel: what one host hands in, another gets; what is not, is counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.kiss import Command, DeviceError, KissDecoder, KissFrame, encode
from ciris_mesh.radio.lab import Lab, NodeCounters, ToHosts
from ciris_mesh.radio.topology import Reach, full, line, star

SF8 = LoraSettings(867_200_000, 125_000, 8, 5)
OFF = encode(Command.RADIO_STATE, b"\x00")


def set_up(sf: int = 8, bandwidth_hz: int = 125_000, *, long_limit: int = 0) -> bytes:
    return b"".join(
        (
            encode(Command.FREQUENCY, (867_200_000).to_bytes(4, "big")),
            encode(Command.BANDWIDTH, bandwidth_hz.to_bytes(4, "big")),
            encode(Command.TXPOWER, b"\x07"),
            encode(Command.SF, bytes([sf])),
            encode(Command.CR, b"\x05"),
            encode(Command.LT_ALOCK, long_limit.to_bytes(2, "big")),
            encode(Command.RADIO_STATE, b"\x01"),
        )
    )


def lab(reach: Reach, *, loss: float = 0.0, seed: int = 1, stats_s: float = 1.0) -> Lab:
    room = Lab(reach, random.Random(seed), loss=loss, stats_period_s=stats_s)
    for node in range(reach.nodes):
        room.from_host(node, set_up(), 0.0)
    return room


def packets(told: ToHosts) -> list[tuple[int, bytes]]:
    """(node, packet) of all data frames."""
    return [
        (node, found.payload)
        for node, told_bytes in told
        for found in KissDecoder().feed(told_bytes)
        if isinstance(found, KissFrame) and found.command == Command.DATA
    ]


def commands(told: ToHosts, node: int) -> Counter[Command]:
    return Counter(
        Command(found.command)
        for each, told_bytes in told
        for found in KissDecoder().feed(told_bytes)
        if each == node and isinstance(found, KissFrame)
    )


def send(room: Lab, node: int, packet: bytes, now_s: float) -> ToHosts:
    return room.from_host(node, encode(Command.DATA, packet), now_s)


def total(counters: Iterable[NodeCounters]) -> int:
    return sum(each.frames_received + sum(each.missed.values()) for each in counters)


@pytest.mark.parametrize("size", [1, 254, 255, 499])
def test_a_packet_reaches_all_who_hear(size: int) -> None:
    room = lab(full(3))
    packet = random.Random(size).randbytes(size)
    send(room, 0, packet, 1.0)
    assert packets(room.run(10.0)) == [(1, packet), (2, packet)]
    counters = room.counters(0)
    assert counters.airtime_s == pytest.approx(SF8.packet_s(size), abs=1e-6)
    assert counters.bytes_sent == size + counters.frames_sent
    assert (counters.missed, counters.dropped) == ({}, {})


def test_a_packet_waits_for_the_channel_and_takes_its_time() -> None:
    room = lab(full(2))
    send(room, 0, bytes(83), 1.0)
    soonest_s = 1.0 + SF8.difs_s + SF8.packet_s(83)
    assert packets(room.run(soonest_s - 0.001)) == []
    assert packets(room.run(soonest_s + 14 * SF8.slot_s + 0.001)) == [(1, bytes(83))]


def test_those_who_hear_each_other_take_turns() -> None:
    """Both want the channel at once, ten times; only drawing the same slot makes them collide."""
    room, told = lab(full(3)), []
    for number in range(10):
        for node in (0, 1):
            told += send(room, node, bytes([node, number]) * 100, number * 5.0)
    told += room.run(200.0)
    at_two = [packet for node, packet in packets(told) if node == 2]
    assert len(at_two) >= 16
    assert len(set(at_two)) == len(at_two)


def test_hidden_stations_collide_and_others_do_not() -> None:
    def collided(reach: Reach) -> int:
        room = lab(reach)
        for number in range(40):
            send(room, 1, bytes(200), number * 3.0)
            send(room, 2, bytes(200), number * 3.0)
        room.run(400.0)
        return room.counters(0).missed.get("collided", 0)

    assert collided(star(3)) > 3 * max(collided(full(3)), 1)


def test_statistics_come_once_a_period_and_after_a_burst() -> None:
    room = lab(full(2), stats_s=4.0)
    assert commands(room.run(9.0), 1) == {Command.STAT_CHTM: 2}
    send(room, 1, b"x", 9.0)
    assert commands(room.run(11.0), 1) == {Command.STAT_CHTM: 1}


def test_what_is_heard_counts_as_load() -> None:
    room = lab(full(2))
    send(room, 0, bytes(254), 0.0)
    (told,) = [data for node, data in room.run(2.0)[-2:] if node == 1]
    (frame,) = KissDecoder().feed(told)
    assert isinstance(frame, KissFrame)
    airtime, load = (int.from_bytes(frame.payload[at : at + 2], "big") for at in (0, 4))
    assert airtime == 0
    assert load == pytest.approx(SF8.packet_s(254) / 7.5 * 10_000, abs=1)


def test_an_airtime_limit_holds_packets_back_until_there_is_room() -> None:
    """0.01 % of an hour is 0.36 s: one packet in an hour, and the second waits for its end."""
    room = lab(full(2))
    room.from_host(0, OFF + set_up(long_limit=1), 0.0)
    send(room, 0, bytes(200), 0.0)
    assert len(packets(room.run(10.0))) == 1
    send(room, 0, bytes(200), 10.0)
    assert packets(room.run(3500.0)) == []
    assert len(packets(room.run(3620.0))) == 1


def test_an_unplugged_node_is_off_the_channel_and_comes_back() -> None:
    room = lab(full(2))
    send(room, 1, b"lost with its power", 1.0)
    room.power_off(1, 1.01)
    send(room, 0, b"unheard", 1.01)
    assert packets(room.run(5.0)) == []
    assert room.counters(1).missed == {"off": 1}
    assert room.counters(1).dropped == {"power_lost": 1}
    room.from_host(1, set_up(), 5.0)
    send(room, 0, b"heard", 6.0)
    assert packets(room.run(9.0)) == [(1, b"heard")]


def test_losing_power_while_sending_cuts_the_frame_off() -> None:
    room = lab(full(2))
    send(room, 0, bytes(499), 0.0)
    room.power_off(0, 1.0)
    assert packets(room.run(9.0)) == []
    assert room.counters(1).missed == {"cut": 1}
    assert room.counters(0).dropped == {"power_lost": 1}


@pytest.mark.parametrize("order", [OFF, encode(Command.SF, b"\x09")])
def test_switching_a_sending_radio_cuts_the_frame_off(order: bytes) -> None:
    room = lab(full(2))
    send(room, 0, bytes(499), 0.0)
    room.from_host(0, order, 1.0)
    room.run(9.0)
    assert room.counters(1).missed == {"cut": 1}
    assert room.counters(0).dropped == {"cut_off": 1}
    room.from_host(0, set_up(), 9.0)
    send(room, 0, b"again", 9.0)
    assert packets(room.run(12.0)) == [(1, b"again")]


def test_a_reset_is_told_to_the_host() -> None:
    room = lab(full(2))
    assert room.reset(0, 1.0)[-1] == (0, bytes.fromhex("c055f8c0"))
    assert commands(room.run(5.0), 0) == {}  # the radio is off until it is set up again
    assert room.fail(0, DeviceError.MEMORY_LOW, 6.0)[-1] == (0, bytes.fromhex("c09005c0"))


def test_a_line_needs_somebody_in_the_middle() -> None:
    room = lab(line(3))
    send(room, 0, b"far", 0.0)
    assert packets(room.run(5.0)) == [(1, b"far")]
    assert room.counters(2).missed == {"out_of_reach": 1}


def test_who_hears_whom_can_change_and_nobody_is_told() -> None:
    room = lab(full(3))
    apart = Reach(3, {(0, 1): -80.0, (1, 0): -80.0})
    room.set_reach(apart)
    send(room, 0, b"here", 0.0)
    assert packets(room.run(5.0)) == [(1, b"here")]
    assert room.counters(2).missed == {"out_of_reach": 1}
    send(room, 0, bytes(254), 5.0)
    room.run(5.3)
    room.set_reach(full(3))
    assert packets(room.run(9.0)) == [(1, bytes(254)), (2, bytes(254))]
    with pytest.raises(ValueError, match="3 stations, not 4"):
        room.set_reach(full(4))


def test_nothing_happens_while_all_radios_are_off() -> None:
    room = Lab(full(2), random.Random(1))
    assert room.next_s == float("inf")
    assert room.run(1e9) == []
    room.from_host(0, set_up(), 1e9)
    assert room.next_s == 1e9 + 1.0


def test_a_clock_that_goes_back_is_taken_for_one_that_stands() -> None:
    room = lab(full(2))
    room.run(10.0)
    send(room, 0, b"x", 5.0)
    assert packets(room.run(9.9)) == []
    assert packets(room.run(12.0)) == [(1, b"x")]


steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.floats(0, 3),
        st.one_of(
            st.integers(1, 508),
            st.sampled_from(["off", "power_off", "reset", "set_up", "set_up"]),
        ),
    ),
    max_size=30,
)


@given(steps, st.sampled_from([full, line, star]), st.sampled_from([0.0, 0.2]), st.integers(0, 9))
@hypothesis_settings(max_examples=60)
def test_whatever_hosts_do_every_frame_is_accounted_for(
    script: list[tuple[int, float, int | str]], shape: object, loss: float, seed: int
) -> None:
    def play() -> tuple[list[NodeCounters], ToHosts]:
        assert callable(shape)
        room, now_s, told = lab(shape(4), loss=loss, seed=seed), 0.0, []
        for node, pause_s, what in script:
            now_s += pause_s
            match what:
                case int(size):
                    told += send(room, node, bytes(size), now_s)
                case "off":
                    told += room.from_host(node, OFF, now_s)
                case "power_off":
                    told += room.power_off(node, now_s)
                case "reset":
                    told += room.reset(node, now_s)
                case _:
                    told += room.from_host(node, set_up(), now_s)
        told += room.run(now_s + 100)
        return [room.counters(node) for node in range(4)], told

    counters, told = play()
    assert total(counters) == 3 * sum(each.frames_sent for each in counters)
    assert play() == (counters, told)
