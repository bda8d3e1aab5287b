"""Signatures checked ahead: the same answers, whoever gives them, and whatever becomes of whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from ciris_mesh.directory import ahead as ahead_module
from ciris_mesh.directory import verifying
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.verifying import BATCH_MIN, HelperProcesses, Signed
from ciris_mesh.records import checks
from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature, verify_hybrid
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from support.keys import alice, bob, carol
from support.records import AT_MS, sample
from support.waiting import wait_until

K = EnvelopeKind
PEER = Source("peer", "hub")
MANY = 3 * BATCH_MIN


def signatures(count: int = MANY) -> list[Signed]:
    """Of each three one stands, one fails in its first half and one in its second."""
    made = []
    for number in range(count):
        message = b"message %d" % number
        right, other = alice().sign(message), alice().sign(b"another")
        halves = [
            right,
            replace(right, ed25519=other.ed25519),
            HybridSignature(right.ed25519, other.mldsa65),
        ]
        made.append(Signed(alice().public, message, halves[number % 3]))
    return made


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[HelperProcesses]:
    """One helper, which starts at once."""
    monkeypatch.setattr(verifying, "BUSY_SIGNATURES", 1)
    monkeypatch.setattr(verifying, "REST_S", 0.0)
    monkeypatch.setattr(verifying, "ANSWER_S", 240.0)  # it has less of the processor than we
    monkeypatch.setattr(verifying, "IDLE_S", 240.0)
    made = HelperProcesses(1)
    yield made
    made.stop()


def said_of(helpers: HelperProcesses, asked: Sequence[Signed]) -> dict[Signed, Reason | None]:
    """What is said of a batch; nothing when nobody helps."""
    batch = helpers.open(len(asked))
    if batch is None:
        return {}
    with closing(batch):
        batch.hand(asked)
        return {one: batch.reason(one) for one in asked}


def process_of(helpers: HelperProcesses) -> subprocess.Popen[bytes]:
    return helpers._helpers[0]._process


def is_at_work(helpers: HelperProcesses) -> bool:
    return bool(said_of(helpers, signatures(BATCH_MIN)))


# -- helpers -------------------------------------------------------------------------------------


def test_helpers_say_what_this_process_would_say(helpers: HelperProcesses) -> None:
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    expected = {one: verify_hybrid(*one) for one in asked}
    assert set(expected.values()) == {
        Reason.NONE,
        Reason.CLASSICAL_SIGNATURE_INVALID,
        Reason.PQC_SIGNATURE_INVALID,
    }
    assert said_of(helpers, asked) == expected
    assert said_of(helpers, asked[::-1]) == expected


def test_the_helper_does_check(helpers: HelperProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this thread does beside it must not be what all answers come from."""
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    monkeypatch.setattr(verifying, "verify_hybrid", lambda *_: Reason.NONE)
    said = said_of(helpers, asked)
    first = asked[: verifying.PIECE]  # handed over before anything else is done
    assert [said[one] for one in first] == [verify_hybrid(*one) for one in first]


def test_what_was_not_handed_over_nobody_knows(helpers: HelperProcesses) -> None:
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    batch = helpers.open(MANY)
    assert batch is not None
    with closing(batch):
        batch.hand(asked[:-1])
        assert batch.reason(asked[-1]) is None
        batch.hand(asked[-1:])
        assert batch.reason(asked[-1]) is verify_hybrid(*asked[-1])
        # The rest is never asked for, and must not answer the next batch.
    assert said_of(helpers, asked) == {one: verify_hybrid(*one) for one in asked}


def test_a_node_that_gets_little_starts_none() -> None:
    helpers = HelperProcesses(1)
    assert helpers.open(BATCH_MIN) is None
    for _ in range(verifying.BUSY_SIGNATURES):
        assert helpers.open(BATCH_MIN - 1) is None
    assert helpers._helpers == []
    helpers.stop()


