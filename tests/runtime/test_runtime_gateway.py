"""A gateway that is away for an hour: its cell goes on, and catches up when it is back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ciris_mesh.records.kinds import EnvelopeKind
from support.radio_mesh import RadioMesh, settings

K = EnvelopeKind.REVOCATION


@pytest.fixture
def cell() -> Iterator[RadioMesh]:
    made = RadioMesh("gateway", "alice", "bob", radio=settings("10%"))
    yield made
    made.stop()


def test_the_cell_goes_on_without_its_gateway_and_catches_up(cell: RadioMesh) -> None:
    cell.start()
    gateway = cell.nodes["gateway"]
    gateway.stop()
    del cell.nodes["gateway"]

    meanwhile = cell.put("alice", K, 1)
    cell.let_pass_until(lambda: cell.has("bob", K, meanwhile), 1, "bob has it without the gateway")
    cell.let_pass(3_600.0)
    assert not gateway.directory.get(K, meanwhile)

    back = cell.add("gateway", ("alice", "bob"), directory=gateway.directory, radio=settings("10%"))
    for name in ("alice", "bob"):
        back.add_peer(cell.config(name))
    inside = cell.put("gateway", K, 2)  # what came in by TCP while the cell did not hear of it
    back.start()
    for name, record in (("gateway", meanwhile), ("alice", inside), ("bob", inside)):
        cell.let_pass_until(
            lambda name=name, record=record: cell.has(name, K, record), 6, f"{name} catches up"
        )
    assert all(cell.radios[name].worst_hour() <= 360.0 for name in cell.radios)
