"""The one place that decides width and colour."""

from __future__ import annotations

import os
from typing import IO, Final

from rich.console import Console
from rich.theme import Theme

#: What every screen must be readable at, and what is assumed when there is no terminal.
COLUMNS: Final = 80

THEME: Final = Theme(
    {
        "good": "green",
        "warn": "yellow",
        "bad": "red",
        "dim": "dim",
        "head": "bold",
    }
)


def make_console(file: IO[str] | None = None, *, stderr: bool = False) -> Console:
    """Return a console for `file`, or for stdout or stderr.

    On a terminal it is as wide as the terminal; elsewhere it is plain text of 80 columns, or of
    COLUMNS when that is set. NO_COLOR and TERM=dumb give plain text everywhere. Numbers and paths
    are never coloured by guesswork, and no emoji or markup is read from what nodes say.
    """
    console = Console(
        file=file,
        stderr=stderr,
        theme=THEME,
        highlight=False,
        markup=False,
        emoji=False,
        no_color=True if os.environ.get("NO_COLOR") else None,
    )
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = COLUMNS
    return console
