"""One frame under way per link, retried within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import BackPressure
from ciris_mesh.transport.inbox import ByteBudget, Inbox, Taken
from ciris_mesh.transport.limits import SEND_QUEUE_BYTES_MAX, SEND_QUEUE_FRAMES_MAX
from ciris_mesh.transport.outbox import ATTEMPTS_MAX, BUSY_MAX, REJECTED_MAX, Outbox

SEQUENCES = 8


def test_the_next_frame_starts_when_the_one_before_arrived() -> None:
    outbox = Outbox(sequences=SEQUENCES)
    outbox.put(b"one")
    outbox.put(b"two")
    first = outbox.start(0.0)
    assert first is not None
    assert (first.frame, first.sequence) == (b"one", 0)
    assert outbox.start(0.0) is None
    outbox.acknowledged(small=True)
    second = outbox.start(0.0)
    assert second is not None
    assert (second.frame, second.sequence) == (b"two", 1)


def test_a_resource_takes_no_sequence_number() -> None:
    outbox = Outbox(sequences=SEQUENCES)
    for frame in (b"large", b"small"):
        outbox.put(frame)
    outbox.start(0.0)
    outbox.acknowledged(small=False)
    small = outbox.start(0.0)
    assert small is not None
    assert small.sequence == 0


def test_a_full_queue_pushes_back() -> None:
    outbox = Outbox(sequences=SEQUENCES)
    for _ in range(SEND_QUEUE_FRAMES_MAX):
        outbox.put(b"x")
    with pytest.raises(BackPressure):
        outbox.put(b"x")
    outbox.start(0.0)
    outbox.put(b"x")


def test_bytes_push_back_too_but_one_frame_always_fits() -> None:
    outbox = Outbox(sequences=SEQUENCES)
    outbox.put(bytes(SEND_QUEUE_BYTES_MAX - 1))
    outbox.put(b"x")
    with pytest.raises(BackPressure):
        outbox.put(b"x")
    outbox.clear()
    outbox.put(b"x")


def test_a_lost_frame_is_handed_over_again_a_few_times() -> None:
    outbox = Outbox(sequences=SEQUENCES)
    outbox.put(b"x")
    sending = outbox.start(0.0)
    assert sending is not None
    for attempt in range(2, ATTEMPTS_MAX + 1):
        assert outbox.lost(1.0)
        assert outbox.resume(1.0) is sending
        assert sending.attempt == attempt
        assert outbox.resume(1.0) is None
    assert not outbox.lost(1.0)


def test_a_busy_receiver_is_asked_less_and_less_often() -> None:
    outbox = Outbox(sequences=SEQUENCES)
    outbox.put(b"x")
    outbox.start(0.0)
    now, rests = 0.0, []
    while outbox.busy(now):
        assert outbox.sending is not None
        resume_at = outbox.sending.resume_at
        assert resume_at is not None
        assert outbox.resume(resume_at - 0.01) is None
        assert outbox.resume(resume_at) is not None
        rests.append(resume_at - now)
        now = resume_at
    assert len(rests) == BUSY_MAX
    assert rests == sorted(rests)
    assert now <= 20.0


def test_a_rejected_resource_is_offered_again_a_few_times() -> None:
    outbox = Outbox(sequences=SEQUENCES)
    outbox.put(b"x")
    outbox.start(0.0)
    for _ in range(REJECTED_MAX):
        assert outbox.rejected(0.0)
    assert not outbox.rejected(0.0)


@given(st.lists(st.sampled_from(["ok", "request lost", "answer lost"]), max_size=80))
def test_loss_either_way_delivers_each_frame_once_or_gives_up(fates: list[str]) -> None:
    """Outbox and inbox against each other over a channel that loses packets."""
    outbox = Outbox(sequences=SEQUENCES)
    received: list[bytes] = []
    inbox = Inbox(received.append, ByteBudget(1 << 20), sequences=SEQUENCES)
    frames = [bytes([number]) for number in range(40)]
    for frame in frames:
        outbox.put(frame)
    sending, gave_up = outbox.start(0.0), False
    for fate in [*fates, *["ok"] * len(frames)]:
        if sending is None:
            break
        taken = None
        if fate != "request lost":
            taken = inbox.take_small(sending.sequence, sending.frame)
            assert taken in (Taken.QUEUED, Taken.DUPLICATE)
        if fate == "ok":
            outbox.acknowledged(small=True)
            sending = outbox.start(0.0)
        elif outbox.lost(0.0):
            outbox.resume(0.0)
        else:
            gave_up = True
            break
    assert received == frames[: len(received)]
    assert gave_up or received == frames
