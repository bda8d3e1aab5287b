"""The hour of every radio in a file, so that a restart does not begin a new one.

    {"schema": 1, "boot": "...", "at_s": monotonic, "interfaces": [[name, count, [[ago, who, s]]]]}

Within one boot of the machine the time between is known by the monotonic clock, which stands still
while the machine sleeps: too short, never too long. After a boot nothing is known of it, and all
counts as just sent. A file that cannot be read is said, and counts as an hour that is full.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ciris_mesh.protocol.account import SavedInterface, Source
from ciris_mesh.protocol.ledger import INTERFACES_MAX
from ciris_mesh.runtime.files import TooLarge, read_bounded, write_atomic

logger = logging.getLogger(__name__)

SCHEMA: Final = 1
#: Of a full hour in slots of a second, three sources, a few interfaces.
_FILE_BYTES_MAX: Final = 8 * 1024 * 1024
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """What tells this boot of the machine from others; empty when that cannot be had."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class AirFile:
    """The file. One thread at a time.

    Args:
        boot: as `boot_id`.
    """

    def __init__(self, path: Path, boot: Callable[[], str] = boot_id) -> None:
        self._path = path
        self._boot = boot

    def write(self, saved: tuple[SavedInterface, ...], now_s: float) -> None:
        """Keep these. A full disk is said in the log and costs nothing but certainty.

        Args:
            now_s: monotonic.
        """
        rows = [[each.interface, each.total_s, list(map(list, each.sent))] for each in saved]
        body = {"schema": SCHEMA, "boot": self._boot(), "at_s": now_s, "interfaces": rows}
        try:
            write_atomic(self._path, json.dumps(body).encode())
        except OSError as error:
            logger.warning("air.not_kept path=%s error=%s", self._path, error)

    def read(self, now_s: float) -> tuple[tuple[SavedInterface, ...] | None, float | None]:
        """What was kept, None when it can't be read; and how many seconds ago, if that is sure."""
        try:
            body = json.loads(read_bounded(self._path, bytes_max=_FILE_BYTES_MAX))
            rows = tuple(map(_row, body["interfaces"][:INTERFACES_MAX]))
            if body["schema"] != SCHEMA:
                raise ValueError("another schema")
            boot, at_s = str(body["boot"]), _number(body["at_s"])
        except FileNotFoundError:
            return (), None
        except (OSError, TooLarge, ValueError, KeyError, TypeError) as error:
            logger.warning("air.not_readable path=%s error=%r", self._path, error)
            return None, None
        elapsed_s = now_s - at_s if boot and boot == self._boot() else -1.0
        return rows, elapsed_s if elapsed_s >= 0 else None


def _row(row: Any) -> SavedInterface:
    name, total_s, sent = row
    rows = ((_number(ago), Source(who).value, _amount(amount)) for ago, who, amount in sent)
    return SavedInterface(str(name), None if total_s is None else _amount(total_s), tuple(rows))


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


def _amount(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError("below zero")
    return number
