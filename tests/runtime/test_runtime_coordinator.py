"""One coordinator: it performs what its session says, both flows, and leaves every round clean."""

from __future__ import annotations

import pytest

from ciris_mesh.errors import (
    BackPressure,
    LinkGone,
    LocalProtocolError,
    TransportError,
    UnexpectedMessage,
)
from ciris_mesh.protocol.limits import (
    DELIVER_BUDGET_BYTES,
    DELIVER_ENVELOPES_MAX,
    DIFF_ASKED_MAX,
    DIFFS_AHEAD,
    INBOUND_QUEUE_MESSAGES,
)
from ciris_mesh.protocol.report import BoundedBy, InSync, SessionRole, Unknown
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Fetch, Summary
from support.rounds import NOW_MS, Side, converse, name_of

KIND = EnvelopeKind.KEY
INITIATOR, RESPONDER = SessionRole.INITIATOR, SessionRole.RESPONDER

BOTH_FLOWS = pytest.mark.parametrize("registry", [False, True], ids=["mesh", "registry"])


def pair(
    mine: tuple[bytes, ...],
    theirs: tuple[bytes, ...],
    *,
    registry: bool = False,
    kind: EnvelopeKind = KIND,
) -> tuple[Side, Side]:
    return (
        Side.make("bob", INITIATOR, *mine, kind=kind, registry_peer=registry),
        Side.make("alice", RESPONDER, *theirs, kind=kind, registry_peer=registry),
    )


def run(alice: Side, bob: Side) -> int:
    alice.reports += alice.coordinator.start_round()
    return converse(alice, bob)


# --- the checklist of 6.1, both flows -----------------------------------------------------------


@BOTH_FLOWS
def test_in_memory_pair_converges_both_ways_and_both_auto_reset(registry: bool) -> None:
    alice, bob = pair((b"a1", b"a2"), (b"b1", b"b2"), registry=registry)
    run(alice, bob)
    assert alice.bridge.held == bob.bridge.held
    for side in (alice, bob):
        (report,) = side.reports
        assert (report.kind, report.admitted, report.refused) == (KIND, 2, 0)
        assert report.staleness == InSync()
        assert report.role is side.coordinator.key.role
        assert not side.coordinator.is_active


@BOTH_FLOWS
def test_after_complete_the_session_can_start_again(registry: bool) -> None:
    alice, bob = pair((b"a",), (b"b",), registry=registry)
    run(alice, bob)
    alice.bridge.held[name_of(b"late")] = b"late"
    run(alice, bob)
    assert bob.bridge.held == alice.bridge.held
    assert [report.admitted for report in bob.reports] == [1, 1]
    assert [report.admitted for report in alice.reports] == [1, 0]


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_every_kind_makes_a_round_over_real_frames(kind: EnvelopeKind) -> None:
    alice, bob = pair((b"a",), (), kind=kind)
    run(alice, bob)
    assert bob.reports[0].kind is kind
    assert bob.bridge.held == alice.bridge.held


def test_the_first_step_of_an_initiator_is_one_summary_with_its_refs() -> None:
    alice, _ = pair((b"a1", b"a2"), ())
    assert alice.coordinator.start_round() == []
    refs = tuple(EnvelopeRef(id_, 0) for id_ in sorted(alice.bridge.held))
    assert alice.take_all() == [Summary(KIND, refs)]
    assert alice.coordinator.awaits_summary


@BOTH_FLOWS
def test_a_responder_given_a_summary_emits_summary_and_diff(registry: bool) -> None:
    _, bob = pair((), (b"b",), registry=registry)
    wanted = EnvelopeRef(b"x" * 32, 7)
    bob.receive(Summary(KIND, (wanted,)))
    assert bob.take_all() == [
        Summary(KIND, (EnvelopeRef(name_of(b"b"), 0),)),
        Diff(KIND, (wanted.envelope_hash,)),
    ]
    assert bob.bridge.noted == [(wanted,)]


@pytest.mark.parametrize("registry", [True, False], ids=["registry", "mesh"])
def test_a_registry_node_is_asked_in_the_order_it_offered(registry: bool) -> None:
    """Its own sessions ask so. Mesh peers offer the newest first and are asked oldest first."""
    _, bob = pair((), (), registry=registry)
    ids = [bytes([n]) * 32 for n in (3, 1, 2)]
    bob.receive(Summary(KIND, tuple(EnvelopeRef(id_, 0) for id_ in ids)))
    _, diff = bob.take_all()
    assert diff == Diff(KIND, tuple(ids if registry else reversed(ids)))


def test_deliver_without_prior_diff_counts_admitted_and_leaves_staleness_unknown() -> None:
    """The registry flow: a push is a round of its own."""
    _, bob = pair((), (), registry=True)
    (report,) = bob.receive(Deliver(KIND, (b"pushed",)))
    assert (report.admitted, report.staleness) == (1, Unknown())


