"""Walking delegations: from the giver, each key once, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.rules.delegations import (
    DELEGATION_LINKS_MAX,
    KEYS_VISITED_MAX,
    may_act_for,
)
from ciris_mesh.records.tokens import delegation_token
from support.records import AT_MS
from support.rulebook import K, Shelf, key_id, made

FAR = DELEGATION_LINKS_MAX


def acts_for(giver: str, taker: str) -> Envelope:
    columns = {
        "attested_key_id": taker,
        "attestation_type": "delegates_to",
        "attestation_envelope": {"delegated_scope": ["agency:act_on_behalf"]},
    }
    return made(K.ATTESTATION, columns, giver)


class CountingShelf(Shelf):
    """Remembers what was asked for."""

    asked: list[str]

    def named(self, token: str) -> Iterator[Envelope]:
        self.asked.append(token)
        return super().named(token)


def counting(*records: Envelope) -> CountingShelf:
    shelf = CountingShelf()
    shelf.asked = []
    for record in records:
        shelf.add(record)
    return shelf


def test_who_is_reached_by_many_ways_is_looked_at_once() -> None:
    names = [f"d{n}" for n in range(5)]
    shelf = counting(*(acts_for(giver, key_id(taker)) for giver in names for taker in names))
    may, tokens = may_act_for(key_id("d0"), "nobody", AT_MS, shelf, links_max=FAR)
    assert not may
    assert sorted(shelf.asked) == sorted(delegation_token(key_id(name)) for name in names)
    assert sorted(tokens) == sorted(shelf.asked)


def test_a_crowd_of_delegates_is_not_followed_for_ever() -> None:
    crowd = [acts_for("alice", f"delegate-{n}") for n in range(KEYS_VISITED_MAX + 50)]
    shelf = counting(*crowd)
    may, tokens = may_act_for(key_id("alice"), "nobody", AT_MS, shelf, links_max=FAR)
    assert not may
    assert len(tokens) == len(shelf.asked) == KEYS_VISITED_MAX
    last = f"delegate-{KEYS_VISITED_MAX + 49}"
    assert may_act_for(key_id("alice"), last, AT_MS, shelf, links_max=1) == (True, ())


def test_a_principal_does_not_act_for_itself_by_delegation() -> None:
    assert may_act_for("a", "a", AT_MS, counting(), links_max=FAR) == (False, ("delegation:a",))
