"""What every command knows about how it was called. Nothing here imports more than click."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from ciris_mesh.cli.remote import Remote

_ADVICE: Final = re.compile(r"(?<!runs)(?<!them): ciris-mesh (?=[a-z])")


@dataclass(slots=True)
class App:
    """The global options. Options given after the verb overwrite those before it.

    Attributes:
        config_dir: the node's home; None means the usual search.
        rns_config_dir: Reticulum's configuration directory; None means its own search.
        verbosity: 0 is normal; each -v adds one, each -q takes one away.
        remote: asks a node elsewhere instead of the one here; None for the one here.
    """

    config_dir: Path | None = None
    rns_config_dir: Path | None = None
    verbosity: int = 0
    remote: Remote | None = None

    def talk(self, text: str) -> None:
        """Say something to the person, on stderr, unless they asked for quiet."""
        if self.verbosity >= 0:
            click.echo(self.hinted(text), err=True)

    def hinted(self, text: str) -> str:
        """Return `text` with --config DIR in the commands it advises, when it was given here.

        A command to run here stands behind a colon; one for somebody else behind "runs:" or
        "them:" and is left as it is.
        """
        if self.config_dir is None or "--config" in text:
            return text
        given = f": ciris-mesh --config {shlex.quote(str(self.config_dir))} "
        return _ADVICE.sub(lambda _: given, text)

    def hinted_command(self, command: str) -> str:
        """Return a command to be typed, with --config DIR in it when that was given here."""
        start = "ciris-mesh "
        if self.config_dir is None or "--config" in command or not command.startswith(start):
            return command
        return f"{start}--config {shlex.quote(str(self.config_dir))} {command.removeprefix(start)}"


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    click.echo(json.dumps(value, separators=(",", ":")))


def wants_colour(stream: Any) -> bool:
    """True when `stream` is a terminal and nobody asked for plain text (NO_COLOR, TERM=dumb)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


class Failure(click.ClickException):
    """A command that could not do its work: one red line on stderr, exit code 1 or the given."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """Print the line. What strangers wrote may be in it: nothing of it moves a cursor."""
        from ciris_mesh.ui.words import printable

        stream = file or sys.stderr
        line = "ciris-mesh: " + printable(" ".join(self.message.split()))
        click.echo(
            click.style(line, fg="red") if wants_colour(stream) else line, file=stream, color=True
        )
