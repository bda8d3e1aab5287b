"""`org`: organizations. A record says all about one; the latest counts, and an end is final."""

from __future__ import annotations

from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.options import CHOSEN_ID, LINE, Manner, takes_manner, time_option
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.resolve import what_counts
from ciris_mesh.cli.signing import Signer, this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_TYPES: Final = ("internal", "partner", "licensee", "community")
_STATUSES: Final = ("active", "suspended", "deactivated")
#: Columns an update keeps unless told otherwise; the others are about one record alone.
_KEPT: Final = (
    "org_id",
    "name",
    "org_type",
    "parent_org_id",
    "partner_id",
    "status",
    "valid_until",
)


@click.group()
def org() -> None:
    """Create an organization, or change what is said about one."""


_parent_option = click.option(
    "--parent", type=CHOSEN_ID, metavar="ORG_ID", help="The organization it belongs to."
)
_partner_option = click.option(
    "--partner-id", type=CHOSEN_ID, metavar="ID", help="The partner it is."
)
_until_option = time_option("--valid-until", "Until when it holds, such as 2027-06-01T00:00:00Z.")


@org.command(cls=Verb)
@click.argument("org_id", type=CHOSEN_ID)
@click.argument("name", type=LINE)
@click.option("--type", "org_type", type=click.Choice(_TYPES), required=True, help="What it is.")
@_parent_option
@_partner_option
@_until_option
@takes_manner
@click.pass_obj
def create(
    app: App,
    *,
    org_id: str,
    name: str,
    org_type: str,
    parent: str | None,
    partner_id: str | None,
    valid_until: str | None,
    manner: Manner,
) -> None:
    """Create the organization NAME under the id ORG_ID.

    Only a root steward can, or an org_admin whose grants lead back to one.
    """
    me = this_signer(app)
    columns = {
        "org_id": org_id,
        "name": name,
        "org_type": org_type,
        "parent_org_id": parent,
        "partner_id": partner_id,
        "status": "active",
        "valid_until": valid_until,
    }
    publish(app, me, EnvelopeKind.ORGANIZATION, columns, manner)


@org.command(cls=Verb)
@click.argument("org_id", type=CHOSEN_ID)
@click.option("--name", type=LINE, metavar="TEXT", help="Its new name.")
@click.option("--type", "org_type", type=click.Choice(_TYPES), help="What it is now.")
@_parent_option
@_partner_option
@click.option(
    "--status", type=click.Choice(_STATUSES), help="Its new status; deactivated is for good."
)
@_until_option
@takes_manner
@click.pass_obj
def update(
    app: App,
    *,
    org_id: str,
    name: str | None,
    org_type: str | None,
    parent: str | None,
    partner_id: str | None,
    status: str | None,
    valid_until: str | None,
    manner: Manner,
) -> None:
    """Change the organization ORG_ID. What is not named stays as this node knows it.

    Only an org_admin of it can, or a root steward.
    """
    changes = {
        "name": name,
        "org_type": org_type,
        "parent_org_id": parent,
        "partner_id": partner_id,
        "status": status,
        "valid_until": valid_until,
    }
    changes = {column: value for column, value in changes.items() if value is not None}
    if not changes:
        raise click.UsageError("Name at least one thing to change, such as --status suspended.")
    me = this_signer(app)
    publish(app, me, EnvelopeKind.ORGANIZATION, _current(app, me, org_id) | changes, manner)


def _current(app: App, me: Signer, org_id: str) -> dict[str, Any]:
    """What is known of the organization now, as columns of a new record.

    Raises:
        Failure: nothing counts, it was ended, or the new record would lose to the known one.
    """
    known = what_counts(app, EnvelopeKind.ORGANIZATION, "org", org_id)
    if known is None:
        raise Failure(f"no organization {org_id} counts here; see: ciris-mesh org create --help")
    from ciris_mesh.records.timestamps import to_unix_ms

    if to_unix_ms(known["asserted_at"]) >= me.at_ms:
        raise Failure(f"what is known of {org_id} is dated {known['asserted_at']}; set the clock")
    return {column: known[column] for column in _KEPT if column in known}
