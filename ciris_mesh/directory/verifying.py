"""Signatures of a batch checked beside this interpreter, by processes that live as long as needed.

Verifying is half the work of taking a record, and all of it is in a library that leaves the
interpreter. Threads gain nothing by that: each has to wait for the interpreter again after every
signature, longer than the signature took. A process does not. So whoever judges a batch hands its
signatures over while it reads, and asks for each when it comes to it; what a helper still has to
check then is waited for by checking others.

The answers are what `verify_hybrid` says, from our own code in a process that we started; nothing
else is decided there. A helper that cannot be started, dies or is late costs time and no more: what
it was given is checked here.
"""

from __future__ import annotations

import logging
import marshal
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple, Protocol

from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature, verify_hybrid
from ciris_mesh.records.outcome import Reason

logger = logging.getLogger(__name__)

#: More than this many processes would wait for the one that judges.
HELPERS_MAX: Final = 3

#: Fewer signatures are checked as fast by who asks.
BATCH_MIN: Final = 16

#: Helpers start when this many signatures came within `BUSY_S`. Starting one costs as much as
#: checking 400, and a node that exchanges what is new never comes near.
BUSY_SIGNATURES: Final = 100
BUSY_S: Final = 10.0

#: Signatures handed over at once, and pieces a helper has before it: two, so that it need not wait
#: for the next, and of much up to some 25 ms of work, since nobody looks after it while a batch is
#: written to disk.
PIECE: Final = 8
PIECES_MIN: Final = 2
PIECES_MAX: Final = 6

#: 6 kB a signature. The kernel gives what it allows (`net.core.wmem_max`, mostly 208 kB, twice), of
#: which half is room for bytes; a helper is never handed more than fits, so nobody waits for it.
BUFFER_BYTES: Final = 512 * 1024

#: Keys and signature of both halves, and what stands between them in a message to a helper.
_HALVES_BYTES: Final = 32 + 1952 + 64 + 3309 + 64

#: Batches open at a time: of each worker one that is judged and one that is read ahead.
BATCHES_MAX: Final = 8

#: A piece takes milliseconds, a second on a slow board under load.
ANSWER_S: Final = 10.0

#: Whoever waits looks again after this at the latest.
LOOK_S: Final = 0.5

#: After a helper failed: starting it again at once would mostly fail again.
REST_S: Final = 60.0

#: Without work for so long a helper ends: it holds 25 MB that a quiet node has no use for.
IDLE_S: Final = 20.0

#: A helper ends by itself when its socket closes.
STOP_S: Final = 2.0


class Signed(NamedTuple):
    """One signature with both halves, and what it should fit."""

    public: HybridPublicKey
    message: bytes
    signature: HybridSignature


class Checking(Protocol):
    """One batch of signatures under way. Belongs to one thread at a time."""

    def hand(self, asked: Iterable[Signed]) -> None:
        """Check these by and by. Does not wait."""
        ...

    def reason(self, one: Signed) -> Reason | None:
        """What `verify_hybrid` says of one that was handed over, the very object; None when
        nobody knows.
        """
        ...

    def close(self) -> None:
        """No more is asked. Idempotent."""
        ...


class Verifiers(Protocol):
    """Checks signatures beside whoever judges what they stand under."""

    def expect(self, count: int) -> None:
        """About so many are on their way. Does not wait."""
        ...

    def open(self, count: int) -> Checking | None:
        """Begin a batch of about so many signatures; None when that is no use."""
        ...

    def is_of_use(self) -> bool:
        """Is there anybody who would check?"""
        ...

    def reap(self) -> None:
        """Let go of what ended for want of work. Called every now and then."""
        ...


