"""Reading `tests/vectors`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "vectors"


@cache
def vectors(name: str) -> Any:
    """One vector file, parsed. `name` goes without `.json`. Treat it as read-only."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
