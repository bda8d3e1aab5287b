"""Which federation-shelf rows are in a partial scope, found by names and by what relies on what.

Reading follows the size of the scope: nothing here looks through a table. What a row of the scope
relied on when it was admitted is in the scope as well, or it could not be admitted elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ciris_mesh.directory.base import ReplicationDirectory, RowHead, Shelf
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import name
from ciris_mesh.records.scope import TRUST_RELIED_KINDS, Scope

#: Members of all communities of a scope together. Rosters are small, and who fills one on purpose
#: must not make every comparison of its members' nodes a look through the whole store.
MEMBERS_MAX: Final = 4096

#: Rosters of one community that are read; as many as an answer reads (`records.resolve`).
ROSTERS_MAX: Final = 1000

_OF_MEMBERS: Final = ("key", "revoked", "occurrences", "about", "location")

_K: Final = EnvelopeKind
#: Removals, and the word under which the group they name is found (`records.names`).
_GROUPS: Final = {
    _K.FAMILY_MEMBERSHIP_REVOCATION: "family",
    _K.COMMUNITY_MEMBERSHIP_REVOCATION: "community",
}
#: The first part of a subject; escaped there as in a name.
_FIRST: Final = re.compile(r"(?:\\.|[^\\|])*", re.DOTALL)
Part = Mapping[EnvelopeKind, Mapping[bytes, RowHead]]


def part_of(directory: ReplicationDirectory, scope: Scope) -> Part:
    """Rows of the kinds of which a partial scope has some: kind -> envelope id -> row."""
    if scope.word == "trust":
        return _for_removals(directory)
    return _of_communities(directory, scope)


def _for_removals(directory: ReplicationDirectory) -> Part:
    """Rosters of the groups that removed anybody, and what those relied on."""
    names = {
        f"{group}={first[0]}"
        for removal, group in _GROUPS.items()
        for head in directory.heads(removal)
        if (first := _FIRST.match(head.subject))
    }
    kinds = TRUST_RELIED_KINDS
    rosters = [head for head in directory.heads_named(sorted(names)) if head.kind in kinds]
    return _sorted_out(_with_relied(directory, rosters, kinds), kinds)


def _of_communities(directory: ReplicationDirectory, scope: Scope) -> Part:
    names = [name("community", one) for one in scope.ids]
    names += [name(word, member) for member in _members(directory, scope) for word in _OF_MEMBERS]
    heads = [head for head in directory.heads_named(names) if head.kind in scope.kinds]
    return _sorted_out(_with_relied(directory, heads, scope.kinds), scope.kinds)


def _members(directory: ReplicationDirectory, scope: Scope) -> list[str]:
    """Whom any roster of these communities lists, the first listed first."""
    found: dict[str, None] = {}
    for one in scope.ids:
        for row in directory.named_rows(name("community", one), limit=ROSTERS_MAX):
            if row.kind is _K.COMMUNITY and row.shelf is Shelf.FEDERATION:
                found |= dict.fromkeys(_listed(parse_envelope(row.kind, row.envelope)))
    return list(found)[:MEMBERS_MAX]


def _listed(roster: Envelope) -> Iterable[str]:
    members = roster.record["members"]
    assert isinstance(members, list), "the field table says so"
    return [str(member["key_id"]) for member in members if isinstance(member, dict)]


def _with_relied(
    directory: ReplicationDirectory, heads: Collection[RowHead], kinds: Collection[EnvelopeKind]
) -> list[RowHead]:
    """These rows, what they relied on among `kinds`, what that relied on, and so on."""
    found = {(head.kind, head.envelope_id): head for head in heads}
    pending = list(heads)
    while pending:
        relied = directory.heads_relied(pending)
        pending = [
            head
            for head in relied
            if head.kind in kinds and (head.kind, head.envelope_id) not in found
        ]
        found |= {(head.kind, head.envelope_id): head for head in pending}
    return list(found.values())


def _sorted_out(heads: Iterable[RowHead], kinds: Collection[EnvelopeKind]) -> Part:
    part: dict[EnvelopeKind, dict[bytes, RowHead]] = {kind: {} for kind in kinds}
    for head in heads:
        if head.kind in part:
            part[head.kind][head.envelope_id] = head
    return part
