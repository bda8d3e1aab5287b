"""What hostile input over radio costs: the air its sender would have had, and nobody else's.

Three whole nodes on a loopback that calls itself a radio, in hours that pass when told. Alice owes
bob and carol the same records. Of what bob says some is hostile, and from then on he is honest.

Run by hand: the nodes are threads, and on a machine with much else to do an hour may pass while one
of them has not come to speak. The same penalty by itself: `tests/runtime/test_runtime_air.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ciris_mesh.protocol.duty import parse_rule
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.transport.base import LinkId
from ciris_mesh.transport.loopback import LoopbackTransport
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage, Wants
from support.radio_mesh import RadioMesh, settings

pytestmark = pytest.mark.soak

K = EnvelopeKind
NAMES = ("alice", "bob", "carol")
#: More than two peers get in the first hour: there is always something owed to both.
OWED = 8
#: Records that are handed over at once, at most: 15 s of air.
BATCH = 3
HOUR_S = 3_600.0
#: An undisturbed hour at 4 %: 115 s of own air, half of it for each.
DUTY = "4%"


@pytest.fixture
def cell() -> Iterator[RadioMesh]:
    mesh = RadioMesh(*NAMES, radio=settings(duty=DUTY))
    for one, other in (("bob", "carol"), ("carol", "bob")):  # what he says is said to alice
        mesh.nodes[one].runtime.remove_peer(mesh.nodes[other].key_id)
    yield mesh
    mesh.stop()


def spoil(mesh: RadioMesh, name: str, times: int) -> None:
    """Let a node say something hostile instead of its next words about what differs."""
    transport = mesh.nodes[name].runtime.transport
    send, left = transport.send, times

    def hostile(link: LinkId, frame: bytes) -> None:
        nonlocal left
        unwrapped = try_unwrap(frame)
        if left and unwrapped is not None and isinstance(unwrapped.message, ReconcileMessage):
            left -= 1
            message = unwrapped.message
            places = replace(message, ranks=b"\xff" * 40) if isinstance(message, Wants) else None
            raw = frame[:5] + b"\xff" * 40 if places is None else wrap(places)
            LoopbackTransport.send(transport, link, raw)  # type: ignore[arg-type]
        else:
            send(link, frame)

    transport.send = hostile  # type: ignore[method-assign]


def owe(mesh: RadioMesh) -> list[bytes]:
    """Let alice have records the others lack, once both have met her.

    Whoever is alone has all of the air there is, and no time passes here while records do.
    """
    return [mesh.put("alice", K.FAMILY, n) for n in range(OWED)]


def held(mesh: RadioMesh, name: str, ids: list[bytes]) -> int:
    return sum(mesh.has(name, K.FAMILY, each) for each in ids)


def penalties(mesh: RadioMesh) -> int:
    counts = mesh.budget("alice").counts
    return sum(times for name, times in counts.items() if name.startswith("penalty_"))


def test_without_hostile_input_two_peers_have_the_same_air(cell: RadioMesh) -> None:
    cell.start()
    ids = owe(cell)
    cell.let_pass(HOUR_S)
    bob, carol = (held(cell, name, ids) for name in NAMES[1:])
    assert abs(bob - carol) <= BATCH, "the last batch goes to one of them"
    assert min(bob, carol) >= 3
    assert penalties(cell) == 0


def test_hostile_input_costs_its_sender_air_and_what_is_owed_still_comes(cell: RadioMesh) -> None:
    cell.start()
    spoil(cell, "bob", 2)
    ids = owe(cell)
    cell.let_pass(HOUR_S)
    bob, carol = (held(cell, name, ids) for name in NAMES[1:])
    assert penalties(cell) == 2
    assert carol >= 3, "nobody else pays for it"
    assert bob <= carol / 2
    refused = cell.nodes["alice"].runtime.drops.snapshot()
    assert any(name.startswith(("reconcile_", "frame_", "batch_")) for name in refused)
    for name, radio in cell.radios.items():
        assert radio.worst_hour() <= parse_rule(DUTY).limit_s, name  # type: ignore[operator]
    cell.let_pass_until(lambda: held(cell, "bob", ids) == OWED, 48, "it is all there in the end")
