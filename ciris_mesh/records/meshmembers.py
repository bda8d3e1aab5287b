"""Cutting out of an envelope what only this mesh puts there, byte for byte.

Registry nodes drop a wrapper's `authority` and keep the record; from 14.1 on their id of a record
is the hash of the bytes they were sent. So they are sent the bytes without that member: its exact
span and one comma go, nothing else moves. The signatures stay where they are, in what we keep.
"""

from __future__ import annotations

import json
import re
from typing import Final

from ciris_mesh.records.envelope import AUTHORITY_MEMBER
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle

_BLANK: Final = re.compile(r"[ \t\n\r]*")
#: Numbers stay text: how long they are is not this function's business.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)


def for_registries(kind: EnvelopeKind, raw: bytes) -> bytes:
    """The bytes of an envelope as a registry node gets them.

    Args:
        raw: an envelope that was parsed before, so it is a JSON object.
    """
    if KINDS[kind].style is not SignatureStyle.AUTHORITY:
        return raw
    text = raw.decode()
    spans = _members(text)
    kept = [span for span in spans if span[0] != AUTHORITY_MEMBER]
    if len(kept) == len(spans):
        return raw
    for position, (name, start, end) in enumerate(spans):
        if name == AUTHORITY_MEMBER:
            is_first = position == 0
            cut_from = start if is_first else spans[position - 1][2]
            cut_to = spans[position + 1][1] if is_first and len(spans) > 1 else end
            return (text[:cut_from] + text[cut_to:]).encode()
    raise AssertionError("a member that is there has a span")


def _members(text: str) -> list[tuple[str, int, int]]:
    """Name, start and end of each member of a JSON object, in order."""
    spans: list[tuple[str, int, int]] = []
    at = _after_blank(text, _after_blank(text, 0) + 1)
    while text[at] != "}":
        start = at
        name, at = _DECODER.raw_decode(text, at)
        at = _after_blank(text, _after_blank(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        spans.append((name, start, end))
        at = _after_blank(text, end)
        if text[at] == ",":
            at = _after_blank(text, at + 1)
    return spans


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "blanks may be none"
    return found.end()
