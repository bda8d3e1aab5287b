"""A peer's queue: two orders over the same items, and a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.protocol.outqueue import ITEMS_MAX, Item, OutQueue, priority
from ciris_mesh.records.kinds import REMOVALS, EnvelopeKind

K = EnvelopeKind


def item(number: int, kind: K = K.ATTESTATION, age: int = 0) -> Item:
    return Item(kind, number.to_bytes(32, "big"), 3_400, age)


def test_the_classes_are_those_of_the_specification() -> None:
    order = sorted(K, key=priority)
    assert set(order[:4]) == {
        K.REVOCATION,
        K.IDENTITY_OCCURRENCE_REVOCATION,
        K.FAMILY_MEMBERSHIP_REVOCATION,
        K.COMMUNITY_MEMBERSHIP_REVOCATION,
    }
    assert order[4:7] == [K.KEY, K.IDENTITY_OCCURRENCE, K.ATTESTATION]
    assert len({priority(kind) for kind in order[7:]}) == 1
    assert {kind for kind in K if item(1, kind).is_removal} == REMOVALS


items = st.lists(
    st.builds(item, st.integers(0, 10_000), st.sampled_from(K), st.integers(0, 5)),
    max_size=40,
    unique_by=lambda each: each.name,
)


@given(items)
def test_the_first_order_is_class_age_arrival_and_the_second_arrival(given_: list[Item]) -> None:
    queue = OutQueue()
    for arrival, each in enumerate(given_):
        queue.put(each, arrival)
    ranked = sorted(given_, key=lambda each: (priority(each.kind), each.age, given_.index(each)))
    assert list(queue) == ranked
    both = [*queue.in_order(removals=True), *queue.in_order(removals=False)]
    assert both == ranked
    assert all(each.is_removal for each in queue.in_order(removals=True))
    others = [each for each in given_ if not each.is_removal]
    assert queue.longest_waiting() == (others[0] if others else None)
    worst = max((priority(each.kind) for each in others), default=0)
    least = [each for each in others if priority(each.kind) == worst]
    assert queue.least() == (least[-1] if least else None)


@given(items, st.data())
def test_what_is_taken_is_gone_and_the_rest_is_as_before(
    given_: list[Item], data: st.DataObject
) -> None:
    queue = OutQueue()
    for arrival, each in enumerate(given_):
        queue.put(each, arrival)
    left = list(queue)
    gone = data.draw(st.lists(st.sampled_from(given_), unique=True)) if given_ else []
    for each in gone:
        assert queue.arrival(each) == given_.index(each)
        assert queue.take(*each.name) == (each, given_.index(each))
        assert queue.take(*each.name) is None
        assert each.name not in queue
        left.remove(each)
    assert list(queue) == left
    assert len(queue) == len(left)


def test_the_same_id_of_another_kind_is_another_item() -> None:
    queue = OutQueue()
    queue.put(item(1, K.KEY), 0)
    queue.put(item(1, K.FAMILY), 1)
    assert queue.take(K.FAMILY, item(1).envelope_id) == (item(1, K.FAMILY), 1)
    assert list(queue) == [item(1, K.KEY)]


def test_it_says_when_it_is_full() -> None:
    queue = OutQueue()
    for number in range(ITEMS_MAX):
        assert not queue.is_full
        queue.put(item(number), number)
    assert queue.is_full
    with pytest.raises(AssertionError, match="twice"):
        queue.put(item(0), ITEMS_MAX)
