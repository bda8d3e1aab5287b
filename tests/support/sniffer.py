"""A process that writes every frame an interface carries into a file. Not a test itself."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from pathlib import Path

_EVERY_PROTOCOL = 3
_FRAME_BYTES_MAX = 1 << 17
#: Past what the machine allows everybody, which holds less than a second of a busy wire.
_SO_RCVBUFFORCE = 33


def main() -> None:
    interface, file = sys.argv[1], Path(sys.argv[2])
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)) as wire,
        file.open("wb", buffering=0) as output,
    ):
        wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        wire.bind((interface, 0))
        # Whoever ends it gets what has passed until then, however late it comes to that.
        signal.signal(signal.SIGTERM, lambda *_: wire.setblocking(False))
        print("listening", flush=True)  # noqa: T201 (for whoever started it)
        with contextlib.suppress(BlockingIOError):
            while True:
                output.write(wire.recv(_FRAME_BYTES_MAX))


if __name__ == "__main__":
    main()
