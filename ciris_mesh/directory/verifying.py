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
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature, verify_hybrid
from ciris_mesh.records.outcome import Reason

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

logger = logging.getLogger(__name__)

#: More than this many processes would wait for the one that judges.
HELPERS_MAX: Final = 3

#: Fewer signatures are checked as fast by who asks.
BATCH_MIN: Final = 16

#: Helpers start when this many signatures came within `BUSY_S`. Starting one costs as much as
#: checking 400, and a node that exchanges what is new never comes near.
BUSY_SIGNATURES: Final = 100
BUSY_S: Final = 10.0

#: Signatures handed over at once, and pieces a helper has before it: 6 kB a signature, so both
#: fit into a socket's buffer and handing over never waits.
PIECE: Final = 8
PIECES_EACH: Final = 2

#: A piece takes milliseconds, a second on a slow board under load.
ANSWER_S: Final = 10.0

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
    """One batch of signatures under way. Belongs to the thread that opened it, which closes it."""

    def hand(self, asked: Iterable[Signed]) -> None:
        """Check these by and by. Does not wait."""
        ...

    def reason(self, one: Signed) -> Reason | None:
        """What `verify_hybrid` says of one that was handed over; None when nobody knows."""
        ...

    def close(self) -> None:
        """No more is asked."""
        ...


class Verifiers(Protocol):
    """Checks signatures beside whoever judges what they stand under."""

    def open(self, count: int) -> Checking | None:
        """Begin a batch of about so many signatures; None when that is no use."""
        ...

    def reap(self) -> None:
        """Let go of what ended for want of work. Called every now and then."""
        ...


class HelperProcesses:
    """Processes that check signatures, started when there is much to check. Thread-safe.

    Args:
        count: how many; as many as there are other cores, unless said otherwise.
    """

    def __init__(self, count: int | None = None) -> None:
        others = len(os.sched_getaffinity(0)) - 1
        self._count = min(others, HELPERS_MAX) if count is None else count
        self._lock = threading.Lock()  # held by whoever uses the helpers; guards all below
        self._helpers: list[_Helper] = []
        self._recent: deque[tuple[float, int]] = deque()
        self._rests_until_s = 0.0
        self._is_stopped = False

    def open(self, count: int) -> Checking | None:
        """See Verifiers. While another thread uses the helpers, there are none."""
        if count < BATCH_MIN or not self._lock.acquire(blocking=False):
            return None
        ready: list[_Helper] = []
        try:
            self._drop_ended()
            self._start_if_busy(count)
            ready = [helper for helper in self._helpers if helper.is_ready()]
        except (OSError, EOFError) as error:
            self._failed(error)
        finally:
            if not ready:
                self._lock.release()
        return _Batch(ready, self._close) if ready else None

    def _close(self, error: Exception | None) -> None:
        """A batch is over."""
        if error is not None:
            self._failed(error)
        self._lock.release()

    def _failed(self, error: Exception) -> None:
        logger.warning("verifiers.failed, checking without them: %s", error)
        self._end()
        self._rests_until_s = time.monotonic() + REST_S

    def reap(self) -> None:
        """See Verifiers."""
        if self._lock.acquire(blocking=False):
            try:
                self._drop_ended()
            finally:
                self._lock.release()

    def stop(self) -> None:
        """End all helpers. Idempotent; afterwards there are none."""
        with self._lock:
            self._is_stopped = True
            self._end()

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
        while self._helpers:
            self._helpers.pop().end()


