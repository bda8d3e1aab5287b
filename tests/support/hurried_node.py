"""`ciris-mesh` whose pauses after a failure pass as fast as an emulated channel. Not a test itself.

Everything else keeps the time of the clock, Reticulum's own timeouts above all.
"""

from __future__ import annotations

from typing import Any

from ciris_mesh.cli.main import main
from ciris_mesh.protocol import radiopeer
from ciris_mesh.runtime import radiocheck

#: A minute at 16 times a radio's pace, rounded up.
PAUSE_S = 4.0

if __name__ == "__main__":
    pauses: list[tuple[Any, str]] = [(radiopeer, "BACKOFF_S"), (radiocheck, "RADIO_RETRY_S")]
    for module, name in pauses:
        assert getattr(module, name) == 60.0
        setattr(module, name, PAUSE_S)
    main()
