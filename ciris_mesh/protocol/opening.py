"""The opening side of a reconciliation: it sends sketches and learns what the peer wants.

Called by `reconcile.step` alone, which has the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ciris_mesh.errors import DecodeError, ReconcileRefused, UnexpectedMessage
from ciris_mesh.protocol import sizing
from ciris_mesh.protocol.compared import wanted_items
from ciris_mesh.protocol.reconcile_events import (
    Bucket,
    Failure,
    FallBack,
    Load,
    LoadBuckets,
    ReconcileAction,
    Refused,
    Resolved,
    Send,
    Start,
)
from ciris_mesh.protocol.shortid import Item, SaltedSet, bucket_elements, short_digests
from ciris_mesh.protocol.sizing import CutIntoCells, Limits, OneSketch, SendList
from ciris_mesh.protocol.sketch import PowerSums
from ciris_mesh.wire.mesh_reconcile import (
    EXTEND_TOTAL_MAX,
    LIST_IDS_MAX,
    PRIMES,
    ROUND_MAX,
    SALT_BYTES,
    SYMBOLS_MAX,
    BucketDigests,
    Extend,
    Failed,
    IdList,
    More,
    Narrow,
    ReconcileMessage,
    Sketch,
    Symbols,
    Turn,
    Wants,
)

#: Attempts in one exchange: a second salt makes another accident of chance, a third proves nothing.
_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True)
class Opening:
    """What the opening side remembers.

    Attributes:
        is_loading: an answer of the runtime is awaited; otherwise one of the peer.
        buckets: what the runtime told of all buckets; empty when there are few records.
        narrowed: the buckets compared; None when all are.
        own: what was sketched or listed last.
        sums: of each cell of the last sketch.
        sent: symbols sent of each of these cells.
        questions: More and Extend messages answered since the last narrowing.
        products: multiplications done for sketches, in both attempts.
    """

    start: Start
    nonces: bytes
    limits: Limits
    attempt: int
    is_loading: bool = True
    their_count: int = 0
    buckets: tuple[Bucket, ...] = ()
    narrowed: tuple[int, ...] | None = None
    over_buckets: bool = False
    own: SaltedSet | None = None
    width: int = 24
    cells_log2: int = 0
    sums: tuple[PowerSums, ...] = field(default=(), repr=False)
    sent: tuple[int, ...] = ()
    questions: int = 0
    products: int = 0

    @property
    def round_id(self) -> int:
        """Of this attempt."""
        return (self.start.round_id + self.attempt - self.start.attempt) & ROUND_MAX

    @property
    def salt(self) -> bytes:
        """Of this attempt."""
        number = int.from_bytes(self.start.salt) + self.attempt - self.start.attempt
        return (number % (1 << 8 * SALT_BYTES)).to_bytes(SALT_BYTES)

    @property
    def key(self) -> bytes:
        """Of this attempt's short ids."""
        return self.salt + self.nonces


Done = tuple[Opening | None, tuple[ReconcileAction, ...]]


def begin(start: Start, nonces: bytes, limits: Limits) -> Done:
    """Choose how to open."""
    task = Opening(start, nonces, limits, start.attempt, their_count=start.their_count)
    own, theirs = start.own_count, start.their_count
    if not own:
        return _listed(task, ())
    if not theirs and not start.asked:  # who asks wants to see what there is before it is sent
        return None, (Resolved((), everything=True),)
    if own > theirs and sizing.shares_little(own, theirs) and not start.asked:
        return None, (Send(Turn(start.round_id)),)
    lists = (start.asked or own < theirs) and sizing.shares_little(own, theirs)
    if lists and own <= LIST_IDS_MAX and theirs <= sizing.ITEMS_MAX:
        return task, (Load(None, LIST_IDS_MAX),)
    if max(own, theirs) > sizing.BUCKETS_FROM:
        return task, (LoadBuckets(),)
    return task, (Load(None, sizing.ITEMS_MAX),)


def loaded(task: Opening, items: Sequence[Item] | None) -> Done:
    """Send the first word about these items."""
    if items is None:
        return _fall_back(task, Failure.TOO_MUCH)
    own = SaltedSet(items, task.key)
    ready = replace(task, is_loading=False, own=own, over_buckets=False)
    smaller = len(items) < task.their_count or (task.start.asked and task.narrowed is None)
    lists = smaller and sizing.shares_little(len(items), task.their_count)
    if lists and len(items) <= LIST_IDS_MAX:
        return _listed(ready, items)
    expected = task.start.expected
    if task.narrowed is not None:
        expected = sizing.spread_over(task.narrowed)
    return _planned(ready, expected)


