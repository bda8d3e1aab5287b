"""`vouch`: let bridged rows of a registry count at nodes that list this one as a voucher."""

from __future__ import annotations

from typing import Any

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.lookup import shown
from ciris_mesh.cli.node import ask, node_home
from ciris_mesh.cli.options import KEY_NAME, Manner, ensure_future, time_option
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.stored import Row, envelope_text, find_row, plain_record, stored_rows
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

#: As many digits of an envelope id as nobody mistakes.
_ID_DIGITS = 12


@click.command(cls=Verb)
@click.argument("registry", type=KEY_NAME)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@time_option("--expires", "Until when this node vouches, such as 2027-06-01T00:00:00Z.")
@click.option("-y", "--yes", is_flag=True, help="Sign without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON; does not ask.")
@click.pass_obj
def vouch(
    app: App, *, registry: str, ids: tuple[str, ...], expires: str | None, yes: bool, as_json: bool
) -> None:
    """Vouch for records that REGISTRY brought and that are only bridged here.

    Nodes that list this one in [trust] vouchers fetch them and answer from them where they hold
    nothing better, and say so; to all others nothing changes. ID is an envelope id or its first
    digits, as `ciris-mesh records` shows them; the ids are of one kind, at most 32.

    REGISTRY is one of `ciris-mesh registries`. `ciris-mesh withdraw` takes a vouch back; it lapses
    when this node's key is revoked. Look at each record before: ciris-mesh records ID.
    """
    from ciris_mesh.records.vouches import Vouch

    me = this_signer(app)
    ensure_future("--expires", expires, me.at_ms)
    _require_registry(app, registry)
    rows = _chosen(app, ids)
    for row in rows:
        app.talk(_line(app, registry, row))
    kind = EnvelopeKind(rows[0]["kind"])
    said = Vouch(registry, kind, tuple(bytes.fromhex(row["envelope_id"]) for row in rows))
    columns = {
        "attested_key_id": me.key_id,
        "attestation_type": "scores",
        "expires_at": expires,
        "attestation_envelope": said.members(),
    }
    manner = Manner(yes=yes or as_json, as_json=as_json)
    told = sorted(one.hex() for one in said.ids)
    publish(app, me, EnvelopeKind.ATTESTATION, columns, manner, vouched_ids=told)


def _require_registry(app: App, registry: str) -> None:
    """Vouch for nobody this node does not exchange with itself.

    Raises:
        Failure: it is no registry pinned here.
    """
    from ciris_mesh.runtime.config import load_config
    from ciris_mesh.runtime.registrybook import all_pins

    home = node_home(app)
    pins = all_pins(load_config(home.config).trust.registries, home.registries)
    known = [pin.key_id for pin in pins]
    if registry not in known:
        names = ", ".join(known) or "there is none"
        raise Failure(f"{shown(registry)} is no registry this node exchanges with ({names})")


def _chosen(app: App, ids: tuple[str, ...]) -> list[Row]:
    from ciris_mesh.records.vouches import IDS_PER_VOUCH_MAX, VOUCHABLE

    listed = stored_rows(app)
    found = [find_row(listed, one.lower().removesuffix(".."), None) for one in ids]
    rows = list({row["envelope_id"]: row for row in found}.values())
    for row in rows:
        name, shelf = row["envelope_id"][:_ID_DIGITS], row["shelf"]
        if shelf != "bridged":
            raise Failure(f"{name} is on the {shelf} shelf; only bridged records need a voucher")
        if EnvelopeKind(row["kind"]) not in VOUCHABLE:
            raise Failure(f"{name}: a record of kind {row['kind']} never counts by a vouch")
        if row["kind"] != rows[0]["kind"]:
            raise Failure(f"{name} is a {row['kind']}, not a {rows[0]['kind']}: vouch for it apart")
        _refuse_steward(app, row)
    if len(rows) > IDS_PER_VOUCH_MAX:
        raise Failure(f"a vouch names at most {IDS_PER_VOUCH_MAX} records; vouch twice")
    return rows


def _refuse_steward(app: App, row: Row) -> None:
    """Nothing would come of it: a vouch makes nobody a steward."""
    kind = EnvelopeKind(row["kind"])
    if kind is not EnvelopeKind.KEY:
        return
    from ciris_mesh.records.provenance import STEWARD_TYPE, identity_types

    record = plain_record(kind, envelope_text(app, kind.value, row["envelope_id"]))
    if STEWARD_TYPE in identity_types(str(record["identity_type"])):
        name = row["envelope_id"][:_ID_DIGITS]
        raise Failure(f"{name} is the key of a steward, and those never count by a vouch")


def _line(app: App, registry: str, row: Row) -> str:
    """What is vouched for, what it lacks and who brought it.

    Raises:
        Failure: it was brought by another registry.
    """
    told: dict[str, Any] = {}
    try:
        told = ask(app, "record", kind=row["kind"], envelope_id=row["envelope_id"])
    except NodeNotRunning:
        told = {}
    by = str(told.get("brought_by", ""))
    if by and by != registry:
        name = row["envelope_id"][:_ID_DIGITS]
        raise Failure(f"{name} was brought by {shown(by)}, not by {shown(registry)}")
    lacks = f", lacks: {told['lacks']}" if told.get("lacks") else ""
    return f"{row['envelope_id'][:_ID_DIGITS]}  {row['kind']} of {shown(row['subject'])}{lacks}"
