"""`records`: what this node holds, as a list or one by one."""

from __future__ import annotations

from typing import Final

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.stored import Row, Rows, envelope_text, find_row, page_through, stored_rows
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

#: Two screens.
LIMIT: Final = 50


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
    rows = stored_rows(app)
    if record_id is not None:
        _show_one(app, rows, record_id.lower(), kind, as_json=as_json)
        return
    found = page_through(rows, kind, limit + 1, after)
    if as_json:
        print_json(found[:limit])
        return
    _show_table(found[:limit])
    if len(found) > limit:
        app.talk(f"There are more: add --after {found[limit - 1]['position']}")
    elif not found:
        app.talk("No records." if not after else "No records after this position.")


def _show_table(rows: list[Row]) -> None:
    from ciris_mesh.cli.plain import load
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import RecordRow, records_table

    if rows:
        table = records_table([load(RecordRow, row, strict=False) for row in rows])
        make_console().print(table)


def _show_one(app: App, rows: Rows, record_id: str, kind: str | None, *, as_json: bool) -> None:
    row = find_row(rows, record_id, kind)
    whole = {**row, "envelope": envelope_text(app, row["kind"], row["envelope_id"])}
    if as_json:
        print_json(whole)
        return
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import record_table
    from ciris_mesh.ui.words import json_lines

    make_console().print(record_table(whole))
    click.echo(f"\n{json_lines(whole['envelope'])}")
