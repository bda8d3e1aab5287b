"""What the page shows, asked of a running node as its control socket would be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Final

from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.operations import Operations
from ciris_mesh.web.topology import topology

#: One answer is good for everybody who asks within this.
_AGE_S: Final = 1.0
PAGE_ROWS: Final = 50


class NodeSource:
    """Reads a node. Thread-safe as the operations are; answers are plain JSON values."""

    def __init__(
        self, operations: Operations, name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._operations = operations
        self._table = operations.table()
        self.name = name
        self._clock = clock
        self._known: tuple[float, dict[str, Any]] | None = None

    def overview(self) -> dict[str, Any]:
        """`status` and `budget` together, and the node's name."""
        known = self._known
        if known is None or self._clock() - known[0] > _AGE_S:
            view = {"name": self.name, "status": self.ask("status"), "budget": self.ask("budget")}
            self._known = known = self._clock(), view
        return known[1]

    def map(self) -> dict[str, Any]:
        """The map; see `topology`."""
        return asdict(topology(self.overview()["status"], self.name))

    def ask(self, op: str, **given: Any) -> Any:
        """One operation of the control socket. Raises OperatorError."""
        return _plain(self._table[op](given))

    def events(self, after: int) -> list[dict[str, Any]]:
        """Rounds that ended since event number `after`."""
        rows: list[dict[str, Any]] = self.ask("events", after=after)
        return rows

    def records(self, kind: str | None, after: int) -> list[dict[str, Any]]:
        """A page of records in the order they were admitted. Raises OperatorError."""
        rows: list[dict[str, Any]] = self.ask("records", kind=kind, after=after, limit=PAGE_ROWS)
        return rows

    def record(self, kind: str, envelope_id: str) -> dict[str, Any]:
        """One record, and each step of verifying it again now. Raises OperatorError."""
        row: dict[str, Any] = self.ask("record", kind=kind, envelope_id=envelope_id)
        trust = self._operations.trust
        result = verify_bytes(
            EnvelopeKind(kind), row["envelope"].encode(), self._key, pinned=trust.pinned
        )
        checks = [asdict(check) for check in result.checks]
        outcome = {"outcome": result.verdict.outcome.value, "reason": result.verdict.reason.value}
        return {**row, "checks": checks, **outcome}

    def _key(self, key_id: str) -> HybridPublicKey | None:
        """The key under which records here were verified."""
        return self._operations.node.directory.public_key(key_id)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value