class HelperProcesses:
    """Processes that check signatures, started when there is much to check. Thread-safe.

    All batches that are open share them: first come, first served. What a helper that failed had
    of theirs is checked by whoever asks.

    Args:
        count: how many; as many as there are other cores, unless said otherwise.
    """

    def __init__(self, count: int | None = None) -> None:
        others = len(os.sched_getaffinity(0)) - 1
        self._count = min(others, HELPERS_MAX) if count is None else count
        self._lock = threading.Lock()  # guards all below; nobody waits for an answer with it
        self._helpers: list[_Helper] = []
        self._left: dict[_Ask, None] = {}  # in order, not handed to anybody yet
        self._batches = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._rests_until_s = 0.0
        self._is_stopped = False

    def expect(self, count: int) -> None:
        """See Verifiers. A helper takes as long to start as a batch does to be judged without."""
        if count >= BUSY_SIGNATURES:
            with self._lock:
                try:
                    self._start_if_busy(count)
                except OSError as error:
                    self._failed(error)

    def open(self, count: int) -> Checking | None:
        """See Verifiers."""
        if count < BATCH_MIN:
            return None
        with self._lock:
            try:
                self._drop_ended()
                self._start_if_busy(count)
                ready = [helper for helper in self._helpers if helper.is_ready()]
            except (OSError, EOFError) as error:
                self._failed(error)
                return None
            if not ready or self._batches == BATCHES_MAX:
                return None
            self._batches += 1
        return _Batch(self)

    def take(self, asks: Iterable[_Ask]) -> None:
        """Have these checked by and by."""
        with self._lock:
            self._left.update(dict.fromkeys(asks))
            self._go_on()

    def look_after(self) -> None:
        """Let no helper be idle: they answer, and ask for nothing."""
        with self._lock:
            self._go_on()

    def answer(self, ask: _Ask) -> Reason | None:
        """What was asked; None when whoever had it failed, or is another thread here.

        Whoever waits checks: this one, when nobody else began with it, or else the last in line.
        """
        waits_s = 0.0
        while True:
            with self._lock:
                self._go_on()
                is_coming = ask in self._left or ask.helper in self._helpers
                if ask.reason is not None or not is_coming:
                    return ask.reason
                mine = self._chosen(ask)
                busy = [helper.fd for helper in self._helpers if helper.pieces]
            if mine is not None:
                mine.reason = verify_hybrid(*mine.signed)
            elif waits_s < ANSWER_S:
                waits_s += _wait(busy, ANSWER_S - waits_s)
            else:
                with self._lock:
                    self._failed(TimeoutError(f"no answer within {ANSWER_S:g} s"))

    def forget(self, asks: Iterable[_Ask]) -> None:
        """A batch is over: what of it was not begun is nobody's any more."""
        with self._lock:
            self._batches -= 1
            if self._left:
                for ask in asks:
                    self._left.pop(ask, None)
                self._go_on()

    def is_of_use(self) -> bool:
        """See Verifiers."""
        with self._lock:
            return bool(self._helpers) and self._batches < BATCHES_MAX

    def reap(self) -> None:
        """See Verifiers."""
        with self._lock:
            self._drop_ended()

    def stop(self) -> None:
        """End all helpers. Idempotent; afterwards there are none."""
        with self._lock:
            self._is_stopped = True
            self._end()

    def _chosen(self, ask: _Ask) -> _Ask | None:
        if ask in self._left:
            del self._left[ask]
            return ask
        return self._left.popitem()[0] if self._left else None

    def _go_on(self) -> None:
        """Take the answers that are there, and give out work."""
        try:
            for helper in self._helpers:
                while helper.pieces and helper.has_answer():
                    helper.take()
                while self._left and self._has_room(helper) and helper.is_ready():
                    piece = helper.takes(list(islice(self._left, PIECE)))
                    if not piece:
                        break
                    for ask in piece:
                        del self._left[ask]
                    helper.hand(piece)
        except (OSError, EOFError, ValueError) as error:
            self._failed(error)

    def _has_room(self, helper: _Helper) -> bool:
        """May it have another piece? Of the last ones no more than are left to who waits for it."""
        pieces = len(helper.pieces)
        return pieces < PIECES_MIN or (pieces < PIECES_MAX and len(self._left) > pieces * PIECE)

    def _failed(self, error: Exception) -> None:
        logger.warning("verifiers.failed, checking without them: %s", error)
        self._end()
        self._rests_until_s = time.monotonic() + REST_S

    def _start_if_busy(self, count: int) -> None:
        now_s = time.monotonic()
        self._recent.append((now_s, count))
        while self._recent[0][0] < now_s - BUSY_S:
            self._recent.popleft()
        is_busy = sum(number for _, number in self._recent) >= BUSY_SIGNATURES
        if is_busy and not self._is_stopped and now_s >= self._rests_until_s:
            while len(self._helpers) < self._count:
                self._helpers.append(_Helper())

    def _drop_ended(self) -> None:
        ended = [helper for helper in self._helpers if helper.has_ended()]
        self._helpers = [helper for helper in self._helpers if helper not in ended]
        for helper in ended:
            helper.end()

    def _end(self) -> None:
        self._left.clear()
        while self._helpers:
            self._helpers.pop().end()


