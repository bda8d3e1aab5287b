"""Two views reconciled in one process: real messages in real frames, and a log of who said what."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ciris_mesh.protocol.reconcile import Exchange, step
from ciris_mesh.protocol.reconcile_events import (
    Bucket,
    FallBack,
    GaveUp,
    Ignored,
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
    TakeTurn,
)
from ciris_mesh.protocol.shortid import Item, id_of, item
from ciris_mesh.protocol.sizing import Limits
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.frame import try_unwrap, wrap
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage

NONCES = bytes(range(0x40, 0x50))
BUCKETS = 256


def made(seed: object, count: int, kind: EnvelopeKind = EnvelopeKind.KEY) -> list[Item]:
    """Items that follow from the seed, each different."""
    rng = random.Random(str(seed))
    return [item(kind, rng.randbytes(32)) for _ in range(count)]


def bucketed(items: Iterable[Item]) -> list[list[Item]]:
    """By the first byte of the id, as the directory does."""
    groups: list[list[Item]] = [[] for _ in range(BUCKETS)]
    for one in items:
        groups[id_of(one)[0]].append(one)
    return groups


@dataclass
class Side:
    """One node. `heard` are the messages it was given, `ends` how its exchanges ended."""

    items: Sequence[Item]
    limits: Limits = field(default_factory=Limits)
    exchange: Exchange = field(init=False)
    outbox: deque[bytes] = field(default_factory=deque)
    heard: list[ReconcileMessage] = field(default_factory=list)
    sent_bytes: int = 0
    ends: list[ReconcileAction] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    next_round: int = 100
    peer_count: int = 0
    groups: list[list[Item]] | None = None
    spare: Sequence[Item] = ()

    def __post_init__(self) -> None:
        self.exchange = Exchange(NONCES, self.limits)

    @property
    def end(self) -> ReconcileAction:
        """How its one exchange ended."""
        (only,) = self.ends
        return only

    @property
    def offer(self) -> set[Item]:
        """What it would send."""
        assert isinstance(self.end, Resolved), self.end
        return set(self.items) if self.end.everything else set(self.end.offer)

    def open(self, their_count: int, salt: bytes = b"salt", **more: Any) -> None:
        """Open an exchange, as the runtime does."""
        self.next_round += 2
        self.feed(Start(self.next_round, salt, len(self.items), their_count, **more))

    def feed(self, event: ReconcileInput) -> None:
        waiting = deque([event])
        while waiting:
            self.exchange, actions = step(self.exchange, waiting.popleft())
            for action in actions:
                answer = self._perform(action)
                if answer is not None:
                    waiting.append(answer)

    def receive(self, message: ReconcileMessage) -> None:
        self.heard.append(message)
        self.feed(Received(message))

    def take(self) -> ReconcileMessage:
        """The oldest message sent, off its frame."""
        unwrapped = try_unwrap(self.outbox.popleft())
        assert unwrapped is not None
        assert isinstance(unwrapped.message, ReconcileMessage)
        return unwrapped.message

    def _perform(self, action: ReconcileAction) -> ReconcileInput | None:
        match action:
            case Send(message=message):
                frame = wrap(message)
                self.sent_bytes += len(frame)
                self.outbox.append(frame)
            case Load(buckets=buckets, at_most=at_most):
                self.loads.append(action)
                found = self._items_of(buckets)
                return Loaded(found if len(found) <= at_most else None, self.spare)
            case LoadBuckets():
                return LoadedBuckets([self._kept(group) for group in self._groups()])
            case TakeTurn():
                self.next_round += 2
                return Start(self.next_round, b"turn", len(self.items), self.peer_count, asked=True)
            case Ignored(reason=reason):
                self.ignored.append(reason)
            case Resolved() | FallBack() | GaveUp():
                self.ends.append(action)
        return None

    def _groups(self) -> list[list[Item]]:
        if self.groups is None:
            self.groups = bucketed(self.items)
        return self.groups

    def _items_of(self, buckets: tuple[int, ...] | None) -> Sequence[Item]:
        if buckets is None:
            return self.items
        return [one for number in buckets for one in self._groups()[number]]

    @staticmethod
    def _kept(group: list[Item]) -> Bucket:
        return Bucket(len(group), hashlib.sha256(b"".join(sorted(group))).digest())


Change = Callable[[ReconcileMessage], ReconcileMessage]


def converse(one: Side, two: Side, *, limit: int = 60, change: Change | None = None) -> int:
    """Carry messages until both are silent; returns how many. `change` sits on the wire."""
    carried = 0
    while one.outbox or two.outbox:
        for source, target in ((one, two), (two, one)):
            if source.outbox:
                message = source.take()
                target.receive(change(message) if change else message)
                carried += 1
                assert carried <= limit, "the two never stop talking"
    return carried


def reconcile(one: Side, two: Side, salt: bytes = b"salt", **more: Any) -> int:
    """`one` opens; returns how many messages it took."""
    one.peer_count, two.peer_count = len(two.items), len(one.items)
    one.open(len(two.items), salt, **more)
    return converse(one, two)


def differing(seed: object, common: int, mine: int, theirs: int) -> tuple[Side, Side]:
    """Two sides that share `common` items and hold some of their own."""
    shared = made(f"{seed} common", common)
    return (
        Side([*shared, *made(f"{seed} one", mine)]),
        Side([*shared, *made(f"{seed} two", theirs)]),
    )


def said(one: Side, two: Side) -> list[str]:
    """Names of the messages in the order they were heard, of strictly alternating talk."""
    names: list[str] = []
    for first, second in zip(two.heard, [*one.heard, None], strict=False):
        names.append(type(first).__name__)
        if second is not None:
            names.append(type(second).__name__)
    return names


def exact(one: Side, two: Side) -> bool:
    """Each would send just what the other lacks."""
    return one.offer == set(one.items) - set(two.items) and two.offer == set(two.items) - set(
        one.items
    )


def enough(one: Side, two: Side) -> bool:
    """Each would send what the other lacks, and perhaps a record too many."""
    return one.offer >= set(one.items) - set(two.items) and two.offer >= set(two.items) - set(
        one.items
    )
