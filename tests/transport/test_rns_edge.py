"""The port for registry nodes in states that real Reticulum reaches rarely."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ciris_mesh.errors import BackPressure, PayloadTooLarge, PeerUnreachable
from ciris_mesh.transport import patience, rns_channel
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.admittance import MISBEHAVIOUR_MAX
from ciris_mesh.transport.base import Address, EdgeFrame, EdgeHeard, EdgeLost
from ciris_mesh.transport.limits import (
    EDGE_CHANNEL_WAITING_MAX,
    EDGE_LINKS_MAX,
    EDGE_QUEUE_FRAMES_MAX,
    EDGE_SEND_BYTES_MAX,
    FIRST_CONTACT_REQUESTS_MAX,
    FRAME_BYTES_MAX,
)
from ciris_mesh.transport.rns_edge import APP_DATA_BYTES_MAX, HEARD_SPACING_S, RnsEdge
from ciris_mesh.transport.rns_edge_link import SLACK_BYTES, EdgeLink
from support.fake_rns import (
    FAILED,
    Clock,
    FakeHost,
    FakeLink,
    FakeResource,
    Wire,
    clock,
    wire,
)

__all__ = ["clock", "wire"]

OWN, EU, STRANGER = (Address(letter * 16) for letter in (b"o", b"e", b"s"))


class Identity:
    def __init__(self, address: Address) -> None:
        self.hash = bytes(address)

    def get_public_key(self) -> bytes:
        return b"k" * 64

    def get_private_key(self) -> bytes:
        raise AssertionError("nobody asks for it")


class Destination:
    """`ciris.edge`, as far as the port sees it."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.announced: list[tuple[bytes, object]] = []
        self.app_data: bytes | None = None

    def set_link_established_callback(self, callback: Callable[[FakeLink], None]) -> None:
        self.established = callback

    def set_default_app_data(self, app_data: bytes) -> None:
        self.app_data = app_data

    def announce(self, *, app_data: bytes, attached_interface: object) -> None:
        self.announced.append((app_data, attached_interface))


