"""What is held and forgotten to be offered: the answering side takes it for common, if it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.protocol import sizing
from ciris_mesh.protocol.compared import found_among
from ciris_mesh.protocol.reconcile_events import FallBack, Resolved
from ciris_mesh.protocol.shortid import SaltedSet
from ciris_mesh.wire.mesh_reconcile import IdList, Sketch, Turn
from support.reconciling import Side, converse, differing, exact, made, reconcile

KEY = b"a key"


def forgetful(
    common: int, met: int, unmet: int, mine: int = 2, theirs: int = 3
) -> tuple[Side, Side]:
    """`one` opens; `two` holds `met` of its records without knowing, and some it has not."""
    one, two = differing("spare", common, mine, theirs)
    shared = made("met", met)
    one.items = [*one.items, *shared]
    two.spare = [*shared, *made("unmet", unmet)]
    return one, two


@pytest.mark.parametrize(
    ("common", "met", "unmet"), [(100, 5, 0), (100, 5, 4), (400, 300, 7), (2_000, 1_000, 50)]
)
def test_what_the_peer_has_is_met_and_not_sent(common: int, met: int, unmet: int) -> None:
    one, two = forgetful(common, met, unmet)
    shared = set(two.spare[:met])
    reconcile(one, two)
    assert isinstance(one.end, Resolved)
    assert isinstance(two.end, Resolved)
    assert set(two.end.met) == shared
    assert not shared & set(one.end.offer), "it is not sent again"
    assert one.offer == set(made("spare one", 2))
    assert two.offer == set(made("spare two", 3))


def test_a_list_meets_as_a_sketch_does() -> None:
    one, two = differing("spare", 10, 2, 200)
    two.spare = one.items[-2:]
    reconcile(one, two)
    assert isinstance(two.heard[0], IdList)
    assert isinstance(two.end, Resolved)
    assert set(two.end.met) == set(one.items[-2:])
    assert isinstance(one.end, Resolved)
    assert one.end.offer == ()


def test_buckets_that_differ_only_in_what_is_spare_are_met(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizing, "BUCKETS_FROM", 500)
    one, two = forgetful(1_000, 6, 0, mine=0, theirs=0)
    reconcile(one, two)
    assert isinstance(two.heard[0], Sketch)
    assert two.heard[0].over_buckets
    assert isinstance(two.end, Resolved)
    assert set(two.end.met) == set(two.spare)


@pytest.mark.parametrize("held", [1, 50, 2_000])
def test_who_shows_nothing_and_asks_is_shown_what_there_is_before_it_is_sent(held: int) -> None:
    """It restarted, and passes on nothing of what it holds: sent unasked, all would come again."""
    one, two = differing("asks", 0, held, 0)
    two.spare = one.items[1:]
    one.receive(Turn(7))
    converse(one, two)
    assert isinstance(two.end, Resolved)
    assert set(two.end.met) == set(two.spare)
    assert isinstance(one.end, Resolved)
    assert one.end.offer == tuple(one.items[:1])


def test_without_spare_items_nothing_is_met() -> None:
    one, two = differing("plain", 50, 3, 3)
    reconcile(one, two)
    assert isinstance(two.end, Resolved)
    assert two.end.met == ()
    assert exact(one, two)


def test_who_opens_meets_nothing() -> None:
    """It learns places in its own list only; so it lets the other side open."""
    one, two = differing("opens", 50, 3, 3)
    one.spare = two.items[-2:]
    reconcile(one, two)
    assert isinstance(one.end, Resolved)
    assert one.end.met == ()
    assert exact(one, two)


def test_a_short_id_that_deceives_is_found_by_the_check() -> None:
    """Another record with the same short id is taken for common: then nothing is believed."""
    one, two = differing("deceived", 20, 1, 0)
    (mine,) = set(one.items) - set(two.items)
    real, lying = SaltedSet([mine], KEY), SaltedSet(made("liar", 1), KEY)
    net = {real.values(24)[0]: 1}
    assert found_among([mine], KEY, 24, 0, net)[0] == [mine]
    assert found_among(lying.items, KEY, 24, 0, net) == ([], [], net)  # type: ignore[arg-type]

    two.spare = made("liar", 1)
    one.peer_count, two.peer_count = len(two.items), len(one.items)
    one.open(len(two.items))
    converse(one, two)
    assert isinstance(one.end, Resolved)
    assert not isinstance(two.end, FallBack)
    assert one.end.offer == (mine,)


@given(st.data())
@settings(max_examples=60)
def test_whatever_is_spare_each_sends_what_the_other_lacks(data: st.DataObject) -> None:
    universe = made("universe", 40)
    subsets = st.sets(st.sampled_from(universe), max_size=30)
    one_has, two_has, two_spare = (data.draw(subsets) for _ in range(3))
    spare = two_spare - two_has
    one, two = Side(sorted(one_has)), Side(sorted(two_has), spare=sorted(spare))
    reconcile(one, two)
    if not two.heard or not isinstance(two.heard[0], Sketch | IdList):
        return  # one of them has nothing, or so little that the other lets it open
    assert isinstance(two.end, Resolved)
    assert set(two.end.met) == one_has & spare
    assert one.offer == one_has - two_has - spare
    assert two.offer >= two_has - one_has
