"""`location`: in which cell of the H3 grid a key is, never more precisely than 5 km2."""

from __future__ import annotations

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.options import (
    KEY_ID,
    Manner,
    takes_cosigners,
    takes_manner,
    time_option,
)
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind


@click.group()
def location() -> None:
    """Say where a key is, as a cell of the H3 grid."""


@location.command(cls=Verb)
@click.argument("cell")
@click.option(
    "--resolution",
    type=click.IntRange(0, 15),
    metavar="N",
    help="The resolution you mean; refused when CELL has another.",
)
@click.option(
    "--subject",
    type=KEY_ID,
    metavar="KEY_ID",
    help="Who is there; this node's own key if absent.",
)
@time_option("--valid-until", "Until when it holds, such as 2027-06-01T00:00:00Z.")
@takes_cosigners
@takes_manner
@click.pass_obj
def prove(
    app: App,
    *,
    cell: str,
    resolution: int | None,
    subject: str | None,
    valid_until: str | None,
    manner: Manner,
) -> None:
    """Say that this node is in CELL, an H3 id such as 872830828ffffff.

    Every node will be able to read it. Cells finer than resolution 7, about 5 square kilometres,
    are refused. Take it back with `ciris-mesh withdraw`.
    """
    from ciris_mesh.records.h3cell import location_cell, parse_cell

    own_resolution = parse_cell(cell).resolution
    location_cell(cell, own_resolution if resolution is None else resolution)
    me = this_signer(app)
    columns = {
        "subject_key_id": subject or me.key_id,
        "cell_id": cell,
        "cell_resolution": own_resolution,
        "valid_until": valid_until,
    }
    publish(app, me, EnvelopeKind.LOCATION_PROOF, columns, manner)
