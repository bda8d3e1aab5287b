"""`records`: what this node holds, as a list or one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.node import ask, node_health
from ciris_mesh.cli.remote import takes_remote
from ciris_mesh.cli.stored import (
    Row,
    Rows,
    envelope_text,
    envelope_texts,
    find_row,
    page_through,
    plain_record,
    stored_rows,
)
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

#: Two screens.
LIMIT: Final = 50
#: What the node says more of a bridged record.
_OF_BRIDGED: Final = ("lacks", "detail", "brought_by", "vouched_by")
#: Wider than any line of ids, so that none is folded.
_WIDE: Final = 10_000


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
@click.option(
    "--waiting", is_flag=True, help="List instead what came and waits for another record."
)
@click.option("--wide", is_flag=True, help="Shorten nothing, however long the lines get.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@takes_remote
@click.pass_obj
def records(
    app: App,
    *,
    record_id: str | None,
    kind: str | None,
    limit: int,
    after: int,
    waiting: bool,
    wide: bool,
    as_json: bool,
) -> None:
    """List the records this node holds, in the order they came in.

    With ID, an envelope id or its first digits, show that record; --json has its signatures and
    public keys whole. With --waiting, list those that are not held yet: for what each waits, who
    brought it, and how long it has been here; "?" means longer than this node runs.
    """
    if waiting:
        if record_id is not None:
            raise click.UsageError("--waiting lists; leave out the ID.")
        from ciris_mesh.cli.waiting import show_waiting

        show_waiting(app, kind, limit, after, wide=wide, as_json=as_json)
        return
    rows = stored_rows(app)
    if record_id is not None:
        _show_one(app, rows, record_id.lower().removesuffix(".."), kind, as_json=as_json)
        return
    found = page_through(rows, kind, limit + 1, after)
    if as_json:
        print_json(found[:limit])
        return
    _show_health(app, kind, after, has_rows=bool(found))
    _show_table(app, found[:limit], wide=wide)
    if len(found) > limit:
        app.talk(f"There are more: add --after {found[limit - 1]['position']}")
    elif not found:
        app.talk("No records." if not after else "No records after this position.")


def _show_health(app: App, kind: str | None, after: int, *, has_rows: bool) -> None:
    """Say whether what is shown, be it nothing, is what a healthy node would show."""
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.health import health_block

    problems, is_running = node_health(app)
    fine = "read from the running node" if is_running else ""
    if not has_rows and not problems:
        what = f"records of kind {kind}" if kind else "records"
        fine = f"the node answers and holds no {what}" + (" after this position" if after else "")
    console = make_console()
    console.print(health_block(problems, fine))
    if has_rows:
        console.print()


def _show_table(app: App, rows: list[Row], *, wide: bool) -> None:
    from ciris_mesh.cli.plain import load
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import RecordRow, records_table

    if rows:
        said = _said(app, rows)
        parsed = [
            load(RecordRow, {**row, **more}, strict=False)
            for row, more in zip(rows, said, strict=True)
        ]
        console = make_console()
        if wide:
            console.width = _WIDE
        console.print(records_table(parsed, wide=wide))


def _said(app: App, rows: list[Row]) -> list[dict[str, str]]:
    """What each row says of whom, as members of RecordRow; empty texts for keys."""
    wanted = [(row["kind"], row["envelope_id"]) for row in rows if row["kind"] in _SAYING]
    texts = dict(zip(wanted, envelope_texts(app, wanted), strict=True))
    said = []
    for row in rows:
        kind, text = EnvelopeKind(row["kind"]), texts.get((row["kind"], row["envelope_id"]))
        more = _SAYING[kind](plain_record(kind, text)) if text else {}
        said.append({"type": "", "target": "", "says": "", "score": "", **more})
    return said


def _attested(record: dict[str, Any]) -> dict[str, str]:
    envelope = record.get("attestation_envelope")
    said = envelope if isinstance(envelope, dict) else {}
    return {
        "type": str(record["attestation_type"]),
        "target": str(record["attested_key_id"]),
        "says": str(said.get("dimension", "")),
        "score": f"={said['score']}" if "score" in said else "",
    }


def _revoked(record: dict[str, Any]) -> dict[str, str]:
    return {"target": str(record["revoked_key_id"]), "says": str(record.get("reason") or "")}


def _columns(target: str, *says: str) -> Callable[[dict[str, Any]], dict[str, str]]:
    def read(record: dict[str, Any]) -> dict[str, str]:
        said = (str(record[name]) for name in says if record.get(name) is not None)
        return {"target": str(record[target]), "says": " ".join(said)}

    return read


_K: Final = EnvelopeKind
_SAYING: Final[dict[str, Callable[[dict[str, Any]], dict[str, str]]]] = {
    _K.ATTESTATION: _attested,
    _K.REVOCATION: _revoked,
    _K.IDENTITY_OCCURRENCE: _columns("identity_key_id", "device_class", "occurrence_key_id"),
    _K.FAMILY: _columns("family_key_id", "family_name"),
    _K.COMMUNITY: _columns("community_key_id", "community_name"),
    _K.IDENTITY_OCCURRENCE_REVOCATION: _columns("identity_key_id", "occurrence_key_id"),
    _K.FAMILY_MEMBERSHIP_REVOCATION: _columns("family_key_id", "removed_identity_key_id"),
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: _columns("community_key_id", "removed_identity_key_id"),
    _K.LOCATION_PROOF: _columns("subject_key_id", "cell_id"),
    _K.ORGANIZATION: _columns("org_id", "status", "name"),
    _K.ORG_MEMBERSHIP: _columns("user_id", "org_id", "role", "status"),
    _K.PARTNER_RECORD: _columns("license_id", "revision", "status", "org_id"),
}


def _show_one(app: App, rows: Rows, record_id: str, kind: str | None, *, as_json: bool) -> None:
    row = find_row(rows, record_id, kind)
    whole = {**row, "envelope": envelope_text(app, row["kind"], row["envelope_id"])}
    if row["shelf"] == "bridged":
        with contextlib.suppress(NodeNotRunning):  # whose keys and trust say what is lacking
            found = ask(app, "record", kind=row["kind"], envelope_id=row["envelope_id"])
            whole |= {name: found[name] for name in _OF_BRIDGED if name in found}
    if as_json:
        print_json(whole)
        return
    from ciris_mesh.ui.console import make_console
    from ciris_mesh.ui.tables import record_table
    from ciris_mesh.ui.words import json_lines

    make_console().print(record_table(whole))
    click.echo(f"\n{json_lines(whole['envelope'])}")
