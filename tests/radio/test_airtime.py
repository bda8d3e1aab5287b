"""Time on air against figures measured and computed elsewhere, and laws it must keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.radio.airtime import (
    BANDWIDTHS_HZ,
    FRAME_BYTES_MAX,
    LoraSettings,
    frame_sizes,
    nearest_bandwidth,
)
from ciris_mesh.radio.kiss import PACKET_BYTES_MAX


def lora(sf: int, bandwidth_hz: int = 125_000, cr: int = 5) -> LoraSettings:
    return LoraSettings(868_100_000, bandwidth_hz, sf, cr)


settings = st.builds(lora, st.integers(5, 12), st.sampled_from(BANDWIDTHS_HZ), st.integers(5, 8))


@pytest.mark.parametrize(
    ("packet_bytes", "seconds"),
    [
        (43, 0.185),  # smallest broadcast: 24 B of payload
        (83, 0.287),  # smallest link packet
        (99, 0.328),
        (191, 0.564),  # announce with 24 B
        (483, 1.38),  # two frames
        (499, 1.424),  # fullest link packet
    ],
)
def test_sf8_figures(packet_bytes: int, seconds: float) -> None:
    """The figures the radio profile was planned with, at 125 kHz and 4:5."""
    places = len(str(seconds).partition(".")[2])
    assert round(lora(8).packet_s(packet_bytes), places) == seconds


def test_a_link_setup_at_sf8() -> None:
    assert round(sum(map(lora(8).packet_s, (86, 118, 83))), 2) == 0.96


@pytest.mark.parametrize(
    ("settings", "bps"),
    [
        (lora(7), 4662),
        (lora(8), 2683),
        (lora(9), 1497),
        (lora(9, cr=7), 1100),
        (lora(10), 816),
        (lora(12), 208),
    ],
)
def test_what_a_full_broadcast_carries(settings: LoraSettings, bps: int) -> None:
    """464 bytes of payload in a packet of 483: preamble of 24 symbols at SF7, 18 elsewhere."""
    assert round(464 * 8 / settings.packet_s(483)) == bps


@pytest.mark.parametrize(
    ("settings", "bps"),
    [(lora(7), 5468.75), (lora(8), 3125), (lora(9), 1757.8125), (lora(7, 500_000), 21_875)],
)
def test_bitrate_as_reticulum_reports_it(settings: LoraSettings, bps: float) -> None:
    assert settings.bitrate_bps == bps


@pytest.mark.parametrize(
    ("settings", "slot_ms", "preamble"),
    [
        (lora(5, 500_000), 6, 94),  # 62.5 kbit/s: the fast kind
        (lora(7), 24, 24),  # 12 symbols are 12.3 ms: the least is 24 ms
        (lora(8), 24.576, 18),
        (lora(9), 49.152, 18),
        (lora(12), 100, 18),  # 12 symbols are 393 ms: the most is 100 ms
    ],
)
def test_channel_access_times(settings: LoraSettings, slot_ms: float, preamble: int) -> None:
    assert settings.slot_s * 1000 == pytest.approx(slot_ms)
    assert settings.difs_s == 2 * settings.slot_s
    assert settings.preamble_symbols == preamble


def test_low_data_rate_optimisation_starts_at_16_ms() -> None:
    """SF11 at 125 kHz has symbols of 16.4 ms, at 250 kHz of 8.2 ms: more than half stays."""
    slow, fast = lora(11), lora(11, 250_000)
    assert slow.frame_s(255) > 2 * fast.frame_s(255)
    assert lora(10).frame_s(255) == 2 * lora(10, 250_000).frame_s(255)


@pytest.mark.parametrize(
    ("settings", "whole"), [(lora(7), True), (lora(7, 250_000), True), (lora(7, 500_000), False)]
)
def test_fast_radios_give_the_channel_back_after_each_packet(
    settings: LoraSettings, *, whole: bool
) -> None:
    assert settings.sends_whole_queue is whole


@given(settings, st.integers(1, FRAME_BYTES_MAX - 1))
def test_more_bytes_never_take_less_time(each: LoraSettings, size: int) -> None:
    assert 0 < each.frame_s(size) <= each.frame_s(size + 1)


@given(st.integers(1, PACKET_BYTES_MAX))
def test_frames_carry_the_whole_packet(size: int) -> None:
    sizes = frame_sizes(size)
    assert sum(sizes) == size + len(sizes)
    assert max(sizes) <= FRAME_BYTES_MAX
    assert len(sizes) == (2 if size > 254 else 1)


@pytest.mark.parametrize("size", [0, -1, PACKET_BYTES_MAX + 1])
def test_there_are_no_other_packets(size: int) -> None:
    with pytest.raises(ValueError, match="no packet"):
        lora(8).packet_s(size)


@pytest.mark.parametrize("size", [0, 256])
def test_there_are_no_other_frames(size: int) -> None:
    with pytest.raises(ValueError, match="no LoRa frame"):
        lora(8).frame_s(size)


@pytest.mark.parametrize(
    ("sf", "bandwidth_hz", "cr"), [(4, 125_000, 5), (13, 125_000, 5), (8, 1, 5), (8, 125_000, 9)]
)
def test_there_are_no_other_settings(sf: int, bandwidth_hz: int, cr: int) -> None:
    with pytest.raises(ValueError, match="none"):
        lora(sf, bandwidth_hz, cr)


@pytest.mark.parametrize(
    ("wanted", "got"), [(125_000, 125_000), (100_000, 125_000), (1, 7_810), (900_000, 500_000)]
)
def test_bandwidths_are_rounded_up(wanted: int, got: int) -> None:
    assert nearest_bandwidth(wanted) == got
