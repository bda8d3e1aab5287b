"""The RNode serial protocol: KISS framing and the table of commands. Pure.

    frame = FEND command payload FEND      within: FEND -> FESC TFEND, FESC -> FESC TFESC

One FEND may end a frame and begin the next. `KissDecoder` takes bytes in any pieces, keeps at
most one frame of bounded size, and names what it had to drop. The numbers are those that
Reticulum's `RNodeInterface` and the RNode firmware 1.86 use.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

FEND: Final = 0xC0
FESC: Final = 0xDB
TFEND: Final = 0xDC
TFESC: Final = 0xDD

#: The longest packet an RNode takes: two LoRa frames of 255 bytes with a header byte each.
PACKET_BYTES_MAX: Final = 508
#: No answer of a device the emulator knows is longer than a packet; one byte more shows excess.
_PAYLOAD_BYTES_MAX: Final = PACKET_BYTES_MAX


class Command(IntEnum):
    """First byte of a frame. Those not listed are unknown here."""

    DATA = 0x00
    FREQUENCY = 0x01
    BANDWIDTH = 0x02
    TXPOWER = 0x03
    SF = 0x04
    CR = 0x05
    RADIO_STATE = 0x06
    RADIO_LOCK = 0x07
    DETECT = 0x08
    LEAVE = 0x0A
    ST_ALOCK = 0x0B
    LT_ALOCK = 0x0C
    READY = 0x0F
    STAT_RX = 0x21
    STAT_TX = 0x22
    STAT_RSSI = 0x23
    STAT_SNR = 0x24
    STAT_CHTM = 0x25
    STAT_PHYPRM = 0x26
    STAT_BAT = 0x27
    STAT_CSMA = 0x28
    STAT_TEMP = 0x29
    BLINK = 0x30
    RANDOM = 0x40
    FB_EXT = 0x41
    FB_READ = 0x42
    FB_WRITE = 0x43
    BT_CTRL = 0x46
    PLATFORM = 0x48
    MCU = 0x49
    FW_VERSION = 0x50
    RESET = 0x55
    DISP_READ = 0x66
    ERROR = 0x90


#: How many bytes follow each command a host may send. DATA is apart: 1 to PACKET_BYTES_MAX.
HOST_PAYLOAD_BYTES: Final[dict[Command, int]] = {
    Command.FREQUENCY: 4,
    Command.BANDWIDTH: 4,
    Command.TXPOWER: 1,
    Command.SF: 1,
    Command.CR: 1,
    Command.RADIO_STATE: 1,
    Command.RADIO_LOCK: 1,
    Command.DETECT: 1,
    Command.LEAVE: 1,
    Command.ST_ALOCK: 2,
    Command.LT_ALOCK: 2,
    Command.READY: 1,
    Command.STAT_RX: 1,
    Command.STAT_TX: 1,
    Command.STAT_RSSI: 1,
    Command.BLINK: 1,
    Command.RANDOM: 1,
    Command.FB_EXT: 1,
    Command.FB_READ: 1,
    Command.FB_WRITE: 9,
    Command.BT_CTRL: 1,
    Command.PLATFORM: 1,
    Command.MCU: 1,
    Command.FW_VERSION: 1,
    Command.RESET: 1,
    Command.DISP_READ: 1,
}

DETECT_REQUEST: Final = 0x73
DETECT_RESPONSE: Final = 0x46
RADIO_OFF: Final = 0x00
RADIO_ON: Final = 0x01
#: Asks for a value instead of setting it, where one byte sets it.
ASK: Final = 0xFF
RESET_BYTE: Final = 0xF8
PLATFORM_ESP32: Final = 0x80
MCU_ESP32: Final = 0x81
#: What is added to a signal strength in dBm to send it as one byte.
RSSI_OFFSET: Final = 157


class DeviceError(IntEnum):
    """Payload of ERROR. All but MEMORY_LOW and MODEM_TIMEOUT take the driver off-line."""

    INITRADIO = 0x01
    TXFAILED = 0x02
    EEPROM_LOCKED = 0x03
    QUEUE_FULL = 0x04
    MEMORY_LOW = 0x05
    MODEM_TIMEOUT = 0x06


class KissFault(StrEnum):
    """Why bytes were dropped."""

    NOISE = "kiss_noise"  # bytes before the first FEND
    BAD_ESCAPE = "kiss_bad_escape"  # FESC before anything but TFEND and TFESC
    TOO_LONG = "kiss_too_long"  # more than a frame may hold


@dataclass(frozen=True, slots=True)
class KissFrame:
    """One frame as it arrived; `command` may be none that is known."""

    command: int
    payload: bytes


def encode(command: int, payload: bytes = b"") -> bytes:
    """Return one frame, escaped, with a FEND on each side."""
    escaped = bytes((command, *payload)).replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + escaped + b"\xc0"


class KissDecoder:
    """Cuts a byte stream into frames. Holds at most one unfinished frame.

    Args:
        payload_bytes_max: longer frames are dropped whole and named.
    """

    def __init__(self, payload_bytes_max: int = _PAYLOAD_BYTES_MAX) -> None:
        self._limit = 1 + payload_bytes_max
        self._reset()

    def _reset(self) -> None:
        self._bytes = bytearray()
        self._in_frame = False
        self._escaped = False
        self._fault: KissFault | None = None

    def reset(self) -> None:
        """Forget an unfinished frame: the other side was plugged in anew."""
        self._reset()

    def feed(self, data: bytes) -> list[KissFrame | KissFault]:
        """Take bytes in any pieces; return what they complete, in order.

        A fault stands for a frame that was dropped, or for noise up to the next FEND.
        """
        found: list[KissFrame | KissFault] = []
        for byte in data:
            if byte == FEND:
                done = self._finish()
                if done is not None:
                    found.append(done)
            elif not self._in_frame:
                self._fault = KissFault.NOISE
            elif self._fault is None:
                self._take(byte)
        return found

    def _take(self, byte: int) -> None:
        if self._escaped:
            self._escaped = False
            if byte not in (TFEND, TFESC):
                self._fault = KissFault.BAD_ESCAPE
                return
            byte = FEND if byte == TFEND else FESC
        elif byte == FESC:
            self._escaped = True
            return
        if len(self._bytes) == self._limit:
            self._fault = KissFault.TOO_LONG
            return
        self._bytes.append(byte)

    def _finish(self) -> KissFrame | KissFault | None:
        """A FEND came: end the frame there is, if any, and begin the next."""
        fault = KissFault.BAD_ESCAPE if self._escaped and self._fault is None else self._fault
        content = bytes(self._bytes)
        self._reset()
        self._in_frame = True
        if fault is not None:
            return fault
        return KissFrame(content[0], content[1:]) if content else None
