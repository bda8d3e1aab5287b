"""When each interface last heard anything: a radio can be deaf while every process is fine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from ciris_mesh.transport.base import InterfaceRow


class Hearing:
    """Follows the bytes that came in on each interface. Thread-safe, bounded by the interfaces.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the table
        self._heard: dict[str, tuple[int, float]] = {}

    def look(self, rows: Iterable[InterfaceRow]) -> None:
        """Note which counters moved. One that fell is a radio that started again."""
        now_s = self._clock()
        with self._lock:
            before = self._heard
            self._heard = {}
            for row in rows:
                rx_bytes, since_s = before.get(row.name, (row.rx_bytes, now_s))
                moved = row.rx_bytes != rx_bytes or not row.online
                self._heard[row.name] = (row.rx_bytes, now_s if moved else since_s)

    def silent_s(self, name: str) -> float | None:
        """Seconds since something came in, it came up, or it was first looked at."""
        with self._lock:
            found = self._heard.get(name)
        return None if found is None else round(self._clock() - found[1], 1)
