"""Whether the nodes of one process have anything left to do at the present time.

On a clock that leaps, time may pass only then: what a node does late, because its threads did not
get to run, it would do at another hour than on an idle machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack

from ciris_mesh.runtime.node import Node
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport


def at_rest(network: LoopbackNetwork, nodes: Iterable[Node]) -> bool:
    """Say so of all of them at one instant: nothing is due, under way or being worked on.

    No lock is held by anybody who waits for another, so all can be taken in any order.
    """
    rest = list(nodes)
    with ExitStack() as locks:
        locks.enter_context(network._lock)
        for node in rest:
            locks.enter_context(node.runtime._pool._changed)
            locks.enter_context(node.runtime._timer._changed)
        return all(map(_rests, rest))


def has_handed_on(node: Node) -> bool:
    """Say whether the transport has told the node of all that arrived by now."""
    transport = node.runtime.transport
    assert isinstance(transport, LoopbackTransport)
    agenda = transport._agenda
    with transport._lock:
        if agenda._heap and agenda._heap[0].at <= time.monotonic():
            return False
        return _waits(transport._thread, agenda._wakeup)


def _rests(node: Node) -> bool:
    transport, pool, timer = node.runtime.transport, node.runtime._pool, node.runtime._timer
    assert isinstance(transport, LoopbackTransport)
    if pool._strands or pool._running:
        return False
    if timer._due and timer._due[0][0] <= timer._clock():
        return False
    agenda = transport._agenda
    if agenda._heap:
        return False
    return _waits(timer._thread, timer._changed) and _waits(transport._thread, agenda._wakeup)


def _waits(thread: threading.Thread, wakeup: threading.Condition) -> bool:
    """A thread that is not there counts: its node was not started, or has ended."""
    waiters: object = vars(wakeup)["_waiters"]
    return bool(waiters) or not thread.is_alive()