class _Batch:
    """See Checking. Helpers take pieces from the front, and whoever waits checks from the back.

    Args:
        close: called at the end with what went wrong.
    """

    def __init__(self, helpers: list[_Helper], close: Callable[[Exception | None], None]) -> None:
        self._helpers = helpers
        self._close = close
        self._asked: set[Signed] = set()
        self._left: dict[Signed, None] = {}  # in order, not handed to anybody yet
        self._checked: dict[Signed, Reason] = {}
        self._answered = 0  # since somebody last looked after the helpers
        self._error: Exception | None = None

    def hand(self, asked: Iterable[Signed]) -> None:
        """See Checking."""
        new = dict.fromkeys(one for one in asked if one not in self._asked)
        self._asked.update(new)
        self._left.update(new)
        self._go_on()

    def reason(self, one: Signed) -> Reason | None:
        """See Checking."""
        if one not in self._asked:
            return None
        self._answered += 1
        if self._answered % PIECE == 0 and self._left:  # or the helpers wait for this thread
            self._go_on()
        while one not in self._checked and self._error is None:
            if one in self._left:
                del self._left[one]
                self._check(one)
            elif self._left:
                self._check(self._left.popitem()[0])
            else:
                self._go_on(ANSWER_S)
        return self._checked.get(one)

    def close(self) -> None:
        """See Checking. Answers under way are waited for, or they would answer the next batch."""
        self._left.clear()
        while self._error is None and any(helper.pieces for helper in self._helpers):
            self._go_on(ANSWER_S)
        self._close(self._error)

    def _check(self, one: Signed) -> None:
        """On this thread, while the helpers have something to do as well."""
        self._go_on()
        self._checked[one] = verify_hybrid(*one)

    def _go_on(self, timeout_s: float = 0.0) -> None:
        """Take the answers that are there, or wait for one, and let no helper be idle."""
        try:
            self._collect(timeout_s)
            for helper in self._helpers:
                while self._left and len(helper.pieces) < PIECES_EACH:
                    piece = list(islice(self._left, PIECE))
                    for one in piece:
                        del self._left[one]
                    helper.hand(piece)
        except (OSError, EOFError, ValueError) as error:
            self._error = error

    def _collect(self, timeout_s: float) -> None:
        for helper in self._helpers:
            while helper.pieces and helper.has_answer(timeout_s):
                self._checked.update(helper.take())
                timeout_s = 0.0  # something came: whoever waits looks again


class _Helper:
    """One process and the pieces it has. Raises OSError or EOFError when it is gone."""

    def __init__(self) -> None:
        from multiprocessing.connection import Pipe

        self.pieces: deque[list[Signed]] = deque()
        self._is_ready = False
        self._connection: Connection
        self._connection, theirs = Pipe()
        self._answers = select.poll()  # `Connection.poll` makes one anew at each look
        self._answers.register(self._connection.fileno(), select.POLLIN)
        with theirs:
            fd = theirs.fileno()
            module = ["-P", "-m", "ciris_mesh.directory.verifier"]  # -P: never from where we stand
            self._process = subprocess.Popen(
                [sys.executable, *module, str(fd), str(IDLE_S)],
                stdin=subprocess.DEVNULL,
                pass_fds=(fd,),
            )
        logger.info("verifier.started pid=%d", self._process.pid)

    def is_ready(self) -> bool:
        """Loaded by now? Nobody waits for it."""
        if not self._is_ready and self._connection.poll():
            self._connection.recv_bytes()
            self._is_ready = True
        return self._is_ready

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def hand(self, piece: list[Signed]) -> None:
        work = [(*_halves(one), one.signature.ed25519, one.signature.mldsa65) for one in piece]
        self._connection.send_bytes(marshal.dumps(work))
        self.pieces.append(piece)

    def has_answer(self, timeout_s: float) -> bool:
        found = bool(self._answers.poll(timeout_s * 1000))
        if not found and timeout_s:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        return found

    def take(self) -> dict[Signed, Reason]:
        from ciris_mesh.directory.verifier import REASONS

        piece, said = self.pieces.popleft(), self._connection.recv_bytes()
        return dict(zip(piece, (REASONS[one] for one in said), strict=True))

    def end(self) -> None:
        self._connection.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _halves(one: Signed) -> tuple[bytes, bytes, bytes]:
    return one.public.ed25519, one.public.mldsa65, one.message
