"""Who is in a simulated federation, and who exchanges with whom.

    leaf --+                           field
           +-- registry == registry      |
    leaf --+        |                  field
                 gateway --- air --- /   |
                                       field

Registries are all each other's peers. Leaves and gateways are peers of two registries. In a cell
everybody hears everybody; a field node is the peer of its gateway and of its two neighbours.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ciris_mesh.errors import OperatorError

#: A registry more would only answer the same: two survive the loss of one.
_UPLINKS: Final = 2


class Role(StrEnum):
    """What a node is for."""

    REGISTRY = "registry"
    GATEWAY = "gateway"
    FIELD = "field"
    LEAF = "leaf"

    @property
    def has_tcp(self) -> bool:
        """Whether it is reached by TCP."""
        return self is not Role.FIELD

    @property
    def has_radio(self) -> bool:
        """Whether it is in a cell."""
        return self in (Role.GATEWAY, Role.FIELD)


@dataclass(frozen=True, slots=True)
class Layout:
    """Nodes by number, from 0.

    Attributes:
        cells: of each node the number of its cell; -1 for none.
        tcp, air: of each node its peers over that.
    """

    roles: tuple[Role, ...]
    cells: tuple[int, ...]
    tcp: tuple[tuple[int, ...], ...]
    air: tuple[tuple[int, ...], ...]

    def name(self, number: int) -> str:
        """What to call a node when talking to people."""
        before = self.roles[:number].count(self.roles[number])
        return f"{self.roles[number]}-{before + 1}"


def federation(
    nodes: int, *, cells: int, cell_nodes: int, registries: int, chance: random.Random
) -> Layout:
    """Lay out a federation; what is neither registry nor in a cell is a leaf.

    Args:
        cell_nodes: field nodes of each cell, its gateway not counted.

    Raises:
        OperatorError: so many cells do not fit into so few nodes.
    """
    leaves = nodes - registries - cells * (1 + cell_nodes)
    if leaves < 0:
        raise OperatorError(
            f"{registries} registries and {cells} cells of {cell_nodes} field nodes and a gateway "
            f"are {nodes - leaves} nodes; allow for more nodes, or for fewer cells"
        )
    made = _Making()
    hubs = [made.add(Role.REGISTRY) for _ in range(registries)]
    for number, hub in enumerate(hubs):
        for other in hubs[:number]:
            made.join(made.tcp, hub, other)
    for cell in range(cells):
        _add_cell(made, cell, cell_nodes, hubs, chance)
    for _ in range(leaves):
        _attach(made, made.add(Role.LEAF), hubs, chance)
    return made.layout()


class _Making:
    def __init__(self) -> None:
        self.roles: list[Role] = []
        self.cells: list[int] = []
        self.tcp: list[list[int]] = []
        self.air: list[list[int]] = []

    def add(self, role: Role, cell: int = -1) -> int:
        self.roles.append(role)
        self.cells.append(cell)
        self.tcp.append([])
        self.air.append([])
        return len(self.roles) - 1

    def join(self, links: list[list[int]], one: int, other: int) -> None:
        if one != other and other not in links[one]:
            links[one].append(other)
            links[other].append(one)

    def layout(self) -> Layout:
        tcp, air = (tuple(map(tuple, links)) for links in (self.tcp, self.air))
        return Layout(tuple(self.roles), tuple(self.cells), tcp, air)


def _add_cell(
    made: _Making, cell: int, cell_nodes: int, hubs: list[int], chance: random.Random
) -> None:
    gateway = made.add(Role.GATEWAY, cell)
    _attach(made, gateway, hubs, chance)
    field = [made.add(Role.FIELD, cell) for _ in range(cell_nodes)]
    for number, node in enumerate(field):
        made.join(made.air, gateway, node)
        made.join(made.air, node, field[number - 1])


def _attach(made: _Making, node: int, hubs: list[int], chance: random.Random) -> None:
    for hub in chance.sample(hubs, min(_UPLINKS, len(hubs))):
        made.join(made.tcp, node, hub)
