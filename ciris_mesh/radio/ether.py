"""One radio channel that stations share, as discrete events. Pure: time and chance come in.

    request  -> ... free for DIFS, then slots counted down ... -> Won
    transmit -> frame, frame, ...                              -> Sent each, Heard and Sensed

`advance` returns one event at a time, in the order of time, so that its owner can answer a `Won`
before anything later happens. What the model knows:

* Half duplex: who sends hears nothing.
* Carrier sense: a frame is noticed five symbols after it began, by all who hear its sender in an
  overlapping band. Whoever counts slots stops, and goes on after the next free DIFS.
* Collision: two frames on one frequency, bandwidth and spreading factor that overlap at a receiver
  destroy each other, unless one is 6 dB stronger than each of the others: capture.
* Loss: each frame is lost at each receiver with the same probability, drawn from the randomness.

Each frame has exactly one `Outcome` at each other station, and all are counted. Not known to the
model: drift, interference between spreading factors, distance, and time a frame takes to travel.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from ciris_mesh.radio.airtime import NOISE_FLOOR_DBM, LoraSettings
from ciris_mesh.radio.chance import Randomness
from ciris_mesh.radio.topology import Reach

#: How much stronger one of two overlapping frames must be to survive.
CAPTURE_DB: Final = 6.0
#: Symbols of preamble a receiver needs to notice a frame.
DETECT_SYMBOLS: Final = 5
#: A LoRa receiver reports no better than this.
_SNR_DB_MAX: Final = 12.0


class Outcome(StrEnum):
    """What became of one frame at one other station."""

    DELIVERED = "delivered"
    LOST = "lost"  # by chance, or by choice
    COLLIDED = "collided"
    DEAF = "deaf"  # the receiver was sending itself
    OUT_OF_REACH = "out_of_reach"
    MISTUNED = "mistuned"  # other frequency, bandwidth or spreading factor
    OFF = "off"  # the receiver was off, or tuned only after the frame began
    CUT = "cut"  # the sender went off in the middle


@dataclass(frozen=True, slots=True)
class Won:
    """The channel is this station's now: answer with `transmit`, or let it be."""

    station: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame has left; `last` of its burst. `cut`: the station went off while sending it."""

    station: int
    frame: bytes
    airtime_s: float
    at_s: float
    last: bool
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame arrived whole."""

    station: int
    source: int
    frame: bytes
    rssi_dbm: float
    snr_db: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Sensed:
    """A station noticed somebody's frame from `begin_s` to `end_s`, whatever became of it."""

    station: int
    begin_s: float
    end_s: float


EtherEvent: TypeAlias = Won | Sent | Heard | Sensed


@dataclass(frozen=True, slots=True)
class Access:
    """How a station waits for the channel: `slots_low` to `slots_high` slots, both included."""

    difs_s: float
    slot_s: float
    slots_low: int
    slots_high: int


@dataclass(slots=True)
class Tally:
    """What one station did and what happened to it.

    Attributes:
        frames_sent, bytes_sent, airtime_s: of its own; a frame cut off counts as far as it went.
        received: what became here of the frames of others.
    """

    frames_sent: int = 0
    bytes_sent: int = 0
    airtime_s: float = 0.0
    bytes_received: int = 0
    received: Counter[Outcome] = field(default_factory=Counter)


@dataclass(eq=False, slots=True)
class _Transmission:
    source: int
    frame: bytes
    settings: LoraSettings
    begin_s: float
    end_s: float
    over: bool = False

    def overlaps(self, other: _Transmission) -> bool:
        return self.begin_s < other.end_s and other.begin_s < self.end_s


@dataclass(slots=True)
class _Station:
    settings: LoraSettings | None = None
    tuned_s: float = 0.0
    audible: dict[_Transmission, float] = field(default_factory=dict)  # -> noticed since
    sending: _Transmission | None = None
    waiting: deque[bytes] = field(default_factory=deque)  # rest of the burst
    access: Access | None = None  # set while it waits for the channel
    slots_s: float = 0.0  # left to count down
    counting_s: float | None = None  # since when the channel is free
    ticket: int = -1  # of the win that is due


@dataclass(frozen=True, slots=True, order=True)
class _Due:
    """Ends come before notices and notices before wins, when all are due at once."""

    at_s: float
    rank: int
    ticket: int
    station: int = field(compare=False)
    transmission: _Transmission | None = field(compare=False, default=None)


_END, _NOTICE, _WIN = range(3)


