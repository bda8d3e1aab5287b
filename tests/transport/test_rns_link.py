"""One link in states that real Reticulum reaches rarely: loss, silence, doubled callbacks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from ciris_mesh.errors import LinkGone
from ciris_mesh.transport import carriers, patience
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.admittance import MISBEHAVIOUR_MAX
from ciris_mesh.transport.base import (
    Address,
    FrameReceived,
    LinkDown,
    LinkId,
    LinkIdentified,
    LinkUp,
    TransportEvent,
)
from ciris_mesh.transport.limits import (
    FIRST_CONTACT_FRAME_BYTES_MAX,
    FIRST_CONTACT_REQUESTS_MAX,
    FRAME_BYTES_MAX,
)
from ciris_mesh.transport.outbox import ATTEMPTS_MAX, BUSY_MAX
from ciris_mesh.transport.paced import IDENTIFY
from ciris_mesh.transport.reasons import DownReason
from ciris_mesh.transport.rns_link import MeshLink
from ciris_mesh.transport.sealing import LinkSeal
from support.fake_rns import (
    COMPLETE,
    FAILED,
    REJECTED,
    TRANSFERRING,
    Clock,
    FakeHost,
    FakeLink,
    FakeResource,
    Wire,
    clock,
    wire,
)

__all__ = ["clock", "wire"]

PEER = Address(b"p" * 16)
SMALL, LARGE = b"s" * 100, b"L" * 5_000


class Owner:
    """`rns_link.LinkOwner`."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        self.identified = 0
        self.introduced = 0

    def link_gone(self, link: MeshLink, reason: DownReason) -> None:
        self.gone.append(str(reason))

    def link_identified(self, link: MeshLink) -> None:
        self.identified += 1

    def identify(self, link: MeshLink) -> None:
        self.introduced += 1


@dataclass
class Bench:
    """A link, and the world as it sees it."""

    host: FakeHost
    rns: FakeLink
    owner: Owner
    link: MeshLink
    wire: Wire
    clock: Clock

    def send(self, *frames: bytes) -> None:
        with self.host.lock:
            for frame in frames:
                self.link.send(frame)
        self.host.run()

    def tick(self, after_s: float = 0.0) -> None:
        self.clock.now += after_s
        with self.host.lock:
            self.link.tick(self.clock.now)
        self.host.run()

    def down(self) -> str | None:
        """The reason the link reported to be down for, if it did."""
        reasons = [str(each.reason) for each in self.host.reported if isinstance(each, LinkDown)]
        assert len(reasons) <= 1
        return reasons[0] if reasons else None

    def frames(self) -> list[bytes]:
        return [each.frame for each in self.host.reported if isinstance(each, FrameReceived)]

    def dropped(self) -> dict[str, int]:
        with self.host.lock:
            return {str(name): count for name, count in self.host.dropped().items()}


def make_bench(wire: Wire, clock: Clock, *, inbound: bool = False, medium: str = "tcp") -> Bench:
    host, owner = FakeHost(), Owner()
    rns = FakeLink(initiator=not inbound)
    address = None if inbound else PEER
    link = MeshLink(host, LinkId(7), rns, address=address, owner=owner)
    host.permitted = frozenset({PEER})
    with host.lock:
        link.bring_up(medium)
    assert host.take_reported() == [LinkUp(LinkId(7), inbound, address, medium)]
    return Bench(host, rns, owner, link, wire, clock)


@pytest.fixture
def bench(wire: Wire, clock: Clock) -> Bench:
    return make_bench(wire, clock)


@pytest.fixture
def inbound(wire: Wire, clock: Clock) -> Bench:
    return make_bench(wire, clock, inbound=True)


def claim(size: int, **others: object) -> SimpleNamespace:
    fields = {"t": size + 64, "d": size, "i": 1, "l": 1, "h": b"h" * 32, "o": b"h" * 32, "x": False}
    return SimpleNamespace(**(fields | others))


def brings(content: bytes, status: int = COMPLETE) -> FakeResource:
    return FakeResource(status=status, data=io.BytesIO(content))


# Sending.


