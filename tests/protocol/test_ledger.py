"""The ledger against a radio that knows the truth: no hour is ever over, whatever is asked."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.protocol.account import (
    LATE_S,
    RESERVATION_S_MAX,
    SEEN_WITHIN_S,
    SavedInterface,
    Source,
)
from ciris_mesh.protocol.duty import DWELL, FREE, Rule
from ciris_mesh.protocol.ledger import (
    INTERFACES_MAX,
    RESERVATIONS_MAX,
    Ledger,
    Reason,
    Refusal,
    Reservation,
)
from ciris_mesh.protocol.window import HOUR_S
from support.airworld import Radio

ONE_PERCENT, TEN_PERCENT = Rule(0.01), Rule(0.1)


def ledger(rule: Rule = ONE_PERCENT, *, own_share: float = 1.0, reports: bool = False) -> Ledger:
    book = Ledger(own_share)
    book.set_interface("lora", rule, reports=reports)
    return book


def granted(book: Ledger, airtime_s: float, now_s: float, keep_s: float = 0.0) -> Reservation:
    answer = book.reserve("lora", airtime_s, now_s, keep_s=keep_s)
    assert isinstance(answer, Reservation), answer
    return answer


def refused(book: Ledger, airtime_s: float, now_s: float, keep_s: float = 0.0) -> Refusal:
    answer = book.reserve("lora", airtime_s, now_s, keep_s=keep_s)
    assert isinstance(answer, Refusal), answer
    return answer


def spend(book: Ledger, airtime_s: float, now_s: float) -> None:
    book.commit(granted(book, airtime_s, now_s), now_s)


# --- by example -----------------------------------------------------------------------------------


def test_an_hour_holds_what_the_duty_says_and_slides() -> None:
    book = ledger()
    spend(book, 20, 0)
    spend(book, 16, 1800)
    refusal = refused(book, 1, 1900)
    assert refusal.reason is Reason.OVER_BUDGET
    there_s = 1900 + refusal.wait_s
    assert HOUR_S + LATE_S <= there_s <= HOUR_S + LATE_S + 1
    refused(book, 1, there_s - 0.001)
    spend(book, 20, there_s)  # the first has left, the second has not
    assert refused(book, 1, there_s).reason is Reason.OVER_BUDGET


def test_what_is_reserved_counts_at_once_and_for_as_long_as_it_is_open() -> None:
    book = ledger()
    first = granted(book, 36, 0)
    assert refused(book, 1, 10).wait_s > 0
    book.release(first)
    second = granted(book, 36, 10)
    assert refused(book, 1, 3_600).reason is Reason.OVER_BUDGET
    book.commit(second, 3_600, airtime_s=30)
    assert book.usage("lora", 3_600).own_s == 30
    granted(book, 6, 3_600)
    assert refused(book, 0.001, 7_199).reason is Reason.OVER_BUDGET


def test_more_than_reserved_counts_as_it_was() -> None:
    book = ledger()
    book.commit(granted(book, 5, 0), 0, airtime_s=40)
    usage = book.usage("lora", 1)
    assert (usage.used_s, usage.free_s) == (40, 0)


def test_a_reservation_is_ended_once() -> None:
    book = ledger()
    one = granted(book, 5, 0)
    book.commit(one, 0)
    book.commit(one, 0)
    book.release(one)
    assert book.usage("lora", 0).used_s == 5


def test_a_reservation_nobody_ends_counts_as_sent_after_an_hour() -> None:
    book = ledger()
    granted(book, 36, 0)
    usage = book.usage("lora", RESERVATION_S_MAX)
    assert (usage.reserved_s, usage.own_s, usage.lapsed) == (0, 36, 1)
    assert refused(book, 1, RESERVATION_S_MAX + HOUR_S).reason is Reason.OVER_BUDGET
    granted(book, 36, RESERVATION_S_MAX + HOUR_S + LATE_S + 1)


def test_a_part_is_left_for_what_asks_nobody() -> None:
    book = ledger(own_share=0.75)
    assert book.own_limit_s("lora") == 27
    spend(book, 27, 0)
    assert refused(book, 0.1, 1).reason is Reason.OVER_BUDGET
    book.charge("lora", 9, 2, Source.RETICULUM)
    usage = book.usage("lora", 3)
    assert (usage.own_s, usage.reticulum_s, usage.used_s, usage.limit_s) == (27, 9, 36, 36)


def test_the_others_take_away_what_they_use_beyond_their_part() -> None:
    book = ledger(own_share=0.75)
    book.charge("lora", 20, 0, Source.FORWARDED)
    assert book.free_s("lora", 1) == 16
    assert refused(book, 17, 1).reason is Reason.OVER_BUDGET
    granted(book, 16, 1)


def test_so_much_is_kept_for_something_more_urgent() -> None:
    book = ledger()
    assert book.free_s("lora", 0, keep_s=6) == 30
    assert refused(book, 31, 0, keep_s=6).reason is Reason.NEVER_FITS
    spend(book, 30, 0)
    assert refused(book, 1, 0, keep_s=6).reason is Reason.OVER_BUDGET
    spend(book, 6, 0)


def test_what_no_hour_holds_never_fits() -> None:
    assert refused(ledger(), 36.1, 0) == Refusal(Reason.NEVER_FITS, math.inf)
    assert refused(ledger(own_share=0.5), 18.1, 0).reason is Reason.NEVER_FITS
    assert isinstance(ledger(FREE).reserve("lora", 10_000, 0), Reservation)


def test_dwell_limits_single_frames_and_nothing_else() -> None:
    book = ledger(DWELL)
    answer = book.reserve("lora", 0.5, 0, frame_s=0.41)
    assert answer == Refusal(Reason.FRAME_TOO_LONG, math.inf)
    assert isinstance(book.reserve("lora", 5_000, 0, frame_s=0.4), Reservation)
    usage = book.usage("lora", 0)
    assert (usage.rule, usage.limit_s, usage.free_s) == ("dwell", None, None)
    assert book.free_s("lora", 0) == math.inf


def test_open_reservations_are_bounded() -> None:
    book = ledger()
    open_ = [granted(book, 0.001, 0) for _ in range(RESERVATIONS_MAX)]
    assert refused(book, 0.001, 0).reason is Reason.TOO_MANY_OPEN
    book.release(open_[0])
    granted(book, 0.001, 0)


def test_an_interface_nobody_set_gets_nothing() -> None:
    book = ledger()
    assert book.reserve("other", 1, 0) == Refusal(Reason.UNKNOWN_INTERFACE, math.inf)
    assert book.free_s("other", 0) == 0
    book.charge("other", 1, 0, Source.OWN)
    book.report("other", 1, 0)
    book.commit(Reservation(1, "other", 1), 0)
    book.release(Reservation(1, "other", 1))
    assert book.interfaces() == ("lora",)
    with pytest.raises(KeyError):
        book.usage("other", 0)


def test_interfaces_are_bounded_and_separate() -> None:
    book = Ledger()
    for number in range(INTERFACES_MAX):
        book.set_interface(f"lora{number}", ONE_PERCENT)
    with pytest.raises(ValueError, match="radio interfaces"):
        book.set_interface("one more", ONE_PERCENT)
    book.set_interface("lora0", TEN_PERCENT)  # a known one may change
    book.charge("lora1", 36, 0, Source.OWN)
    assert book.usage("lora0", 0).used_s == 0


def test_a_rule_may_change_and_what_was_counted_stays() -> None:
    book = ledger()
    spend(book, 30, 0)
    book.set_interface("lora", Rule(0.005))
    usage = book.usage("lora", 1)
    assert (usage.used_s, usage.limit_s, usage.free_s) == (30, 18, 0)
    assert refused(book, 1, 1).reason is Reason.OVER_BUDGET


@pytest.mark.parametrize("airtime_s", [-1.0, math.nan, math.inf])
def test_no_airtime_that_is_none(airtime_s: float) -> None:
    with pytest.raises(ValueError, match="length of time"):
        ledger().reserve("lora", airtime_s, 0)
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="share"):
            Ledger(share)
        with pytest.raises(ValueError, match="part"):
            ledger().set_interface("lora", FREE, counted_of_true=share)


# --- reports --------------------------------------------------------------------------------------


def test_a_report_shows_what_reticulum_sent_by_itself() -> None:
    book = ledger(reports=True)
    book.report("lora", 0, 0)
    book.commit(granted(book, 10, 1), 5)
    book.report("lora", 10, 20)  # all own
    usage = book.usage("lora", 20)
    assert (usage.own_s, usage.reticulum_s) == (10, 0)
    book.report("lora", 13, 30)  # announces, say
    usage = book.usage("lora", 30)
    assert (usage.own_s, usage.reticulum_s, usage.used_s) == (10, 3, 13)


def test_what_is_seen_while_it_is_sent_is_no_second_transmission() -> None:
    book = ledger(reports=True)
    book.report("lora", 0, 0)
    one = granted(book, 10, 1)
    book.report("lora", 4, 5)
    assert book.usage("lora", 5).used_s == 14, "nobody knows yet whose it was"
    book.report("lora", 11, 15)
    book.commit(one, 15)
    usage = book.usage("lora", 15)
    assert (usage.own_s, usage.reticulum_s) == (10, 1)
    book.report("lora", 11, 20)
    assert book.usage("lora", 20).used_s == 11


def test_a_part_that_is_not_shown_yet_is_still_counted() -> None:
    book = ledger(reports=True)
    book.report("lora", 0, 0)
    one = granted(book, 10, 1)
    book.report("lora", 6, 10)
    book.commit(one, 10)
    assert book.usage("lora", 10).used_s == 10
    book.report("lora", 12, 12)
    usage = book.usage("lora", 12)
    assert (usage.own_s, usage.reticulum_s) == (10, 2)


def test_what_no_report_ever_shows_counts_all_the_same() -> None:
    book = ledger(reports=True)
    book.report("lora", 0, 0)
    spend(book, 36, 0)
    later_s = SEEN_WITHIN_S + 2
    assert book.usage("lora", later_s).own_s == 36
    assert refused(book, 1, later_s + HOUR_S).reason is Reason.OVER_BUDGET
    granted(book, 36, later_s + HOUR_S + LATE_S + 1)


def test_of_a_first_report_nobody_knows_how_old_it_is() -> None:
    book = ledger(reports=True)
    book.report("lora", 90_000, 0)
    assert book.usage("lora", 0).used_s == 36  # as much as matters
    book = ledger(reports=True)
    book.report("lora", 90_000, 0, hour_s=4.5)
    assert book.usage("lora", 0).used_s == 4.5


def test_a_count_that_goes_back_may_hide_all_the_time_since_the_last() -> None:
    book = ledger(reports=True)
    book.report("lora", 30, 0, hour_s=0)
    book.report("lora", 0.5, 5)
    usage = book.usage("lora", 5)
    assert (usage.used_s, usage.resets) == (5, 1)
    book.report("lora", 1.5, 10)  # from there on as before
    assert book.usage("lora", 10).used_s == 6


@pytest.mark.parametrize(("total_s", "hour_s"), [(math.nan, None), (-1, None), (1, math.inf)])
def test_a_report_that_is_no_number_is_counted_and_changes_nothing(
    total_s: float, hour_s: float | None
) -> None:
    book = ledger(reports=True)
    book.report("lora", 2, 0)
    before = book.usage("lora", 1)
    book.report("lora", total_s, 1, hour_s=hour_s)
    after = book.usage("lora", 1)
    assert (after.used_s, after.bad_reports) == (before.used_s, 1)


def test_a_report_nobody_expects_would_count_twice() -> None:
    book = ledger()
    spend(book, 5, 0)
    book.report("lora", 5, 1)
    assert (book.usage("lora", 1).used_s, book.usage("lora", 1).bad_reports) == (5, 1)


def test_an_interface_that_counts_too_little_hides_nobody() -> None:
    book = Ledger(1.0)
    book.set_interface("lora", ONE_PERCENT, reports=True, counted_of_true=0.87)
    book.report("lora", 0, 0)
    spend(book, 10, 0)
    book.report("lora", 0.87 * 12, 20)  # 10 own, 2 of others, both counted as low as can be
    usage = book.usage("lora", 20)
    assert usage.own_s == 10
    assert usage.reticulum_s == pytest.approx(2, abs=1e-5)


def test_reports_may_count_in_a_measure_of_their_own() -> None:
    """Bytes at the price of the smallest packet, say: dear for others, true for own."""
    book = ledger(reports=True)
    book.report("lora", 0, 0)
    one = granted(book, 10, 0)
    book.report("lora", 20, 5)
    book.commit(one, 5, counted_s=25)
    book.report("lora", 27, 10)
    usage = book.usage("lora", 10)
    assert (usage.own_s, usage.reticulum_s) == (10, 2)


# --- over a restart -------------------------------------------------------------------------------


def test_a_restart_does_not_begin_the_hour_anew() -> None:
    book = ledger(own_share=0.8)
    spend(book, 20, 0)
    book.charge("lora", 2, 600, Source.RETICULUM)
    granted(book, 5, 1_000)
    saved = book.save(1_100)
    json.dumps([asdict(row) for row in saved])
    again = ledger(own_share=0.8)
    again.restore(saved, 50_000.0, elapsed_s=100)
    usage = again.usage("lora", 50_000)
    assert (usage.own_s, usage.reticulum_s, usage.used_s) == (25, 2, 27)
    # The first 20 s were sent at 0, so 2,400 s after the restart they are an hour old.
    assert again.usage("lora", 50_000 + 2_400).used_s == 27
    assert again.usage("lora", 50_000 + 2_400 + LATE_S + 2).used_s == 7


def test_when_nobody_knows_how_long_it_was_off_all_of_it_is_new() -> None:
    book = ledger()
    spend(book, 36, 0)
    again = ledger()
    again.restore(book.save(3_500), 10)
    assert refused(again, 1, 10 + HOUR_S).reason is Reason.OVER_BUDGET
    granted(again, 36, 10 + HOUR_S + LATE_S + 1)


def test_the_count_of_an_interface_that_went_on_is_continued() -> None:
    book = ledger(reports=True)
    book.report("lora", 100, 0, hour_s=0)
    saved = book.save(10)
    again = ledger(reports=True)
    again.restore(saved, 0, elapsed_s=60)
    again.report("lora", 103, 1)
    assert again.usage("lora", 1).used_s == 3
    third = ledger(reports=True)
    third.restore(saved, 0)
    third.report("lora", 2, 1)  # began anew with us, who knows when
    assert (third.usage("lora", 1).used_s, third.usage("lora", 1).resets) == (2, 1)


def test_what_was_saved_of_others_is_left_alone() -> None:
    book = ledger()
    book.restore((SavedInterface("gone", 1.0, ((0.0, "own", 5.0),)),), 0)
    assert book.usage("lora", 0).used_s == 0
    with pytest.raises(ValueError, match="nobody"):
        book.restore((SavedInterface("lora", None, ((0.0, "nobody", 5.0),)),), 0)


# --- against the truth ----------------------------------------------------------------------------

SHARE = 0.75
steps = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 2_000)),
    st.tuples(st.just("jump back"), st.floats(0, 10_000)),
    st.tuples(st.just("own"), st.floats(0.01, 30)),
    st.tuples(st.just("own late"), st.floats(0.01, 30)),
    st.tuples(st.just("other"), st.floats(0.01, 6)),
    st.tuples(st.just("report"), st.just(0.0)),
    st.tuples(st.just("restart"), st.just(0.0)),
    st.tuples(st.just("abandon"), st.floats(0.01, 5)),
)


@dataclass
class Life:
    """A ledger and a radio: all that is granted is sent, some of it late, some unknown."""

    reports: bool
    radio: Radio = field(default_factory=Radio)
    now_s: float = 0.0
    open: list[tuple[Reservation, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book = ledger(own_share=SHARE, reports=self.reports)
        self.report()

    def report(self) -> None:
        if self.reports:
            self.book.report("lora", self.radio.counter(self.now_s), self.now_s)

    def step(self, what: str, number: float) -> None:
        match what:
            case "wait":
                self.pass_time(number)
            case "jump back":
                self.book.free_s("lora", self.now_s - number)
            case "own" | "own late" | "abandon":
                self.ask(number, late=what != "own", ends=what != "abandon")
            case "other":
                self.radio.send("other", self.now_s, number)
                self.pass_time(number)
            case "report":
                self.report()
            case "restart":
                self.report()
                self.radio.restart(self.now_s)
            case _:
                raise AssertionError(what)

    def ask(self, airtime_s: float, *, late: bool, ends: bool) -> None:
        self.report()
        answer = self.book.reserve("lora", airtime_s, self.now_s)
        if isinstance(answer, Refusal):
            assert answer.wait_s > 0
            return
        begin_s = self.now_s + (20.0 if late else 0.0)
        self.radio.send("own", begin_s, airtime_s)
        if ends:
            self.open.append((answer, begin_s + airtime_s))

    def pass_time(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        for row in sorted(self.open, key=lambda row: row[1]):
            if row[1] <= end_s:
                self.now_s = max(self.now_s, row[1])
                self.report()
                self.book.commit(row[0], self.now_s)
                self.open.remove(row)
        self.now_s = end_s

    def pending_s(self) -> float:
        """Granted and still to be sent."""
        return self.radio.between(self.now_s, math.inf, "own")


@settings(max_examples=300)
@given(st.lists(steps, max_size=40), st.booleans())
def test_own_air_never_exceeds_its_part_in_any_hour(
    history: list[tuple[str, float]], reports: bool
) -> None:
    life = Life(reports)
    for what, number in history:
        life.step(what, number)
    assert life.radio.worst_hour("own") <= SHARE * 36 + 1e-6


@settings(max_examples=300)
@given(st.lists(steps, max_size=40))
def test_after_a_report_nothing_that_was_sent_is_missing(
    history: list[tuple[str, float]],
) -> None:
    life = Life(reports=True)
    for what, number in history:
        life.step(what, number)
        life.report()
        used_s = life.book.usage("lora", life.now_s).used_s
        truth_s = life.radio.hour(life.now_s) + life.pending_s()
        assert used_s >= min(truth_s, 36) - 1e-6


@settings(max_examples=300)
@given(st.lists(steps, max_size=40))
def test_no_hour_is_over_while_the_others_keep_to_their_part(
    history: list[tuple[str, float]],
) -> None:
    life = Life(reports=True)
    for what, number in history:
        if what == "other" and life.radio.hour(life.now_s, "other") + number > (1 - SHARE) * 36:
            continue
        life.step(what, number)
    assert life.radio.worst_hour() <= 36 + 1e-6


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0.1, 20)), max_size=40))
def test_waiting_as_long_as_told_is_enough(asked: list[tuple[float, float]]) -> None:
    book, now_s = ledger(), 0.0
    for pause_s, airtime_s in asked:
        now_s += pause_s
        answer = book.reserve("lora", airtime_s, now_s)
        if isinstance(answer, Refusal):
            now_s += answer.wait_s
            answer = granted(book, airtime_s, now_s)
        book.commit(answer, now_s)


@given(st.lists(steps, max_size=30), st.floats(0, 5_000))
def test_a_saved_ledger_knows_what_was_sent(history: list[tuple[str, float]], off_s: float) -> None:
    """What was under way when the node died is sent within LATE_S: it is the radio's queue."""
    life = Life(reports=False)
    for what, number in history:
        if what not in ("own late", "abandon"):
            life.step(what, number)
    again = ledger(own_share=SHARE)
    again.restore(life.book.save(life.now_s), 0.0, elapsed_s=off_s)
    for later_s in (0.0, 600.0, 3_000.0):
        truth_s = life.radio.hour(life.now_s + off_s + later_s, "own")
        assert again.free_s("lora", later_s) <= SHARE * 36 - truth_s + 1e-6


