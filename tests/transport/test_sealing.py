"""Seals and tags of paced packets: what opens, and everything that must not.

`pytest tests/transport/test_sealing.py --rewrite -n 0` writes the golden file anew.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.transport import carriers
from ciris_mesh.transport.paced import PART_HEAD_BYTES
from ciris_mesh.transport.sealing import NUMBER_BYTES, SEAL_BYTES, TAG_BYTES, LinkSeal
from support import crpl

KEY, OTHER_KEY = bytes(range(64)), bytes(64)
FILE = "paced_packets.json"


def pair(key: bytes = KEY) -> tuple[LinkSeal, LinkSeal]:
    return LinkSeal(key, is_initiator=True), LinkSeal(key, is_initiator=False)


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")


def test_what_one_end_seals_the_other_opens() -> None:
    one, two = pair()
    for content in (b"x", b"y" * carriers.PACKED_BYTES_MAX, b"x", b""):
        for sender, receiver in ((one, two), (two, one)):
            assert receiver.open_packet(sender.seal_packet(content)) == content
    assert two.open_frame(7, one.seal_frame(7, b"frame" * 1_000)) == b"frame" * 1_000
    assert two.untag(300, one.tag(300, b"part")) == b"part"


def test_the_fullest_packet_and_the_fullest_part_fit_reticulums() -> None:
    one, _ = pair()
    packet = one.seal_packet(bytes(carriers.PACKED_BYTES_MAX))
    head = bytes(PART_HEAD_BYTES)
    part = one.tag(0, head + bytes(carriers.PART_BYTES))
    room = carriers.PACKET_BYTES_MAX - carriers.PACKET_HEAD_BYTES
    assert (len(packet), len(part)) == (room, room)


def test_the_same_content_is_never_the_same_packet() -> None:
    one, _ = pair()
    assert len({one.seal_packet(b"again")[NUMBER_BYTES:] for _ in range(1_000)}) == 1_000


def test_a_packet_opens_once_and_never_after_a_later_one() -> None:
    one, two = pair()
    contents = [n.to_bytes(2, "big") for n in range(600)]
    packets = [one.seal_packet(content) for content in contents]
    in_a_row_lost = (0, 2, 255, 255)
    opened = -1
    for lost in in_a_row_lost:
        opened += 1 + lost
        assert two.open_packet(packets[opened]) == contents[opened]
        before = packets[: opened + 1]
        assert not any(two.open_packet(each) for each in before), "those came, or are late"


def test_256_lost_in_a_row_are_too_many() -> None:
    """They can't be: who hears nothing stops long before. Then nothing opens, and the link ends."""
    one, two = pair()
    packets = [one.seal_packet(b"x") for _ in range(257)]
    assert two.open_packet(packets[256]) is None


def test_nothing_opens_at_the_end_that_sealed_it_or_on_another_link() -> None:
    one, two = pair()
    elsewhere = LinkSeal(OTHER_KEY, is_initiator=False)
    packet, frame = one.seal_packet(b"p"), one.seal_frame(0, b"f")
    for stranger in (one, elsewhere):
        assert stranger.open_packet(packet) is None
        assert stranger.open_frame(0, frame) is None
    assert two.open_packet(packet) == b"p"
    parts = [bytes((n,)) for n in range(64)]
    for stranger in (one, elsewhere):
        believed = sum(stranger.untag(0, one.tag(0, part)) is not None for part in parts)
        assert believed <= 4, "by chance, 1 in 256"


def test_a_frame_opens_under_its_own_number_only() -> None:
    one, two = pair()
    sealed = one.seal_frame(3, b"third")
    assert [two.open_frame(number, sealed) for number in range(6)] == [None] * 3 + [
        b"third",
        None,
        None,
    ]
    assert two.open_frame(3 + 256, sealed) is None, "nor under one that looks the same on the air"


def test_a_part_is_of_one_frame_though_256_later_it_looks_the_same() -> None:
    one, two = pair()
    parts = [one.tag(5, bytes((5, index, 8)) + b"body") for index in range(64)]
    assert all(two.untag(5, part) is not None for part in parts)
    assert sum(two.untag(5 + 256, part) is not None for part in parts) <= 4, "by chance, 1 in 256"
    assert two.untag(-1, parts[0]) is None


@pytest.mark.parametrize("cut", [0, 1, 2, SEAL_BYTES, SEAL_BYTES + NUMBER_BYTES + 2])
def test_what_is_cut_short_does_not_open(cut: int) -> None:
    one, two = pair()
    packet, frame = one.seal_packet(b"whole"), one.seal_frame(0, b"whole")
    assert two.open_packet(packet[:cut]) is None
    assert two.open_packet(packet[:-1]) is None
    assert two.open_frame(0, frame[:cut]) is None
    assert two.untag(0, b"") is None


@given(st.binary(min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_no_bit_can_be_changed(content: bytes, data: st.DataObject) -> None:
    one, two = pair()
    packet, frame = one.seal_packet(content), one.seal_frame(0, content)
    bit = data.draw(st.integers(0, 8 * len(packet) - 1))
    assert two.open_packet(flipped(packet, bit)) is None
    assert two.open_packet(packet) == content, "and what was damaged does no harm to what comes"
    assert two.open_frame(0, flipped(frame, bit % (8 * len(frame)))) is None


@given(st.binary(max_size=500), st.integers(0, 2**40))
def test_no_bytes_break_it(data: bytes, number: int) -> None:
    _, two = pair()
    assert two.open_packet(data) is None
    assert two.open_frame(number, data) is None
    part = two.untag(number, data)
    assert part is None or part == data[:-TAG_BYTES]


def golden() -> dict[str, Any]:
    one, two = pair()
    ends = (("initiator", one), ("responder", two))
    words = (b"\x80\x07", b"\x01\x00CRPL")
    return {
        "provenance": "Made by ciris_mesh (tests/transport/test_sealing.py --rewrite).",
        "link_key_hex": KEY.hex(),
        "packets": [
            {"by": name, "content_hex": word.hex(), "data_hex": seal.seal_packet(word).hex()}
            for name, seal in ends
            for word in words
        ],
        "frames": [
            {"by": name, "number": number, "content_hex": "0043", "sealed_hex": sealed.hex()}
            for name, seal in ends
            for number in (0, 258)
            for sealed in (seal.seal_frame(number, b"\x00\x43"),)
        ],
        "parts": [
            {"by": name, "number": number, "part_hex": "02800161", "data_hex": tagged.hex()}
            for name, seal in ends
            for number in (2, 258)
            for tagged in (seal.tag(number, b"\x02\x80\x01\x61"),)
        ],
    }


def test_vectors(request: pytest.FixtureRequest) -> None:
    path = crpl.VECTORS / FILE
    if request.config.getoption("--rewrite"):
        path.write_text(json.dumps(golden(), indent=1) + "\n")
    assert json.loads(path.read_text()) == golden()
