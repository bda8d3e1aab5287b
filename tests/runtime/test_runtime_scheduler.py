"""When rounds start and when they are given up, in virtual time: nothing here waits."""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from ciris_mesh.errors import LifecycleError, LinkGone, TransportError, UnexpectedMessage
from ciris_mesh.protocol.limits import CADENCE_S, NO_PROGRESS_TIMEOUT_S
from ciris_mesh.protocol.report import BoundedBy, InSync, SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import EventHub, RoundEvent, RoundOutcome
from ciris_mesh.runtime.scheduler import ReplicationScheduler, SchedulerConfig
from ciris_mesh.runtime.worker import Task
from ciris_mesh.wire.messages import Deliver, Diff, EnvelopeRef, Summary
from support.rounds import Side, converse, name_of
from support.virtual_time import InlinePool, VirtualTimer

KIND = EnvelopeKind.KEY
KINDS = tuple(EnvelopeKind)[:3]
INITIATOR, RESPONDER = SessionRole.INITIATOR, SessionRole.RESPONDER


class StoppedPool(InlinePool):
    def submit(self, strand: Hashable, task: Task) -> None:
        raise LifecycleError("the worker pool was stopped")


@dataclass
class Desk:
    """A scheduler and everything it touches, on virtual time."""

    only_notes_checks: bool = False
    timer: VirtualTimer = field(default_factory=VirtualTimer)
    pool: InlinePool = field(default_factory=InlinePool)
    events: list[RoundEvent] = field(default_factory=list)
    stalled: list[tuple[str, str]] = field(default_factory=list)
    moved_s: dict[str, float] = field(default_factory=dict)
    checks: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        hub = EventHub()
        hub.subscribe(self.events.append)
        self.scheduler = ReplicationScheduler(
            pool=self.pool,
            timer=self.timer,
            events=hub,
            clock=self.timer.clock,
            rng=random.Random(7),
            check=self._note_check if self.only_notes_checks else None,
            on_stalled=lambda peer, reason: self.stalled.append((peer, reason)),
            progress_s=self.moved_s.get,
        )

    def add(self, peer: str = "bob", *envelopes: bytes, kind: EnvelopeKind = KIND) -> Side:
        side = Side.make(peer, INITIATOR, *envelopes, kind=kind)
        self.scheduler.add_initiator(side.coordinator)
        return side

    def receive(self, side: Side, *messages: Summary | Diff | Deliver) -> None:
        """As the runtime does with a frame of the peer."""
        for message in messages:
            self.scheduler.drove(side.coordinator, side.receive(message))

    def first_check(self) -> None:
        """Do not wait for the random part of the first cadence."""
        self.scheduler.trigger("bob")
        self.timer.advance(0.0)

    def checked_s(self) -> list[float]:
        """When a peer was checked."""
        return [at_s for _, at_s in self.checks]

    def _note_check(self, peer: str) -> None:
        self.checks.append((peer, self.timer.now_s))

    def outcomes(self) -> list[RoundOutcome]:
        return [event.outcome for event in self.events]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def confirm() -> tuple[Summary, Diff]:
    """All a peer says that has nothing and lacks nothing."""
    return Summary(KIND, ()), Diff(KIND, ())


# --- the checklist of 6.1 ---------------------------------------------------------------------


def test_add_initiator_len_and_is_empty(desk: Desk) -> None:
    assert desk.scheduler.is_empty()
    for kind in KINDS:
        desk.add(kind=kind)
    desk.add("carol")
    assert len(desk.scheduler) == 4
    assert not desk.scheduler.is_empty()


def test_defaults_are_30_s_and_10_s() -> None:
    config = SchedulerConfig()
    assert (config.cadence_s, config.no_progress_timeout_s) == (30.0, 10.0)


def test_a_scripted_responder_completes_a_round(desk: Desk) -> None:
    alice = desk.add()
    desk.scheduler.start()
    desk.first_check()
    assert alice.take() == Summary(KIND, ())
    refs = tuple(EnvelopeRef(name_of(envelope), 1) for envelope in (b"one", b"two"))
    desk.timer.advance(1.0)
    desk.receive(alice, Summary(KIND, refs), Deliver(KIND, (b"one", b"two")), Diff(KIND, ()))
    (event,) = desk.events
    assert event.outcome is RoundOutcome.COMPLETED
    assert (event.peer, event.kind, event.role) == ("bob", KIND, INITIATOR)
    assert event.elapsed_s >= 1.0
    assert event.report is not None
    assert (event.report.admitted, event.report.refused) == (2, 0)
    assert event.report.staleness == InSync()
    assert event.reason == ""


