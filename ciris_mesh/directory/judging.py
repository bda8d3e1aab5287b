"""A batch judged by several threads: most of judging is verification, which leaves the interpreter.

Threads live for one batch. They cost a tenth of a millisecond, a batch worth them takes twenty;
and nothing is left to start, stop or lose.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

#: Verifying is a third of judging, so a fourth thread would mostly wait for the interpreter.
THREADS_MAX: Final = 3
#: Fewer are judged as fast by the thread that asks.
BATCH_MIN: Final = 8

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def judge_all(judge: Callable[[_In], _Out], pending: Sequence[_In]) -> list[_Out]:
    """`judge` of each, in the order given. It must be thread-safe; what it raises is raised."""
    threads = min(THREADS_MAX, _cores(), len(pending) // BATCH_MIN + 1)
    if threads == 1:
        return [judge(one) for one in pending]
    judged: dict[int, _Out] = {}  # each thread writes places of its own

    def judge_share(first: int) -> None:
        for place in range(first, len(pending), threads):
            judged[place] = judge(pending[place])

    with ThreadPoolExecutor(threads - 1, thread_name_prefix="ciris-judge") as pool:
        shares = [pool.submit(judge_share, first) for first in range(1, threads)]
        judge_share(0)
        for share in shares:
            share.result()
    return [judged[place] for place in range(len(pending))]


def _cores() -> int:
    return len(os.sched_getaffinity(0))
