"""An RNode as its host and its channel see it: a state machine without clock or port. Pure.

    host  --bytes-->   from_host   --> bytes to host          detect, settings, packets to send
    clock --seconds--> tick        --> bytes to host          statistics, once a period
    air   --frame-->   hear        --> bytes to host          a packet, with RSSI and SNR before it
    air   <--frames--  take_burst, then frame_sent for each, then burst_over

Behaviour as in RNode firmware 1.86 on an ESP32 without a display: a queue of 6,144 bytes or 200
packets, READY only when asked, airtime limits looked at before the channel is taken and not while
it is held. Where that firmware keeps a part of what does not fit (bytes over a full queue, an
overlong packet), this drops the packet whole and counts it: less is lost silently.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Final

from ciris_mesh.radio import kiss
from ciris_mesh.radio.airtime import (
    CR_MAX,
    CR_MIN,
    FRAME_BYTES_MAX,
    HEADER_BYTES,
    NOISE_FLOOR_DBM,
    SF_MAX,
    SF_MIN,
    LoraSettings,
    nearest_bandwidth,
)
from ciris_mesh.radio.chance import Randomness
from ciris_mesh.radio.kiss import Command, DeviceError, KissDecoder, KissFault, encode
from ciris_mesh.radio.meter import AirtimeMeter, ContentionWindow, contention_window

FIRMWARE: Final = (1, 86)
QUEUE_BYTES_MAX: Final = 6_144
QUEUE_PACKETS_MAX: Final = 200
#: What an SX1262 without amplifier can send.
TXPOWER_DBM_MAX: Final = 22
#: Statistics to the host.
STATS_PERIOD_S: Final = 1.0

_SPLIT_FLAG: Final = 0x01
_UNSET_TXPOWER: Final = 0xFF
#: Airtime limits cross the line as hundredths of a percent.
_LIMIT_UNIT: Final = 10_000
_NO_INTERFERENCE: Final = 0xFF
_FROM_HOST: Final = {int(command): command for command in kiss.HOST_PAYLOAD_BYTES}


class Dropped(StrEnum):
    """Why a device dropped something; with `KissFault` all there is."""

    UNKNOWN_COMMAND = "unknown_command"
    BAD_LENGTH = "bad_length"  # a command with more or fewer bytes than it takes
    QUEUE_FULL = "queue_full"
    HALF_PACKET = "half_packet"  # one of two frames, the other never came
    EMPTY_FRAME = "empty_frame"  # heard, and nothing in it
    POWER_LOST = "power_lost"  # a packet still queued when the device lost power
    CUT_OFF = "cut_off"  # a packet on its way when the radio was switched off or retuned


class Device:
    """One emulated RNode. Times are seconds of the channel's clock, which never goes back.

    Args:
        randomness: draws the sequence nibble of each packet.
        stats_period_s: how often statistics are told; a sped-up channel wants it longer.

    Attributes:
        dropped: how often what was dropped, by `Dropped` and `KissFault`.
        host_left: the host said it is going.
    """

    def __init__(self, randomness: Randomness, stats_period_s: float = STATS_PERIOD_S) -> None:
        self._random = randomness
        self._stats_period_s = stats_period_s
        self.dropped: Counter[str] = Counter()
        self._answers: dict[Command, Callable[[bytes, float], bytes]] = {
            Command.FREQUENCY: self._set_frequency,
            Command.BANDWIDTH: self._set_bandwidth,
            Command.TXPOWER: self._set_txpower,
            Command.SF: self._set_sf,
            Command.CR: self._set_cr,
            Command.RADIO_STATE: self._set_radio,
            Command.RADIO_LOCK: lambda _body, _now_s: encode(
                Command.RADIO_LOCK, bytes([self._locked])
            ),
            Command.DETECT: self._detect,
            Command.LEAVE: self._leave,
            Command.ST_ALOCK: self._set_short_limit,
            Command.LT_ALOCK: self._set_long_limit,
            Command.READY: lambda _body, _now_s: encode(
                Command.READY, bytes([not self._queue_is_full(1)])
            ),
            Command.STAT_RX: lambda _body, _now_s: encode(
                Command.STAT_RX, self._packets_heard.to_bytes(4, "big")
            ),
            Command.STAT_TX: lambda _body, _now_s: encode(
                Command.STAT_TX, self._packets_sent.to_bytes(4, "big")
            ),
            Command.STAT_RSSI: lambda _body, _now_s: encode(
                Command.STAT_RSSI, _rssi_byte(self._last_rssi_dbm)
            ),
            Command.RANDOM: lambda _body, _now_s: encode(
                Command.RANDOM, bytes([self._random.randrange(256)])
            ),
            Command.PLATFORM: lambda _body, _now_s: encode(
                Command.PLATFORM, bytes([kiss.PLATFORM_ESP32])
            ),
            Command.MCU: lambda _body, _now_s: encode(Command.MCU, bytes([kiss.MCU_ESP32])),
            Command.FW_VERSION: lambda _body, _now_s: encode(Command.FW_VERSION, bytes(FIRMWARE)),
            Command.RESET: self._reset_by_host,
        }
        self._set_up()

    def _set_up(self) -> None:
        """The state after power-on."""
        self._decoder = KissDecoder()
        self._meter = AirtimeMeter()
        self._frequency_hz = self._bandwidth_hz = self._sf = 0
        self._cr = CR_MIN
        self._txpower_dbm = _UNSET_TXPOWER
        self._settings: LoraSettings | None = None
        self._short_limit = self._long_limit = 0.0
        # Both bounded by QUEUE_PACKETS_MAX and QUEUE_BYTES_MAX together.
        self._queue: deque[bytes] = deque()
        self._burst: tuple[bytes, ...] = ()
        self._half: tuple[int, bytes] | None = None
        self._packets_heard = self._packets_sent = 0
        self._last_rssi_dbm = float(NOISE_FLOOR_DBM)
        self._band = 1
        self._next_stats_s = math.inf
        self.host_left = False

    # -- power ------------------------------------------------------------------------------------

    def power_off(self) -> None:
        """Lose power: settings, queue and statistics are gone; `dropped` is kept."""
        self.dropped[Dropped.POWER_LOST] += len(self._queue) + len(self._burst)
        self._set_up()

    def boot(self) -> bytes:
        """Lose power and come back. Returns what an ESP32 tells its host then."""
        self.power_off()
        return encode(Command.RESET, bytes([kiss.RESET_BYTE]))

    def error(self, code: DeviceError) -> bytes:
        """Return the report of a fault of the hardware; the device itself goes on."""
        return encode(Command.ERROR, bytes([code]))

    # -- the host's side --------------------------------------------------------------------------

    def from_host(self, data: bytes, now_s: float) -> bytes:
        """Take bytes from the host in any pieces. Returns the bytes to answer with."""
        answers = bytearray()
        for found in self._decoder.feed(data):
            if isinstance(found, KissFault):
                self.dropped[found] += 1
            elif found.command == Command.DATA:
                self._enqueue(found.payload)
            else:
                answers += self._obey(found.command, found.payload, now_s)
        return bytes(answers)

    def _obey(self, number: int, body: bytes, now_s: float) -> bytes:
        command = _FROM_HOST.get(number)
        if command is None:
            self.dropped[Dropped.UNKNOWN_COMMAND] += 1
            return b""
        if len(body) != kiss.HOST_PAYLOAD_BYTES[command]:
            self.dropped[Dropped.BAD_LENGTH] += 1
            return b""
        answer = self._answers.get(command)  # none: lamps, displays, Bluetooth
        return answer(body, now_s) if answer is not None else b""

    def _enqueue(self, packet: bytes) -> None:
        if not packet:
            self.dropped[Dropped.BAD_LENGTH] += 1
        elif self._queue_is_full(len(packet)):
            self.dropped[Dropped.QUEUE_FULL] += 1
        else:
            self._queue.append(packet)

    def _queue_is_full(self, wanted_bytes: int) -> bool:
        waiting = (*self._queue, *self._burst)
        size = sum(map(len, waiting)) + wanted_bytes
        return len(waiting) >= QUEUE_PACKETS_MAX or size > QUEUE_BYTES_MAX

    def _detect(self, body: bytes, _now_s: float) -> bytes:
        if body[0] != kiss.DETECT_REQUEST:
            return b""
        self.host_left = False
        return encode(Command.DETECT, bytes([kiss.DETECT_RESPONSE]))

    def _leave(self, body: bytes, _now_s: float) -> bytes:
        self.host_left = self.host_left or body[0] == kiss.ASK
        return b""

    def _reset_by_host(self, body: bytes, _now_s: float) -> bytes:
        return self.boot() if body[0] == kiss.RESET_BYTE else b""

    def _set_frequency(self, body: bytes, _now_s: float) -> bytes:
        self._frequency_hz = int.from_bytes(body, "big") or self._frequency_hz
        answer = encode(Command.FREQUENCY, self._frequency_hz.to_bytes(4, "big"))
        return answer + self._retune(frequency_hz=self._frequency_hz)

    def _set_bandwidth(self, body: bytes, _now_s: float) -> bytes:
        self._bandwidth_hz = int.from_bytes(body, "big") or self._bandwidth_hz
        answer = encode(Command.BANDWIDTH, self._bandwidth_hz.to_bytes(4, "big"))
        return answer + self._retune(bandwidth_hz=nearest_bandwidth(self._bandwidth_hz))

    def _set_txpower(self, body: bytes, _now_s: float) -> bytes:
        if body[0] != kiss.ASK:
            self._txpower_dbm = min(body[0], TXPOWER_DBM_MAX)
        return encode(Command.TXPOWER, bytes([self._txpower_dbm]))

    def _set_sf(self, body: bytes, _now_s: float) -> bytes:
        if body[0] != kiss.ASK:
            self._sf = min(max(body[0], SF_MIN), SF_MAX)
        return encode(Command.SF, bytes([self._sf])) + self._retune(sf=self._sf)

    def _set_cr(self, body: bytes, _now_s: float) -> bytes:
        if body[0] != kiss.ASK:
            self._cr = min(max(body[0], CR_MIN), CR_MAX)
        return encode(Command.CR, bytes([self._cr])) + self._retune(cr=self._cr)

    def _set_short_limit(self, body: bytes, _now_s: float) -> bytes:
        self._short_limit = _limit(body)
        return encode(Command.ST_ALOCK, _share(self._short_limit))

    def _set_long_limit(self, body: bytes, _now_s: float) -> bytes:
        self._long_limit = _limit(body)
        return encode(Command.LT_ALOCK, _share(self._long_limit))

    def _set_radio(self, body: bytes, now_s: float) -> bytes:
        answer = b""
        if body[0] == kiss.RADIO_OFF:
            self._settings, self._next_stats_s = None, math.inf
        elif body[0] == kiss.RADIO_ON and self._settings is None and not self._locked:
            self._settings = LoraSettings(
                self._frequency_hz, nearest_bandwidth(self._bandwidth_hz), self._sf, self._cr
            )
            self._meter.clear()
            self._band, self._half = 1, None
            self._next_stats_s = now_s + self._stats_period_s
            answer = self._physical()
        state = kiss.RADIO_OFF if self._settings is None else kiss.RADIO_ON
        return answer + encode(Command.RADIO_STATE, bytes([state]))

    @property
    def _locked(self) -> bool:
        """True until the host has set all a radio needs."""
        return not (self._frequency_hz and self._bandwidth_hz and self._sf) or (
            self._txpower_dbm == _UNSET_TXPOWER
        )

    def _retune(self, **changed: int) -> bytes:
        """Change a radio that is on, and tell what follows from it."""
        if self._settings is None:
            return b""
        self._settings = replace(self._settings, **changed)
        return self._physical()

    # -- statistics -------------------------------------------------------------------------------

    @property
    def next_tick_s(self) -> float:
        """When `tick` wants to be called; infinity while the radio is off."""
        return self._next_stats_s

    def tick(self, now_s: float) -> bytes:
        """Return the statistics for the host when they are due."""
        if now_s < self._next_stats_s:
            return b""
        self._next_stats_s = now_s + self._stats_period_s
        return self._statistics(now_s)

    def _statistics(self, now_s: float) -> bytes:
        shares = (
            self._meter.short(now_s),
            self._meter.long(now_s),
            self._meter.load_short(now_s),
            self._meter.load_long(now_s),
        )
        level = bytes([NOISE_FLOOR_DBM + kiss.RSSI_OFFSET])
        body = b"".join(map(_share, shares)) + level + level + bytes([_NO_INTERFERENCE])
        window = self.window(now_s)
        told = b""
        if window.band != self._band:
            self._band = window.band
            told = encode(Command.STAT_CSMA, bytes([window.band, window.low, window.high]))
        return told + encode(Command.STAT_CHTM, body)

    def _physical(self) -> bytes:
        """The report of what the settings mean in milliseconds and symbols."""
        assert self._settings is not None
        symbol_s, preamble = self._settings.symbol_s, self._settings.preamble_symbols
        values = (
            symbol_s * 1_000_000,
            1 / symbol_s,
            preamble,
            math.ceil(preamble * symbol_s * 1000),
            self._settings.slot_s * 1000,
            self._settings.difs_s * 1000,
        )
        body = b"".join(min(int(value), 0xFFFF).to_bytes(2, "big") for value in values)
        return encode(Command.STAT_PHYPRM, body)

    # -- the channel's side -----------------------------------------------------------------------

    @property
    def settings(self) -> LoraSettings | None:
        """What the radio is tuned to; None while it is off."""
        return self._settings

    def window(self, now_s: float) -> ContentionWindow:
        """How many slots this device waits for the channel at present."""
        return contention_window(self._meter.short(now_s))

    def is_limited(self, now_s: float) -> bool:
        """Whether an airtime limit the host has set keeps the device from sending."""
        short, long = self._short_limit, self._long_limit
        return bool(
            (short and self._meter.short(now_s) >= short)
            or (long and self._meter.long(now_s) >= long)
        )

    def wants_channel(self, now_s: float) -> bool:
        """Whether something waits to be sent and may be."""
        ready = self._settings is not None and self._queue and not self._burst
        return bool(ready) and not self.is_limited(now_s)

    def take_burst(self) -> tuple[bytes, ...]:
        """Take what goes out now that the channel is this device's: frames, header byte included.

        The room in the queue is free only when the burst is over. The caller made sure with
        `wants_channel` that there is something.
        """
        assert self._settings is not None
        assert self._queue
        assert not self._burst
        count = len(self._queue) if self._settings.sends_whole_queue else 1
        self._burst = tuple(self._queue.popleft() for _ in range(count))
        return tuple(frame for packet in self._burst for frame in self._frames(packet))

    def _frames(self, packet: bytes) -> tuple[bytes, ...]:
        header = self._random.randrange(16) << 4
        room = FRAME_BYTES_MAX - HEADER_BYTES
        if len(packet) <= room:
            return (bytes([header]) + packet,)
        mark = bytes([header | _SPLIT_FLAG])
        return (mark + packet[:room], mark + packet[room:])

    def frame_sent(self, airtime_s: float, now_s: float) -> None:
        """Count one frame of the burst, just sent."""
        self._meter.add_sent(airtime_s, now_s)

    def burst_over(self, now_s: float) -> bytes:
        """The channel is given back. Returns statistics for the host."""
        self._packets_sent = (self._packets_sent + len(self._burst)) & 0xFFFF_FFFF
        self._burst = ()
        return self._statistics(now_s) if self._settings is not None else b""

    def burst_cut(self) -> None:
        """The radio was switched off or retuned while it sent: the packets of the burst are lost.

        Nothing happens when there is no burst.
        """
        self.dropped[Dropped.CUT_OFF] += len(self._burst)
        self._burst = ()

    def carrier(self, begin_s: float, end_s: float) -> None:
        """Count a time in which this device sensed somebody else's frame."""
        self._meter.add_heard(begin_s, end_s)

    def hear(self, frame: bytes, rssi_dbm: float, snr_db: float) -> bytes:
        """Take a frame from the air. Returns the packet for the host when it is complete."""
        self._last_rssi_dbm = rssi_dbm
        if len(frame) <= HEADER_BYTES:
            self.dropped[Dropped.EMPTY_FRAME] += 1
            return b""
        packet = self._assemble(frame[0], frame[HEADER_BYTES:])
        if packet is None:
            return b""
        self._packets_heard = (self._packets_heard + 1) & 0xFFFF_FFFF
        snr = bytes([round(min(max(snr_db * 4, -128), 127)) & 0xFF])
        return (
            encode(Command.STAT_RSSI, _rssi_byte(rssi_dbm))
            + encode(Command.STAT_SNR, snr)
            + encode(Command.DATA, packet)
        )

    def _assemble(self, header: int, body: bytes) -> bytes | None:
        """Join the two halves of a split packet. Halves are told by four bits alone."""
        half, self._half = self._half, None
        if not header & _SPLIT_FLAG:
            self.dropped[Dropped.HALF_PACKET] += half is not None
            return body
        if half is not None and half[0] == header >> 4:
            return half[1] + body
        self.dropped[Dropped.HALF_PACKET] += half is not None
        self._half = (header >> 4, body)
        return None


def _limit(body: bytes) -> float:
    share = int.from_bytes(body, "big") / _LIMIT_UNIT
    return share if share < 1 else 0.0


def _share(share: float) -> bytes:
    return min(round(share * _LIMIT_UNIT), 0xFFFF).to_bytes(2, "big")


def _rssi_byte(rssi_dbm: float) -> bytes:
    return bytes([min(max(round(rssi_dbm) + kiss.RSSI_OFFSET, 0), 0xFF)])
