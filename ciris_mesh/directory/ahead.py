"""What of a batch is done beside judging it: its signatures, and the bytes they stand under."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from ciris_mesh.directory.judgement import Candidate, Judgement, Known
from ciris_mesh.directory.store import Name
from ciris_mesh.directory.verifying import Checking, Signed
from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.checks import KeyLookup, public_key_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.hybrid import (
    HybridPolicy,
    HybridPublicKey,
    HybridSignature,
    verify_hybrid,
)
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.signing import signed_message

#: Envelopes read before their signatures are handed over: three milliseconds, a sixth of what a
#: helper has before it then.
READ_AT_ONCE: Final = 32

#: A candidate as it was read; or what is said of it unread; None when it is to be read later.
Read = TypeVar("Read", bound=Envelope | Judgement | None)


class Ahead:
    """Hands signatures over, and knows about them when they are asked about.

    What was handed over is known again by being the same object, which is kept here: to hash a
    signature and what it stands under would be a fiftieth of judging.

    Args:
        checking: where they are checked.
        keys: the keys that are here.
    """

    def __init__(self, checking: Checking, keys: KeyLookup) -> None:
        self._checking = checking
        self._keys = keys
        self._messages: dict[int, tuple[bytes, bytes]] = {}  # by identity of an envelope's bytes
        self._signed: dict[int, Signed] = {}  # by identity of the signature

    def hand(self, envelopes: Iterable[Envelope]) -> None:
        """Have these checked while others are read."""
        signed: list[Signed] = []
        for envelope in envelopes:
            with suppress(MalformedRecord):  # judging says of what
                message = signed_message(envelope.kind, envelope.record, envelope.row_hash)
                self._messages[id(envelope.raw)] = envelope.raw, message
                signed += self._signatures(envelope, message)
        self._signed.update((id(one.signature), one) for one in signed)
        self._checking.hand(signed)

    def hand_rest(self, envelopes: Iterable[Envelope]) -> None:
        """Of envelopes that were handed over, those whose keys came in since."""
        self.hand(
            one
            for one in envelopes
            if any(id(claim.signature) not in self._signed for claim in one.claims)
        )

    def message(self, envelope: Envelope) -> bytes | None:
        """`signed_message` of an envelope of which the signatures were handed over."""
        raw, message = self._messages.get(id(envelope.raw), (None, None))
        return message if raw is envelope.raw else None

    def check(
        self,
        public: HybridPublicKey,
        message: bytes,
        signature: HybridSignature,
        policy: HybridPolicy,
    ) -> Reason:
        """As `verify_hybrid`, of which this is the answer."""
        one = self._signed.get(id(signature))
        if one is not None and one == (public, message, signature):
            known = self._checking.reason(one)
            if known is not None:
                return known
        return verify_hybrid(public, message, signature, policy)

    def close(self) -> None:
        """No more is asked. Idempotent."""
        self._checking.close()

    def _signatures(self, envelope: Envelope, message: bytes) -> Iterator[Signed]:
        """Signatures of both halves by keys that are here, or by the key that is published."""
        own = public_key_of(envelope)
        for claim in envelope.claims:
            is_own = own is not None and claim.key_id == envelope.record["key_id"]
            public = own if is_own else self._keys(claim.key_id)
            if public is not None and claim.signature.mldsa65 is not None:
                yield Signed(public, message, claim.signature)


def read_batch(
    asked: Sequence[Candidate],
    read: Callable[[Candidate], Read],
    known: Known,
    ahead: Ahead | None,
) -> tuple[list[Read], set[Name]]:
    """Read candidates, and hand their signatures over on the way.

    Returns:
        Each as it was read, and the names of those that are on the federation shelf.
    """
    found: list[Read] = []
    held: set[Name] = set()
    at_once = READ_AT_ONCE if ahead is not None else max(1, len(asked))
    for at in range(0, len(asked), at_once):
        part = asked[at : at + at_once]
        new = [read(what) for what in part]
        names = [(one.kind, one.envelope_id) for one in new if isinstance(one, Envelope)]
        held.update(known.on_federation_shelf(names))
        found += new
        if ahead is not None:
            ahead.hand(
                one
                for what, one in zip(part, new, strict=True)
                if isinstance(one, Envelope)
                and not what.proven
                and (one.kind, one.envelope_id) not in held
            )
    return found, held