def loaded_buckets(task: Opening, buckets: Sequence[Bucket]) -> Done:
    """Sketch the buckets' digests."""
    known = replace(task, is_loading=False, buckets=tuple(buckets))
    return _over_buckets(known)


def received(task: Opening, message: ReconcileMessage) -> Done:
    """Take an answer of the peer. It belongs to this exchange."""
    match message:
        case Wants() if task.own is not None and not task.over_buckets:
            return _wants(task, message)
        case More():
            return _more(_asked(task), message)
        case Extend() if not task.over_buckets and task.sums:
            return _extend(_asked(task), message)
        case Narrow() if task.over_buckets:
            return _narrow(task, message)
        case Failed():
            return _failed(task, Failure.PEER_FAILED)
        case _:
            raise UnexpectedMessage(got=type(message).__name__, phase="opening_waiting")


def _asked(task: Opening) -> Opening:
    if task.questions >= sizing.EXTENDS_MAX + 2:
        raise ReconcileRefused(Refused.TOO_MANY_QUESTIONS)
    return replace(task, questions=task.questions + 1)


def _wants(task: Opening, message: Wants) -> Done:
    assert task.own is not None, "looked at before"
    values = task.own.values(task.width, task.cells_log2)
    try:
        items = wanted_items(task.own, values, message.ranks, message.check)
    except DecodeError as error:
        raise ReconcileRefused(Refused.RANKS_MALFORMED) from error
    if items is None:
        return _failed(task, Failure.WRONG_RESULT)
    return None, (Resolved(items),)


def _more(task: Opening, message: More) -> Done:
    """The sketch was too short. Of buckets: list their digests. Of ids: estimate and plan anew."""
    is_one_sketch = task.own is not None and len(task.sums) == 1
    if not is_one_sketch or bool(message.histogram) is task.over_buckets:
        raise ReconcileRefused(Refused.WRONG_KIND_OF_MORE)
    assert task.own is not None, "just looked at"
    if task.over_buckets:
        return task, (Send(BucketDigests(task.round_id, short_digests(task.own))),)
    surplus = len(task.own.items) - task.their_count
    guess = sizing.estimate(task.own.histogram(), message.histogram, surplus)
    have = task.sent[0]
    if task.questions > 1:  # estimated before, or more than the peer takes in one sketch
        guess = max(guess, have, task.limits.symbols_max + 1)
    return _planned(task, max(guess, have))


def _planned(task: Opening, expected: int) -> Done:
    assert task.own is not None, "only called with items"
    count = len(task.own.items)
    match sizing.plan(expected, count, task.their_count, task.limits):
        case OneSketch(total=total):
            return _one_sketch(task, total)
        case CutIntoCells(log2=log2, each=each):
            return _sketched(task, log2, each)
        case SendList():
            return _listed(task, task.own.items)
        case None:
            return _fall_back(task, Failure.TOO_MUCH)


def _one_sketch(task: Opening, total: int) -> Done:
    if not task.sums:
        return _sketched(task, 0, total)
    start = task.sent[0]
    return _continued(task, (0,), start, max(total, start + 1))


def _sketched(task: Opening, cells_log2: int, each: int) -> Done:
    """A sketch of every cell; one cell is the whole set."""
    own = task.own
    assert own is not None, "only called with items"
    most = max(len(own.items), task.their_count)
    width = 32 if task.attempt > 1 else sizing.width_for(most >> cells_log2)
    cells = own.cells(width, cells_log2)
    sums = tuple(PowerSums(cell, PRIMES[width]) for cell in cells)
    products = task.products + len(own.items) * each
    if products > sizing.PRODUCTS_MAX:
        return _fall_back(task, Failure.TOO_COSTLY)
    symbols = tuple(symbol for one in sums for symbol in one.first(each))
    mask = 0xFF if cells_log2 else ~0
    counts = tuple(len(cell) & mask for cell in cells)
    sketch = Sketch(task.round_id, task.salt, width, False, counts, symbols)  # noqa: FBT003
    sent = (each,) * len(cells)
    next_task = replace(
        task, width=width, cells_log2=cells_log2, sums=sums, sent=sent, products=products
    )
    return next_task, (Send(sketch),)


