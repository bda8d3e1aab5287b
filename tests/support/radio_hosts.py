"""Plain hosts of emulated RNodes: the other end of a pty or a socket, without Reticulum."""

from __future__ import annotations

import os
import select
import socket
import time
import tty
from pathlib import Path

from ciris_mesh.radio.kiss import Command, KissDecoder, KissFault, KissFrame, encode

#: Far beyond what anything here takes; only a test that fails waits so long.
DEADLINE_S = 240.0


class Host:
    """Reads and writes frames on a descriptor it owns."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._decoder = KissDecoder()
        self._frames: list[KissFrame] = []

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    def say(self, *frames: bytes) -> None:
        os.write(self.number, b"".join(frames))

    def send(self, packet: bytes) -> None:
        self.say(encode(Command.DATA, packet))

    def first(self) -> int:
        """Return the command of the next frame, whatever it is."""
        return self._next(DEADLINE_S, "frame").command

    def expect(self, command: Command) -> bytes:
        """Return the payload of the next frame of a command, leaving out others before it."""
        end_s = time.monotonic() + DEADLINE_S
        while True:
            frame = self._next(end_s - time.monotonic(), command.name)
            if frame.command == command:
                return frame.payload

    def _next(self, timeout_s: float, what: str) -> KissFrame:
        end_s = time.monotonic() + timeout_s
        while not self._frames:
            left_s = end_s - time.monotonic()
            assert left_s > 0, f"no {what} came"
            if select.select([self.number], [], [], left_s)[0]:
                got = os.read(self.number, 4096)
                assert got, "the port went away"
                found = self._decoder.feed(got)
                self._frames += [each for each in found if not isinstance(each, KissFault)]
        return self._frames.pop(0)

    def set_up(self, sf: int = 8, bandwidth_hz: int = 125_000) -> None:
        """Switch the radio on and wait until it is."""
        self.say(
            encode(Command.FREQUENCY, (867_200_000).to_bytes(4, "big")),
            encode(Command.BANDWIDTH, bandwidth_hz.to_bytes(4, "big")),
            encode(Command.TXPOWER, b"\x07"),
            encode(Command.SF, bytes([sf])),
            encode(Command.CR, b"\x05"),
            encode(Command.RADIO_STATE, b"\x01"),
        )
        assert self.expect(Command.RADIO_STATE) == b"\x01"

    def is_gone(self) -> bool:
        """Wait until the other end hangs up."""
        end_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < end_s:
            if not select.select([self.number], [], [], end_s - time.monotonic())[0]:
                return False
            try:
                if not os.read(self.number, 4096):
                    return True
            except OSError:
                return True
        return False


def open_pty(port: Path) -> Host:
    """Open a serial port as the driver does."""
    number = os.open(port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(number)
    return Host(number)


def open_socket(path: Path) -> Host:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        return Host(client.detach())
