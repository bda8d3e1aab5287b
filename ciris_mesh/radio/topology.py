"""Who hears whom: three shapes and a file format. Pure.

A file has one line for each pair of nodes that hear each other, numbered from 0, with the strength
in dBm where it matters for which of two frames survives a collision. `>` is one way only:

    # two leaves that do not hear each other, and a hub that does not hear leaf 2 well
    0 1
    0 2 -95
    2 > 0 -100
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ciris_mesh.errors import ConfigError

#: A channel with more stations than this carries nothing; a pty takes two descriptors each.
NODES_MAX: Final = 64
#: Well above the noise at every spreading factor, and the same for all: no capture.
SIGNAL_DBM: Final = -80.0
_DBM_MIN: Final = -150.0
_DBM_MAX: Final = 30.0

_LINE: Final = re.compile(r"(\d{1,4})\s+(>\s+)?(\d{1,4})(?:\s+([+-]?\d{1,3}(?:\.\d{1,2})?))?")


@dataclass(frozen=True, slots=True)
class Reach:
    """What arrives where.

    Attributes:
        nodes: how many there are.
        signals: (sender, receiver) -> dBm; a pair that is missing does not hear the sender.
    """

    nodes: int
    signals: Mapping[tuple[int, int], float]

    def signal(self, sender: int, receiver: int) -> float | None:
        """Strength in dBm at which `receiver` hears `sender`; None when it does not."""
        return self.signals.get((sender, receiver))


def full(nodes: int) -> Reach:
    """Everybody hears everybody."""
    return _reach(nodes, [(a, b) for a in range(nodes) for b in range(a)])


def line(nodes: int) -> Reach:
    """Each hears the one before and the one after."""
    return _reach(nodes, [(a, a + 1) for a in range(nodes - 1)])


def star(nodes: int) -> Reach:
    """All hear node 0 and nobody else: they are hidden from each other."""
    return _reach(nodes, [(0, a) for a in range(1, nodes)])


#: Shapes by name.
SHAPES: Final[Mapping[str, Callable[[int], Reach]]] = MappingProxyType(
    {"full": full, "line": line, "star": star}
)


def _reach(nodes: int, pairs: list[tuple[int, int]]) -> Reach:
    both = [*pairs, *((b, a) for a, b in pairs)]
    return Reach(nodes, MappingProxyType(dict.fromkeys(both, SIGNAL_DBM)))


def parse(text: str, nodes: int) -> Reach:
    """Read the file format above for a number of nodes.

    A later line about the same pair and direction replaces an earlier one.

    Raises:
        ConfigError: a line is none, or names a node there is not.
    """
    signals: dict[tuple[int, int], float] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        content = raw.partition("#")[0].strip()
        if content:
            one_way, a, b, dbm = _parse_line(number, content, nodes)
            signals[a, b] = dbm
            if not one_way:
                signals[b, a] = dbm
    return Reach(nodes, MappingProxyType(signals))


def _parse_line(number: int, content: str, nodes: int) -> tuple[bool, int, int, float]:
    found = _LINE.fullmatch(content)
    if found is None:
        raise ConfigError(
            f"topology line {number}: {content[:40]!r} is no pair; write it like `0 1` or `0 > 1 "
            "-90`"
        )
    a, b, dbm = int(found[1]), int(found[3]), float(found[4] or SIGNAL_DBM)
    if a == b or max(a, b) >= nodes:
        raise ConfigError(
            f"topology line {number}: {content[:40]!r} must name two of the nodes 0 to {nodes - 1}"
        )
    if not _DBM_MIN <= dbm <= _DBM_MAX:
        raise ConfigError(
            f"topology line {number}: {dbm} dBm is not from {_DBM_MIN:g} to {_DBM_MAX:g}"
        )
    return found[2] is not None, a, b, dbm
