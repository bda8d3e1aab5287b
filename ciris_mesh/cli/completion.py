"""`completion`: lets a shell complete commands and options, by click's own machinery."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from ciris_mesh.cli.verbs import Verb

_PROGRAM: Final = "ciris-mesh"
_VARIABLE: Final = "_CIRIS_MESH_COMPLETE"
_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(cls=Verb)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print what lets SHELL complete commands and options.

    \b
    bash   eval "$(ciris-mesh completion bash)"
    zsh    eval "$(ciris-mesh completion zsh)"
    fish   ciris-mesh completion fish | source

    Put that line where your shell looks at its start, or type it to try.
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows these three"
    root = ctx.find_root().command
    click.echo(made(root, {}, _PROGRAM, _VARIABLE).source())
