"""A few connections that only read, whichever engine they lead to."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

from ciris_mesh.errors import DirectoryError, LifecycleError

#: As many as threads that carry rounds; more readers would only wait for the disk, and a server
#: has room for some hundred in all.
READERS_MAX: Final = 4

#: A read takes milliseconds; one that waits this long for its turn will not get it.
READER_WAIT_S: Final = 30.0


class _Closable(Protocol):
    def close(self) -> object: ...


_Reader = TypeVar("_Reader", bound=_Closable)


class ReaderPool(Generic[_Reader]):
    """At most READERS_MAX connections, opened when first needed. Any thread.

    Args:
        connect: opens one.
        is_broken: whether an idle one can't be used any more; it is replaced.
        too_slow: what is said when all stay busy for READER_WAIT_S; names what to look at.
    """

    def __init__(
        self,
        connect: Callable[[], _Reader],
        *,
        too_slow: str,
        is_broken: Callable[[_Reader], bool] = lambda _reader: False,
    ) -> None:
        self._connect = connect
        self._is_broken = is_broken
        self._too_slow = too_slow
        self._idle: queue.LifoQueue[_Reader | None] = queue.LifoQueue()
        for _ in range(READERS_MAX):
            self._idle.put(None)
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[_Reader]:
        """A reader for as long as the block runs.

        Raises:
            LifecycleError: the pool is closed.
            DirectoryError: none came free in READER_WAIT_S.
        """
        if self._closed:
            raise LifecycleError("the directory is closed")
        try:
            reader = self._idle.get(timeout=READER_WAIT_S)
        except queue.Empty:
            raise DirectoryError(self._too_slow) from None
        try:
            if reader is not None and self._is_broken(reader):
                reader.close()  # its other end is gone; letting go is ours
                reader = None
            if reader is None:
                reader = self._connect()
            yield reader
        finally:
            self._idle.put(reader)

    def close(self) -> None:
        """Wait for readers under way, then close all."""
        self._closed = True
        for _ in range(READERS_MAX):
            try:
                reader = self._idle.get(timeout=READER_WAIT_S)
            except queue.Empty:
                return
            if reader is not None:
                reader.close()
