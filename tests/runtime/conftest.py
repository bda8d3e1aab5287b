"""Nodes on a loopback network, as most tests of the runtime need them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ciris_mesh.runtime.node import Node
from support.mesh import Mesh


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """A network with a clock of its own; stopped in the end."""
    made = Mesh()
    yield made
    made.stop()


@pytest.fixture
def alice(mesh: Mesh) -> Node:
    """A running node without peers."""
    node = mesh.node("alice")
    node.start()
    return node
