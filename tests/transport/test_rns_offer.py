"""Claims about a Resource, before a byte of it is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.transport.rns_offer import Offer, read_offer, unpacked_bytes_max
from ciris_mesh.transport.rns_seam import SEGMENT_BYTES_MAX


@dataclass(frozen=True)
class Claim:
    t: object = 1_056
    d: object = 1_000
    i: object = 1
    l: object = 1  # noqa: E741 (Reticulum's name)
    h: object = b"h" * 32
    o: object = b"o" * 32
    x: object = False


def test_an_honest_claim_is_an_offer() -> None:
    assert read_offer(Claim()) == Offer(b"o" * 32, b"h" * 32, 1_000, 1, 1)


def test_a_segment_of_a_large_one_is_an_offer() -> None:
    claim = Claim(t=SEGMENT_BYTES_MAX + 64, d=2 * SEGMENT_BYTES_MAX + 1, i=2, l=3)
    assert read_offer(claim) == Offer(b"o" * 32, b"h" * 32, 2 * SEGMENT_BYTES_MAX + 1, 2, 3)


@pytest.mark.parametrize(
    "claim",
    [
        Claim(t=0),
        Claim(d=0),
        Claim(d=-5),
        Claim(d=1_000.0),
        Claim(d=True),
        Claim(d="1000"),
        Claim(i=2),
        Claim(i=0),
        Claim(l=2),
        Claim(l=None),
        Claim(t=2_000),
        Claim(t=float("nan")),
        Claim(o=b"short"),
        Claim(o="o" * 32),
        Claim(h=b"short"),
        Claim(h=None),
        Claim(x=True),
        Claim(d=SEGMENT_BYTES_MAX + 1, l=1),
        Claim(d=2 * SEGMENT_BYTES_MAX, t=2 * SEGMENT_BYTES_MAX, l=2),
    ],
)
def test_a_claim_no_sender_makes_is_none(claim: Claim) -> None:
    assert read_offer(claim) is None


ANYTHING = st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary(), st.booleans())


@given(st.sampled_from("tdilhox"), ANYTHING)
def test_no_claim_raises_and_every_offer_is_bounded(field: str, value: object) -> None:
    offer = read_offer(replace(Claim(), **{field: value}))
    if offer is not None:
        assert offer.size_bytes > 0
        assert 1 <= offer.segment <= offer.segments
        assert unpacked_bytes_max(offer.size_bytes) <= SEGMENT_BYTES_MAX + 1
