"""What coded records measure on the air, against what nobody can compress.

The floor of a batch is the sum of, each counted once however often a batch repeats it:

* Ed25519 signatures, 64 bytes; ML-DSA-65 signatures, 3,254 and one for each hint they carry, which
  is all but their zero padding; the public keys of a key record, 32 and 1,952 bytes;
* random UUIDs, 122 bits;
* times, log2 of the milliseconds they were drawn from: 34.9 bits for a year;
* key ids whose key record is not in the batch, 80 bits of fingerprint; those in it follow from it;
* ids of groups that are not founded in the batch, 160 bits, as those of keys;
* the score of an attestation, drawn from 256.

Nothing else counts: not names, reasons, dimensions or types, not who of several signers it is, not
the order of the batch; and hashes, mirrored columns and groups' own ids follow from the rest. A
hybrid attestation alone comes to about 3,400 bytes, an Ed25519-only one to 105.
"""

from __future__ import annotations

import bz2
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ciris_mesh.bench.floor import signatures
from ciris_mesh.bench.pool import all_cores
from ciris_mesh.bench.records import Plan, Record, made_records
from ciris_mesh.bench.report import Report, Row, median, row
from ciris_mesh.records import timestamps
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.envelope import decode_base64
from ciris_mesh.records.hybrid import verify_hybrid
from ciris_mesh.records.jsontext import JsonValue, parse_json
from ciris_mesh.records.kinds import KINDS, MLDSA65_SIGNATURE_BYTES, EnvelopeKind
from ciris_mesh.records.rows import persist_row_hash
from ciris_mesh.wire.frame import wrap
from ciris_mesh.wire.messages import Deliver
from ciris_mesh.wire.transcode import decode_batch, encode_batch

RECORDS: Final = 400
#: Times are drawn from a year, as of records that have gathered in a store.
SPAN_MS: Final = 365 * 86_400_000
#: Issue figures: batch size -> limit.
HYBRID_LIMITS: Final = {1: 1.02, 10: 1.02, 100: 1.02}
#: `spec` figures for records with the classical half alone.
ED25519_LIMITS: Final = {1: 1.7, 10: 1.4, 100: 1.25}
#: Signatures checked to know what one takes here.
_VERIFIED: Final = 50

_UUID_BYTES: Final = 122 / 8
_TIME_BYTES: Final = math.log2(SPAN_MS) / 8
_KEY_ID_BYTES: Final = 80 / 8
_GROUP_ID_BYTES: Final = 160 / 8
_SCORE_BYTES: Final = 1.0
_HINTS_MAX: Final = 55

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GROUP_ID: Final = re.compile(r".*-[a-z2-7]{32}")
_KEY_ID: Final = re.compile(r".*-[a-z2-7]{16}")
_PUBLIC_KEYS: Final = frozenset({"pubkey_ed25519_base64", "pubkey_ml_dsa_65_base64"})
_SIGNATURES: Final = frozenset(
    {"scrub_signature_classical", "scrub_signature_pqc"}
    | {"ed25519_signature_base64", "mldsa65_signature_base64"}
)
#: Ids that commit to the record they stand in, where they do so at all.
_OWN_IDS: Final = {
    EnvelopeKind.FAMILY: "family_key_id",
    EnvelopeKind.COMMUNITY: "community_key_id",
}


def run(*, records: int, seed: int, tell: Callable[[str], None]) -> Report:
    """Make records, code them in batches, and compare."""
    tell(f"signing {records} records")
    with all_cores() as pool:
        made = list(made_records(pool, Plan(records, seed, SPAN_MS)))
    random.Random(seed).shuffle(made)  # keys come first otherwise, and nobody gets them so
    classical = [without_mldsa(raw) for kind, raw in made if kind is EnvelopeKind.ATTESTATION]
    tell("coding them")
    rows = [
        *(_size(made, "hybrid", size, limit) for size, limit in HYBRID_LIMITS.items()),
        _worst_kind(made),
        *(
            _size(classical, "Ed25519 only", size, limit)
            for size, limit in ED25519_LIMITS.items()
            if classical
        ),
        *_against_v1(made),
        *_time(made),
    ]
    return Report("transcode", tuple(rows))


def floor_bytes(batch: Sequence[Record]) -> float:
    """The floor of one batch, as the module says."""
    parts: set[tuple[str, str]] = set()
    own: set[str] = set()
    for kind, raw in batch:
        wrapper = parse_json(raw)
        for name, text in _texts("", wrapper):
            if (kind is EnvelopeKind.KEY and name == "key_id") or name == _OWN_IDS.get(kind):
                own.add(text)
            else:
                parts.add((name if name in _SIGNATURES | _PUBLIC_KEYS else "", text))
    scores = sum(kind is EnvelopeKind.ATTESTATION for kind, _ in batch)
    return scores * _SCORE_BYTES + sum(
        _entropy(name, text) for name, text in _same_times(parts) if text not in own
    )


