"""What replication costs on the air: real nodes, Reticulum's own driver, emulated RNodes.

Two nodes are what `ciris-mesh run` starts, joined by nothing but two radios on one channel. They
know each other's keys and hold some records; what they then say to each other is counted in LoRa
frames by the channel itself, from the link request to the end of the link. Bytes include the
RNode's header of each frame. The floor is the records as the codec writes them, all in one batch,
in full frames of 254 bytes: no packet, link, greeting, comparison or acknowledgement is in it.

At speed 1 a run takes as long as the radio would. Above it the radio is faster and Reticulum's own
timeouts are not, so only a run at speed 1 says what happens in the field. The three runs have a
channel and two nodes each and do little but wait, so they go side by side.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ciris_mesh.bench.airwaves import Packet, needless_parts, packets
from ciris_mesh.bench.records import Plan, Record
from ciris_mesh.bench.report import Report, Row, row
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.radio.airtime import FRAME_BYTES_MAX, HEADER_BYTES, LoraSettings
from ciris_mesh.radio.blocks import rnode_block
from ciris_mesh.radio.ether import Heard, Sent
from ciris_mesh.radio.pty_port import Ether
from ciris_mesh.radio.topology import full
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime.bundle import admit_mixed
from ciris_mesh.runtime.clock import SystemClock
from ciris_mesh.runtime.localnodes import LocalNode, start_nodes, stop_nodes
from ciris_mesh.runtime.peerbook import PeerBook
from ciris_mesh.runtime.recoding import batch_of
from ciris_mesh.runtime.setup import new_node, node_identity
from ciris_mesh.wire.transcode import LIMITS

RECORDS: Final = 10
#: What the limits are for, and a run that shows the same in a third of the time, without limits:
#: the fewer the records, the more of the bytes are their link's.
SF: Final = 8
QUICK_RECORDS: Final = 3
QUICK_SF: Final = 7
#: Held by both before: then what differs is small beside it, as in a federation it is.
BASE_RECORDS: Final = 40
LOSS: Final = 0.1

#: Bytes and airtime without loss, and at 10 % of frames lost: times the floor.
BYTES_LIMIT: Final = 1.15
AIRTIME_LIMIT: Final = 1.25
LOSS_LIMIT: Final = 1.6

#: Getting to know each other is 18 kB both ways; with losses and the drivers' start it takes
#: four minutes at SF8, and each record half a minute when much is lost.
_MEET_S: Final = 600.0
_RECORD_S: Final = 120.0
#: Nothing is on the air for so long: what began has ended. Longer than an acknowledgement waits
#: for at SF8; the driver and the node do not get faster with the radio.
_QUIET_S: Final = 40.0
_QUIET_HOST_S: Final = 6.0
_POLL_S: Final = 0.25
#: Between two lines of progress.
_TELL_S: Final = 30.0
#: Sender and receiver.
NAMES: Final = ("sender", "receiver")


@dataclass(frozen=True, slots=True)
class Course:
    """One run: how the channel is, and what records travel in.

    Attributes:
        frame: "81", or "01" for the JSON of other nodes.
        is_over: set when nobody waits for it any more.
    """

    name: str
    settings: LoraSettings
    speed: float
    seed: int
    records: int
    loss: float = 0.0
    frame: str = "81"
    tell: Callable[[str], None] = lambda _text: None
    is_over: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What one run put on the air.

    Attributes:
        check: packets of a comparison that finds nothing, with the link it takes.
        sync: packets from the first of the new records to the end of what follows it.
        needless: parts of it that were there already when they went out again.
        admitted: new records the receiver has at the end.
        coded_bytes: of the new records, coded together.
    """

    check: tuple[Packet, ...]
    sync: tuple[Packet, ...]
    needless: int
    admitted: int
    coded_bytes: int


def run(
    root: Path,
    *,
    records: int,
    seed: int,
    sf: int,
    speed: float,
    tell: Callable[[str], None],
) -> Report:
    """Measure.

    Args:
        root: an empty directory with a path short enough for sockets.
        speed: of the channel's time; 1 is the only honest one.

    Raises:
        OperatorError: a node could not be started, or the nodes did not meet.
    """
    settings = LoraSettings(868_100_000, 125_000, sf, 5)
    is_over = threading.Event()

    def course(name: str, loss: float = 0.0, frame: str = "81") -> Course:
        return Course(name, settings, speed, seed, records, loss, frame, tell, is_over)

    courses = (
        course("no loss"),
        course(f"{LOSS:.0%} loss", loss=LOSS),
        course("0x01", frame="01"),
    )
    tell(f"{records} new records at SF{sf}, in three runs side by side: some minutes")
    clean, lossy, other = _side_by_side(root, courses)
    has_limits = (records, sf, speed) == (RECORDS, SF, 1.0)
    rows = (
        *_check_rows(clean),
        *_sync_rows(clean, courses[0], has_limits=has_limits),
        *_loss_rows(lossy, courses[1], has_limits=has_limits),
    )
    return Report("radio", (*rows, *_other_rows(clean, other, courses[2])))


