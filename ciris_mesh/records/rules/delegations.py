"""Who may act for whom: `delegates_to` attestations, followed from the one who gave the power.

The walk starts at the principal and follows only what it and its delegates signed themselves, so
nobody else can make it long. A delegation counts while it says it is in force and carries
`act_on_behalf`; whether it was withdrawn is asked when answers are made. Source:
records-and-protocol.md, sections 3.7 and 4.1a.
"""

from __future__ import annotations

from typing import Final

from ciris_mesh.records.delegation import AGENCY_PREFIX
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.rules.base import Facts, is_in_force, signed_members, text
from ciris_mesh.records.tokens import delegation_token

SCOPE_MEMBER: Final = "delegated_scope"
ACT_ON_BEHALF: Final = "act_on_behalf"

#: Delegations between a principal and who acts for it: a person, an agent, its tools.
DELEGATION_LINKS_MAX: Final = 8
#: Keys whose delegations are looked at for one question.
KEYS_VISITED_MAX: Final = 256


def may_act_for(
    principal: str, actor: str, at_ms: int, facts: Facts, *, links_max: int
) -> tuple[bool, tuple[str, ...]]:
    """Does a chain of at most `links_max` delegations lead from principal to actor?

    Returns:
        The answer, and the tokens whose arrival could change a no.
    """
    seen = [principal]
    level = [principal]
    for _ in range(links_max):
        following: list[str] = []
        for giver in level:
            for record in facts.named(delegation_token(giver)):
                if not _carries(record, at_ms):
                    continue
                taker = text(record, "attested_key_id")
                if taker == actor:
                    return True, ()
                if taker not in seen and len(seen) < KEYS_VISITED_MAX:
                    seen.append(taker)
                    following.append(taker)
        level = following
    return False, tuple(delegation_token(one) for one in seen)


def _carries(record: Envelope, at_ms: int) -> bool:
    scopes = signed_members(record).get(SCOPE_MEMBER)
    names = scopes if isinstance(scopes, list) else []
    acts = ACT_ON_BEHALF in names or f"{AGENCY_PREFIX}{ACT_ON_BEHALF}" in names
    return acts and is_in_force(record, at_ms, until="expires_at")
