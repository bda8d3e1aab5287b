"""Paced packets between two ends, over a channel that loses what the test says."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.transport.paced import (
    ACK,
    ATTEMPTS_MAX,
    GAPS,
    IDENTIFY,
    PARTS_MAX,
    REFUSED,
    RESTARTS_MAX,
    Heard,
    Paced,
    Part,
    Speed,
    packed_bytes,
    read_part,
)

SPEED = Speed(window=8, ack_delay_s=0.5, wait_s=5.0, byte_s=0.003)
PART = 476
Lost = Callable[[], bool]


def never() -> bool:
    return False


class End:
    """One end: what it wants to send, what arrived, and every packet it made."""

    def __init__(self) -> None:
        self.paced = Paced()
        self.waiting: deque[bytes] = deque()
        self.got: list[bytes] = []
        self.packets: list[bytes] = []
        self.parts: list[bytes] = []
        self.has = True

    def start(self) -> None:
        if not self.paced.is_sending and self.waiting:
            frame = self.waiting.popleft()
            if packed_bytes((frame,)) <= 464:
                self.paced.begin((frame,))
            else:
                self.paced.begin_parts(frame, PART)


class Channel:
    """Both ends and the time between them. What is sent arrives at once, or never."""

    def __init__(self, lost: Lost = never) -> None:
        self.now_s = 0.0
        self.one, self.two = End(), End()
        self.lost = lost
        self.needless = 0
        self._there: Counter[bytes] = Counter()

    def run(self, until: Callable[[], bool], limit_s: float = 10_000.0) -> None:
        while not until():
            assert self.now_s < limit_s, "it never ends"
            if not self.settle():
                self.now_s += 0.25
            for end in (self.one, self.two):
                assert end.paced.tick(self.now_s), "it gave up"

    def settle(self) -> bool:
        moved = False
        for end, other in ((self.one, self.two), (self.two, self.one)):
            end.start()
            while (emission := end.paced.emit(self.now_s, SPEED)) is not None:
                moved = True
                if emission.packet:
                    end.packets.append(emission.packet)
                    if not self.lost():
                        self.hear(other, emission.packet)
                for part in emission.parts:
                    end.parts.append(part)
                    self.part(other, part)
        return moved

    def hear(self, end: End, packet: bytes) -> Heard:
        heard = end.paced.hear(packet, self.now_s)
        assert heard is not None
        for at, frame in enumerate(heard.frames):
            is_new = end.paced.is_new(heard.sequence + at)
            if is_new and end.has:
                end.got.append(frame)
                end.paced.took(self.now_s, SPEED)
            elif is_new is False:
                end.paced.had(self.now_s)
        return heard

    def part(self, end: End, raw: bytes) -> None:
        part = read_part(raw)
        assert part is not None
        key = bytes((part.sequence, part.index)) + part.body
        self.needless += self._there[key] > 0
        if self.lost():
            return
        self._there[key] += 1
        end.paced.acknowledged_by(part)
        is_new = end.paced.is_new(part.sequence)
        if is_new:
            sealed = end.paced.gather(part, self.now_s)
            if sealed is not None:
                end.got.append(sealed)
                end.paced.took(self.now_s, SPEED)
        elif part.asks:
            end.paced.had(self.now_s)


def frames(*sizes: int) -> list[bytes]:
    return [random.Random(size).randbytes(size) for size in sizes]


def test_question_and_answer_are_two_packets() -> None:
    channel = Channel()
    channel.one.waiting.append(b"question")
    channel.settle()
    channel.two.waiting.append(b"answer")
    channel.run(lambda: channel.one.got == [b"answer"] and not channel.one.paced.is_sending)
    assert (len(channel.one.packets), len(channel.two.packets)) == (1, 1)
    assert channel.two.packets[0][0] & ACK


def test_what_nobody_answers_is_acknowledged_a_little_later() -> None:
    channel = Channel()
    channel.one.waiting.append(b"news")
    channel.run(lambda: channel.two.got == [b"news"] and not channel.one.paced.is_sending)
    assert channel.now_s >= SPEED.ack_delay_s
    assert len(channel.two.packets) == 1
    assert len(channel.two.packets[0]) == 2


def test_eight_parts_cost_one_acknowledgement() -> None:
    channel = Channel()
    (frame,) = frames(3_480)
    channel.one.waiting.append(frame)
    channel.run(lambda: channel.two.got == [frame] and not channel.one.paced.is_sending)
    assert (len(channel.one.parts), len(channel.one.packets), len(channel.two.packets)) == (8, 0, 1)


def test_no_more_than_a_window_is_out_at_once() -> None:
    channel = Channel(lambda: True)
    channel.one.waiting.extend(frames(20_000))
    channel.settle()
    assert len(channel.one.parts) == SPEED.window
    assert read_part(channel.one.parts[-1]).asks  # type: ignore[union-attr]


def test_an_acknowledgement_travels_with_parts() -> None:
    channel = Channel()
    channel.one.waiting.append(b"question")
    channel.settle()
    (frame,) = frames(3_000)
    channel.two.waiting.append(frame)
    channel.run(lambda: channel.one.got == [frame] and not channel.one.paced.is_sending)
    assert channel.two.packets == []


@pytest.mark.parametrize("gone", [{0}, {3}, {7}, {0, 7}, {2, 5, 6}, set(range(8))])
def test_only_what_is_missing_goes_again(gone: set[int]) -> None:
    count = iter(range(1_000))
    channel = Channel(lambda: next(count) in gone)
    (frame,) = frames(8 * PART)
    channel.one.waiting.append(frame)
    channel.run(lambda: channel.two.got == [frame] and not channel.one.paced.is_sending)
    assert len(channel.one.parts) == 8 + len(gone)
    assert channel.needless == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([1, 100, 458, 459, 477, 3_480, 9_000]), min_size=1, max_size=6),
    st.lists(st.sampled_from([1, 150, 4_000]), max_size=4),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.25]),
)
def test_whatever_is_lost_all_arrives_once_and_in_order(
    ours: list[int], theirs: list[int], seed: int, loss: float
) -> None:
    rng = random.Random(seed)
    channel = Channel(lambda: rng.random() < loss)
    for end, sizes in ((channel.one, ours), (channel.two, theirs)):
        end.waiting.extend(frames(*sizes))
        end.paced.tick = lambda now, tick=end.paced.tick: tick(now) or True  # type: ignore[method-assign, misc]
    expected = frames(*ours), frames(*theirs)

    def over() -> bool:
        ends = (channel.one, channel.two)
        given_up = [each.paced._sending for each in ends if each.paced._sending is not None]
        if any(each.attempt >= ATTEMPTS_MAX and not each.due for each in given_up):
            return True
        idle = not any(each.waiting or each.paced.is_sending for each in ends)
        return idle and (channel.two.got, channel.one.got) == expected

    channel.run(over)
    for end, want in ((channel.two, expected[0]), (channel.one, expected[1])):
        assert end.got == want[: len(end.got)], "each once, in order"
    assert channel.needless == 0, "nothing that had arrived went again"


def test_silence_is_asked_about_five_times_and_then_given_up() -> None:
    channel = Channel(lambda: True)
    channel.one.waiting.append(b"x" * 5_000)
    while channel.one.paced.tick(channel.now_s):
        channel.settle()
        channel.now_s += 1.0
        assert channel.now_s < 1_000
    assert len(channel.one.parts) == SPEED.window, "parts go once, and are asked about"
    assert len(channel.one.packets) == ATTEMPTS_MAX - 1


def test_a_receiver_that_takes_nothing_is_given_up() -> None:
    channel = Channel()
    channel.two.has = False
    channel.one.waiting.append(b"no room")
    while channel.one.paced.tick(channel.now_s):
        channel.settle()
        channel.now_s += 1.0
        assert channel.now_s < 1_000
    assert len(channel.one.packets) == ATTEMPTS_MAX
    assert channel.two.got == []


def test_several_small_frames_travel_in_one_packet() -> None:
    channel = Channel()
    channel.one.paced.begin((b"one", b"two", b"three"))
    channel.run(lambda: not channel.one.paced.is_sending)
    assert channel.two.got == [b"one", b"two", b"three"]
    assert len(channel.one.packets) == 1
    channel.one.waiting.append(b"four")
    channel.run(lambda: channel.two.got[3:] == [b"four"])


def test_a_spoiled_frame_goes_again_as_a_whole() -> None:
    channel = Channel()
    (frame,) = frames(3 * PART)
    channel.one.paced.begin_parts(frame, PART)
    emission = channel.one.paced.emit(0.0, SPEED)
    assert emission is not None
    for raw in emission.parts:
        part = read_part(raw)
        assert part is not None
        sealed = channel.two.paced.gather(part, 0.0)
    assert sealed == frame
    channel.two.paced.spoiled(0.0)
    channel._there.clear()
    channel.run(lambda: channel.two.got == [frame] and not channel.one.paced.is_sending)


def test_who_does_not_know_us_asks_and_is_sent_it_again() -> None:
    one, two = Paced(), Paced()
    one.begin((b"hello",))
    first = one.emit(0.0, SPEED)
    two.ask_identity()
    two.refuse()
    asked = two.emit(0.0, SPEED)
    assert first is not None
    assert asked is not None
    assert asked.packet[0] == IDENTIFY | REFUSED
    heard = one.hear(asked.packet, 0.0)
    assert heard is not None
    assert (heard.wants_identity, heard.is_refused, heard.is_acknowledged) == (True, True, False)
    one.again()
    again = one.emit(0.0, SPEED)
    assert again is not None
    assert again.packet == first.packet


def state(missing: int, bits: int = 0) -> bytes:
    """What a receiver says it has of the frame with the number 0."""
    return bytes((ACK | GAPS, 0, missing)) + bits.to_bytes(2, "big")


@pytest.mark.parametrize(
    "has", [[state(1), state(0)], [state(0, 1), state(0)], [state(2), state(1)]]
)
def test_who_takes_back_what_it_has_does_not_make_us_send_for_ever(has: list[bytes]) -> None:
    paced = Paced()
    paced.begin_parts(bytes(40 * PART), PART)
    sent = 0
    for turn in range(1_000):
        while (emission := paced.emit(float(turn), SPEED)) is not None:
            sent += len(emission.parts)
        paced.hear(has[turn % 2], float(turn))
    assert sent <= (RESTARTS_MAX + 2) * (ATTEMPTS_MAX + 1) * SPEED.window
    assert not paced.tick(1e9), "and it is given up"


def test_who_asks_for_ever_who_we_are_is_sent_it_a_few_times() -> None:
    paced = Paced()
    paced.begin_parts(bytes(8 * PART), PART)
    sent = 0
    for turn in range(1_000):
        while (emission := paced.emit(float(turn), SPEED)) is not None:
            sent += len(emission.parts)
        paced.again()
    assert sent == ATTEMPTS_MAX * SPEED.window
    assert not paced.may_go_again


def test_numbers_are_read_around_their_end() -> None:
    paced = Paced()
    for _ in range(300):
        paced.took(0.0, SPEED)
    assert paced.is_new(300 % 256) is True
    assert paced.is_new((300 - 1) % 256) is False
    assert paced.is_new((300 - 128) % 256) is False
    assert paced.is_new((300 + 5) % 256) is None


@given(st.binary(max_size=500))
def test_no_packet_breaks_it(content: bytes) -> None:
    paced = Paced()
    paced.begin_parts(bytes(5_000), PART)
    paced.emit(0.0, SPEED)
    heard = paced.hear(content, 1.0)
    if heard is not None:
        assert all(heard.frames)
    emitted = 0
    while paced.emit(2.0, SPEED) is not None:
        emitted += 1
        assert emitted < 5


@given(st.binary(max_size=500))
def test_a_part_is_read_or_is_none(content: bytes) -> None:
    part = read_part(content)
    if part is not None:
        assert isinstance(part, Part)
        assert part.index < part.count <= PARTS_MAX
        assert part.body
        assert Paced().gather(part, 0.0) is None or part.count == 1