def test_one_frame_is_under_way_at_a_time(bench: Bench) -> None:
    bench.send(b"one", LARGE, b"two")
    assert [each.body for each in bench.wire.sent] == [b"one"]
    bench.wire.last.answered(carriers.ANSWER_QUEUED)
    bench.host.run()
    assert bench.wire.last.body == LARGE
    bench.wire.last.concluded(FakeResource())
    bench.host.run()
    assert (bench.wire.last.body, bench.wire.last.sequence) == (b"two", 1)
    assert bench.host.tx_bytes == len(b"one") + len(LARGE)


def test_a_request_without_an_answer_goes_out_again_and_then_the_link_goes(bench: Bench) -> None:
    bench.send(SMALL)
    for _ in range(ATTEMPTS_MAX - 1):
        bench.wire.last.failed()
        assert bench.down() is None
        bench.tick()
    assert {each.sequence for each in bench.wire.sent} == {0}
    bench.wire.last.failed()
    assert len(bench.wire.sent) == ATTEMPTS_MAX
    assert bench.down() == "stalled"
    bench.host.run()
    assert bench.rns.torn_down == 1


def test_a_receipt_reticulum_lost_counts_as_no_answer(bench: Bench) -> None:
    bench.send(SMALL)
    bench.tick(2 * patience.answer_s(0.01, slow=True) + 0.5)
    assert len(bench.wire.sent) == 1
    bench.tick(1)
    bench.tick()
    assert len(bench.wire.sent) == 2


def test_a_late_answer_to_an_earlier_attempt_counts(bench: Bench) -> None:
    bench.send(SMALL, b"next")
    first = bench.wire.last
    first.failed()
    bench.tick()
    first.answered(carriers.ANSWER_QUEUED)
    bench.host.run()
    assert bench.wire.last.body == b"next"
    first.failed()
    bench.wire.sent[1].answered(carriers.ANSWER_QUEUED)
    bench.host.run()
    assert bench.down() is None
    assert bench.wire.last.body == b"next"


def test_a_busy_peer_is_asked_again_later_and_not_for_ever(bench: Bench) -> None:
    bench.send(SMALL)
    for _ in range(BUSY_MAX):
        sent = len(bench.wire.sent)
        bench.wire.last.answered(carriers.ANSWER_BUSY)
        bench.tick()
        assert len(bench.wire.sent) == sent, "not at once"
        bench.tick(4.0)
        assert len(bench.wire.sent) == sent + 1
    bench.wire.last.answered(carriers.ANSWER_BUSY)
    assert bench.down() == "stalled"


def test_a_peer_that_missed_who_we_are_is_told_again(bench: Bench) -> None:
    bench.send(SMALL)
    bench.wire.last.answered(carriers.ANSWER_IDENTIFY)
    bench.tick(1.0)
    assert bench.owner.introduced == 1
    bench.wire.last.answered(carriers.ANSWER_QUEUED)
    assert bench.down() is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (carriers.ANSWER_REFUSED, "refused"),
        (99, "stalled"),
        (None, "stalled"),
        ("yes", "stalled"),
        (b"\x01", "stalled"),
    ],
)
def test_any_other_answer_ends_the_link(bench: Bench, answer: object, reason: str) -> None:
    bench.send(SMALL)
    bench.wire.last.answered(answer)
    assert bench.down() == reason


def test_a_packet_no_interface_took_is_tried_again(bench: Bench) -> None:
    bench.wire.takes = False
    bench.send(SMALL)
    bench.wire.takes = True
    bench.tick()
    bench.wire.last.answered(carriers.ANSWER_QUEUED)
    assert bench.down() is None


def test_a_resource_that_moves_may_take_its_time(bench: Bench) -> None:
    bench.send(LARGE)
    for _ in range(20):
        bench.tick(patience.STALL_S - 1)
        bench.wire.last.progress(None)
    assert bench.down() is None
    bench.tick(patience.stall_s(0.01) + 0.1)
    assert bench.down() == "stalled"


def test_receiving_does_not_hide_a_stalled_send(bench: Bench) -> None:
    bench.send(LARGE)
    for sequence in range(3):
        bench.tick(4.0)
        bench.link.take_request(sequence, SMALL)
    assert bench.down() == "stalled"


def test_waits_grow_with_the_round_trip(bench: Bench) -> None:
    bench.rns.rtt = 13.5
    bench.send(LARGE)
    bench.tick(160)
    assert bench.down() is None
    bench.tick(20)
    assert bench.down() == "stalled"


