"""`partner`: licenses of partners, which several stewards sign over the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.cosign import assemble, show, sign
from ciris_mesh.cli.options import CHOSEN_ID, FILE, KEY_ID, Manner, moment, time_option
from ciris_mesh.cli.publish import propose as write_file
from ciris_mesh.cli.signing import this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.kinds import EnvelopeKind

_TIERS: Final = ("A0", "A1", "A2", "A3", "A4")
_STATUSES: Final = ("active", "suspended", "revoked")
_U32_MAX: Final = 2**32 - 1
#: JCS keeps integers exact up to here.
_REVISION_MAX: Final = 2**53 - 1

#: Option -> the set it fills in what is signed.
_SETS: Final = {
    "template": ("allowed_identity_templates", "An identity template it may use"),
    "grant": ("capabilities_granted", "A capability it has"),
    "deny": ("capabilities_denied", "A capability it has not"),
    "region": ("geographic_restrictions", "A region it is restricted to"),
}

_Command = Callable[..., None]


@click.group()
def partner() -> None:
    """Propose a partner's license, sign it as a steward, or put the signatures together."""


partner.add_command(show)
partner.add_command(sign)
partner.add_command(assemble)


def _set_options(function: _Command) -> _Command:
    for name, (_, text) in reversed(_SETS.items()):
        option = click.option(
            f"--{name}",
            type=CHOSEN_ID,
            multiple=True,
            metavar="TEXT",
            help=f"{text}, once for each.",
        )
        function = option(function)
    return function


def _number(name: str, largest: int, help_: str) -> Callable[[_Command], _Command]:
    range_ = click.IntRange(0, largest)
    return click.option(name, type=range_, required=True, metavar="N", help=help_)


@partner.command(cls=Verb)
@click.argument("file", type=FILE)
@click.option("--license-id", type=CHOSEN_ID, required=True, metavar="ID", help="The license.")
@click.option("--partner-id", type=CHOSEN_ID, required=True, metavar="ID", help="Whose it is.")
@click.option(
    "--org-id", type=CHOSEN_ID, required=True, metavar="ID", help="The partner's organization."
)
@click.option(
    "--license-type", type=CHOSEN_ID, required=True, metavar="TEXT", help="What sort of license."
)
@click.option(
    "--max-autonomy-tier",
    type=click.Choice(_TIERS),
    required=True,
    help="How much its agents may do on their own.",
)
@click.option(
    "--requires-supervisor/--no-supervisor",
    default=True,
    show_default=True,
    help="Whether a person must watch.",
)
@_number("--deployment-limit", _U32_MAX, "How many agents it may run.")
@_number("--offline-grace-hours", _U32_MAX, "How long it holds without contact.")
@_number("--revision", _REVISION_MAX, "Above the last one of this license; the highest counts.")
@click.option(
    "--status", type=click.Choice(_STATUSES), default="active", show_default=True, help="Now."
)
@click.option("--expires", required=True, metavar="TIME", help="Until when it holds.")
@time_option("--issued", "When the license was issued; now if absent.")
@_set_options
@click.option(
    "--threshold",
    type=click.IntRange(1, 16),
    required=True,
    metavar="N",
    help="How many stewards must sign before FILE is complete.",
)
@click.option(
    "--steward",
    "stewards",
    type=KEY_ID,
    multiple=True,
    metavar="KEY_ID",
    help="A steward asked to sign, once for each; others are then refused.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_obj
def propose(
    app: App,
    /,
    *,
    file: Path,
    expires: str,
    issued: str | None,
    threshold: int,
    stewards: Sequence[str],
    as_json: bool,
    **given: Any,
) -> None:
    """Write a license to FILE for the stewards to sign. Nothing is signed yet.

    Send each steward a copy to run `ciris-mesh partner sign` on; `ciris-mesh partner assemble`
    puts the copies together and submits the record. Which stewards count, and how many, is each
    node's own configuration.
    """
    sets = {member: sorted(set(given.pop(name))) for name, (member, _) in _SETS.items()}
    columns = {
        **given,
        "expires_at": moment(expires),
        "issued_at": issued,
        "signed_envelope": sets,
    }
    manner = Manner(as_json=as_json, threshold=threshold, cosigners=tuple(stewards))
    write_file(app, this_signer(app), EnvelopeKind.PARTNER_RECORD, columns, file, manner)
