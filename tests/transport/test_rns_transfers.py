"""What is told of a transfer under way, from what Reticulum knows of it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from ciris_mesh.transport.base import Address
from ciris_mesh.transport.rns_media import transfer_rows


def resource(*, share: float, total: int, begun_s: float | None) -> Any:
    return SimpleNamespace(
        total_size=total, started_transferring=begun_s, get_progress=lambda: share
    )


def test_rows_say_who_which_way_how_much_and_since_when() -> None:
    now_s = time.time()
    link = SimpleNamespace(
        incoming_resources=[resource(share=0.25, total=4000, begun_s=now_s - 10)],
        outgoing_resources=[
            resource(share=0.0, total=900, begun_s=None),  # offered, and nothing taken yet
            resource(share=0.5, total=900, begun_s=now_s + 60),  # the clock was turned back
        ],
    )
    there = Address(b"a" * 16)
    first, second = transfer_rows([(link, there)])
    assert (first.address, first.inbound, first.done_bytes, first.total_bytes) == (
        there,
        True,
        1000,
        4000,
    )
    assert first.elapsed_s >= 10
    assert (second.inbound, second.done_bytes, second.elapsed_s) == (False, 450, 0.0)
