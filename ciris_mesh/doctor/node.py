"""Checks of the running node, from what it says about itself. Pure."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Any, Final

from ciris_mesh.doctor.facts import Answer, Facts
from ciris_mesh.doctor.saying import Said, duration, fail, fine, note, skip, warn

#: Nodes announce themselves every 6 h unless told otherwise: two of those missed is silence.
DEAF_AFTER_S: Final = 12 * 3600
#: A peer that never agreed is only news once there was time to.
NEVER_AGREED_AFTER_S: Final = 600
#: A few packets are dropped by a burst; a share of all is a node that does not keep up.
INBOUND_DROPS_FAIL: Final = 100
#: Names in one line; `peers` has all.
_NAMES_MAX: Final = 3
_NOT_RUNNING: Final = "no node runs here"

_NO_PATH: Final = frozenset({"no_path"})


def running(facts: Facts) -> Iterator[Said]:
    """Somebody answers on the control socket."""
    status = facts.node.status
    if status is not None:
        yield fine(f"runs since {duration(status['uptime_s'])} (pid {facts.node.pid or '?'})")
    elif not facts.home_problem:
        yield fail(facts.node.why or _NOT_RUNNING, f"ciris-mesh run{_config(facts)}")


def version(facts: Facts) -> Iterator[Said]:
    """An update takes effect at the next start."""
    status = facts.node.status
    if status is None:
        yield skip(_NOT_RUNNING)
    elif status["version"] != facts.version:
        yield warn(
            f"the node that runs is {status['version']}, installed is {facts.version}",
            "systemctl restart ciris-mesh",
        )


def interfaces_down(facts: Facts) -> Iterator[Said]:
    """All of them are up."""
    rows = _rows(facts, "interfaces")
    if rows is None:
        yield skip(_NOT_RUNNING)
        return
    if not rows:
        yield warn(
            "Reticulum has no interface: nobody can be reached", "ciris-mesh interfaces list"
        )
    for row in rows:
        if not row["online"]:
            yield fail(
                f"{row['name']} is down; records wait until it is back", f"rnstatus -A{_rns(facts)}"
            )


def radio_deaf(facts: Facts) -> Iterator[Said]:
    """A radio that sends and hears nobody for long: the process is fine and the radio is not."""
    rows = _rows(facts, "interfaces")
    if rows is None:
        yield skip(_NOT_RUNNING)
        return
    radios = [row for row in rows if row["medium"] == "radio"]
    if not radios:
        yield skip("there is no radio here")
    for row in radios:
        silent_s = row.get("silent_s")
        if row["online"] and silent_s is not None and silent_s >= DEAF_AFTER_S:
            yield warn(
                f"{row['name']} is up and has heard nothing for {duration(silent_s)}: unplug the "
                "radio and plug it in again; look at antenna and frequency",
                f"rnstatus -A{_rns(facts)}",
            )


def rns_inbound(facts: Facts) -> Iterator[Said]:
    """Reticulum's own queues overflow when it gets no time."""
    status = facts.node.status
    if status is None:
        yield skip(_NOT_RUNNING)
        return
    dropped = status["drops"].get("rns_inbound_dropped", 0)
    if dropped:
        text = (
            f"Reticulum dropped {dropped} packets that came in: the machine is too busy, or "
            "somebody floods it"
        )
        yield fail(text, "top") if dropped >= INBOUND_DROPS_FAIL else note(text, "top")


def airtime_used(facts: Facts) -> Iterator[Said]:
    """What the last hour took of what is allowed."""
    budget = facts.node.budget
    if budget is None:
        yield skip(_NOT_RUNNING)
        return
    for line in budget["health"]:
        yield fail(line, "ciris-mesh budget")
    for row in budget["interfaces"]:
        if row["used_s"] is not None and row["limit_s"] and not budget["health"]:
            yield fine(f"{row['name']}: {row['used_s']:.1f} s of {row['limit_s']:g} s this hour")


def peers_path(facts: Facts) -> Iterator[Said]:
    """No announce of a peer ever came, or it is too old: there is nothing to send to."""
    rows = _peers(facts)
    if rows is None:
        yield skip(_NOT_RUNNING)
        return
    lost = [row for row in rows if row["reason"] in _NO_PATH and row["state"] != "connected"]
    if lost:
        yield fail(
            f"no path to {_names(lost)}: no announce of it came through. Is it running, and is "
            "there an interface both share?",
            f"rnpath{_rns(facts)} {lost[0]['address']}",
        )


def peers_stale(facts: Facts) -> Iterator[Said]:
    """How long ago each agreed, against what is called fresh."""
    rows, status = _peers(facts), facts.node.status
    if rows is None or status is None:
        yield skip(_NOT_RUNNING)
        return
    if not rows:
        yield skip("no peers yet", "ciris-mesh invite")
        return
    command = "ciris-mesh peers"
    for row in rows:
        if row["fresh"]:
            continue
        ages = [kind["confirmed_s"] for kind in row["kinds"]]
        known = [age for age in ages if age is not None]
        why = f" ({row['reason']})" if row["reason"] else ""
        if known and len(known) == len(ages):
            what = "is out of reach" if all(kind["fresh"] for kind in row["kinds"]) else "is stale"
            yield warn(f"{_name(row)} {what}{why}: last agreed {duration(max(known))} ago", command)
        elif status["uptime_s"] >= NEVER_AGREED_AFTER_S:
            yield warn(f"{_name(row)} has not agreed since this node started{why}", command)
        else:
            yield note(f"{_name(row)} has not agreed yet{why}; the node just started", command)


def peers_version(facts: Facts) -> Iterator[Said]:
    """What a peer's hello lacks of ours."""
    rows = _peers(facts)
    if rows is None:
        yield skip(_NOT_RUNNING)
        return
    for row in rows:
        lacks = row.get("lacks") or ()
        if lacks:
            yield warn(
                f"{_name(row)} runs another version: it lacks {', '.join(lacks)}. What both know "
                "is still exchanged; update the older one",
                f"ciris-mesh peers {shlex.quote(row['key_id'])}",
            )


def peers_clock(facts: Facts) -> Iterator[Said]:
    """A hello carries the day by the peer's clock."""
    rows = _peers(facts)
    if rows is None:
        yield skip(_NOT_RUNNING)
        return
    for row in rows:
        skew = row.get("skew_days")
        if skew is not None and abs(skew) > 1:  # one day apart is two nodes around midnight
            ahead = "ahead of" if skew > 0 else "behind"
            yield warn(
                f"the clock of {_name(row)} is {abs(skew)} days {ahead} this one's; whichever is "
                "wrong signs nothing good",
                "date -u",
            )


def _rows(facts: Facts, name: str) -> list[dict[str, Any]] | None:
    status: Answer | None = facts.node.status
    return None if status is None else list(status[name])


def _peers(facts: Facts) -> list[dict[str, Any]] | None:
    return _rows(facts, "peers")


def _name(row: dict[str, Any]) -> str:
    return str(row["alias"] or row["key_id"])


def _names(rows: list[dict[str, Any]]) -> str:
    shown = ", ".join(_name(row) for row in rows[:_NAMES_MAX])
    more = len(rows) - _NAMES_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _rns(facts: Facts) -> str:
    """What Reticulum's own programs have to be told where its directory is not a usual one."""
    place = os.path.dirname(facts.reticulum.config)
    is_usual = os.path.basename(place) in ("", ".reticulum", "reticulum")
    return "" if is_usual else f" --config {shlex.quote(place)}"


def _config(facts: Facts) -> str:
    return f" --config {shlex.quote(facts.home)}"