def test_a_resource_that_failed_ends_the_link(bench: Bench) -> None:
    bench.send(LARGE)
    bench.wire.last.concluded(FakeResource(FAILED))
    assert bench.down() == "stalled"


def test_a_resource_whose_state_was_set_back_has_arrived_all_the_same(bench: Bench) -> None:
    bench.send(LARGE, b"next")
    first = bench.wire.last
    first.concluded(FakeResource(TRANSFERRING))
    bench.host.run()
    assert bench.wire.last.body == b"next"
    first.concluded(FakeResource(FAILED))
    assert bench.down() is None


def test_a_rejected_resource_is_offered_again_after_a_rest(bench: Bench) -> None:
    bench.send(LARGE)
    bench.wire.last.concluded(FakeResource(REJECTED))
    bench.tick()
    assert len(bench.wire.sent) == 1
    bench.tick(3.5)
    assert [each.body for each in bench.wire.sent] == [LARGE, LARGE]
    bench.wire.last.concluded(FakeResource())
    assert bench.down() is None


def test_a_link_closed_after_a_rejection_was_refused(bench: Bench) -> None:
    bench.send(LARGE)
    bench.wire.last.concluded(FakeResource(REJECTED))
    bench.link.closed(seam.LINK_CLOSED_BY_DESTINATION)
    assert bench.down() == "refused"


def test_a_link_closed_on_an_offer_nobody_took_was_refused(bench: Bench) -> None:
    bench.send(LARGE)
    bench.clock.now += 2.0
    bench.rns.status = seam.LINK_CLOSED
    bench.wire.last.concluded(FakeResource(FAILED))
    assert bench.down() is None, "the link knows better why"
    bench.link.closed(seam.LINK_CLOSED_BY_DESTINATION)
    assert bench.down() == "refused"


def test_a_link_closed_while_parts_move_was_closed(bench: Bench) -> None:
    bench.send(LARGE)
    bench.wire.last.progress(None)
    bench.clock.now += 2.0
    bench.link.closed(seam.LINK_CLOSED_BY_DESTINATION)
    assert bench.down() == "peer_closed"


@pytest.mark.parametrize(
    ("medium", "mtu", "is_slow"),
    [("tcp", 16_384, False), ("tcp", 500, True), ("radio", 500, True), ("radio", 16_384, True)],
)
def test_a_link_says_whether_bytes_are_dear_anywhere_on_the_way(
    medium: str, mtu: int, is_slow: bool
) -> None:
    host = FakeHost()
    link = MeshLink(host, LinkId(7), FakeLink(mtu=mtu), address=PEER, owner=Owner())
    with host.lock:
        link.bring_up(medium)
    assert host.take_reported() == [LinkUp(LinkId(7), False, PEER, medium, is_slow)]


@pytest.mark.parametrize(
    ("medium", "mtu", "frame", "compress"),
    [
        ("tcp", 16_384, b"{}" * 20_000, False),
        ("tcp", 500, b"{}" * 20_000, True),
        ("radio", 500, b"{}" * 400_000, False),
    ],
)
def test_loose_frames_are_compressed_on_slow_links(
    wire: Wire, clock: Clock, medium: str, mtu: int, frame: bytes, compress: bool
) -> None:
    bench = make_bench(wire, clock, medium=medium)
    bench.rns.mtu = mtu
    bench.send(frame)
    assert wire.last.options["compress"] is compress


def test_an_error_of_reticulum_while_sending_ends_the_link(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_args: object, **_options: object) -> None:
        raise OSError("the device is gone")

    monkeypatch.setattr(seam, "send_resource", breaks)
    bench.send(LARGE)
    assert bench.down() == "stalled"


def test_after_going_down_nothing_is_sent_or_reported(bench: Bench) -> None:
    bench.send(SMALL, LARGE)
    with bench.host.lock:
        bench.link.go_down(DownReason.CLOSED)
        bench.link.go_down(DownReason.STALLED)
    bench.host.run()
    bench.wire.last.answered(carriers.ANSWER_QUEUED)
    bench.link.closed(seam.LINK_CLOSED_BY_DESTINATION)
    assert bench.link.take_request(0, SMALL) is None
    assert not bench.link.accepts(claim(100))
    bench.tick(1_000)
    assert (bench.down(), bench.frames(), len(bench.wire.sent)) == ("closed", [], 1)
    assert bench.owner.gone == ["closed"]
    with bench.host.lock, pytest.raises(LinkGone):
        bench.link.send(SMALL)


