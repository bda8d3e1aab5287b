"""`status --json` without a command-line parser.

Monitors ask this every few seconds on boards where loading the parser costs more than the answer.
Only the plainest form is understood here; every other goes the usual way, to the same function.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ciris_mesh import __version__
from ciris_mesh.errors import MeshError, NodeNotRunning
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.places import CONFIG, find_socket, home_path, is_file

#: `runtime.status.STATUS_SCHEMA`, written out: loading its dataclasses takes as long as all else.
SCHEMA: Final = 1


def status_answer(config_dir: Path | None) -> dict[str, Any]:
    """Return what `status --json` prints.

    "running" is true beside the members of NodeStatus; else "health" says why nobody answers.

    Raises:
        MeshError: there is no home, or the node answered with an error.
    """
    home = home_path(config_dir)
    if not is_file(home / CONFIG):
        from ciris_mesh.runtime.home import Home

        Home(home).require()  # says what helps
    try:
        return {"running": True, **call(find_socket(home), "status")}
    except NodeNotRunning as exc:
        return {
            "running": False,
            "schema": SCHEMA,
            "version": __version__,
            "home": str(home),
            "health": [str(exc)],
        }


def plain_status(arguments: list[str]) -> str | None:
    """Return the line for `[--config DIR] status --json`; None for all else, errors included."""
    rest = list(arguments)
    config_dir: Path | None = None
    if "--config" in rest[:-1]:
        at = rest.index("--config")
        config_dir = Path(rest[at + 1])
        del rest[at : at + 2]
    if rest != ["status", "--json"]:
        return None
    try:
        return json.dumps(status_answer(config_dir), separators=(",", ":"))
    except MeshError:
        return None
