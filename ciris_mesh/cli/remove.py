"""`remove`: a device, or a member of a family or community, from an instant on and for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.lookup import find_key
from ciris_mesh.cli.options import (
    CHOSEN_ID,
    KEY_ID,
    KEY_NAME,
    LINE,
    Manner,
    ensure_near,
    takes_cosigners,
    takes_manner,
    takes_unknown,
    time_option,
)
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.resolve import at_present
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_Command = Callable[..., None]
_REMOVED: Final = "removed_identity_key_id"


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
        takes_unknown,
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
@click.argument("occurrence_key_id", type=KEY_NAME, metavar="KEY_ID")
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
    column, subject = "occurrence_key_id", {"identity_key_id": identity}
    kind = EnvelopeKind.IDENTITY_OCCURRENCE_REVOCATION
    _remove(app, kind, subject, column, occurrence_key_id, **given)


@remove.command("family-member", cls=Verb)
@click.argument("family", type=CHOSEN_ID)
@click.argument("key_id", type=KEY_NAME)
@_removal_options
def family_member(app: App, /, *, family: str, key_id: str, **given: Any) -> None:
    """Remove KEY_ID from the family with the id FAMILY. There is no way back.

    Members may leave by themselves; to remove another one takes what the family's protocol asks
    for: collect the signatures with --cosign-file FILE.
    """
    kind = EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION
    _remove(app, kind, {"family_key_id": family}, _REMOVED, key_id, **given)


@remove.command("community-member", cls=Verb)
@click.argument("community", type=CHOSEN_ID)
@click.argument("key_id", type=KEY_NAME)
@_removal_options
def community_member(app: App, /, *, community: str, key_id: str, **given: Any) -> None:
    """Remove KEY_ID from the community with the id COMMUNITY. There is no way back.

    Members may leave by themselves; to remove another one takes what the community's protocol
    asks for: collect the signatures with --cosign-file FILE.
    """
    kind = EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION
    _remove(app, kind, {"community_key_id": community}, _REMOVED, key_id, **given)


#: Kind -> the question that says who is there, and what a person calls it.
_ROLLS: Final = {
    EnvelopeKind.IDENTITY_OCCURRENCE_REVOCATION: ("occurrences", "device"),
    EnvelopeKind.FAMILY_MEMBERSHIP_REVOCATION: ("members", "member"),
    EnvelopeKind.COMMUNITY_MEMBERSHIP_REVOCATION: ("members", "member"),
}
#: Of those who are there, named when one is not.
_NAMED_MAX: Final = 5


def _require_in(app: App, kind: EnvelopeKind, owner: str, key_id: str) -> None:
    """Refuse to remove who is not there: a removal can't be taken back, nor a slip in it.

    Raises:
        Failure: by what is here, `key_id` neither is nor will be one of `owner`.
    """
    question, word = _ROLLS[kind]
    found = at_present(app, question, owner)["found"] or {}
    there = [row["key_id"] for row in found.get("active", found.get("members", ()))]
    if key_id in there:
        return
    named = ", ".join(there[:_NAMED_MAX]) + ", ..." * (len(there) > _NAMED_MAX)
    raise Failure(
        f"{key_id} is no {word} of {owner} by what is here; nothing was signed. "
        + (f"There are: {named}. " if there else f"No {word} of it is known. ")
        + "Add --unknown if it is right"
    )


def _remove(
    app: App,
    kind: EnvelopeKind,
    subject: Mapping[str, str | None],
    column: str,
    removed: str,
    *,
    unknown: bool,
    effective: str | None,
    reason: str | None,
    witnesses: tuple[str, ...],
    manner: Manner,
) -> None:
    me = this_signer(app)
    ensure_near("--effective", effective, me.at_ms)
    about = find_key(app, removed, me.key_id, unknown=unknown)
    whose = {name: value or me.key_id for name, value in subject.items()}
    if not unknown:
        (owner,) = whose.values()
        _require_in(app, kind, owner, about.key_id)
    columns = whose | {
        column: about.key_id,
        "effective_at": effective,
        "reason": reason,
        "witness_set": list(witnesses),
    }
    publish(app, me, kind, columns, manner, about=about)