def test_a_silent_peer_times_out_and_its_session_is_reset(desk: Desk) -> None:
    alice = desk.add()
    desk.scheduler.start()
    desk.scheduler.trigger("bob")
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S - 0.01)
    assert alice.coordinator.is_active
    desk.timer.advance(0.01)
    (event,) = desk.events
    assert (event.outcome, event.reason) == (RoundOutcome.TIMED_OUT, "no_progress")
    assert event.elapsed_s == NO_PROGRESS_TIMEOUT_S
    assert event.report is None
    assert not alice.coordinator.is_active
    assert desk.stalled == [("bob", "no_progress")]


def test_stop_starts_no_more_rounds(desk: Desk) -> None:
    alice = desk.add()
    desk.scheduler.start()
    desk.scheduler.stop()
    desk.timer.advance(10 * CADENCE_S)
    assert alice.take_all() == []
    desk.scheduler.add_initiator(Side.make("carol", INITIATOR).coordinator)
    desk.timer.advance(10 * CADENCE_S)
    assert desk.events == []


# --- cadence ----------------------------------------------------------------------------------


@pytest.fixture
def ticking() -> Desk:
    """One peer and one kind, and no rounds: checks are only noted."""
    desk = Desk(only_notes_checks=True)
    desk.add()
    return desk


def test_a_peer_is_checked_once_per_cadence_the_first_time_within_one(ticking: Desk) -> None:
    start_s = ticking.timer.now_s
    ticking.scheduler.start()
    ticking.timer.advance(5 * CADENCE_S)
    times = ticking.checked_s()
    assert len(times) == 5
    assert start_s <= times[0] <= start_s + CADENCE_S
    assert all(b - a == pytest.approx(CADENCE_S) for a, b in pairwise(times))


def test_nothing_is_checked_before_start(ticking: Desk) -> None:
    ticking.timer.advance(5 * CADENCE_S)
    assert ticking.checked_s() == []


def test_nodes_booted_together_do_not_check_together() -> None:
    desk = Desk(only_notes_checks=True)
    for n in range(20):
        desk.add(f"peer-{n}")
    desk.scheduler.start()
    desk.timer.advance(CADENCE_S)
    assert len({at_s for _, at_s in desk.checks}) == 20


def test_missed_ticks_are_skipped_not_made_up_for(ticking: Desk) -> None:
    ticking.scheduler.start()
    ticking.timer.advance(CADENCE_S)
    before = len(ticking.checked_s())
    ticking.timer.jump(10 * CADENCE_S)
    assert len(ticking.checked_s()) == before + 1
    ticking.timer.advance(CADENCE_S)
    assert len(ticking.checked_s()) == before + 2


def test_a_tick_that_finds_a_round_under_way_is_skipped(desk: Desk) -> None:
    alice = desk.add()
    desk.scheduler.start()
    desk.first_check()
    assert len(alice.take_all()) == 1
    for _ in range(15):  # something moves every few seconds, for three cadences
        desk.moved_s["bob"] = desk.timer.now_s
        desk.timer.advance(CADENCE_S / 5)
    assert alice.take_all() == []
    assert desk.events == []
    desk.receive(alice, *confirm())
    alice.sent.clear()
    desk.timer.advance(CADENCE_S)
    assert alice.take_all() == [Summary(KIND, ())]


def test_a_round_the_peer_opened_makes_a_tick_wait_as_well(ticking: Desk) -> None:
    ticking.scheduler.start()
    theirs = Side.make("bob", RESPONDER)
    ticking.receive(theirs, Summary(KIND, (EnvelopeRef(b"x" * 32, 1),)))
    ticking.scheduler.trigger("bob")
    ticking.timer.advance(0.0)
    assert ticking.checks == []
    ticking.receive(theirs, Deliver(KIND, ()), Diff(KIND, ()))
    ticking.scheduler.trigger("bob")
    ticking.timer.advance(0.0)
    assert len(ticking.checks) == 1


def test_trigger_checks_now_or_after_its_delay_whatever_the_cadence(ticking: Desk) -> None:
    ticking.scheduler.start()
    now_s = ticking.timer.now_s
    ticking.scheduler.trigger("bob")
    ticking.scheduler.trigger("bob", 0.25)
    ticking.timer.advance(0.25)
    assert ticking.checked_s() == [now_s, now_s + 0.25]


