"""The answering side of a reconciliation: it reads sketches and says what it wants.

Called by `reconcile.step` alone, which has the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from ciris_mesh.errors import ReconcileRefused, UnexpectedMessage
from ciris_mesh.protocol import sizing
from ciris_mesh.protocol.compared import found_among, outcome
from ciris_mesh.protocol.field import Effort, EffortExceeded
from ciris_mesh.protocol.reconcile_events import (
    Bucket,
    Failure,
    GaveUp,
    Load,
    LoadBuckets,
    ReconcileAction,
    Refused,
    Resolved,
    Send,
)
from ciris_mesh.protocol.shortid import (
    CELL_SHIFT,
    Item,
    SaltedSet,
    bucket_elements,
    check_of,
    short_digests,
)
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.protocol.sketch import Difference, PowerSums, decode
from ciris_mesh.wire import bitpack
from ciris_mesh.wire.mesh_reconcile import (
    BUCKET_DIGEST_BYTES,
    EXTEND_TOTAL_MAX,
    PRIMES,
    BucketDigests,
    Extend,
    Failed,
    IdList,
    More,
    Narrow,
    ReconcileMessage,
    Sketch,
    Symbols,
    Wants,
)

#: "Too short" for a sketch of all: once to have it made longer, once to have it cut into cells.
_MORES_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """One hash cell of the peer's sketch: its symbols so far, its size, and what came of it."""

    theirs: tuple[int, ...]
    sums: PowerSums
    surplus: int
    solved: Difference | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """What the answering side remembers.

    Attributes:
        spare: what is held here besides; see `Loaded`.
        pending: what is worked on when the runtime has answered; None while the peer's answer is
            awaited.
        effort_left: steps of decoding left in this exchange.
        cells: of the sketch being read; empty while another message is awaited.
        asked: numbers of the cells of which more symbols were asked for, up to `total` of each.
    """

    round_id: int
    salt: bytes
    key: bytes = field(repr=False)
    limits: Limits
    effort_left: int
    pending: Sketch | IdList | BucketDigests | None
    own: SaltedSet | None = field(default=None, repr=False)
    spare: tuple[Item, ...] = field(default=(), repr=False)
    buckets: tuple[Bucket, ...] = field(default=(), repr=False)
    narrowed: tuple[int, ...] | None = None
    is_partial: bool = False
    over_buckets: bool = False
    width: int = 24
    cells: tuple[Cell, ...] = field(default=(), repr=False)
    asked: tuple[int, ...] = ()
    total: int = 0
    mores: int = 0
    extends: int = 0

    @property
    def is_loading(self) -> bool:
        """An answer of the runtime is awaited; otherwise one of the peer."""
        return self.pending is not None or (self.narrowed is not None and self.own is None)

    @property
    def cells_log2(self) -> int:
        """How the sketch being read is cut."""
        return len(self.cells).bit_length() - 1


Done: TypeAlias = tuple[Answering | None, tuple[ReconcileAction, ...]]


def begin(message: Sketch | IdList, nonces: bytes, limits: Limits) -> Done:
    """Take the first word of an exchange: see what there is here to compare it with."""
    key = message.salt + nonces
    if isinstance(message, IdList) and not message.ids:
        nothing = bitpack.pack_distinct((), 1)
        wants = Wants(message.round_id, check_of((), key), nothing)
        return None, (Send(wants), Resolved((), everything=True, expected=0))
    task = Answering(message.round_id, message.salt, key, limits, limits.effort_steps, message)
    if isinstance(message, Sketch) and message.over_buckets:
        return task, (LoadBuckets(),)
    return task, (Load(None, sizing.ITEMS_MAX),)


def loaded(task: Answering, items: Sequence[Item] | None, spare: Sequence[Item]) -> Done:
    """Work off what waited for these items; or announce what was narrowed to them."""
    if items is None:
        return _give_up(task, Failure.TOO_MUCH)
    own = SaltedSet(items, task.key)
    known = replace(task, own=own, spare=tuple(spare), pending=None)
    match task.pending:
        case Sketch() as sketch:
            return _sketch(known, sketch)
        case IdList() as ids:
            return _list(known, ids)
        case _:
            assert task.narrowed is not None, "nothing else is loaded"
            return known, (Send(Narrow(task.round_id, len(items), task.narrowed)),)