def test_what_is_said_once_may_take_what_is_left_of_the_limit() -> None:
    ledger = Ledger(0.8)
    ledger.set_interface("lora", Rule(0.01))
    assert isinstance(ledger.reserve("lora", 30.0, 0.0), Refusal)
    found = ledger.reserve("lora", 30.0, 0.0, whole=True)
    assert isinstance(found, Reservation)
    ledger.commit(found, 0.0)
    more = ledger.reserve("lora", 6.5, 1.0, whole=True)
    assert isinstance(more, Refusal)
    assert more.wait_s == pytest.approx(3_630, abs=3)
    assert ledger.free_s("lora", 1.0) == 0
    assert isinstance(ledger.reserve("lora", 36.5, 9_000.0, whole=True), Refusal)


def test_the_wait_for_what_no_report_has_shown_yet_is_told() -> None:
    ledger = Ledger(1.0)
    ledger.set_interface("lora", Rule(0.01), reports=True)
    found = ledger.reserve("lora", 30.0, 0.0)
    assert isinstance(found, Reservation)
    ledger.commit(found, 0.0)
    wait = ledger.reserve("lora", 10.0, 1.0)
    assert isinstance(wait, Refusal)
    assert 3_600 < wait.wait_s < 4_000
    assert ledger.free_s("lora", SEEN_WITHIN_S + 1) == 6, "by now it counts as sent"
    assert isinstance(ledger.reserve("lora", 10.0, 1.0 + wait.wait_s), Reservation)
