"""The ether in real time: one thread that owns the ports of all emulated RNodes.

    RNodeInterface           -- pty --+
                                      +--  "ciris-ether"  --  Lab (devices, channel)
    VirtualRNodeInterface - socket ---+

The channel's clock is the monotonic clock times `speed`: at 16, a frame of 1.4 s takes 0.09 s, and
so do all other times of the radio; the host's own do not change. Serial lines are as fast as the
machine. Nothing here knows Reticulum.
"""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ciris_mesh.errors import ConfigError, LifecycleError, ShutdownTimeout
from ciris_mesh.radio.blocks import NodePort
from ciris_mesh.radio.chance import Randomness
from ciris_mesh.radio.device import STATS_PERIOD_S
from ciris_mesh.radio.ether import Heard, Sent
from ciris_mesh.radio.hostport import SOCKET_PATH_BYTES_MAX, HostPort
from ciris_mesh.radio.kiss import DeviceError
from ciris_mesh.radio.lab import Lab, NodeCounters, ToHosts
from ciris_mesh.radio.topology import Reach

logger = logging.getLogger(__name__)

#: Opening a pty wakes nobody, so ports nobody has open are looked at this often.
_LOOK_S: Final = 0.05
#: Nothing to do: still come by, so that a clock set wrong by a test is noticed.
_IDLE_S: Final = 1.0
#: What the thread is asked to do, ending too, takes no time; where it gets none for so long, by a
#: machine that does other things, something is wrong. One that died answers at once.
_ANSWER_TIMEOUT_S: Final = 60.0

_T = TypeVar("_T")