def test_trigger_of_somebody_unknown_does_nothing(ticking: Desk) -> None:
    ticking.scheduler.start()
    ticking.scheduler.trigger("eve")
    ticking.timer.advance(0.0)
    assert ticking.checked_s() == []


def test_postpone_lets_the_next_check_wait_a_whole_cadence(ticking: Desk) -> None:
    ticking.scheduler.start()
    for _ in range(12):
        ticking.timer.advance(CADENCE_S / 2)
        ticking.scheduler.postpone("bob")
    assert len(ticking.checked_s()) <= 1  # the first may have come before the first postponement
    before = len(ticking.checked_s())
    ticking.timer.advance(CADENCE_S)
    assert len(ticking.checked_s()) == before + 1


def test_a_peer_that_compares_all_the_time_costs_one_timer(ticking: Desk) -> None:
    """Otherwise it could use up all timers of the node, everybody's."""
    ticking.scheduler.start()
    for _ in range(1000):
        ticking.scheduler.postpone("bob")
    assert len(ticking.timer) <= 2


def test_a_failing_peer_does_not_disturb_anybodys_cadence(desk: Desk) -> None:
    desk.add("silent")
    lively = desk.add("lively")
    desk.scheduler.start()
    for _ in range(20 * int(CADENCE_S)):
        desk.timer.advance(1.0)
        if lively.sent:
            lively.sent.clear()
            desk.receive(lively, *confirm())
            lively.sent.clear()
    completed = [e for e in desk.events if e.outcome is RoundOutcome.COMPLETED]
    assert {event.peer for event in completed} == {"lively"}
    assert len(completed) >= 19
    assert {event.peer for event in desk.events if event not in completed} == {"silent"}


# --- initiators come and go -------------------------------------------------------------------


def test_an_initiator_added_while_running_starts_rounds(desk: Desk) -> None:
    desk.scheduler.start()
    alice = desk.add()
    desk.timer.advance(CADENCE_S)
    assert alice.take_all() == [Summary(KIND, ())]


def test_remove_initiator_while_running_ends_its_rounds_and_only_its(desk: Desk) -> None:
    one, two = desk.add(kind=KINDS[0]), desk.add(kind=KINDS[1])
    desk.scheduler.start()
    desk.scheduler.remove_initiator(one.coordinator.key)
    assert len(desk.scheduler) == 1
    desk.timer.advance(3 * CADENCE_S)
    assert one.take_all() == []
    assert two.take_all() != []


def test_removing_the_last_initiator_ends_the_cadence_and_adding_one_begins_it_again(
    ticking: Desk,
) -> None:
    ticking.scheduler.start()
    ticking.timer.advance(CADENCE_S)
    key = Side.make("bob", INITIATOR).coordinator.key
    ticking.scheduler.remove_initiator(key)
    before = len(ticking.checked_s())
    ticking.timer.advance(5 * CADENCE_S)
    assert len(ticking.checked_s()) == before
    assert ticking.scheduler.is_empty()
    ticking.add()
    ticking.timer.advance(2 * CADENCE_S)
    assert len(ticking.checked_s()) in (before + 1, before + 2)


def test_removing_an_initiator_in_mid_round_lets_the_round_end(desk: Desk) -> None:
    alice = desk.add()
    desk.scheduler.start()
    desk.scheduler.trigger("bob")
    desk.timer.advance(0.0)
    desk.scheduler.remove_initiator(alice.coordinator.key)
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S)
    assert desk.outcomes() == [RoundOutcome.TIMED_OUT]
    assert not alice.coordinator.is_active


def test_removing_one_that_is_not_there_is_no_error(desk: Desk) -> None:
    desk.scheduler.remove_initiator(Side.make("eve", INITIATOR).coordinator.key)
    assert desk.scheduler.is_empty()


def test_a_forgotten_peer_is_not_checked_any_more(ticking: Desk) -> None:
    ticking.scheduler.start()
    ticking.scheduler.forget("bob")
    ticking.timer.advance(5 * CADENCE_S)
    assert ticking.checked_s() == []


# --- one round at a time ----------------------------------------------------------------------


def test_kinds_go_through_their_rounds_one_after_another(desk: Desk) -> None:
    sides = {kind: desk.add(kind=kind) for kind in KINDS}
    desk.scheduler.run("bob", KINDS)
    for kind in KINDS:
        busy = [side.coordinator.is_active for side in sides.values()]
        assert busy.count(True) == 1
        assert desk.scheduler.is_busy("bob")
        desk.receive(sides[kind], Summary(kind, ()), Diff(kind, ()))
    assert [event.kind for event in desk.events] == list(KINDS)
    assert not desk.scheduler.is_busy("bob")


