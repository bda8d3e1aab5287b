"""When rounds start and when they are given up: never how they run.

Once per cadence a peer is checked: the `check` hook compares digests (or, without one, every kind
is taken to differ) and `run` then takes the kinds that differ through their rounds, one at a time.
Peers are independent of each other: a silent one costs its own rounds and nobody else's cadence.

A timer thread says when; the work runs on the peers' strands in a small pool.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ciris_mesh.errors import BackPressure, LifecycleError, MeshError, RemoteProtocolError
from ciris_mesh.protocol.limits import CADENCE_S, NO_PROGRESS_TIMEOUT_S
from ciris_mesh.protocol.report import RoundReport, SessionRole
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.coordinator import ReplicationCoordinator, RoundKey
from ciris_mesh.runtime.events import EventHub, RoundEvent, RoundOutcome
from ciris_mesh.runtime.worker import STRAND_RETRY_S, Timer, WorkerPool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Seconds, each with its default's reason in protocol.limits."""

    cadence_s: float = CADENCE_S
    no_progress_timeout_s: float = NO_PROGRESS_TIMEOUT_S


@dataclass(slots=True)
class _Watched:
    """A round under way."""

    coordinator: ReplicationCoordinator
    started_s: float
    progress_s: float


@dataclass(slots=True)
class _PeerRounds:
    """One peer's rounds. Touched only on the peer's strand, except the fields named here.

    Attributes:
        tick_due_s: when the next cadence's check is due. With `ticking`, under the lock.
        ticking: the peer's one cadence timer is set; it may be set for an earlier time.
        watching: the peer's one watchdog timer is set.
    """

    initiators: dict[EnvelopeKind, ReplicationCoordinator] = field(default_factory=dict)
    waiting: deque[EnvelopeKind] = field(default_factory=deque)
    watched: dict[RoundKey, _Watched] = field(default_factory=dict)
    tick_due_s: float = 0.0
    ticking: bool = False
    watching: bool = False


