"""Numbers as people say them. ASCII only."""

from __future__ import annotations

import contextlib
import json
import textwrap
from datetime import UTC, datetime
from typing import Any, Final

#: What a terminal in the field shows of a line.
LINE_COLUMNS: Final = 80

#: Eight characters and "..": as many digits of a hash tell a few thousand records apart.
SHORT_ID_CHARS: Final = 10
#: Members that hold kilobytes nobody reads.
_KEY_MEMBERS: Final = ("signature", "pubkey", "public_key", "_base64")
_KEY_CHARS: Final = 26

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


def plain(text: str) -> str:
    """Return what others wrote as one line of printable ASCII."""
    return ascii_text(printable(text))


def cut(text: str, chars: int) -> str:
    """Return `text` in at most `chars` characters, ending in ".." when it was longer."""
    return text if len(text) <= chars else f"{text[: chars - 2]}.."


def short_id(text: str) -> str:
    """Return the beginning of an id: enough to tell apart and to ask for."""
    return cut(text, SHORT_ID_CHARS)


def wrapped(text: str) -> str:
    """Return `text` in lines of at most 80 columns; names and ids stay whole, however long."""
    return "\n".join(
        textwrap.fill(line, LINE_COLUMNS, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def json_lines(text: str) -> str:
    """Return JSON text indented and without control characters; other text as `printable` does.

    Signatures and public keys are shortened. Other long lines are left to the terminal, so that
    what is copied from it stays JSON.
    """
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(_without_keys(json.loads(text)), indent=2)
    return "\n".join(map(printable, text.split("\n")))


def _without_keys(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _without_keys(member, key) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_keys(member, name) for member in value]
    is_key = any(part in name for part in _KEY_MEMBERS)
    return cut(value, _KEY_CHARS) if is_key and isinstance(value, str) else value