# Receiving.


def test_an_inbound_link_delivers_nothing_before_it_identified(inbound: Bench) -> None:
    assert inbound.link.take_request(0, SMALL) == carriers.ANSWER_IDENTIFY
    assert not inbound.link.accepts(claim(500))
    inbound.link.identified(PEER)
    inbound.link.identified(Address(b"x" * 16))
    assert inbound.link.take_request(0, SMALL) == carriers.ANSWER_QUEUED
    expected: list[TransportEvent] = [
        LinkIdentified(LinkId(7), PEER),
        FrameReceived(LinkId(7), SMALL),
    ]
    assert inbound.host.reported == expected
    assert inbound.owner.identified == 1


def test_an_inbound_link_that_never_identifies_goes(inbound: Bench) -> None:
    inbound.tick(patience.identify_s(0.01) - 0.1)
    assert inbound.down() is None
    inbound.tick(0.2)
    assert inbound.down() == "unidentified"
    assert inbound.dropped() == {"unidentified": 1}


def test_a_stranger_that_repeats_itself_does_not_hold_its_slot(inbound: Bench) -> None:
    """A repeated frame is acknowledged and not delivered; that alone would go on for ever."""
    inbound.host.permitted = frozenset()
    inbound.link.identified(PEER)
    for _ in range(FIRST_CONTACT_REQUESTS_MAX):
        assert inbound.link.take_request(0, SMALL) == carriers.ANSWER_QUEUED
    assert inbound.link.take_request(0, SMALL) == carriers.ANSWER_REFUSED
    assert inbound.frames() == [SMALL]
    inbound.tick(patience.linger_s(0.01) + 0.1)
    assert inbound.down() == "flooded"
    assert inbound.dropped() == {"frames_not_permitted": 1}


def test_offers_turned_away_count_as_well(inbound: Bench) -> None:
    inbound.host.permitted = frozenset()
    inbound.link.identified(PEER)
    assert inbound.host.budget.reserve(32 * 1024 * 1024)
    for _ in range(FIRST_CONTACT_REQUESTS_MAX + 1):
        assert not inbound.link.accepts(claim(500))
    inbound.tick(patience.linger_s(0.01) + 0.1)
    assert inbound.down() == "flooded"


def test_a_peer_may_repeat_itself(inbound: Bench) -> None:
    inbound.link.identified(PEER)
    for _ in range(10 * FIRST_CONTACT_REQUESTS_MAX):
        assert inbound.link.take_request(0, SMALL) == carriers.ANSWER_QUEUED
    assert inbound.down() is None


def test_a_stranger_goes_after_its_time_whatever_it_says(inbound: Bench) -> None:
    inbound.host.permitted = frozenset()
    inbound.link.identified(PEER)
    step_s = patience.first_contact_s(0.01) / 10
    for sequence in range(9):
        inbound.tick(step_s)
        inbound.link.take_request(sequence % 8, SMALL)
    assert inbound.down() is None
    inbound.tick(step_s + 0.1)
    assert inbound.down() == "overstayed"
    assert inbound.dropped() == {"overstayed": 1}


def test_a_peer_stays(inbound: Bench) -> None:
    inbound.link.identified(PEER)
    inbound.tick(1e6)
    assert inbound.down() is None


def test_a_link_we_dialled_stays_though_its_end_is_no_peer(bench: Bench) -> None:
    bench.host.permitted = frozenset()
    bench.tick(1e6)
    assert bench.down() is None


def test_a_made_up_round_trip_buys_little_time(inbound: Bench) -> None:
    inbound.rns.rtt = 1e9
    inbound.tick(patience.identify_s(patience.RTT_TCP_MAX_S) + 0.1)
    assert inbound.down() == "unidentified"


