"""What may be delegated to whom: infrastructure must not have agency.

Scopes come in two families. `infra:*` lets a key be present, join communities, serve, store,
attest and transport; `agency:*` lets it act, speak, reason and decide for somebody. A node holds
the first only. Source: records-and-protocol.md, section 3.7; the old spellings without a prefix,
CEG section 8.1.12.7. Where both are silent, the stricter reading:

* a key that is a node and no agent takes nothing but the six infra scopes, spelled with `infra:`;
* agency goes to agents and to people (`user`), to no other identity type;
* unknown words of either family are refused; other words are not this rule's and pass, except to
  nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final

from ciris_mesh.records.provenance import identity_types

INFRA_PREFIX: Final = "infra:"
AGENCY_PREFIX: Final = "agency:"

INFRA_WORDS: Final = frozenset(
    {"network_presence", "join_communities", "serve", "store", "attest", "transport"}
)
AGENCY_WORDS: Final = frozenset({"act_on_behalf", "message_io", "reason", "decide"})

#: Ten known scopes, a few of others; a delegation is a short list.
SCOPES_MAX: Final = 32

_NODE: Final = "node"
_AGENT: Final = "agent"
_MAY_HAVE_AGENCY: Final = frozenset({_AGENT, "user"})


class ScopeReason(StrEnum):
    """Why scopes may not be delegated; NONE when they may."""

    NONE = ""
    EMPTY = "scope_empty"
    TOO_MANY = "scope_too_many"
    UNSORTED = "scope_unsorted"
    UNKNOWN = "scope_unknown"
    AGENCY_ON_INFRA = "scope_agency_on_infra"
    NODE_INFRA_ONLY = "scope_node_infra_only"


class ScopeFamily(StrEnum):
    """Where a scope belongs. UNKNOWN: it claims a family that does not have it."""

    INFRA = "infra"
    AGENCY = "agency"
    OTHER = "other"
    UNKNOWN = "unknown"


def scope_family(scope: str) -> ScopeFamily:
    """The family of one scope. Words without a prefix count as their family's."""
    for prefix, words, family in (
        (INFRA_PREFIX, INFRA_WORDS, ScopeFamily.INFRA),
        (AGENCY_PREFIX, AGENCY_WORDS, ScopeFamily.AGENCY),
    ):
        if scope.startswith(prefix):
            return family if scope.removeprefix(prefix) in words else ScopeFamily.UNKNOWN
        if scope in words:
            return family
    return ScopeFamily.OTHER


def is_node_only(identity_type: str) -> bool:
    """True for a key that is a node and no agent: infrastructure."""
    types = identity_types(identity_type)
    return _NODE in types and _AGENT not in types


def delegation_problem(scopes: Sequence[str], identity_type: str) -> ScopeReason:
    """Why these scopes may not go to a key of this type; NONE when they may.

    Args:
        scopes: as signed: a set, sorted by UTF-16 code units, each once.
        identity_type: the delegate's, from its own admitted key record.
    """
    if not scopes:
        return ScopeReason.EMPTY
    if len(scopes) > SCOPES_MAX:
        return ScopeReason.TOO_MANY
    units = [scope.encode("utf-16-be", "surrogatepass") for scope in scopes]
    if not all(one < other for one, other in pairwise(units)):
        return ScopeReason.UNSORTED
    families = {scope_family(scope) for scope in scopes}
    may_have_agency = bool(identity_types(identity_type) & _MAY_HAVE_AGENCY)
    if ScopeFamily.UNKNOWN in families:
        return ScopeReason.UNKNOWN
    if ScopeFamily.AGENCY in families and (is_node_only(identity_type) or not may_have_agency):
        return ScopeReason.AGENCY_ON_INFRA
    is_spelled_out = all(scope.startswith(INFRA_PREFIX) for scope in scopes)
    if is_node_only(identity_type) and not is_spelled_out:
        return ScopeReason.NODE_INFRA_ONLY
    return ScopeReason.NONE
