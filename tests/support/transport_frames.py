"""Frames that say who they are, so that a test can tell order and damage from a tag and a size.

Imported by the tests and by the child processes that run real Reticulum.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

TAG_BYTES = 8


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a test knows of a frame. `intact` is False when bytes changed on the way."""

    tag: int
    size: int
    intact: bool = True


def make_frame(tag: int, size: int) -> bytes:
    """Return `size` incompressible bytes that begin with the tag."""
    body = random.Random(tag).randbytes(max(size - TAG_BYTES, 0))
    return (tag.to_bytes(TAG_BYTES, "big") + body)[:size]


def read_frame(frame: bytes) -> Tagged:
    """Undo `make_frame`; frames are at least a tag long."""
    tag = int.from_bytes(frame[:TAG_BYTES], "big")
    return Tagged(tag, len(frame), frame == make_frame(tag, len(frame)))