def without_mldsa(raw: bytes) -> Record:
    """An attestation as it was before its post-quantum half came, row hash and all."""
    wrapper = parse_json(raw)
    assert isinstance(wrapper, dict)
    record = wrapper["attestation"]
    assert isinstance(record, dict)
    del record["scrub_signature_pqc"]
    record["persist_row_hash"] = persist_row_hash(EnvelopeKind.ATTESTATION, record)
    return EnvelopeKind.ATTESTATION, compact(wrapper)


def _texts(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield name, value
        case dict():
            for member, item in value.items():
                yield from _texts(member, item)
        case list():
            for item in value:
                yield from _texts(name, item)
        case _:
            pass


def _same_times(parts: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """A time with and without `.000` is one time."""
    return {(name, _normalized(text)) for name, text in parts}


def _normalized(text: str) -> str:
    try:
        return timestamps.normalize(text)
    except ValueError:
        return text


def _entropy(name: str, text: str) -> float:
    """Bytes that this text takes however it is coded."""
    if name in _SIGNATURES:
        raw = decode_base64(text)
        is_mldsa = len(raw) == MLDSA65_SIGNATURE_BYTES
        return len(raw) - (_HINTS_MAX - raw[-1]) if is_mldsa else len(raw)
    if name in _PUBLIC_KEYS:
        return len(decode_base64(text))
    if _UUID.fullmatch(text):
        return _UUID_BYTES
    if timestamps.is_normalized(text):
        return _TIME_BYTES
    if _GROUP_ID.fullmatch(text):
        return _GROUP_ID_BYTES
    return _KEY_ID_BYTES if _KEY_ID.fullmatch(text) else 0.0


def _batches(items: Sequence[Record], size: int) -> list[Sequence[Record]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _size(items: Sequence[Record], name: str, size: int, limit: float) -> Row:
    batches = _batches(items, size)
    coded = sum(len(encode_batch(batch)) for batch in batches)
    floor = sum(floor_bytes(batch) for batch in batches)
    quantity = f"{name}, batches of {size}, bytes a record"
    return row(quantity, coded / len(items), floor=floor / len(items), limit=limit)


def _worst_kind(items: Sequence[Record]) -> Row:
    """The kind whose records, each alone, lie furthest above the floor."""
    by_kind = [[item for item in items if item[0] is kind] for kind in KINDS]
    rows = [
        _size(those, f"hybrid {those[0][0].value}", 1, HYBRID_LIMITS[1])
        for those in by_kind
        if those
    ]
    return max(rows, key=lambda row: row.ratio)


def _against_v1(items: Sequence[Record]) -> Iterator[Row]:
    """Whole Deliver frames of version 1, as they are and as an RNS Resource compresses them."""
    for size in HYBRID_LIMITS:
        batches = _batches(items, size)
        coded = sum(len(encode_batch(batch)) for batch in batches) / len(items)
        frames = [frame for batch in batches for frame in _delivers(batch)]
        for name, sent in (("v1 JSON", frames), ("v1 JSON in bz2", map(bz2.compress, frames))):
            quantity = f"hybrid, batches of {size}, bytes a record against {name}"
            yield row(quantity, coded, floor=sum(map(len, sent)) / len(items), limit=None)


def _delivers(batch: Sequence[Record]) -> list[bytes]:
    """One frame for each kind: a Deliver carries one."""
    by_kind = {kind: tuple(raw for its, raw in batch if its is kind) for kind in KINDS}
    return [wrap(Deliver(kind, envelopes)) for kind, envelopes in by_kind.items() if envelopes]


def _time(items: Sequence[Record]) -> Iterator[Row]:
    """Milliseconds a record, against verifying one; the encoder's include its own decoding."""
    batches = _batches(items, 10)
    coded = [encode_batch(batch) for batch in batches]
    verify_ms = median([_verify_ms(items) for _ in range(3)])
    encode_ms = median([_elapsed_ms(encode_batch, batches) for _ in range(3)]) / len(items)
    decode_ms = median([_elapsed_ms(decode_batch, coded) for _ in range(3)]) / len(items)
    yield row("encode a record, ms against verifying it", encode_ms, floor=verify_ms, limit=None)
    yield row("decode a record, ms against verifying it", decode_ms, floor=verify_ms, limit=None)


def _elapsed_ms(work: Callable[..., object], pieces: Sequence[object]) -> float:
    start_s = time.perf_counter()
    for piece in pieces:
        work(piece)
    return 1000 * (time.perf_counter() - start_s)


def _verify_ms(items: Sequence[Record]) -> float:
    """One core, one signature, both halves."""
    keys = {kind: [item for item in items if item[0] is kind] for kind in KINDS}
    signed = signatures(
        keys[EnvelopeKind.KEY] + [item for item in items if item[0] is not EnvelopeKind.KEY]
    )[:_VERIFIED]
    start_s = time.perf_counter()
    for one in signed:
        verify_hybrid(one.public, one.message, one.signature)
    return 1000 * (time.perf_counter() - start_s) / len(signed)
