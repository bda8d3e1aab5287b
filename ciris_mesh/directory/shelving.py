"""What admission says of a record that may stand: the row, and all that goes with it."""

from __future__ import annotations

from ciris_mesh.directory.base import Shelf, StoredRow
from ciris_mesh.directory.judgement import Candidate, Judgement, ShelfFacts
from ciris_mesh.directory.store import Name
from ciris_mesh.records.checks import public_key_of
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import names_of
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.rules.base import Trust, text
from ciris_mesh.records.rules.keys import is_root
from ciris_mesh.records.tokens import published_by, tokens_of
from ciris_mesh.records.vouches import vouch_of


def shelve(
    what: Candidate,
    envelope: Envelope,
    shelf: Shelf,
    signers: tuple[str, ...],
    facts: ShelfFacts,
    trust: Trust,
    now_ms: int,
) -> Judgement:
    """It goes onto this shelf with these signers, who were verified."""
    is_truth, is_key = shelf is Shelf.FEDERATION, envelope.kind is EnvelopeKind.KEY
    tokens = tokens_of(envelope) if is_truth else ()
    kind, envelope_id, seq = envelope.kind, envelope.envelope_id, envelope.seq
    row = StoredRow(kind, envelope_id, shelf, seq, envelope.subject, signers, envelope.raw, now_ms)
    return Judgement(
        what,
        Verdict(Outcome.ADMITTED, Reason.NONE, kind, envelope_id, copy_id=what.copy_id),
        row=row,
        public=public_key_of(envelope),
        is_root=is_key and is_root(envelope, trust),
        tokens=tokens,
        key_ids=_keys_relied_on(envelope, signers, facts),
        relied_on=facts.relied_on,
        names=names_of(envelope),
        published=published_by(envelope, tokens) if is_truth else (),
        vouched=_vouched(envelope, trust) if is_truth else (),
    )


def _vouched(envelope: Envelope, trust: Trust) -> tuple[Name, ...]:
    if not trust.vouchers or trust.vouchers.isdisjoint(envelope.signers):
        return ()
    vouch = vouch_of(envelope)
    if vouch is None:
        return ()
    return tuple((vouch.kind, one) for one in vouch.ids)


def _keys_relied_on(
    envelope: Envelope, signers: tuple[str, ...], facts: ShelfFacts
) -> tuple[str, ...]:
    """A key record brings the key of its owner along."""
    found = dict.fromkeys((*signers, *facts.key_ids))
    if envelope.kind is EnvelopeKind.KEY:
        found.pop(text(envelope, "key_id"), None)
    return tuple(found)
