"""The `ciris-mesh` command: parse, call, render.

Exit codes: 0 done (for `status`: the question was answered), 1 failed (one line on stderr says
what to do), 2 usage. Data goes to stdout, talk to stderr. What a command does not need is not
loaded: no Reticulum, cryptography or rich for a question to the running node.
"""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from ciris_mesh.cli.quick import plain_status

    arguments = sys.argv[1:]
    _escape_what_cannot_be_shown()
    line = plain_status(arguments)
    if line is not None:
        sys.stdout.write(line + "\n")
        return
    from ciris_mesh.cli.commands import cli

    cli.main(args=arguments, prog_name="ciris-mesh")


def _escape_what_cannot_be_shown() -> None:
    """Let a console that knows fewer letters show the others escaped instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
