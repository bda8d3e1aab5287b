"""Group commit without a thread of its own: whoever gets the writer lock first does all the work.

A commit costs the same for one record as for a hundred (on a card, one fsync). Callers queue their
job and then take the writer lock; the one that gets it runs every job queued by then in a single
transaction, and the others find theirs done when their turn comes. There is no thread to start,
stop or lose, and a lone caller waits for nothing but its own commit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from ciris_mesh.directory.store import Store
from ciris_mesh.errors import LifecycleError, StoreUnreachable

_T = TypeVar("_T")

#: Jobs in one transaction. A job is a batch of up to a Deliver (512 KiB), so a group stays below
#: 16 MiB of unwritten log, and nobody waits for much more than its own work.
GROUP_JOBS_MAX: Final = 32


class _Ticket(Generic[_T]):
    __slots__ = ("done", "durable", "error", "job", "result")

    def __init__(self, job: Callable[[], _T], *, durable: bool) -> None:
        self.job = job
        self.durable = durable
        self.done = False
        self.result: _T | None = None
        self.error: Exception | None = None


class GroupCommit:
    """Runs jobs that write, one at a time, several to a transaction.

    Args:
        committed: called after each commit, still under the writer lock: make it visible.
        rolled_back: called after a failed transaction, before anything is tried again: memory
            that followed the writes must be read anew. While it says StoreUnreachable, nothing is
            written, and it is called again for the next job.
    """

    def __init__(
        self, store: Store, committed: Callable[[], None], rolled_back: Callable[[], None]
    ) -> None:
        self._store = store
        self._committed = committed
        self._rolled_back = rolled_back
        self._writer = threading.Lock()  # held by the one thread that writes to the store
        self._queue_lock = threading.Lock()  # guards the queue
        self._queue: deque[_Ticket[Any]] = deque()
        self._closed = False
        self.is_stale = False  # memory does not follow the store; guarded by the writer lock

    def run(self, job: Callable[[], _T], *, durable: bool) -> _T:
        """Run `job` inside a transaction and return its result once committed.

        A job may be run twice (when another in its group failed), so it must change nothing but
        the store and what `rolled_back` restores.

        Raises:
            LifecycleError: the directory is closed.
            Exception: what the job or the commit raised; then nothing of it was written.
        """
        ticket = _Ticket(job, durable=durable)
        with self._queue_lock:
            if self._closed:
                raise LifecycleError("the directory is closed")
            self._queue.append(ticket)
        with self._writer:
            while not ticket.done:
                self._lead()
        if ticket.error is not None:
            raise ticket.error
        return cast(_T, ticket.result)

    def close(self, last: Callable[[], None]) -> None:
        """Let queued jobs finish, then run `last` under the writer lock. Idempotent."""
        with self._queue_lock:
            if self._closed:
                return
            self._closed = True
        with self._writer:
            while self._queue:
                self._lead()
            last()

    def _lead(self) -> None:
        """Run the oldest jobs as one group; one by one when the group fails."""
        assert self._writer.locked(), "only the holder of the writer lock leads"
        with self._queue_lock:
            group = [self._queue.popleft() for _ in range(min(len(self._queue), GROUP_JOBS_MAX))]
        error = self._attempt(group)
        if isinstance(error, StoreUnreachable):  # perhaps it was written and we did not hear
            error = self._attempt(group)
        if error is not None and len(group) > 1:
            for ticket in group:
                self._attempt([ticket])
        for ticket in group:
            ticket.done = True

    def _attempt(self, group: list[_Ticket[Any]]) -> Exception | None:
        try:
            self._refresh()
            with self._store.transaction(durable=any(ticket.durable for ticket in group)):
                for ticket in group:
                    ticket.result = ticket.job()
        except Exception as error:  # noqa: BLE001 (handed to the callers whose jobs these were)
            self._undo(group, error)
            return error
        except BaseException:
            self._undo(group, LifecycleError("interrupted while writing; nothing was written"))
            for ticket in group:
                ticket.done = True
            raise
        self._committed()
        for ticket in group:
            ticket.error = None
        return None

    def _undo(self, group: list[_Ticket[Any]], error: Exception) -> None:
        for ticket in group:
            ticket.error = error
        self.is_stale = True
        try:
            self._refresh()
        except StoreUnreachable as second:
            error.add_note(f"and the store cannot be read: {second}")
        except Exception as second:  # noqa: BLE001 (the store is gone: nobody may write any more)
            with self._queue_lock:
                self._closed = True
            error.add_note(f"and the store cannot be read: {second}")

    def _refresh(self) -> None:
        """Let memory follow the store again after a transaction that failed."""
        if self.is_stale:
            self._rolled_back()
            self.is_stale = False