class Bench:
    """A port, what it knows and what it does."""

    def __init__(self, wire: Wire, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wire, self.clock = wire, clock
        self.host = FakeHost()
        self.destination = Destination()
        self.paths: set[bytes] = set()
        self.asked: list[bytes] = []
        self.opened: list[tuple[FakeLink, Callable[[FakeLink], None]]] = []
        self.interfaces: list[Any] = []
        self.is_shared = False
        self.app_data: dict[bytes, bytes] = {}
        for name, stand_in in (
            ("create_destination", lambda *_args, **_more: self.destination),
            ("guard_link_requests", lambda *_args: None),
            ("listen_for_announces", lambda _handler: None),
            ("attach", lambda _link, _events: None),
            ("has_path", self.paths.__contains__),
            ("recall", lambda _destination: Identity(EU)),
            ("recall_app_data", self.app_data.get),
            ("request_path", self.asked.append),
            ("open_link", self._open),
            ("interfaces", lambda: self.interfaces),
            ("is_shared_client", lambda: self.is_shared),
            ("hops_to", lambda _destination: 2),
        ):
            monkeypatch.setattr(seam, name, stand_in)
        module = "ciris_mesh.transport.rns_edge"
        monkeypatch.setattr(
            f"{module}.open_channel", lambda link, take: setattr(link, "take", take)
        )
        monkeypatch.setattr(f"{module}.has_radio", lambda: True)
        monkeypatch.setattr("ciris_mesh.transport.rns_dial.has_radio", lambda: False)
        self.edge = RnsEdge(self.host, Identity(OWN))
        self.edge.open()
        self.edge.permit(frozenset({EU}))

    def _open(
        self, _identity: object, _aspects: object, *, established: Any, **_more: object
    ) -> FakeLink:
        self.opened.append((FakeLink(link_id=bytes([len(self.opened)]) * 16), established))
        return self.opened[-1][0]

    def knows(self, address: Address = EU) -> None:
        self.paths.add(seam.destination_hash(address, seam.EDGE_ASPECTS))

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.edge.send(EU, frame)
        self.host.run()

    def dial_back(self) -> FakeLink:
        """Our own link comes up."""
        link, established = self.opened[-1]
        established(link)
        self.host.run()
        return link

    def they_dial(self, address: Address | None = EU) -> EdgeLink:
        """A link of theirs comes up, and identifies."""
        rns = FakeLink(initiator=False)
        self.destination.established(rns)
        link = self.edge._links[-1]
        if address is not None:
            link.identified(address)
        self.host.run()
        return link

    def concluded(self, status: int = 6) -> None:
        """The Resource that was sent last is through, or is not."""
        self.wire.last.concluded(FakeResource(status))
        self.host.run()

    def tick(self, after_s: float = 0.0) -> None:
        self.clock.now += after_s
        self.edge.tick(self.clock.now)
        self.host.run()

    def sent(self) -> list[bytes]:
        return [each.body for each in self.wire.sent]

    def lost(self) -> list[str]:
        return [str(each.reason) for each in self.host.reported if isinstance(each, EdgeLost)]

    def frames(self) -> list[bytes]:
        return [each.frame for each in self.host.reported if isinstance(each, EdgeFrame)]

    def dropped(self) -> dict[str, int]:
        with self.host.lock:
            return {str(name): count for name, count in self.host.dropped().items()}


@pytest.fixture
def bench(wire: Wire, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(wire, clock, monkeypatch)


def offer(size: int, key: bytes = b"h" * 32, **other: object) -> Any:
    claim = {"t": min(size, 64), "d": size, "i": 1, "l": 1, "h": key, "o": key, "x": False}
    return SimpleNamespace(**{**claim, **other})


def receive(link: EdgeLink, frame: bytes, key: bytes = b"h" * 32) -> FakeResource:
    """A Resource arrives whole."""
    assert link.accepts(offer(len(frame), key))
    resource = FakeResource(hash=key, original_hash=key, data=io.BytesIO(frame))
    link.resource_started(resource)
    link.resource_concluded(resource)
    return resource


# --- sending --------------------------------------------------------------------------------------


def test_a_frame_goes_on_their_link_before_ours(bench: Bench) -> None:
    bench.knows()
    bench.send(b"one")
    ours = bench.dial_back()
    assert ours.identified_as, "we say who we are on links we dial"
    assert bench.sent() == [b"one"]
    bench.concluded()
    theirs = bench.they_dial()
    seen: list[object] = []
    bench.wire.send_resource = lambda link, body, **_calls: seen.append(link)  # type: ignore
    bench.send(b"two")
    assert len(bench.opened) == 1
    assert bench.edge.is_linked(EU)
    with bench.host.lock:
        assert bench.edge._best_link(EU) is theirs


def test_one_resource_a_frame_one_at_a_time_in_order(bench: Bench) -> None:
    bench.they_dial()
    bench.send(b"1", b"2", b"3")
    assert bench.sent() == [b"1"]
    bench.concluded()
    bench.concluded()
    assert bench.sent() == [b"1", b"2", b"3"]
    assert all(each.options["compress"] for each in bench.wire.sent)


def test_where_a_frame_fails_on_their_link_ours_is_dialled(bench: Bench) -> None:
    bench.knows()
    theirs = bench.they_dial()
    bench.send(b"frame")
    bench.concluded(FAILED)
    assert not theirs.is_down, "it is still good for what they send"
    assert len(bench.opened) == 1
    bench.dial_back()
    assert bench.sent() == [b"frame", b"frame"]
    bench.concluded()
    assert bench.lost() == []
    assert receive(theirs, b"answer")
    assert bench.frames() == [b"answer"]


def test_a_frame_that_fails_everywhere_is_given_up_with_all_that_waits(bench: Bench) -> None:
    bench.knows()
    bench.they_dial()
    bench.send(b"1", b"2")
    bench.concluded(FAILED)
    for _ in range(2):
        bench.dial_back()
        bench.concluded(FAILED)
    assert bench.lost() == ["stalled"]
    bench.send(b"3")
    bench.dial_back()
    assert bench.sent()[-1] == b"3"


def test_a_transfer_without_progress_is_given_up(bench: Bench) -> None:
    bench.knows()
    bench.they_dial()
    bench.send(b"frame")
    bench.tick(patience.stall_s(0.01) - 1)
    bench.wire.last.progress(FakeResource())
    bench.tick(patience.stall_s(0.01) - 1)
    assert bench.opened == [], "it moves"
    bench.tick(2)
    assert len(bench.opened) == 1, "it does not, so another link is tried"


def test_without_a_path_one_is_asked_for_and_the_frame_given_up_in_time(bench: Bench) -> None:
    bench.send(b"frame")
    bench.tick()
    assert bench.asked == [seam.destination_hash(EU, seam.EDGE_ASPECTS)]
    bench.tick(60)
    assert bench.lost() == ["no_path"]


def test_a_link_that_goes_takes_its_frame_to_the_next(bench: Bench) -> None:
    bench.knows()
    theirs = bench.they_dial()
    bench.send(b"frame")
    theirs.closed(seam.LINK_CLOSED_BY_INITIATOR)
    bench.host.run()
    bench.dial_back()
    assert bench.sent() == [b"frame", b"frame"]


def test_what_may_wait_is_bounded(bench: Bench) -> None:
    with pytest.raises(PayloadTooLarge):
        bench.send(bytes(EDGE_SEND_BYTES_MAX + 1))
    with pytest.raises(PeerUnreachable):
        bench.edge.send(STRANGER, b"frame")
    with pytest.raises(BackPressure):
        bench.send(*[b"frame"] * (EDGE_QUEUE_FRAMES_MAX + 1))
    with pytest.raises(BackPressure):
        bench.send(*[bytes(EDGE_SEND_BYTES_MAX)] * 9)


def test_a_frame_is_one_segment_of_reticulums() -> None:
    assert EDGE_SEND_BYTES_MAX == seam.SEGMENT_BYTES_MAX


def test_who_is_permitted_no_more_is_forgotten(bench: Bench) -> None:
    theirs = bench.they_dial()
    bench.send(b"1", b"2")
    bench.edge.permit(frozenset())
    assert theirs.is_down
    with pytest.raises(PeerUnreachable):
        bench.edge.send(EU, b"frame")


def test_hanging_up_forgets_what_waits(bench: Bench) -> None:
    theirs = bench.they_dial()
    bench.send(b"1", b"2")
    bench.edge.hang_up(EU)
    assert theirs.is_down
    assert bench.lost() == ["closed"]


# --- receiving ------------------------------------------------------------------------------------


def test_frames_come_as_resources_and_as_channel_messages(bench: Bench) -> None:
    theirs = bench.they_dial()
    receive(theirs, b"resource")
    theirs.channel_message(b"message")
    assert bench.frames() == [b"resource", b"message"]
    bench.host.take_all()
    with bench.host.lock:
        assert bench.host.budget.used_bytes == 0


def test_a_resource_of_another_softwares_making_may_be_one_segment(bench: Bench) -> None:
    theirs = bench.they_dial()
    assert theirs.accepts(offer(seam.SEGMENT_BYTES_MAX + 1))
    resource = FakeResource()
    theirs.resource_started(resource)
    assert resource.max_decompressed_size == seam.SEGMENT_BYTES_MAX + 2 + SLACK_BYTES


def test_a_few_bytes_more_or_less_than_offered_are_fine(bench: Bench) -> None:
    theirs = bench.they_dial()
    for number, size in enumerate((100 - SLACK_BYTES, 100 + SLACK_BYTES)):
        key = bytes([number]) * 32
        assert theirs.accepts(offer(100, key))
        frame = io.BytesIO(b"f" * size)
        resource = FakeResource(hash=key, original_hash=key, data=frame)
        theirs.resource_started(resource)
        theirs.resource_concluded(resource)
    assert [len(frame) for frame in bench.frames()] == [100 - SLACK_BYTES, 100 + SLACK_BYTES]
    bench.host.take_all()
    with bench.host.lock:
        assert bench.host.budget.used_bytes == 0


def test_eight_mebibytes_and_one_are_turned_away(bench: Bench) -> None:
    theirs = bench.they_dial()
    assert not theirs.accepts(offer(FRAME_BYTES_MAX + 1))
    assert bench.dropped() == {"frame_too_large": 1}
    for _ in range(MISBEHAVIOUR_MAX):
        theirs.accepts(offer(FRAME_BYTES_MAX + 1))
    assert theirs.is_down


def test_nobody_elses_bytes_are_put_together(bench: Bench) -> None:
    for address in (STRANGER, None):
        link = bench.they_dial(address)
        assert not link.accepts(offer(100))
        link.channel_message(b"message")
        resource = FakeResource()
        link.resource_started(resource)
        assert resource.cancelled
    assert bench.dropped()["edge_stranger"] == 4
    assert bench.frames() == []


def test_a_stranger_may_not_ask_for_ever(bench: Bench) -> None:
    link = bench.they_dial(STRANGER)
    for _ in range(FIRST_CONTACT_REQUESTS_MAX + 1):
        link.accepts(offer(100))
    assert link.is_down


def test_who_does_not_identify_or_is_nobody_is_let_go(bench: Bench) -> None:
    silent, stranger, theirs = (bench.they_dial(who) for who in (None, STRANGER, EU))
    bench.tick(patience.identify_s(0.01) + 1)
    assert (silent.is_down, stranger.is_down) == (True, False)
    bench.tick(patience.first_contact_s(0.01))
    assert (stranger.is_down, theirs.is_down) == (True, False)
    assert bench.dropped() == {"edge_unidentified": 1, "edge_overstayed": 1}


def test_a_flood_of_channel_messages_ends_the_link(bench: Bench) -> None:
    theirs = bench.they_dial()
    for _ in range(EDGE_CHANNEL_WAITING_MAX):
        theirs.channel_message(b"message")
    assert not theirs.is_down
    theirs.channel_message(b"message")
    assert theirs.is_down
    assert len(bench.frames()) == EDGE_CHANNEL_WAITING_MAX


def test_strangers_make_room_for_who_comes(bench: Bench) -> None:
    links = [bench.they_dial(None) for _ in range(EDGE_LINKS_MAX + 1)]
    assert [link.is_down for link in links].count(True) == 1
    assert links[0].is_down
    assert bench.dropped() == {"too_many_links": 1}


def test_one_identity_holds_few_links(bench: Bench) -> None:
    links = [bench.they_dial(EU) for _ in range(6)]
    assert [link.is_down for link in links].count(True) == 2


def test_who_dials_before_its_announce_was_verified_is_remembered(bench: Bench) -> None:
    bench.edge.permit(frozenset())
    bench.app_data[seam.destination_hash(EU, seam.EDGE_ASPECTS)] = b"attested"
    bench.they_dial(EU)
    (heard,) = bench.host.take_reported()
    assert heard == EdgeHeard(EU, b"k" * 64, b"attested", 2)


def test_a_stalled_transfer_ends_the_link(bench: Bench) -> None:
    theirs = bench.they_dial()
    assert theirs.accepts(offer(100))
    bench.tick(patience.stall_s(0.01) + 1)
    assert theirs.is_down


def test_bytes_that_are_not_what_was_offered_end_the_link(bench: Bench) -> None:
    theirs = bench.they_dial()
    assert theirs.accepts(offer(100))
    resource = FakeResource(data=io.BytesIO(b"short"))
    theirs.resource_started(resource)
    theirs.resource_concluded(resource)
    assert theirs.is_down


def test_requests_get_no_answer(bench: Bench) -> None:
    assert bench.edge.handle_request(0, b"frame", b"l" * 16) is None
    assert bench.dropped() == {"frame_not_permitted": 1}


# --- announces ------------------------------------------------------------------------------------


class TCPClientInterface:
    name, online, bitrate = "hub", True, 10_000_000


class RNodeInterface:
    name, online, bitrate = "air", True, 5_000


def test_it_is_announced_everywhere_but_on_radio(bench: Bench) -> None:
    hub, air = TCPClientInterface(), RNodeInterface()
    bench.interfaces = [hub, air]
    bench.edge.announce(b"attested")
    bench.tick(5)
    assert bench.destination.announced == [(b"attested", hub)]
    assert bench.destination.app_data == b"attested", "answers to path requests carry it too"
    late = TCPClientInterface()
    bench.interfaces.append(late)
    bench.tick(5)
    assert bench.destination.announced[1:] == [(b"attested", late)]
    bench.tick(600)
    assert len(bench.destination.announced) == 4
    assert all(where is not air for _, where in bench.destination.announced)


def test_a_shared_reticulum_with_a_radio_is_not_asked_to_announce(bench: Bench) -> None:
    bench.is_shared = True
    bench.interfaces = [TCPClientInterface()]
    bench.edge.announce(b"attested")
    bench.tick(5)
    bench.tick(5)
    assert bench.destination.announced == []
    assert bench.dropped() == {"edge_radio": 1}


def test_what_does_not_fit_is_not_announced(bench: Bench) -> None:
    with pytest.raises(PayloadTooLarge):
        bench.edge.announce(bytes(APP_DATA_BYTES_MAX + 1))


def test_announces_heard_are_passed_on_within_bounds(bench: Bench) -> None:
    def hear(who: Address, app_data: bytes | None) -> None:
        bench.edge.received_announce(b"d" * 16, Identity(who), app_data)

    hear(EU, None)
    hear(EU, b"")
    assert bench.host.reported == [], "the first of a registry node says nothing"
    hear(EU, b"attested")
    assert bench.host.take_reported() == [EdgeHeard(EU, b"k" * 64, b"attested", 2)]
    hear(EU, b"attested")
    hear(OWN, b"attested")
    assert bench.host.take_reported() == []
    bench.clock.now += HEARD_SPACING_S
    hear(EU, bytes(APP_DATA_BYTES_MAX + 1))
    assert bench.host.take_reported() == []
    assert bench.dropped() == {"announce_flood": 1, "announce_unreadable": 1}


def test_the_channel_takes_messages_of_type_0() -> None:
    """Reticulum's own class, as it is told to use it."""
    taken: list[bytes] = []
    registered: list[Any] = []
    handlers: list[Any] = []
    channel = SimpleNamespace(
        register_message_type=registered.append, add_message_handler=handlers.append
    )
    rns_channel.open_channel(SimpleNamespace(get_channel=lambda: channel), taken.append)
    message = registered[0]()
    assert registered[0].MSGTYPE == 0
    message.unpack(b"frame")
    assert handlers[0](message)
    assert taken == [b"frame"]
    assert message.pack() == b"frame"


def test_when_it_stops_only_registries_are_told(bench: Bench) -> None:
    theirs, stranger = bench.they_dial(EU), bench.they_dial(None)
    with bench.host.lock:
        bench.edge.stop()
    bench.host.run()
    told = [isinstance(each.rns, FakeLink) and each.rns.torn_down for each in (theirs, stranger)]
    assert told == [1, 0]
    assert bench.edge._links == []
