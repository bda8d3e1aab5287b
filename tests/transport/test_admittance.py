"""Who may send how much: a case that is let in and one that is not for each rule."""

from __future__ import annotations

import pytest

from ciris_mesh.transport import patience
from ciris_mesh.transport.admittance import (
    MISBEHAVIOUR_MAX,
    FirstContact,
    Misbehaviour,
    refusal,
)
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.limits import (
    FIRST_CONTACT_FRAME_BYTES_MAX,
    FIRST_CONTACT_FRAMES_MAX,
    FIRST_CONTACT_REQUESTS_MAX,
    FRAME_BYTES_MAX,
)
from ciris_mesh.transport.reasons import DropReason

FRIEND = Address(b"f" * 16)
STRANGER = Address(b"s" * 16)
PERMITTED = frozenset({FRIEND})


@pytest.mark.parametrize(
    ("sender", "size", "before", "expected"),
    [
        (FRIEND, FRAME_BYTES_MAX, 10_000, None),
        (FRIEND, FRAME_BYTES_MAX + 1, 0, "frame_too_large"),
        (STRANGER, FRAME_BYTES_MAX + 1, 0, "frame_too_large"),
        (STRANGER, FIRST_CONTACT_FRAME_BYTES_MAX, 0, None),
        (STRANGER, FIRST_CONTACT_FRAME_BYTES_MAX + 1, 0, "frame_not_permitted"),
        (STRANGER, 1, FIRST_CONTACT_FRAMES_MAX - 1, None),
        (STRANGER, 1, FIRST_CONTACT_FRAMES_MAX, "frames_not_permitted"),
        (None, FIRST_CONTACT_FRAME_BYTES_MAX, 0, None),
        (None, FIRST_CONTACT_FRAME_BYTES_MAX + 1, 0, "frame_not_permitted"),
        (None, 1, FIRST_CONTACT_FRAMES_MAX, "frames_not_permitted"),
    ],
)
def test_what_a_sender_may_send(
    sender: Address | None, size: int, before: int, expected: str | None
) -> None:
    assert refusal(sender, size, frames_before=before, permitted=PERMITTED) == expected


RTT_S = 0.01


@pytest.mark.parametrize("sender", [STRANGER, None])
def test_who_is_not_permitted_may_ask_only_so_often(sender: Address | None) -> None:
    contact = FirstContact(0.0)
    asked = [contact.asks_too_much(sender, PERMITTED) for _ in range(FIRST_CONTACT_REQUESTS_MAX)]
    assert not any(asked)
    assert contact.asks_too_much(sender, PERMITTED)


def test_a_peer_may_ask_as_often_as_it_likes() -> None:
    contact = FirstContact(0.0)
    assert not any(contact.asks_too_much(FRIEND, PERMITTED) for _ in range(10_000))


def test_every_retry_of_an_honest_first_contact_fits() -> None:
    assert FIRST_CONTACT_REQUESTS_MAX >= 2 * FIRST_CONTACT_FRAMES_MAX


@pytest.mark.parametrize(
    ("sender", "age_s", "expected"),
    [
        (FRIEND, 1e9, None),
        (None, patience.identify_s(RTT_S) - 0.1, None),
        (None, patience.identify_s(RTT_S) + 0.1, "unidentified"),
        (STRANGER, patience.identify_s(RTT_S) + 0.1, None),
        (STRANGER, patience.first_contact_s(RTT_S) - 0.1, None),
        (STRANGER, patience.first_contact_s(RTT_S) + 0.1, "overstayed"),
    ],
)
def test_how_long_a_link_may_be_held(
    sender: Address | None, age_s: float, expected: str | None
) -> None:
    assert FirstContact(5.0).overdue(sender, 5.0 + age_s, RTT_S, PERMITTED) == expected


def test_the_time_of_one_that_was_a_peer_begins_when_it_is_none_any_more() -> None:
    contact = FirstContact(0.0)
    assert contact.overdue(FRIEND, 10_000.0, RTT_S, PERMITTED) is None
    assert contact.overdue(FRIEND, 10_001.0, RTT_S, frozenset()) is None
    late_s = 10_000.1 + patience.first_contact_s(RTT_S)
    assert contact.overdue(FRIEND, late_s, RTT_S, frozenset()) == "overstayed"


def test_each_misdeed_counts_and_a_resource_offered_again_only_towards_the_end() -> None:
    told: list[DropReason] = []
    misbehaviour = Misbehaviour(told.append)
    for resource in ("", "", "one", "one", "two"):
        assert not misbehaviour.is_too_much(DropReason.FRAME_UNREADABLE, resource)
    assert told == [DropReason.FRAME_UNREADABLE] * 4
    for _ in range(MISBEHAVIOUR_MAX - 5):
        assert not misbehaviour.is_too_much(DropReason.FRAME_UNREADABLE, "one")
    assert misbehaviour.is_too_much(DropReason.FRAME_UNREADABLE, "one")
    assert len(told) == 4
