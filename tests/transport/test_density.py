"""Dense and loose frames, as the wire makes them."""

from __future__ import annotations

import base64
import json
import random

import pytest

from ciris_mesh.transport.density import is_dense

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
