"""`key`: what this node says a key is."""

from __future__ import annotations

from typing import Any

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.lookup import find_key
from ciris_mesh.cli.options import KEY_NAME, LINE, Manner, takes_manner, time_option
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.stored import all_rows, envelope_text, plain_record, stored_rows
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind


@click.group()
def key() -> None:
    """Say what a key is, which is how chains to a root begin."""


@key.command(cls=Verb)
@click.argument("key_id", type=KEY_NAME)
@click.option(
    "--type",
    "types",
    type=LINE,
    multiple=True,
    required=True,
    metavar="WORD",
    help="What it is, such as agent, steward or witness; again for each.",
)
@click.option("--ref", type=LINE, metavar="TEXT", help="Whom it belongs to; else the key id.")
@time_option("--valid-until", "Until when it holds, such as 2027-06-01T00:00:00Z.")
@takes_manner
@click.pass_obj
def sign(
    app: App,
    *,
    key_id: str,
    types: tuple[str, ...],
    ref: str | None,
    valid_until: str | None,
    manner: Manner,
) -> None:
    """Sign a record of the key KEY_ID: an alias, an id, or its beginning.

    For nodes that have this one's key as a root in their [trust], or a root above it, the key is
    rooted from then on. Steward, and the words some dimensions are reserved for, count only from a
    rooted steward. A root says so of itself: `ciris-mesh key sign` with its own id and --type
    steward, then other nodes list it in `roots`.
    """
    me = this_signer(app)
    about = find_key(app, key_id, me.key_id, unknown=False)
    columns = {
        **_public_columns(app, about.key_id),
        "identity_type": ",".join(sorted(set(types))),
        "identity_ref": ref or about.key_id,
        "valid_until": valid_until,
    }
    publish(app, me, EnvelopeKind.KEY, columns, manner, about=about)


def _public_columns(app: App, key_id: str) -> dict[str, Any]:
    """Both public halves, from a record of the key that is here.

    Raises:
        Failure: there is none.
    """
    kind = EnvelopeKind.KEY.value
    for row in all_rows(stored_rows(app), kind):
        if row["subject"] == key_id and row["shelf"] == "federation":
            record = plain_record(EnvelopeKind.KEY, envelope_text(app, kind, row["envelope_id"]))
            names = ("key_id", "pubkey_ed25519_base64", "pubkey_ml_dsa_65_base64")
            return {name: record[name] for name in names}
    raise Failure(f"no record of the key {key_id} is here yet; wait for it, then sign")
