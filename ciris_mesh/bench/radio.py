"""What replication costs on the air: real nodes, Reticulum's own driver, emulated RNodes.

Two nodes are what `ciris-mesh run` starts, joined by nothing but two radios on one channel. They
know each other's keys and hold some records; what they then say to each other is counted in LoRa
frames by the channel itself. Bytes include the RNode's header of each frame. The floor is the
records as they are coded, each by itself, in full frames of 254 bytes.

At speed 1 the run takes as long as the radio would. Above it the radio is faster and Reticulum's
own timeouts are not, so only a run at speed 1 says what happens in the field.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

RECORDS: Final = 10
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
#: Sender and receiver.
_NAMES: Final = ("sender", "receiver")


@dataclass(frozen=True, slots=True)
class Course:
    """One run: how the channel is, and what records travel in.

    Attributes:
        frame: "81", or "01" for the JSON of other nodes.
    """

    settings: LoraSettings
    speed: float
    seed: int
    records: int
    loss: float = 0.0
    frame: str = "81"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What one run put on the air.

    Attributes:
        check: packets of a comparison that finds nothing, with the link it takes.
        sync: packets from the first of the new records to the end of what follows it.
        needless: parts of it that were there already when they went out again.
        admitted: new records the receiver has at the end.
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
        OperatorError: a node could not be started, or nothing arrived.
    """
    settings = LoraSettings(868_100_000, 125_000, sf, 5)
    clean = Course(settings, speed, seed, records)
    tell(f"{records} new records, SF{sf}, no loss")
    first = measure(root / "a", clean)
    tell(f"the same, {LOSS:.0%} of frames lost")
    lossy = measure(root / "b", Course(settings, speed, seed, records, loss=LOSS))
    tell("the same in 0x01")
    other = measure(root / "c", Course(settings, speed, seed, records, frame="01"))
    rows = (
        *_check_rows(first),
        *_sync_rows(first, settings, records),
        *_loss_rows(lossy, settings, records),
    )
    return Report("radio", (*rows, *_other_rows(first, other)))


def _check_rows(seen: Outcomes) -> Iterator[Row]:
    """The comparison is what two sealed packets say after the greeting, and before the end."""
    said = [each for each in seen.check if each.name == "data"]
    yield row("in-sync check over a link, packets", len(said) - 2, floor=2, limit=1.0)
    size = sum(each.size_bytes for each in seen.check)
    yield row("the same with its link, greeting and end, bytes", size, floor=size, limit=None)


def _sync_rows(seen: Outcomes, settings: LoraSettings, records: int) -> Iterator[Row]:
    bytes_floor, airtime_floor = floors(seen.coded_bytes, settings)
    what = f"{records} new records, no loss"
    yield row(f"{what}, bytes on air", _bytes(seen), floor=bytes_floor, limit=BYTES_LIMIT)
    yield row(f"{what}, airtime s", _airtime(seen), floor=airtime_floor, limit=AIRTIME_LIMIT)


def _loss_rows(seen: Outcomes, settings: LoraSettings, records: int) -> Iterator[Row]:
    bytes_floor, _ = floors(seen.coded_bytes, settings)
    what, missing = f"{LOSS:.0%} loss", records - seen.admitted
    yield row(f"{what}, bytes on air", _bytes(seen), floor=bytes_floor, limit=LOSS_LIMIT)
    yield row(f"{what}, records missing", missing, floor=1, limit=0.0)
    yield row(f"{what}, parts sent again that were there", seen.needless, floor=1, limit=0.0)


def _other_rows(ours: Outcomes, other: Outcomes) -> Iterator[Row]:
    yield row("no loss in 0x01, bytes on air", _bytes(other), floor=_bytes(ours), limit=None)
    yield row("no loss in 0x01, airtime s", _airtime(other), floor=_airtime(ours), limit=None)


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
        OperatorError: they did not meet.
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
    nodes = [_make(root, name, ether, course, plan) for name in _NAMES]
    for node, other in zip(nodes, reversed(nodes), strict=True):
        PeerBook.load(node.home.peers).add(other.as_peer())
        _fill(node, plan, old)
    with ether:
        try:
            start_nodes(nodes)
            return _watch(ether, nodes, new, course)
        finally:
            stop_nodes(nodes)


def _watch(ether: Ether, nodes: list[LocalNode], new: list[Record], course: Course) -> Outcomes:
    ether.take_trace()
    both = BASE_RECORDS + len(nodes)
    _wait(lambda: all(_held(node) >= both for node in nodes), _MEET_S, "the nodes did not meet")
    _quiet(ether, course)
    ether.set_loss(course.loss)
    ether.take_trace()
    nodes[0].call("sync")
    check = packets(_quiet(ether, course))
    for kind, envelope in new:
        _admit(nodes[0], kind, envelope)
    limit_s = 60.0 + _RECORD_S * len(new) / min(course.speed, 16.0)
    with contextlib.suppress(OperatorError):  # what is missing is told by `admitted`
        _wait(lambda: _held(nodes[1]) >= both + len(new), limit_s, "not all arrived")
    heard = _quiet(ether, course)
    coded = sum(len(batch_of([each], is_slow=True)) for each in new)
    admitted = _held(nodes[1]) - both
    return Outcomes(check, packets(heard), needless_parts(heard), admitted, coded)


def _make(root: Path, name: str, ether: Ether, course: Course, plan: Plan) -> LocalNode:
    """A node on its own radio, without a limit of its duty: nothing is to wait here."""
    rns_config_dir = root / f"{name}-reticulum"
    rns_config_dir.mkdir(mode=0o700)
    block = rnode_block(ether.ports[_NAMES.index(name)], course.settings)
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


def _fill(node: LocalNode, plan: Plan, made: list[Record]) -> None:
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


def _held(node: LocalNode) -> int:
    kinds: list[dict[str, int]] = node.call("status")["kinds"]
    return sum(kind["federation"] for kind in kinds)


def _quiet(ether: Ether, course: Course) -> list[Sent | Heard]:
    """Wait until the channel has been silent for long enough; what was on it before."""
    trace: list[Sent | Heard] = []
    silent_s = max(_QUIET_S / course.speed, _QUIET_HOST_S)
    until_s = time.monotonic() + silent_s
    while time.monotonic() < until_s:
        time.sleep(_POLL_S)
        if more := ether.take_trace():
            trace += more
            until_s = time.monotonic() + silent_s
    return trace


def _wait(condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise OperatorError(f"{problem} within {timeout_s:g} s")
        time.sleep(_POLL_S)
