"""What admission is asked, what it knows, and what it answers.

A candidate asks to come in; `Known` is what may be looked up about the directory; a judgement says
what to do with the candidate, which `placing` carries out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from ciris_mesh.directory.base import Source, StoredRow
from ciris_mesh.directory.store import Name, PooledEntry
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Verdict

DEFERRED: Final = "deferred"
FIRST_CONTACT: Final = "first_contact"

_View = TypeVar("_View")

_ATTRIBUTED_BY_PEER: Final = frozenset({"peer", "registry"})
_PATHS: Final = _ATTRIBUTED_BY_PEER | {"own", "import", "unattributed"}

# Candidates and judgements are tuples: a frozen dataclass sets its fields one by one, past itself,
# and takes three times as long to make; one is made of each for every record that comes.


class Candidate(NamedTuple):
    """Bytes that ask to come in. `digest` names them: SHA-256 over kind and bytes.

    `proven` are signers whose signatures in them were verified before. `is_waiting` when they come
    from the deferred pool, so that nobody waits for the answer. `copy_id` is known once they were
    read.
    """

    kind: EnvelopeKind
    raw: bytes
    source: Source
    digest: bytes
    proven: frozenset[str] = frozenset()
    is_waiting: bool = False
    copy_id: bytes | None = None


class Judgement(NamedTuple):
    """What to do with a candidate.

    Attributes:
        verdict: final, unless `row` is set: then writing it decides between Admitted, Upgraded,
            Superseded, Duplicate and a refusal for want of room.
        row: goes on its shelf.
        joins: the bytes of ours that the row has more signers than; None when it is new there.
        entry: goes into its pool. Beside a row, ours or this: the copy, while signers of it may
            come to count, or the row may move up a shelf.
        public: of a KEY row, the key it introduces.
        is_root: the row is the record of a root of this node's configuration.
        tokens: what the row answers to; empty unless it goes to the federation shelf.
        key_ids, relied_on: of a row for the federation shelf, the keys and the rows without which
            it could not stand there.
        names: what questions find the row by, on every shelf.
        published: what it publishes when it gets there, as `published_by`.
        vouched: rows it names, of a vouch by whom the configuration lists.
    """

    candidate: Candidate
    verdict: Verdict
    row: StoredRow | None = None
    joins: bytes | None = None
    entry: PooledEntry | None = None
    public: HybridPublicKey | None = None
    is_root: bool = False
    tokens: tuple[str, ...] = ()
    key_ids: tuple[str, ...] = ()
    relied_on: tuple[Name, ...] = ()
    names: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    vouched: tuple[Name, ...] = ()


class Known(Protocol):
    """What judging needs to know about the directory. Thread-safe."""

    def on_federation_shelf(self, names: Sequence[Name]) -> Set[Name]:
        """Those of `names` that have a row on the federation shelf."""
        ...

    def get(self, kind: EnvelopeKind, envelope_id: bytes) -> StoredRow | None:
        """The row with this id."""
        ...

    def is_trusted(self, key_id: str) -> bool:
        """Does this node pass on what this key signed?"""
        ...

    def federation_key(self, key_id: str) -> HybridPublicKey | None:
        """The key on the federation shelf."""
        ...

    def named(self, token: str) -> Iterator[Envelope]:
        """Federation-shelf records that answer to this token."""
        ...

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[tuple[Name, _View]]:
        """Each record that answers to this token, and what `read` makes of it."""
        ...

    def stewards(self) -> frozenset[str]:
        """Keys with a chain of stewards to a configured root."""
        ...

    def first_contact_key(self, key_id: str) -> HybridPublicKey | None:
        """The key in the first-contact pool."""
        ...

    def remembered_refusal(self, digest: bytes, now_ms: int) -> Verdict | None:
        """What was said about exactly these bytes."""
        ...

    def remember_refusal(self, digest: bytes, verdict: Verdict, now_ms: int) -> None:
        """Say it again without looking, for a while."""
        ...


def candidate(kind: EnvelopeKind, envelope: bytes, source: Source) -> Candidate:
    """Name the bytes.

    Raises:
        ValueError: `source.path` is none of the known ones: a bug in the caller.
    """
    if source.path not in _PATHS:
        raise ValueError(f"unknown source path {source.path!r}")
    raw = bytes(envelope)
    return Candidate(kind, raw, source, hashlib.sha256(kind.encode() + b"\0" + raw).digest())


def is_attributed(source: Source) -> bool:
    """True when we know whose delivery this is: a peer that is named, or ourselves."""
    if source.path in _ATTRIBUTED_BY_PEER:
        return source.peer != ""
    return source.path in ("own", "import")


class _Viewed:
    """What one search reads, as far as anybody went: a rule goes through a group's rosters up to
    four times, and each look for which there are costs as much as judging a tenth of a record.
    """

    def __init__(self, rest: Iterator[tuple[Name, Any]]) -> None:
        self._read: list[tuple[Name, Any]] = []
        self._rest = rest

    def __iter__(self) -> Iterator[tuple[Name, Any]]:
        at = 0
        while at < len(self._read) or self._goes_on():
            yield self._read[at]
            at += 1

    def _goes_on(self) -> bool:
        following = next(self._rest, None)
        if following is None:
            return False
        self._read.append(following)
        return True


class ShelfFacts:
    """The federation shelf as one judgement sees it; what is in a pool is no fact.

    Remembers what the answer relied on: the keys that were found, and of each search the record it
    stopped at. Who reads to the end has not found what it looked for.
    """

    __slots__ = ("_found", "_known", "_nothing", "_viewed", "key_ids")

    def __init__(self, known: Known) -> None:
        self._known = known
        self._found: list[Name | None] = []
        self._viewed: dict[tuple[str, Any], _Viewed] = {}
        self._nothing: set[str] = set()  # tokens that no record answers to; some are asked twice
        self.key_ids: dict[str, None] = {}

    @property
    def relied_on(self) -> tuple[Name, ...]:
        """Kind and envelope id of the records searches stopped at."""
        return tuple([one for one in self._found if one is not None])

    def public_key(self, key_id: str) -> HybridPublicKey | None:
        """See rules.base.Facts."""
        public = self._known.federation_key(key_id)
        if public is not None:
            self.key_ids[key_id] = None
        return public

    def named(self, token: str) -> Iterator[Envelope]:
        """See rules.base.Facts."""
        if token in self._nothing:
            return
        search = len(self._found)
        self._found.append(None)
        is_nothing = True
        for envelope in self._known.named(token):
            self._found[search], is_nothing = (envelope.kind, envelope.envelope_id), False
            yield envelope
        self._found[search] = None
        if is_nothing:
            self._nothing.add(token)

    def views(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[_View]:
        """See rules.base.Facts."""
        search = len(self._found)
        self._found.append(None)
        viewed = self._viewed.get((token, read))
        if viewed is None:
            viewed = self._viewed[token, read] = _Viewed(self._known.views(token, read))
        for name, view in viewed:
            self._found[search] = name
            yield view
        self._found[search] = None

    def stewards(self) -> frozenset[str]:
        """See rules.base.Facts."""
        return self._known.stewards()
