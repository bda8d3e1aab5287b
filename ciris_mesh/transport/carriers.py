"""How a frame travels: by its size, and by how slow the link was measured to be.

    fast links    request, when it fits one packet; else Resource
    slow links    paced packets (`paced`); beyond 60 kB a Resource

A request costs its packet and an answer; a Resource costs about 470 bytes and four turns of a
half-duplex channel before its first byte counts, whatever its size. Paced packets cost what is in
them, an acknowledgement for eight parts, and nothing when there is an answer to acknowledge by.
"""

from __future__ import annotations

import bz2
import zlib
from typing import Final

from ciris_mesh.transport.paced import PART_HEAD_BYTES, PARTS_MAX
from ciris_mesh.transport.sealing import NUMBER_BYTES, SEAL_BYTES, TAG_BYTES

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


#: The largest packet, and Reticulum's header in front of it.
PACKET_BYTES_MAX: Final = 500
PACKET_HEAD_BYTES: Final = 19

#: What a sealed packet is larger than its content, and how large that may be.
PACKED_OVERHEAD_BYTES: Final = PACKET_HEAD_BYTES + NUMBER_BYTES + SEAL_BYTES
PACKED_BYTES_MAX: Final = PACKET_BYTES_MAX - PACKED_OVERHEAD_BYTES

#: What is left of the largest packet for a part of a sealed frame, and the largest such frame.
PART_BYTES: Final = PACKET_BYTES_MAX - PACKET_HEAD_BYTES - PART_HEAD_BYTES - TAG_BYTES
SEALED_BYTES_MAX: Final = PARTS_MAX * PART_BYTES - SEAL_BYTES - 1

#: First byte of what is sealed.
_PLAIN: Final = b"\x00"
_COMPRESSED: Final = b"\x01"


def fits_request(size_bytes: int, mdu_bytes: int) -> bool:
    """Say whether a frame fits one packet of a link with that payload size."""
    return size_bytes <= min(mdu_bytes - REQUEST_OVERHEAD_BYTES, REQUEST_BODY_BYTES_MAX)


def fits_parts(size_bytes: int) -> bool:
    """Say whether a frame can go as paced packets."""
    return size_bytes <= SEALED_BYTES_MAX


def pack(frame: bytes) -> bytes:
    """What is sealed of a frame that goes in parts: compressed where that pays."""
    if is_worth_compressing(frame):
        packed = bz2.compress(frame)
        if len(packed) < len(frame):
            return _COMPRESSED + packed
    return _PLAIN + frame


def unpack(content: bytes, limit_bytes: int) -> bytes | None:
    """The frame; None when it is none, or unpacks to more than the limit."""
    head, body = content[:1], content[1:]
    if head == _PLAIN:
        return body if 0 < len(body) <= limit_bytes else None
    if head != _COMPRESSED:
        return None
    try:
        opener = bz2.BZ2Decompressor()
        frame = opener.decompress(body, limit_bytes + 1)
    except (OSError, EOFError):
        return None
    return frame if opener.eof and not opener.unused_data and frame else None


def is_worth_compressing(frame: bytes) -> bool:
    """Say whether bz2 over a frame would pay on a slow link."""
    return len(frame) <= COMPRESS_BYTES_MAX and not is_dense(frame)


def is_dense(frame: bytes) -> bool:
    """Say whether compression would gain next to nothing."""
    start = max((len(frame) - SAMPLE_BYTES) // 2, 0)
    sample = frame[start : start + SAMPLE_BYTES]
    return len(zlib.compress(sample, 1)) > DENSE_RATIO * len(sample)