def test_a_kind_that_waits_or_runs_is_not_queued_twice(desk: Desk) -> None:
    sides = {kind: desk.add(kind=kind) for kind in KINDS[:2]}
    desk.scheduler.run("bob", KINDS[:2])
    desk.scheduler.run("bob", KINDS[:2])
    for kind, side in sides.items():
        desk.receive(side, Summary(kind, ()), Diff(kind, ()))
    assert not desk.scheduler.is_busy("bob")
    assert len(desk.events) == 2


def test_kinds_without_an_initiator_are_left_out(desk: Desk) -> None:
    desk.add(kind=KINDS[0])
    desk.scheduler.run("bob", [KINDS[1]])
    desk.scheduler.run("eve", [KINDS[0]])
    assert not desk.scheduler.is_busy("bob")


def test_a_kind_the_peer_opened_is_not_opened_again(desk: Desk) -> None:
    """One round serves both sides."""
    mine, other = desk.add(kind=KINDS[0]), desk.add(kind=KINDS[1])
    theirs = Side.make("bob", RESPONDER, kind=KINDS[0])
    desk.receive(theirs, Summary(KINDS[0], ()))
    desk.scheduler.run("bob", KINDS[:2])
    assert not mine.coordinator.is_active
    assert other.coordinator.is_active
    desk.receive(theirs, Diff(KINDS[0], ()))
    assert mine.take_all() == []
    assert [event.role for event in desk.events] == [RESPONDER]


def test_a_kind_the_peer_opens_while_it_waits_here_is_not_opened_again(desk: Desk) -> None:
    first, waits = desk.add(kind=KINDS[0]), desk.add(kind=KINDS[1])
    desk.scheduler.run("bob", KINDS[:2])
    theirs = Side.make("bob", RESPONDER, kind=KINDS[1])
    desk.receive(theirs, Summary(KINDS[1], (EnvelopeRef(b"x" * 32, 1),)))
    desk.receive(first, Summary(KINDS[0], ()), Diff(KINDS[0], ()))
    assert waits.take_all() == []
    assert theirs.coordinator.is_active


def test_a_round_the_peer_ran_takes_the_kind_off_the_waiting_list(desk: Desk) -> None:
    first, waits = desk.add(kind=KINDS[0]), desk.add(kind=KINDS[1])
    desk.scheduler.run("bob", KINDS[:2])
    theirs = Side.make("bob", RESPONDER, kind=KINDS[1])
    desk.receive(theirs, Summary(KINDS[1], ()), Diff(KINDS[1], ()))
    desk.receive(first, Summary(KINDS[0], ()), Diff(KINDS[0], ()))
    assert waits.take_all() == []
    assert not desk.scheduler.is_busy("bob")


# --- giving up --------------------------------------------------------------------------------


def test_progress_counts_and_age_does_not(desk: Desk) -> None:
    """A slow transfer that moves is let alone; the same one is given up when it stands still."""
    alice = desk.add()
    desk.scheduler.run("bob", [KIND])
    for _ in range(100):
        desk.timer.advance(NO_PROGRESS_TIMEOUT_S - 1.0)
        desk.moved_s["bob"] = desk.timer.now_s
    assert alice.coordinator.is_active
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S)
    assert desk.outcomes() == [RoundOutcome.TIMED_OUT]
    assert desk.events[0].elapsed_s > 100 * (NO_PROGRESS_TIMEOUT_S - 1.0)


def test_each_message_of_the_peer_is_progress(desk: Desk) -> None:
    alice = desk.add("bob", b"a")
    desk.scheduler.run("bob", [KIND])
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S - 1.0)
    desk.receive(alice, Summary(KIND, ()))
    for _ in range(5):
        desk.timer.advance(NO_PROGRESS_TIMEOUT_S - 1.0)
        desk.receive(alice, Diff(KIND, (name_of(b"a"),)))
    assert desk.events == []
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S)
    assert desk.outcomes() == [RoundOutcome.TIMED_OUT]


def test_a_round_the_peer_opened_is_given_up_as_well(desk: Desk) -> None:
    """A node that initiates nothing must not wait for ever either."""
    theirs = Side.make("bob", RESPONDER)
    desk.receive(theirs, Summary(KIND, (EnvelopeRef(b"x" * 32, 1),)))
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S)
    (event,) = desk.events
    assert (event.outcome, event.role) == (RoundOutcome.TIMED_OUT, RESPONDER)
    assert not theirs.coordinator.is_active
    assert not desk.scheduler.is_busy("bob")


