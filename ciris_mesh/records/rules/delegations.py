"""Who may act for whom: `delegates_to` attestations, link by link.

Each link is looked up by who gave the power and who took it, so nobody else's records, and none of
the giver's other delegations, can make a question long. Longer chains are not searched for: whoever
acts by one names its links. A delegation counts while it says it is in force and carries
`act_on_behalf`; whether it was withdrawn is asked when answers are made. Source:
records-and-protocol.md, sections 3.7 and 4.1a.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ciris_mesh.records.delegation import AGENCY_PREFIX
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.rules.base import Facts, made_at_ms, signed_members, time_ms
from ciris_mesh.records.tokens import delegation_token

SCOPE_MEMBER: Final = "delegated_scope"
ACT_ON_BEHALF: Final = "act_on_behalf"

#: Delegations between a principal and who acts for it: a person, an agent, its tools.
DELEGATION_LINKS_MAX: Final = 8


class _Power(NamedTuple):
    """When a delegation allows to act: since, and until when if it ends. Unix ms."""

    since_ms: int
    until_ms: int | None


def missing_links(path: Sequence[str], at_ms: int, facts: Facts) -> tuple[str, ...]:
    """Tokens of the delegations that lack for the last key of `path` to act for the first."""
    return tuple(
        delegation_token(giver, taker)
        for giver, taker in pairwise(path)
        if not _acts(giver, taker, at_ms, facts)
    )


def _acts(giver: str, taker: str, at_ms: int, facts: Facts) -> bool:
    return any(
        power is not None
        and power.since_ms <= at_ms
        and (power.until_ms is None or at_ms < power.until_ms)
        for power in facts.views(delegation_token(giver, taker), _power)
    )


def _power(record: Envelope) -> _Power | None:
    scopes = signed_members(record).get(SCOPE_MEMBER)
    names = scopes if isinstance(scopes, list) else []
    if ACT_ON_BEHALF in names or f"{AGENCY_PREFIX}{ACT_ON_BEHALF}" in names:
        return _Power(made_at_ms(record), time_ms(record, "expires_at"))
    return None
