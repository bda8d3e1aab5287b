"""A reconciled round with a peer played by hand: its course, and what breaking it costs."""

from __future__ import annotations

import pytest

from ciris_mesh.directory.base import OWN
from ciris_mesh.protocol.limits import CADENCE_S, NO_PROGRESS_TIMEOUT_S
from ciris_mesh.protocol.report import BoundedBy, InSync
from ciris_mesh.protocol.shortid import item
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime import viewing
from ciris_mesh.runtime.events import RoundEvent, RoundOutcome
from ciris_mesh.runtime.node import Node
from ciris_mesh.runtime.reconciling import BATCHES_MAX, SLOW_FALL_BACK_S
from ciris_mesh.runtime.runtime import RuntimeConfig
from ciris_mesh.wire.mesh import Digests
from ciris_mesh.wire.mesh_reconcile import (
    CAPABILITY_RECONCILE,
    Extend,
    Failed,
    IdList,
    More,
    Sketch,
    Symbols,
    Wants,
)
from ciris_mesh.wire.mesh_records import CAPABILITY_RECORDS, Records, Taken
from ciris_mesh.wire.messages import Diff, Summary
from ciris_mesh.wire.transcode import decode_batch, plain_batch
from support.keys import key
from support.mesh import NOW_MS, Mesh, ScriptedPeer, collect, compared, held, let_compare, settle
from support.records import sample
from support.scripted_rounds import (
    BOTH,
    SALT,
    Held,
    answered,
    compare,
    connected,
    drops,
    id_of,
    opened,
    spend_all,
)
from support.waiting import wait_until

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY


@pytest.fixture
def events(alice: Node) -> list[RoundEvent]:
    return collect(alice)


@pytest.fixture
def bob(mesh: Mesh, alice: Node) -> ScriptedPeer:
    return connected(mesh, BOTH)


# --- the course of a round ------------------------------------------------------------------------


