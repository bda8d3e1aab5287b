"""How long LoRa takes to say something, the way an RNode says it. Pure.

Time on air after Semtech's formula (SX1276 data sheet 4.1.1.6, SX126x data sheet 6.1.4): explicit
header, CRC, low data rate optimisation where a symbol is longer than 16 ms. The rest is as RNode
firmware 1.86 does it: a header byte before each frame of at most 255 bytes, a packet over 254
bytes in two frames, a preamble of 18 symbols or 24 ms, whichever is longer, and channel access in
slots of 12 symbols.

The firmware's own account rounds differently and comes out 2 % lower for full frames and 13 % for
the shortest (SF8); what is counted here is the whole time on air, because the law counts that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

#: One LoRa frame; its length field is one byte.
FRAME_BYTES_MAX: Final = 255
#: The RNode puts this before each frame: a sequence nibble and the flag "in two parts".
HEADER_BYTES: Final = 1

SF_MIN: Final = 5
SF_MAX: Final = 12
CR_MIN: Final = 5
CR_MAX: Final = 8
#: What an SX126x can be set to. Others are rounded up by it.
BANDWIDTHS_HZ: Final = (
    7_810, 10_420, 15_630, 20_830, 31_250, 41_670, 62_500, 125_000, 250_000, 500_000,
)  # fmt: skip
#: Thermal noise in 125 kHz and a receiver's 6 dB.
NOISE_FLOOR_DBM: Final = -117

_PREAMBLE_SYMBOLS_MIN: Final = 18
_PREAMBLE_S: Final = 0.024
#: Above this bitrate preamble and slot get shorter, see _FAST_DELTA_S.
_FAST_BPS: Final = 30_000
_FAST_DELTA_S: Final = 0.018
_SLOT_SYMBOLS: Final = 12
_SLOT_S_MIN: Final = 0.024
_SLOT_S_MAX: Final = 0.1
#: Up to this bitrate the firmware empties its whole queue once it has the channel; above it sends
#: one packet at a time.
_BURST_BPS_MAX: Final = 14_000
#: A symbol longer than this needs low data rate optimisation.
_LONG_SYMBOL_S: Final = 0.016
_CRC_BITS: Final = 16
_HEADER_BITS: Final = 20


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """What two radios must share to hear each other; the coding rate travels with each frame.

    Attributes:
        frequency_hz: of the channel's middle.
        bandwidth_hz: one of BANDWIDTHS_HZ.
        sf: spreading factor, 5 to 12.
        cr: 5 to 8, for coding rates 4:5 to 4:8.

    Raises:
        ValueError: a number is none LoRa has.
    """

    frequency_hz: int
    bandwidth_hz: int
    sf: int
    cr: int

    def __post_init__(self) -> None:
        if not SF_MIN <= self.sf <= SF_MAX:
            raise ValueError(f"spreading factor {self.sf} is none from {SF_MIN} to {SF_MAX}")
        if not CR_MIN <= self.cr <= CR_MAX:
            raise ValueError(f"coding rate {self.cr} is none from {CR_MIN} to {CR_MAX}")
        if self.bandwidth_hz not in BANDWIDTHS_HZ:
            raise ValueError(f"bandwidth {self.bandwidth_hz} Hz is none LoRa has")

    @property
    def symbol_s(self) -> float:
        """Seconds one symbol takes."""
        return (1 << self.sf) / self.bandwidth_hz

    @property
    def bitrate_bps(self) -> float:
        """Bits a second while the body of a frame is sent, as Reticulum counts them."""
        return self.sf * 4 * self.bandwidth_hz / (self.cr << self.sf)

    @property
    def preamble_symbols(self) -> int:
        """Symbols an RNode sends before each frame."""
        wanted_s = _PREAMBLE_S - self._fast_delta_s
        return max(_PREAMBLE_SYMBOLS_MIN, math.ceil(wanted_s / self.symbol_s))

    @property
    def slot_s(self) -> float:
        """Length of a slot in which an RNode waits for the channel."""
        slot_s = min(_SLOT_SYMBOLS * self.symbol_s, _SLOT_S_MAX)
        return slot_s if slot_s >= _SLOT_S_MIN else _SLOT_S_MIN - self._fast_delta_s

    @property
    def difs_s(self) -> float:
        """How long the channel must be free before the slots are counted."""
        return 2 * self.slot_s

    @property
    def sends_whole_queue(self) -> bool:
        """Whether an RNode that has the channel keeps it until its queue is empty."""
        return self.bitrate_bps <= _BURST_BPS_MAX

    @property
    def _fast_delta_s(self) -> float:
        return _FAST_DELTA_S if self.bitrate_bps > _FAST_BPS else 0.0

    def frame_s(self, size_bytes: int) -> float:
        """Time on air of one LoRa frame of `size_bytes`, the RNode's header byte counted in.

        Raises:
            ValueError: no frame has that size.
        """
        if not 0 < size_bytes <= FRAME_BYTES_MAX:
            raise ValueError(f"{size_bytes} bytes are no LoRa frame")
        bits = 8 * size_bytes + _CRC_BITS + _HEADER_BITS - 4 * self.sf
        if self.sf < 7:
            extra_symbols, bits_a_group = 6.25, 4 * self.sf
        else:
            slow = 2 if self.symbol_s > _LONG_SYMBOL_S else 0
            extra_symbols, bits_a_group = 4.25, 4 * (self.sf - slow)
            bits += 8
        body = 8 + math.ceil(max(bits, 0) / bits_a_group) * self.cr
        return (self.preamble_symbols + extra_symbols + body) * self.symbol_s

    def packet_s(self, size_bytes: int) -> float:
        """Time on air of one packet as Reticulum hands it over, in one frame or two.

        Raises:
            ValueError: an RNode sends no packet of that size.
        """
        return math.fsum(map(self.frame_s, frame_sizes(size_bytes)))


def frame_sizes(packet_bytes: int) -> tuple[int, ...]:
    """Sizes of the LoRa frames that carry a packet, header bytes counted in.

    Raises:
        ValueError: an RNode sends no packet of that size.
    """
    room = FRAME_BYTES_MAX - HEADER_BYTES
    if not 0 < packet_bytes <= 2 * room:
        raise ValueError(f"{packet_bytes} bytes are no packet of an RNode")
    if packet_bytes <= room:
        return (packet_bytes + HEADER_BYTES,)
    return (FRAME_BYTES_MAX, packet_bytes - room + HEADER_BYTES)


def nearest_bandwidth(wanted_hz: int) -> int:
    """The bandwidth a chip uses when told `wanted_hz`: the next it has, or its widest."""
    return next((each for each in BANDWIDTHS_HZ if each >= wanted_hz), BANDWIDTHS_HZ[-1])
