"""Who peers with whom in a demo."""

from __future__ import annotations

import pytest

from ciris_mesh.demo.layout import (
    FULL_MESH_NODES_MAX,
    NODES_MAX,
    node_name,
    peers_of,
)


@pytest.mark.parametrize("count", range(1, NODES_MAX + 1))
def test_peering_is_mutual_connected_and_without_oneself(count: int) -> None:
    peers = {index: set(peers_of(index, count)) for index in range(count)}
    for index, others in peers.items():
        assert index not in others
        assert all(index in peers[other] for other in others)
    seen = {0}
    front = {0}
    while front:
        front = {other for index in front for other in peers[index]} - seen
        seen |= front
    assert seen == set(range(count))


def test_small_meshes_are_full_and_large_ones_are_not() -> None:
    full = FULL_MESH_NODES_MAX
    assert len(peers_of(0, full)) == full - 1
    assert max(len(peers_of(index, NODES_MAX)) for index in range(NODES_MAX)) == 4


def test_names_are_unique_and_fit_a_key_id() -> None:
    names = [node_name(index) for index in range(NODES_MAX)]
    assert len(set(names)) == NODES_MAX
    assert all(name.isalnum() and name.islower() and len(name) <= 32 for name in names)
