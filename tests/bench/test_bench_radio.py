"""The pure half of `bench radio`: packets read off the channel, floors, and rows."""

from __future__ import annotations

import pytest

from ciris_mesh.bench.airwaves import needless_parts, packets
from ciris_mesh.bench.radio import floors
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.ether import Heard, Sent

SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
LINK = b"l" * 16


def content(context: int, body: bytes, first: int = 0x0C) -> bytes:
    """A packet as Reticulum makes it: flags, hops, destination, context, data."""
    return bytes((first, 0)) + LINK + bytes((context,)) + body


def sent(at_s: float, packet: bytes, station: int = 0) -> list[Sent]:
    mark = b"\x31" if len(packet) > 254 else b"\x30"
    frames = [mark + packet[at : at + 254] for at in range(0, len(packet), 254)]
    return [
        Sent(station, frame, SF8.frame_s(len(frame)), at_s + place, frame is frames[-1])
        for place, frame in enumerate(frames)
    ]


def heard(at_s: float, packet: bytes) -> list[Heard]:
    return [Heard(1, 0, each.frame, -80.0, 10.0, each.at_s) for each in sent(at_s, packet)]


def test_two_frames_are_one_packet() -> None:
    large, small = content(0x01, b"p" * 481), content(0x00, b"s" * 40)
    first, second = packets([*sent(1.0, large), *heard(1.0, large), *sent(9.0, small, 1)])
    assert (first.name, first.size_bytes, first.content) == ("part", 502, large)
    assert first.airtime_s == pytest.approx(SF8.packet_s(500))
    assert (second.name, second.size_bytes, second.station) == ("data", 60, 1)


@pytest.mark.parametrize(
    ("first", "context", "name"),
    [
        (0x0C, 0xFC, "close"),
        (0x0C, 0xFE, "set-up"),
        (0x0C, 0xFB, "identify"),
        (0x02, 0x00, "link request"),
        (0x01, 0x00, "announce"),
        (0x0F, 0xFF, "proof"),
        (0x0C, 0x77, "other"),
    ],
)
def test_packets_have_names(first: int, context: int, name: str) -> None:
    (packet,) = packets(sent(0.0, content(context, b"x" * 20, first)))
    assert packet.name == name


def test_a_frame_that_was_cut_off_is_none() -> None:
    assert packets([Sent(0, b"\x30" + b"x" * 30, 0.1, 0.0, True, cut=True)]) == ()


def test_what_had_arrived_and_goes_again_is_counted() -> None:
    part = content(0x01, b"p" * 400)
    once: list[Sent | Heard] = [*sent(0.0, part), *heard(0.0, part)]
    assert needless_parts(once) == 0
    assert needless_parts([*once, *sent(20.0, part)]) == 1
    half: list[Sent | Heard] = [*sent(0.0, part), *heard(0.0, part)[:1], *sent(20.0, part)]
    assert needless_parts(half) == 0, "half of it is none"


def test_the_floor_is_full_frames_and_the_rest() -> None:
    size_bytes, airtime_s = floors(2 * 254 + 10, SF8)
    assert size_bytes == 2 * 255 + 11
    assert airtime_s == pytest.approx(2 * SF8.frame_s(255) + SF8.frame_s(11))
