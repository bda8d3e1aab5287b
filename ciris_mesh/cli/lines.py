"""The shape of every filter: one item a line in, exactly one JSON object a line out.

A line that makes no sense is answered like any other and never ends the filter, so answers and
questions stay in step. Each answer is flushed before the next line is read: a filter can be used
as a co-process.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from ciris_mesh.errors import MeshError

logger = logging.getLogger(__name__)

#: The largest frame, 8 MiB, is 16 MiB of hex digits; the rest is room for one frame over the
#: limit, which the frame parser itself must be seen to refuse.
LINE_BYTES_MAX: Final = 17 * 1024 * 1024

Answer = dict[str, Any]


def run_filter(answer: Callable[[bytes], Answer], refuse: Callable[[str], Answer]) -> None:
    """Answer each line of stdin on stdout; arguments as `answer_lines`."""
    answer_lines(sys.stdin.buffer, sys.stdout.buffer, answer, refuse)


def answer_lines(
    source: BinaryIO,
    sink: BinaryIO,
    answer: Callable[[bytes], Answer],
    refuse: Callable[[str], Answer],
) -> None:
    """Answer each line of `source` on `sink` until the end of input.

    Args:
        answer: gets the line without its line end and surrounding blanks.
        refuse: makes the answer to a line that could not be handed to `answer`.
    """
    while line := source.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            _skip_rest(source, line)
            result = refuse(f"line longer than {LINE_BYTES_MAX} bytes")
        else:
            result = _guarded(line.strip(), answer, refuse)
        sink.write(json.dumps(result, separators=(",", ":")).encode() + b"\n")
        sink.flush()


def _guarded(
    line: bytes, answer: Callable[[bytes], Answer], refuse: Callable[[str], Answer]
) -> Answer:
    try:
        return answer(line)
    except MeshError as exc:
        return refuse(str(exc))
    except Exception as exc:  # one line must not cost the answers to all that follow
        logger.exception("filter.line_failed bytes=%d", len(line))
        return refuse(f"internal error: {type(exc).__name__}")


def _skip_rest(source: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = source.readline(LINE_BYTES_MAX + 1)
