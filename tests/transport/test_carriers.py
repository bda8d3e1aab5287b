"""Which carrier a frame takes, and when compression pays."""

from __future__ import annotations

import base64
import json
import random

import pytest

from ciris_mesh.transport.carriers import (
    COMPRESS_BYTES_MAX,
    fits_request,
    is_dense,
    is_worth_compressing,
)

NOISE = random.Random(1).randbytes(6_000)


@pytest.mark.parametrize(
    ("frame", "dense"),
    [
        (NOISE, True),
        (NOISE[:100], True),
        (b"", True),
        (b"x" * 5_000, False),
        (base64.b64encode(NOISE), False),
        (json.dumps({"envelopes": [list(NOISE)]}).encode(), False),
        (b"{" * 3_000 + NOISE + b"}" * 3_000, True),
    ],
)
def test_a_sample_tells_dense_from_loose(frame: bytes, dense: bool) -> None:
    assert is_dense(frame) is dense


@pytest.mark.parametrize(
    ("size", "mdu", "fits"),
    [
        (400, 431, True),  # a packet of 500 bytes
        (401, 431, False),
        (16_272, 16_303, True),  # TCP
        (16_273, 16_303, False),
        (0xFFFF, 200_000, True),
        (0x10000, 200_000, False),
    ],
)
def test_what_fits_one_packet_is_a_request(size: int, mdu: int, fits: bool) -> None:
    assert fits_request(size, mdu) is fits


def test_only_loose_frames_of_bounded_size_are_compressed() -> None:
    loose = b"0123456789" * (COMPRESS_BYTES_MAX // 10)
    assert is_worth_compressing(loose)
    assert not is_worth_compressing(loose + bytes(20))
    assert not is_worth_compressing(NOISE)