class Medium:
    """The channel. Stations are numbered as in `reach`; all are off at first.

    Args:
        reach: who hears whom.
        randomness: draws slots and losses; the same seed gives the same history.
        loss: probability from 0 to 1 that a frame is lost at one receiver.
    """

    def __init__(self, reach: Reach, randomness: Randomness, loss: float = 0.0) -> None:
        self.set_loss(loss)
        self._chosen: Callable[[bytes], bool] | None = None
        self._reach = reach
        self._random = randomness
        self._stations = [_Station() for _ in range(reach.nodes)]
        self.tallies = [Tally() for _ in range(reach.nodes)]
        self._tickets = itertools.count()
        # A few entries for each frame on the air and each station that waits.
        self._due: list[_Due] = []
        # Made by one due entry: at most two for each station, and one.
        self._events: deque[EtherEvent] = deque()
        # On the air, and those that ended while one of these was on.
        self._recent: list[_Transmission] = []
        self._now_s = 0.0

    def set_loss(self, loss: float) -> None:
        """Change the probability that a frame is lost at one receiver.

        Raises:
            ValueError: not from 0 to 1.
        """
        if not 0.0 <= loss <= 1.0:
            raise ValueError(f"loss {loss} is no probability")
        self._loss = loss

    def lose(self, chosen: Callable[[bytes], bool] | None) -> None:
        """Lose the frames that `chosen` picks, besides those by chance; None ends it.

        Args:
            chosen: asked about a frame once for each station that would have received it.
        """
        self._chosen = chosen

    def set_reach(self, reach: Reach) -> None:
        """Change who hears whom. A frame on the air is judged by what holds at its end.

        Raises:
            ValueError: it is of another number of stations.
        """
        if reach.nodes != len(self._stations):
            raise ValueError(f"there are {len(self._stations)} stations, not {reach.nodes}")
        self._reach = reach

    # -- what stations do -------------------------------------------------------------------------

    def tune(self, station: int, settings: LoraSettings | None, now_s: float) -> None:
        """Switch a station on, off (None), or to other settings. Cuts off what it sends."""
        state = self._stations[station]
        if settings == state.settings:
            return
        if state.sending is not None:
            self._cut(state, state.sending, now_s)
        self.withdraw(station)
        state.settings, state.tuned_s = settings, now_s
        state.audible = {
            each: now_s for each in self._recent if not each.over and self._senses(station, each)
        }

    def request(self, station: int, access: Access, now_s: float) -> None:
        """Wait for the channel. Ignored while the station waits or sends already, or is off."""
        state = self._stations[station]
        if state.settings is None or state.access is not None or state.sending is not None:
            return
        slots = access.slots_low + self._random.randrange(access.slots_high - access.slots_low + 1)
        state.access, state.slots_s = access, slots * access.slot_s
        if not state.audible:
            self._count(station, now_s)

    def withdraw(self, station: int) -> None:
        """Wait no longer."""
        state = self._stations[station]
        state.access = state.counting_s = None

    def is_busy(self, station: int) -> bool:
        """Whether the station waits for the channel or sends."""
        state = self._stations[station]
        return state.access is not None or state.sending is not None

    def transmit(self, station: int, frames: Sequence[bytes], now_s: float) -> None:
        """Send frames one right after the other, without asking anybody: the answer to `Won`."""
        state = self._stations[station]
        assert state.settings is not None
        assert state.sending is None
        assert frames
        self.withdraw(station)
        state.waiting.extend(frames)
        self._send_next(station, now_s)

    # -- time -------------------------------------------------------------------------------------

    @property
    def next_s(self) -> float:
        """When something happens next; infinity when nothing will."""
        if self._events:
            return self._now_s
        return self._due[0].at_s if self._due else math.inf

    def advance(self, until_s: float) -> EtherEvent | None:
        """Let time pass up to the next event, `until_s` at most; None when there is none."""
        while not self._events and self._due and self._due[0].at_s <= until_s:
            due = heapq.heappop(self._due)
            self._now_s = max(self._now_s, due.at_s)
            if due.rank == _WIN:
                self._win(due)
            elif due.transmission is not None and not due.transmission.over:
                if due.rank == _END:
                    self._end(due.transmission, due.at_s)
                else:
                    self._notice(due.station, due.transmission, due.at_s)
        return self._events.popleft() if self._events else None

    def _push(self, at_s: float, rank: int, station: int, sent: _Transmission | None) -> int:
        ticket = next(self._tickets)
        heapq.heappush(self._due, _Due(at_s, rank, ticket, station, sent))
        return ticket

    # -- access -----------------------------------------------------------------------------------

    def _count(self, station: int, now_s: float) -> None:
        """The channel is free: count DIFS and slots."""
        state = self._stations[station]
        assert state.access is not None
        state.counting_s = now_s
        at_s = now_s + state.access.difs_s + state.slots_s
        state.ticket = self._push(at_s, _WIN, station, None)

    def _pause(self, state: _Station, now_s: float) -> None:
        """The channel is taken: keep what is left of the slots."""
        if state.access is not None and state.counting_s is not None:
            counted_s = now_s - state.counting_s - state.access.difs_s
            state.slots_s = max(state.slots_s - max(counted_s, 0.0), 0.0)
            state.counting_s = None

    def _win(self, due: _Due) -> None:
        state = self._stations[due.station]
        if state.counting_s is not None and state.ticket == due.ticket:
            self.withdraw(due.station)
            self._events.append(Won(due.station, due.at_s))

    # -- frames -----------------------------------------------------------------------------------

    def _send_next(self, station: int, now_s: float) -> None:
        state = self._stations[station]
        settings = state.settings
        assert settings is not None
        frame = state.waiting.popleft()
        sent = _Transmission(station, frame, settings, now_s, now_s + settings.frame_s(len(frame)))
        state.sending = sent
        self._recent.append(sent)
        self._push(sent.end_s, _END, station, sent)
        noticed_s = now_s + DETECT_SYMBOLS * settings.symbol_s
        for other in self._others(station):
            self._push(noticed_s, _NOTICE, other, sent)

    def _notice(self, station: int, sent: _Transmission, now_s: float) -> None:
        if self._senses(station, sent):
            state = self._stations[station]
            state.audible.setdefault(sent, sent.begin_s)
            self._pause(state, now_s)

    def _end(self, sent: _Transmission, now_s: float) -> None:
        state = self._stations[sent.source]
        last = not state.waiting
        self._book(sent, now_s, last=last, cut=False)
        for station in self._others(sent.source):
            outcome = self._outcome(sent, station)
            self.tallies[station].received[outcome] += 1
            if outcome is Outcome.DELIVERED:
                self._deliver(sent, station)
        if not last:
            self._send_next(sent.source, now_s)
        self._silence(sent, now_s)

    def _cut(self, state: _Station, sent: _Transmission, now_s: float) -> None:
        sent.end_s = now_s
        state.waiting.clear()
        self._book(sent, now_s, last=True, cut=True)
        for station in self._others(sent.source):
            self.tallies[station].received[Outcome.CUT] += 1
        self._silence(sent, now_s)

    def _book(self, sent: _Transmission, now_s: float, *, last: bool, cut: bool) -> None:
        """Count a frame that left, and free its sender."""
        sent.over = True
        self._stations[sent.source].sending = None
        airtime_s = now_s - sent.begin_s
        tally = self.tallies[sent.source]
        tally.frames_sent += 1
        tally.bytes_sent += len(sent.frame)
        tally.airtime_s += airtime_s
        self._events.append(Sent(sent.source, sent.frame, airtime_s, now_s, last, cut))

    def _silence(self, sent: _Transmission, now_s: float) -> None:
        """A frame is off the air: whoever waited for that goes on, and old frames are forgotten."""
        for station in self._others(sent.source):
            state = self._stations[station]
            since_s = state.audible.pop(sent, None)
            if since_s is not None:
                self._events.append(Sensed(station, since_s, now_s))
                if not state.audible and state.access is not None and state.counting_s is None:
                    self._count(station, now_s)
        began_s = min((each.begin_s for each in self._recent if not each.over), default=math.inf)
        self._recent = [each for each in self._recent if not each.over or each.end_s > began_s]

    def _deliver(self, sent: _Transmission, station: int) -> None:
        rssi_dbm = self._reach.signal(sent.source, station)
        assert rssi_dbm is not None
        self.tallies[station].bytes_received += len(sent.frame)
        snr_db = min(rssi_dbm - NOISE_FLOOR_DBM, _SNR_DB_MAX)
        self._events.append(Heard(station, sent.source, sent.frame, rssi_dbm, snr_db, sent.end_s))

    # -- the laws ---------------------------------------------------------------------------------

    def _outcome(self, sent: _Transmission, station: int) -> Outcome:
        """What becomes of a frame that just ended. Chance is asked last."""
        state = self._stations[station]
        signal_dbm = self._reach.signal(sent.source, station)
        if signal_dbm is None:
            return Outcome.OUT_OF_REACH
        if state.settings is None or state.tuned_s > sent.begin_s:
            return Outcome.OFF
        if not _same_channel(state.settings, sent.settings):
            return Outcome.MISTUNED
        if any(each.source == station and each.overlaps(sent) for each in self._recent):
            return Outcome.DEAF
        if any(dbm > signal_dbm - CAPTURE_DB for dbm in self._against(sent, station)):
            return Outcome.COLLIDED
        if self._chosen is not None and self._chosen(sent.frame):
            return Outcome.LOST
        if self._loss and self._random.random() < self._loss:
            return Outcome.LOST
        return Outcome.DELIVERED

    def _against(self, sent: _Transmission, station: int) -> Iterator[float]:
        """Strengths at a station of the frames that could spoil this one."""
        for each in self._recent:
            dbm = self._reach.signal(each.source, station)
            if (
                each.source != sent.source
                and dbm is not None
                and each.overlaps(sent)
                and _same_channel(each.settings, sent.settings)
            ):
                yield dbm

    def _senses(self, station: int, sent: _Transmission) -> bool:
        """Whether a station that is on notices energy of this frame in its band."""
        settings = self._stations[station].settings
        if settings is None or station == sent.source:
            return False
        apart_hz = abs(settings.frequency_hz - sent.settings.frequency_hz)
        touching = 2 * apart_hz < settings.bandwidth_hz + sent.settings.bandwidth_hz
        return touching and self._reach.signal(sent.source, station) is not None

    def _others(self, station: int) -> Iterator[int]:
        return (each for each in range(self._reach.nodes) if each != station)


def _same_channel(one: LoraSettings, two: LoraSettings) -> bool:
    """Whether one can decode, or spoil, what the other sends. The coding rate is in the frame."""
    return (one.frequency_hz, one.bandwidth_hz, one.sf) == (
        two.frequency_hz,
        two.bandwidth_hz,
        two.sf,
    )
