"""Checks of the machine: files, clock, disk, store. Pure: facts in, findings out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from ciris_mesh.doctor.facts import Facts
from ciris_mesh.doctor.saying import Said, duration, fail, fine, note, size, skip, warn

#: The write-ahead log of a busy hour and one backup's growth; below it writes begin to fail soon.
FREE_BYTES_FAIL: Final = 16_000_000
FREE_BYTES_WARN: Final = 200_000_000
FREE_INODES_WARN: Final = 1_000
#: An SD card of 16 GB takes some 10 TB before it wears out; 20 MB an hour are 60 years of that,
#: but small writes cost it up to a hundred times as much.
WRITES_WARN_BYTES_H: Final = 20_000_000
#: Less than this long nothing can be said about an hour.
WRITES_AFTER_S: Final = 600

#: Who vouches for the clock when the system can't, by `SystemClock.assumed_by`.
_ASSUMED: Final = {
    "config": "taken as right because the configuration says so (clock = assume-trusted)",
    "environment": "taken as right because the variable CIRIS_MESH_CLOCK says so, in this shell; "
    "a service needs clock = assume-trusted in [node]",
}
_OTHERS_READ: Final = 0o077
_OTHERS_WRITE: Final = 0o022


def home(facts: Facts) -> Iterator[Said]:
    """There is a node, and its configuration can be read."""
    if facts.home_problem:
        yield fail(facts.home_problem, f"ciris-mesh init --name NAME{_config(facts)}")
    elif facts.config_problem:
        yield fail(facts.config_problem, _edit(f"{facts.home}/config"))
    for line in facts.warnings:
        yield warn(line, _edit(f"{facts.home}/config"))


def key_files(facts: Facts) -> Iterator[Said]:
    """Secrets are secret, and decisions this user's own."""
    for each in facts.files:
        quoted = shlex.quote(each.path)
        if each.problem:
            yield fail(each.problem, f"ls -l {quoted}")
        elif each.mode is None:
            continue
        elif each.secret and each.mode & _OTHERS_READ:
            yield fail(f"{each.path} can be read by others", f"chmod go= {quoted}")
        elif each.mode & _OTHERS_WRITE:
            yield fail(f"{each.path} can be changed by others", f"chmod go-w {quoted}")


def clock(facts: Facts) -> Iterator[Said]:
    """Somebody vouches for it."""
    said = {
        "ntp": "set by NTP or GPS, as the system says",
        "rtc": "agrees with a battery-backed clock",
        "held": "was set since this machine started, and runs on undisturbed",
        "assumed": _ASSUMED[facts.clock_assumed_by or "config"],
    }
    day = _day(facts.clock.wall_ms)
    if facts.clock_source in said:
        text = f"{day}: {said[facts.clock_source]}"
        yield note(text) if facts.clock_source == "assumed" else fine(text)
        return
    why = "nobody vouches for it: no NTP, no GPS, no battery-backed clock"
    if facts.clock.kernel_synced is False and facts.clock.rtc_ms is not None:
        why = "it differs from the battery-backed clock, and no NTP set either"
    yield fail(f"{day}, but {why}. Nothing is signed; all else goes on", "timedatectl set-ntp true")


def disk(facts: Facts) -> Iterator[Said]:
    """Room, and permission to use it."""
    found = facts.disk
    where = shlex.quote(found.path)
    if found.problem:
        yield fail(found.problem, f"ls -ld {where}")
    elif found.read_only:
        yield fail(
            f"{found.path} is on a file system that is read-only: nothing new is kept; an SD card "
            "that fails does this",
            "dmesg | tail",
        )
    elif found.free_bytes < FREE_BYTES_FAIL:
        yield fail(f"{size(found.free_bytes)} free at {found.path}: it is full", f"df -h {where}")
    elif found.free_bytes < FREE_BYTES_WARN:
        yield warn(f"{size(found.free_bytes)} free at {found.path}", f"df -h {where}")
    elif found.free_inodes is not None and found.free_inodes < FREE_INODES_WARN:
        yield warn(f"room for {found.free_inodes} more files at {found.path}", f"df -i {where}")
    else:
        yield fine(f"{size(found.free_bytes)} of {size(found.total_bytes)} free")


def database(facts: Facts) -> Iterator[Said]:
    """The store can be read from end to end."""
    found = facts.database
    quoted = shlex.quote(found.path)
    if not found.exists:
        yield skip("there is no record store yet; the node makes it when it first runs")
    elif found.is_server:
        if found.problem:
            yield fail(found.problem, "systemctl status postgresql")
        else:
            yield fine(f"{found.path} answers; its rows are for: ciris-mesh db check")
    elif found.problem:
        command = f"mv {quoted} {quoted}.damaged"
        if found.backup:
            command += f" && cp {shlex.quote(found.backup)} {quoted}"
        yield fail(
            f"{found.problem}. Stop the node first; what the copy lacks, peers send again", command
        )
    elif not found.looked_at_all:
        yield note(f"{size(found.size_bytes)}: only a part was looked at in the time there is")
    else:
        yield fine(f"whole, {size(found.size_bytes)}")


def writes(facts: Facts) -> Iterator[Said]:
    """What an SD card has to bear."""
    status = facts.node.status
    if status is None:
        yield skip("no node runs, so nothing is measured")
        return
    uptime_s, written = float(status.get("uptime_s", 0)), status.get("written_bytes")
    if written is None:
        yield skip("this system does not count what a process writes")
        return
    if uptime_s < WRITES_AFTER_S:
        so_far = f"{size(written)} in {duration(uptime_s)}"
        yield fine(f"{so_far}; the hour is judged after {duration(WRITES_AFTER_S)}")
        return
    an_hour = written * 3600 / uptime_s
    if an_hour > WRITES_WARN_BYTES_H:
        yield warn(
            f"{size(an_hour)} an hour go to the disk, much for an SD card: put the directories "
            "cache and resources of Reticulum's storage on a RAM disk",
            "ciris-mesh explain writes",
        )
    else:
        yield fine(f"{size(an_hour)} an hour")


def _day(unix_ms: int) -> str:
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms"


def _edit(path: str) -> str:
    return f"${{EDITOR:-nano}} {shlex.quote(path)}"


def _config(facts: Facts) -> str:
    return f" --config {shlex.quote(facts.home)}"
