"""Records for slow links: byte-exact structural coding of envelopes in batches.

A hybrid-signed record is 5.5 kB of JSON around 3.4 kB that nobody can compress. This codes it at
about those 3.4 kB: binary for base64, hex, UUIDs and times, references for what was said before,
nothing for what follows from the rest, and one deflate over the words that remain. The grammar is
in `wire/WIRE.md`.

    grammar   the operations and the reasons for a refusal
    shapes    table 1: what each kind's wrapper is expected to look like; words, its dictionary
    atoms     texts that are really bytes: parts and back
    derive    what follows from the rest of a record
    streams   four streams, their container and its limits; known, what can be referred to
    mixed     records for fast links: as they are, with base64 as bytes
    writing, reading, batch
"""

from ciris_mesh.wire.transcode.batch import (
    decode_batch,
    encode_batch,
    mixed_batch,
    plain_batch,
)
from ciris_mesh.wire.transcode.grammar import BatchReason
from ciris_mesh.wire.transcode.shapes import TABLE_VERSION
from ciris_mesh.wire.transcode.streams import LIMITS, BatchLimits

__all__ = [
    "LIMITS",
    "TABLE_VERSION",
    "BatchLimits",
    "BatchReason",
    "decode_batch",
    "encode_batch",
    "mixed_batch",
    "plain_batch",
]
