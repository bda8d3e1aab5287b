"""What an answer is made of and what it is read from.

An answer depends on the set of rows, on the trust this node's configuration states, and on the
instant asked about; never on the order of rows, on how often they came, or on a clock. Rows are
read by name (`records.names`). A name with more rows than `ROWS_PER_NAME_MAX` ends the question in
an answer that says so: part of the rows would make the answer depend on which part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records import timestamps
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.names import names_of
from ciris_mesh.records.tokens import tokens_of

#: Reading a row takes about a millisecond on a Raspberry Pi, and people wait for the answer.
ROWS_PER_NAME_MAX: Final = 1000
#: All rows of one answer: what a socket's ten seconds allow.
ROWS_PER_ANSWER_MAX: Final = 5000
#: Entries shown of a list that only informs (losers, claims); the count beside it is exact.
SHOWN_MAX: Final = 100

FEDERATION: Final = "federation"
SHELVES: Final = frozenset({FEDERATION, "bridged", "local"})

_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One record here. Only rows of the federation shelf decide anything.

    Raises:
        LocalProtocolError: no such shelf.
    """

    envelope: Envelope
    shelf: str = FEDERATION

    def __post_init__(self) -> None:
        if self.shelf not in SHELVES:
            raise LocalProtocolError(f"{self.shelf!r} is no shelf")


class Rows(Protocol):
    """Where rows are read from: a set of them, or a directory."""

    def named(self, name: str, *, limit: int) -> list[Row]:
        """Rows, in any order, that answer to a name, or to a token; at most `limit`."""
        ...


class RowSet:
    """A set of rows in memory."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[str, dict[tuple[EnvelopeKind, bytes], Row]] = {}
        for row in rows:
            envelope = row.envelope
            tokens = tokens_of(envelope) if row.shelf == FEDERATION else ()
            for each in (*names_of(envelope), *tokens):
                known = self._rows.setdefault(each, {})
                known.setdefault((envelope.kind, envelope.envelope_id), row)

    def named(self, name: str, *, limit: int) -> list[Row]:
        """See Rows."""
        return list(self._rows.get(name, {}).values())[:limit]


class Status(StrEnum):
    """The answer in one word. Closed set."""

    VALID = "valid"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUSPECT = "suspect"
    NOT_REVOKED = "not_revoked"
    ROOTED = "rooted"
    NOT_ROOTED = "not_rooted"
    ANSWERED = "answered"
    EMPTY = "empty"
    ENDED = "ended"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the reasoning. What it says in words is whoever shows it's.

    Attributes:
        rule: a stable word; see `ciris_mesh/ui/reasons.py` for each in a sentence.
        about: whom or what the step is about.
        by: who did it.
        at: when, RFC 3339.
        record: the envelope id, 64 hex digits; "" without one.
        count: a number the rule compares, and `needed`, with what.
        note: a stable word or a value that completes the sentence.
    """

    rule: str
    about: str = ""
    by: str = ""
    at: str = ""
    record: str = ""
    count: int | None = None
    needed: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a question's function returns: the word, the typed finding, and why."""

    status: Status
    found: Any
    steps: tuple[Step, ...] = field(default=())


def record_id(envelope: Envelope) -> str:
    """The envelope id as steps and answers show it."""
    return envelope.envelope_id.hex()


def own_time(envelope: Envelope) -> str:
    """The record's own time, as its column has it."""
    return str(envelope.record[KINDS[envelope.kind].seq_field])


def column(envelope: Envelope, name: str) -> str:
    """A column as text; "" when it is absent."""
    value = envelope.record.get(name)
    return value if isinstance(value, str) else ""


def column_ns(envelope: Envelope, name: str) -> int | None:
    """A time column in Unix nanoseconds; None when it is absent."""
    value = envelope.record.get(name)
    return timestamps.to_unix_ns(value) if isinstance(value, str) else None


def made_at_ns(envelope: Envelope) -> int:
    """The record's own time in Unix nanoseconds."""
    return timestamps.to_unix_ns(own_time(envelope))


def signed_at_ns(envelope: Envelope) -> int:
    """When the record says it was signed: of a key, not from when on it is valid."""
    signed_ns = column_ns(envelope, "scrub_timestamp")
    if envelope.kind is EnvelopeKind.KEY and signed_ns is not None:
        return signed_ns
    return max(made_at_ns(envelope), signed_ns or 0)


def spelled(at_ns: int) -> str:
    """An instant in Unix nanoseconds as RFC 3339, rounded down to milliseconds."""
    return timestamps.from_unix_ms(at_ns // _NS_PER_MS)


def in_order(rows: Iterable[Row]) -> list[Row]:
    """By kind, then by id: the one order in which rows are looked at."""
    return sorted(rows, key=lambda row: (KINDS[row.envelope.kind].number, row.envelope.envelope_id))
