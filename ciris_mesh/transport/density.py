"""Whether bytes are worth compressing, told from a sample.

Signatures and keys are dense, JSON is not; bz2 over a dense frame only costs time.
"""

from __future__ import annotations

import zlib
from typing import Final

#: Enough to see base64 or JSON; 0.2 ms on a Raspberry Pi.
SAMPLE_BYTES: Final = 4096

#: Base64 packs to 0.76, msgpack around signatures to over 0.95.
DENSE_RATIO: Final = 0.9


def is_dense(frame: bytes) -> bool:
    """Say whether compression would gain next to nothing."""
    start = max((len(frame) - SAMPLE_BYTES) // 2, 0)
    sample = frame[start : start + SAMPLE_BYTES]
    return len(zlib.compress(sample, 1)) > DENSE_RATIO * len(sample)
