"""The least a record can cost: verifying its signatures, on all cores, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from ciris_mesh.bench.pool import cores, in_order
from ciris_mesh.bench.records import Record
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.checks import public_key_of
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.hybrid import HybridPublicKey, HybridSignature, verify_hybrid
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Reason
from ciris_mesh.records.signing import signed_message

#: Signatures checked by one piece of work: a tenth of a second of one core.
_PIECE: int = 200


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature ready to be checked."""

    public: HybridPublicKey
    message: bytes
    signature: HybridSignature


def signatures(records: Sequence[Record]) -> list[Signed]:
    """Every signature of `records`, whose keys must be among them."""
    envelopes = [parse_envelope(kind, raw) for kind, raw in records]
    publics = {
        str(envelope.record["key_id"]): public
        for envelope in envelopes
        if envelope.kind is EnvelopeKind.KEY and (public := public_key_of(envelope)) is not None
    }
    return [signed for envelope in envelopes for signed in _signed(envelope, publics)]


def _signed(envelope: Envelope, publics: dict[str, HybridPublicKey]) -> list[Signed]:
    message = signed_message(envelope.kind, envelope.record, envelope.row_hash)
    return [Signed(publics[claim.key_id], message, claim.signature) for claim in envelope.claims]


def verification_s(pool: ProcessPoolExecutor, signed: Sequence[Signed]) -> float:
    """Seconds that checking all of `signed` takes all cores together.

    Raises:
        OperatorError: a signature does not stand: the measurement would mean nothing.
    """
    pieces = [signed[start : start + _PIECE] for start in range(0, len(signed), _PIECE)]
    list(pool.map(_count_valid, [signed[:1]] * cores() * 4))  # processes started, code loaded
    start_s = time.perf_counter()
    valid = sum(in_order(pool, _count_valid, pieces))
    elapsed_s = time.perf_counter() - start_s
    if valid != len(signed):
        raise OperatorError(f"{len(signed) - valid} signatures made here do not verify here")
    return elapsed_s


def _count_valid(piece: Sequence[Signed]) -> int:
    return sum(
        verify_hybrid(one.public, one.message, one.signature) is Reason.NONE for one in piece
    )
