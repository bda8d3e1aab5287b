"""Who may act for whom: link by link, and nobody else's records make it dearer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.rules.delegations import missing_links
from ciris_mesh.records.tokens import delegation_token
from support.records import AT_MS
from support.rulebook import K, Shelf, key_id, made

_View = TypeVar("_View")


def acts_for(giver: str, taker: str) -> Envelope:
    columns = {
        "attested_key_id": taker,
        "attestation_type": "delegates_to",
        "attestation_envelope": {"delegated_scope": ["agency:act_on_behalf"]},
    }
    return made(K.ATTESTATION, columns, giver)


class CountingShelf(Shelf):
    """Remembers what was asked for, and how many records were looked at."""

    asked: list[str]
    looked_at: int = 0

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[_View]:
        self.asked.append(token)
        for view in super().views(token, read):
            self.looked_at += 1
            yield view


def counting(*records: Envelope) -> CountingShelf:
    shelf = CountingShelf()
    shelf.asked = []
    for record in records:
        shelf.add(record)
    return shelf


def link(giver: str, taker: str) -> str:
    return delegation_token(key_id(giver), key_id(taker))


def test_each_link_is_asked_for_once_and_each_that_lacks_is_named() -> None:
    shelf = counting(acts_for("a", key_id("b")), acts_for("c", key_id("d")))
    path = list(map(key_id, "abcd"))
    assert missing_links(path, AT_MS, shelf) == (link("b", "c"),)
    assert shelf.asked == [link("a", "b"), link("b", "c"), link("c", "d")]
    shelf.add(acts_for("b", key_id("c")))
    assert missing_links(path, AT_MS, shelf) == ()


def test_a_crowd_of_delegates_costs_nothing() -> None:
    crowd = [acts_for("alice", f"delegate-{n}") for n in range(300)]
    shelf = counting(*crowd, acts_for("alice", key_id("bob")))
    assert missing_links((key_id("alice"), key_id("bob")), AT_MS, shelf) == ()
    assert shelf.looked_at == 1
    assert missing_links((key_id("alice"), key_id("carol")), AT_MS, shelf)
    assert shelf.looked_at == 1


def test_a_delegation_leads_one_way() -> None:
    shelf = counting(acts_for("a", key_id("b")))
    assert missing_links((key_id("b"), key_id("a")), AT_MS, shelf) == (link("b", "a"),)
    assert missing_links((key_id("a"), key_id("a")), AT_MS, shelf) == (link("a", "a"),)


_pairs = st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde"))


@given(st.sets(_pairs), st.sets(_pairs), st.lists(st.sampled_from("abcde"), min_size=2))
def test_more_delegations_never_take_a_link_away(
    fewer: set[tuple[str, str]], more: set[tuple[str, str]], names: list[str]
) -> None:
    path = list(map(key_id, names))
    before = missing_links(path, AT_MS, counting(*(acts_for(g, key_id(t)) for g, t in fewer)))
    both = counting(*(acts_for(giver, key_id(taker)) for giver, taker in fewer | more))
    assert set(missing_links(path, AT_MS, both)) <= set(before)