def test_a_helper_starts_when_much_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "IDLE_S", 240.0)
    helpers = HelperProcesses(1)
    helpers.expect(verifying.BUSY_SIGNATURES - 1)
    assert helpers._helpers == []
    helpers.expect(verifying.BUSY_SIGNATURES)
    assert len(helpers._helpers) == 1
    helpers.expect(verifying.BUSY_SIGNATURES)
    assert len(helpers._helpers) == 1, "as many as there are to be"
    helpers.stop()
    helpers.expect(verifying.BUSY_SIGNATURES)
    assert helpers._helpers == []


def test_a_helper_ends_when_nothing_comes_and_another_starts_when_there_is_work(
    helpers: HelperProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "IDLE_S", 0.01)
    assert helpers.open(BATCH_MIN) is None
    first = process_of(helpers)
    assert first.wait(240) == 0, "no error: it had no work"
    helpers.reap()
    assert helpers._helpers == []
    monkeypatch.setattr(verifying, "IDLE_S", 240.0)
    wait_until(lambda: is_at_work(helpers))


def test_a_killed_helper_costs_nothing_but_time(helpers: HelperProcesses) -> None:
    wait_until(lambda: is_at_work(helpers))
    process_of(helpers).kill()
    asked = signatures()
    for one, said in said_of(helpers, asked).items():
        assert said in (None, verify_hybrid(*one))
    wait_until(lambda: is_at_work(helpers))


def test_a_helper_that_hangs_is_ended(
    helpers: HelperProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: is_at_work(helpers))
    hanging = process_of(helpers)
    monkeypatch.setattr(verifying, "ANSWER_S", 0.05)
    monkeypatch.setattr(verifying, "STOP_S", 0.05)
    os.kill(hanging.pid, signal.SIGSTOP)
    said = said_of(helpers, signatures(2 * verifying.PIECE))
    assert next(iter(said.values())) is None, "whoever asked checks himself"
    assert hanging.returncode == -signal.SIGKILL