def test_deliver_without_prior_diff_is_applied_but_is_no_round_between_mesh_peers() -> None:
    _, bob = pair((), ())
    assert bob.receive(Deliver(KIND, (b"pushed",))) == []
    assert name_of(b"pushed") in bob.bridge.held
    assert not bob.coordinator.is_active


@BOTH_FLOWS
def test_the_want_survives_between_calls(registry: bool) -> None:
    """The Diff goes out in one call, the Deliver comes in another, much later."""
    _, bob = pair((), (), registry=registry)
    bob.receive(Summary(KIND, (EnvelopeRef(name_of(b"x"), 1),)))
    assert bob.coordinator.is_active
    bob.receive(Deliver(KIND, (b"x",)))
    bob.receive(Diff(KIND, ()))
    assert bob.reports[0].staleness == InSync()
    assert bob.reports[0].admitted == 1


@BOTH_FLOWS
def test_another_kind_is_refused(registry: bool) -> None:
    _, bob = pair((), (), registry=registry)
    with pytest.raises(UnexpectedMessage):
        bob.receive(Summary(EnvelopeKind.FAMILY, ()))


@BOTH_FLOWS
def test_a_send_to_an_unknown_peer_surfaces_the_transport_error(registry: bool) -> None:
    alice, _ = pair((b"a",), (), registry=registry)
    alice.broken = TransportError("no link to bob")
    with pytest.raises(TransportError, match="no link to bob"):
        alice.coordinator.start_round()


def test_a_responder_does_not_start_a_round() -> None:
    _, bob = pair((), ())
    with pytest.raises(LocalProtocolError):
        bob.coordinator.start_round()


# --- the queue ----------------------------------------------------------------------------------


def test_the_ninth_undelivered_message_is_back_pressure_and_names_the_peer() -> None:
    _, bob = pair((), ())
    for _ in range(INBOUND_QUEUE_MESSAGES):
        bob.coordinator.deliver_inbound(Summary(KIND, ()))
    assert INBOUND_QUEUE_MESSAGES == 8
    with pytest.raises(BackPressure, match="alice"):
        bob.coordinator.deliver_inbound(Summary(KIND, ()))


def test_recv_inbound_gives_the_oldest_and_then_nothing() -> None:
    _, bob = pair((), ())
    messages = [Diff(KIND, (bytes([n]) * 32,)) for n in range(3)]
    for message in messages:
        bob.coordinator.deliver_inbound(message)
    taken = [bob.coordinator.recv_inbound() for _ in range(4)]
    assert taken == [*messages, None]


def test_drive_works_off_all_that_waits() -> None:
    alice, bob = pair((b"a1", b"a2"), ())
    alice.coordinator.start_round()
    bob.coordinator.deliver_inbound(alice.take())
    bob.coordinator.deliver_inbound(Deliver(KIND, (b"a1", b"a2")))
    bob.coordinator.deliver_inbound(Diff(KIND, ()))
    (report,) = bob.coordinator.drive()
    assert report.admitted == 2


# --- leaving a round ------------------------------------------------------------------------------


@BOTH_FLOWS
def test_reset_forgets_the_round_and_what_is_queued(registry: bool) -> None:
    alice, bob = pair((b"a",), (b"b",), registry=registry)
    alice.coordinator.start_round()
    alice.coordinator.deliver_inbound(Diff(KIND, (name_of(b"a"),)))
    alice.coordinator.reset()
    assert not alice.coordinator.is_active
    assert not alice.coordinator.awaits_summary
    assert alice.coordinator.recv_inbound() is None
    alice.sent.clear()
    run(alice, bob)
    assert alice.bridge.held == bob.bridge.held


@BOTH_FLOWS
def test_a_timed_out_round_is_not_half_open_in_the_next(registry: bool) -> None:
    """Upstream's first version kept the session as the timeout found it."""
    alice, bob = pair((b"a",), (b"b",), registry=registry)
    alice.coordinator.start_round()
    alice.sent.clear()  # lost
    alice.coordinator.reset()
    run(alice, bob)
    assert [len(side.reports) for side in (alice, bob)] == [1, 1]
    assert alice.bridge.held == bob.bridge.held


def test_an_answer_that_cannot_be_sent_leaves_a_round_that_reset_ends() -> None:
    alice, bob = pair((b"a",), (b"b",))
    alice.coordinator.start_round()
    bob.broken = LinkGone("link 1 is down")
    with pytest.raises(LinkGone):
        bob.receive(alice.take())
    bob.broken = None
    for side in (alice, bob):
        side.coordinator.reset()
        side.sent.clear()
    run(alice, bob)
    assert alice.bridge.held == bob.bridge.held


def refs_of(*envelopes: bytes) -> tuple[EnvelopeRef, ...]:
    return tuple(EnvelopeRef(name_of(envelope), 0) for envelope in envelopes)


def test_what_came_is_kept_although_the_next_cannot_be_asked_for() -> None:
    """By radio it was paid for, and the round begins anew with less to ask for."""
    _, bob = pair((), ())
    bob.receive(Summary(KIND, refs_of(b"first", b"second")))
    bob.broken = LinkGone("link 1 is down")
    with pytest.raises(LinkGone):
        bob.receive(Deliver(KIND, (b"second",)))
    assert list(bob.bridge.held.values()) == [b"second"]


