"""What is wrong with a node, for alerts, and what answers by message are made of."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from ciris_mesh.notify.alerts import Trouble, span
from ciris_mesh.notify.telemetry import Readings
from ciris_mesh.notify.texts import Overview, PeerLine, RadioLine
from ciris_mesh.runtime.budget import BudgetStatus, InterfaceBudget
from ciris_mesh.runtime.status import NodeStatus, PeerStatus

#: Below this nothing should be left to chance: a batch and its backup before a migration.
DISK_FREE_BYTES_MIN: Final = 64 << 20
#: Of an hour's allowance; above this nothing but removals moves for long.
_USED_UP: Final = 0.98


def overview(name: str, status: NodeStatus, budget: BudgetStatus) -> Overview:
    """The parts of status and budget that fit a phone."""
    return Overview(
        name=name,
        version=status.version,
        uptime_s=status.uptime_s,
        health=(*status.health, *budget.health),
        records=sum(kind.federation for kind in status.kinds),
        deferred=status.deferred,
        peers=tuple(
            PeerLine(
                peer.alias or peer.key_id, peer.fresh, peer.missing, peer.last_heard_s, peer.reason
            )
            for peer in status.peers
        ),
        radios=tuple(
            RadioLine(
                radio.name,
                radio.online,
                radio.used_s,
                radio.limit_s,
                radio.owed_records,
                radio.owed_airtime_s,
                radio.drain_h,
            )
            for radio in budget.interfaces
        ),
    )


def troubles(
    status: NodeStatus,
    budget: BudgetStatus,
    *,
    storage: Path,
    stale_s: float,
    revoked: Iterable[str] = (),
) -> list[Trouble]:
    """Everything that is wrong now.

    Args:
        stale_s: a peer not heard for longer is stale.
        revoked: trusted keys that are revoked, by the name people here know.
    """
    found = [Trouble("key_revoked", name, f"key of {name} is revoked") for name in revoked]
    found += _stale(status.peers, status.uptime_s, stale_s)
    found += _radios(budget.interfaces)
    found += _disk(storage)
    if status.clock != "trusted":
        found.append(Trouble("clock_untrusted", "", f"clock: {status.clock}"[:180]))
    return found


def _stale(peers: Iterable[PeerStatus], uptime_s: float, stale_s: float) -> Iterator[Trouble]:
    for peer in peers:
        silent_s = uptime_s if peer.last_heard_s is None else peer.last_heard_s
        if silent_s > stale_s:
            name = peer.alias or peer.key_id
            text = f"{name} stale {span(silent_s)} (limit {span(stale_s)})"
            yield Trouble("peer_stale", peer.key_id, text)


def _radios(radios: Iterable[InterfaceBudget]) -> Iterator[Trouble]:
    for radio in radios:
        if not radio.online:
            yield Trouble("radio_lost", radio.name, f"radio {radio.name} is gone")
        used_up = radio.limit_s and (radio.used_s or 0.0) >= _USED_UP * radio.limit_s
        if used_up and radio.owed_records:
            owed = f"{radio.owed_records} records wait"
            yield Trouble(
                "budget_exhausted", radio.name, f"airtime of {radio.name} used up, {owed}"
            )


def _disk(storage: Path) -> Iterator[Trouble]:
    try:
        free = shutil.disk_usage(storage).free
        read_only = bool(os.statvfs(storage).f_flag & os.ST_RDONLY)
    except OSError as error:
        yield Trouble("disk_read_only", "", f"storage cannot be read: {error.strerror}")
        return
    if read_only:
        yield Trouble("disk_read_only", "", "storage is read-only; nothing new is kept")
    elif free < DISK_FREE_BYTES_MIN:
        yield Trouble("disk_full", "", f"{free >> 20} MB left on the disk")


def readings(
    information: str, storage: Path, *, clock: Callable[[], float] = time.time
) -> Readings:
    """What the board tells of itself now."""
    averages = os.getloadavg()
    disk = shutil.disk_usage(storage)
    return Readings(
        unix_s=int(clock()),
        information=information,
        load=min(1.0, averages[0] / (os.cpu_count() or 1)),
        load_averages=(round(averages[0], 2), round(averages[1], 2), round(averages[2], 2)),
        ram=_ram(),
        disk=(disk.total, disk.used),
    )


def _ram() -> tuple[int, int]:
    """(capacity, used) in bytes; zeros where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return sizes["MemTotal"], sizes["MemTotal"] - sizes["MemAvailable"]
    except (OSError, ValueError, LookupError):
        return 0, 0
