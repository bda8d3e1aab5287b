"""The block on top: well or not, whatever the list below it holds."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import RenderableType

from ciris_mesh.runtime.status import KindFreshness, PeerStatus, TransferStatus
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.health import health_block, peers_health
from ciris_mesh.ui.tables import transfers_table

KIND = KindFreshness("key", "in_sync", 0, 5.0, fresh=True)
PEER = PeerStatus(
    key_id="bob-abcdefghijklmnop",
    alias="bob",
    address="00" * 16,
    state="connected",
    medium="radio",
    reason="",
    last_heard_s=1.0,
    fresh=True,
    missing=None,
    rounds={},
    kinds=(KIND,),
)


def shown(view: RenderableType) -> str:
    out = io.StringIO()
    make_console(out).print(view)
    return out.getvalue()


def test_all_well_and_what_is_not() -> None:
    assert shown(health_block([], "3 peers")) == "# Health\n+ healthy: 3 peers\n"
    assert shown(health_block(["a is down", "b too"], "")) == "# Health\n! a is down\n! b too\n"


@pytest.mark.parametrize(
    ("peers", "says"),
    [
        ([], "+ healthy: no peers yet"),
        ([PEER, PEER], "+ healthy: 2 peers agreed with this node lately"),
        ([PEER, replace(PEER, fresh=False, state="dialing")], "+ healthy: 1 of 2 peers"),
        (
            [replace(PEER, fresh=False, state="unreachable", reason="no_path")],
            "! peer bob: no_path",
        ),
        (
            [replace(PEER, fresh=False, kinds=(replace(KIND, fresh=False), KIND))],
            "! peer bob: connected, and 1 kind not confirmed lately",
        ),
        ([replace(PEER, state="not running", fresh=False)], "! no node runs here"),
    ],
)
def test_of_peers(peers: list[PeerStatus], says: str) -> None:
    assert says in shown(peers_health(peers))


def test_a_transfer_has_a_bar_bytes_rate_and_time_left() -> None:
    half = TransferStatus("bob", "in", 1700, 3400, 85.0, 20.0)
    start = TransferStatus("x" * 40, "out", 0, 2_000_000, 0.0, None)
    lines = shown(transfers_table([half, start])).splitlines()
    assert lines[1].split() == [
        "from", "bob", "[########........]", "1.7", "kB", "of", "3.4", "kB", "85", "B/s", "20", "s",
    ]  # fmt: skip
    assert "[................]" in lines[2]
    assert lines[2].rstrip().endswith("?")
    assert max(map(len, lines)) <= 80


def test_what_others_wrote_moves_no_cursor() -> None:
    text = shown(health_block(["peer b\x1b[31mob\u202e: gone"], ""))
    assert text == "# Health\n! peer b?[31mob?: gone\n"
