"""What the two ends of a link seal and tag paced packets with. Pure: no Reticulum, no clock.

Reticulum's own seal adds 49 to 64 bytes to a packet, for it carries its initialisation vector and
pads. Here the number that makes each sealing different is known to both ends, so it need not
travel, and a packet takes 17 bytes more than what is in it.

    packet   number (1) AES-256-GCM(content) with tag (16)
    frame    AES-256-GCM(frame) with tag (16), then cut into parts
    part     head and body in the clear, then one byte of keyed BLAKE2b

Three keys for each direction come from the key Reticulum agreed on for the link, which is new for
each link at both ends: what was said on one link, or the other way, says nothing on another.
"""

from __future__ import annotations

import hashlib
import itertools
from contextlib import suppress
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Of AES-GCM.
SEAL_BYTES: Final = 16
#: The low byte of a packet's number. 255 packets in a row are never lost on a link that lives: who
#: hears nothing stops after a handful (`paced.ATTEMPTS_MAX`).
NUMBER_BYTES: Final = 1
#: Of a part: a stranger who wants to spoil a frame needs 256 packets for one that is believed, and
#: then the whole goes again. The seal around the whole is what a frame is trusted for.
TAG_BYTES: Final = 1

_NUMBERS: Final = 256
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_TAGGED_NUMBER_BYTES: Final = 8


class LinkSeal:
    """One end's. `seal_packet` may be called on any thread, each other method on one at a time.

    Args:
        link_key: the secret both ends share, 64 bytes at most.
        is_initiator: which end this is.
    """

    def __init__(self, link_key: bytes, *, is_initiator: bool) -> None:
        ours, theirs = (b"i", b"r") if is_initiator else (b"r", b"i")

        def key(use: bytes, side: bytes) -> bytes:
            mixed = hashlib.blake2b(side, key=link_key, digest_size=_KEY_BYTES, person=use)
            return mixed.digest()

        self._packets = AESGCM(key(b"ciris packet", ours))
        self._their_packets = AESGCM(key(b"ciris packet", theirs))
        self._frames = AESGCM(key(b"ciris part seal", ours))
        self._their_frames = AESGCM(key(b"ciris part seal", theirs))
        self._tags, self._their_tags = key(b"ciris part tag", ours), key(b"ciris part tag", theirs)
        self._numbers = itertools.count()  # of packets; never the same twice
        self._next = 0  # packets of the other end before this number are not opened any more

    def seal_packet(self, content: bytes) -> bytes:
        """Seal what goes in one packet. Sealed again, the same content is another packet."""
        number = next(self._numbers)
        sealed = self._packets.encrypt(_nonce(number), content, None)
        return bytes((number % _NUMBERS,)) + sealed

    def open_packet(self, data: bytes) -> bytes | None:
        """What the other end sealed. None for anything else, and for a packet that was opened
        before or is older than one that was.
        """
        if len(data) < NUMBER_BYTES + SEAL_BYTES:
            return None
        number = self._next + (data[0] - self._next) % _NUMBERS
        content = _opened(self._their_packets, number, data[NUMBER_BYTES:])
        if content is not None:
            self._next = number + 1
        return content

    def seal_frame(self, number: int, frame: bytes) -> bytes:
        """Seal a frame as a whole, before it is cut.

        Args:
            number: of the frame on this link. No two that are sent have the same one.
        """
        return self._frames.encrypt(_nonce(number), frame, None)

    def open_frame(self, number: int, sealed: bytes) -> bytes | None:
        """The frame of that number, put together again; None when it is something else."""
        return _opened(self._their_frames, number, sealed)

    def tag(self, number: int, part: bytes) -> bytes:
        """A part of the frame of that number, with what tells that this end made it."""
        return part + _tag(self._tags, number, part)

    def untag(self, number: int, tagged: bytes) -> bytes | None:
        """The part; None when the other end did not make it for the frame of that number."""
        part, end = tagged[:-TAG_BYTES], tagged[-TAG_BYTES:]
        return part if number >= 0 and _tag(self._their_tags, number, part) == end else None


def _opened(box: AESGCM, number: int, sealed: bytes) -> bytes | None:
    with suppress(InvalidTag):
        return box.decrypt(_nonce(number), sealed, None)
    return None


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")


def _tag(key: bytes, number: int, part: bytes) -> bytes:
    covered = number.to_bytes(_TAGGED_NUMBER_BYTES, "big") + part
    return hashlib.blake2b(covered, key=key, digest_size=TAG_BYTES).digest()
