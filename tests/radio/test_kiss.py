"""KISS framing: any frame in any pieces, hostile bytes bounded and named."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.radio.kiss import (
    HOST_PAYLOAD_BYTES,
    PACKET_BYTES_MAX,
    Command,
    KissDecoder,
    KissFault,
    KissFrame,
    encode,
)

payloads = st.binary(max_size=PACKET_BYTES_MAX)
frames = st.builds(KissFrame, st.integers(0, 255), payloads)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def decode(pieces: list[bytes]) -> list[KissFrame | KissFault]:
    decoder = KissDecoder()
    return [found for piece in pieces for found in decoder.feed(piece)]


@given(st.lists(frames, max_size=4), st.lists(st.integers(0, 5000), max_size=8))
def test_every_frame_survives_in_any_pieces(sent: list[KissFrame], places: list[int]) -> None:
    data = b"".join(encode(frame.command, frame.payload) for frame in sent)
    assert decode(cut(data, places)) == sent


@given(st.lists(frames, min_size=1, max_size=4))
def test_neighbouring_frames_may_share_a_fend(sent: list[KissFrame]) -> None:
    data = b"".join(encode(frame.command, frame.payload)[:-1] for frame in sent) + b"\xc0"
    assert decode([data]) == sent


@given(payloads)
def test_a_frame_holds_fend_at_its_ends_only(payload: bytes) -> None:
    data = encode(Command.DATA, payload)
    assert data[0] == data[-1] == 0xC0
    assert 0xC0 not in data[1:-1]


@given(st.binary(max_size=3000), st.lists(st.integers(0, 5000), max_size=8))
@example(b"\xc0\xdb\xc0", [])  # an escape cut off by the end
@example(b"\xc0" * 3000, [])  # nothing but delimiters
@example(b"\xdb" * 3000, [])  # escapes before any frame
@example(b"\xc0\x00" + b"\xdb" * 2998, [])  # escapes only, within a frame
def test_hostile_bytes_are_cut_alike_in_any_pieces(data: bytes, places: list[int]) -> None:
    whole = decode([data])
    assert decode(cut(data, places)) == whole
    for found in whole:
        assert isinstance(found, KissFault) or len(found.payload) <= PACKET_BYTES_MAX


@given(st.binary(max_size=600), frames)
def test_the_frame_after_garbage_is_read(garbage: bytes, frame: KissFrame) -> None:
    assert decode([garbage, encode(frame.command, frame.payload)])[-1] == frame


def test_a_stream_without_end_is_never_kept() -> None:
    decoder = KissDecoder()
    kept = []
    for _ in range(200):
        assert decoder.feed(b"x" * 1000) == []
        kept.append(len(decoder._bytes))
    assert max(kept) == 0  # outside a frame nothing is kept at all
    decoder.feed(b"\xc0")
    for _ in range(200):
        assert decoder.feed(b"x" * 1000) == []
        kept.append(len(decoder._bytes))
    assert max(kept) <= PACKET_BYTES_MAX + 1


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"noise\xc0", KissFault.NOISE),
        (b"\xc0\x00a\xdbb\xc0", KissFault.BAD_ESCAPE),
        (b"\xc0\x00a\xdb\xc0", KissFault.BAD_ESCAPE),
        (b"\xc0\x00" + bytes(PACKET_BYTES_MAX + 1) + b"\xc0", KissFault.TOO_LONG),
    ],
)
def test_what_is_dropped_has_a_name(data: bytes, fault: KissFault) -> None:
    assert decode([data]) == [fault]
    assert decode([data, encode(Command.READY, b"\x01")]) == [fault, KissFrame(0x0F, b"\x01")]


def test_the_longest_packet_is_one_frame() -> None:
    packet = b"\xc0\xdb" * (PACKET_BYTES_MAX // 2)
    assert decode([encode(Command.DATA, packet)]) == [KissFrame(0, packet)]


def test_a_reset_forgets_half_a_frame() -> None:
    decoder = KissDecoder()
    decoder.feed(b"\xc0\x00half")
    decoder.reset()
    assert decoder.feed(encode(Command.DATA, b"whole")) == [KissFrame(0, b"whole")]


def test_bytes_are_those_of_the_driver() -> None:
    """Golden: what Reticulum's driver sends to detect a device, and to set 867.2 MHz."""
    detect = bytes.fromhex("c0 08 73 c0 50 00 c0 48 00 c0 49 00 c0")
    assert decode([detect]) == [
        KissFrame(Command.DETECT, b"\x73"),
        KissFrame(Command.FW_VERSION, b"\x00"),
        KissFrame(Command.PLATFORM, b"\x00"),
        KissFrame(Command.MCU, b"\x00"),
    ]
    assert encode(Command.FREQUENCY, (867_200_000).to_bytes(4, "big")).hex() == "c00133b06c00c0"


def test_the_table_of_commands_is_complete_for_the_host() -> None:
    to_host_only = {
        Command.DATA, Command.STAT_SNR, Command.STAT_CHTM, Command.STAT_PHYPRM, Command.STAT_BAT,
        Command.STAT_CSMA, Command.STAT_TEMP, Command.ERROR,
    }  # fmt: skip
    assert set(HOST_PAYLOAD_BYTES) == set(Command) - to_host_only