def test_what_both_lack_goes_both_ways_and_digests_close_the_round(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    mine, his_own = mesh.put("alice", FAMILY), sample(FAMILY, key("bob"))
    his = compare(bob, alice, frozenset({id_of(his_own)}))
    resolved = answered(bob, bob.hear(Sketch), his)
    assert resolved.expected == 1
    assert resolved.offer == (item(FAMILY, id_of(his_own)),)
    message = bob.hear(Records)
    assert message.round_id
    ((kind, envelope),) = decode_batch(message.batch)
    assert (kind, id_of(envelope)) == (FAMILY, mine)
    assert not bob.hear(Digests).reply, "all is sent, so the peer is asked at once"
    bob.say(Records(message.round_id, plain_batch([(FAMILY, his_own)])), Taken(message.round_id))
    assert bob.hear(Taken).round_id == message.round_id
    settle(alice)
    assert events == [], "the round ends with the peer's own word"
    bob.say(bob.digests(compared(alice), reply=True))
    wait_until(lambda: events, "the round is over")
    (event,) = events
    assert (event.outcome, event.kind) == (RoundOutcome.COMPLETED, FAMILY)
    assert event.report is not None
    assert (event.report.admitted, event.report.sent, event.report.confirmed) == (1, 1, True)
    assert event.report.staleness == InSync()
    assert alice.handle.waiting_for() == []


def test_in_sync_is_what_the_peers_digest_says_and_not_what_was_sent(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    mesh.put("alice", FAMILY)
    his = compare(bob, alice, frozenset())
    answered(bob, bob.hear(Sketch), his)
    bob.hear(Records)
    bob.hear(Digests)
    bob.say(bob.digests(dict(his), reply=True))  # it took nothing
    wait_until(lambda: events, "over")
    assert events[0].report is not None
    assert not events[0].report.confirmed
    assert not alice.is_fresh(FAMILY)
    assert alice.handle.waiting_for()


def test_what_was_taken_and_is_lacked_still_waits_before_it_is_sent_again(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    mesh.put("alice", FAMILY)
    his = compare(bob, alice, frozenset())
    answered(bob, bob.hear(Sketch), his)
    bob.say(Taken(bob.hear(Records).round_id))
    bob.hear(Digests)
    bob.say(bob.digests(dict(his), reply=True))
    wait_until(lambda: len(events) == 1, "over")
    while len(events) == 1:  # no time passes; a kind that moves nothing is tried more seldom
        settle(alice)
        alice.handle.sync()
        bob.hear(Digests)
        bob.say(bob.digests(dict(his), reply=True))
        settle(alice)
        if mesh.peer("alice", "bob").round is not None:
            answered(bob, bob.hear(Sketch), his)
            bob.hear(Digests)
            bob.say(bob.digests(dict(his), reply=True))
            settle(alice)
    assert [event.report.sent for event in events if event.report] == [1, 0]
    assert drops(alice, "reconcile_fell_back") == 0


def test_no_more_batches_are_sent_than_were_taken_and_two(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "DELIVER_BUDGET_BYTES", 1)  # one record a batch
    for n in range(5):
        mesh.put("alice", FAMILY, n)
        mesh.put("alice", EnvelopeKind.REVOCATION, n)
    his = compare(bob, alice, frozenset())
    answered(bob, bob.hear(Sketch), his)
    seen = []
    for _ in range(BATCHES_MAX):
        seen.append(bob.hear(Records))
    for _ in range(5 - BATCHES_MAX):
        settle(alice)
        assert bob.heard_nothing()
        bob.say(Taken(seen[0].round_id))
        seen.append(bob.hear(Records))
    assert not bob.hear(Digests).reply
    assert len({id_of(raw) for each in seen for _, raw in decode_batch(each.batch)}) == 5


def test_who_answers_sends_its_last_record_before_its_digests(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "DELIVER_BUDGET_BYTES", 1)
    for n in range(3):
        raw = sample(FAMILY, key("alice"), n)  # not news: she does not ask before he does
        alice.directory.admit(FAMILY, raw, OWN, now_ms=NOW_MS)
    his: Held = {**held(alice), FAMILY: frozenset()}
    bob.say(bob.digests(dict(his), reply=False))
    bob.hear_reply()
    opened(bob, his, alice)
    bob.hear(Wants)
    bob.say(bob.digests(dict(his), reply=False))
    for _ in range(3):
        assert bob.hear(Records).round_id == 7
        bob.say(Taken(7))
    assert bob.hear_reply()
    assert not bob.hear(Digests).reply, "what was sent is compared once more"


def test_a_node_that_has_nothing_is_sent_everything_without_being_asked(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    let_compare(bob, alice)
    bob.hear(Digests)
    bob.say(bob.digests({}, reply=True))
    message = bob.hear(Records)
    assert len(decode_batch(message.batch)) == 2


def test_records_of_a_round_nobody_knows_are_taken_by_who_had_nothing(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    envelope = sample(FAMILY, key("bob"))
    bob.say(Records(9, plain_batch([(FAMILY, envelope)])))
    assert bob.hear(Taken) == Taken(9)
    assert id_of(envelope) in held(alice)[FAMILY]
    bob.say(bob.digests(compared(alice), reply=False))
    wait_until(lambda: events, "closed by the comparison")
    assert events[0].report is not None
    assert events[0].report.admitted == 1


# --- exchanges that come to nothing ---------------------------------------------------------------


def test_two_failures_end_in_summaries_and_are_counted(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    mesh.put("alice", FAMILY)
    compare(bob, alice, frozenset())
    for width in (24, 32):
        sketch = bob.hear(Sketch)
        assert sketch.width == width
        bob.say(Failed(sketch.round_id))
    assert bob.hear(Summary).kind is FAMILY
    assert drops(alice, "reconcile_peer_failed") == drops(alice, "reconcile_fell_back") == 1


def test_on_a_slow_link_summaries_are_a_last_resort_once_a_day() -> None:
    mesh = Mesh(medium="radio")
    try:
        alice = mesh.node("alice")
        alice.start()
        bob = connected(mesh, BOTH)
        mesh.put("alice", FAMILY)
        for spoken in (1, 1):
            compare(bob, alice, frozenset())
            for _ in range(2):
                bob.say(Failed(bob.hear(Sketch).round_id))
            settle(alice)
            assert drops(alice, "reconcile_fell_back") == spoken
            if not drops(alice, "reconcile_fall_back_waits"):
                assert bob.hear(Summary).kind is FAMILY
                bob.say(Summary(FAMILY, ()), Diff(FAMILY, ()))
                settle(alice)
        assert drops(alice, "reconcile_fall_back_waits") == 1
        tried, _ = mesh.peer("alice", "bob").fruitless[FAMILY]
        assert tried == 2, "what came to nothing is tried more seldom, Summaries or not"
        assert mesh.peer("alice", "bob").next_fall_back_s > mesh.clock() + SLOW_FALL_BACK_S / 2
    finally:
        mesh.stop()


def test_a_difference_nothing_explains_gets_another_salt_and_then_summaries(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    """The digests differ, and every sketch says that nothing does."""
    his = compare(bob, alice, frozenset({b"x" * 32}))
    his = {**his, FAMILY: frozenset()}
    widths = []
    for _ in range(2):
        sketch = bob.hear(Sketch)
        widths.append(sketch.width)
        answered(bob, sketch, his)
        bob.hear(Digests)
        bob.say(bob.digests({**his, FAMILY: frozenset({b"x" * 32})}, reply=True))
    assert widths == [24, 32]
    assert bob.hear(Summary).kind is FAMILY
    assert drops(alice, "reconcile_fell_back") == 1


# --- peers that break the rules -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda round_id: Symbols(round_id, 24, 0, (1,)), "unexpected_message"),
        (lambda round_id: Extend(round_id, 30, (9,)), "no_such_cell"),
        (lambda round_id: More(round_id, b""), "wrong_kind_of_more"),
        (lambda round_id: Wants(round_id, b"chck", b"\xff\xff"), "ranks_malformed"),
    ],
)
def test_what_the_exchange_does_not_allow_ends_round_and_link_by_name(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent], said: object, reason: str
) -> None:
    mesh.put("alice", FAMILY)
    compare(bob, alice, frozenset())
    bob.say(said(bob.hear(Sketch).round_id))  # type: ignore[operator]
    bob.wait_down()
    assert [(event.outcome, event.reason) for event in events] == [(RoundOutcome.REFUSED, reason)]
    assert drops(alice, f"reconcile_{reason}") == 1
    assert mesh.peer("alice", "bob").round is None
    wait_until(lambda: mesh.peer("alice", "bob").reason == reason, "said why")


def test_a_peer_that_falls_silent_is_given_up_and_may_begin_anew(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    mesh.put("alice", FAMILY)
    compare(bob, alice, frozenset())
    bob.hear(Sketch)
    mesh.clock.leap(NO_PROGRESS_TIMEOUT_S)
    bob.wait_down()
    assert [(event.outcome, event.reason) for event in events] == [
        (RoundOutcome.TIMED_OUT, "no_progress")
    ]
    mesh.clock.leap(CADENCE_S)
    bob.wait_dialled()
    bob.shake_hands()
    wait_until(lambda: mesh.peer("alice", "bob").link is not None, "attributed")
    bob.hear(Digests)
    his: Held = {**held(alice), FAMILY: frozenset()}
    bob.say(bob.digests(dict(his), reply=True))
    answered(bob, bob.hear(Sketch), his)
    assert bob.hear(Records).round_id


def test_a_link_that_goes_down_takes_its_round_along(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    mesh.put("alice", FAMILY)
    his = compare(bob, alice, frozenset())
    answered(bob, bob.hear(Sketch), his)
    bob.hear(Records)  # never taken: it is sent again over the next link
    alice.runtime.transport.hang_up(mesh.peer("alice", "bob").link.link)  # type: ignore[union-attr]
    bob.wait_down()
    wait_until(lambda: events, "ended")
    assert (events[0].outcome, events[0].reason) == (RoundOutcome.ERROR, "link_down")
    mesh.clock.leap(CADENCE_S)
    bob.wait_dialled()
    bob.shake_hands()
    bob.hear(Digests)
    bob.say(bob.digests(dict(his), reply=True))
    answered(bob, bob.hear(Sketch), his)
    bob.hear(Records)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Taken(3), "taken_unasked"),
        (Wants(3, b"chck", b"\x00"), "reconcile_nothing_open"),
        (Failed(3), "reconcile_nothing_open"),
        (Sketch(3, SALT, 24, False, (1,), (1,)), "reconcile_not_compared"),
    ],
)
def test_what_nobody_asked_for_is_counted_and_the_link_lives(
    alice: Node, bob: ScriptedPeer, message: object, reason: str
) -> None:
    bob.say(message)  # type: ignore[arg-type]
    wait_until(lambda: drops(alice, reason) == 1, "counted")
    if isinstance(message, Sketch):
        assert bob.hear(Failed) == Failed(3), "so that the peer need not wait"
    assert bob.link is not None


@pytest.mark.parametrize("capabilities", [CAPABILITY_RECORDS, CAPABILITY_RECONCILE, 0])
def test_a_peer_that_does_not_state_both_gets_summaries(mesh: Mesh, capabilities: int) -> None:
    alice = mesh.node("alice")
    alice.start()
    bob = connected(mesh, capabilities)
    mesh.put("alice", FAMILY)
    compare(bob, alice, frozenset())
    assert bob.hear(Summary).kind is FAMILY
    bob.say(Taken(3))
    wait_until(lambda: drops(alice, "reconcile_not_stated") == 1, "counted")


def test_strangers_reconcile_nothing(mesh: Mesh, alice: Node) -> None:
    eve = mesh.script("eve")
    eve.dial("alice")
    eve.shake_hands()
    eve.say(Sketch(3, SALT, 24, False, (1,), (1,)), Taken(3))
    wait_until(lambda: drops(alice, "frame_unattributed") == 2, "counted")


def test_a_peer_that_asks_too_often_is_told_no(mesh: Mesh, alice: Node, bob: ScriptedPeer) -> None:
    spend_all(mesh)
    his: Held = {**held(alice), FAMILY: frozenset()}
    bob.say(bob.digests(dict(his), reply=False))
    bob.hear_reply()
    opened(bob, his, alice)
    assert bob.hear(Failed) == Failed(7)
    assert drops(alice, "reconcile_too_often") == 1


def test_a_kind_too_often_refused_is_not_even_looked_at(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alice.runtime.bridge, "is_worth_taking", lambda _peer, _kind: False)
    bob.say(Records(9, plain_batch([(FAMILY, sample(FAMILY, key("bob")))])))
    assert bob.hear(Taken) == Taken(9)
    assert drops(alice, "kind_refused_too_often") == 1
    assert held(alice)[FAMILY] == frozenset()


def test_what_stays_outside_is_told_to_the_board(
    mesh: Mesh, alice: Node, bob: ScriptedPeer, events: list[RoundEvent]
) -> None:
    """A record nobody can judge yet came: this side knows that it is behind."""
    early = sample(FAMILY, key("bob"), at_ms=2_000_000_000_000)
    his = compare(bob, alice, frozenset({id_of(early)}))
    answered(bob, bob.hear(Sketch), his)
    bob.hear(Digests)
    bob.say(Records(1, plain_batch([(FAMILY, early)])))
    bob.hear(Taken)
    bob.say(bob.digests(dict(his), reply=True))
    wait_until(lambda: events, "over")
    assert events[0].report is not None
    assert events[0].report.deferred == 1
    assert alice.runtime.board.standing(key("bob").key_id, FAMILY).signal == BoundedBy(1)


def test_a_list_is_answered_like_a_sketch(mesh: Mesh, alice: Node, bob: ScriptedPeer) -> None:
    mine = mesh.put("alice", FAMILY)
    his: Held = {KEY: held(alice)[KEY]}
    bob.say(bob.digests(dict(his), reply=False))
    bob.hear_reply()
    assert bob.hello is not None
    bob.say(IdList(7, SALT, 24, ()))
    bob.hear(Wants)
    kinds = [kind for kind, _ in decode_batch(bob.hear(Records).batch)]
    assert kinds == [KEY, KEY, FAMILY], "keys come first: what they sign needs them"
    assert mine in held(alice)[FAMILY]


def test_a_peer_that_had_news_meanwhile_is_not_asked_for_summaries(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    """Twice nothing was found, but what bob says he has was another thing each time."""
    his = compare(bob, alice, frozenset({b"0" * 32}))
    for number in (b"1", b"2"):
        answered(bob, bob.hear(Sketch), {**his, FAMILY: frozenset()})
        bob.hear(Digests)
        bob.say(bob.digests({**his, FAMILY: frozenset({number * 32})}, reply=True))
    wait_until(lambda: mesh.peer("alice", "bob").round is None, "over")
    settle(alice)
    assert drops(alice, "reconcile_fell_back") == 0
    assert bob.heard_nothing()


def test_who_was_sent_what_it_had_does_not_ask_for_summaries(
    mesh: Mesh, alice: Node, bob: ScriptedPeer
) -> None:
    """The difference was found: bob sent it. That it brought nothing new is no wonder."""
    mesh.put("alice", FAMILY)
    (envelope,) = (
        row.envelope
        for one in held(alice)[FAMILY]
        if (row := alice.directory.get(FAMILY, one)) is not None
    )
    his = compare(bob, alice, frozenset({b"0" * 32}))
    for _ in range(3):
        sketch = bob.hear(Sketch)
        answered(bob, sketch, held(alice))
        bob.hear(Digests)
        bob.say(Records(sketch.round_id, plain_batch([(FAMILY, envelope)])))
        bob.hear(Taken)
        bob.say(bob.digests(dict(his), reply=True))
        wait_until(lambda: mesh.peer("alice", "bob").round is None, "over")
        settle(alice)  # what came to nothing is noted behind it
        mesh.peer("alice", "bob").fruitless.clear()
        alice.handle.sync()
        bob.hear(Digests)
        bob.say(bob.digests(dict(his), reply=True))
    assert drops(alice, "reconcile_fell_back") == 0


@pytest.mark.parametrize("small", ["alice", "bob"])
def test_a_board_that_reads_short_sketches_alone_converges_with_one_that_reads_long_ones(
    mesh: Mesh, small: str
) -> None:
    cap = RuntimeConfig(limits=Limits(symbols_max=32))
    nodes = [mesh.node(name, config=cap if name == small else None) for name in ("alice", "bob")]
    mesh.befriend("alice", "bob")
    for name, first in (("alice", 0), ("bob", 500)):
        for n in range(45):
            mesh.put(name, FAMILY, first + n)
    for node in nodes:
        node.start()
    mesh.wait_converged()
    assert len(held(nodes[0])[FAMILY]) == 90
    assert held(nodes[0]) == held(nodes[1])
    for node in nodes:
        assert not any(name.startswith("reconcile_") for name in node.runtime.drops.snapshot())
