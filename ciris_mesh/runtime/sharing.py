"""News that came into a shared database by another process: this one's peers are told as well.

A directory follows what others write by itself. Without this, peers would hear of it at their next
cadence, and a record would take half a minute for each process it passes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from ciris_mesh.errors import LifecycleError
from ciris_mesh.runtime.parts import Parts

#: As often as a directory looks for what others wrote. Reads one number.
LOOK_S: Final = 1.0


class Sharing:
    """Looks for such news, where there can be any.

    Args:
        spread: tells the peers that there is something new.
    """

    def __init__(self, parts: Parts, spread: Callable[[], None]) -> None:
        self._parts = parts
        self._spread = spread
        self._seen = parts.directory.followed

    def start(self) -> None:
        """Go on until the timer is stopped; with a store of its own a node needs none of this."""
        if self._seen is not None:
            self._parts.timer.after(LOOK_S, self._look)

    def _look(self) -> None:
        now = self._parts.directory.followed
        if now != self._seen:
            self._seen = now
            with contextlib.suppress(LifecycleError):  # stopping, or busy: the cadence will do
                self._parts.pool.submit("directory", self._spread)
        self._parts.timer.after(LOOK_S, self._look)
