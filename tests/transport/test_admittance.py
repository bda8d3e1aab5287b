"""Who may send how much: a case that is let in and one that is not for each rule."""

from __future__ import annotations

import pytest

from ciris_mesh.transport.admittance import refusal
from ciris_mesh.transport.base import Address
from ciris_mesh.transport.limits import (
    FIRST_CONTACT_FRAME_BYTES_MAX,
    FIRST_CONTACT_FRAMES_MAX,
    FRAME_BYTES_MAX,
)

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
