"""`remove`: a device, or a member of a family or community, from an instant on and for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.options import (
    CHOSEN_ID,
    KEY_ID,
    LINE,
    Manner,
    takes_cosigners,
    takes_manner,
    time_option,
)
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_Command = Callable[..., None]


def _removal_options(function: _Command) -> _Command:
    options = (
        time_option("--effective", "From when on, such as 2026-11-20T08:00:00Z; now if absent."),
        click.option("--reason", type=LINE, metavar="TEXT", help="Why, in a few words."),
        click.option(
            "--witness",
            "witnesses",
            type=KEY_ID,
            multiple=True,
            metavar="KEY_ID",
            help="Somebody who saw it happen, once for each.",
        ),
        takes_cosigners,
        takes_manner,
        click.pass_obj,
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group()
def remove() -> None:
    """Remove a device of an identity, or a member of a family or community."""


@remove.command(cls=Verb)
@click.argument("occurrence_key_id", type=KEY_ID, metavar="KEY_ID")
@click.option(
    "--identity",
    type=KEY_ID,
    metavar="KEY_ID",
    help="Whose device it was; this node's own key if absent.",
)
@_removal_options
def occurrence(app: App, /, *, occurrence_key_id: str, identity: str | None, **given: Any) -> None:
    """Say that KEY_ID is a device of this node's identity no longer, or of another one.

    There is no way back. It counts when the identity says so, or a device of it.
    """
    subject = {"identity_key_id": identity, "occurrence_key_id": occurrence_key_id}
    _remove(app, EnvelopeKind.IDENTITY_OCCURRENCE_REVOCATION, subject, **given)


@remove.command("family-member", cls=Verb)
@click.argument("family", type=CHOSEN_ID)
@click.argument("key_id", type=KEY_ID)
@_removal_options
def family_member(app: App, /, *, family: str, key_id: str, **given: Any) -> None:
    """Remove KEY_ID from the family with the id FAMILY. There is no way back.

    Members may leave by themselves; to remove another one takes what the family's protocol asks
    for: collect the signatures with --cosign-file FILE.
    """
    subject = {"family_key_id": family, "removed_identity_key_id": key_id}
    _remove(app, EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION, subject, **given)


@remove.command("community-member", cls=Verb)
@click.argument("community", type=CHOSEN_ID)
@click.argument("key_id", type=KEY_ID)
@_removal_options
def community_member(app: App, /, *, community: str, key_id: str, **given: Any) -> None:
    """Remove KEY_ID from the community with the id COMMUNITY. There is no way back.

    Members may leave by themselves; to remove another one takes what the community's protocol
    asks for: collect the signatures with --cosign-file FILE.
    """
    subject = {"community_key_id": community, "removed_identity_key_id": key_id}
    _remove(app, EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION, subject, **given)


def _remove(
    app: App,
    kind: EnvelopeKind,
    subject: Mapping[str, str | None],
    *,
    effective: str | None,
    reason: str | None,
    witnesses: tuple[str, ...],
    manner: Manner,
) -> None:
    me = this_signer(app)
    columns = {name: value or me.key_id for name, value in subject.items()} | {
        "effective_at": effective,
        "reason": reason,
        "witness_set": list(witnesses),
    }
    publish(app, me, kind, columns, manner)