def _over_buckets(task: Opening) -> Done:
    elements = bucket_elements([b.count.to_bytes(4) + b.digest for b in task.buckets])
    own = SaltedSet(elements, task.key)
    width = 32 if task.attempt > 1 else sizing.width_for(len(elements))
    sums = PowerSums(own.values(width), PRIMES[width])
    symbols = tuple(sums.first(sizing.BUCKET_SYMBOLS))
    count = (len(elements),)
    sketch = Sketch(task.round_id, task.salt, width, True, count, symbols)  # noqa: FBT003
    next_task = replace(
        task,
        over_buckets=True, narrowed=None, own=own, width=width, cells_log2=0,
        sums=(sums,), sent=(len(symbols),), questions=0,
    )  # fmt: skip
    return next_task, (Send(sketch),)


def _listed(task: Opening, items: Sequence[bytes]) -> Done:
    own = SaltedSet(items, task.key)
    most = max(len(items), task.their_count)
    width = 32 if task.attempt > 1 else sizing.width_for(most)
    ids = tuple(sorted(own.values(width)))
    next_task = replace(
        task, is_loading=False, own=own, over_buckets=False, width=width, cells_log2=0, sums=()
    )
    return next_task, (Send(IdList(task.round_id, task.salt, width, ids)),)


def _extend(task: Opening, message: Extend) -> Done:
    """More symbols of the cells named; all of them have had equally many."""
    if message.cells[-1] >= len(task.sums):
        raise ReconcileRefused(Refused.NO_SUCH_CELL)
    start = task.sent[message.cells[0]]
    most = EXTEND_TOTAL_MAX if len(task.sums) == 1 else sizing.CELL_SYMBOLS_MAX
    uneven = any(task.sent[cell] != start for cell in message.cells)
    extra = message.total - start
    too_many = message.total > most or extra * len(message.cells) > SYMBOLS_MAX
    if uneven or extra < 1 or too_many:
        raise ReconcileRefused(Refused.TOO_MANY_SYMBOLS)
    return _continued(task, message.cells, start, message.total)


def _continued(task: Opening, cells: Sequence[int], start: int, total: int) -> Done:
    """Symbols `start` + 1 to `total` of each of these cells."""
    sums = [task.sums[cell] for cell in cells]
    products = task.products + sum(one.products_to(total) for one in sums)
    if products > sizing.PRODUCTS_MAX:
        return _fall_back(task, Failure.TOO_COSTLY)
    symbols = tuple(symbol for one in sums for symbol in one.first(total)[start:])
    sent = list(task.sent)
    for cell in cells:
        sent[cell] = total
    reply = Symbols(task.round_id, task.width, start, symbols)
    return replace(task, sent=tuple(sent), products=products), (Send(reply),)


def _narrow(task: Opening, message: Narrow) -> Done:
    """Only these buckets matter from here on."""
    if not message.buckets:
        return None, (Resolved(()),)
    if message.buckets[-1] >= len(task.buckets):
        raise ReconcileRefused(Refused.NO_SUCH_BUCKET)
    if sum(task.buckets[number].count for number in message.buckets) > 2 * sizing.ITEMS_MAX:
        return _fall_back(task, Failure.TOO_MUCH)
    next_task = replace(
        task,
        is_loading=True, narrowed=message.buckets, their_count=message.count,
        own=None, sums=(), sent=(), questions=0,
    )  # fmt: skip
    return next_task, (Load(message.buckets, 2 * sizing.ITEMS_MAX),)


def _fall_back(task: Opening, reason: Failure) -> Done:
    """Leave it to 0x01, and let the peer forget the exchange."""
    return None, (Send(Failed(task.round_id)), FallBack(reason))


def _failed(task: Opening, reason: Failure) -> Done:
    """Once more with another salt and the widest ids; then 0x01."""
    if task.attempt >= _ATTEMPTS:
        return None, (FallBack(reason),)
    again = replace(
        task, attempt=task.attempt + 1, their_count=task.start.their_count, questions=0,
        sums=(), sent=(), cells_log2=0,
    )  # fmt: skip
    if task.buckets:
        return _over_buckets(again)
    assert task.own is not None, "something was sent, so something was loaded"
    return loaded(again, [Item(element) for element in task.own.items])