def _side_by_side(root: Path, courses: tuple[Course, ...]) -> list[Outcomes]:
    with ThreadPoolExecutor(len(courses), "ciris-bench") as pool:
        runs = [
            pool.submit(measure, root / str(number), each) for number, each in enumerate(courses)
        ]
        try:
            for each in as_completed(runs):
                each.result()
        finally:  # one failed, or somebody does not want to wait: end the others, too
            courses[0].is_over.set()
    return [each.result() for each in runs]


def _check_rows(seen: Outcomes) -> Iterator[Row]:
    """The comparison is what two sealed packets say after the greeting, and before the end."""
    said = [each for each in seen.check if each.name == "data"]
    yield row("in-sync check over a link, packets", len(said) - 2, floor=2, limit=1.0)
    size = sum(each.size_bytes for each in seen.check)
    yield row("the same with its link, greeting and end, bytes", size, floor=size, limit=None)


def _sync_rows(seen: Outcomes, course: Course, *, has_limits: bool) -> Iterator[Row]:
    bytes_floor, airtime_floor = floors(seen.coded_bytes, course.settings)
    what = f"{course.records} new records, no loss"
    limit = BYTES_LIMIT if has_limits else None
    yield row(f"{what}, bytes on air", _bytes(seen), floor=bytes_floor, limit=limit)
    limit = AIRTIME_LIMIT if has_limits else None
    yield row(f"{what}, airtime s", _airtime(seen), floor=airtime_floor, limit=limit)
    yield _missing_row(what, seen, course, limit=0.0)


def _loss_rows(seen: Outcomes, course: Course, *, has_limits: bool) -> Iterator[Row]:
    bytes_floor, airtime_floor = floors(seen.coded_bytes, course.settings)
    limit = LOSS_LIMIT if has_limits else None
    yield row(f"{LOSS:.0%} loss, bytes on air", _bytes(seen), floor=bytes_floor, limit=limit)
    yield row(f"{LOSS:.0%} loss, airtime s", _airtime(seen), floor=airtime_floor, limit=None)
    yield _missing_row(f"{LOSS:.0%} loss", seen, course, limit=0.0)
    again = f"{LOSS:.0%} loss, parts sent again that were there"
    yield row(again, seen.needless, floor=1, limit=0.0)


def _other_rows(ours: Outcomes, other: Outcomes, course: Course) -> Iterator[Row]:
    yield row("no loss in 0x01, bytes on air", _bytes(other), floor=_bytes(ours), limit=None)
    yield row("no loss in 0x01, airtime s", _airtime(other), floor=_airtime(ours), limit=None)
    yield _missing_row("no loss in 0x01", other, course, limit=None)


def _missing_row(what: str, seen: Outcomes, course: Course, *, limit: float | None) -> Row:
    missing = course.records - seen.admitted
    return row(f"{what}, records missing", missing, floor=1, limit=limit)


def _bytes(seen: Outcomes) -> int:
    return sum(each.size_bytes for each in seen.sync)


def _airtime(seen: Outcomes) -> float:
    return sum(each.airtime_s for each in seen.sync)


def floors(coded_bytes: int, settings: LoraSettings) -> tuple[int, float]:
    """Bytes and seconds on air of so much content in full frames, header bytes included."""
    content = FRAME_BYTES_MAX - HEADER_BYTES
    whole, rest = divmod(coded_bytes, content)
    sizes = [FRAME_BYTES_MAX] * whole + ([rest + HEADER_BYTES] if rest else [])
    return sum(sizes), sum(map(settings.frame_s, sizes))


def measure(root: Path, course: Course) -> Outcomes:
    """Let two nodes meet, compare, and take over new records.

    Raises:
        OperatorError: they did not meet, or the course is over.
    """
    plan = Plan(BASE_RECORDS + course.records, course.seed)
    made = [plan.make(number) for number in range(plan.count)]
    old, new = made[:BASE_RECORDS], made[BASE_RECORDS:]
    root.mkdir()
    ether = Ether(
        root / "e",
        full(2),
        randomness=random.Random(course.seed),
        speed=course.speed,
    )
    nodes = [radio_node(root, name, ether, course, plan) for name in NAMES]
    for node, other in zip(nodes, reversed(nodes), strict=True):
        PeerBook.load(node.home.peers).add(other.as_peer())
        fill(node, plan, old)
    with ether:
        try:
            start_nodes(nodes)
            return _watch(_Watch(ether, nodes, course), new)
        finally:
            stop_nodes(nodes)


def _watch(watch: _Watch, new: list[Record]) -> Outcomes:
    ether, (sender, receiver), course = watch.ether, watch.nodes, watch.course
    ether.take_trace()
    both = BASE_RECORDS + len(watch.nodes)
    watch.until(lambda: all(held(node) >= both for node in watch.nodes), _MEET_S, "meeting")
    watch.quiet("meeting")
    ether.set_loss(course.loss)
    ether.take_trace()
    sender.call("sync")
    check = packets(watch.quiet("comparing"))
    for kind, envelope in new:
        _admit(sender, kind, envelope)
    limit_s = 60.0 + _RECORD_S * len(new) / min(course.speed, 16.0)
    watch.wants = both, len(new)
    with contextlib.suppress(OperatorError):  # what is missing is told by `admitted`
        watch.until(lambda: held(receiver) >= both + len(new), limit_s, "sending")
    heard = watch.quiet("ending")
    admitted = held(receiver) - both
    return Outcomes(check, packets(heard), needless_parts(heard), admitted, coded_bytes(new))


