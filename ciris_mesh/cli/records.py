"""`records`: what this node holds, as a list or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.node import ask, locked_home, open_directory
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

#: Two screens.
LIMIT: Final = 50
#: Rows asked for at once while looking for an id by its first digits.
_PAGE: Final = 500
_ID_DIGITS: Final = 64
#: As many digits as the table shows would be 12; fewer than this match too much.
_PREFIX_DIGITS_MIN: Final = 6

Row = dict[str, Any]
#: (kind or None, limit, after position) -> rows in the order they came in.
Rows = Callable[[str | None, int, int], list[Row]]


@click.command(cls=Verb)
@click.argument("record_id", required=False, metavar="[ID]")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in EnvelopeKind]),
    metavar="KIND",
    help="Only records of this kind.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="List at most this many.",
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="POSITION",
    help="List those that came in after this position, to go on where a list ended.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def records(
    app: App, *, record_id: str | None, kind: str | None, limit: int, after: int, as_json: bool
) -> None:
    """List the records this node holds, in the order they came in.

    With ID, an envelope id or its first digits, show that record whole.
    """
    rows = _rows(app)
    if record_id is not None:
        _show_one(app, rows, record_id.lower(), kind, as_json=as_json)
        return
    found = _page_through(rows, kind, limit + 1, after)
    if as_json:
        print_json(found[:limit])
        return
    _show_table(found[:limit])
    if len(found) > limit:
        app.talk(f"There are more: add --after {found[limit - 1]['position']}")
    elif not found:
        app.talk("No records." if not after else "No records after this position.")


def _page_through(rows: Rows, kind: str | None, limit: int, after: int) -> list[Row]:
    found: list[Row] = []
    while len(found) < limit:
        page = rows(kind, min(_PAGE, limit - len(found)), after)
        if not page:
            break
        found += page
        after = page[-1]["position"]
    return found


def _rows(app: App) -> Rows:
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


def _show_table(rows: list[Row]) -> None:
    from ciris_mesh.cli.plain import load
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import RecordRow, records_table

    if rows:
        table = records_table([load(RecordRow, row, strict=False) for row in rows])
        make_console().print(table)


def _show_one(app: App, rows: Rows, record_id: str, kind: str | None, *, as_json: bool) -> None:
    row = _find(rows, record_id, kind)
    whole = {**row, "envelope": _envelope(app, row["kind"], row["envelope_id"])}
    if as_json:
        print_json(whole)
        return
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import record_table
    from ciris_mesh.ui.words import json_lines

    make_console().print(record_table(whole))
    click.echo(f"\n{json_lines(whole['envelope'])}")


def _find(rows: Rows, record_id: str, kind: str | None) -> Row:
    if not _PREFIX_DIGITS_MIN <= len(record_id) <= _ID_DIGITS or set(record_id) - set(
        "0123456789abcdef"
    ):
        raise Failure(
            f"{record_id!r} is no envelope id: give {_PREFIX_DIGITS_MIN} to {_ID_DIGITS} hex digits"
        )
    found = [row for row in _all(rows, kind) if row["envelope_id"].startswith(record_id)]
    if not found:
        raise Failure(f"no record with id {record_id} here; see: ciris-mesh records")
    if len(found) > 1:
        raise Failure(f"{len(found)} records have ids beginning with {record_id}: give more digits")
    return found[0]


def _all(rows: Rows, kind: str | None) -> Iterator[Row]:
    after = 0
    while page := rows(kind, _PAGE, after):
        yield from page
        after = page[-1]["position"]


def _envelope(app: App, kind: str, envelope_id: str) -> str:
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
