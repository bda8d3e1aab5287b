"""`family` and `community`: rosters of keys and the rule by which they decide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.options import CHOSEN_ID, KEY_ID, LINE, Manner, takes_cosigners, takes_manner
from ciris_mesh.cli.publish import publish
from ciris_mesh.cli.signing import Signer, this_signer
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.records.consensus import (
    ConsensusForm,
    ConsensusProtocol,
    Electorate,
    parse_consensus,
)
from ciris_mesh.records.envelope import SIGNERS_FIT
from ciris_mesh.records.groups import ID_COLUMNS, new_group_id
from ciris_mesh.records.kinds import EnvelopeKind

_FOUNDER: Final = "founder"
#: An id is read by people: a few words of the name, then what makes it unique.
_SLUG_CHARS_MAX: Final = 24

_Command = Any


def _group_options(function: _Command) -> _Command:
    options = (
        click.argument("name", type=LINE),
        click.option(
            "--founder",
            "founders",
            type=KEY_ID,
            multiple=True,
            metavar="KEY_ID",
            help="Another founder; this node is one unless named with --member.",
        ),
        click.option(
            "--member",
            "members",
            type=KEY_ID,
            multiple=True,
            metavar="KEY_ID",
            help="A member who is no founder, once for each.",
        ),
        click.option(
            "--protocol",
            metavar="RULE",
            default="founder_only",
            show_default=True,
            help="How it decides: founder_only, unanimous, majority, quorum:2/3, or weighted: or "
            "custom: and a text.",
        ),
        click.option(
            "--id",
            "group_id",
            type=CHOSEN_ID,
            metavar="ID",
            help="The id of a group that exists, to change it; a new one if absent.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group()
def family() -> None:
    """Found a family: keys that belong together."""


@family.command("create", cls=Verb)
@_group_options
@click.option(
    "--entrenched", is_flag=True, help="Nobody can ever change how it decides, not even you."
)
@takes_cosigners
@takes_manner
@click.pass_obj
def create_family(app: App, /, *, entrenched: bool, manner: Manner, **given: Any) -> None:
    """Found the family NAME with this node and others as members.

    Where the protocol asks for more than one signature, add --cosign-file FILE and let the others
    sign that file.
    """
    me = this_signer(app)
    group = _group(me, **given)
    columns = _columns("family", group, me) | {"consensus_protocol_entrenched": entrenched}
    columns = _with_id(EnvelopeKind.FAMILY, group, columns)
    publish(app, me, EnvelopeKind.FAMILY, columns, _manner(group, manner))


@click.group()
def community() -> None:
    """Found a community: keys that share a place, a service or a purpose."""


@community.command("create", cls=Verb)
@_group_options
@click.option(
    "--cell",
    metavar="CELL",
    help="A geographic community: its members live in this H3 cell, such as 872830828ffffff.",
)
@click.option(
    "--infrastructure",
    is_flag=True,
    help="A community that runs services: only founders decide, by a quorum, for good.",
)
@takes_cosigners
@takes_manner
@click.pass_obj
def create_community(
    app: App, /, *, cell: str | None, infrastructure: bool, manner: Manner, **given: Any
) -> None:
    """Found the community NAME with this node and others as members.

    Where the protocol asks for more than one signature, add --cosign-file FILE and let the others
    sign that file. Members of a geographic community need a location proof inside its cell.
    """
    if cell is not None and infrastructure:
        raise click.UsageError("--cell and --infrastructure make two communities: choose one.")
    me = this_signer(app)
    group = _group(me, **given, basis=Electorate.FOUNDERS if infrastructure else None)
    policy = {"cohort_subkind": "infrastructure"} if infrastructure else _geographic(cell)
    columns = _columns("community", group, me) | {"policy_blob": policy}
    columns = _with_id(EnvelopeKind.COMMUNITY, group, columns)
    publish(app, me, EnvelopeKind.COMMUNITY, columns, _manner(group, manner))


@dataclass(frozen=True, slots=True)
class _Group:
    """A roster before it becomes columns. `basis`: whose signatures count."""

    group_id: str | None
    name: str
    founders: frozenset[str]
    members: frozenset[str]
    protocol: ConsensusProtocol
    basis: Electorate

    @property
    def everybody(self) -> frozenset[str]:
        return self.founders | self.members


def _group(
    me: Signer,
    *,
    name: str,
    founders: Sequence[str],
    members: Sequence[str],
    protocol: str,
    group_id: str | None,
    basis: Electorate | None = None,
) -> _Group:
    rule = parse_consensus(protocol)
    for both in sorted(set(founders) & set(members)):
        raise click.UsageError(f"{both} is named as founder and as member: choose one.")
    own = set() if me.key_id in members else {me.key_id}
    group = _Group(
        group_id,
        name,
        frozenset(founders) | own,
        frozenset(members),
        rule,
        basis or Electorate.MEMBERS,
    )
    if basis is Electorate.FOUNDERS:
        _require_founder_quorum(group)
    return group


def _require_founder_quorum(group: _Group) -> None:
    rule, count = group.protocol, len(group.founders)
    if rule.form is not ConsensusForm.QUORUM or not rule.is_deadlock_free or rule.of != count:
        raise Failure(
            f"an infrastructure community with {count} founders decides by "
            f"--protocol quorum:{count // 2 + 1}/{count} or more"
        )


def _columns(word: str, group: _Group, me: Signer) -> dict[str, Any]:
    roster = [
        {"key_id": name, "joined_at": me.now}
        | ({"role": _FOUNDER} if name in group.founders else {})
        for name in sorted(group.everybody)
    ]
    return {
        f"{word}_name": group.name,
        "members": roster,
        "founded_at": me.now,
        "consensus_protocol": str(group.protocol),
    }


def _with_id(kind: EnvelopeKind, group: _Group, columns: dict[str, Any]) -> dict[str, Any]:
    """Add the id: the one given, or one that commits to all that these columns say."""
    slug = re.sub(r"[^a-z0-9]+", "-", group.name.lower())[:_SLUG_CHARS_MAX].strip("-")
    label = "-".join(filter(None, (kind.value, slug)))
    return {ID_COLUMNS[kind]: group.group_id or new_group_id(kind, label, columns), **columns}


def _manner(group: _Group, manner: Manner) -> Manner:
    """Ask for as many signatures as the protocol does, of those whom it counts.

    Raises:
        Failure: more are needed than this node can give, or than there are.
    """
    asked = group.protocol.required(len(group.everybody), len(group.founders), basis=group.basis)
    if asked is None:
        return manner
    who = group.founders if asked.who is Electorate.FOUNDERS else group.everybody
    if asked.count > len(who):
        raise Failure(
            f"{group.protocol} asks for {asked.count} of its {asked.who.value}, and there are "
            f"{len(who)}; name more, or choose another --protocol"
        )
    if asked.count > SIGNERS_FIT:
        raise Failure(
            f"{group.protocol} asks for {asked.count} signatures and one record holds "
            f"{SIGNERS_FIT}; choose another --protocol, such as quorum:{SIGNERS_FIT}/{len(who)}"
        )
    if manner.cosign_file is None and asked.count > 1:
        raise Failure(
            f"{group.protocol} asks for {asked.count} signatures and this node gives one; "
            "collect them with --cosign-file FILE"
        )
    return replace(
        manner,
        threshold=manner.threshold or asked.count,
        cosigners=manner.cosigners or tuple(sorted(who)),
    )


def _geographic(cell: str | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    from ciris_mesh.records.h3cell import location_cell, parse_cell

    resolution = parse_cell(cell).resolution
    location_cell(cell, resolution)
    return {
        "cohort_subkind": "geographic",
        "geographic_constraint": {"cell_id": cell, "cell_resolution": resolution},
    }