def test_one_link_does_not_take_all_room_for_large_frames(bench: Bench) -> None:
    segments = -(-FRAME_BYTES_MAX // seam.SEGMENT_BYTES_MAX)
    claims = [
        claim(FRAME_BYTES_MAX, t=1, l=segments, h=bytes([n]) * 32, o=bytes([n]) * 32)
        for n in range(4)
    ]
    assert [bench.link.accepts(each) for each in claims] == [True, False, False, False]
    assert bench.host.budget.used_bytes == FRAME_BYTES_MAX
    assert bench.dropped() == {"reassembly_full": 3}
    assert bench.down() is None


def test_a_resource_arrives_and_the_frame_after_it_waits(bench: Bench) -> None:
    assert bench.link.accepts(claim(len(LARGE)))
    bench.link.resource_started(FakeResource())
    assert bench.link.take_request(0, SMALL) == carriers.ANSWER_QUEUED
    assert bench.frames() == []
    bench.link.resource_concluded(brings(LARGE))
    assert bench.frames() == [LARGE, SMALL]
    bench.host.take_all()
    assert bench.host.budget.used_bytes == 0


def test_a_received_resource_whose_state_was_set_back_is_a_frame(bench: Bench) -> None:
    assert bench.link.accepts(claim(len(LARGE)))
    bench.link.resource_concluded(brings(LARGE, TRANSFERRING))
    assert bench.frames() == [LARGE]
    bench.link.resource_concluded(FakeResource(FAILED))
    assert bench.down() is None


def test_a_received_resource_that_failed_ends_the_link(bench: Bench) -> None:
    assert bench.link.accepts(claim(len(LARGE)))
    bench.link.resource_concluded(FakeResource(FAILED))
    assert bench.down() == "stalled"
    assert bench.host.budget.used_bytes == 0


def test_a_received_resource_of_another_size_ends_the_link(bench: Bench) -> None:
    assert bench.link.accepts(claim(len(LARGE)))
    bench.link.resource_concluded(brings(LARGE + b"!"))
    assert (bench.down(), bench.frames()) == ("flooded", [])
    assert bench.dropped() == {"frame_unreadable": 1}


def test_a_resource_that_stops_moving_ends_the_link(bench: Bench) -> None:
    assert bench.link.accepts(claim(len(LARGE)))
    resource = FakeResource()
    bench.link.resource_started(resource)
    assert resource.moved is not None
    for _ in range(5):
        bench.tick(patience.STALL_S - 1)
        resource.moved(resource)
    assert bench.down() is None
    bench.tick(patience.stall_s(0.01) + 0.1)
    assert bench.down() == "stalled"


def test_an_accepted_resource_may_unpack_to_what_it_claimed(bench: Bench) -> None:
    assert bench.link.accepts(claim(5_000))
    resource = FakeResource()
    bench.link.resource_started(resource)
    assert (resource.max_decompressed_size, resource.cancelled) == (5_001, False)


@pytest.mark.parametrize(
    "resource", [FakeResource(original_hash=b"?" * 32), FakeResource(request_id=b"r" * 16)]
)
def test_a_resource_nobody_agreed_to_is_stopped(bench: Bench, resource: FakeResource) -> None:
    assert bench.link.accepts(claim(5_000))
    bench.link.resource_started(resource)
    assert resource.cancelled
    assert bench.dropped() == {"frame_not_permitted": 1}


def test_a_resource_that_was_stopped_and_is_offered_again_counts_once(bench: Bench) -> None:
    for _ in range(5):  # as often as Reticulum offers what it thinks unheard
        bench.link.resource_started(resource := FakeResource(request_id=b"r" * 16))
        assert resource.cancelled
    for other in (b"2" * 32, ["no", "hash"]):
        bench.link.resource_started(FakeResource(request_id=b"r" * 16, hash=other))  # type: ignore[arg-type]
    assert bench.dropped() == {"frame_not_permitted": 3}
    assert bench.down() is None


def test_a_resource_that_is_stopped_too_often_closes_the_link(bench: Bench) -> None:
    for _ in range(MISBEHAVIOUR_MAX + 1):
        bench.link.resource_started(FakeResource(request_id=b"r" * 16))
    assert bench.down() == "flooded"
    assert bench.dropped() == {"frame_not_permitted": 1}


def test_an_offer_repeated_while_it_arrives_is_the_same_one(bench: Bench) -> None:
    assert bench.link.accepts(claim(5_000))
    bench.wire.receiving = True
    assert bench.link.accepts(claim(5_000))
    assert bench.host.budget.used_bytes == 5_000
    bench.wire.receiving = False
    assert not bench.link.accepts(claim(5_000)), "it is not arriving: its file would grow twice"


def test_a_refused_offer_closes_the_link_after_a_moment(inbound: Bench) -> None:
    inbound.host.permitted = frozenset()
    inbound.link.identified(PEER)
    assert not inbound.link.accepts(claim(FIRST_CONTACT_FRAME_BYTES_MAX + 1))
    assert inbound.link.take_request(0, SMALL) is None
    inbound.tick()
    assert inbound.down() is None
    inbound.tick(patience.linger_s(0.01) + 0.1)
    assert inbound.down() == "flooded"
    assert inbound.dropped() == {"frame_not_permitted": 1}


def test_a_budget_used_up_elsewhere_is_busy_here(bench: Bench) -> None:
    assert bench.host.budget.reserve(32 * 1024 * 1024)
    assert bench.link.take_request(0, SMALL) == carriers.ANSWER_BUSY
    assert not bench.link.accepts(claim(5_000))
    assert bench.dropped() == {"inbound_busy": 1, "reassembly_full": 1}
    bench.host.budget.release(32 * 1024 * 1024)
    assert bench.link.take_request(0, SMALL) == carriers.ANSWER_QUEUED
    assert bench.down() is None


@pytest.mark.parametrize("body", [None, 5, "text", [b"x"]])
def test_a_body_that_is_no_bytes_is_not_answered(bench: Bench, body: object) -> None:
    assert bench.link.take_request(0, body) is None
    assert bench.dropped() == {"frame_unreadable": 1}


def test_who_keeps_misbehaving_is_closed(bench: Bench) -> None:
    for _ in range(MISBEHAVIOUR_MAX):
        bench.link.take_request(5, SMALL)
        assert bench.down() is None
    bench.link.accepts(claim(-1))
    assert bench.down() == "flooded"


@pytest.mark.parametrize(
    ("medium", "rtt", "kept"), [("tcp", 0.01, 5.0), ("radio", 0.8, None), ("unknown", 2.0, None)]
)
def test_the_rate_of_the_last_resource_is_forgotten_on_radio(
    wire: Wire, clock: Clock, medium: str, rtt: float, kept: float | None
) -> None:
    bench = make_bench(wire, clock, medium=medium)
    bench.rns.rtt = rtt
    assert bench.link.accepts(claim(len(LARGE)))
    bench.link.resource_concluded(brings(LARGE))
    assert bench.rns.last_resource_eifr == kept


@pytest.mark.parametrize(
    ("inbound", "reason", "expected"),
    [
        (False, seam.LINK_TIMEOUT, "timeout"),
        (False, seam.LINK_CLOSED_BY_DESTINATION, "peer_closed"),
        (True, seam.LINK_CLOSED_BY_INITIATOR, "peer_closed"),
        (True, seam.LINK_CLOSED_BY_DESTINATION, "flooded"),
        (False, seam.LINK_CLOSED_BY_INITIATOR, "flooded"),
    ],
)
def test_why_reticulum_closed_a_link(
    wire: Wire, clock: Clock, inbound: bool, reason: int, expected: str
) -> None:
    bench = make_bench(wire, clock, inbound=inbound)
    bench.link.closed(reason)
    assert bench.down() == expected


def test_who_asks_again_and_again_who_we_are_makes_one_job(wire: Wire, clock: Clock) -> None:
    radio = make_bench(wire, clock, medium="radio")
    carrier = radio.link.paced
    theirs = LinkSeal(b"k" * 64, is_initiator=False)
    for _ in range(50):
        carrier.packet(theirs.seal_packet(bytes((IDENTIFY,))))
    assert radio.host.jobs == [], "nothing is under way that it could not know whose it is"
    with radio.host.lock:
        carrier._paced.begin((SMALL,))
    for _ in range(50):
        carrier.packet(theirs.seal_packet(bytes((IDENTIFY,))))
    assert len(radio.host.jobs) <= 2, "to say who we are, and to send"
    radio.host.jobs.pop(0)()
    assert radio.owner.introduced == 1
    carrier.packet(theirs.seal_packet(bytes((IDENTIFY,))))
    radio.host.jobs.pop()()
    assert radio.owner.introduced == 2
