"""The shared channel: each law by itself, then all of them over random histories."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.ether import (
    DETECT_SYMBOLS,
    Access,
    EtherEvent,
    Heard,
    Medium,
    Outcome,
    Sensed,
    Sent,
    Won,
)
from ciris_mesh.radio.topology import Reach, full, line, parse, star

SF8 = LoraSettings(868_100_000, 125_000, 8, 5)
SF9 = LoraSettings(868_100_000, 125_000, 9, 5)
ELSEWHERE = LoraSettings(868_300_000, 125_000, 8, 5)
NEXT_DOOR = LoraSettings(868_200_000, 125_000, 8, 5)  # bands overlap, frequencies differ
#: No slots: whoever wants the channel has it after DIFS.
AT_ONCE = Access(SF8.difs_s, SF8.slot_s, 0, 0)
FRAME = bytes(100)
FRAME_S = SF8.frame_s(len(FRAME))


def medium(reach: Reach, *, loss: float = 0.0, seed: int = 1) -> Medium:
    channel = Medium(reach, random.Random(seed), loss)
    for station in range(reach.nodes):
        channel.tune(station, SF8, 0.0)
    return channel


def events(channel: Medium, until_s: float = 1000.0) -> list[EtherEvent]:
    found = []
    while (event := channel.advance(until_s)) is not None:
        found.append(event)
    return found


def outcomes(channel: Medium, station: int) -> dict[Outcome, int]:
    return {key: count for key, count in channel.tallies[station].received.items() if count}


def test_a_frame_arrives_after_its_time_on_air() -> None:
    channel = medium(parse("0 1 -90", 2))
    channel.transmit(0, [FRAME], 10.0)
    sent, heard, sensed = events(channel)
    assert isinstance(sent, Sent)
    assert (sent.station, sent.frame, sent.last, sent.cut) == (0, FRAME, True, False)
    assert (sent.airtime_s, sent.at_s) == pytest.approx((FRAME_S, 10 + FRAME_S))
    assert isinstance(heard, Heard)
    assert (heard.station, heard.source, heard.frame) == (1, 0, FRAME)
    assert (heard.rssi_dbm, heard.snr_db) == (-90.0, 12.0)
    assert heard.at_s == sent.at_s
    assert sensed == Sensed(1, 10.0, sent.at_s)
    tally = channel.tallies[0]
    assert (tally.frames_sent, tally.bytes_sent) == (1, 100)
    assert tally.airtime_s == pytest.approx(FRAME_S)
    assert channel.tallies[1].bytes_received == 100


def test_snr_is_what_the_signal_is_above_the_noise() -> None:
    channel = medium(parse("0 1 -120", 2))
    channel.transmit(0, [FRAME], 0.0)
    assert [each.snr_db for each in events(channel) if isinstance(each, Heard)] == [-3.0]


def test_a_burst_is_one_frame_after_the_other() -> None:
    channel = medium(full(2))
    channel.transmit(0, [b"a" * 100, b"b" * 100, b"c" * 100], 0.0)
    sent = [each for each in events(channel) if isinstance(each, Sent)]
    assert [each.at_s for each in sent] == pytest.approx([FRAME_S, 2 * FRAME_S, 3 * FRAME_S])
    assert [each.last for each in sent] == [False, False, True]


def test_who_sends_hears_nothing() -> None:
    channel = medium(full(2))
    channel.transmit(0, [FRAME], 0.0)
    channel.transmit(1, [FRAME], FRAME_S - 0.001)
    assert not [each for each in events(channel) if isinstance(each, Heard)]
    assert outcomes(channel, 0) == outcomes(channel, 1) == {Outcome.DEAF: 1}


def test_one_after_the_other_is_no_overlap() -> None:
    channel = medium(full(3))
    channel.transmit(0, [FRAME], 0.0)
    first = channel.advance(FRAME_S + 0.001)
    assert isinstance(first, Sent)
    channel.transmit(1, [FRAME], first.at_s)
    events(channel)
    assert outcomes(channel, 2) == {Outcome.DELIVERED: 2}
    assert outcomes(channel, 0) == outcomes(channel, 1) == {Outcome.DELIVERED: 1}


def test_overlapping_frames_destroy_each_other() -> None:
    channel = medium(full(3))
    channel.transmit(0, [FRAME], 0.0)
    channel.transmit(1, [FRAME], FRAME_S / 2)
    events(channel)
    assert outcomes(channel, 2) == {Outcome.COLLIDED: 2}


@pytest.mark.parametrize(("weaker_dbm", "survives"), [(-86.1, True), (-85.9, False)])
def test_a_frame_six_db_stronger_survives(weaker_dbm: float, *, survives: bool) -> None:
    channel = medium(parse(f"0 2 -80\n1 2 {weaker_dbm}", 3))
    channel.transmit(1, [FRAME], 0.0)
    channel.transmit(0, [FRAME], 0.01)
    heard = [each.source for each in events(channel) if isinstance(each, Heard)]
    assert heard == ([0] if survives else [])
    lost = 1 if survives else 2
    assert outcomes(channel, 2)[Outcome.COLLIDED] == lost


def test_two_weak_frames_do_not_add_up() -> None:
    """Each interferer is compared by itself."""
    channel = medium(parse("0 3 -80\n1 3 -87\n2 3 -87", 4))
    for station in (0, 1, 2):
        channel.transmit(station, [FRAME], 0.0)
    assert [each.source for each in events(channel) if isinstance(each, Heard)] == [0]


def test_hidden_stations_collide_where_both_are_heard() -> None:
    channel = medium(star(3))
    channel.request(1, AT_ONCE, 0.0)
    channel.request(2, AT_ONCE, 0.01)
    while (event := channel.advance(10.0)) is not None:
        if isinstance(event, Won):
            channel.transmit(event.station, [FRAME], event.at_s)
    assert outcomes(channel, 0) == {Outcome.COLLIDED: 2}
    assert outcomes(channel, 1) == outcomes(channel, 2) == {Outcome.OUT_OF_REACH: 1}


def test_out_of_reach_is_counted() -> None:
    channel = medium(line(3))
    channel.transmit(0, [FRAME], 0.0)
    events(channel)
    assert outcomes(channel, 1) == {Outcome.DELIVERED: 1}
    assert outcomes(channel, 2) == {Outcome.OUT_OF_REACH: 1}


@pytest.mark.parametrize("other", [SF9, ELSEWHERE, NEXT_DOOR])
def test_other_settings_are_not_decoded(other: LoraSettings) -> None:
    channel = medium(full(2))
    channel.tune(1, other, 0.0)
    channel.transmit(0, [FRAME], 0.0)
    events(channel)
    assert outcomes(channel, 1) == {Outcome.MISTUNED: 1}


def test_the_coding_rate_need_not_be_shared() -> None:
    channel = medium(full(2))
    channel.tune(1, LoraSettings(868_100_000, 125_000, 8, 8), 0.0)
    channel.transmit(0, [FRAME], 0.0)
    events(channel)
    assert outcomes(channel, 1) == {Outcome.DELIVERED: 1}


@pytest.mark.parametrize(
    ("other", "waits"), [(SF8, True), (SF9, True), (NEXT_DOOR, True), (ELSEWHERE, False)]
)
def test_energy_in_the_band_keeps_a_station_waiting(other: LoraSettings, *, waits: bool) -> None:
    channel = medium(full(2))
    channel.tune(0, other, 0.0)
    channel.transmit(0, [bytes(255)], 0.0)
    noticed_s = (DETECT_SYMBOLS + 1) * other.symbol_s
    channel.advance(noticed_s)
    channel.request(1, AT_ONCE, noticed_s)
    won = next(each for each in events(channel) if isinstance(each, Won))
    begin_s = other.frame_s(255) if waits else noticed_s
    assert won.at_s == pytest.approx(begin_s + SF8.difs_s)


def test_a_frame_is_not_noticed_at_once() -> None:
    """Two that start within the same five symbols collide though they hear each other."""
    channel = medium(full(3))
    channel.request(0, AT_ONCE, 0.0)
    channel.request(1, AT_ONCE, 4 * SF8.symbol_s)
    channel.request(2, AT_ONCE, 6 * SF8.symbol_s)
    winners = []
    while (event := channel.advance(10.0)) is not None:
        if isinstance(event, Won):
            winners.append((event.station, event.at_s))
            channel.transmit(event.station, [FRAME], event.at_s)
    assert [station for station, _ in winners] == [0, 1, 2]
    assert winners[2][1] >= SF8.difs_s + FRAME_S  # this one noticed, and waited
    assert outcomes(channel, 2) == {Outcome.COLLIDED: 2}


def test_slots_are_kept_while_the_channel_is_taken() -> None:
    """Ten slots: three pass before another sends, seven after it and a new DIFS."""
    channel = medium(full(2))
    channel.request(0, Access(SF8.difs_s, SF8.slot_s, 10, 10), 0.0)
    begin_s = SF8.difs_s + 3 * SF8.slot_s - DETECT_SYMBOLS * SF8.symbol_s
    assert channel.advance(begin_s) is None
    channel.transmit(1, [FRAME], begin_s)
    won = next(each for each in events(channel) if isinstance(each, Won))
    assert won.at_s == pytest.approx(begin_s + FRAME_S + SF8.difs_s + 7 * SF8.slot_s)


def test_a_pause_before_difs_is_over_costs_no_slots() -> None:
    channel = medium(full(2))
    channel.request(0, Access(SF8.difs_s, SF8.slot_s, 5, 5), 0.0)
    channel.transmit(1, [FRAME], 0.0)
    won = next(each for each in events(channel) if isinstance(each, Won))
    assert won.at_s == pytest.approx(FRAME_S + SF8.difs_s + 5 * SF8.slot_s)


def test_slots_are_drawn_from_the_whole_window() -> None:
    drawn = Counter(slots_of(Access(SF8.difs_s, SF8.slot_s, 15, 29), seed) for seed in range(600))
    assert set(drawn) == set(range(15, 30))


def slots_of(access: Access, seed: int) -> int:
    channel = medium(full(1), seed=seed)
    channel.request(0, access, 0.0)
    (won,) = events(channel)
    assert isinstance(won, Won)
    return round((won.at_s - access.difs_s) / access.slot_s)


def test_asking_twice_changes_nothing_and_withdrawing_ends_it() -> None:
    channel = medium(full(2))
    channel.request(0, AT_ONCE, 0.0)
    channel.request(0, AT_ONCE, 0.02)
    assert channel.is_busy(0)
    assert [each.at_s for each in events(channel) if isinstance(each, Won)] == [SF8.difs_s]
    channel.request(0, AT_ONCE, 1.0)
    channel.withdraw(0)
    assert events(channel) == []
    assert not channel.is_busy(0)


def test_a_station_that_is_off_neither_asks_nor_hears() -> None:
    channel = medium(full(2))
    channel.tune(1, None, 0.0)
    channel.request(1, AT_ONCE, 0.0)
    channel.transmit(0, [FRAME], 0.0)
    assert [type(each) for each in events(channel)] == [Sent]
    assert outcomes(channel, 1) == {Outcome.OFF: 1}


def test_who_comes_too_late_misses_the_frame_but_waits_for_its_end() -> None:
    channel = medium(full(2))
    channel.tune(1, None, 0.0)
    channel.transmit(0, [FRAME], 0.0)
    assert channel.advance(0.05) is None
    channel.tune(1, SF8, 0.05)
    channel.request(1, AT_ONCE, 0.05)
    _sent, sensed, won = events(channel)
    assert sensed == Sensed(1, 0.05, FRAME_S)
    assert isinstance(won, Won)
    assert won.at_s == pytest.approx(FRAME_S + SF8.difs_s)
    assert outcomes(channel, 1) == {Outcome.OFF: 1}


def test_going_off_cuts_the_burst() -> None:
    channel = medium(full(3))
    channel.transmit(0, [FRAME, FRAME], 0.0)
    assert channel.advance(0.1) is None
    channel.tune(0, None, 0.1)
    sent, *sensed = events(channel)
    assert sent == Sent(0, FRAME, 0.1, 0.1, last=True, cut=True)
    assert {each.station for each in sensed} == {1, 2}
    assert outcomes(channel, 1) == outcomes(channel, 2) == {Outcome.CUT: 1}
    assert channel.tallies[0].airtime_s == pytest.approx(0.1)
    assert not channel.is_busy(0)
    channel.tune(0, SF8, 1.0)
    channel.transmit(0, [b"next"], 1.0)
    assert [each.frame for each in events(channel) if isinstance(each, Sent)] == [b"next"]


def test_a_frame_cut_off_still_spoiled_another() -> None:
    channel = medium(full(3))
    channel.transmit(0, [FRAME], 0.0)
    channel.advance(0.1)
    channel.transmit(1, [FRAME], 0.1)
    channel.advance(0.15)
    channel.tune(0, None, 0.15)
    events(channel)
    assert outcomes(channel, 2) == {Outcome.CUT: 1, Outcome.COLLIDED: 1}


def test_losses_come_as_often_as_asked_for() -> None:
    channel = medium(full(11), loss=0.1)
    for number in range(200):
        channel.transmit(0, [FRAME], number * 1.0)
        events(channel, number + 0.9)
    total: Counter[Outcome] = sum((each.received for each in channel.tallies), Counter())
    assert total.total() == 2000
    assert 140 <= total[Outcome.LOST] <= 260
    assert set(total) == {Outcome.LOST, Outcome.DELIVERED}


def test_frames_are_lost_by_choice_at_every_receiver() -> None:
    channel = medium(full(3))
    asked: list[bytes] = []

    def second(frame: bytes) -> bool:
        asked.append(frame)
        return frame == b"second"

    channel.lose(second)
    channel.transmit(0, [b"first", b"second", b"third"], 0.0)
    heard = [each.frame for each in events(channel) if isinstance(each, Heard)]
    assert heard == [b"first"] * 2 + [b"third"] * 2
    assert asked == [each for each in (b"first", b"second", b"third") for _ in range(2)]
    assert outcomes(channel, 1) == {Outcome.DELIVERED: 2, Outcome.LOST: 1}
    channel.lose(None)
    channel.transmit(0, [b"second"], 100.0)
    assert len([each for each in events(channel) if isinstance(each, Heard)]) == 2


@pytest.mark.parametrize("loss", [-0.1, 1.1])
def test_loss_is_a_probability(loss: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        Medium(full(2), random.Random(1), loss)


def test_nothing_to_do_is_infinitely_far() -> None:
    channel = medium(full(2))
    assert channel.next_s == float("inf")
    channel.transmit(0, [FRAME], 0.0)
    assert channel.next_s <= FRAME_S
    assert channel.advance(1.0) is not None
    assert channel.next_s <= FRAME_S  # more to tell of the same moment
    events(channel)
    assert channel.next_s == float("inf")


# -- random histories -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """At `at_s` a station wants to send, or is switched."""

    at_s: float
    station: int
    frames: tuple[int, ...]  # sizes; empty: switch it off, or on with `sf`
    sf: int | None


@dataclass(frozen=True)
class History:
    nodes: int
    reach: Reach
    wishes: tuple[Wish, ...]
    loss: float
    seed: int


@st.composite
def histories(draw: st.DrawFn) -> History:
    nodes = draw(st.integers(2, 5))
    numbers = st.integers(0, nodes - 1)
    pairs = st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1])
    signals = draw(st.dictionaries(pairs, st.sampled_from([-70.0, -74.0, -80.0])))
    sizes = st.lists(st.integers(1, 255), max_size=3).map(tuple)
    wish = st.builds(Wish, st.floats(0, 8), numbers, sizes, st.sampled_from([None, 8, 8, 8, 9]))
    wishes = draw(st.lists(wish, max_size=25).map(lambda all_: sorted(all_, key=lambda w: w.at_s)))
    loss = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return History(nodes, Reach(nodes, signals), tuple(wishes), loss, draw(st.integers(0, 99)))


def play(history: History) -> tuple[Medium, list[EtherEvent]]:
    channel = medium(history.reach, loss=history.loss, seed=history.seed)
    bursts: dict[int, list[tuple[int, ...]]] = {each: [] for each in range(history.nodes)}
    seen: list[EtherEvent] = []
    access = Access(SF8.difs_s, SF8.slot_s, 0, 14)

    def run(until_s: float) -> None:
        while (event := channel.advance(until_s)) is not None:
            seen.append(event)
            if isinstance(event, Won):
                sizes = bursts[event.station].pop(0)
                channel.transmit(event.station, [bytes(size) for size in sizes], event.at_s)
            elif isinstance(event, Sent) and event.last and bursts[event.station]:
                channel.request(event.station, access, event.at_s)

    for wish in history.wishes:
        run(wish.at_s)
        if wish.frames:
            bursts[wish.station].append(wish.frames)
            channel.request(wish.station, access, wish.at_s)
        else:
            settings = wish.sf and LoraSettings(868_100_000, 125_000, wish.sf, 5)
            channel.tune(wish.station, settings or None, wish.at_s)
    run(1e6)
    return channel, seen


@given(histories())
@hypothesis_settings(max_examples=150)
def test_every_frame_has_one_outcome_at_every_other_station(history: History) -> None:
    channel, seen = play(history)
    sent = [each for each in seen if isinstance(each, Sent)]
    assert sum(each.frames_sent for each in channel.tallies) == len(sent)
    for station, tally in enumerate(channel.tallies):
        from_others = sum(each.station != station for each in sent)
        assert tally.received.total() == from_others
        heard = sum(isinstance(each, Heard) and each.station == station for each in seen)
        assert tally.received[Outcome.DELIVERED] == heard


@given(histories())
@hypothesis_settings(max_examples=150)
def test_nobody_hears_or_sends_twice_while_sending(history: History) -> None:
    _, seen = play(history)
    for station in range(history.nodes):
        mine = [each for each in seen if isinstance(each, Sent) and each.station == station]
        spans = [(each.at_s - each.airtime_s, each.at_s) for each in mine]
        assert all(begin >= end - 1e-9 for (_, end), (begin, _) in pairwise(spans))
        for heard in seen:
            if isinstance(heard, Heard) and heard.station == station:
                begin_s = heard.at_s - SF8.frame_s(len(heard.frame))
                for begin, end in spans:  # SF8 is the shorter: its span is within the true one
                    assert end <= begin_s + 1e-9 or begin >= heard.at_s - 1e-9


@given(histories())
@hypothesis_settings(max_examples=50)
def test_time_goes_forward_and_a_seed_gives_the_same_history(history: History) -> None:
    channel, seen = play(history)
    times = [each.end_s if isinstance(each, Sensed) else each.at_s for each in seen]
    assert times == sorted(times)
    again, seen_again = play(history)
    assert seen_again == seen
    assert again.tallies == channel.tallies


@given(histories())
@hypothesis_settings(max_examples=100)
def test_nothing_is_left_when_the_channel_is_quiet(history: History) -> None:
    channel, _ = play(history)
    assert channel.next_s == float("inf")
    assert channel._recent == []
    assert not any(state.audible or state.waiting for state in channel._stations)