def loaded_buckets(task: Answering, buckets: Sequence[Bucket]) -> Done:
    """Work off a sketch of bucket digests."""
    assert isinstance(task.pending, Sketch), "nothing else asks for buckets"
    elements = bucket_elements([bucket.count.to_bytes(4) + bucket.digest for bucket in buckets])
    own = SaltedSet(elements, task.key)
    known = replace(task, own=own, buckets=tuple(buckets), pending=None, over_buckets=True)
    sketch = task.pending
    if sketch.counts != (len(buckets),):
        return _give_up(task, Failure.OTHER_BUCKETS)
    return _read(replace(known, width=sketch.width, cells=(_bucket_cell(own, sketch),)))


def received(task: Answering, message: ReconcileMessage) -> Done:
    """Take an answer of the peer. It belongs to this exchange."""
    match message:
        case Symbols() if task.asked:
            return _symbols(task, message)
        case Sketch(over_buckets=False, salt=task.salt) if _wants_sketch(task):
            return _sketch(task, message)
        case IdList(salt=task.salt) if _wants_sketch(task):
            return _list(task, message)
        case BucketDigests() if task.over_buckets and task.mores:
            return _bucket_digests(task, message)
        case Failed():
            return None, (GaveUp(Failure.PEER_FAILED),)
        case _:
            raise UnexpectedMessage(got=type(message).__name__, phase="answering_waiting")


def _wants_sketch(task: Answering) -> bool:
    """A sketch of ids is due: in answer to More, or to Narrow."""
    if task.over_buckets:
        return False
    return not task.cells or (task.mores > 0 and len(task.cells) == 1)


# -- reading sketches ----------------------------------------------------------------------------


def _sketch(task: Answering, message: Sketch) -> Done:
    assert task.own is not None, "loaded before"
    p, log2 = PRIMES[message.width], len(message.counts).bit_length() - 1
    each = len(message.symbols) // len(message.counts)
    cells = []
    groups = task.own.cells(message.width, log2)
    for number, (count, group) in enumerate(zip(message.counts, groups, strict=True)):
        theirs = message.symbols[number * each : (number + 1) * each]
        surplus = count - len(group)
        if log2:
            surplus = (surplus + 128) % 256 - 128
        cells.append(Cell(theirs, PowerSums(group, p), surplus))
    return _read(replace(task, width=message.width, cells=tuple(cells), asked=(), total=0))


def _bucket_cell(own: SaltedSet, message: Sketch) -> Cell:
    sums = PowerSums(own.values(message.width), PRIMES[message.width])
    return Cell(message.symbols, sums, 0)  # both sides have every bucket, empty ones too


def _symbols(task: Answering, message: Symbols) -> Done:
    """Append to each cell asked for what came of it."""
    have = len(task.cells[task.asked[0]].theirs)
    each, rest = divmod(len(message.symbols), len(task.asked))
    wrong = message.width != task.width or message.start != have or rest
    if wrong or (task.total and have + each != task.total) or have + each > EXTEND_TOTAL_MAX:
        raise ReconcileRefused(Refused.SYMBOLS_NOT_ASKED_FOR)
    cells = list(task.cells)
    for index, number in enumerate(task.asked):
        more = message.symbols[index * each : (index + 1) * each]
        cells[number] = replace(cells[number], theirs=cells[number].theirs + more)
    return _read(replace(task, cells=tuple(cells), asked=(), total=0))


def _read(task: Answering) -> Done:
    """Decode every cell not solved yet, then answer."""
    effort = Effort(task.effort_left)
    most = task.limits.symbols_max if len(task.cells) == 1 else sizing.CELL_SYMBOLS_MAX
    try:
        cells = tuple(
            cell if cell.solved else replace(cell, solved=_decoded(task, cell, most, effort))
            for cell in task.cells
        )
    except EffortExceeded:
        return _give_up(task, Failure.TOO_COSTLY)
    tried = replace(task, cells=cells, effort_left=effort.left)
    unsolved = tuple(number for number, cell in enumerate(cells) if cell.solved is None)
    if unsolved:
        return _ask(tried, unsolved, most)
    return _solved_buckets(tried) if task.over_buckets else _solved(tried)


