"""`membership`: who may do what in an organization."""

from __future__ import annotations

from typing import Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.options import CHOSEN_ID, KEY_ID, Manner, takes_manner, time_option
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.resolve import what_counts
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_ROLES: Final = ("org_admin", "key_manager", "operator", "viewer")


@click.group()
def membership() -> None:
    """Grant a role in an organization, or end a membership."""


@membership.command(cls=Verb)
@click.argument("user_id", type=KEY_ID)
@click.argument("org_id", type=CHOSEN_ID)
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What they may do.")
@time_option("--valid-until", "Until when it holds, such as 2027-06-01T00:00:00Z.")
@takes_manner
@click.pass_obj
def grant(
    app: App, *, user_id: str, org_id: str, role: str, valid_until: str | None, manner: Manner
) -> None:
    """Give the key USER_ID a role in the organization ORG_ID.

    Only an org_admin of it can, or a root steward. A membership that was ended stays ended.
    """
    columns = {
        "user_id": user_id,
        "org_id": org_id,
        "role": role,
        "status": "active",
        "valid_until": valid_until,
    }
    publish(app, this_signer(app), EnvelopeKind.ORG_MEMBERSHIP, columns, manner)


@membership.command(cls=Verb)
@click.argument("user_id", type=KEY_ID)
@click.argument("org_id", type=CHOSEN_ID)
@click.option(
    "--role", type=click.Choice(_ROLES), help="The role that ends; the one known here if absent."
)
@takes_manner
@click.pass_obj
def end(app: App, *, user_id: str, org_id: str, role: str | None, manner: Manner) -> None:
    """End what USER_ID may do in the organization ORG_ID. There is no way back.

    Only an org_admin of it can, or a root steward.
    """
    me = this_signer(app)
    columns = {
        "user_id": user_id,
        "org_id": org_id,
        "role": role or _known_role(app, user_id, org_id),
        "status": "deactivated",
        "withdrawn_at": me.now,
    }
    publish(app, me, EnvelopeKind.ORG_MEMBERSHIP, columns, manner)


def _known_role(app: App, user_id: str, org_id: str) -> str:
    known = what_counts(app, EnvelopeKind.ORG_MEMBERSHIP, "membership", org_id, user_id)
    if known is None:
        raise Failure(f"no membership of {user_id} in {org_id} counts here; add --role ROLE")
    return str(known["role"])
