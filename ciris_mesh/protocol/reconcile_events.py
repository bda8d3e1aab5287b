"""What goes into a reconciliation and what comes out; the state machine is in `reconcile`.

The runtime performs each action in order and feeds the answer back as the input named beside it:

    Load            -> Loaded           the items of these buckets, or of the whole view
    LoadBuckets     -> LoadedBuckets    count and digest of every bucket of the view
    Send            -> (none)           put one message on the link
    TakeTurn        -> Start            open an exchange, `asked` set
    Resolved        -> (none)           who lacks what is known; the exchange is over
    FallBack        -> (none)           compare by 0x01 Summaries instead; the exchange is over
    GaveUp          -> (none)           the answering side forgot the exchange; the peer knows
    Ignored         -> (none)           count it: a message was passed over, and this is why
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from ciris_mesh.protocol.shortid import Item
from ciris_mesh.wire.mesh_reconcile import ReconcileMessage


class Refused(StrEnum):
    """Why a message is refused with `ReconcileRefused`. The peer broke the rules; drop the link."""

    SYMBOLS_NOT_ASKED_FOR = "symbols_not_asked_for"
    TOO_MANY_SYMBOLS = "too_many_symbols"
    TOO_MANY_QUESTIONS = "too_many_questions"
    NO_SUCH_CELL = "no_such_cell"
    NO_SUCH_BUCKET = "no_such_bucket"
    RANKS_MALFORMED = "ranks_malformed"
    WRONG_KIND_OF_MORE = "wrong_kind_of_more"


class Failure(StrEnum):
    """Why an exchange came to nothing. Nobody need be to blame: chance, or a set that changed."""

    UNDECODABLE = "undecodable"  # too many differences for the symbols allowed
    IMPOSSIBLE = "impossible"  # decoded, to something that cannot be
    WRONG_RESULT = "wrong_result"  # the check over what is common differs
    TOO_COSTLY = "too_costly"  # more steps than an exchange may take
    TOO_MUCH = "too_much"  # more records or differences than this is fit for
    OTHER_BUCKETS = "other_buckets"  # the two views have different numbers of buckets
    PEER_FAILED = "peer_failed"


class Passed(StrEnum):
    """Why a message was passed over. Harmless: it crossed another, or came late."""

    OTHER_ROUND = "other_round"
    NOTHING_OPEN = "nothing_open"
    OURS_GOES_FIRST = "ours_goes_first"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is kept of one bucket of a view.

    Attributes:
        count: ids in it.
        digest: a collision-resistant hash of its sorted ids, 1 .. 64 bytes. Never an XOR or sum.
    """

    count: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Open an exchange.

    Attributes:
        round_id: 0 .. 65535, another than that of the last few exchanges on this link.
        salt: 4 random bytes.
        own_count: items in this node's view of what this peer may have.
        their_count: items in the peer's, from its `Digests`.
        expected: differences at a guess, e.g. what was admitted here since the digests were last
            equal; 0 when nothing is known.
        asked: the peer sent a Turn; it is not sent back.
        attempt: 2 when an exchange was done and the digests still differ: wider ids from the
            start, and no second try.
    """

    round_id: int
    salt: bytes
    own_count: int
    their_count: int
    expected: int = 0
    asked: bool = False
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Received:
    """The peer sent this."""

    message: ReconcileMessage


@dataclass(frozen=True, slots=True)
class Loaded:
    """Answer to Load.

    Attributes:
        items: in any order, each once; None when there are more than `at_most`.
        spare: items held here that are not in the view, because nobody remembers whether the peer
            offers them. Those it turns out to have are taken for common and not sent here again.
            Looked at by the answering side only.
    """

    items: Sequence[Item] | None
    spare: Sequence[Item] = ()


@dataclass(frozen=True, slots=True)
class LoadedBuckets:
    """Answer to LoadBuckets: 256 for each kind both serve, kinds in wire order."""

    buckets: Sequence[Bucket]


ReconcileInput: TypeAlias = Start | Received | Loaded | LoadedBuckets


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message as it is."""

    message: ReconcileMessage


@dataclass(frozen=True, slots=True)
class Load:
    """Tell the items of these buckets; None: of the whole view."""

    buckets: tuple[int, ...] | None
    at_most: int


@dataclass(frozen=True, slots=True)
class LoadBuckets:
    """Tell count and digest of every bucket."""


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """The peer holds more and lets this node open."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """It is known what this side has to send.

    Attributes:
        offer: items the peer lacks. After a collision of short ids one too many may be there.
        everything: the peer holds nothing: all of the view is to be sent, and `offer` is empty.
        expected: how many the peer was asked for and will send; None on the opening side, which
            does not learn it.
        met: spare items that the peer has in its view.
        is_partial: only some of the buckets that differ were looked at; the digests will still
            differ, and the next exchange goes on.
    """

    offer: tuple[Item, ...]
    everything: bool = False
    expected: int | None = None
    is_partial: bool = False
    met: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class FallBack:
    """Two attempts failed, or one for which a second would be no different."""

    reason: Failure


@dataclass(frozen=True, slots=True)
class GaveUp:
    """This side could not answer, and told the peer."""

    reason: Failure


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message was passed over."""

    reason: Passed


ReconcileAction: TypeAlias = (
    Send | Load | LoadBuckets | TakeTurn | Resolved | FallBack | GaveUp | Ignored
)
