"""What the law lets a LoRa radio do where, as far as it is a number. Pure; no legal advice.

CEPT ERC/REC 70-03 annex 1 for 433 and 863-870 MHz, FCC 15.247 and the Australian LIPD class
licence for 902-928 MHz. Only bands that RNodes are commonly set to are here; of others nothing is
said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ciris_mesh.radio.airtime import FRAME_BYTES_MAX, LoraSettings, frame_sizes

#: Of an RNode, in bytes, and what a full link packet of Reticulum takes of it.
_QUEUE_BYTES: Final = 6_144
_PACKET_BYTES: Final = 499
#: The firmware's account of airtime against the true one, at worst: the shortest packet Reticulum
#: sends, at SF8.
_COUNTED_OF_TRUE: Final = 0.87
_HOUR_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Band:
    """One part of the spectrum.

    Attributes:
        duty: share of each hour one radio may send; None when the law has none.
        bandwidth_hz_min: a radio that does not hop must be at least this wide; 0 for any.
        dwell_s: longest time on air of one frame; infinity for any.
    """

    name: str
    low_hz: int
    high_hz: int
    duty: float | None = None
    bandwidth_hz_min: int = 0
    dwell_s: float = float("inf")

    def holds(self, settings: LoraSettings) -> bool:
        """Whether the whole channel lies within."""
        half_hz = settings.bandwidth_hz / 2
        low, high = settings.frequency_hz - half_hz, settings.frequency_hz + half_hz
        return self.low_hz <= low and high <= self.high_hz


BANDS: Final = (
    Band("433 MHz", 433_050_000, 434_790_000, duty=0.10),
    Band("863-865 MHz", 863_000_000, 865_000_000, duty=0.001),
    Band("865-868 MHz", 865_000_000, 868_000_000, duty=0.01),
    Band("868.0-868.6 MHz", 868_000_000, 868_600_000, duty=0.01),
    Band("868.7-869.2 MHz", 868_700_000, 869_200_000, duty=0.001),
    Band("869.4-869.65 MHz", 869_400_000, 869_650_000, duty=0.10),
    Band("869.7-870 MHz", 869_700_000, 870_000_000, duty=0.01),
    Band("902-928 MHz", 902_000_000, 928_000_000, bandwidth_hz_min=500_000, dwell_s=0.4),
)
#: Here the bands above are all there is: a channel between two of them is outside.
_COVERED: Final = (
    Band("433 MHz", 430_000_000, 440_000_000),
    Band("863-870 MHz", 863_000_000, 870_000_000),
    Band("902-928 MHz", 902_000_000, 928_000_000),
)


def band_of(settings: LoraSettings) -> Band | None:
    """The band a channel lies in; None when it lies in none, or reaches over an edge."""
    return next((each for each in BANDS if each.holds(settings)), None)


def is_outside(settings: LoraSettings) -> bool:
    """Whether a channel lies where only parts may be used, and in none of them."""
    near = any(each.low_hz <= settings.frequency_hz <= each.high_hz for each in _COVERED)
    return near and band_of(settings) is None


def queue_s(settings: LoraSettings) -> float:
    """Time on air of a full queue of an RNode: what it may send after a limit was reached."""
    whole, rest = divmod(_QUEUE_BYTES, _PACKET_BYTES)
    return whole * settings.packet_s(_PACKET_BYTES) + settings.packet_s(rest)


def safe_limit(settings: LoraSettings, duty: float) -> float:
    """The largest `airtime_limit_long`, as a share, with which an RNode surely keeps `duty`.

    It looks at the limit before it takes the channel and not while it holds it, and counts less
    than is true. 0 when a full queue alone exceeds the duty.
    """
    burst_s = queue_s(settings) if settings.sends_whole_queue else settings.packet_s(_PACKET_BYTES)
    return max(duty - burst_s / _HOUR_S, 0.0) * _COUNTED_OF_TRUE


def longest_frame_s(settings: LoraSettings) -> float:
    """Time on air of the longest frame Reticulum makes an RNode send."""
    assert frame_sizes(_PACKET_BYTES)[0] == FRAME_BYTES_MAX
    return settings.frame_s(FRAME_BYTES_MAX)
