"""Numbers as people say them. ASCII only."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Final

_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))
_SIZES: Final = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def age(seconds: float | None) -> str:
    """Return "never", "12 s", "3 min", "5 h" or "2 d"."""
    if seconds is None:
        return "never"
    for unit_s, name in _AGES:
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def size(count_bytes: int) -> str:
    """Return "812 B", "3.4 kB" or "12.0 MB"; thousands, as bitrates are counted."""
    for unit, name in _SIZES:
        if count_bytes >= unit:
            return f"{count_bytes / unit:.1f} {name}"
    return f"{count_bytes} B"


def count(number: int, noun: str) -> str:
    """Return "1 peer" or "3 peers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instant(unix_ms: int) -> str:
    """Return Unix milliseconds as "2026-11-22 08:15:02Z"."""
    if not 0 <= unix_ms < 253_402_300_800_000:  # year 10000: a seq may hold any 64-bit number
        return str(unix_ms)
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def printable(text: str) -> str:
    """Return `text` with control characters shown as "?": records come from strangers."""
    return "".join(char if char.isprintable() else "?" for char in text)


def ascii_text(text: str) -> str:
    """Return `text` in ASCII, all else escaped: nobody is misled by letters that look alike."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def json_lines(text: str) -> str:
    """Return JSON text indented and without control characters; other text as `printable` does.

    Long lines are left to the terminal, so that what is copied from it stays JSON.
    """
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2)
    return "\n".join(map(printable, text.split("\n")))
