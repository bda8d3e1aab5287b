"""What a CIRISEdge 13.15.0 does in rounds with one peer, as it was seen doing it. No I/O.

Written apart from `ciris_mesh.protocol` and `.wire`: frames are put together and taken apart here
by the facts of the captures, so that the two can be held against each other. Only row hashes are
computed by `ciris_mesh.records`, which the vectors pin.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import KINDS, EnvelopeKind

#: Kinds a 13.15.0 was seen to store; it refused what else a Python peer sent it.
STORED: Final = frozenset(
    {
        EnvelopeKind.KEY,
        EnvelopeKind.COMMUNITY,
        EnvelopeKind.LOCATION_PROOF,
        EnvelopeKind.REVOCATION,
        EnvelopeKind.FAMILY,
    }
)
V1_KINDS: Final = tuple(list(EnvelopeKind)[:10])

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """A frame, as serde_json writes it: compact, members in the order of the struct."""
    version = 1 if EnvelopeKind(message["kind"]) in V1_KINDS else 2
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    return b"CRPL" + bytes((version,)) + body.encode()


def decode(frame: bytes) -> Message:
    """The message of a frame."""
    assert frame[:4] == b"CRPL", frame[:8]
    assert frame[4] in (1, 2), frame[:8]
    message: Message = json.loads(frame[5:])
    return message


def summary(kind: EnvelopeKind, refs: dict[bytes, int]) -> Message:
    """Refs ascending by hash."""
    rows = [{"envelope_hash": list(each), "seq": refs[each]} for each in sorted(refs)]
    return {"type": "summary", "kind": kind.value, "refs": rows}


def diff(kind: EnvelopeKind, want: list[bytes]) -> Message:
    return {"type": "diff", "kind": kind.value, "want": [list(each) for each in want]}


def deliver(kind: EnvelopeKind, envelopes: list[bytes]) -> Message:
    return {"type": "deliver", "kind": kind.value, "envelopes": [list(each) for each in envelopes]}


@dataclass
class EdgeModel:
    """One registry node and its sessions with one peer.

    Attributes:
        basis: "row" before 14.1, "bytes" from then on.
        pushes: send a Deliver beside each Summary, as from 13.7 on.
        forgets: compare with what it offers instead of what it holds, as seen: it asks for a
            foreign record again every round.
        asked: (kind, id) -> how often the peer asked for what is offered here.
    """

    basis: str = "row"
    pushes: bool = False
    forgets: bool = False
    stored_kinds: frozenset[EnvelopeKind] = STORED
    rows: dict[EnvelopeKind, dict[bytes, bytes]] = field(default_factory=dict)
    seqs: dict[bytes, int] = field(default_factory=dict)
    offered: dict[EnvelopeKind, set[bytes]] = field(default_factory=dict)
    waits: set[EnvelopeKind] = field(default_factory=set)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def publish(self, kind: EnvelopeKind, envelope: bytes) -> bytes:
        """Hold and offer a record of its own; returns its id."""
        envelope_id = self._id(kind, envelope)
        self._put(kind, envelope_id, envelope)
        self.offered.setdefault(kind, set()).add(envelope_id)
        return envelope_id

    def lie(self, kind: EnvelopeKind, envelope_id: bytes, envelope: bytes) -> None:
        """Offer these bytes under an id that is not theirs."""
        self.rows.setdefault(kind, {})[envelope_id] = envelope
        self.seqs[envelope_id] = 1
        self.offered.setdefault(kind, set()).add(envelope_id)

    def open_round(self, kind: EnvelopeKind) -> list[bytes]:
        """Its initiator's first frames."""
        self.waits.add(kind)
        frames = [encode(self._summary(kind))]
        if self.pushes and self.offered.get(kind):
            frames.append(encode(deliver(kind, self._bytes_of(kind, self.offered[kind]))))
        return frames

    def receive(self, frame: bytes) -> list[bytes]:
        """What it answers to one frame."""
        message = decode(frame)
        kind = EnvelopeKind(message["kind"])
        self.seen[f"{message['type']}"] += 1
        match message["type"]:
            case "summary":
                want = diff(kind, self._lacks(kind, message["refs"]))
                if kind in self.waits:
                    self.waits.discard(kind)
                    return [encode(want)]
                return [encode(self._summary(kind)), encode(want)]
            case "diff" | "fetch":
                wanted = [bytes(each) for each in message["want"]]
                self.asked.update((kind.value, each.hex()) for each in wanted)
                return [encode(deliver(kind, self._bytes_of(kind, wanted)))]
            case "deliver":
                self.seen["envelopes"] += len(message["envelopes"])
                for each in message["envelopes"]:
                    self._take(kind, bytes(each))
            case _:
                raise AssertionError(f"no message is a {message['type']}")
        return []

    def held(self, kind: EnvelopeKind) -> set[bytes]:
        """Ids of all it stores."""
        return set(self.rows.get(kind, {}))

    def _summary(self, kind: EnvelopeKind) -> Message:
        return summary(kind, {one: self.seqs[one] for one in self.offered.get(kind, ())})

    def _lacks(self, kind: EnvelopeKind, refs: list[Message]) -> list[bytes]:
        known = self.offered.get(kind, set()) if self.forgets else self.held(kind)
        return [one for ref in refs if (one := bytes(ref["envelope_hash"])) not in known]

    def _bytes_of(self, kind: EnvelopeKind, ids: Any) -> list[bytes]:
        rows = self.rows.get(kind, {})
        return [rows[one] for one in ids if one in rows]

    def _take(self, kind: EnvelopeKind, envelope: bytes) -> None:
        """Store it unverified, without the wrapper's extra members; keys are rebuilt."""
        if kind not in self.stored_kinds:
            self.refused[kind.value] += 1
            return
        try:
            envelope_id = self._id(kind, envelope)
        except MalformedRecord:
            self.refused["malformed"] += 1
            return
        wrapper = json.loads(envelope)
        kept = {KINDS[kind].wrapper_field: wrapper[KINDS[kind].wrapper_field]}
        if kind is EnvelopeKind.KEY and self.basis == "row":
            rebuilt = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            self._put(kind, envelope_id, rebuilt.encode())
        else:
            self._put(kind, envelope_id, envelope)
        if kind is EnvelopeKind.KEY:
            self.offered.setdefault(kind, set()).add(envelope_id)

    def _put(self, kind: EnvelopeKind, envelope_id: bytes, envelope: bytes) -> None:
        self.rows.setdefault(kind, {})[envelope_id] = envelope
        self.seqs[envelope_id] = parse_envelope(kind, envelope).seq

    def _id(self, kind: EnvelopeKind, envelope: bytes) -> bytes:
        parsed = parse_envelope(kind, envelope)
        if self.basis == "row" or kind is EnvelopeKind.REVOCATION:
            return parsed.envelope_id
        return hashlib.sha256(envelope).digest()
