"""`doctor` as people see it: a mark, a word, the check, and below it the command that helps.

Pure, ASCII, 80 columns. Colour only repeats what mark and word say. A command is never broken: it
is there to be copied.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ciris_mesh.doctor.checks import Finding, is_healthy
from ciris_mesh.doctor.facts import Word
from ciris_mesh.ui.words import ascii_text, count, printable

COLUMNS: Final = 80

MARKS: Final = {Word.OK: "+", Word.NOTE: "i", Word.WARN: "!", Word.FAIL: "x", Word.SKIP: "-"}
_STYLES: Final = {Word.WARN: "yellow", Word.FAIL: "red"}
#: Longest name of a check and a space: sentences begin in one column.
_NAME_CHARS: Final = 19


def doctor_lines(
    findings: Iterable[Finding], hinted: Callable[[str], str] = str
) -> Iterator[tuple[str, str]]:
    """Yield (line, colour); the colour is empty for most.

    Args:
        hinted: completes a command with the options this one was given.
    """
    findings = tuple(findings)
    for each in findings:
        start = f"{MARKS[each.word]} {each.word.value:<4} {each.name:<{_NAME_CHARS}}"
        said = ascii_text(printable(each.text))
        style = _STYLES.get(each.word, "")
        for line in textwrap.wrap(
            said, COLUMNS, initial_indent=start, subsequent_indent=" " * len(start),
            break_on_hyphens=False,
        ):  # fmt: skip
            yield line, style
        if each.command:
            yield f"{' ' * 7}run: {ascii_text(printable(hinted(each.command)))}", style
    yield "", ""
    yield _summary(findings), ""


def _summary(findings: tuple[Finding, ...]) -> str:
    failed = sum(each.word is Word.FAIL for each in findings)
    warned = sum(each.word is Word.WARN for each in findings)
    if is_healthy(findings):
        skipped = sum(each.word is Word.SKIP for each in findings)
        return f"Nothing is wrong. {count(skipped, 'check')} had nothing to look at."
    parts = [
        f"{number} {what}" for number, what in ((failed, "failed"), (warned, "warned")) if number
    ]
    return f"{' and '.join(parts)}. `ciris-mesh explain NAME` says more of each."
