"""`ciris-mesh` whose pauses pass as fast as an emulated channel. Not a test itself.

Those after a failure, and the hour between two announces.

Everything else keeps the time of the clock, Reticulum's own timeouts above all.
"""

from __future__ import annotations

from typing import Any

from ciris_mesh.cli.main import main
from ciris_mesh.protocol import radiopeer
from ciris_mesh.runtime import announcing, radiocheck
from ciris_mesh.transport import rns_announce

#: A minute at 16 times a radio's pace, rounded up.
PAUSE_S = 4.0
#: A hundredth of an hour and more, so that several pass within a test.
HOUR_S = 30.0

if __name__ == "__main__":
    pauses: list[tuple[Any, str]] = [(radiopeer, "BACKOFF_S"), (radiocheck, "RADIO_RETRY_S")]
    for module, name in pauses:
        assert getattr(module, name) == 60.0
        setattr(module, name, PAUSE_S)
    hours: list[tuple[Any, str]] = [(announcing, "AGAIN_S"), (rns_announce, "RADIO_SPACING_S")]
    for module, name in hours:
        assert 3_600.0 <= getattr(module, name) <= 3_660.0
        setattr(module, name, HOUR_S)
    announcing.AGAIN_SPREAD_S = HOUR_S / 10  # type: ignore[misc]
    announcing.AGAIN_MAX = 20  # type: ignore[misc]  # a test waits for ten minutes
    main()
