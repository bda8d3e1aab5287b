"""The paced carrier without Reticulum: packets that the test carries, loses and forges."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciris_mesh.transport import carriers
from ciris_mesh.transport import rns_seam as seam
from ciris_mesh.transport.admittance import MISBEHAVIOUR_MAX
from ciris_mesh.transport.base import Address, FrameReceived, LinkDown, LinkId
from ciris_mesh.transport.paced import ACK, ASK, ATTEMPTS_MAX
from ciris_mesh.transport.rns_link import MeshLink
from ciris_mesh.transport.sealing import LinkSeal
from support.fake_rns import Clock, FakeHost, FakeLink

ALICE, BOB = Address(b"a" * 16), Address(b"b" * 16)
LINK_KEY = bytes(range(64))
Lost = Callable[[], bool]


class Owner:
    """`rns_link.LinkOwner`."""

    def __init__(self) -> None:
        self.introduced = 0

    def link_gone(self, link: MeshLink, reason: object) -> None:
        """Nobody asks."""

    def link_identified(self, link: MeshLink) -> None:
        """Nobody asks."""

    def identify(self, link: MeshLink) -> None:
        self.introduced += 1


class End:
    """One end of a link by radio."""

    def __init__(self, *, initiator: bool, is_known: bool = True) -> None:
        self.host, self.owner = FakeHost(), Owner()
        self.host.permitted = frozenset((ALICE, BOB))
        self.rns = FakeLink(initiator=initiator, rtt=0.8)
        self.rns.derived_key = LINK_KEY
        address = BOB if initiator else None
        self.link = MeshLink(self.host, LinkId(1), self.rns, address=address, owner=self.owner)
        with self.host.lock:
            self.link.bring_up("radio", "r")
        if not initiator and is_known:
            self.link.identified(ALICE)
        self.seal = LinkSeal(LINK_KEY, is_initiator=initiator)  # what a hostile end would use

    def send(self, frame: bytes) -> None:
        with self.host.lock:
            self.link.send(frame)

    @property
    def got(self) -> list[bytes]:
        return [each.frame for each in self.host.reported if isinstance(each, FrameReceived)]

    @property
    def down(self) -> list[str]:
        return [str(each.reason) for each in self.host.reported if isinstance(each, LinkDown)]

    @property
    def dropped(self) -> dict[str, int]:
        with self.host.lock:
            return {str(name): count for name, count in self.host.dropped().items()}


class Air:
    """Both ends, and what was sent: (sender, is a part, bytes)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.one, self.two = End(initiator=True), End(initiator=False)
        self.sent: list[tuple[End, bool, bytes]] = []
        self.lost: Lost = lambda: False
        self.set_ups = 0
        self._carried = 0

    def on_air(self, link: object, data: bytes, *, is_part: bool) -> bool:
        sender = self.one if link is self.one.rns else self.two
        self.sent.append((sender, is_part, data))
        return True

    def carry(self) -> bool:
        """Let all that is due be sent, and arrive; whether there was anything."""
        before = self._carried
        for end in (self.one, self.two):
            end.host.run()
            end.host.take_all()
        while self._carried < len(self.sent):
            sender, is_part, data = self.sent[self._carried]
            self._carried += 1
            if not self.lost():
                hear(self.two if sender is self.one else self.one, data, is_part=is_part)
        return self._carried > before

    def run(self, until: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if until():
                return
            if not self.carry():
                self.clock.now += 0.5
                for end in (self.one, self.two):
                    with end.host.lock:
                        end.link.tick(self.clock.now)
        raise AssertionError(f"it never ends: {self.one.down} {self.two.down} {self.two.dropped}")


def hear(end: End, data: bytes, *, is_part: bool) -> None:
    (end.link.paced.part if is_part else end.link.paced.packet)(data)


@pytest.fixture
def air(monkeypatch: pytest.MonkeyPatch) -> Air:
    clock = Clock()
    fake = SimpleNamespace(monotonic=clock.monotonic)
    for module in ("rns_link", "rns_paced"):
        monkeypatch.setattr(f"ciris_mesh.transport.{module}.time", fake)
    made = Air(clock)

    def set_up(_link: object) -> None:
        made.set_ups += 1

    monkeypatch.setattr(seam, "send_packet", lambda link, x: made.on_air(link, x, is_part=False))
    monkeypatch.setattr(seam, "send_part", lambda link, x: made.on_air(link, x, is_part=True))
    monkeypatch.setattr(seam, "repeat_set_up", set_up)
    return made


def frames(*sizes: int) -> list[bytes]:
    return [random.Random(size).randbytes(size) for size in sizes]


SIZES = (1, 400, 458, 459, 3_480, 20_000)


def test_frames_of_every_size_arrive_in_order_and_once(air: Air) -> None:
    ours, theirs = frames(*SIZES), frames(*reversed(SIZES))
    for mine, yours in zip(ours, theirs, strict=True):
        air.one.send(mine)
        air.two.send(yours)
    air.run(lambda: air.two.got == ours and air.one.got == theirs)
    assert air.one.dropped == air.two.dropped == {}
    assert air.set_ups == air.one.owner.introduced == 0
    head = carriers.PACKET_HEAD_BYTES
    assert max(len(data) + head for _, _, data in air.sent) == carriers.PACKET_BYTES_MAX


@pytest.mark.parametrize("seed", range(8))
def test_a_fifth_of_all_packets_lost_costs_time_and_no_frame(air: Air, seed: int) -> None:
    rng = random.Random(seed)
    air.lost = lambda: rng.random() < 0.2
    ours = frames(*SIZES)
    for frame in ours:
        air.one.send(frame)
    air.run(lambda: air.two.got == ours or bool(air.one.down))
    assert air.two.got == ours[: len(air.two.got)], "in order, each once"
    assert air.two.got == ours or air.one.down == ["stalled"]
    assert air.two.dropped == {}


def test_what_was_heard_before_is_heard_as_nothing(air: Air) -> None:
    """A stranger sends everything again, to both ends, in order and backwards."""
    ours = frames(10, 3_480, 200)
    for frame in ours:
        air.one.send(frame)
    air.two.send(b"theirs")
    air.run(lambda: air.two.got == ours and air.one.got == [b"theirs"])
    before = list(air.sent)
    packets = sum(not is_part for _, is_part, _ in before)
    for _, is_part, data in (*before, *reversed(before)):
        for end in (air.one, air.two):
            hear(end, data, is_part=is_part)
    air.carry()
    assert (air.two.got, air.one.got) == (ours, [b"theirs"])
    unproven = air.one.dropped["packet_unproven"] + air.two.dropped["packet_unproven"]
    assert unproven >= 4 * packets
    assert not air.one.down + air.two.down
    air.one.send(b"and on it goes")
    air.run(lambda: air.two.got == [*ours, b"and on it goes"])


def test_what_no_end_made_is_counted_and_does_no_harm(air: Air) -> None:
    stranger = LinkSeal(bytes(64), is_initiator=True)
    for data in (b"", b"\x00", b"\xff" * 40, stranger.seal_packet(b"\x01\x00frame")):
        hear(air.two, data, is_part=False)
    assert air.two.dropped == {"packet_unproven": 4}
    forged = [stranger.tag(0, bytes((0, 0x80, 1)) + bytes((n,)) * 30) for n in range(200)]
    for data in (b"", b"\x00", *forged):
        hear(air.two, data, is_part=True)
    believed = 206 - air.two.dropped["packet_unproven"]
    assert believed < 6, "1 in 256"
    assert air.two.got == []
    air.one.send(b"frame")
    air.run(lambda: air.two.got == [b"frame"])


def test_parts_that_are_no_frame_all_go_again_and_a_peer_that_goes_on_is_cut_off(air: Air) -> None:
    """With the tags only the other end can make."""
    for n in range(MISBEHAVIOUR_MAX + 1):
        body = bytes((n,)) * 40
        for index in range(2):
            hear(air.two, air.one.seal.tag(0, bytes((0, index, 2)) + body), is_part=True)
        air.two.host.run()
        assert air.two.got == []
    assert air.two.down == ["flooded"]


@pytest.mark.parametrize(
    "content",
    [b"", bytes((ACK,)), bytes((ASK,)), b"\x01", b"\x01\x00", b"\x02\x00\x00\x09x", b"\x01\x40far"],
)
def test_words_that_make_no_sense_cut_a_peer_off_after_a_while(air: Air, content: bytes) -> None:
    for _ in range(MISBEHAVIOUR_MAX + 1):
        assert not air.two.down
        hear(air.two, air.one.seal.seal_packet(content), is_part=False)
    assert air.two.down == ["flooded"]


def test_a_frame_nobody_may_send_is_refused_before_its_parts_come(air: Air) -> None:
    air.two.host.permitted = frozenset()
    air.one.send(random.Random(0).randbytes(50_000))
    air.run(lambda: bool(air.one.down))
    assert air.one.down == ["refused"]
    assert air.two.dropped["frame_not_permitted"] == 1
    assert sum(is_part for _, is_part, _ in air.sent) <= 8, "one window"


def test_where_nobody_ever_answers_the_set_up_goes_again_and_then_it_is_over(air: Air) -> None:
    air.lost = lambda: True
    air.one.send(b"hello")
    air.run(lambda: bool(air.one.down))
    assert air.one.down == ["stalled"]
    assert air.set_ups == air.one.owner.introduced == 4, "with every repeat of the first packet"
    assert air.one.dropped == {"set_up_repeated": 4}


@pytest.mark.parametrize("size_bytes", [10, 5_000])
def test_who_never_learns_whose_a_frame_is_does_not_ask_for_ever(air: Air, size_bytes: int) -> None:
    """Each question costs the dialler its identity and the frame again."""
    air.two = End(initiator=False, is_known=False)
    air.one.send(random.Random(2).randbytes(size_bytes))
    air.run(lambda: bool(air.one.down))
    assert air.one.down == ["stalled"]
    assert 0 < air.one.owner.introduced <= ATTEMPTS_MAX
    assert air.two.got == []


def test_an_identity_that_comes_late_is_enough(air: Air) -> None:
    air.two = End(initiator=False, is_known=False)
    air.one.send(b"hello")
    air.run(lambda: air.one.owner.introduced > 0)
    air.two.link.identified(ALICE)
    air.run(lambda: air.two.got == [b"hello"])
    assert air.two.dropped["link_not_ready"] <= 2


@pytest.mark.parametrize("size_bytes", [10, 5_000])
def test_a_link_that_closes_is_no_error(air: Air, size_bytes: int) -> None:
    """Reticulum forgets a link's key a moment before it says that the link is closed."""
    air.one.rns.derived_key = None
    air.one.send(bytes(size_bytes))
    air.carry()
    hear(air.one, b"late" * 10, is_part=False)
    assert (air.sent, air.one.down) == ([], [])
    assert air.one.dropped == {"packet_unproven": 1}
    air.one.link.closed(seam.LINK_CLOSED_BY_DESTINATION)
    assert air.one.down == ["peer_closed"]


def test_no_number_seals_two_packets(air: Air) -> None:
    """Repeats are sealed anew: a nonce that comes twice would give the key stream away."""
    rng = random.Random(3)
    air.lost = lambda: rng.random() < 0.3
    for end, sizes in ((air.one, (5, 3_480, 60)), (air.two, (40, 900))):
        for frame in frames(*sizes):
            end.send(frame)
    air.run(lambda: (len(air.two.got), len(air.one.got)) == (3, 2) or bool(air.one.down))
    for end in (air.one, air.two):
        numbers = [data[0] for sender, is_part, data in air.sent if sender is end and not is_part]
        assert numbers == list(range(len(numbers)))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.binary(max_size=60)), max_size=20))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_a_peer_says_nothing_breaks(
    air: Air, said: list[tuple[bool, bool, bytes]]
) -> None:
    """Sealed and tagged as its own, or just thrown."""
    number = 0
    for is_part, is_sealed, content in said:
        seal = air.one.seal
        if is_part:
            data = seal.tag(number, content) if is_sealed else content
        else:
            data = seal.seal_packet(content) if is_sealed else content
        hear(air.two, data, is_part=is_part)
        air.two.host.run()
        air.two.host.take_all()
