"""What is told, when, and how often: seen from the notices alone."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.notify.alerts import (
    AGAIN_S,
    CLEAR_S,
    HOUR_MAX,
    LASTS_S,
    OPEN_MAX,
    AlertState,
    Trouble,
    span,
    step,
)

STALE = Trouble("peer_stale", "bob", "bob stale 6 h 0 min (limit 2 h 0 min)")
RADIO = Trouble("radio_lost", "RNode", "radio RNode is gone")


class World:
    """Looks every 30 seconds and keeps what is told."""

    def __init__(self) -> None:
        self.state = AlertState()
        self.now_s = 1000.0
        self.told: list[str] = []

    def goes_on(self, seconds: float, *troubles: Trouble) -> list[str]:
        before = len(self.told)
        end_s = self.now_s + seconds
        while self.now_s <= end_s:
            self.state, notices = step(self.state, troubles, self.now_s)
            self.told += [notice.text for notice in notices]
            self.now_s += 30
        return self.told[before:]


def test_a_trouble_is_told_once_and_its_end() -> None:
    world = World()
    assert world.goes_on(3 * 3600, STALE) == [f"ALERT {STALE.text}"]
    (over,) = world.goes_on(3600)
    assert over.startswith(f"RESOLVED {STALE.text}, after 3 h 0 min")
    assert world.goes_on(3600) == []


def test_what_is_over_at_once_is_never_told() -> None:
    world = World()
    assert world.goes_on(LASTS_S["radio_lost"] - 30, RADIO) == []
    assert world.goes_on(3600) == []


def test_what_comes_and_goes_makes_two_messages_an_hour() -> None:
    world = World()
    for _ in range(10):
        world.goes_on(120, STALE)
        world.goes_on(CLEAR_S + 60)
    assert sum(text.startswith("ALERT") for text in world.told) == 1
    assert sum(text.startswith("RESOLVED") for text in world.told) == 1
    world.goes_on(AGAIN_S)
    assert world.goes_on(600, STALE)[0] == f"ALERT {STALE.text}"


def test_a_short_gap_is_no_end() -> None:
    world = World()
    world.goes_on(600, STALE)
    world.goes_on(CLEAR_S - 60)
    assert world.goes_on(600, STALE) == []
    assert world.state.troubles == (STALE,)


def test_a_storm_is_cut_and_says_so() -> None:
    world = World()
    storm = [Trouble("peer_stale", str(n), f"peer {n} stale") for n in range(50)]
    told = world.goes_on(600, *storm)
    assert len(told) == HOUR_MAX
    assert told[-1].endswith("(no more this hour; ask: status)")
    assert not any("no more" in text for text in told[:-1])


def test_what_the_storm_cut_is_told_in_the_next_hours() -> None:
    world = World()
    storm = [Trouble("peer_stale", str(n), f"peer {n} stale") for n in range(HOUR_MAX + 2)]
    world.goes_on(2 * 3600 + 60, *storm)
    for trouble in storm:
        assert any(trouble.text in text for text in world.told)


def test_what_is_followed_has_a_limit_and_what_is_not_is_counted() -> None:
    flood = [Trouble("peer_stale", str(n), "x") for n in range(OPEN_MAX + 7)]
    state, _ = step(AlertState(), flood, 0.0)
    assert len(state.open) == OPEN_MAX
    assert state.unfollowed == 7


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_ends_follow_beginnings_and_the_hour_is_kept(seed: int) -> None:
    rng = random.Random(seed)
    everything = [Trouble(name, str(n), f"{name} {n}") for name in LASTS_S for n in range(3)]
    state, now_s = AlertState(), 0.0
    told: list[tuple[float, str]] = []
    for _ in range(300):
        now_s += rng.choice((1.0, 30.0, 200.0, 1000.0))
        wrong = rng.sample(everything, rng.randrange(len(everything)))
        state, notices = step(state, wrong, now_s)
        told += [(now_s, notice.text) for notice in notices]
    for at_s, _ in told:
        assert sum(at_s - 3600 < other <= at_s for other, _ in told) <= HOUR_MAX
    open_now: set[str] = set()
    for _, text in told:
        word, rest = text.split(" ", 1)
        subject = " ".join(rest.split(",")[0].split()[:2])
        assert (word == "RESOLVED") is (subject in open_now)
        open_now ^= {subject}


@given(st.floats(0, 1e7))
def test_a_length_of_time_is_short_and_plain(seconds: float) -> None:
    assert len(span(seconds)) <= 12
    assert span(seconds).isascii()


def test_lengths_of_time() -> None:
    shown: Iterable[tuple[float, str]] = [
        (0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"),
        (22_320, "6 h 12 min"), (86_400, "1 d 0 h"), (-5, "0 s"),
    ]  # fmt: skip
    for seconds, text in shown:
        assert span(seconds) == text
