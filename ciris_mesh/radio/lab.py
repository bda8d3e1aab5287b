"""Emulated RNodes on one channel: bytes from hosts in, bytes to hosts out. Pure.

Here devices and medium meet; what each does is in `device` and `ether`. Times are seconds of the
channel's clock and never go back; whoever owns a `Lab` says how fast that clock runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from ciris_mesh.radio.chance import Randomness
from ciris_mesh.radio.device import STATS_PERIOD_S, Device
from ciris_mesh.radio.ether import Access, EtherEvent, Heard, Medium, Outcome, Sensed, Sent, Won
from ciris_mesh.radio.kiss import DeviceError
from ciris_mesh.radio.topology import Reach

#: What a host of node N is to be told, in order: (N, bytes).
ToHosts = list[tuple[int, bytes]]

#: Frames sent and heard that are kept for who asks: an hour of a busy SF7 channel.
TRACE_MAX: Final = 65_536

_MISSED: Final = tuple(each for each in Outcome if each is not Outcome.DELIVERED)


@dataclass(frozen=True, slots=True)
class NodeCounters:
    """One node so far. Counters begin when the lab does and survive resets and unplugging.

    Attributes:
        node: its number, from 0.
        frames_sent, bytes_sent, airtime_s: LoRa frames with their header byte; a packet over 254
            bytes is two of them.
        frames_received, bytes_received: those that arrived whole.
        missed: frames of others that did not, by `ether.Outcome`.
        dropped: what the device itself dropped, by `device.Dropped` and `kiss.KissFault`.
    """

    node: int
    frames_sent: int
    bytes_sent: int
    airtime_s: float
    frames_received: int
    bytes_received: int
    missed: dict[str, int]
    dropped: dict[str, int]


class Lab:
    """Devices that share a channel.

    Args:
        reach: how many nodes, and who hears whom.
        randomness: of slots, losses and sequence nibbles; a seed gives the same history again.
        loss: probability that a frame is lost at one receiver.
        stats_period_s: how often devices tell statistics, in seconds of the channel.
    """

    def __init__(
        self,
        reach: Reach,
        randomness: Randomness,
        *,
        loss: float = 0.0,
        stats_period_s: float = STATS_PERIOD_S,
    ) -> None:
        self._medium = Medium(reach, randomness, loss)
        self._devices = [Device(randomness, stats_period_s) for _ in range(reach.nodes)]
        self._now_s = 0.0
        self._trace: deque[Sent | Heard] | None = None

    # -- hosts ------------------------------------------------------------------------------------

    def from_host(self, node: int, data: bytes, now_s: float) -> ToHosts:
        """Take bytes that the host of `node` sent."""
        told = self.run(now_s)
        told.append((node, self._devices[node].from_host(data, self._now_s)))
        return told + self._settle(node)

    def reset(self, node: int, now_s: float) -> ToHosts:
        """Let a device lose power and start again; its host stays plugged in and is told."""
        told = self.run(now_s)
        told.append((node, self._devices[node].boot()))
        return told + self._settle(node)

    def power_off(self, node: int, now_s: float) -> ToHosts:
        """Take a device off the channel and out of power, until its host sets it up again."""
        told = self.run(now_s)
        self._devices[node].power_off()
        return told + self._settle(node)

    def fail(self, node: int, code: DeviceError, now_s: float) -> ToHosts:
        """Let a device report a fault."""
        return [*self.run(now_s), (node, self._devices[node].error(code))]

    # -- time -------------------------------------------------------------------------------------

    @property
    def next_s(self) -> float:
        """When `run` has something to do next; infinity while all radios are off."""
        return min(self._medium.next_s, *(each.next_tick_s for each in self._devices))

    def run(self, now_s: float) -> ToHosts:
        """Let time pass until `now_s`. Returns what the hosts are told, in order."""
        told: ToHosts = []
        while True:
            tick_s = min(each.next_tick_s for each in self._devices)
            event = self._medium.advance(min(now_s, tick_s))
            if event is not None:
                told += self._handle(event)
            elif tick_s <= now_s:
                told += self._tick(tick_s)
            else:
                break
        self._now_s = max(now_s, self._now_s)
        return told

    def set_loss(self, loss: float) -> None:
        """Change the probability that a frame is lost at one receiver."""
        self._medium.set_loss(loss)

    def lose(self, chosen: Callable[[bytes], bool] | None) -> None:
        """Lose the frames that `chosen` picks, besides those by chance; see `Medium.lose`."""
        self._medium.lose(chosen)

    def set_reach(self, reach: Reach) -> None:
        """Change who hears whom; see `ether.Medium`."""
        self._medium.set_reach(reach)

    def take_trace(self) -> tuple[Sent | Heard, ...]:
        """Frames sent and heard since this was asked last, at most `TRACE_MAX`; begins to note."""
        trace, self._trace = self._trace, deque(maxlen=TRACE_MAX)
        return tuple(trace or ())

    def counters(self, node: int) -> NodeCounters:
        """What `node` did until now."""
        tally = self._medium.tallies[node]
        return NodeCounters(
            node=node,
            frames_sent=tally.frames_sent,
            bytes_sent=tally.bytes_sent,
            airtime_s=round(tally.airtime_s, 6),
            frames_received=tally.received[Outcome.DELIVERED],
            bytes_received=tally.bytes_received,
            missed={str(each): tally.received[each] for each in _MISSED if tally.received[each]},
            dropped={
                str(name): count for name, count in self._devices[node].dropped.items() if count
            },
        )

    # -- inside -----------------------------------------------------------------------------------

    def _tick(self, at_s: float) -> ToHosts:
        told = []
        for node, device in enumerate(self._devices):
            if device.next_tick_s <= at_s:
                told.append((node, device.tick(at_s)))
                self._offer(node, at_s)  # an airtime limit may be over
        return told

    def _settle(self, node: int) -> ToHosts:
        """Let the medium know what a device has been told."""
        self._medium.tune(node, self._devices[node].settings, self._now_s)
        told = self.run(self._now_s)  # a frame may have been cut off
        self._offer(node, self._now_s)
        return told

    def _offer(self, node: int, at_s: float) -> None:
        device = self._devices[node]
        settings = device.settings
        if settings is None or self._medium.is_busy(node) or not device.wants_channel(at_s):
            return
        window = device.window(at_s)
        access = Access(settings.difs_s, settings.slot_s, window.low, window.high)
        self._medium.request(node, access, at_s)

    def _handle(self, event: EtherEvent) -> ToHosts:
        device = self._devices[event.station]
        if self._trace is not None and isinstance(event, Sent | Heard):
            self._trace.append(event)
        match event:
            case Won(station, at_s):
                if device.wants_channel(at_s):
                    self._medium.transmit(station, device.take_burst(), at_s)
                return []
            case Sent(station, _, airtime_s, at_s, last, cut):
                device.frame_sent(airtime_s, at_s)
                if cut:
                    device.burst_cut()
                told = [(station, device.burst_over(at_s))] if last and not cut else []
                self._offer(station, at_s)
                return told
            case Heard(station, _, frame, rssi_dbm, snr_db):
                return [(station, device.hear(frame, rssi_dbm, snr_db))]
            case Sensed(_, begin_s, end_s):
                device.carrier(begin_s, end_s)
                return []
            case _:
                assert_never(event)
