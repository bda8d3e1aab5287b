"""`schema`: what `--json` prints, for people who write scripts."""

from __future__ import annotations

import json
from typing import Final

import click

from ciris_mesh.cli.verbs import Verb

_COMMANDS: Final = ("status", "peers", "budget", "records", "waiting", "doctor")


@click.command(cls=Verb)
@click.argument("command", type=click.Choice(_COMMANDS))
def schema(*, command: str) -> None:
    """Print the JSON Schema of what COMMAND prints with --json; `waiting` is records --waiting.

    Members may be added; none changes meaning or goes away without a new number in "schema". What
    a newer version adds is not required here, so a script that reads by name goes on working.
    """
    from ciris_mesh.cli.answers import schema as schema_of

    click.echo(json.dumps(schema_of(command), indent=2))
