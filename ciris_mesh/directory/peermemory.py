"""What one peer has shown, and what is compared with it: the bridge's memory, bounded throughout.

Plain data under the bridge's lock. Everything here only saves questions and airtime: losing it
costs a repeated one, never a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ciris_mesh.directory.backoff import BackoffMemory
from ciris_mesh.directory.base import SetDigest, Standing
from ciris_mesh.directory.offers import Offer
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason, Verdict

#: Ids remembered per peer and reason. 200 bytes each, so 50 hostile peers cost 60 MB at worst.
#: A peer that fills it is not asked for that kind at all for a while: forgetting single ids would
#: ask for them again at once, and forget others for them.
IDS_PER_PEER_MAX: Final = 2048

#: Bytes that failed to verify will fail again. An hour at first, a week at last: on a slow radio
#: one such record costs a third of an hour's airtime.
REFUSED_FIRST_S: Final = 3_600.0
REFUSED_LONGEST_S: Final = 7 * 86_400.0

#: Offered and not delivered is usually a hiccup: soon again, then at most hourly.
UNSERVED_FIRST_S: Final = 60.0
UNSERVED_LONGEST_S: Final = 3_600.0

#: In an hour a peer may take what it is offered so often, and some more: news of a small store.
GIVEN_TIMES: Final = 2
GIVEN_MIN: Final = 256
GIVEN_S: Final = 3_600.0

#: Ids of others' offers that are not in ours, all peers together: 100 bytes each, 40 MB at worst.
#: One peer's share is an eighth: one full offer. What exceeds it is the newcomer's loss.
NOTED_IDS_MAX: Final = 400_000
NOTED_SHARES: Final = 8

#: Refusals that say nothing about the bytes: there may be room later.
NO_ROOM: Final = frozenset(
    {Reason.POOL_FULL, Reason.SIGNER_QUOTA, Reason.PEER_QUOTA, Reason.BRIDGED_QUOTA}
)

Key = tuple[EnvelopeKind, bytes]


@dataclass(frozen=True, slots=True)
class View:
    """What is compared of one kind with one peer: our offer, and `known` of its own beyond it."""

    offer: Offer
    version: int
    until_s: float
    digest: SetDigest
    known: frozenset[bytes]


@dataclass(slots=True)
class Given:
    """How many records of one kind a peer was given lately: it may have all of them, twice an hour.

    An honest peer takes each once, and once more when it lost its card. Who says that it lacks
    everything again and again is given nothing for half an hour.
    """

    level: float = 0.0
    at_s: float = 0.0
    is_over: bool = False

    def room(self, offered: int, now_s: float) -> int:
        """How many more it may have, of an offer of so many."""
        most = GIVEN_TIMES * offered + GIVEN_MIN
        self.level = max(0.0, self.level - (now_s - self.at_s) * most / GIVEN_S)
        self.at_s = now_s
        if self.level >= most:
            self.is_over = True
        elif self.level <= most / 2:
            self.is_over = False
        return 0 if self.is_over else max(0, int(most - self.level))


def sent_memory() -> BackoffMemory[bytes]:
    """Ids a peer took and did not come to know: sent again soon, then at most hourly."""
    return BackoffMemory(UNSERVED_FIRST_S, UNSERVED_LONGEST_S, IDS_PER_PEER_MAX)


def _refused_memory() -> BackoffMemory[Key]:
    return BackoffMemory(REFUSED_FIRST_S, REFUSED_LONGEST_S, IDS_PER_PEER_MAX)


def _refusing() -> BackoffMemory[EnvelopeKind]:
    return BackoffMemory(REFUSED_FIRST_S, REFUSED_LONGEST_S, len(EnvelopeKind))


def _not_serving() -> BackoffMemory[EnvelopeKind]:
    return BackoffMemory(UNSERVED_FIRST_S, UNSERVED_LONGEST_S, len(EnvelopeKind))


def _overfed() -> BackoffMemory[EnvelopeKind]:
    return BackoffMemory(UNSERVED_FIRST_S, UNSERVED_LONGEST_S, len(EnvelopeKind))


def _unserved_memory() -> BackoffMemory[Key]:
    return BackoffMemory(UNSERVED_FIRST_S, UNSERVED_LONGEST_S, IDS_PER_PEER_MAX)


@dataclass(slots=True)
class PeerMemory:
    """What one peer has shown.

    Attributes:
        refused: ids whose bytes, as this peer sent them, were refused.
        unserved: ids it offered and did not deliver, or that found no room here.
        refusing, not_serving: kinds of which more ids were refused, or did not come, than are
            remembered.
        noted: kind -> ids it offered that our offer lacks.
        judged: kind -> of those noted, what it delivered and is held or waits, or what our own
            copy has outgrown, each with the envelope id. Nothing is gained from this peer's copy.
        sent: kind -> ids it took since the digests of the kind were last equal.
        overfed: kinds of which it took more, and lacks them still, than `sent` remembers.
        given: how much of each kind it took lately, wanted or not.
        version: grows with every change here; views are reused while it stands still.
    """

    refused: BackoffMemory[Key] = field(default_factory=_refused_memory)
    unserved: BackoffMemory[Key] = field(default_factory=_unserved_memory)
    refusing: BackoffMemory[EnvelopeKind] = field(default_factory=_refusing)
    not_serving: BackoffMemory[EnvelopeKind] = field(default_factory=_not_serving)
    noted: dict[EnvelopeKind, frozenset[bytes]] = field(default_factory=dict)
    judged: dict[EnvelopeKind, dict[bytes, bytes]] = field(default_factory=dict)
    sent: dict[EnvelopeKind, BackoffMemory[bytes]] = field(default_factory=dict)
    overfed: BackoffMemory[EnvelopeKind] = field(default_factory=_overfed)
    given: dict[EnvelopeKind, Given] = field(default_factory=dict)
    views: dict[EnvelopeKind, View] = field(default_factory=dict)
    version: int = 0

    def note_refused(self, key: Key, now_s: float) -> None:
        """These bytes, as this peer sends them, are refused."""
        forgotten = self.refused.note(key, now_s)
        if forgotten is not None:
            self.refusing.note(forgotten[0], now_s)

    def note_unserved(self, key: Key, now_s: float) -> None:
        """This did not come, or found no room."""
        forgotten = self.unserved.note(key, now_s)
        if forgotten is not None:
            self.not_serving.note(forgotten[0], now_s)

    def is_worth_asking(self, kind: EnvelopeKind, now_s: float) -> bool:
        """False while what would be asked for is known only to be much."""
        return not (self.refusing.is_active(kind, now_s) or self.not_serving.is_active(kind, now_s))

    def is_worth_sending(self, kind: EnvelopeKind, withheld: int, now_s: float) -> bool:
        """False for a while, longer each time, once a peer lacks half of all the last it took.

        It has no use for this kind now. Beyond what is remembered the rest would go out again with
        every round.
        """
        if withheld >= IDS_PER_PEER_MAX // 2:
            self.overfed.note(kind, now_s)
        return not self.overfed.is_active(kind, now_s)

    def note(self, kind: EnvelopeKind, ids: frozenset[bytes]) -> None:
        """It offers these of a kind, and no others that our offer lacks."""
        self.noted[kind] = ids
        judged = self.judged.get(kind)
        if judged and not judged.keys() <= ids:
            self.judged[kind] = {one: judged[one] for one in judged.keys() & ids}

    def note_judged(self, kind: EnvelopeKind, judged: Mapping[bytes, bytes]) -> None:
        """These of its ids, as far as they are noted, are of these records."""
        noted = self.noted.get(kind, frozenset())
        self.judged.setdefault(kind, {}).update(
            (one, envelope_id) for one, envelope_id in judged.items() if one in noted
        )

    def forget_judged(self, key: Key) -> bool:
        """What waited of it does not any more. True when that was so."""
        kind, one = key
        return self.judged.get(kind, {}).pop(one, None) is not None


def room_for_noted(peers: Mapping[str, PeerMemory], peer: str, kind: EnvelopeKind) -> int:
    """How many ids of an offer of this kind may be noted. Nobody else's make room."""
    sizes = {
        name: sum(len(ids) for each, ids in memory.noted.items() if (name, each) != (peer, kind))
        for name, memory in peers.items()
    }
    share = NOTED_IDS_MAX // NOTED_SHARES - sizes.get(peer, 0)
    return max(0, min(share, NOTED_IDS_MAX - sum(sizes.values())))


def is_known(memory: PeerMemory, key: Key, standing: Standing | None, now_s: float) -> bool:
    """Is there nothing to gain from this peer's copy?"""
    kind, one = key
    match standing:
        case Standing.HELD:
            return True
        case Standing.DEFERRED | Standing.BRIDGED if one in memory.judged.get(kind, ()):
            return True
        case _:
            return memory.refused.is_active(key, now_s)


def remember(memory: PeerMemory, key: Key, verdict: Verdict, now_s: float) -> None:
    """Keep what a verdict on this peer's copy means for asking it again."""
    match verdict.outcome:
        case Outcome.REFUSED if verdict.reason in NO_ROOM:
            memory.note_unserved(key, now_s)
        case Outcome.REFUSED | Outcome.MALFORMED:
            memory.note_refused(key, now_s)
        case _:
            kind, one = key
            assert verdict.envelope_id is not None, "it was read"
            memory.note_judged(kind, {one: verdict.envelope_id})
            if verdict.outcome is not Outcome.DEFERRED:
                memory.refused.forget(key)
                memory.unserved.forget(key)
