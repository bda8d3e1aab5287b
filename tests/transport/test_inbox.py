"""The order of received frames, whatever order their threads run in."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.transport.inbox import (
    INBOX_FRAMES_MAX,
    UNFILLED_SLOTS_MAX,
    ByteBudget,
    Inbox,
    Taken,
)
from ciris_mesh.transport.limits import (
    FRAME_BYTES_MAX,
    REASSEMBLY_BYTES_MAX,
    REASSEMBLY_BYTES_PER_LINK_MAX,
)

SEQUENCES = 8


def make_inbox(limit_bytes: int = 10_000) -> tuple[Inbox, list[bytes], ByteBudget]:
    delivered: list[bytes] = []
    budget = ByteBudget(limit_bytes)
    return Inbox(delivered.append, budget, sequences=SEQUENCES), delivered, budget


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_small_frames_come_out_at_once_in_order() -> None:
    inbox, delivered, _ = make_inbox()
    for number in range(20):
        assert inbox.take_small(number % SEQUENCES, bytes([number])) is Taken.QUEUED
    assert delivered == [bytes([number]) for number in range(20)]


def test_a_frame_waits_for_the_resource_before_it() -> None:
    inbox, delivered, _ = make_inbox()
    assert inbox.offer(key(1), key(1), 6, 1)
    assert inbox.take_small(0, b"after") is Taken.QUEUED
    assert delivered == []
    assert inbox.is_waiting
    assert inbox.fill(key(1), b"before")
    assert delivered == [b"before", b"after"]
    assert not inbox.is_waiting


def test_resources_that_conclude_in_the_wrong_order_come_out_in_the_right_one() -> None:
    inbox, delivered, _ = make_inbox()
    assert inbox.offer(key(1), key(1), 3, 1)
    assert inbox.offer(key(2), key(2), 3, 1)
    assert inbox.fill(key(2), b"two")
    assert delivered == []
    assert inbox.fill(key(1), b"one")
    assert delivered == [b"one", b"two"]


def test_a_repeated_frame_is_acknowledged_but_not_delivered_again() -> None:
    inbox, delivered, _ = make_inbox()
    assert inbox.take_small(0, b"x") is Taken.QUEUED
    assert inbox.take_small(0, b"x") is Taken.DUPLICATE
    assert inbox.take_small(1, b"y") is Taken.QUEUED
    assert delivered == [b"x", b"y"]


def test_the_first_frame_must_be_number_zero() -> None:
    inbox, delivered, _ = make_inbox()
    assert inbox.take_small(SEQUENCES - 1, b"x") is Taken.OUT_OF_ORDER
    assert inbox.offer(key(1), key(1), 10, 1)
    assert inbox.take_small(SEQUENCES - 1, b"x") is Taken.OUT_OF_ORDER
    assert delivered == []


def test_a_frame_not_taken_for_want_of_room_can_come_again() -> None:
    inbox, delivered, _ = make_inbox(limit_bytes=10)
    assert inbox.take_small(0, bytes(8)) is Taken.QUEUED
    assert inbox.take_small(1, bytes(8)) is Taken.BUSY
    inbox.delivered()
    assert inbox.take_small(1, bytes(8)) is Taken.QUEUED
    assert len(delivered) == 2


def test_frames_the_handler_has_not_taken_count_as_waiting() -> None:
    inbox, _, _ = make_inbox(limit_bytes=1 << 20)
    for number in range(INBOX_FRAMES_MAX):
        assert inbox.take_small(number % SEQUENCES, b"x") is Taken.QUEUED
    assert inbox.take_small(INBOX_FRAMES_MAX % SEQUENCES, b"x") is Taken.BUSY
    assert not inbox.offer(key(1), key(1), 10, 1)
    inbox.delivered()
    assert inbox.take_small(INBOX_FRAMES_MAX % SEQUENCES, b"x") is Taken.QUEUED


def test_few_resources_may_be_under_way() -> None:
    inbox, _, _ = make_inbox()
    for number in range(UNFILLED_SLOTS_MAX):
        assert inbox.offer(key(number), key(number), 10, 1)
    assert not inbox.offer(key(99), key(99), 10, 1)
    assert not inbox.offer(key(0), key(0), 10, 1)


def test_what_is_not_as_large_as_agreed_is_not_taken() -> None:
    inbox, delivered, _ = make_inbox()
    assert inbox.offer(key(1), key(1), 3, 1)
    assert not inbox.fill(key(1), b"four")
    assert not inbox.fill(key(1), b"42")
    assert not inbox.fill(key(2), b"?")
    assert inbox.fill(key(1), b"abc")
    assert delivered == [b"abc"]


def test_segments_come_one_after_the_other() -> None:
    inbox, _, _ = make_inbox()
    assert inbox.offer(key(1), key(1), 100, 3)
    assert not inbox.offer_segment(key(1), key(100 + 3), 3, 3, 100), "skips one"
    assert not inbox.offer_segment(key(1), key(100 + 2), 2, 4, 100), "another count"
    assert not inbox.offer_segment(key(1), key(100 + 2), 2, 3, 101), "another size"
    assert not inbox.offer_segment(key(2), key(100 + 2), 2, 3, 100), "another Resource"
    assert inbox.offer_segment(key(1), key(100 + 2), 2, 3, 100)
    assert not inbox.offer_segment(key(1), key(100 + 2), 2, 3, 100), "again"
    assert inbox.offer_segment(key(1), key(100 + 3), 3, 3, 100)
    assert not inbox.offer_segment(key(1), key(100 + 4), 4, 3, 100), "one too many"


def test_only_the_segment_agreed_to_last_is_awaited() -> None:
    """Reticulum may conclude an earlier segment, or a finished Resource, a second time."""
    inbox, _, _ = make_inbox()
    assert inbox.offer(key(1), key(1), 2, 2)
    assert inbox.awaits(key(1), key(1))
    assert inbox.offer_segment(key(1), key(102), 2, 2, 2)
    assert not inbox.awaits(key(1), key(1))
    assert inbox.awaits(key(1), key(102))
    assert inbox.fill(key(1), b"ok")
    assert not inbox.awaits(key(1), key(102))


def test_links_share_the_budget_and_give_it_back() -> None:
    budget = ByteBudget(100)
    first = Inbox(lambda _frame: None, budget, sequences=SEQUENCES)
    second = Inbox(lambda _frame: None, budget, sequences=SEQUENCES)
    assert first.offer(key(1), key(1), 60, 1)
    assert not second.offer(key(1), key(1), 60, 1)
    assert first.clear() == [key(1)]
    assert budget.used_bytes == 0
    assert second.offer(key(1), key(1), 60, 1)


def test_one_link_cannot_take_the_budget_of_all() -> None:
    budget = ByteBudget(REASSEMBLY_BYTES_MAX)
    greedy = Inbox(lambda _frame: None, budget, sequences=SEQUENCES)
    for number in range(UNFILLED_SLOTS_MAX):
        greedy.offer(key(number), key(number), FRAME_BYTES_MAX, 1)
    assert budget.used_bytes == FRAME_BYTES_MAX
    others = [Inbox(lambda _frame: None, budget, sequences=SEQUENCES) for _ in range(2)]
    for other in others:
        assert other.offer(key(1), key(1), FRAME_BYTES_MAX, 1)


def test_what_one_link_gives_back_it_may_take_again() -> None:
    budget = ByteBudget(100)
    inbox = Inbox(lambda _frame: None, budget, sequences=SEQUENCES, share_bytes=10)
    assert inbox.take_small(0, bytes(8)) is Taken.QUEUED
    assert inbox.take_small(1, bytes(3)) is Taken.BUSY
    assert not inbox.offer(key(1), key(1), 3, 1)
    assert inbox.take_small(1, bytes(2)) is Taken.QUEUED
    inbox.delivered()
    assert inbox.offer(key(1), key(1), 8, 1)
    assert budget.used_bytes == 10
    inbox.clear()
    inbox.delivered()
    assert budget.used_bytes == 0


def test_a_frame_without_room_in_the_budget_takes_none_of_the_share() -> None:
    budget = ByteBudget(10)
    assert budget.reserve(10)
    inbox = Inbox(lambda _frame: None, budget, sequences=SEQUENCES, share_bytes=10)
    assert not inbox.offer(key(1), key(1), 10, 1)
    budget.release(10)
    assert inbox.offer(key(1), key(1), 10, 1)


def test_a_link_always_has_room_for_one_frame_of_any_size() -> None:
    assert FRAME_BYTES_MAX < REASSEMBLY_BYTES_PER_LINK_MAX <= REASSEMBLY_BYTES_MAX // 2


def test_clearing_leaves_what_was_handed_out_to_be_taken() -> None:
    inbox, delivered, budget = make_inbox()
    inbox.take_small(0, b"abc")
    assert inbox.offer(key(1), key(1), 10, 1)
    assert inbox.clear() == [key(1)]
    assert budget.used_bytes == 3
    inbox.delivered()
    assert budget.used_bytes == 0
    assert delivered == [b"abc"]


@given(st.data())
def test_any_interleaving_of_threads_keeps_the_senders_order(data: st.DataObject) -> None:
    """The sender announces in order; Resources fill whenever their thread happens to run."""
    inbox, delivered, budget = make_inbox(limit_bytes=1 << 20)
    is_large = data.draw(st.lists(st.booleans(), max_size=30))
    unfilled: deque[int] = deque()
    sequence = 0
    for number, large in enumerate(is_large):
        while len(unfilled) == UNFILLED_SLOTS_MAX or (unfilled and data.draw(st.booleans())):
            done = data.draw(st.sampled_from(list(unfilled)))
            unfilled.remove(done)
            assert inbox.fill(key(done), bytes([done]))
        if large:
            assert inbox.offer(key(number), key(number), 1, 1)
            unfilled.append(number)
        else:
            assert inbox.take_small(sequence, bytes([number])) is Taken.QUEUED
            sequence = (sequence + 1) % SEQUENCES
    for done in data.draw(st.permutations(list(unfilled))):
        assert inbox.fill(key(done), bytes([done]))
    assert delivered == [bytes([number]) for number in range(len(is_large))]
    for _ in delivered:
        inbox.delivered()
    assert budget.used_bytes == 0
