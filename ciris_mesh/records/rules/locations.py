"""Location proofs: no more precise than a cell of about 5 square kilometres, by the subject or by
somebody it lets act for it. Source: records-and-protocol.md, sections 4.1 and 4.1a.
"""

from __future__ import annotations

from ciris_mesh.errors import MalformedRecord
from ciris_mesh.records.envelope import Envelope
from ciris_mesh.records.h3cell import RESOLUTION_MAX, H3Cell, parse_cell
from ciris_mesh.records.jsontext import JsonNumber
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.rules.base import (
    FINE,
    Counted,
    Facts,
    Finding,
    Trust,
    deferred,
    deferred_until_all,
    is_in_force,
    made_at_ms,
    missing_keys,
    refused,
    text,
)
from ciris_mesh.records.rules.delegations import missing_links
from ciris_mesh.records.tokens import token


def content(envelope: Envelope, trust: Trust) -> Finding:
    """The cell exists, says its own resolution, and is coarse enough."""
    try:
        cell = parse_cell(text(envelope, "cell_id"))
    except MalformedRecord as error:
        return refused(Reason.CELL_MALFORMED, error.detail)
    if envelope.record["cell_resolution"] != JsonNumber(str(cell.resolution)):
        return refused(Reason.CELL_MALFORMED, f"the cell's resolution is {cell.resolution}")
    if cell.resolution > RESOLUTION_MAX:
        return refused(
            Reason.LOCATION_TOO_PRECISE, f"{cell.ancestor(RESOLUTION_MAX)} is the cell to tell"
        )
    return FINE


def standing(envelope: Envelope, facts: Facts, trust: Trust) -> Finding:
    """The subject is known, and it signed, or a delegate did."""
    subject = text(envelope, "subject_key_id")
    if missing := missing_keys(facts, [subject]):
        return deferred_until_all(Reason.KEY_UNKNOWN, f"the key of {subject} is not here", missing)
    speaking = counted(envelope, facts, trust)
    if speaking.signers:
        return FINE
    return deferred(
        Reason.NOT_DELEGATED,
        f"neither {subject} nor who may act for it signed this",
        *(speaking.waits_for or (location_token(subject),)),
    )


def counted(envelope: Envelope, facts: Facts, trust: Trust) -> Counted:
    """The subject, and whom it let act for it itself: nobody passes on the right to say where
    somebody is.
    """
    subject, at_ms = text(envelope, "subject_key_id"), made_at_ms(envelope)
    missing = {
        signer: () if signer == subject else missing_links((subject, signer), at_ms, facts)
        for signer in envelope.signers
    }
    speaking = frozenset(signer for signer, tokens in missing.items() if not tokens)
    return Counted(
        speaking, tuple(dict.fromkeys(it for tokens in missing.values() for it in tokens))
    )


def is_proven_within(subject: str, container: H3Cell, at_ms: int, facts: Facts) -> bool:
    """True when a location proof in force at that time puts the subject into the container."""
    return any(
        is_in_force(proof, at_ms, until="valid_until")
        and is_in_force(proof, at_ms, until="withdrawn_at")
        and _is_within(proof, container)
        for proof in facts.named(location_token(subject))
    )


def location_token(subject: str) -> str:
    """What the proofs of a subject answer to."""
    return token(EnvelopeKind.LOCATION_PROOF, subject)


def _is_within(proof: Envelope, container: H3Cell) -> bool:
    try:
        return parse_cell(text(proof, "cell_id")).is_within(container)
    except MalformedRecord:  # a row from before there were rules proves nothing
        return False
