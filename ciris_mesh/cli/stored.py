"""Records that are here already: asked of the running node, else read from the store itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.node import ask, locked_home, open_directory
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

#: Rows asked for at once while looking for an id by its first digits.
_PAGE: Final = 500
_ID_DIGITS: Final = 64
#: As many digits as the table shows would be 12; fewer than this match too much.
_PREFIX_DIGITS_MIN: Final = 6

Row = dict[str, Any]
#: (kind or None, limit, after position) -> rows in the order they came in.
Rows = Callable[[str | None, int, int], list[Row]]


def stored_rows(app: App) -> Rows:
    """Return how to list rows: by the running node, else from the store itself."""

    def from_node(kind: str | None, limit: int, after: int) -> list[Row]:
        answer = ask(app, "records", kind=kind, limit=limit, after=after)
        assert isinstance(answer, list)
        return answer

    def from_store(kind: str | None, limit: int, after: int) -> list[Row]:
        with locked_home(app) as home, open_directory(home) as directory:
            chosen = None if kind is None else EnvelopeKind(kind)
            return [_row(*pair) for pair in directory.rows(chosen, limit=limit, after=after)]

    def either(kind: str | None, limit: int, after: int) -> list[Row]:
        try:
            return from_node(kind, limit, after)
        except NodeNotRunning:
            return from_store(kind, limit, after)

    return either


def page_through(rows: Rows, kind: str | None, limit: int, after: int) -> list[Row]:
    """Return up to `limit` rows after a position, fetched page by page."""
    found: list[Row] = []
    while len(found) < limit:
        page = rows(kind, min(_PAGE, limit - len(found)), after)
        if not page:
            break
        found += page
        after = page[-1]["position"]
    return found


def find_row(rows: Rows, record_id: str, kind: str | None) -> Row:
    """Return the one row whose envelope id is or begins with `record_id`.

    Raises:
        Failure: no such id, or several begin so; the text says what to do.
    """
    if not _PREFIX_DIGITS_MIN <= len(record_id) <= _ID_DIGITS or set(record_id) - set(
        "0123456789abcdef"
    ):
        raise Failure(
            f"{record_id!r} is no envelope id: give {_PREFIX_DIGITS_MIN} to {_ID_DIGITS} hex digits"
        )
    found = [row for row in all_rows(rows, kind) if row["envelope_id"].startswith(record_id)]
    if not found:
        raise Failure(f"no record with id {record_id} here; see: ciris-mesh records")
    if len(found) > 1:
        raise Failure(f"{len(found)} records have ids beginning with {record_id}: give more digits")
    return found[0]


def all_rows(rows: Rows, kind: str | None) -> Iterator[Row]:
    """Yield every row, oldest first."""
    after = 0
    while page := rows(kind, _PAGE, after):
        yield from page
        after = page[-1]["position"]


def envelope_text(app: App, kind: str, envelope_id: str) -> str:
    """Return the envelope's text as stored."""
    try:
        answer = ask(app, "record", kind=kind, envelope_id=envelope_id)
        return str(answer["envelope"])
    except NodeNotRunning:
        with locked_home(app) as home, open_directory(home) as directory:
            stored = directory.get(EnvelopeKind(kind), bytes.fromhex(envelope_id))
            if stored is None:
                raise Failure(f"no record with id {envelope_id} here") from None
            return stored.envelope.decode("utf-8", "replace")


def envelope_texts(app: App, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Return the text of each (kind, envelope id), in order; "" for what is gone."""
    try:
        answers = (ask(app, "record", kind=kind, envelope_id=id_) for kind, id_ in wanted)
        return [str(answer["envelope"]) for answer in answers]
    except NodeNotRunning:
        with locked_home(app) as home, open_directory(home) as directory:
            rows = (directory.get(EnvelopeKind(kind), bytes.fromhex(id_)) for kind, id_ in wanted)
            return ["" if row is None else row.envelope.decode() for row in rows]


def plain_record(kind: EnvelopeKind, text: str) -> dict[str, Any]:
    """The record inside an envelope, as plain values."""
    from ciris_mesh.records.envelope import parse_envelope
    from ciris_mesh.records.jsontext import to_plain

    record = to_plain(parse_envelope(kind, text.encode()).record)
    assert isinstance(record, dict)
    return record


def _row(position: int, stored: Any) -> Row:
    return {
        "position": position,
        "kind": stored.kind.value,
        "envelope_id": stored.envelope_id.hex(),
        "shelf": stored.shelf.name.lower(),
        "seq": stored.seq,
        "subject": stored.subject,
        "signers": list(stored.signers),
        "admitted_at_ms": stored.admitted_at_ms,
    }