class ReplicationScheduler:
    """Starts rounds with every added peer, once per cadence, from start() to stop().

    Args:
        check: called on the peer's strand at its cadence; ends by calling `run` with the kinds
            that differ, now or later. None: all kinds of the peer are run.
        on_stalled: called on the peer's strand after a round was given up or broken, so that the
            link can be dropped and no stale message reaches the next round.
        progress_s: monotonic time at which bytes last moved to or from the peer, if known.
    """

    def __init__(
        self,
        *,
        pool: WorkerPool,
        timer: Timer,
        events: EventHub,
        clock: Callable[[], float],
        rng: random.Random,
        config: SchedulerConfig | None = None,
        check: Callable[[str], None] | None = None,
        on_stalled: Callable[[str, str], None] = lambda _peer, _reason: None,
        progress_s: Callable[[str], float | None] = lambda _peer: None,
    ) -> None:
        self.config = config or SchedulerConfig()
        self._pool = pool
        self._timer = timer
        self._events = events
        self._clock = clock
        self._rng = rng
        self._check = check or self._run_all
        self._on_stalled = on_stalled
        self._progress_s = progress_s
        self._lock = threading.Lock()  # guards the two fields below
        self._peers: dict[str, _PeerRounds] = {}
        self._running = False

    # -- peers come and go, before and after start ------------------------------------------

    def __len__(self) -> int:
        """How many initiators are registered."""
        with self._lock:
            return sum(len(rounds.initiators) for rounds in self._peers.values())

    def is_empty(self) -> bool:
        """True when no initiator is registered."""
        return len(self) == 0

    def add_initiator(self, coordinator: ReplicationCoordinator) -> None:
        """Begin rounds for this coordinator's peer and kind."""
        peer = coordinator.key.peer
        with self._lock:
            rounds = self._peers.setdefault(peer, _PeerRounds())
            is_new = not rounds.initiators
            rounds.initiators[coordinator.key.kind] = coordinator
            running = self._running
        if is_new and running:
            self._schedule_first(peer)

    def remove_initiator(self, key: RoundKey) -> None:
        """End rounds for one (peer, kind); the last one of a peer ends the peer's cadence."""
        with self._lock:
            rounds = self._peers.get(key.peer)
            if rounds is not None:
                rounds.initiators.pop(key.kind, None)

    def forget(self, peer: str) -> None:
        """Drop all that is kept of a peer that is no longer one."""
        with self._lock:
            self._peers.pop(peer, None)

    def start(self) -> None:
        """Begin. The first check of a peer is delayed by a random part of the cadence, so that
        nodes booted together do not collide; `trigger` is for those who can't wait.
        """
        with self._lock:
            self._running = True
            peers = list(self._peers)
        for peer in peers:
            self._schedule_first(peer)

    def stop(self) -> None:
        """Start no more rounds. Pool and timer belong to the runtime, which stops them."""
        with self._lock:
            self._running = False

    def trigger(self, peer: str, delay_s: float = 0.0) -> None:
        """Check `peer` once, `delay_s` from now, whatever its cadence."""
        self._timer.after(delay_s, lambda: self._submit_tick(peer))

    def postpone(self, peer: str) -> None:
        """The peer has just compared with us: the next check may wait a whole cadence."""
        self._schedule(peer, self.config.cadence_s)

    # -- rounds; all below run on the peer's strand ------------------------------------------

    def run(self, peer: str, kinds: Iterable[EnvelopeKind]) -> None:
        """Take these kinds through a round each, after those that wait already."""
        rounds = self._rounds(peer)
        if rounds is None:
            return
        active = {key.kind for key in rounds.watched}
        for kind in kinds:
            if kind in rounds.initiators and kind not in rounds.waiting and kind not in active:
                rounds.waiting.append(kind)
        self._start_next(peer)

    def drove(self, coordinator: ReplicationCoordinator, reports: list[RoundReport]) -> None:
        """A message of the peer was worked off: note progress, publish what finished."""
        with self._lock:  # a peer we only answer has no initiators, and is watched all the same
            rounds = self._peers.setdefault(coordinator.key.peer, _PeerRounds())
        for report in reports:
            self._finished(rounds, coordinator.key, report)
        if coordinator.is_active:
            self._watch(rounds, coordinator)
        elif coordinator.key in rounds.watched:
            del rounds.watched[coordinator.key]
        self._start_next(coordinator.key.peer)

    def failed(self, coordinator: ReplicationCoordinator, error: MeshError) -> None:
        """The round broke: say so, and let the runtime drop the link."""
        remote = isinstance(error, RemoteProtocolError)
        outcome = RoundOutcome.REFUSED if remote else RoundOutcome.ERROR
        self._give_up(coordinator, outcome, _reason_of(error))

    def abort_peer(self, peer: str, reason: str) -> None:
        """The link is gone: every round with this peer ends here."""
        rounds = self._rounds(peer)
        if rounds is None:
            return
        rounds.waiting.clear()
        for watched in list(rounds.watched.values()):
            self._end(rounds, watched, RoundOutcome.ERROR, reason)

    def is_busy(self, peer: str) -> bool:
        """True while a round with the peer runs or waits."""
        rounds = self._rounds(peer)
        return rounds is not None and bool(rounds.watched or rounds.waiting)

    # -- inside ---------------------------------------------------------------------------

    def _rounds(self, peer: str) -> _PeerRounds | None:
        with self._lock:
            return self._peers.get(peer)

    def _submit(self, peer: str, task: Callable[[], None]) -> bool:
        """Queue on the peer's strand; False when there is no room just now."""
        try:
            self._pool.submit(peer, task)
        except BackPressure:
            return False
        except LifecycleError:
            logger.debug("round.skipped peer=%s reason=stopping", peer)
        return True

    def _submit_tick(self, peer: str) -> None:
        if not self._submit(peer, lambda: self._tick(peer)):
            logger.warning("round.skipped peer=%s reason=strand_full", peer)

    def _schedule_first(self, peer: str) -> None:
        self._schedule(peer, self._rng.random() * self.config.cadence_s)

    def _schedule(self, peer: str, delay_s: float) -> None:
        """Say when the next check is due. One timer a peer, however often this is called."""
        with self._lock:
            rounds = self._peers.get(peer)
            if rounds is None:
                return
            rounds.tick_due_s = self._clock() + delay_s
            if rounds.ticking:
                return
            rounds.ticking = True
        self._timer.after(delay_s, lambda: self._cadence(peer, rounds))

    def _cadence(self, peer: str, rounds: _PeerRounds) -> None:
        """The cadence timer of `rounds` fired: check, unless the check was put off meanwhile."""
        with self._lock:
            rounds.ticking = False
            if self._peers.get(peer) is not rounds or not rounds.initiators or not self._running:
                return
            wait_s = rounds.tick_due_s - self._clock()
        if wait_s > 0:
            self._schedule(peer, wait_s)
            return
        self._schedule(peer, self.config.cadence_s)
        self._submit_tick(peer)

    def _tick(self, peer: str) -> None:
        """A tick that finds a round under way is skipped, not made up for."""
        if self._rounds(peer) is not None and not self.is_busy(peer):
            self._check(peer)

    def _run_all(self, peer: str) -> None:
        rounds = self._rounds(peer)
        if rounds is not None:
            self.run(peer, list(rounds.initiators))

    def _start_next(self, peer: str) -> None:
        rounds = self._rounds(peer)
        while rounds is not None and rounds.waiting and not _initiating(rounds):
            kind = rounds.waiting.popleft()
            coordinator = rounds.initiators.get(kind)
            if coordinator is None or any(key.kind is kind for key in rounds.watched):
                continue  # the peer opened this round already, and one serves both sides
            self._watch(rounds, coordinator)
            try:
                coordinator.start_round()
            except MeshError as error:
                self.failed(coordinator, error)

    def _watch(self, rounds: _PeerRounds, coordinator: ReplicationCoordinator) -> None:
        now_s = self._clock()
        watched = rounds.watched.get(coordinator.key)
        if watched is None:
            rounds.watched[coordinator.key] = _Watched(coordinator, now_s, now_s)
        else:
            watched.progress_s = now_s
        if not rounds.watching:
            rounds.watching = True
            self._set_watchdog(coordinator.key.peer, self.config.no_progress_timeout_s)

    def _set_watchdog(self, peer: str, delay_s: float) -> None:
        def due() -> None:
            if not self._submit(peer, lambda: self._look(peer)):
                self._set_watchdog(peer, STRAND_RETRY_S)

        self._timer.after(delay_s, due)

    def _look(self, peer: str) -> None:
        """Give up rounds in which nothing moved for the timeout. Progress counts, not age."""
        rounds = self._rounds(peer)
        if rounds is None:
            return
        rounds.watching = False
        moved_s = self._progress_s(peer) or 0.0
        limit_s = self.config.no_progress_timeout_s
        deadlines = []
        for watched in list(rounds.watched.values()):
            due_s = max(watched.progress_s, moved_s) + limit_s
            if due_s <= self._clock():
                self._give_up(watched.coordinator, RoundOutcome.TIMED_OUT, "no_progress")
            else:
                deadlines.append(due_s)
        if deadlines and rounds.watched:
            rounds.watching = True
            self._set_watchdog(peer, max(0.05, min(deadlines) - self._clock()))

    def _finished(self, rounds: _PeerRounds, key: RoundKey, report: RoundReport) -> None:
        watched = rounds.watched.pop(key, None)
        if key.kind in rounds.waiting:
            rounds.waiting.remove(key.kind)  # done, whoever opened it
        elapsed_s = self._clock() - watched.started_s if watched else 0.0
        self._publish(key, RoundOutcome.COMPLETED, elapsed_s, report=report)

    def _give_up(
        self, coordinator: ReplicationCoordinator, outcome: RoundOutcome, reason: str
    ) -> None:
        rounds = self._rounds(coordinator.key.peer)
        if rounds is None:
            return
        watched = rounds.watched.get(coordinator.key)
        now_s = self._clock()
        self._end(rounds, watched or _Watched(coordinator, now_s, now_s), outcome, reason)
        rounds.waiting.clear()
        self._on_stalled(coordinator.key.peer, reason)

    def _end(
        self, rounds: _PeerRounds, watched: _Watched, outcome: RoundOutcome, reason: str
    ) -> None:
        key = watched.coordinator.key
        rounds.watched.pop(key, None)
        watched.coordinator.reset()
        self._publish(key, outcome, self._clock() - watched.started_s, reason=reason)

    def _publish(
        self,
        key: RoundKey,
        outcome: RoundOutcome,
        elapsed_s: float,
        *,
        report: RoundReport | None = None,
        reason: str = "",
    ) -> None:
        self._events.publish(
            RoundEvent(
                peer=key.peer,
                kind=key.kind,
                role=key.role,
                outcome=outcome,
                elapsed_s=elapsed_s,
                report=report,
                reason=reason,
            )
        )


def _initiating(rounds: _PeerRounds) -> bool:
    return any(key.role is SessionRole.INITIATOR for key in rounds.watched)


def _reason_of(error: MeshError) -> str:
    """Stable name of an error: its class in snake_case, as events and logs show it."""
    name = type(error).__name__
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
