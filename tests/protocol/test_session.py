"""The mesh flow: two sessions by hand, the laws of a round, and everything a peer may do wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError, UnexpectedMessage
from ciris_mesh.protocol.events import (
    Applied,
    Compared,
    Finish,
    NotServed,
    Received,
    Send,
    SendEnvelopes,
    Served,
    Start,
)
from ciris_mesh.protocol.limits import (
    DIFF_ASKED_MAX,
    DIFF_WANT_MAX,
    DIFFS_AHEAD,
    DIFFS_PER_ROUND_MAX,
)
from ciris_mesh.protocol.report import BoundedBy, InSync, SessionRole, Tally
from ciris_mesh.protocol.session import Phase, Session, step
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, ReplicationMessage, Summary
from support.pair import Host, converse

KIND = EnvelopeKind.KEY


def host(role: SessionRole, *envelopes: bytes) -> Host:
    made = Host(Session(role, KIND), step, KIND)
    made.held = {made.name_of(envelope): envelope for envelope in envelopes}
    return made


def pair(mine: tuple[bytes, ...], theirs: tuple[bytes, ...]) -> tuple[Host, Host]:
    return host(SessionRole.INITIATOR, *mine), host(SessionRole.RESPONDER, *theirs)


def run(alice: Host, bob: Host) -> int:
    alice.feed(Start())
    return converse(alice, bob)


def test_two_disjoint_nodes_converge_and_both_sides_report_it() -> None:
    alice, bob = pair((b"a1", b"a2"), (b"b1", b"b2"))
    run(alice, bob)
    assert alice.held == bob.held
    for side in (alice, bob):
        (report,) = side.reports
        assert (report.admitted, report.sent, report.missing) == (2, 2, 0)
        assert report.staleness == InSync()
        assert report.confirmed
        assert side.session.phase is Phase.IDLE


def test_partial_overlap_delivers_only_what_is_missing() -> None:
    alice, bob = pair((b"both", b"mine"), (b"both",))
    run(alice, bob)
    assert bob.admitted == [b"mine"]
    assert alice.admitted == []
    assert alice.reports[0].sent == 1


def test_a_second_round_moves_nothing_and_says_in_sync() -> None:
    alice, bob = pair((b"a",), (b"b",))
    run(alice, bob)
    carried = run(alice, bob)
    assert carried == 4  # two Summaries, two empty Diffs
    assert alice.reports[1].admitted == alice.reports[1].sent == 0
    assert alice.reports[1].staleness == InSync()


def test_the_responder_answers_a_summary_with_two_messages() -> None:
    _, bob = pair((), (b"b",))
    bob.receive(Summary(KIND, (EnvelopeRef(b"x" * 32, 1),)))
    assert list(bob.outbox) == [Summary(KIND, bob.refs()), Diff(KIND, (b"x" * 32,))]


def test_refused_records_count_as_missing_and_are_not_asked_for_again() -> None:
    alice, bob = pair((b"a", b"b", b"c"), ())
    bob.refuses = {bob.name_of(b"a"), bob.name_of(b"b")}
    run(alice, bob)
    assert bob.reports[0].staleness == BoundedBy(2)
    assert (bob.reports[0].admitted, bob.reports[0].refused) == (1, 2)
    assert bob.not_served == []
    run(alice, bob)
    assert bob.reports[1].staleness == InSync()
    assert alice.reports[1].sent == 0


def test_what_waits_in_a_pool_is_known_and_still_missing() -> None:
    """A node whose clock is wrong defers everything: it must not call itself in sync."""
    session, _ = step(Session(SessionRole.RESPONDER, KIND), Received(Summary(KIND, ())))
    session, _ = step(session, Compared((b"x" * 32,)))
    session, _ = step(session, Received(Deliver(KIND, (b"x",))))
    session, _ = step(session, Applied(((b"x" * 32, Outcome.DEFERRED),)))
    _, actions = step(session, Received(Diff(KIND, ())))
    (finish,) = actions
    assert isinstance(finish, Finish)
    assert finish.report.staleness == BoundedBy(1)
    assert (finish.report.deferred, finish.report.missing) == (1, 1)


def test_what_is_not_asked_for_now_is_still_missing() -> None:
    session, _ = step(Session(SessionRole.RESPONDER, KIND), Received(Summary(KIND, ())))
    session, _ = step(session, Compared((), owed=3))
    _, (finish,) = step(session, Received(Diff(KIND, ())))
    assert isinstance(finish, Finish)
    assert finish.report.staleness == BoundedBy(3)


def ids_of(count: int) -> tuple[bytes, ...]:
    return tuple(bytes([n // 256, n % 256]) * 16 for n in range(count))


def wants_of(actions: tuple[object, ...]) -> list[tuple[bytes, ...]]:
    """What the Diffs among these actions name."""
    sent = [action.message for action in actions if isinstance(action, Send)]
    return [message.want for message in sent if isinstance(message, Diff)]


def asking(count: int) -> tuple[Session, list[tuple[bytes, ...]]]:
    """A session that lacks so many, and what it asks for at once."""
    session, _ = step(Session(SessionRole.RESPONDER, KIND), Received(Summary(KIND, ())))
    session, actions = step(session, Compared(ids_of(count)))
    return session, wants_of(actions)


def brought(count: int) -> Received:
    return Received(Deliver(KIND, tuple(b"%d" % n for n in range(count))))


def test_a_long_want_is_named_in_parts_two_of_them_ahead() -> None:
    each, ids = DIFF_ASKED_MAX, ids_of(3 * DIFF_ASKED_MAX + 5)
    session, wants = asking(len(ids))
    assert wants == [ids[:each], ids[each : 2 * each]]
    assert len(wants) == DIFFS_AHEAD
    session, actions = step(session, brought(each))
    assert wants_of(actions) == [ids[2 * each : 3 * each]]
    _, actions = step(session, brought(each))
    assert wants_of(actions) == [ids[3 * each :]]


def test_what_an_answer_had_no_room_for_is_asked_for_again_before_the_rest() -> None:
    each, ids = DIFF_ASKED_MAX, ids_of(3 * DIFF_ASKED_MAX)
    session, _ = asking(len(ids))
    _, actions = step(session, brought(each - 3))
    assert wants_of(actions) == [(*ids[each - 3 : each], *ids[2 * each :][: each - 3])]


def test_an_empty_answer_ends_the_asking_and_what_is_on_its_way_is_awaited() -> None:
    session, wants = asking(3 * DIFF_ASKED_MAX)
    session, actions = step(session, Received(Deliver(KIND, ())))
    assert actions == (), "the second answer is still to come"
    session, actions = step(session, brought(len(wants[1])))
    assert wants_of(actions) == []
    came = tuple((id_, Outcome.ADMITTED) for id_ in wants[1])
    session, actions = step(session, Applied(came))
    assert actions[0] == NotServed(tuple(sorted(set(ids_of(3 * DIFF_ASKED_MAX)) - set(wants[1]))))
    assert wants_of(actions) == [()], "the confirmation"
    with pytest.raises(UnexpectedMessage):
        step(session, brought(1))  # nothing more was asked for


def test_a_diff_longer_than_any_answer_needs_is_refused() -> None:
    _, bob = pair((), ())
    bob.receive(Summary(KIND, ()))
    with pytest.raises(UnexpectedMessage):
        bob.receive(Diff(KIND, (b"x" * 32,) * (DIFF_WANT_MAX + 1)))


def test_what_is_offered_and_not_served_is_named_and_does_not_count_as_confirmed() -> None:
    alice, bob = pair((b"a", b"b"), ())
    alice.hidden = {alice.name_of(b"a")}
    run(alice, bob)
    assert bob.not_served == [bob.name_of(b"a")]
    assert bob.reports[0].staleness == BoundedBy(1)
    assert alice.reports[0].unserved >= 1
    assert not alice.reports[0].confirmed


def test_a_peer_that_serves_nothing_ends_the_round_all_the_same() -> None:
    alice, bob = pair((b"a",), ())
    alice.hidden = set(alice.held)
    run(alice, bob)
    assert bob.reports[0].missing == 1
    assert alice.session.phase is bob.session.phase is Phase.IDLE


def test_duplicates_count_as_held() -> None:
    _, bob = pair((), ())
    wanted = bob.name_of(b"x")
    bob.receive(Summary(KIND, (EnvelopeRef(wanted, 1),)))
    bob.held[wanted] = b"x"  # it came from someone else meanwhile
    bob.receive(Deliver(KIND, (b"x",)))
    bob.receive(Diff(KIND, ()))
    assert bob.reports[0].held == 1
    assert bob.reports[0].staleness == InSync()


def test_large_wants_spill_over_several_delivers_in_one_round() -> None:
    alice, bob = pair(tuple(b"%04d" % n for n in range(50)), ())
    alice.budget = 4 * 7
    run(alice, bob)
    assert bob.held == alice.held
    assert len(bob.reports) == 1
    assert bob.reports[0].admitted == 50


def test_the_next_diff_goes_out_before_the_batch_is_applied() -> None:
    session = Session(SessionRole.RESPONDER, KIND)
    session, _ = step(session, Received(Summary(KIND, ())))
    ids = (b"a" * 32, b"b" * 32)
    session, _ = step(session, Compared(ids))
    _, actions = step(session, Received(Deliver(KIND, (b"first",))))
    assert [type(action).__name__ for action in actions] == ["Send", "Apply"]
    assert actions[0].message == Diff(KIND, ids[1:])  # type: ignore[union-attr]


def test_two_nodes_that_open_the_same_round_at_once_share_it() -> None:
    alice, bob = host(SessionRole.INITIATOR, b"a"), host(SessionRole.INITIATOR, b"b")
    alice.feed(Start())
    bob.feed(Start())
    converse(alice, bob)
    assert alice.held == bob.held
    assert len(alice.reports) == len(bob.reports) == 1


def test_a_fetch_is_answered_in_any_phase_and_changes_nothing() -> None:
    alice, _ = pair((b"a",), ())
    for prepare in ((), (Start(),)):
        for event in prepare:
            alice.feed(event)
        before = alice.session
        alice.receive(Fetch(KIND, (alice.name_of(b"a"), b"?" * 32)))
        assert alice.outbox.pop() == Deliver(KIND, (b"a",))
        assert alice.session == before


def test_a_push_outside_a_round_is_applied_without_opening_one() -> None:
    _, bob = pair((), ())
    bob.receive(Deliver(KIND, (b"pushed",)))
    assert bob.admitted == [b"pushed"]
    assert bob.session.phase is Phase.IDLE
    assert bob.reports == []


WRONG = [
    ("diff outside a round", SessionRole.RESPONDER, (), Diff(KIND, ())),
    ("summary for an idle initiator", SessionRole.INITIATOR, (), Summary(KIND, ())),
    ("diff before the summary", SessionRole.INITIATOR, (Start(),), Diff(KIND, ())),
    ("deliver before the summary", SessionRole.INITIATOR, (Start(),), Deliver(KIND, (b"x",))),
    ("another kind", SessionRole.RESPONDER, (), Summary(EnvelopeKind.FAMILY, ())),
    (
        "a second summary",
        SessionRole.RESPONDER,
        (Received(Summary(KIND, ())),),
        Summary(KIND, ()),
    ),
    (
        "a deliver nobody asked for",
        SessionRole.RESPONDER,
        (Received(Summary(KIND, ())),),
        Deliver(KIND, (b"x",)),
    ),
]


@pytest.mark.parametrize(("name", "role", "before", "message"), WRONG, ids=[w[0] for w in WRONG])
def test_what_the_phase_does_not_allow_is_refused_and_changes_nothing(
    name: str, role: SessionRole, before: tuple[object, ...], message: object
) -> None:
    side = host(role)
    for event in before:
        side.feed(event)  # type: ignore[arg-type]
    session = side.session
    with pytest.raises(UnexpectedMessage):
        side.receive(message)  # type: ignore[arg-type]
    assert side.session is session, name


def test_a_confirmation_is_the_last_diff_of_a_round() -> None:
    _, bob = pair((), ())
    bob.receive(Summary(KIND, (EnvelopeRef(b"x" * 32, 0),)))
    bob.receive(Diff(KIND, ()))
    with pytest.raises(UnexpectedMessage):
        bob.receive(Diff(KIND, ()))


def test_a_peer_that_never_stops_asking_is_stopped() -> None:
    _, bob = pair((), (b"b",))
    bob.receive(Summary(KIND, ()))
    bob.session = replace(bob.session, diffs=DIFFS_PER_ROUND_MAX - 1)
    bob.receive(Diff(KIND, (b"x" * 32,)))
    with pytest.raises(UnexpectedMessage):
        bob.receive(Diff(KIND, (b"x" * 32,)))


@pytest.mark.parametrize("event", [Compared(()), Served(1, 0), Applied(())])
def test_an_answer_nobody_asked_for_is_our_own_bug(event: object) -> None:
    with pytest.raises(LocalProtocolError):
        step(Session(SessionRole.RESPONDER, KIND), event)  # type: ignore[arg-type]


def test_a_responder_cannot_start_and_a_round_cannot_start_twice() -> None:
    with pytest.raises(LocalProtocolError):
        step(Session(SessionRole.RESPONDER, KIND), Start())
    started, _ = step(Session(SessionRole.INITIATOR, KIND), Start())
    with pytest.raises(LocalProtocolError):
        step(started, Start())


def test_reset_leaves_nothing_of_the_round() -> None:
    alice, _ = pair((b"a",), ())
    alice.feed(Start())
    assert alice.session.reset() == Session(SessionRole.INITIATOR, KIND)


def test_serving_is_asked_for_exactly_what_the_diff_names() -> None:
    _, bob = pair((), ())
    bob.receive(Summary(KIND, ()))
    _, actions = step(bob.session, Received(Diff(KIND, (b"x" * 32, b"x" * 32))))
    assert actions == (SendEnvelopes((b"x" * 32, b"x" * 32)),)


envelopes = st.frozensets(st.binary(min_size=1, max_size=12), max_size=25)


@given(envelopes, envelopes, st.sets(st.integers(0, 24)), st.integers(1, 60), st.booleans())
def test_any_two_sets_converge_in_one_round_up_to_what_cannot_be_served(
    mine: frozenset[bytes],
    theirs: frozenset[bytes],
    hidden: set[int],
    budget: int,
    both_open: bool,
) -> None:
    alice = host(SessionRole.INITIATOR, *sorted(mine))
    bob = host(SessionRole.INITIATOR if both_open else SessionRole.RESPONDER, *sorted(theirs))
    alice.budget = bob.budget = budget
    alice.hidden = {id_ for n, id_ in enumerate(sorted(alice.held)) if n in hidden}
    lost = {id_ for id_ in alice.hidden if id_ not in bob.held}
    union = {**alice.held, **bob.held}
    alice.feed(Start())
    if both_open:
        bob.feed(Start())
    converse(alice, bob)
    assert alice.held.keys() == union.keys()
    assert bob.held.keys() == union.keys() - lost
    assert bob.reports[0].missing == len(lost)
    assert set(bob.not_served) == lost
    for side in (alice, bob):
        assert len(side.reports) == 1
        assert side.session == side.session.reset()


@given(st.lists(st.sampled_from(["s", "d0", "d1", "v0", "v1", "f", "start"]), max_size=30))
def test_no_order_of_messages_breaks_the_machine(script: list[str]) -> None:
    """Whatever comes: an answer, or UnexpectedMessage and the state as it was."""
    side = host(SessionRole.INITIATOR, b"own")
    messages: dict[str, ReplicationMessage] = {
        "s": Summary(KIND, (EnvelopeRef(b"x" * 32, 1), EnvelopeRef(b"y" * 32, 2))),
        "d0": Diff(KIND, ()),
        "d1": Diff(KIND, (side.name_of(b"own"),)),
        "v0": Deliver(KIND, ()),
        "v1": Deliver(KIND, (b"x" * 32,)),
        "f": Fetch(KIND, (b"z" * 32,)),
    }
    for word in script:
        before = side.session
        try:
            if word == "start":
                side.feed(Start())
            else:
                side.receive(messages[word])
        except UnexpectedMessage:
            assert side.session is before
        except LocalProtocolError:
            assert word == "start"
    assert Outcome.ADMITTED.is_held


def test_what_was_written_is_counted_as_new_whatever_it_says() -> None:
    tally = Tally().plus(Outcome)
    assert tally.admitted == len([Outcome.ADMITTED, Outcome.UPGRADED, Outcome.SUPERSEDED])
    assert (tally.held, tally.deferred, tally.refused) == (1, 1, 2)