class _Ask:
    """One signature that somebody wants checked. Only what is in it is shared between threads."""

    __slots__ = ("helper", "reason", "signed", "size_bytes")

    def __init__(self, signed: Signed) -> None:
        self.signed = signed
        self.size_bytes = _HALVES_BYTES + len(signed.message)
        self.reason: Reason | None = None  # known by now
        self.helper: _Helper | None = None  # who was asked


class _Batch:
    """See Checking."""

    def __init__(self, helpers: HelperProcesses) -> None:
        self._helpers = helpers
        self._asks: dict[int, _Ask] = {}  # by identity of what was asked, which they keep
        self._answered = 0
        self._is_closed = False

    def hand(self, asked: Iterable[Signed]) -> None:
        """See Checking."""
        if self._is_closed:
            return
        new = {id(one): _Ask(one) for one in asked if id(one) not in self._asks}
        self._asks.update(new)
        self._helpers.take(new.values())

    def reason(self, one: Signed) -> Reason | None:
        """See Checking."""
        ask = self._asks.get(id(one))
        if ask is None:
            return None
        self._answered += 1
        if ask.reason is None:
            return self._helpers.answer(ask)
        if self._answered % PIECE == 0:  # or the helpers wait for this thread
            self._helpers.look_after()
        return ask.reason

    def close(self) -> None:
        """See Checking."""
        if not self._is_closed:
            self._is_closed = True
            self._helpers.forget(self._asks.values())


class _Helper:
    """One process and the pieces it has. Raises OSError or EOFError when it is gone."""

    def __init__(self) -> None:
        from multiprocessing.connection import Connection

        self.pieces: deque[list[_Ask]] = deque()
        self._is_ready = False
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self._room_bytes = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2
        self._connection = Connection(ours.detach())
        self._answers = select.poll()  # `Connection.poll` makes one anew at each look
        self._answers.register(self.fd, select.POLLIN)
        with theirs:
            fd = theirs.fileno()
            module = ["-P", "-m", "ciris_mesh.directory.verifier"]  # -P: never from where we stand
            self._process = subprocess.Popen(
                [sys.executable, *module, str(fd), str(IDLE_S)],
                stdin=subprocess.DEVNULL,
                pass_fds=(fd,),
            )
        logger.info("verifier.started pid=%d", self._process.pid)

    @property
    def fd(self) -> int:
        """Readable when there is an answer."""
        return self._connection.fileno()

    def is_ready(self) -> bool:
        """Loaded by now? Nobody waits for it."""
        if not self._is_ready and self.has_answer():
            self._connection.recv_bytes()
            self._is_ready = True
        return self._is_ready

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def takes(self, asks: list[_Ask]) -> list[_Ask]:
        """The first of these for which there is room; one at least, if it has nothing to do."""
        left_bytes = self._room_bytes - sum(
            ask.size_bytes for piece in self.pieces for ask in piece
        )
        fits = 0
        for ask in asks:
            left_bytes -= ask.size_bytes
            if left_bytes < 0:
                break
            fits += 1
        return asks[: fits if self.pieces else max(1, fits)]

    def hand(self, piece: list[_Ask]) -> None:
        work = [
            (*_halves(one), one.signature.ed25519, one.signature.mldsa65)
            for one in (ask.signed for ask in piece)
        ]
        self._connection.send_bytes(marshal.dumps(work))
        self.pieces.append(piece)
        for ask in piece:
            ask.helper = self

    def has_answer(self) -> bool:
        return bool(self._answers.poll(0))

    def take(self) -> None:
        """Note the answers to the oldest piece."""
        from ciris_mesh.directory.verifier import REASONS

        piece, said = self.pieces.popleft(), self._connection.recv_bytes()
        if len(said) != len(piece) or any(one >= len(REASONS) for one in said):
            raise ValueError(f"{said!r} is no answer to {len(piece)} signatures")
        for ask, one in zip(piece, said, strict=True):
            ask.reason = REASONS[one]

    def end(self) -> None:
        self._connection.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _wait(fds: Iterable[int], timeout_s: float) -> float:
    """Until one is readable. Returns seconds.

    Whoever else asks may take the answer first, or end the helper, whose number may then stand for
    another file: so nobody waits for long.
    """
    answers = select.poll()
    for fd in fds:
        if fd >= 0:
            answers.register(fd, select.POLLIN)
    begun_s = time.monotonic()
    answers.poll(min(timeout_s, LOOK_S) * 1000)
    return time.monotonic() - begun_s


def _halves(one: Signed) -> tuple[bytes, bytes, bytes]:
    return one.public.ed25519, one.public.mldsa65, one.message
