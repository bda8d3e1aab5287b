"""What it costs two nodes to find out which records they do not share. In process, no network.

Payload is whole frames, both ways, from the first sketch to the last Wants. CPU is that of this
process for both sides: salting ids, sketching, decoding, checking, and the codec. Not counted: to
make the sets, to keep the digests of buckets (a store does that as records come), and to read ids
from a store.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import lgamma, log
from typing import Final

from ciris_mesh.bench.report import Report, Row, median, row
from ciris_mesh.errors import OperatorError
from ciris_mesh.protocol.reconcile import Exchange, step
from ciris_mesh.protocol.reconcile_events import (
    Bucket,
    Load,
    LoadBuckets,
    Loaded,
    LoadedBuckets,
    Received,
    ReconcileAction,
    ReconcileInput,
    Resolved,
    Send,
    Start,
)
from ciris_mesh.protocol.shortid import Item, id_of, item
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage

SEEDS: Final = 200
RECORDS: Final = 1_000_000

_SMALL: Final = (1_000, 10_000)
#: Differences -> bytes both ways they may cost, in one round trip.
_PAYLOAD_BYTES: Final = {10: 135.0, 20: 170.0}
#: Differences -> (times the information floor, one seed in how many is tried): a thousand
#: differences take a hundred times as long as ten.
_RATIOS: Final = {100: (6.0, 10), 1_000: (8.0, 20)}
_CPU_MS: Final = 250.0
_LARGE_CPU_S: Final = 1.0
_BUCKETS: Final = 256
_KIND: Final = EnvelopeKind.ATTESTATION
#: Hello nonces; short ids differ from seed to seed by the salt.
_NONCES: Final = bytes(range(16))


@dataclass
class _Side:
    """One node: its view, whole or in buckets, and its half of the exchange."""

    items: Sequence[Item]
    buckets: Sequence[Sequence[Item]] = ()
    kept: Sequence[Bucket] = ()
    exchange: Exchange = field(default_factory=lambda: Exchange(_NONCES))
    outbox: deque[bytes] = field(default_factory=deque)
    result: Resolved | None = None

    @property
    def count(self) -> int:
        return sum(bucket.count for bucket in self.kept) if self.kept else len(self.items)

    def feed(self, event: ReconcileInput) -> None:
        waiting = deque([event])
        while waiting:
            self.exchange, actions = step(self.exchange, waiting.popleft())
            for action in actions:
                answer = self._perform(action)
                if answer is not None:
                    waiting.append(answer)

    def _perform(self, action: ReconcileAction) -> ReconcileInput | None:
        match action:
            case Send(message=message):
                self.outbox.append(wrap(message))
            case Load(buckets=None) if not self.kept:
                return Loaded(self.items)
            case Load(buckets=tuple(numbers)):
                return Loaded([one for number in numbers for one in self.buckets[number]])
            case LoadBuckets():
                return LoadedBuckets(self.kept)
            case Resolved():
                self.result = action
            case _:
                raise OperatorError(f"two nodes could not compare: {action}")
        return None


@dataclass(frozen=True, slots=True)
class Trial:
    """One exchange.

    Attributes:
        floor_bytes: what no method can go below: each side must learn which of its own records
            the other lacks.
        is_wrong: it ended well and a record that one side lacks is not among those to be sent.
    """

    payload_bytes: int
    round_trips: float
    cpu_s: float
    floor_bytes: float
    is_wrong: bool


def run(*, seeds: int, seed: int, records: int, tell: Callable[[str], None]) -> Report:
    """Measure.

    Args:
        seeds: exchanges for each row of ten and twenty differences.
        seed: of the first of them.
        records: in the large view; needs about 500 bytes each.
        tell: gets a line about what is being done.

    Raises:
        OperatorError: an exchange did not end with a result.
    """
    rows: list[Row] = []
    trials: list[Trial] = []
    for count in _SMALL:
        base = made_items(random.Random(f"{seed} {count}"), count)
        for differences, limit in _PAYLOAD_BYTES.items():
            found = _tried(base, differences, range(seed, seed + seeds), tell)
            trials += found
            rows += _rows_of_few(count, differences, limit, found)
        if count == max(_SMALL):
            for differences, (ratio, share) in _RATIOS.items():
                some = range(seed, seed + max(1, seeds // share))
                found = _tried(base, differences, some, tell)
                trials += found
                rows.append(_row_of_many(count, differences, ratio, found))
    tell(f"comparing views of {records:,} records, {_BUCKETS} buckets")
    large = large_trial(records, seed)
    trials.append(large)
    name = f"CPU both sides, s, N={records:,}, d=10, bucket digests kept"
    rows.append(row(name, large.cpu_s, floor=_LARGE_CPU_S, limit=1))
    wrong = sum(trial.is_wrong for trial in trials)
    rows.append(row(f"undetected wrong results, {len(trials)} exchanges", wrong, floor=1, limit=0))
    return Report("reconcile", tuple(rows))


def _rows_of_few(count: int, differences: int, limit: float, found: Sequence[Trial]) -> list[Row]:
    name = f"N={count:,}, d={differences}"
    worst = f"worst of {len(found)}"
    payload = max(trial.payload_bytes for trial in found)
    trips = max(trial.round_trips for trial in found)
    rows = [
        row(f"payload both ways, bytes, {name}, {worst}", payload, floor=limit, limit=1),
        row(f"round trips, {name}, {worst}", trips, floor=1, limit=1),
    ]
    if (count, differences) == (max(_SMALL), min(_PAYLOAD_BYTES)):
        cpu_ms = median([trial.cpu_s * 1000 for trial in found])
        rows.append(row(f"CPU both sides, ms, {name}, median", cpu_ms, floor=_CPU_MS, limit=1))
    return rows


def _row_of_many(count: int, differences: int, ratio: float, found: Sequence[Trial]) -> Row:
    """The exchange whose ratio is the median one."""
    ordered = sorted(found, key=lambda trial: trial.payload_bytes / trial.floor_bytes)
    middle = ordered[(len(ordered) - 1) // 2]
    name = f"payload both ways, bytes, N={count:,}, d={differences:,}, median of {len(found)}"
    return row(name, middle.payload_bytes, floor=middle.floor_bytes, limit=ratio)


def _tried(
    base: Sequence[Item], differences: int, seeds: range, tell: Callable[[str], None]
) -> list[Trial]:
    name = f"{len(seeds)} exchanges, {len(base):,} records, {differences:,} differences"
    tell(f"{name}")
    found = []
    for number, one in enumerate(seeds, 1):
        found.append(trial(base, differences, one))
        if number % 50 == 0 and number < len(seeds):
            tell(f"  {number} of {len(seeds)}")
    return found


def made_items(rng: random.Random, count: int) -> list[Item]:
    """Items with random ids."""
    return [item(_KIND, rng.randbytes(32)) for _ in range(count)]


def trial(base: Sequence[Item], differences: int, seed: int) -> Trial:
    """Two views that share all but a few of `base`; a coin decides which side has each other."""
    rng = random.Random(f"{seed} {differences}")
    extra = made_items(rng, differences)
    cut = sum(rng.getrandbits(1) for _ in extra)
    common = base[: len(base) - differences // 2]
    one, two = _Side([*common, *extra[:cut]]), _Side([*common, *extra[cut:]])
    return _exchanged(one, two, extra[:cut], extra[cut:], rng)


def large_trial(count: int, seed: int) -> Trial:
    """Ten differences in views with buckets by the first byte of the id, all of one kind.

    One kind is the worst case: its 256 buckets are the fullest.
    """
    rng = random.Random(f"{seed} large")
    shared: list[list[Item]] = [[] for _ in range(_BUCKETS)]
    for one in made_items(rng, count):
        shared[id_of(one)[0]].append(one)
    kept = [_kept(bucket) for bucket in shared]
    extra = made_items(rng, 10)
    sides = [_with_extra(shared, kept, some) for some in (extra[:5], extra[5:])]
    return _exchanged(sides[0], sides[1], extra[:5], extra[5:], rng)


def _with_extra(
    shared: Sequence[Sequence[Item]], kept: Sequence[Bucket], extra: Sequence[Item]
) -> _Side:
    buckets, digests = list(shared), list(kept)
    for one in extra:
        number = id_of(one)[0]
        buckets[number] = [*buckets[number], one]
        digests[number] = _kept(buckets[number])
    return _Side((), buckets, digests)


def _kept(bucket: Sequence[Item]) -> Bucket:
    """As the directory keeps it."""
    joined = b"".join(sorted(id_of(one) for one in bucket))
    return Bucket(len(bucket), hashlib.sha256(joined).digest())


def _exchanged(
    one: _Side, two: _Side, of_one: Sequence[Item], of_two: Sequence[Item], rng: random.Random
) -> Trial:
    salt = rng.randbytes(4)
    start_s = time.process_time()
    one.feed(Start(1, salt, one.count, two.count))
    payload_bytes = messages = 0
    while one.outbox or two.outbox:
        source, target = (one, two) if one.outbox else (two, one)
        frame = source.outbox.popleft()
        payload_bytes += len(frame)
        messages += 1
        target.feed(Received(_message(frame)))
    cpu_s = time.process_time() - start_s
    if one.result is None or two.result is None:
        raise OperatorError("two nodes compared and came to no result")
    floor_bits = _choices_bits(one.count, len(of_one)) + _choices_bits(two.count, len(of_two))
    right = set(of_one) <= set(one.result.offer) and set(of_two) <= set(two.result.offer)
    return Trial(payload_bytes, messages / 2, cpu_s, floor_bits / 8, not right)


def _message(frame: bytes) -> ReconcileMessage:
    unwrapped = try_unwrap(frame)
    assert unwrapped is not None
    assert isinstance(unwrapped.message, ReconcileMessage)
    return unwrapped.message


def _choices_bits(count: int, chosen: int) -> float:
    """log2 of the number of ways to choose."""
    return (lgamma(count + 1) - lgamma(chosen + 1) - lgamma(count - chosen + 1)) / log(2)