def _decoded(task: Answering, cell: Cell, most: int, effort: Effort) -> Difference | None:
    """None also for a sketch longer than this node takes on: it is asked for in cells instead."""
    count = len(cell.theirs)
    if count > most:
        return None
    effort.spend(cell.sums.products_to(count) // sizing.PRODUCTS_PER_STEP)
    ours = cell.sums.first(count)
    return decode(PRIMES[task.width], cell.theirs, ours, cell.surplus, effort)


def _ask(task: Answering, unsolved: tuple[int, ...], most: int) -> Done:
    """Some cells are too short still."""
    if task.over_buckets:
        return replace(task, mores=1), (Send(More(task.round_id, b"")),)
    have = len(task.cells[unsolved[0]].theirs)
    one = len(task.cells) == 1
    if one and (not task.mores or have >= most):
        return _more(task)
    if have >= most or task.extends >= sizing.EXTENDS_MAX:
        return _give_up(task, Failure.UNDECODABLE)
    total = sizing.longer(have, most)
    waiting = replace(task, asked=unsolved, total=total, extends=task.extends + 1)
    return waiting, (Send(Extend(task.round_id, total, unsolved)),)


def _more(task: Answering) -> Done:
    """Let the peer estimate what to send next: symbols, cells, or a list."""
    if task.mores >= _MORES_MAX:
        return _give_up(task, Failure.UNDECODABLE)
    assert task.own is not None, "a sketch was read"
    more = More(task.round_id, task.own.histogram())
    return replace(task, mores=task.mores + 1, asked=(0,), total=0), (Send(more),)


# -- results -------------------------------------------------------------------------------------


def _solved(task: Answering) -> Done:
    net: dict[int, int] = {}
    for number, cell in enumerate(task.cells):
        assert cell.solved is not None, "all are"
        high = number << CELL_SHIFT if len(task.cells) > 1 else 0
        for value, times in cell.solved.theirs.items():
            net[high + value] = times
        for value, times in cell.solved.ours.items():
            net[high + value] = net.get(high + value, 0) - times
    return _result(task, task.width, task.cells_log2, net)


def _list(task: Answering, message: IdList) -> Done:
    """Both multisets are known: no decoding needed."""
    assert task.own is not None, "loaded before"
    net: dict[int, int] = {}
    for value in message.ids:
        net[value] = net.get(value, 0) + 1
    for value in task.own.values(message.width):
        net[value] = net.get(value, 0) - 1
    return _result(task, message.width, 0, {value: more for value, more in net.items() if more})


def _result(task: Answering, width: int, cells_log2: int, net: Mapping[int, int]) -> Done:
    assert task.own is not None, "loaded before"
    met, met_values, rest = found_among(task.spare, task.key, width, cells_log2, net)
    own = SaltedSet((*task.own.items, *met), task.key) if met else task.own
    found = outcome(own, (*task.own.values(width, cells_log2), *met_values), rest)
    if found is None:
        return _give_up(task, Failure.IMPOSSIBLE)
    wants = Wants(task.round_id, found.check, found.ranks)
    resolved = Resolved(
        found.offer, expected=found.wanted, is_partial=task.is_partial, met=tuple(met)
    )
    return None, (Send(wants), resolved)


def _solved_buckets(task: Answering) -> Done:
    """Our side of the difference names the buckets: every bucket is an element on both sides."""
    assert task.own is not None, "loaded before"
    solved = task.cells[0].solved
    assert solved is not None, "it is"
    numbers = {value: number for number, value in enumerate(task.own.values(task.width))}
    if not solved.ours.keys() <= numbers.keys():
        return _give_up(task, Failure.IMPOSSIBLE)
    return _narrowed(task, sorted(numbers[value] for value in solved.ours))


def _bucket_digests(task: Answering, message: BucketDigests) -> Done:
    assert task.own is not None, "loaded before"
    ours, size = short_digests(task.own), BUCKET_DIGEST_BYTES
    if len(ours) != len(message.digests):
        return _give_up(task, Failure.OTHER_BUCKETS)
    theirs = message.digests
    differ = [
        at // size
        for at in range(0, len(ours), size)
        if ours[at : at + size] != theirs[at : at + size]
    ]
    return _narrowed(task, differ)


def _narrowed(task: Answering, numbers: Sequence[int]) -> Done:
    """Go on with as many of the differing buckets as one exchange takes."""
    if not numbers:
        return None, (Send(Narrow(task.round_id, 0, ())), Resolved((), expected=0))
    taken: list[int] = []
    items = 0
    for number in numbers:
        items += task.buckets[number].count
        if taken and items > sizing.ITEMS_MAX:
            break
        taken.append(number)
    next_task = replace(
        task,
        own=None, over_buckets=False, narrowed=tuple(taken), cells=(), asked=(), mores=0,
        is_partial=len(taken) < len(numbers),
    )  # fmt: skip
    return next_task, (Load(tuple(taken), sizing.ITEMS_MAX),)


def _give_up(task: Answering, reason: Failure) -> Done:
    return None, (Send(Failed(task.round_id)), GaveUp(reason))
