"""Batches read before they ask to come in, so that their signatures are checked meanwhile.

While one batch is judged and written, the next is often here already. Whoever holds it says so;
then it is read at once, and helpers check it beside the thread that judges. Nothing is decided and
nothing noted: what can't be read or was refused before is left to judging, and what is on a shelf
by then is found there as if nobody had looked ahead.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ciris_mesh.directory.ahead import Ahead, read_batch
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.judgement import Candidate, Known, candidate
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind

#: Frames read ahead at a time, 2 MB of records each at most: for each worker of the node one that
#: is judged and one that comes after it. Beyond, frames are read in their turn.
FORESEEN_MAX: Final = 8

#: Of one source: the one whose turn it is, and the next.
EACH_MAX: Final = 2


class Opens(Protocol):
    """Who has signatures checked."""

    def begin(self, count: int) -> Ahead | None:
        """For so many candidates; None when nobody is there for that."""
        ...

    def expect(self, count: int) -> None:
        """So many are on their way."""
        ...

    def is_of_use(self) -> bool:
        """Is there anybody who would check?"""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Foreseen:
    """A batch that was read. `envelopes` are the very object that will be asked with."""

    kind: EnvelopeKind
    envelopes: Sequence[bytes]
    asked: tuple[Candidate, ...]
    read: tuple[Envelope | None, ...]
    ahead: Ahead


class Place:
    """Room for one frame that is read ahead. Whoever got it gives it back."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.foreseen: list[Foreseen] = []


class Foresight:
    """The frames that are read ahead. Thread-safe."""

    def __init__(self, known: Known, opens: Opens) -> None:
        self._known = known
        self._opens = opens
        self._lock = threading.Lock()  # guards the field below and what is in it
        self._places: list[Place] = []

    def expect(self, count: int) -> None:
        """About so many records are on their way, so that whoever checks them gets ready."""
        self._opens.expect(count)

    def place(self, source: Source) -> Place | None:
        """Room for a frame of this source; None when there is none, or nobody to check it."""
        if not self._opens.is_of_use():
            return None
        with self._lock:
            its = sum(one.source == source for one in self._places)
            if its >= EACH_MAX or len(self._places) >= FORESEEN_MAX:
                return None
            self._places.append(Place(source))
            return self._places[-1]

    def read(
        self, place: Place, kind: EnvelopeKind, envelopes: Sequence[bytes], now_ms: int
    ) -> None:
        """Read what will be asked soon, and begin to check it."""
        ahead = self._opens.begin(len(envelopes))
        if ahead is None:
            return
        try:
            asked = tuple(candidate(kind, envelope, place.source) for envelope in envelopes)
            read, _ = read_batch(asked, lambda what: self._glance(what, now_ms), self._known, ahead)
        except BaseException:
            ahead.close()
            raise
        with self._lock:
            place.foreseen.append(Foreseen(kind, envelopes, asked, tuple(read), ahead))
            is_given_back = place not in self._places
        if is_given_back:
            self.give_back(place)

    def find(
        self, kind: EnvelopeKind, envelopes: Sequence[bytes], source: Source
    ) -> Foreseen | None:
        """What was read of exactly this, until its place is given back."""
        with self._lock:
            for place in self._places:
                for one in place.foreseen:
                    if one.envelopes is envelopes and one.kind is kind and place.source == source:
                        return one
        return None

    def give_back(self, place: Place) -> None:
        """The frame had its turn, or will not get one. Idempotent."""
        with self._lock:
            self._places = [one for one in self._places if one is not place]
            over, place.foreseen = place.foreseen, []
        for one in over:
            one.ahead.close()

    def _glance(self, what: Candidate, now_ms: int) -> Envelope | None:
        if self._known.remembered_refusal(what.digest, now_ms) is not None:
            return None
        try:
            return parse_envelope(what.kind, what.raw)
        except MalformedRecord:
            return None
