"""Batches of envelopes: coded as small as they get, decoded to the very same bytes.

The encoder decodes what it wrote. A record that came out differently is sent as it is, deflated
or not; should that not help either, all of them are. So a wrong prediction costs bytes and never
correctness.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

from ciris_mesh.errors import BatchRefused, LocalProtocolError, MalformedRecord
from ciris_mesh.records.canonical import compact
from ciris_mesh.records.jsontext import JsonValue, parse_json
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.transcode import mixed
from ciris_mesh.wire.transcode.grammar import (
    DEFLATED_RECORD,
    MIXED_RECORD,
    RAW_RECORD,
    RECORD_FORMS,
    SHAPED_RECORD,
    BatchReason,
)
from ciris_mesh.wire.transcode.known import Known
from ciris_mesh.wire.transcode.reading import Reader
from ciris_mesh.wire.transcode.shapes import KIND_NUMBERS
from ciris_mesh.wire.transcode.streams import (
    HASTY,
    LIMITS,
    OPERATIONS_MAX,
    QUICK,
    BatchLimits,
    Sink,
    Source,
)
from ciris_mesh.wire.transcode.writing import CannotCode, Writer

Item: TypeAlias = tuple[EnvelopeKind, bytes]

_KIND_OF: Final = {number: kind for kind, number in KIND_NUMBERS.items()}


def encode_batch(items: Sequence[Item], *, limits: BatchLimits = LIMITS) -> bytes:
    """Code envelopes of any kinds, in their order. The bytes may be anything.

    Raises:
        LocalProtocolError: more records or bytes than `limits`; make two batches.
    """
    _check_limits(items, limits)
    verbatim: set[int] = set()
    for _ in range(2):
        coded = _encode(items, verbatim)
        differing = _differing(items, coded, limits)
        if not differing:
            return coded
        verbatim |= differing
    return _encode(items, range(len(items)))


def plain_batch(items: Sequence[Item], *, limits: BatchLimits = LIMITS) -> bytes:
    """A batch of envelopes as they are: a quarter more bytes than coded, for a tenth of the time.

    For links on which a byte costs less than the time to code it away. A byte costs Reticulum
    0.1 us on a PC, at both ends together, and letters that say six bits do well with six.

    Raises:
        LocalProtocolError: as `encode_batch`.
    """
    return _as_they_are(items, limits, _write_deflated).pack(HASTY)


def mixed_batch(items: Sequence[Item], *, limits: BatchLimits = LIMITS) -> bytes:
    """As `plain_batch`, for half its time at both ends and an eighth fewer bytes; see `mixed`.

    Not every node reads it.

    Raises:
        LocalProtocolError: as `encode_batch`.
    """
    return _as_they_are(items, limits, _write_mixed).pack(QUICK)


def decode_batch(batch: bytes, *, limits: BatchLimits = LIMITS) -> tuple[Item, ...]:
    """Decode untrusted bytes. What comes out is as unverified as what went in.

    Raises:
        BatchRefused: with a stable reason; no other exception escapes, whatever the input.
    """
    source = Source(batch, limits)
    known = Known()
    items: list[Item] = []
    left = limits.decoded_bytes
    while not source.is_at_end:
        if len(items) == limits.records:
            raise BatchRefused(BatchReason.TOO_MANY_RECORDS, f"more than {limits.records}")
        kind, raw = _read(source, known)
        left -= len(raw)
        if len(raw) > limits.record_bytes:
            raise BatchRefused(BatchReason.RECORD_TOO_LARGE, f"{len(raw)} bytes")
        if left < 0:
            raise BatchRefused(BatchReason.TOO_LARGE, f"decodes to over {limits.decoded_bytes}")
        items.append((kind, raw))
    source.check_end()
    return tuple(items)


def _read(source: Source, known: Known) -> Item:
    source.begin()
    head = source.op()
    form = head & RECORD_FORMS
    kind = _KIND_OF.get(head - form)
    if kind is None:
        raise BatchRefused(BatchReason.UNKNOWN_KIND, str(head))
    if form == SHAPED_RECORD:
        return kind, compact(Reader(source, known, kind).read())
    if form == DEFLATED_RECORD:
        return kind, source.verbatim(source.num())
    if form == RAW_RECORD:
        return kind, source.raw(source.num())
    return kind, mixed.read(source)


def _check_limits(items: Sequence[Item], limits: BatchLimits) -> None:
    if len(items) > limits.records:
        raise LocalProtocolError(f"{len(items)} records in a batch of at most {limits.records}")
    if any(len(raw) > limits.record_bytes for _, raw in items):
        raise LocalProtocolError(f"a record exceeds {limits.record_bytes} bytes")
    if sum(len(raw) for _, raw in items) > limits.decoded_bytes:
        raise LocalProtocolError(f"a batch exceeds {limits.decoded_bytes} bytes")


def _as_they_are(
    items: Sequence[Item], limits: BatchLimits, write: Callable[[Sink, EnvelopeKind, bytes], None]
) -> Sink:
    _check_limits(items, limits)
    sink = Sink()
    for kind, raw in items:
        write(sink, kind, raw)
    return sink


def _encode(items: Sequence[Item], verbatim: Collection[int]) -> bytes:
    sink, known = Sink(), Known()
    for number, (kind, raw) in enumerate(items):
        mark, known_mark = sink.mark(), known.mark()
        wrapper = None if number in verbatim else _parsed(raw)
        if wrapper is not None:
            room = OPERATIONS_MAX - (len(items) - number - 1)  # the rest need one each
            if _is_written(sink, known, kind, wrapper) and len(sink.ops) <= room:
                continue
            sink.back(mark)
            known.back(known_mark)
        _write_verbatim(sink, kind, raw)
    return sink.pack()


def _parsed(raw: bytes) -> dict[str, JsonValue] | None:
    """The wrapper, when `compact` gives these very bytes back."""
    try:
        wrapper = parse_json(raw)
    except MalformedRecord:
        return None
    return wrapper if isinstance(wrapper, dict) and compact(wrapper) == raw else None


def _is_written(
    sink: Sink, known: Known, kind: EnvelopeKind, wrapper: dict[str, JsonValue]
) -> bool:
    try:
        Writer(sink, known, kind, wrapper).write()
    except CannotCode:
        return False
    return True


def _write_verbatim(sink: Sink, kind: EnvelopeKind, raw: bytes) -> None:
    if len(zlib.compress(raw, 1)) >= len(raw):
        _write_raw(sink, kind, raw)
        return
    _write_deflated(sink, kind, raw)


def _write_deflated(sink: Sink, kind: EnvelopeKind, raw: bytes) -> None:
    sink.ops.append(KIND_NUMBERS[kind] + DEFLATED_RECORD)
    sink.num(len(raw))
    sink.text += raw


def _write_mixed(sink: Sink, kind: EnvelopeKind, raw: bytes) -> None:
    text, runs = mixed.cut(raw)
    if not runs:
        _write_deflated(sink, kind, raw)
        return
    sink.ops.append(KIND_NUMBERS[kind] + MIXED_RECORD)
    sink.num(len(runs))
    for run in runs:
        sink.num(len(run))
        sink.raw += run
    sink.text += text


def _write_raw(sink: Sink, kind: EnvelopeKind, raw: bytes) -> None:
    sink.ops.append(KIND_NUMBERS[kind] + RAW_RECORD)
    sink.num(len(raw))
    sink.raw += raw


def _differing(items: Sequence[Item], coded: bytes, limits: BatchLimits) -> set[int]:
    """Which items don't come out as they went in; all, when nothing comes out."""
    try:
        decoded = decode_batch(coded, limits=limits)
    except BatchRefused:
        decoded = ()
    pairs = enumerate(zip(items, decoded, strict=False))
    return set(range(len(items))) - {number for number, (item, out) in pairs if item == out}
