"""What bytes cost on one radio interface, in seconds on air. The one place that knows.

Packets as Reticulum 1.5.7 makes them, and frames as `transport.paced` puts them into packets; seen
on emulated radios. Where the settings of the radio are known time on air is exact; where only its
bitrate is (another program's Reticulum holds it, or it is no LoRa) it is taken from above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ciris_mesh.protocol.radioplan import Cost
from ciris_mesh.radio.airtime import FRAME_BYTES_MAX, HEADER_BYTES, LoraSettings
from ciris_mesh.transport import carriers
from ciris_mesh.transport.base import InterfaceRow
from ciris_mesh.transport.paced import HEAD_BYTES
from ciris_mesh.transport.sealing import SEAL_BYTES

#: A word: that something came, and what it is answered with; or what of it did not come.
_WORD_BYTES: Final = carriers.PACKED_OVERHEAD_BYTES + 16
#: A part of a frame that takes several packets, and what of it is no content.
_PART_BYTES: Final = carriers.PACKET_BYTES_MAX
_PART_BODY_BYTES: Final = carriers.PART_BYTES
#: Who dials: request, round trip, identity; and the end of the link.
_DIAL: Final = (86, 83, 211, 99)
#: A comparison of all kinds.
_COMPARISON_BYTES: Final = 260
#: A sketch of the usual size, or what is wanted.
_WANTED_BYTES: Final = 112
#: The shortest packet there is, a keepalive. About the dearest byte: LoRa sends whole symbols, so
#: one byte more can cost more than its part.
_SHORTEST_BYTES: Final = 20
#: Interfaces whose dearest byte is kept: a node has one or two.
_PRICES_MAX: Final = 64
#: Parts that are lost go out again; so much more is reserved. What it really was, reports tell.
_REPEATS: Final = 0.1
#: What preamble and header of a LoRa frame take, as bytes at the interface's bitrate, from above.
_FRAME_OVERHEAD_BYTES: Final = 32
#: Views are compared over a radio no more often than this when nothing is new.
RADIO_CADENCE_S: Final = 900.0
#: Of the air there is such comparisons take so much at most: half for asking, half for answering.
_IDLE_SHARE: Final = 0.1
#: SF12 in 125 kHz: whoever does not say how fast it is, is that slow.
_SLOWEST_BPS: Final = 293


@dataclass(frozen=True, slots=True)
class Sent:
    """What one side sends: seconds on air, and bytes as the interface counts them."""

    airtime_s: float
    size_bytes: int

    def __add__(self, other: Sent) -> Sent:
        return Sent(self.airtime_s + other.airtime_s, self.size_bytes + other.size_bytes)


NOTHING: Final = Sent(0.0, 0)


@dataclass(frozen=True, slots=True)
class OnAir:
    """Prices of one interface.

    Args:
        lora: None when only `bitrate_bps` is known.
    """

    lora: LoraSettings | None
    bitrate_bps: float

    def packet_s(self, size_bytes: int) -> float:
        """Time on air of one packet."""
        if self.lora is not None:
            return self.lora.packet_s(size_bytes)
        frames = math.ceil(size_bytes / (FRAME_BYTES_MAX - HEADER_BYTES))
        return 8 * (size_bytes + frames * _FRAME_OVERHEAD_BYTES) / self.bitrate_bps

    @property
    def byte_s(self) -> float:
        """The dearest byte there is. A count of bytes does not say in how many packets they went,
        so what an interface counts is taken at this price: never too little, twice it at most.
        """
        return _dearest_byte_s(self)

    def counted_s(self, size_bytes: int) -> float:
        """Seconds on air that so many counted bytes were, at most."""
        return size_bytes * self.byte_s

    @property
    def frame_s(self) -> float:
        """The longest single frame: what a limit of dwell is about."""
        if self.lora is not None:
            return self.lora.frame_s(FRAME_BYTES_MAX)
        return self.packet_s(FRAME_BYTES_MAX - HEADER_BYTES)

    def packets(self, *sizes: int) -> Sent:
        """Some packets."""
        return Sent(math.fsum(map(self.packet_s, sizes)), sum(sizes))

    def frame(self, frame: bytes) -> Sent:
        """A frame as `transport.carriers` sends it: the part of the side that sends it."""
        if len(frame) + HEAD_BYTES <= carriers.PACKED_BYTES_MAX:
            return self.packets(_packet(HEAD_BYTES + len(frame)))
        return self.packets(*_parts(len(carriers.pack(frame)) + SEAL_BYTES))

    def dial(self) -> Sent:
        """A link, from its request to its end: the part of the side that dials."""
        return self.packets(*_DIAL)

    def comparison(self) -> Sent:
        """Comparing views: the part of the side that asks."""
        return self.packets(_packet(HEAD_BYTES + _COMPARISON_BYTES))

    def cadence_s(self, peers: int, limit_s: float | None) -> float:
        """How seldom a view is compared with each of so many peers when nothing is new.

        Args:
            limit_s: seconds of each hour there are; None for no limit. Ten peers of a gateway,
                asked every quarter of an hour, would leave none at 1 % for a record.
        """
        if limit_s is None:
            return RADIO_CADENCE_S
        asked_s = 2 * peers * (self.dial() + self.comparison()).airtime_s  # each takes a link
        return max(RADIO_CADENCE_S, 3_600.0 * asked_s / (_IDLE_SHARE * limit_s))

    def exchange(self) -> Sent:
        """What follows a comparison besides records: a sketch or what is wanted, a word after each
        batch, the closing comparison, and what is said of parts that did not come.
        """
        return self.comparison() + self.packets(_packet(_WANTED_BYTES), *(_WORD_BYTES,) * 4)

    def cost(self) -> Cost:
        """What a batch of records takes, for the planner: dialling and comparing first."""
        setup = self.dial() + self.comparison()
        byte_s = self.packet_s(_PART_BYTES) / _PART_BODY_BYTES
        # The last part is a packet of its own, however short, and each part begins anew.
        rounding_s = self.packet_s(_PART_BYTES - _PART_BODY_BYTES + SEAL_BYTES)
        return Cost(setup.airtime_s + rounding_s, byte_s * (1 + _REPEATS), self.frame_s)


def on_air(row: InterfaceRow) -> OnAir:
    """The prices of an interface. Settings that LoRa does not have count as not known."""
    bitrate_bps = row.bitrate_bps if row.bitrate_bps else _SLOWEST_BPS
    if row.lora is None:
        return OnAir(None, bitrate_bps)
    try:
        lora = LoraSettings(row.lora.frequency_hz, row.lora.bandwidth_hz, row.lora.sf, row.lora.cr)
    except ValueError:
        return OnAir(None, bitrate_bps)
    return OnAir(lora, lora.bitrate_bps)


def _packet(content_bytes: int) -> int:
    """Size of a sealed packet."""
    return carriers.PACKED_OVERHEAD_BYTES + content_bytes


def _parts(size_bytes: int) -> list[int]:
    """Packets of a sealed frame of that size; a frame of 60 kB and more would be a Resource."""
    whole, rest = divmod(size_bytes, _PART_BODY_BYTES)
    head = _PART_BYTES - _PART_BODY_BYTES
    return [_PART_BYTES] * whole + ([rest + head] if rest else [])


@lru_cache(maxsize=_PRICES_MAX)
def _dearest_byte_s(price: OnAir) -> float:
    sizes = range(_SHORTEST_BYTES, carriers.PACKET_BYTES_MAX + 1)
    return max(price.packet_s(size) / size for size in sizes)
