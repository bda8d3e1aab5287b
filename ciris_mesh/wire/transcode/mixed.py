"""Mixed records: envelopes as they are, but for long base64, which goes as the bytes it spells.

    envelope   {"a":"QUJD ... REVG","b":1}
    text       {"a":"<ff>","b":1}<ff>          ff: here a run is missing; and the end
    nums, raw  1 run, of 48 bytes; those bytes

For links on which time is dearer than bytes. Four fifths of a signed envelope are base64: to have
deflate find out that its letters say six bits costs three times what decoding and spelling it does,
and the rest, one envelope much like the last, deflates to a fifth.
"""

from __future__ import annotations

from typing import Final

from ciris_mesh.errors import BatchRefused
from ciris_mesh.records.base64text import exact, letters_of
from ciris_mesh.wire.transcode.grammar import BatchReason
from ciris_mesh.wire.transcode.streams import Source
from ciris_mesh.wire.transcode.words import TEXT_END

#: Shorter ones stay text. Signatures have 88 and 4,412 letters, keys of ML-DSA-65 2,604. With the
#: 64 hex digits of hashes, letters of base64 as well, both ends together take as long, and as many
#: bytes; but more of it at the end that reads, which has more to do.
RUN_CHARS_MIN: Final = 80
#: Of one record; more stay text. A hybrid signature is two, and a record of twelve such signatures
#: is as large as records get. A batch has no more of them than operations (`OPERATIONS_MAX`).
RUNS_MAX: Final = 64

_QUOTE: Final = b'"'


def cut(raw: bytes) -> tuple[bytes, list[bytes]]:
    """The text of a mixed record, and the runs that are missing in it.

    Returns:
        No runs when there are none, or when `raw` is no UTF-8 and could be taken for a mark.
    """
    runs: list[bytes] = []
    if TEXT_END in raw:
        return raw, runs
    texts, done = [], 0
    for start, end in _long_pieces(raw)[:RUNS_MAX]:
        run = exact(raw[start:end])
        if run is not None:
            runs.append(run)
            texts.append(raw[done:start])
            done = end
    texts += raw[done:], b""
    return TEXT_END.join(texts), runs


def read(source: Source) -> bytes:
    """The envelope that was cut.

    Raises:
        BatchRefused: the reason names what is wrong.
    """
    count = source.num()
    if count > RUNS_MAX:
        raise BatchRefused(BatchReason.TOO_MANY_RUNS, str(count))
    parts: list[bytes] = []
    for _ in range(count):
        parts.append(source.piece())
        size = source.num()
        source.spend((size + 2) // 3 * 4 - size)
        parts.append(letters_of(source.raw(size)))
    parts.append(source.piece())
    return b"".join(parts)


def _long_pieces(raw: bytes) -> list[tuple[int, int]]:
    """Where something long enough for a run stands between quotation marks, or beside one.

    Looks for the last mark in as many bytes as a run has at least: whatever ends before it is
    shorter. A record takes 20 such looks, in half the time that splitting it would.
    """
    found = []
    start = 0
    while start + RUN_CHARS_MIN <= len(raw):
        mark = raw.rfind(_QUOTE, start, start + RUN_CHARS_MIN)
        if mark < 0:
            mark = raw.find(_QUOTE, start + RUN_CHARS_MIN)
            mark = mark if mark >= 0 else len(raw)
            found.append((start, mark))
        start = mark + 1
    return found
