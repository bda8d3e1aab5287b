"""The emulated RNode against byte transcripts of what Reticulum's driver says and expects."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.radio.device import QUEUE_BYTES_MAX, QUEUE_PACKETS_MAX, Device, Dropped
from ciris_mesh.radio.kiss import (
    PACKET_BYTES_MAX,
    Command,
    DeviceError,
    KissDecoder,
    KissFault,
    KissFrame,
    encode,
)

#: What the driver sends at start, after `detect`: 867.2 MHz, 125 kHz, 7 dBm, SF8, 4:5, on.
SET_UP = bytes.fromhex("c00133b06c00c0 c0020001e848c0 c00307c0 c00408c0 c00505c0")
ON, OFF = bytes.fromhex("c00601c0"), bytes.fromhex("c00600c0")
FULL_PACKET = 499


def device(seed: int = 1) -> Device:
    return Device(random.Random(seed))


def running(*extra: bytes) -> Device:
    radio = device()
    radio.from_host(b"".join((SET_UP, *extra, ON)), 0.0)
    return radio


def frames(data: bytes) -> list[tuple[Command, bytes]]:
    found = KissDecoder().feed(data)
    assert all(isinstance(each, KissFrame) for each in found)
    return [(Command(each.command), each.payload) for each in found if isinstance(each, KissFrame)]


def data(packet: bytes) -> bytes:
    return encode(Command.DATA, packet)


def send_all(radio: Device, now_s: float) -> tuple[bytes, ...]:
    """One burst, sent in no time."""
    burst = radio.take_burst()
    for frame in burst:
        settings = radio.settings
        assert settings is not None
        radio.frame_sent(settings.frame_s(len(frame)), now_s)
    radio.burst_over(now_s)
    return burst


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        # detect, firmware 1.86, platform ESP32, MCU ESP32: one write of the driver
        ("c00873c05000c04800c04900c0", "c00846c0c0500156c0c04880c0c04981c0"),
        ("c00800c0", ""),  # no request
        (SET_UP.hex(), SET_UP.hex()),  # every setting is echoed
        ("c00200000000c0", "c00200000000c0"),  # nothing set: asked for
        ("c003ffc0", "c003ffc0"),
        ("c00325c0", "c00316c0"),  # 37 dBm: this chip can do 22
        ("c00404c0", "c00405c0"),  # spreading factor 5 is the least
        ("c0040dc0", "c0040cc0"),
        ("c00509c0", "c00508c0"),
        ("c00701c0", "c00701c0"),  # locked: nothing is set
        ("c00601c0", "c00600c0"),  # so the radio does not start
        ("c00b0064c0", "c00b0064c0"),  # 1 % in 15 s
        ("c00c03e8c0", "c00c03e8c0"),  # 10 % in an hour
        ("c00c2710c0", "c00c0000c0"),  # 100 % is no limit
        ("c00f00c0", "c00f01c0"),  # ready when asked
        ("c02100c0", "c02100000000c0"),
        ("c02200c0", "c02200000000c0"),
        ("c02300c0", "c02328c0"),  # -117 dBm
        ("c055f8c0", "c055f8c0"),  # reset: what an ESP32 says when it boots
        ("c05500c0", ""),
        ("c00affc0", ""),
        ("c04100c0", ""),  # a display it does not have
    ],
)
def test_answers(said: str, answered: str) -> None:
    assert device().from_host(bytes.fromhex(said), 0.0).hex() == bytes.fromhex(answered).hex()


def test_start_of_the_radio_tells_what_the_settings_mean() -> None:
    radio = device()
    radio.from_host(SET_UP, 0.0)
    told = radio.from_host(ON, 0.0)
    # 2.048 ms a symbol, 488 symbols a second, preamble of 18 = 37 ms, slots of 24 ms, wait 49 ms
    assert told.hex() == "c0260800" + "01e8" + "0012" + "0025" + "0018" + "0031" + "c0" + "c00601c0"
    assert radio.settings is not None
    assert (radio.settings.sf, radio.settings.cr) == (8, 5)
    assert (radio.settings.frequency_hz, radio.settings.bandwidth_hz) == (867_200_000, 125_000)


def test_settings_in_any_pieces_and_escaped() -> None:
    """3.23 GHz holds both bytes that must be escaped."""
    radio = device()
    said = encode(Command.FREQUENCY, bytes.fromhex("c0dbc0db"))
    answered = b"".join(radio.from_host(bytes([byte]), 0.0) for byte in said)
    assert frames(answered) == [(Command.FREQUENCY, bytes.fromhex("c0dbc0db"))]


def test_a_bandwidth_no_chip_has_is_rounded_up() -> None:
    radio = device()
    radio.from_host(SET_UP + encode(Command.BANDWIDTH, (100_000).to_bytes(4, "big")) + ON, 0.0)
    assert radio.settings is not None
    assert radio.settings.bandwidth_hz == 125_000


def test_a_radio_that_is_on_is_retuned_at_once() -> None:
    radio = running()
    told = radio.from_host(bytes.fromhex("c0040ac0"), 1.0)
    assert [command for command, _ in frames(told)] == [Command.SF, Command.STAT_PHYPRM]
    assert radio.settings is not None
    assert radio.settings.sf == 10


def test_a_packet_goes_out_with_a_header_byte() -> None:
    radio = running()
    radio.from_host(data(b"\xc0\xdbhello"), 0.0)
    assert radio.wants_channel(0.0)
    (frame,) = send_all(radio, 1.0)
    assert frame[1:] == b"\xc0\xdbhello"
    assert frame[0] & 0x0F == 0
    assert not radio.wants_channel(1.0)


@pytest.mark.parametrize("size", [1, 254, 255, FULL_PACKET, PACKET_BYTES_MAX])
def test_packets_of_any_size_arrive_at_another(size: int) -> None:
    radio, other = running(), running()
    packet = random.Random(size).randbytes(size)
    radio.from_host(data(packet), 0.0)
    burst = send_all(radio, 1.0)
    assert len(burst) == (1 if size <= 254 else 2)
    assert max(map(len, burst)) <= 255
    *quiet, told = [other.hear(frame, -80.0, -2.5) for frame in burst]
    assert quiet == [b""] * (len(burst) - 1)
    assert frames(told) == [
        (Command.STAT_RSSI, bytes([157 - 80])),
        (Command.STAT_SNR, bytes([0xF6])),  # -2.5 dB in quarters
        (Command.DATA, packet),
    ]
    assert other.from_host(bytes.fromhex("c02100c0"), 2.0).hex() == "c02100000001c0"
    assert radio.from_host(bytes.fromhex("c02200c0"), 2.0).hex() == "c02200000001c0"


def test_half_a_packet_is_dropped_and_counted() -> None:
    """Whatever comes next: a whole packet, or the first half of another."""
    radio, other = device(), running()
    radio.from_host(SET_UP + ON + data(b"a" * 400) + data(b"b" * 400) + data(b"c"), 0.0)
    first_a, _, first_b, second_b, only_c = send_all(radio, 1.0)
    assert first_a[0] != first_b[0]  # by the seed; the same nibble would join wrong halves
    heard = [other.hear(each, -80, 5) for each in (first_a, first_b, second_b)]
    assert [frames(each)[-1:] for each in heard] == [[], [], [(Command.DATA, b"b" * 400)]]
    other.hear(first_a, -80, 5)
    assert frames(other.hear(only_c, -80, 5))[-1] == (Command.DATA, b"c")
    assert other.dropped == {Dropped.HALF_PACKET: 2}


def test_the_second_half_alone_waits_like_a_first_one() -> None:
    """Nothing tells them apart but what follows."""
    other = running()
    assert other.hear(b"\x31second", -80, 5) == b""
    assert frames(other.hear(b"\x31first of the next", -80, 5))[-1][0] == Command.DATA


@pytest.mark.parametrize("frame", [b"", b"\x10"])
def test_an_empty_frame_is_no_packet(frame: bytes) -> None:
    other = running()
    assert other.hear(frame, -80, 5) == b""
    assert other.dropped == {Dropped.EMPTY_FRAME: 1}


def test_the_queue_holds_twelve_full_packets() -> None:
    """6,144 bytes: of 24 full packets written at once, 12 go out."""
    radio = running()
    for number in range(24):
        radio.from_host(data(bytes([number]) * FULL_PACKET), 0.0)
    assert radio.dropped == {Dropped.QUEUE_FULL: 12}
    assert QUEUE_BYTES_MAX // FULL_PACKET == 12
    burst = send_all(radio, 30.0)
    assert [frame[1] for frame in burst] == sorted([*range(12)] * 2)


def test_the_queue_holds_two_hundred_packets() -> None:
    radio = running()
    radio.from_host(data(b"x") * (QUEUE_PACKETS_MAX + 1), 0.0)
    assert radio.dropped == {Dropped.QUEUE_FULL: 1}
    assert radio.from_host(bytes.fromhex("c00f00c0"), 0.0).hex() == "c00f00c0"  # not ready
    assert len(send_all(radio, 60.0)) == QUEUE_PACKETS_MAX
    assert radio.from_host(bytes.fromhex("c00f00c0"), 60.0).hex() == "c00f01c0"


def test_room_is_free_when_the_burst_is_over() -> None:
    radio = running()
    radio.from_host(data(b"a" * 500) * 12, 0.0)
    radio.take_burst()
    radio.from_host(data(b"b" * 500), 1.0)
    assert radio.dropped == {Dropped.QUEUE_FULL: 1}
    assert not radio.wants_channel(1.0)
    radio.burst_over(17.0)
    radio.from_host(data(b"c" * 500), 17.0)
    assert radio.wants_channel(17.0)


def test_a_fast_radio_sends_one_packet_at_a_time() -> None:
    radio = running(bytes.fromhex("c0020007a120c0 c00407c0"))  # 500 kHz, SF7
    radio.from_host(data(b"one") + data(b"two"), 0.0)
    assert [frame[1:] for frame in send_all(radio, 1.0)] == [b"one"]
    assert [frame[1:] for frame in send_all(radio, 2.0)] == [b"two"]


def test_packets_wait_while_the_radio_is_off() -> None:
    radio = device()
    radio.from_host(SET_UP + data(b"early"), 0.0)
    assert not radio.wants_channel(0.0)
    radio.from_host(ON, 1.0)
    assert radio.wants_channel(1.0)
    radio.from_host(OFF, 2.0)
    assert not radio.wants_channel(2.0)
    assert radio.settings is None


def test_statistics_once_a_second() -> None:
    radio = running()
    assert radio.next_tick_s == 1.0
    assert radio.tick(0.9) == b""
    quiet = radio.tick(1.0)
    # nothing sent, nothing heard; strength and floor -117 dBm; no interference
    assert quiet.hex() == "c025" + "00" * 8 + "2828ff" + "c0"
    assert radio.tick(1.0) == b""
    assert radio.next_tick_s == 2.0


def test_statistics_tell_airtime_and_load_in_hundredths_of_a_percent() -> None:
    radio = running()
    radio.frame_sent(1.5, 3.0)  # 10 % of 15 s, 0.0417 % of an hour
    radio.carrier(3.0, 4.5)  # 20 % of 7.5 s, and the 10 %
    told = dict(frames(radio.tick(4.5)))
    values = [int.from_bytes(told[Command.STAT_CHTM][at : at + 2], "big") for at in (0, 2, 4, 6)]
    assert values == [1000, 4, 3000, round(0.3 / 480 * 10_000)]
    assert told[Command.STAT_CSMA] == bytes([2, 15, 29])  # told once, when the band changes
    assert Command.STAT_CSMA not in dict(frames(radio.tick(5.5)))


def test_a_radio_that_is_off_tells_nothing() -> None:
    radio = running()
    radio.from_host(OFF, 0.5)
    assert radio.tick(100.0) == b""
    assert radio.next_tick_s == float("inf")


@pytest.mark.parametrize(
    ("limit", "locked_until_s"),
    [
        ("c00b0064c0", 15.0),  # 1 % of 15 s
        ("c00c0001c0", 3600.0),  # 0.01 % of an hour
    ],
)
def test_airtime_limits_stop_the_device(limit: str, locked_until_s: float) -> None:
    radio = running(bytes.fromhex(limit))
    radio.from_host(data(b"one"), 0.0)
    assert radio.wants_channel(0.0)
    radio.take_burst()
    radio.frame_sent(0.4, 1.0)
    radio.burst_over(1.0)
    radio.from_host(data(b"two"), 1.0)
    assert radio.is_limited(1.0)
    assert not radio.wants_channel(locked_until_s - 0.1)
    assert radio.wants_channel(locked_until_s)


def test_a_radio_switched_off_and_on_has_forgotten_its_hour() -> None:
    """As in the firmware; whoever keeps the law must not count on the device alone."""
    radio = running(bytes.fromhex("c00c0001c0"))
    radio.frame_sent(0.4, 1.0)
    assert radio.is_limited(2.0)
    radio.from_host(OFF + ON, 2.0)
    assert not radio.is_limited(2.0)


def test_a_limit_does_not_stop_a_burst_that_runs() -> None:
    """As in the firmware: one burst of a full queue can overshoot by its own length."""
    radio = running(bytes.fromhex("c00b0001c0"))
    radio.from_host(data(b"x" * 500) * 12, 0.0)
    assert len(send_all(radio, 17.0)) == 24


def test_the_window_grows_with_what_was_sent() -> None:
    radio = running()
    assert radio.window(0.0).high == 14
    radio.frame_sent(12.0, 12.0)
    assert radio.window(12.0).low == 45


def test_leaving_is_noted_until_somebody_asks_again() -> None:
    radio = device()
    radio.from_host(bytes.fromhex("c00affc0"), 0.0)
    assert radio.host_left
    radio.from_host(bytes.fromhex("c00873c0"), 0.0)
    assert not radio.host_left


def test_a_reset_forgets_all_but_the_counts() -> None:
    radio = running()
    radio.from_host(data(b"lost") + b"\xc0\x00half a fr", 0.0)
    assert radio.from_host(b"\xc0" + bytes.fromhex("c055f8c0"), 1.0)[-4:].hex() == "c055f8c0"
    assert radio.settings is None
    assert radio.dropped[Dropped.POWER_LOST] == 2
    assert radio.from_host(bytes.fromhex("c00701c0"), 1.0).hex() == "c00701c0"  # nothing is set


def test_a_burst_cut_off_is_counted() -> None:
    radio = running()
    radio.from_host(data(b"one") + data(b"two"), 0.0)
    radio.take_burst()
    radio.burst_cut()
    radio.burst_cut()
    assert radio.dropped == {Dropped.CUT_OFF: 2}


def test_errors_are_reported_as_the_driver_reads_them() -> None:
    assert device().error(DeviceError.TXFAILED).hex() == "c09002c0"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("c0fe00c0", Dropped.UNKNOWN_COMMAND),
        ("c09001c0", Dropped.UNKNOWN_COMMAND),  # only a device reports errors
        ("c00133b06cc0", Dropped.BAD_LENGTH),
        ("c0040807c0", Dropped.BAD_LENGTH),
        ("c000c0", Dropped.BAD_LENGTH),  # a packet of no bytes
        ("c000dbdbc0", KissFault.BAD_ESCAPE),
        ("c000" + "00" * 509 + "c0", KissFault.TOO_LONG),
    ],
)
def test_bad_bytes_are_dropped_by_name(said: str, reason: str) -> None:
    radio = running()
    assert radio.from_host(bytes.fromhex(said), 1.0) == b""
    assert radio.dropped == {reason: 1}


def test_noise_before_the_first_frame_is_counted() -> None:
    radio = device()
    assert radio.from_host(b"login: " + bytes.fromhex("c00873c0"), 0.0).hex() == "c00846c0"
    assert radio.dropped == {KissFault.NOISE: 1}


junk = st.lists(
    st.one_of(
        st.binary(max_size=700),
        st.builds(encode, st.sampled_from(Command), st.binary(max_size=12)),
        st.sampled_from([SET_UP, ON, OFF]),
    ),
    max_size=30,
)


@given(junk)
def test_hostile_hosts_are_survived_within_bounds(pieces: list[bytes]) -> None:
    radio = device()
    for second, piece in enumerate(pieces):
        answered = radio.from_host(piece, second)
        assert len(answered) <= 40 * (len(piece) + 1)
        radio.tick(second)
        if radio.wants_channel(second):
            for frame in send_all(radio, second):
                assert 1 < len(frame) <= 255
    assert sum(map(len, radio._queue)) <= QUEUE_BYTES_MAX


@given(st.lists(st.binary(max_size=255), max_size=50))
def test_any_frames_from_the_air_are_survived(heard: list[bytes]) -> None:
    radio = running()
    for frame in heard:
        for command, body in frames(radio.hear(frame, -200.0, -99.0)):
            assert command != Command.DATA or 0 < len(body) <= PACKET_BYTES_MAX
