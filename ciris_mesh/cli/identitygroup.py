"""`identity`: keep this node's secrets, and change them."""

from __future__ import annotations

from typing import Final

import click

from ciris_mesh.cli.verbs import LazyGroup

_CLI: Final = "ciris_mesh.cli"
_VERBS: Final = {
    "paper": (f"{_CLI}.paper", "paper", "Show the secrets as lines to write down."),
    "recover": (f"{_CLI}.paper", "recover", "Make the node on such a paper again."),
    "rotate": (f"{_CLI}.rotate", "rotate", "Hand over to a new key, step by step."),
}


@click.group(cls=LazyGroup, lazy=_VERBS)
def identity() -> None:
    """Keep this node's secrets, and change them."""
