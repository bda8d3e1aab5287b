"""How a frame travels: as a request when it fits one packet, else as a Resource.

A request costs its packet and an answer; a Resource costs about 470 bytes and four turns of a
half-duplex channel before its first byte counts, whatever its size.
"""

from __future__ import annotations

import zlib
from typing import Final

# What a request is answered with.
ANSWER_BUSY: Final = 0  # no room now: send it again
ANSWER_QUEUED: Final = 1
ANSWER_IDENTIFY: Final = 2  # say who you are, then send it again
ANSWER_REFUSED: Final = 3  # you may not send this; the link is about to close

#: What Reticulum packs around the body of a request: array head 1, time 9, path hash 18, and the
#: head of a binary of up to 64 KiB, 3. Leaves 400 bytes of a packet of 500.
REQUEST_OVERHEAD_BYTES: Final = 31
REQUEST_BODY_BYTES_MAX: Final = 0xFFFF

#: Packets of this size and less make a link slow: somewhere on the way there is a radio.
SLOW_MTU_BYTES: Final = 500

#: Largest frame worth compressing: bz2 takes 1.3 s for it on a Raspberry Pi Zero 2.
COMPRESS_BYTES_MAX: Final = 512 * 1024

#: Enough to see base64 or JSON; 0.2 ms on a Raspberry Pi.
SAMPLE_BYTES: Final = 4096

#: Base64 packs to 0.76, msgpack around signatures to over 0.95.
DENSE_RATIO: Final = 0.9


def fits_request(size_bytes: int, mdu_bytes: int) -> bool:
    """Say whether a frame fits one packet of a link with that payload size."""
    return size_bytes <= min(mdu_bytes - REQUEST_OVERHEAD_BYTES, REQUEST_BODY_BYTES_MAX)


def is_worth_compressing(frame: bytes) -> bool:
    """Say whether bz2 over a frame would pay on a slow link."""
    return len(frame) <= COMPRESS_BYTES_MAX and not is_dense(frame)


def is_dense(frame: bytes) -> bool:
    """Say whether compression would gain next to nothing."""
    start = max((len(frame) - SAMPLE_BYTES) // 2, 0)
    sample = frame[start : start + SAMPLE_BYTES]
    return len(zlib.compress(sample, 1)) > DENSE_RATIO * len(sample)
