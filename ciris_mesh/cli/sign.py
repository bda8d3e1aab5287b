"""`attest`, `delegate`, `revoke`: signed with this node's key, shown before they are signed."""

from __future__ import annotations

from typing import Final

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.lookup import find_key
from ciris_mesh.cli.options import (
    KEY_NAME,
    LINE,
    Manner,
    ensure_future,
    ensure_near,
    finite,
    takes_unknown,
    time_option,
)
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.slips import dimension_hint, require_scopes
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_yes_option = click.option("-y", "--yes", is_flag=True, help="Sign without asking.")
_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the outcome as JSON; does not ask."
)
_TYPES: Final = ("scores", "delegates_to", "supersedes", "withdraws", "recants")


@click.command(cls=Verb)
@click.argument("key_id", type=KEY_NAME)
@click.option(
    "--dimension",
    required=True,
    type=LINE,
    metavar="TEXT",
    help="What is scored, in ASCII without spaces, such as identity:continuity:v1.",
)
@click.option(
    "--score", type=float, required=True, metavar="NUMBER", help="The score in that dimension."
)
@click.option(
    "--type",
    "type_",
    type=click.Choice(_TYPES),
    default="scores",
    show_default=True,
    help="What sort of attestation this is.",
)
@click.option("--weight", type=float, metavar="NUMBER", help="How much it should count.")
@time_option("--expires", "Until when it holds, such as 2027-06-01T00:00:00Z.")
@takes_unknown
@_yes_option
@_json_option
@click.pass_obj
def attest(
    app: App,
    *,
    key_id: str,
    dimension: str,
    score: float,
    type_: str,
    weight: float | None,
    expires: str | None,
    unknown: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Say something about KEY_ID that every node will know was said by this one.

    KEY_ID is a peer's alias, a key id, or the beginning of one that this node knows.

    What will be signed is shown first. A signed record spreads to all peers and stays there;
    `ciris-mesh withdraw` says that it no longer holds.
    """
    finite("--score", score)
    finite("--weight", weight)
    me = this_signer(app)
    ensure_future("--expires", expires, me.at_ms)
    about = find_key(app, key_id, me.key_id, unknown=unknown)
    if hint := dimension_hint(app, dimension, me.key_id):
        app.talk(f"{hint}\n")
    columns = {
        "attested_key_id": about.key_id,
        "attestation_type": type_,
        "weight": weight,
        "expires_at": expires,
        "attestation_envelope": {"dimension": dimension, "score": _shortest(score)},
    }
    manner = Manner(yes=yes or as_json, as_json=as_json)
    publish(app, me, EnvelopeKind.ATTESTATION, columns, manner, about=about)


@click.command(cls=Verb)
@click.argument("key_id", type=KEY_NAME)
@click.option(
    "--scope",
    "scopes",
    type=LINE,
    required=True,
    multiple=True,
    metavar="WORD",
    help="What it may do, such as agency:act_on_behalf or infra:store; again for more.",
)
@time_option("--expires", "Until when it may, such as 2027-06-01T00:00:00Z.")
@takes_unknown
@_yes_option
@_json_option
@click.pass_obj
def delegate(
    app: App,
    *,
    key_id: str,
    scopes: tuple[str, ...],
    expires: str | None,
    unknown: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Let KEY_ID do in this node's name what each --scope says.

    KEY_ID is a peer's alias, a key id, or the beginning of one that this node knows.

    With agency:act_on_behalf it may withdraw what is said about this node, and say where this node
    is. `ciris-mesh withdraw` takes the power back.
    """
    # Loaded here, for help needs none of it.
    from ciris_mesh.records.authoring import signed_set
    from ciris_mesh.records.rules.delegations import SCOPE_MEMBER

    me = this_signer(app)
    ensure_future("--expires", expires, me.at_ms)
    about = find_key(app, key_id, me.key_id, unknown=unknown)
    if not unknown:
        require_scopes(scopes)
    columns = {
        "attested_key_id": about.key_id,
        "attestation_type": "delegates_to",
        "expires_at": expires,
        "attestation_envelope": {SCOPE_MEMBER: signed_set(scopes)},
    }
    manner = Manner(yes=yes or as_json, as_json=as_json)
    publish(app, me, EnvelopeKind.ATTESTATION, columns, manner, about=about)


@click.command(cls=Verb)
@click.argument("key_id", type=KEY_NAME)
@click.option(
    "--reason", type=LINE, metavar="TEXT", help="Why, in a word or two: compromised, retired."
)
@time_option(
    "--effective",
    "From when on the key must not be believed, such as 2026-11-20T08:00:00Z; now if absent.",
)
@takes_unknown
@_yes_option
@_json_option
@click.pass_obj
def revoke(
    app: App,
    *,
    key_id: str,
    reason: str | None,
    effective: str | None,
    unknown: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Say that KEY_ID is not to be believed any more. There is no way back.

    KEY_ID is a peer's alias, a key id, or the beginning of one that this node knows.

    It binds others when KEY_ID is this node's own key, or one whose rooting passes through it;
    from anyone else it is shown as a claim.
    """
    me = this_signer(app)
    ensure_near("--effective", effective, me.at_ms)
    about = find_key(app, key_id, me.key_id, unknown=unknown)
    columns = {"revoked_key_id": about.key_id, "reason": reason, "effective_at": effective}
    manner = Manner(yes=yes or as_json, as_json=as_json)
    publish(app, me, EnvelopeKind.REVOCATION, columns, manner, about=about)
    if about.key_id != me.key_id:
        app.talk(
            "Another's key: it counts where that key is rooted through this node's, and is shown "
            "as\na claim everywhere else. See: ciris-mesh resolve revoked KEY_ID"
        )


def _shortest(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