def coded_bytes(records: list[Record]) -> int:
    """Records as the codec writes them, as many in a batch as it takes."""
    starts = range(0, len(records), LIMITS.records)
    batches = (records[at : at + LIMITS.records] for at in starts)
    return sum(len(batch_of(each, is_slow=True)) for each in batches)


class _Watch:
    """Waiting for two nodes, and saying meanwhile how far they are.

    Attributes:
        wants: records the receiver had before, and new ones it is to get, once they are known.
    """

    def __init__(self, ether: Ether, nodes: list[LocalNode], course: Course) -> None:
        self.ether, self.nodes, self.course = ether, nodes, course
        self.wants: tuple[int, int] | None = None
        self._began_s = self._told_s = time.monotonic()

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for a condition.

        Raises:
            OperatorError: it took too long, or the course is over.
        """
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise OperatorError(f"{self.course.name}: {what} took over {timeout_s:g} s")
            self._pause(what)

    def quiet(self, what: str) -> list[Sent | Heard]:
        """Wait until the channel has been silent for long enough; what was on it before.

        Raises:
            OperatorError: the course is over, or somebody never stops to send.
        """
        trace: list[Sent | Heard] = []
        silent_s = max(_QUIET_S / self.course.speed, _QUIET_HOST_S)
        now_s = time.monotonic()
        until_s, limit_s = now_s + silent_s, now_s + _MEET_S
        while time.monotonic() < until_s:
            self._pause(what)
            if more := self.ether.take_trace():
                trace += more
                until_s = time.monotonic() + silent_s
            if until_s > limit_s:
                raise OperatorError(f"{self.course.name}: {what} never came to an end")
        return trace

    def _pause(self, what: str) -> None:
        if self.course.is_over.wait(_POLL_S):
            raise OperatorError(f"{self.course.name}: stopped while {what}")
        now_s = time.monotonic()
        if now_s - self._told_s >= _TELL_S:
            self._told_s = now_s
            self.course.tell(f"{self.course.name}: {what}, {self._so_far(now_s)}")

    def _so_far(self, now_s: float) -> str:
        sent_bytes = sum(each.bytes_sent for each in self.ether.counters())
        told = f"{sent_bytes / 1000:.1f} kB on air so far, {now_s - self._began_s:.0f} s"
        if self.wants is None:
            return told
        before, new = self.wants
        return f"{held(self.nodes[1]) - before} of {new} records there, {told}"


def radio_node(root: Path, name: str, ether: Ether, course: Course, plan: Plan) -> LocalNode:
    """A node on its own radio, without a limit of its duty: nothing is to wait here."""
    rns_config_dir = root / f"{name}-reticulum"
    rns_config_dir.mkdir(mode=0o700)
    block = rnode_block(ether.ports[NAMES.index(name)], course.settings)
    (rns_config_dir / "config").write_text(
        "[reticulum]\n  enable_transport = No\n  share_instance = No\n"
        f"[logging]\n  loglevel = 3\n[interfaces]\n{block}"
    )
    pins = ", ".join(f"{key.key_id} {key.public.fingerprint.hex()}" for key in plan.signers)
    settings = {
        ("trust", "pinned"): pins,
        ("node", "clock"): "assume-trusted",
        ("radio", "duty"): "none",
        ("rounds", "frame"): course.frame,
    }
    home = new_node(root / name, name, settings=settings)
    return LocalNode(name, home, rns_config_dir, node_identity(home))


def fill(node: LocalNode, plan: Plan, made: list[Record]) -> None:
    """Put records into a node's store before it starts.

    Raises:
        OperatorError: one of them is not admitted.
    """
    pinned = {key.key_id: key.public.fingerprint for key in plan.signers}
    directory = SqliteDirectory(node.home.database, pinned=pinned)
    try:
        for outcome, reason in admit_mixed(directory, made, now_ms=SystemClock().wall_ms()):
            if outcome is not Outcome.ADMITTED:
                raise OperatorError(f"a record made here is {outcome} here: {reason}")
    finally:
        directory.close()


def _admit(node: LocalNode, kind: EnvelopeKind, envelope: bytes) -> None:
    answer = node.call("admit", kind=kind.value, envelope_hex=envelope.hex())
    if answer["outcome"] != Outcome.ADMITTED:
        raise OperatorError(f"a record made here is {answer['outcome']} here: {answer['reason']}")


def held(node: LocalNode) -> int:
    """Records on a running node's federation shelf."""
    kinds: list[dict[str, int]] = node.call("status")["kinds"]
    return sum(kind["federation"] for kind in kinds)
