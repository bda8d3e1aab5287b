"""Keys that spoke for this node or its peers before they handed over to new ones.

What they signed stays true and goes on being offered, as if they were pinned. A JSON list of key
ids, written whole or not at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.files import (
    UNALTERED,
    read_if_there,
    why,
    write_atomic,
)
from ciris_mesh.runtime.keyids import is_key_id

#: As many as there can be peers, each once; an id has at most 128 bytes with quotes and comma.
FORMER_MAX: Final = 10_000
_BYTES_MAX: Final = FORMER_MAX * 140


def read_former(path: Path) -> frozenset[str]:
    """The key ids; none when there is no file.

    Raises:
        ConfigError: unreadable, damaged, or others can change it.
    """
    data = read_if_there(path, bytes_max=_BYTES_MAX, guard=UNALTERED)
    if data is None:
        return frozenset()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ConfigError(f"{path} is damaged; restore it from your backup, or move it away")
    return frozenset(filter(is_key_id, found))


def add_former(path: Path, key_id: str) -> None:
    """Remember one more. Raises ConfigError as `read_former`, or when it cannot be written."""
    known = read_former(path)
    if key_id in known:
        return
    if len(known) >= FORMER_MAX:
        raise ConfigError(f"{path} holds {FORMER_MAX} keys; that is more than anybody needs")
    try:
        write_atomic(path, (json.dumps(sorted({*known, key_id}), indent=1) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {why(error)}") from None
