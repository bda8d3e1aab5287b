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

#: Batches read ahead at a time: one for each worker of the node, and 3 MB each at most.
FORESEEN_MAX: Final = 4


class Opens(Protocol):
    """Who has signatures checked."""

    def begin(self, count: int) -> Ahead | None:
        """For so many candidates; None when nobody is there for that."""
        ...

    def expect(self, count: int) -> None:
        """So many are on their way."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Foreseen:
    """A batch that was read. `envelopes` are the very object that will be asked with."""

    envelopes: Sequence[bytes]
    source: Source
    asked: tuple[Candidate, ...]
    read: tuple[Envelope | None, ...]
    ahead: Ahead


class Foresight:
    """The batches that were read ahead. Thread-safe."""

    def __init__(self, known: Known, opens: Opens) -> None:
        self._known = known
        self._opens = opens
        self._lock = threading.Lock()  # guards the field below
        self._foreseen: list[Foreseen] = []

    def expect(self, count: int) -> None:
        """About so many records are on their way, so that whoever checks them gets ready."""
        self._opens.expect(count)

    def read(
        self, kind: EnvelopeKind, envelopes: Sequence[bytes], source: Source, now_ms: int
    ) -> None:
        """Read what will be asked soon; nothing happens when there is no use or no room."""
        with self._lock:
            if len(self._foreseen) >= FORESEEN_MAX:
                return
        ahead = self._opens.begin(len(envelopes))
        if ahead is None:
            return
        try:
            asked = tuple(candidate(kind, envelope, source) for envelope in envelopes)
            read, _ = read_batch(asked, lambda what: self._glance(what, now_ms), self._known, ahead)
        except BaseException:
            ahead.close()
            raise
        with self._lock:
            self._foreseen.append(Foreseen(envelopes, source, asked, tuple(read), ahead))

    def find(self, envelopes: Sequence[bytes], source: Source) -> Foreseen | None:
        """What was read of exactly this, until it is forgotten."""
        with self._lock:
            its = (one for one in self._foreseen if one.envelopes is envelopes)
            return next((one for one in its if one.source == source), None)

    def forget(self, envelopes: Sequence[bytes]) -> None:
        """It will not be asked, or has been. Idempotent."""
        with self._lock:
            over = [one for one in self._foreseen if one.envelopes is envelopes]
            self._foreseen = [one for one in self._foreseen if one not in over]
        for one in over:
            one.ahead.close()

    def _glance(self, what: Candidate, now_ms: int) -> Envelope | None:
        if self._known.remembered_refusal(what.digest, now_ms) is not None:
            return None
        try:
            return parse_envelope(what.kind, what.raw)
        except MalformedRecord:
            return None
