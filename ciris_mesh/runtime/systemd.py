"""Telling systemd how the node is: ready, stopping, and that rounds make progress.

The protocol is one datagram of text to the socket in NOTIFY_SOCKET (sd_notify(3)); without that
variable nothing is sent. The watchdog is fed only while the node does its work: a node whose
process is fine and whose rounds stand still is started again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Final

logger = logging.getLogger(__name__)

#: Fed this many times within the time systemd gives: one that comes late is no death.
_FEEDS_PER_TIMEOUT: Final = 3
#: A journal line's level, as sd-daemon(3) has it; systemd cuts the prefix off.
_PRIORITIES: Final = ((50, 2), (40, 3), (30, 4), (20, 6), (0, 7))


def notify(text: str, env: Mapping[str, str] = os.environ) -> bool:
    """Send lines such as "READY=1"; False when nobody listens. Never raises."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.connect(address)
            sender.sendall(text.encode())
    except OSError as error:
        logger.warning("systemd.not_told error=%s", error.strerror or error)
        return False
    return True


def watchdog_s(env: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Seconds after which systemd takes this process for dead; None when it does not watch."""
    text, whose = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0:
        return None
    if whose and whose != str(os.getpid() if pid is None else pid):
        return None
    return int(text) / 1e6


class Watchdog:
    """Feeds systemd's watchdog from the thread "ciris-watchdog" while `is_well` says so.

    Args:
        is_well: does the node make progress? Asked a few times within the timeout; when it raises
            or hangs, nothing is fed.
        timeout_s: as `watchdog_s` has it; None for no watchdog: then `start` does nothing.
    """

    def __init__(
        self,
        is_well: Callable[[], bool],
        timeout_s: float | None,
        *,
        tell: Callable[[str], object] = notify,
    ) -> None:
        self._is_well = is_well
        self._timeout_s = timeout_s
        self._tell = tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="ciris-watchdog", daemon=True)

    def start(self) -> None:
        """Begin, when systemd watches."""
        if self._timeout_s is not None:
            self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End. Idempotent."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _feed(self) -> None:
        assert self._timeout_s is not None
        while not self._over.wait(self._timeout_s / _FEEDS_PER_TIMEOUT):
            try:
                is_well = self._is_well()
            except Exception:
                logger.exception("watchdog.failed")
                is_well = False
            if is_well:
                self._tell("WATCHDOG=1")
            else:
                logger.error("watchdog.not_fed: rounds make no progress")


class JournalFormatter(logging.Formatter):
    """Lines for the journal: "<3>" and the like in front, no time, since the journal has both."""

    def format(self, record: logging.LogRecord) -> str:
        """Put the level in front of every line, tracebacks included."""
        level = next(number for floor, number in _PRIORITIES if record.levelno >= floor)
        lines = super().format(record).splitlines() or [""]
        return "\n".join(f"<{level}>{line}" for line in lines)