def test_nobody_waits_for_a_helper_that_takes_nothing(
    helpers: HelperProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever room the kernel gives: what doesn't fit is not handed over."""
    monkeypatch.setattr(verifying, "BUFFER_BYTES", 16 * 1024)
    wait_until(lambda: is_at_work(helpers))
    os.kill(process_of(helpers).pid, signal.SIGSTOP)
    batch = helpers.open(MANY)
    assert batch is not None
    asked = signatures()
    batch.hand(asked)
    (piece,) = helpers._helpers[0].pieces
    assert len(piece) == 3, "of 5 kB each"
    assert batch.reason(asked[-1]) is verify_hybrid(*asked[-1]), "others are checked meanwhile"
    os.kill(process_of(helpers).pid, signal.SIGCONT)
    assert batch.reason(asked[0]) is verify_hybrid(*asked[0])
    batch.close()


def test_an_answer_of_another_length_is_believed_in_no_part(
    helpers: HelperProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    helper = helpers._helpers[0]
    for answer in (b"\0" * (verifying.PIECE - 1), bytes([7]) * verifying.PIECE):
        piece = [verifying._Ask(one) for one in asked[: verifying.PIECE]]
        helper.pieces.append(piece)
        with monkeypatch.context() as patch:
            patch.setattr(helper._connection, "recv_bytes", lambda answer=answer: answer)
            with pytest.raises(ValueError, match="no answer"):
                helper.take()
        assert [ask.reason for ask in piece] == [None] * verifying.PIECE


def test_what_of_a_batch_was_not_begun_when_it_ends_is_not_begun(
    helpers: HelperProcesses,
) -> None:
    wait_until(lambda: is_at_work(helpers))
    os.kill(process_of(helpers).pid, signal.SIGSTOP)
    batch = helpers.open(MANY)
    assert batch is not None
    batch.hand(signatures(2 * verifying.PIECES_MAX * verifying.PIECE))
    assert helpers._left
    batch.close()
    assert not helpers._left
    batch.hand(signatures())
    assert not helpers._left, "it is closed"
    os.kill(process_of(helpers).pid, signal.SIGCONT)


def test_a_helper_that_cannot_start_is_done_without(
    helpers: HelperProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert helpers.open(MANY) is None
    helpers.expect(verifying.BUSY_SIGNATURES)
    assert helpers._helpers == []


def test_batches_share_the_helpers(helpers: HelperProcesses) -> None:
    """Also the same signatures: each batch gets its answers, and one that ends takes none along."""
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    first, second = helpers.open(MANY), helpers.open(MANY)
    assert first is not None
    assert second is not None
    first.hand(asked)
    second.hand(asked)
    expected = {one: verify_hybrid(*one) for one in asked}
    assert {one: second.reason(one) for one in asked} == expected
    second.close()
    assert {one: first.reason(one) for one in asked} == expected
    first.close()
    first.close()
    assert said_of(helpers, asked) == expected


def test_threads_share_the_helpers(helpers: HelperProcesses) -> None:
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    batches = [[*asked[number:], *asked[:number]] for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda batch: said_of(helpers, batch), batches))
    for answers in said:  # none where another thread was at it: whoever asked checks it as well
        for one in asked:
            assert answers[one] in (None, verify_hybrid(*one))


def test_no_more_batches_than_there_is_room_for(helpers: HelperProcesses) -> None:
    wait_until(lambda: is_at_work(helpers))
    batches = [helpers.open(MANY) for _ in range(verifying.BATCHES_MAX)]
    assert None not in batches
    assert helpers.open(MANY) is None
    for batch in batches:
        assert batch is not None
        batch.close()
        batch.close()
    assert is_at_work(helpers)


def test_the_last_in_line_is_checked_by_who_waits(
    helpers: HelperProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the thread would stand still while there is work for it."""
    wait_until(lambda: is_at_work(helpers))
    asked = signatures(2 * verifying.PIECES_MAX * verifying.PIECE)
    here: list[bytes] = []

    def checked_here(public: HybridPublicKey, message: bytes, signature: HybridSignature) -> Reason:
        here.append(message)
        return verify_hybrid(public, message, signature)

    monkeypatch.setattr(verifying, "verify_hybrid", checked_here)
    os.kill(process_of(helpers).pid, signal.SIGSTOP)  # so that all it has is still to come
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(said_of, helpers, asked)
        wait_until(lambda: len(here) >= len(asked) // 2 and not helpers._left)
        os.kill(process_of(helpers).pid, signal.SIGCONT)
        assert said.result() == {one: verify_hybrid(*one) for one in asked}
    assert here == [one.message for one in reversed(asked[-len(here) :])]


def test_what_a_lost_helper_had_of_other_batches_is_not_waited_for(
    helpers: HelperProcesses,
) -> None:
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    first, second = helpers.open(MANY), helpers.open(MANY)
    assert first is not None
    assert second is not None
    first.hand(asked)
    second.hand(asked)
    process_of(helpers).kill()
    process_of(helpers).wait()
    for batch in (second, first):
        for one in asked:
            assert batch.reason(one) in (None, verify_hybrid(*one))
        batch.close()
    wait_until(lambda: is_at_work(helpers))


def test_an_open_batch_keeps_nobody_from_stopping(helpers: HelperProcesses) -> None:
    wait_until(lambda: is_at_work(helpers))
    asked = signatures()
    batch = helpers.open(MANY)
    assert batch is not None
    batch.hand(asked)
    helpers.stop()
    assert {batch.reason(one) for one in asked} <= {None, *(verify_hybrid(*it) for it in asked)}
    batch.close()


def test_stopped_is_stopped(helpers: HelperProcesses) -> None:
    wait_until(lambda: is_at_work(helpers))
    process = process_of(helpers)
    helpers.stop()
    helpers.stop()
    assert process.returncode is not None
    assert helpers.open(MANY) is None
    assert helpers._helpers == []


def test_one_core_has_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(verifying, "BUSY_SIGNATURES", 1)
    helpers = HelperProcesses()
    assert helpers.open(MANY) is None
    assert helpers._helpers == []


# -- admission -----------------------------------------------------------------------------------


class Ahead:
    """Checks all it is handed and keeps what that was. Is its own only batch."""

    def __init__(self) -> None:
        self.asked: list[Signed] = []
        self.is_open = False

    def expect(self, count: int) -> None:
        """Nothing has to start."""

    def is_of_use(self) -> bool:
        return True

    def open(self, count: int) -> Ahead | None:
        self.is_open = count >= BATCH_MIN
        return self if self.is_open else None

    def hand(self, asked: Iterable[Signed]) -> None:
        self.asked += asked

    def reason(self, one: Signed) -> Reason | None:
        assert self.is_open
        return verify_hybrid(*one) if one in self.asked else None

    def close(self) -> None:
        self.is_open = False

    def reap(self) -> None:
        """Nothing ends."""


@pytest.fixture
def ahead(directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """Checks ahead; who asks one by one finds that nothing stands."""
    for one in (alice(), bob()):
        directory.admit(K.KEY, sample(K.KEY, one), PEER, now_ms=AT_MS)
    for module in (checks, ahead_module):
        monkeypatch.setattr(module, "verify_hybrid", lambda *_: Reason.PQC_SIGNATURE_INVALID)
    made = Ahead()
    directory.employ(made)
    return made


def families(count: int) -> list[bytes]:
    return [sample(K.FAMILY, alice(), number) for number in range(count)]


def outcomes(directory: DirectoryCore, raws: Sequence[bytes]) -> list[Outcome]:
    verdicts = directory.admit_many(K.FAMILY, raws, PEER, now_ms=AT_MS)
    return [verdict.outcome for verdict in verdicts]


def test_a_batch_is_admitted_by_answers_given_ahead(directory: DirectoryCore, ahead: Ahead) -> None:
    raws = families(BATCH_MIN)
    raws[3] = raws[3].replace(b'"founded_at"', b'"founded_at" ')  # another spelling
    wrong = raws[5].rindex(b'"mldsa65_signature_base64":"') + 40
    raws[5] = (
        raws[5][:wrong]
        + (b"AAAA" if raws[5][wrong:][:4] != b"AAAA" else b"BBBB")
        + raws[5][wrong + 4 :]
    )
    assert outcomes(directory, raws)[5] is Outcome.REFUSED
    admitted = [one for number, one in enumerate(outcomes(directory, raws)) if number != 5]
    assert set(admitted) == {Outcome.DUPLICATE}, "the others came in"
    assert len(directory.holdings(K.FAMILY)) == BATCH_MIN - 1


def test_few_are_not_worth_asking_ahead(directory: DirectoryCore, ahead: Ahead) -> None:
    assert set(outcomes(directory, families(BATCH_MIN - 1))) == {Outcome.REFUSED}
    assert ahead.asked == []


def test_what_is_held_and_whose_signer_is_unknown_is_not_asked(
    directory: DirectoryCore, ahead: Ahead
) -> None:
    raws = families(BATCH_MIN)
    outcomes(directory, raws)
    assert len(ahead.asked) == BATCH_MIN
    strange = [sample(K.FAMILY, carol(), number) for number in range(BATCH_MIN)]
    outcomes(directory, raws + strange)
    assert len(ahead.asked) == BATCH_MIN


def test_a_key_that_signs_itself_is_asked_by_its_own(
    directory: DirectoryCore, ahead: Ahead
) -> None:
    raws = [sample(K.KEY, carol(), number) for number in range(BATCH_MIN)]
    verdicts = directory.admit_many(K.KEY, raws, PEER, now_ms=AT_MS)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.ADMITTED}
    assert {one.public for one in ahead.asked} == {carol().public}