class Ether:
    """Emulated RNodes that real hosts can open. Used once: start, stop, gone.

    Owns one thread, "ciris-ether", from start() to stop(). All methods may be called from any
    other thread.

    Args:
        directory: where ports and sockets appear, made when missing; a short path.
        reach: how many nodes, and who hears whom.
        randomness: of slots, losses and sequence nibbles; used on the thread only.
        loss: probability that a frame is lost at one receiver.
        speed: how many seconds of the channel pass in one second.
        clock: monotonic seconds.

    Attributes:
        ports: one per node.

    Raises:
        ConfigError: the directory's path is too long for a socket.
    """

    def __init__(
        self,
        directory: Path,
        reach: Reach,
        *,
        randomness: Randomness,
        loss: float = 0.0,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(f"speed must be above 0, not {speed}")
        self.ports = tuple(_place(directory, node) for node in range(reach.nodes))
        self._directory = directory
        self._speed = speed
        self._clock = clock
        self._lab = Lab(reach, randomness, loss=loss, stats_period_s=STATS_PERIOD_S * speed)
        self._poller = select.poll()
        self._hosts = [HostPort(place, self._poller) for place in self.ports]
        self._began_s = 0.0
        self._lock = threading.Lock()  # guards the three fields below
        # One entry per thread that waits in _ask.
        self._jobs: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._stopping = False
        self._ended = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="ciris-ether", daemon=True)

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the ports and start the thread. Ignored when started before.

        Raises:
            LifecycleError: it was stopped; an ether is used once.
            OSError: a port could not be made; nothing is left of the others.
        """
        if self._stopping:
            raise LifecycleError("an ether is used once")
        if self._thread.ident is not None:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for host in self._hosts:
                host.plug()
        except OSError:
            for host in self._hosts:
                host.unplug()
            raise
        for end in (self._wake_reader, self._wake_writer):
            end.settimeout(0)
        self._poller.register(self._wake_reader, select.POLLIN)
        self._began_s = self._clock()
        self._thread.start()

    def stop(self, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        """End the thread and take the ports away. Ignored when stopped before.

        Raises:
            ShutdownTimeout: the thread did not end within `timeout_s` seconds.
        """
        with self._lock:
            self._stopping = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise ShutdownTimeout(self._thread.name, timeout_s)
        self._wake_reader.close()
        self._wake_writer.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- what a person does to a radio ------------------------------------------------------------

    def unplug(self, node: int) -> None:
        """Pull the plug: the port is gone, the device without power. Ignored when unplugged."""
        self._ask(lambda: self._unplug(node))

    def replug(self, node: int) -> None:
        """Plug it in again, at the same path. Ignored when plugged in."""
        self._ask(self._hosts[node].plug)

    def reset(self, node: int) -> None:
        """Press the reset button: the host notices that the device starts anew."""
        self._ask(lambda: self._tell(self._lab.reset(node, self._now_s())))

    def fail(self, node: int, code: DeviceError) -> None:
        """Let the device report a fault to its host."""
        self._ask(lambda: self._tell(self._lab.fail(node, code, self._now_s())))

    def set_loss(self, loss: float) -> None:
        """Change the probability that a frame is lost."""
        self._ask(lambda: self._lab.set_loss(loss))

    def lose(self, chosen: Callable[[bytes], bool] | None) -> None:
        """Lose the frames that `chosen` picks; it is asked on the ether's thread."""
        self._ask(lambda: self._lab.lose(chosen))

    def set_reach(self, reach: Reach) -> None:
        """Change who hears whom, as hills and antennas do: no host is told.

        Raises:
            ValueError: it is of another number of nodes.
        """
        self._ask(lambda: self._lab.set_reach(reach))

    @property
    def is_running(self) -> bool:
        """Whether the thread lives; it ends by stop(), or by a fault that it logs."""
        return self._thread.is_alive()

    @property
    def elapsed_s(self) -> float:
        """Seconds of the channel since start(); 0 before."""
        return self._now_s() if self._thread.ident is not None else 0.0

    def counters(self) -> tuple[NodeCounters, ...]:
        """What each node did until now; after stop(), until then."""
        return self._ask(self._count)

    def take_trace(self) -> tuple[Sent | Heard, ...]:
        """Frames sent and heard since this was asked last; the first time it begins to note."""
        return self._ask(self._lab.take_trace)

    # -- on the thread ----------------------------------------------------------------------------

    def _ask(self, job: Callable[[], _T]) -> _T:
        """Run a job on the thread, or here when there is none any more.

        Raises:
            LifecycleError: never started, or the thread does not answer.
        """
        if self._thread.ident is None:
            raise LifecycleError("the ether is not started")
        answer: Future[object] = Future()
        with self._lock:
            ended = self._ended
            if not ended:
                self._jobs.append((job, answer))
        if ended:
            return job()
        self._wake()
        try:
            return answer.result(_ANSWER_TIMEOUT_S)  # type: ignore[return-value]
        except TimeoutError:
            raise LifecycleError("the ether does not answer") from None

    def _wake(self) -> None:
        with suppress(OSError):  # full: it will wake; closed: it has ended
            self._wake_writer.send(b"x")

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._step()
        except Exception:
            logger.exception("ether.failed")
        finally:
            for host in self._hosts:
                host.unplug()
            with self._lock:
                self._ended = True
            self._do_jobs()

    def _step(self) -> None:
        """Let the channel's time pass, then wait for hosts, requests or its next event."""
        self._tell(self._lab.run(self._now_s()))
        self._do_jobs()
        for host in self._hosts:
            host.look()
        for number, mask in self._poller.poll(self._wait_ms()):
            if number == self._wake_reader.fileno():
                self._wake_reader.recv(64)
            else:
                self._serve(number, mask)

    def _serve(self, number: int, mask: int) -> None:
        for node, host in enumerate(self._hosts):
            if number in host.descriptors():
                got = host.on_ready(number, mask)
                if got:
                    self._tell(self._lab.from_host(node, got, self._now_s()))
                return

    def _wait_ms(self) -> int:
        """Rounded up: a wait that ends early would spin."""
        left_s = (self._lab.next_s - self._now_s()) / self._speed
        most_s = _LOOK_S if any(host.is_waiting for host in self._hosts) else _IDLE_S
        return math.ceil(min(max(left_s, 0.0), most_s) * 1000)

    def _do_jobs(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    return
                job, answer = self._jobs.popleft()
            try:
                answer.set_result(job())
            except Exception as error:  # noqa: BLE001 (goes to whoever asked)
                answer.set_exception(error)

    def _now_s(self) -> float:
        return (self._clock() - self._began_s) * self._speed

    def _tell(self, told: ToHosts) -> None:
        for node, data in told:
            self._hosts[node].tell(data)

    def _unplug(self, node: int) -> None:
        self._hosts[node].unplug()
        self._tell(self._lab.power_off(node, self._now_s()))

    def _count(self) -> tuple[NodeCounters, ...]:
        if not self._ended:
            self._tell(self._lab.run(self._now_s()))
        return tuple(
            replace(counters, dropped={**counters.dropped, **host.dropped})
            for counters, host in zip(
                map(self._lab.counters, range(len(self._hosts))), self._hosts, strict=True
            )
        )


def _place(directory: Path, node: int) -> NodePort:
    """Name the ports of a node.

    Raises:
        ConfigError: the path is too long for a socket.
    """
    path = directory.absolute() / f"rnode{node}.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(f"{directory} is too long for a socket: choose a shorter path")
    return NodePort(node, directory.absolute() / f"rnode{node}", path)
