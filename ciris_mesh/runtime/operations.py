"""What a running node does when asked over its control socket: one row per operation."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ciris_mesh.directory.base import StoredRow, Waiting
from ciris_mesh.directory.vouches import vouchers_of
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.announcing import announce_node
from ciris_mesh.runtime.budget import RadioBudget
from ciris_mesh.runtime.bundle import BATCH_RECORDS_MAX, page_of
from ciris_mesh.runtime.clock import Clock, untrusted
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.peeroperations import PeerOperations, text_of
from ciris_mesh.runtime.registryoperations import RegistryOperations
from ciris_mesh.runtime.registrypins import RegistryPin
from ciris_mesh.runtime.registryreport import registry_rows
from ciris_mesh.runtime.reporting import node_status, peer_status

#: Rows in one answer; a page of records is asked for by position.
ROWS_MAX: Final = 1000
#: Each names up to sixteen tokens: an answer to another node holds 256 kB.
WAITING_MAX: Final = 100

Arguments = dict[str, Any]

#: What members of the configured group may ask; the rest changes something.
READ_OPS: Final = frozenset(
    {
        *("status", "budget", "peers", "candidates", "registries", "converged"),
        *("ids", "records", "record", "waiting", "resolve", "events"),
    }
)


@dataclass(frozen=True, slots=True)
class Operations:
    """The handlers of one node.

    Args:
        started_s: monotonic time at which the node was started.
        trust: what the configuration says of others; answers depend on it.
        not_before_ms: a time that has passed, as trustworthy records show.
        former: see `PeerOperations`.
        registries: the book of registry nodes and what the configuration says beside it.
    """

    node: Node
    book: PeerBook
    clock: Clock
    started_s: float
    budget: RadioBudget
    trust: Trust = field(default_factory=Trust)
    not_before_ms: Callable[[], int] = lambda: 0
    former: Path | None = None
    registries: tuple[Path, Sequence[RegistryPin]] | None = None

    def table(self) -> Mapping[str, Callable[[Arguments], object]]:
        """Operation -> handler, for the control server."""
        return {
            "status": self._status,
            "budget": self._budget,
            "admit": self._admit,
            "import_batch": self._import_batch,
            "export_page": self._export_page,
            "peers": self._peers,
            "registries": lambda _: registry_rows(self.node.runtime),
            **RegistryOperations(
                self.node.runtime, self.clock, *(self.registries or (None, ()))
            ).table(),
            **PeerOperations(self.node, self.book, self.clock, self.former).table(),
            "sync": self._sync,
            "announce": self._announce,
            "converged": self._converged,
            "ids": self._ids,
            "records": self._records,
            "record": self._record,
            "waiting": self._waiting,
            "resolve": self._resolve,
            "events": self._events,
        }

    def _status(self, _: Arguments) -> object:
        uptime_s = self.clock.monotonic_s() - self.started_s
        word = untrusted(self.clock, not_before_ms=self.not_before_ms()) or "trusted"
        return node_status(
            self.node, uptime_s=uptime_s, clock=word, clock_source=self.clock.source()
        )

    def _budget(self, _: Arguments) -> object:
        runtime = self.node.runtime
        aliases = {peer.config.key_id: peer.config.alias for peer in runtime.peers.all()}
        return self.budget.status(runtime.interfaces(), aliases, self.clock.monotonic_s())

    def _admit(self, arguments: Arguments) -> object:
        envelope = _hex(arguments, "envelope_hex")
        verdict = self.node.runtime.admit_own(_kind(arguments), envelope)
        return {
            "outcome": verdict.outcome.value,
            "reason": verdict.reason.value,
            "envelope_id": verdict.envelope_id.hex() if verdict.envelope_id else None,
            "detail": verdict.detail,
        }

    def _import_batch(self, arguments: Arguments) -> object:
        records = arguments.get("records")
        if not isinstance(records, list) or len(records) > BATCH_RECORDS_MAX:
            raise OperatorError(f"records must be a list of at most {BATCH_RECORDS_MAX} records")
        offered = [(_kind(row), _base64(row, "envelope_base64")) for row in map(_object, records)]
        answers = self.node.runtime.admit_imported(offered)
        return [{"outcome": outcome.value, "reason": reason.value} for outcome, reason in answers]

    def _export_page(self, arguments: Arguments) -> object:
        kind = _kind(arguments) if arguments.get("kind") else None
        page = page_of(self.node.directory, kind, _count(arguments, "after", 0))
        rows = [
            {
                "position": position,
                "kind": row_kind.value,
                "envelope_base64": base64.b64encode(envelope).decode(),
            }
            for position, row_kind, envelope in page.rows
        ]
        return {"rows": rows, "after": page.after, "is_last": page.is_last}

    def _peers(self, _: Arguments) -> object:
        runtime = self.node.runtime
        stats = runtime.transport.stats()
        return [peer_status(self.node, peer, stats) for peer in runtime.peers.all()]

    def _sync(self, arguments: Arguments) -> object:
        name = arguments.get("peer")
        key_id = self.book.find(str(name)).key_id if name else None
        return {"queued": self.node.handle.sync(key_id)}

    def _announce(self, _: Arguments) -> object:
        left_out = announce_node(self.node)
        address = self.node.runtime.transport.address.hex()
        return {"address": address, "radios_left_out": left_out}

    def _converged(self, arguments: Arguments) -> object:
        within_s = arguments.get("within_s")
        if within_s is not None and not isinstance(within_s, int | float):
            raise OperatorError("within_s must be a number of seconds")
        waiting = self.node.handle.waiting_for(within_s)
        return {"converged": not waiting, "waiting": waiting}

    def _ids(self, arguments: Arguments) -> object:
        refs = self.node.directory.holdings(_kind(arguments))
        return sorted(ref.envelope_hash.hex() for ref in refs)

    def _records(self, arguments: Arguments) -> object:
        kind = _kind(arguments) if arguments.get("kind") else None
        limit = min(_count(arguments, "limit", 100), ROWS_MAX)
        after = _count(arguments, "after", 0)
        rows = self.node.directory.rows(kind, limit=limit, after=after)
        return [{"position": position, **row_fields(row)} for position, row in rows]

    def _record(self, arguments: Arguments) -> object:
        row = self.node.directory.get(_kind(arguments), _hex(arguments, "envelope_id"))
        if row is None:
            raise OperatorError("no such record here")
        whole = {**row_fields(row), "envelope": row.envelope.decode()}
        now_ms = self.clock.wall_ms()
        lacking = self.node.directory.lacks(row.kind, row.envelope_id, now_ms=now_ms)
        if lacking is not None:
            brought_by = self.node.directory.brought_by(row.kind, row.envelope_id)
            vouched_by = vouchers_of(self.node.directory, row.kind, row.envelope_id)
            whole |= {"lacks": lacking.reason.value, "detail": lacking.detail}
            whole |= {"brought_by": brought_by, "vouched_by": vouched_by}
        return whole

    def _waiting(self, arguments: Arguments) -> object:
        limit = min(_count(arguments, "limit", WAITING_MAX), WAITING_MAX)
        found = self.node.directory.waiting(limit=limit, after=_count(arguments, "after", 0))
        return [waiting_fields(it) for it in found]

    def _resolve(self, arguments: Arguments) -> object:
        # Loaded when first asked: 1.3 MB that most nodes never need.
        from ciris_mesh.runtime.resolving import answer, confirmations

        runtime = self.node.runtime
        at = arguments.get("at")
        return answer(
            self.node.directory,
            self.trust,
            text_of(arguments, "question"),
            text_of(arguments, "subject"),
            more=str(arguments.get("more") or ""),
            at=None if at is None else str(at),
            now_ms=self.clock.wall_ms(),
            confirmed=confirmations(runtime.board, runtime.peers.key_ids()),
            tau_partial_s=runtime.board.tau_partial_s,
            pending=runtime.previews.pending(),
        )

    def _events(self, arguments: Arguments) -> object:
        recent = self.node.runtime.events.recent(_count(arguments, "after", 0))
        return [{"number": number, **event.fields()} for number, event in recent]


def waiting_fields(it: Waiting) -> dict[str, object]:
    """What waits, as `records --waiting --json` shows it."""
    return {
        "position": it.position,
        "kind": it.kind.value,
        "envelope_id": it.envelope_id.hex(),
        "signers": list(it.signers),
        "path": it.source.path,
        "peer": it.source.peer,
        "waits_for": list(it.waits_for),
        "not_before_ms": it.not_before_ms or None,
        "since_ms": it.since_ms,
        "bytes": it.size_bytes,
    }


def row_fields(row: StoredRow) -> dict[str, object]:
    """A stored row as `records --json` shows it, without its bytes."""
    return {
        "kind": row.kind.value,
        "envelope_id": row.envelope_id.hex(),
        "shelf": row.shelf.name.lower(),
        "seq": row.seq,
        "subject": row.subject,
        "signers": list(row.signers),
        "admitted_at_ms": row.admitted_at_ms,
    }


def _kind(arguments: Arguments) -> EnvelopeKind:
    try:
        return EnvelopeKind(text_of(arguments, "kind"))
    except ValueError:
        known = ", ".join(kind.value for kind in EnvelopeKind)
        raise OperatorError(f"unknown kind {arguments.get('kind')!r}; one of: {known}") from None


def _hex(arguments: Arguments, name: str) -> bytes:
    try:
        return bytes.fromhex(text_of(arguments, name))
    except ValueError:
        raise OperatorError(f"{name} is not hexadecimal") from None


def _base64(arguments: Arguments, name: str) -> bytes:
    try:
        return base64.b64decode(text_of(arguments, name), validate=True)
    except ValueError:
        raise OperatorError(f"{name} is not base64") from None


def _object(value: object) -> Arguments:
    if not isinstance(value, dict):
        raise OperatorError("every record of the request must be an object")
    return value


def _count(arguments: Arguments, name: str, default: int) -> int:
    value = arguments.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise OperatorError(f"{name} must be a number, 0 or more")
    return value
