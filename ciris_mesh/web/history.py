"""How it went over the last day: per peer and kind what was missing, per radio its air. Pure.

Kept in memory only: a day of it is not worth the writes to a card.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

#: Five minutes: a day is 288 points, as many as a phone has columns.
STEP_S: Final = 300.0
POINTS_MAX: Final = 288
#: 64 peers times 13 kinds times 288 small numbers are 2 MB; more peers are followed in total only.
PEERS_MAX: Final = 64
RADIOS_MAX: Final = 16
#: In place of a number nobody knows.
UNKNOWN: Final = -1

_Row = deque[float]


class History:
    """Rings of equally spaced points, the oldest first. One thread."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=POINTS_MAX)
        self._missing: dict[tuple[str, str], _Row] = {}
        self._radios: dict[str, tuple[_Row, _Row]] = {}
        self._names: dict[str, str] = {}

    def add(self, at_s: float, status: Mapping[str, Any], budget: Mapping[str, Any]) -> None:
        """Take one point.

        Args:
            at_s: Unix seconds. `status` and `budget`: the JSON of these commands.
        """
        self._times.append(at_s)
        peers = status["peers"][:PEERS_MAX]
        self._names = {peer["key_id"]: peer["alias"] or peer["key_id"] for peer in peers}
        found = {
            (peer["key_id"], kind["kind"]): _number(kind["missing"])
            for peer in peers
            for kind in peer["kinds"]
        }
        self._missing = {
            key: row for key, row in self._missing.items() if key[0] in self._names
        } | {key: self._missing.get(key) or self._empty() for key in found}
        for key, row in self._missing.items():
            row.append(found.get(key, UNKNOWN))
        self._add_radios(budget["interfaces"][:RADIOS_MAX])

    def _add_radios(self, radios: list[Mapping[str, Any]]) -> None:
        found = {radio["name"]: radio for radio in radios}
        self._radios = {
            name: self._radios.get(name) or (self._empty(), self._empty()) for name in found
        }
        for name, (used, limit) in self._radios.items():
            used.append(_number(found[name]["used_s"]))
            limit.append(_number(found[name]["limit_s"]))

    def _empty(self) -> _Row:
        """A row as long as the times before this point, of nothing known."""
        return deque([UNKNOWN] * (len(self._times) - 1), maxlen=POINTS_MAX)

    def series(self) -> dict[str, Any]:
        """Everything, as JSON: times, `missing` a row per peer and kind, `air` a row per radio."""
        return {
            "step_s": STEP_S,
            "times": list(self._times),
            "missing": [
                {"peer": key_id, "name": self._names[key_id], "kind": kind, "values": list(row)}
                for (key_id, kind), row in sorted(self._missing.items())
            ],
            "air": [
                {"name": name, "used_s": list(used), "limit_s": list(limit)}
                for name, (used, limit) in sorted(self._radios.items())
            ],
        }


def _number(value: float | None) -> float:
    return UNKNOWN if value is None else round(value, 1)
