"""What links and exchanges share: nothing important is lost to a full strand or a still link."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.errors import BackPressure, LifecycleError, LinkGone
from ciris_mesh.runtime.counters import DropCounter
from ciris_mesh.runtime.events import EventHub
from ciris_mesh.runtime.handshake import LinkState
from ciris_mesh.runtime.parts import Parts
from ciris_mesh.runtime.peers import PeerConfig, PeerTable
from ciris_mesh.runtime.registry import ReplicationRegistry
from ciris_mesh.runtime.staleness import StalenessBoard
from ciris_mesh.runtime.worker import Task
from ciris_mesh.transport.base import Address, LinkId
from ciris_mesh.transport.loopback import LoopbackNetwork, LoopbackTransport
from ciris_mesh.wire.frame import wrap
from ciris_mesh.wire.mesh import BindingWanted
from support.virtual_time import InlinePool, VirtualTimer

LINK = LinkId(5)


@dataclass
class Bench:
    """Parts on virtual time, and a transport of which only what is said is of interest."""

    timer: VirtualTimer = field(default_factory=VirtualTimer)
    pool: InlinePool = field(default_factory=InlinePool)
    moved_s: float | None = None
    sent: list[tuple[LinkId, bytes]] = field(default_factory=list)
    hung_up: list[LinkId] = field(default_factory=list)
    error: Exception | None = None

    def __post_init__(self) -> None:
        bench = self

        class Transport(LoopbackTransport):
            def send(self, link: LinkId, frame: bytes) -> None:
                if bench.error is not None:
                    raise bench.error
                bench.sent.append((link, frame))

            def hang_up(self, link: LinkId) -> None:
                bench.hung_up.append(link)

            def progress_s(self, link: LinkId) -> float | None:
                return bench.moved_s

        directory = MemoryDirectory()
        self.parts = Parts(
            transport=Transport(LoopbackNetwork(), "bench"),
            directory=directory,
            bridge=FederationDirectoryReplicationBridge(directory, frozenset),
            registry=ReplicationRegistry(),
            peers=PeerTable(),
            board=StalenessBoard(self.timer.clock),
            drops=DropCounter(),
            events=EventHub(),
            pool=self.pool,
            timer=self.timer,
            clock=self.timer.clock,
            wall_ms=lambda: 0,
            rng=random.Random(1),
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


STATE = LinkState(LINK, False, bytes(8))


def test_a_task_that_finds_its_strand_full_is_tried_again_until_there_is_room(bench: Bench) -> None:
    done: list[int] = []
    bench.pool.refuse = 3
    bench.parts.submit("strand", lambda: done.append(1))
    assert done == []
    bench.timer.advance(1.0)
    assert done == [1]


def test_after_the_pool_stopped_a_task_is_dropped_without_an_error(bench: Bench) -> None:
    class Stopped(InlinePool):
        def submit(self, strand: object, task: Task) -> None:
            raise LifecycleError("the worker pool was stopped")

    bench = Bench(pool=Stopped())
    bench.parts.submit("strand", lambda: None)
    assert len(bench.timer) == 0


def test_a_message_goes_out_as_its_frame(bench: Bench) -> None:
    bench.parts.say(STATE, BindingWanted())
    assert bench.sent == [(LINK, wrap(BindingWanted()))]


@pytest.mark.parametrize("error", [LinkGone("down"), BackPressure("full")])
def test_a_link_that_takes_no_message_is_an_error_or_is_closed(
    bench: Bench, error: Exception
) -> None:
    bench.error = error
    with pytest.raises(type(error)):
        bench.parts.say(STATE, BindingWanted())
    assert bench.hung_up == []
    bench.parts.try_say(STATE, BindingWanted())
    assert bench.hung_up == [LINK]


def test_dropping_a_link_says_why_and_is_nothing_without_one(bench: Bench) -> None:
    peer = bench.parts.peers.put(PeerConfig("bob", Address(bytes(16))))
    bench.parts.drop_link(peer, "no_answer")
    assert (bench.hung_up, peer.reason) == ([], "")
    peer.link = STATE
    bench.parts.drop_link(peer, "no_answer")
    assert (bench.hung_up, peer.reason) == ([LINK], "no_answer")


# --- when_still -----------------------------------------------------------------------------------


class Watch:
    def __init__(self, bench: Bench) -> None:
        self.over = False
        self.given_up_s: list[float] = []
        bench.parts.when_still(
            LINK,
            10.0,
            queue=lambda task: bench.parts.submit("strand", task),
            is_over=lambda: self.over,
            then=lambda: self.given_up_s.append(bench.timer.now_s),
        )


def test_a_link_on_which_nothing_moves_is_given_up_once(bench: Bench) -> None:
    start_s = bench.timer.now_s
    watch = Watch(bench)
    bench.timer.advance(100.0)
    assert watch.given_up_s == [start_s + 10.0]


def test_what_moved_before_does_not_count(bench: Bench) -> None:
    bench.moved_s = bench.timer.now_s - 60.0
    watch = Watch(bench)
    bench.timer.advance(9.9)
    assert watch.given_up_s == []
    bench.timer.advance(0.1)
    assert len(watch.given_up_s) == 1


def test_progress_puts_it_off_however_long(bench: Bench) -> None:
    watch = Watch(bench)
    for _ in range(100):
        bench.timer.advance(7.0)
        bench.moved_s = bench.timer.now_s
    assert watch.given_up_s == []
    bench.timer.advance(10.0)
    assert watch.given_up_s == [bench.timer.now_s]


def test_nothing_happens_when_it_was_over_in_time(bench: Bench) -> None:
    watch = Watch(bench)
    bench.timer.advance(5.0)
    watch.over = True
    bench.timer.advance(100.0)
    assert watch.given_up_s == []
    assert len(bench.timer) == 0
