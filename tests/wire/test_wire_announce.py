"""Announce data: 23 pinned bytes, and nothing else is taken for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import DecodeError
from ciris_mesh.wire.announce import (
    ANNOUNCE_BYTES,
    AnnounceData,
    decode_announce,
    encode_announce,
)
from support import strategies

SAMPLE = AnnounceData(0x0102, bytes(range(8)), bytes(range(8, 16)), 70_000)
SAMPLE_BYTES = bytes.fromhex("01 0102 0001020304050607 08090a0b0c0d0e0f 00011170")

announces = st.builds(
    AnnounceData,
    st.integers(0, 2**16 - 1),
    strategies.short_hashes,
    strategies.short_hashes,
    st.integers(0, 2**32 - 1),
)


def test_the_announce_is_23_pinned_bytes() -> None:
    assert encode_announce(SAMPLE) == SAMPLE_BYTES
    assert decode_announce(SAMPLE_BYTES) == SAMPLE
    assert ANNOUNCE_BYTES == len(SAMPLE_BYTES) == 23


@given(announces)
def test_every_announce_survives(data: AnnounceData) -> None:
    assert decode_announce(encode_announce(data)) == data


def test_a_count_too_large_to_state_is_stated_as_the_largest() -> None:
    data = AnnounceData(0, bytes(8), bytes(8), 2**40)
    assert decode_announce(encode_announce(data)).count == 2**32 - 1


@given(st.binary(max_size=64).filter(lambda raw: not (len(raw) == 23 and raw[0] == 1)))
def test_anything_else_is_a_decode_error(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_announce(raw)


@pytest.mark.parametrize(
    "raw", [b"", SAMPLE_BYTES[:-1], SAMPLE_BYTES + b"\0", b"\x02" + SAMPLE_BYTES[1:]]
)
def test_another_length_or_version_is_a_decode_error(raw: bytes) -> None:
    with pytest.raises(DecodeError, match="announce data"):
        decode_announce(raw)
