"""How checks put what they find."""

from __future__ import annotations

from typing import NamedTuple

from ciris_mesh.doctor.facts import Word


class Said(NamedTuple):
    """A verdict, a sentence, and the one command that helps."""

    word: Word
    text: str
    command: str = ""


def fail(text: str, command: str) -> Said:
    """It does not work, or is not safe."""
    return Said(Word.FAIL, text, command)


def warn(text: str, command: str) -> Said:
    """It works, and not as it should."""
    return Said(Word.WARN, text, command)


def note(text: str, command: str = "") -> Said:
    """Worth knowing."""
    return Said(Word.NOTE, text, command)


def skip(text: str, command: str = "") -> Said:
    """Nothing to look at."""
    return Said(Word.SKIP, text, command)


def fine(text: str) -> Said:
    """Well, and how well."""
    return Said(Word.OK, text)


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "5 h" or "3 d"."""
    for unit_s, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


def size(count_bytes: float) -> str:
    """ "812 B", "3.4 kB", "12.0 MB" or "1.5 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count_bytes >= unit:
            return f"{count_bytes / unit:.1f} {name}"
    return f"{count_bytes:.0f} B"
