"""Answers that overtake Reticulum's own notes: kept until the note is taken, and bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import RNS

from ciris_mesh.transport.rns_early import ANSWERS_MAX, PART_REQUESTS_MAX, Early

PART_REQUEST = 3


@dataclass
class FakeLink:
    """The methods of `RNS.Link` that matter here, each of which notes how it was called."""

    pending_requests: list[Any] = field(default_factory=list)
    outgoing: list[Any] = field(default_factory=list)
    done: list[Any] = field(default_factory=list)

    def handle_response(self, request_id: bytes, response: object, **sizes: object) -> None:
        self.done.append((request_id, response, sizes))

    def ready_for_new_resource(self) -> bool:
        return not self.outgoing

    def register_outgoing_resource(self, resource: object) -> None:
        self.outgoing.append(resource)

    def receive(self, packet: Any) -> None:
        self.done.append((packet.context, list(self.outgoing)))


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def early(link: FakeLink) -> Early:
    return Early(link, part_request=PART_REQUEST)


def packet(context: int = PART_REQUEST) -> Any:
    return SimpleNamespace(context=context)


def note(link: FakeLink, request_id: bytes) -> None:
    link.pending_requests.append(SimpleNamespace(request_id=request_id))


def test_an_answer_to_a_request_that_is_noted_goes_straight_through(
    link: FakeLink, early: Early
) -> None:
    note(link, b"1")
    early.requested(b"1")
    link.handle_response(b"1", 7, check_size=True)
    assert link.done == [(b"1", 7, {"check_size": True})]


def test_an_answer_that_is_faster_than_the_note_waits_for_it(link: FakeLink, early: Early) -> None:
    link.handle_response(b"1", 7, check_size=True)
    assert link.done == []
    note(link, b"1")
    early.requested(b"1")
    early.requested(b"1")
    assert link.done == [(b"1", 7, {"check_size": True})]


def test_answers_nobody_claims_make_room_for_later_ones(link: FakeLink, early: Early) -> None:
    for number in range(ANSWERS_MAX + 1):
        link.handle_response(bytes([number]), number)
    for number in range(ANSWERS_MAX + 1):
        early.requested(bytes([number]))
    assert [response for _, response, _ in link.done] == list(range(1, ANSWERS_MAX + 1))


def test_parts_asked_for_before_the_offer_is_noted_are_sent_afterwards(
    link: FakeLink, early: Early
) -> None:
    assert link.ready_for_new_resource()
    link.receive(packet())
    assert link.done == []
    link.register_outgoing_resource("resource")
    assert link.done == [(PART_REQUEST, ["resource"])]
    link.receive(packet())
    assert len(link.done) == 2


def test_other_packets_are_never_kept(link: FakeLink, early: Early) -> None:
    assert link.ready_for_new_resource()
    link.receive(packet(context=0))
    assert link.done == [(0, [])]


def test_nothing_is_kept_while_nothing_is_being_offered(link: FakeLink, early: Early) -> None:
    link.register_outgoing_resource("resource")
    assert not link.ready_for_new_resource()
    link.receive(packet())
    assert link.done == [(PART_REQUEST, ["resource"])]


def test_a_flood_of_requests_for_parts_is_not_kept(link: FakeLink, early: Early) -> None:
    assert link.ready_for_new_resource()
    for _ in range(PART_REQUESTS_MAX + 2):
        link.receive(packet())
    assert len(link.done) == 2
    link.register_outgoing_resource("resource")
    assert len(link.done) == 2 + PART_REQUESTS_MAX


def test_reticulum_has_the_methods_that_are_stood_in_for() -> None:
    for name in FakeLink.__dict__.keys() & {
        "handle_response",
        "ready_for_new_resource",
        "register_outgoing_resource",
        "receive",
    }:
        assert callable(getattr(RNS.Link, name))
    assert RNS.Packet.RESOURCE_REQ == PART_REQUEST
