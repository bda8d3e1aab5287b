"""Work for all cores, in order, with as much under way as keeps them busy and no more."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

#: Pieces under way for each core: one worked on, one waiting, one being fetched.
_PIECES_PER_CORE = 3


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def all_cores() -> Iterator[ProcessPoolExecutor]:
    """A process for each core. Started afresh, not forked: threads of ours may hold locks."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores(), mp_context=context) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def in_order(
    pool: ProcessPoolExecutor, work: Callable[[_In], _Out], pieces: Iterable[_In]
) -> Iterator[_Out]:
    """Yield `work(piece)` for each piece, in order; bounded however many pieces there are."""
    under_way: deque[Future[_Out]] = deque()
    for piece in pieces:
        under_way.append(pool.submit(work, piece))
        if len(under_way) >= _PIECES_PER_CORE * cores():
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
