"""What bytes cost on a radio: the measured tables, and never less than what is really sent."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.protocol.handover import HANDED_S_MAX
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.runtime.onair import RADIO_CADENCE_S, OnAir, Sent, on_air
from ciris_mesh.transport import carriers
from ciris_mesh.transport.base import InterfaceRow, LoraRow
from ciris_mesh.transport.paced import PARTS_MAX, Paced, Speed, packed_bytes
from ciris_mesh.transport.sealing import LinkSeal
from support.radio_mesh import airtime_s as judged_s

SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
KNOWN = OnAir(SF8, SF8.bitrate_bps)
UNKNOWN = OnAir(None, SF8.bitrate_bps)


def row(bitrate_bps: int | None, lora: LoraRow | None) -> InterfaceRow:
    return InterfaceRow("r", "radio", True, bitrate_bps, 0, 0, lora)


@pytest.mark.parametrize(
    ("frame_bytes", "packet_bytes"), [(1, 43), (12, 54), (400, 442), (458, 500)]
)
def test_a_small_frame_is_one_packet(frame_bytes: int, packet_bytes: int) -> None:
    """Reticulum's header of 19, number and tag of the seal, and six bytes that say what."""
    sent = KNOWN.frame(bytes(frame_bytes))
    assert sent.size_bytes == packet_bytes
    assert sent.airtime_s == pytest.approx(SF8.packet_s(packet_bytes))


def test_a_record_costs_what_was_measured() -> None:
    """Seen on emulated radios: a record of 3,440 bytes in seven parts of 500 and one of 139."""
    sent = KNOWN.frame(random.Random(1).randbytes(3_440))
    measured = 7 * 500 + 139
    assert measured <= sent.size_bytes <= 1.02 * measured
    assert 10 < sent.airtime_s < 11.5


@given(st.integers(1, 4_000), st.booleans())
@example(458, False)
@example(459, False)
@example(900, True)
def test_the_judge_takes_no_frame_for_more(size_bytes: int, shrinks: bool) -> None:
    """Nor for much less: other tests hold the ledger against it. Here it meets real packets."""
    frame = bytes(size_bytes) if shrinks else random.Random(size_bytes).randbytes(size_bytes)
    true_s = math.fsum(map(SF8.packet_s, packets_of(frame)))
    assert judged_s(frame) <= true_s + 1e-9
    if not shrinks:  # the judge packs all, the link samples first
        assert judged_s(frame) >= 0.97 * true_s


def packets_of(frame: bytes) -> list[int]:
    """Sizes of the packets of a frame that is alone on its link."""
    seal, paced = LinkSeal(bytes(64), is_initiator=True), Paced()
    speed = Speed(window=PARTS_MAX, ack_delay_s=0.5, wait_s=5.0, byte_s=0.003)
    if packed_bytes((frame,)) <= carriers.PACKED_BYTES_MAX:
        paced.begin((frame,))
    else:
        paced.begin_parts(seal.seal_frame(0, carriers.pack(frame)), carriers.PART_BYTES)
    made = paced.emit(0.0, speed)
    assert made is not None
    packets = [seal.tag(made.number, part) for part in made.parts]
    packets += [seal.seal_packet(made.packet)] if made.packet else []
    return [carriers.PACKET_HEAD_BYTES + len(packet) for packet in packets]


def test_what_shrinks_on_the_way_is_cheaper() -> None:
    assert KNOWN.frame(b"a" * 5_000).size_bytes < 600


@given(st.integers(1, 500))
def test_not_knowing_the_settings_never_makes_it_cheaper(size_bytes: int) -> None:
    assert UNKNOWN.packet_s(size_bytes) >= KNOWN.packet_s(size_bytes)


@example(9, [21])  # one byte more than the shortest, and a whole symbol
@given(
    st.sampled_from(range(7, 13)),
    st.lists(st.integers(20, 500), min_size=1, max_size=20),
)
def test_counted_bytes_are_never_less_than_the_packets_they_were(sf: int, sizes: list[int]) -> None:
    lora = LoraSettings(868_100_000, 125_000, sf, 5)
    price = OnAir(lora, lora.bitrate_bps)
    true_s = sum(map(lora.packet_s, sizes))
    assert price.counted_s(sum(sizes)) >= true_s - 1e-9
    assert price.counted_s(sum(sizes)) <= 1e-9 + sum(map(price.counted_s, sizes))


@given(st.integers(401, 60_000), st.sampled_from(range(7, 11)))
def test_a_batch_is_reserved_at_no_less_than_it_takes(size_bytes: int, sf: int) -> None:
    lora = LoraSettings(868_100_000, 125_000, sf, 5)
    price = OnAir(lora, lora.bitrate_bps)
    took = price.frame(random.Random(size_bytes).randbytes(size_bytes))
    took += price.dial() + price.comparison()
    assert price.cost().batch_s(size_bytes) >= took.airtime_s


def test_one_hybrid_record_fits_what_may_be_handed_over_at_sf8() -> None:
    assert KNOWN.cost().batch_s(3_450) < HANDED_S_MAX


def test_rows_say_what_is_known() -> None:
    assert on_air(row(3_125, LoraRow(868_100_000, 125_000, 8, 5))) == KNOWN
    assert on_air(row(1_200, None)) == OnAir(None, 1_200)
    assert on_air(row(1_200, LoraRow(868_100_000, 123, 8, 5))) == OnAir(None, 1_200)
    assert on_air(row(None, None)).packet_s(100) > 3, "as slow as LoRa gets"


def test_parts_add_up() -> None:
    assert Sent(1.0, 10) + Sent(0.5, 5) == Sent(1.5, 15)
    assert KNOWN.frame_s == pytest.approx(SF8.frame_s(255))
    assert UNKNOWN.frame_s > KNOWN.frame_s


def test_comparing_without_news_leaves_the_air_to_records() -> None:
    """However many peers there are, all of it together stays a tenth of what there is."""
    price, limit_s = KNOWN, 28.8
    assert price.cadence_s(40, None) == RADIO_CADENCE_S
    assert price.cadence_s(1, 3_600.0) == RADIO_CADENCE_S
    for peers in (1, 3, 10, 40):
        rounds = 3_600 / price.cadence_s(peers, limit_s)
        asked_s = rounds * peers * price.comparison().airtime_s
        assert 2 * asked_s <= 0.1 * limit_s + 1e-9