@pytest.mark.parametrize(("room", "diffs"), [(1, 1), (DELIVER_BUDGET_BYTES, DIFFS_AHEAD)])
def test_where_air_is_paid_for_nothing_is_asked_for_ahead(room: int, diffs: int) -> None:
    _, bob = pair((), ())
    bob.coordinator._room = lambda _in_round: room
    bob.receive(Summary(KIND, refs_of(*(b"%d" % n for n in range(3 * DIFF_ASKED_MAX)))))
    sent = bob.take_all()
    assert [type(message) for message in sent] == [Summary, *[Diff] * diffs]


def test_a_message_out_of_turn_raises_and_the_rest_of_the_queue_waits_for_the_reset() -> None:
    _, bob = pair((), ())
    bob.coordinator.deliver_inbound(Diff(KIND, ()))
    bob.coordinator.deliver_inbound(Summary(KIND, ()))
    with pytest.raises(UnexpectedMessage):
        bob.coordinator.drive()
    bob.coordinator.reset()
    assert bob.coordinator.drive() == []


# --- what the bridge is told ----------------------------------------------------------------------


def test_admission_gets_the_wall_clock() -> None:
    alice, bob = pair((b"a",), ())
    run(alice, bob)
    assert bob.bridge.applied_at_ms == [NOW_MS]


def test_what_never_came_is_told_to_the_bridge_and_counted_as_unserved() -> None:
    alice, bob = pair((b"a", b"b"), ())
    alice.bridge.hidden = {name_of(b"a")}
    run(alice, bob)
    assert bob.bridge.never_came == [name_of(b"a")]
    assert bob.reports[0].staleness == BoundedBy(1)
    assert alice.reports[0].unserved > 0
    assert not alice.reports[0].confirmed
    assert bob.reports[0].confirmed


def test_over_budget_is_not_unserved() -> None:
    """More than one Deliver holds: the rest spills in the same round, and nobody is blamed."""
    big = [bytes([n]) * (DELIVER_BUDGET_BYTES // 2) for n in range(1, 6)]
    alice, bob = pair(tuple(big), ())
    run(alice, bob)
    assert bob.bridge.held == alice.bridge.held
    (report,) = alice.reports
    assert (report.sent, report.unserved, report.confirmed) == (5, 0, True)


def test_more_than_a_batch_holds_spills_in_the_same_round() -> None:
    """An earlier build asks for up to 1,024 at once; records small enough for that are made up."""
    small = [b"%d" % n for n in range(DELIVER_ENVELOPES_MAX + 40)]
    alice, _ = pair(tuple(small), ())
    ids = tuple(alice.bridge.held)
    alice.coordinator.start_round()
    alice.take()
    alice.receive(Summary(KIND, ()))
    alice.receive(Diff(KIND, ids))
    *_, deliver = alice.take_all()
    assert isinstance(deliver, Deliver)
    assert len(deliver.envelopes) == DELIVER_ENVELOPES_MAX
    alice.receive(Diff(KIND, ids[DELIVER_ENVELOPES_MAX:]))
    alice.receive(Diff(KIND, ()))
    (report,) = alice.reports
    assert (report.sent, report.unserved, report.confirmed) == (len(small), 0, True)


def test_an_envelope_larger_than_the_budget_travels_alone() -> None:
    alice, bob = pair((b"x" * (DELIVER_BUDGET_BYTES + 1), b"small"), ())
    run(alice, bob)
    assert bob.bridge.held == alice.bridge.held
    assert bob.reports[0].missing == 0


def test_a_fetch_is_answered_outside_a_round_and_not_counted() -> None:
    alice, bob = pair((b"a",), ())
    alice.coordinator.start_round()
    alice.receive(Fetch(KIND, (name_of(b"a"),)))
    assert alice.take_all()[-1] == Deliver(KIND, (b"a",))
    alice.sent.clear()
    alice.coordinator.reset()
    run(alice, bob)
    assert alice.reports[0].sent == 1


def test_refused_records_are_reported_by_number() -> None:
    alice, bob = pair((b"a", b"b", b"c"), ())
    bob.bridge.refuses = {name_of(b"a"), name_of(b"b")}
    run(alice, bob)
    (report,) = bob.reports
    assert (report.admitted, report.refused, report.staleness) == (1, 2, BoundedBy(2))


def test_an_initiator_of_the_registry_flow_awaits_a_summary_until_it_has_compared() -> None:
    alice, bob = pair((b"a",), (b"b",), registry=True)
    assert not alice.coordinator.awaits_summary
    alice.coordinator.start_round()
    assert alice.coordinator.awaits_summary
    bob.receive(alice.take())
    alice.receive(bob.take())
    assert not alice.coordinator.awaits_summary
    assert alice.coordinator.is_active
