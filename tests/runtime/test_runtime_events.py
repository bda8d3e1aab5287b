"""Events are values first and log lines second; no sink can stop another."""

from __future__ import annotations

import logging

import pytest

from ciris_mesh.errors import LifecycleError
from ciris_mesh.protocol.report import InSync, RoundReport, SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.events import (
    RECENT_EVENTS_MAX,
    EventHub,
    RoundEvent,
    RoundOutcome,
    log_sink,
)

KIND = EnvelopeKind.KEY
ROLE = SessionRole.INITIATOR


def completed(
    peer: str = "bob", *, admitted: int = 0, sent: int = 0, refused: int = 0
) -> RoundEvent:
    report = RoundReport(KIND, ROLE, InSync(), admitted=admitted, sent=sent, refused=refused)
    return RoundEvent(
        peer=peer,
        kind=KIND,
        role=ROLE,
        outcome=RoundOutcome.COMPLETED,
        elapsed_s=0.8404,
        report=report,
    )


def failed(peer: str = "bob") -> RoundEvent:
    return RoundEvent(
        peer=peer,
        kind=KIND,
        role=ROLE,
        outcome=RoundOutcome.TIMED_OUT,
        elapsed_s=10.0,
        reason="no_progress",
    )


def test_the_fields_of_a_completed_round_are_pinned() -> None:
    """Dashboards and scripts read these keys."""
    assert completed(admitted=3, sent=1).fields() == {
        "peer": "bob",
        "kind": "key",
        "role": "initiator",
        "outcome": "completed",
        "elapsed_ms": 840,
        "admitted": 3,
        "held": 0,
        "deferred": 0,
        "refused": 0,
        "missing": 0,
        "sent": 1,
    }


def test_the_fields_of_a_failed_round_are_pinned() -> None:
    assert failed().fields() == {
        "peer": "bob",
        "kind": "key",
        "role": "initiator",
        "outcome": "timed_out",
        "elapsed_ms": 10_000,
        "reason": "no_progress",
    }


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (completed(), logging.DEBUG),
        (completed(admitted=1), logging.INFO),
        (completed(sent=1), logging.INFO),
        (completed(refused=1), logging.INFO),
        (failed(), logging.WARNING),
    ],
    ids=["nothing moved", "admitted", "sent", "refused", "failed"],
)
def test_what_matters_more_is_logged_louder(
    event: RoundEvent, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        log_sink(event)
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith(f"round.{event.outcome} peer=bob kind=key ")


def test_every_sink_gets_every_event_in_order_until_it_unsubscribes() -> None:
    hub = EventHub()
    one: list[RoundEvent] = []
    two: list[RoundEvent] = []
    end_one = hub.subscribe(one.append)
    hub.subscribe(two.append)
    events = [completed(), failed(), completed("carol")]
    for event in events[:2]:
        hub.publish(event)
    end_one()
    end_one()
    hub.publish(events[2])
    assert one == events[:2]
    assert two == events


def test_a_failing_sink_does_not_stop_the_others_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = EventHub()
    got: list[RoundEvent] = []

    def broken(_event: RoundEvent) -> None:
        raise RuntimeError("sink broke")

    hub.subscribe(broken)
    hub.subscribe(got.append)
    hub.publish(failed())
    assert got == [failed()]
    assert "sink broke" in caplog.text


def test_a_closed_sink_is_tolerated_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    hub = EventHub()
    got: list[RoundEvent] = []

    def closed(_event: RoundEvent) -> None:
        raise LifecycleError("this sink was closed")

    hub.subscribe(closed)
    hub.subscribe(got.append)
    with caplog.at_level(logging.INFO):
        hub.publish(failed())
    assert got == [failed()]
    assert caplog.records == []


def test_a_sink_may_subscribe_and_unsubscribe_while_it_is_called() -> None:
    hub = EventHub()
    got: list[str] = []

    def once(event: RoundEvent) -> None:
        got.append("once")
        end()
        hub.subscribe(lambda _event: got.append("later"))

    end = hub.subscribe(once)
    hub.publish(failed())
    hub.publish(failed())
    assert got == ["once", "later"]


def test_recent_events_are_numbered_and_bounded() -> None:
    hub = EventHub()
    for n in range(RECENT_EVENTS_MAX + 5):
        hub.publish(completed(admitted=n))
    numbers = [number for number, _ in hub.recent()]
    assert numbers == list(range(6, RECENT_EVENTS_MAX + 6))
    last = hub.recent(after=numbers[-1] - 2)
    assert [number for number, _ in last] == numbers[-2:]
    assert hub.recent(after=numbers[-1]) == []


def test_outcomes_are_counted_by_peer_until_it_is_forgotten() -> None:
    hub = EventHub()
    for event in (completed(), completed(), failed(), completed("carol")):
        hub.publish(event)
    assert hub.outcomes("bob") == {"completed": 2, "timed_out": 1}
    hub.forget("bob")
    hub.forget("nobody")
    assert hub.outcomes("bob") == {}
    assert hub.outcomes("carol") == {"completed": 1}