def test_the_watchdog_is_not_lost_when_the_strand_is_full(desk: Desk) -> None:
    desk.add()
    desk.scheduler.run("bob", [KIND])
    desk.pool.refuse = 3
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S + 5.0)
    assert desk.outcomes() == [RoundOutcome.TIMED_OUT]


def test_a_tick_that_finds_the_strand_full_is_skipped_and_the_cadence_goes_on(
    ticking: Desk,
) -> None:
    ticking.scheduler.start()
    ticking.pool.refuse = 1
    ticking.timer.advance(CADENCE_S)
    assert ticking.checked_s() == []
    ticking.timer.advance(CADENCE_S)
    assert len(ticking.checked_s()) == 1


def test_after_a_timeout_the_next_cadence_opens_a_clean_round(desk: Desk) -> None:
    alice = desk.add("bob", b"a")
    bob = Side.make("alice", RESPONDER, b"b")
    desk.scheduler.start()
    desk.first_check()
    alice.sent.clear()
    desk.timer.advance(NO_PROGRESS_TIMEOUT_S)
    desk.timer.advance(CADENCE_S)
    desk.scheduler.drove(alice.coordinator, [])
    converse(alice, bob)
    assert bob.bridge.held == alice.bridge.held


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (UnexpectedMessage(got="Diff", phase="idle"), RoundOutcome.REFUSED, "unexpected_message"),
        (LinkGone("link 1 is down"), RoundOutcome.ERROR, "link_gone"),
        (TransportError("no link"), RoundOutcome.ERROR, "transport_error"),
    ],
)
def test_a_broken_round_says_why_and_drops_the_link(
    desk: Desk, error: TransportError, outcome: RoundOutcome, reason: str
) -> None:
    alice = desk.add()
    desk.add(kind=KINDS[1])
    desk.scheduler.run("bob", KINDS[:2])
    desk.scheduler.failed(alice.coordinator, error)
    (event,) = desk.events
    assert (event.outcome, event.reason, event.report) == (outcome, reason, None)
    assert desk.stalled == [("bob", reason)]
    assert not alice.coordinator.is_active
    assert not desk.scheduler.is_busy("bob"), "what waited would fail on the same link"


def test_a_summary_that_cannot_be_sent_ends_the_round_at_once(desk: Desk) -> None:
    alice = desk.add()
    alice.broken = LinkGone("link 1 is down")
    desk.scheduler.run("bob", [KIND])
    assert desk.outcomes() == [RoundOutcome.ERROR]
    assert not alice.coordinator.is_active
    assert not desk.scheduler.is_busy("bob")


def test_a_lost_link_ends_every_round_with_the_peer_and_nobody_elses(desk: Desk) -> None:
    desk.add(kind=KINDS[0])
    desk.add(kind=KINDS[1])
    theirs = Side.make("bob", RESPONDER, kind=KINDS[2])
    carol = desk.add("carol")
    desk.receive(theirs, Summary(KINDS[2], (EnvelopeRef(b"x" * 32, 1),)))
    desk.scheduler.run("bob", KINDS[:2])
    desk.scheduler.run("carol", [KIND])
    desk.scheduler.abort_peer("bob", "link_down")
    assert {(event.kind, event.role) for event in desk.events} == {
        (KINDS[0], INITIATOR),
        (KINDS[2], RESPONDER),
    }
    assert {event.reason for event in desk.events} == {"link_down"}
    assert desk.stalled == [], "the link is gone already"
    assert not desk.scheduler.is_busy("bob")
    assert carol.coordinator.is_active


def test_aborting_somebody_unknown_is_no_error(desk: Desk) -> None:
    desk.scheduler.abort_peer("eve", "link_down")
    assert desk.events == []


def test_what_stays_missing_is_reported_and_not_retried_at_once(desk: Desk) -> None:
    alice = desk.add()
    desk.scheduler.run("bob", [KIND])
    desk.receive(alice, Summary(KIND, (EnvelopeRef(b"x" * 32, 1),)), Deliver(KIND, ()))
    desk.receive(alice, Diff(KIND, ()))
    assert desk.events[0].report is not None
    assert desk.events[0].report.staleness == BoundedBy(1)
    assert not desk.scheduler.is_busy("bob")


def test_work_after_the_pool_stopped_is_dropped_quietly() -> None:
    desk = Desk(pool=StoppedPool(), only_notes_checks=True)
    desk.add()
    desk.scheduler.start()
    desk.timer.advance(3 * CADENCE_S)
    assert desk.checks == []
