"""Checks of Reticulum on this machine: configuration, ports, who else runs one. Pure."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Final

from ciris_mesh.doctor.facts import Facts
from ciris_mesh.doctor.saying import Said, fail, fine, note, skip, warn
from ciris_mesh.radio.traps import Finding as Trap
from ciris_mesh.radio.traps import Level
from ciris_mesh.transport.rns_shared import Rpc
from ciris_mesh.transport.serialports import SerialPort

#: Below it a received packet can make Reticulum use all memory (a bz2 bomb).
RNS_SAFE: Final = (1, 1, 9)
#: What this release was tested with; see the dependencies in pyproject.toml.
RNS_TESTED: Final = ((1, 5, 7), (1, 6))

#: Traps by the check they belong to; all others are `interface_settings`.
_MODE_TRAPS: Final = frozenset(
    {
        "interface_mode_crashes",
        "interface_mode_hides_mode",
        "unknown_mode",
        "discoverable_forces_access_point",
        "own_announces_blocked",
        "announce_cap_raised",
        "uncapped_announces",
        "bridge_modes",
    }
)
_AIRTIME_TRAPS: Final = frozenset(
    {
        "no_airtime_limit",
        "airtime_limit_over_band",
        "airtime_limit_without_room",
        "queue_over_band",
    }
)
#: Said by a check of its own, with who may do what about it.
_ELSEWHERE: Final = frozenset({"port_not_there"})
#: A program in somebody's own directory is not on the path that sudo gives to others.
_OURS: Final = '"$(command -v ciris-mesh)"'
_ROOT: Final = "root"


def reticulum(facts: Facts) -> Iterator[Said]:
    """There is a configuration."""
    if facts.reticulum.problem:
        is_there = bool(facts.reticulum.config)
        command = _edit(facts.reticulum.config) if is_there else "timeout 5 rnsd"
        yield fail(facts.reticulum.problem, command)
    elif facts.reticulum.shared is not None:
        shared = facts.reticulum.shared
        yield fine(f"joins {shared.program or 'the Reticulum'} of {shared.user} (pid {shared.pid})")


def version(facts: Facts) -> Iterator[Said]:
    """Neither known to be dangerous nor untested."""
    text = facts.reticulum.version
    numbers = _numbers(text)
    if not numbers:
        yield fail("Reticulum is not installed", _upgrade(facts))
    elif numbers < RNS_SAFE:
        yield fail(f"Reticulum {text} can be made to use all memory by a packet", _upgrade(facts))
    elif not RNS_TESTED[0] <= numbers < RNS_TESTED[1]:
        yield warn(f"Reticulum {text} was not tested with this version", _upgrade(facts))
    else:
        yield fine(f"Reticulum {text}")


def other_rnsd(facts: Facts) -> Iterator[Said]:
    """Another user's Reticulum has the shared instance and does not let us ask."""
    shared = facts.reticulum.shared
    if shared is None or shared.rpc is Rpc.ACCEPTED or shared.user == facts.user:
        return
    who = f"{shared.program or 'a program'} (pid {shared.pid}) of user {shared.user}"
    if shared.rpc is Rpc.REJECTED:
        yield fail(
            f"the Reticulum of this machine is run by {who} with another key: it rejects what "
            "this node asks (digest sent was rejected). Run both as one user, or give this node "
            "an instance_name of its own",
            f"sudo -u {shlex.quote(shared.user)} {_OURS} doctor",
        )
    else:
        yield warn(f"{who} has the shared instance and does not answer", f"ps -fp {shared.pid}")


def instance_name(facts: Facts) -> Iterator[Said]:
    """A Reticulum of this user, made from another configuration, has the name."""
    shared = facts.reticulum.shared
    if shared is None or shared.rpc is Rpc.ACCEPTED or shared.user != facts.user:
        return
    who = f"{shared.program or 'a program'} (pid {shared.pid})"
    if shared.rpc is Rpc.REJECTED:
        yield fail(
            f"{who} has the instance name {shared.name!r} with another configuration than "
            f"{facts.reticulum.config}: its interfaces would be used, and it rejects what this "
            "node asks. Name the same directory with --rnsconfig, or write another instance_name",
            _edit(facts.reticulum.config),
        )
    else:
        yield warn(
            f"{who} has the instance name {shared.name!r} and does not answer",
            f"ps -fp {shared.pid}",
        )


def port_permission(facts: Facts) -> Iterator[Said]:
    """This user may open the port: by its group, whichever that is."""
    for port in _configured(facts):
        if port.usable or not port.exists or _is_held_by_shared(facts, port):
            continue
        user = shlex.quote(facts.user)
        if not port.group_may or port.group == _ROOT:
            yield fail(
                f"{port.path} belongs to {port.owner} alone: no group of yours may open it; a udev "
                "rule changes that for good",
                f"sudo {_OURS} setup --udev --port {shlex.quote(port.path)}",
            )
        elif port.member:
            yield fail(
                f"{port.path} is not open to {facts.user}, though a member of {port.group}: log "
                "out and in again, or restart the service",
                f"namei -l {shlex.quote(port.path)}",
            )
        else:
            yield fail(
                f"{port.path} belongs to the group {port.group}, and {facts.user} is no member; "
                "log in again afterwards",
                f"sudo usermod -aG {shlex.quote(port.group)} {user}",
            )


def port_held(facts: Facts) -> Iterator[Said]:
    """Only the Reticulum we use has it open."""
    for port in _configured(facts):
        for holder in port.holders:
            if _is_ours(facts, holder.pid):
                continue
            yield fail(
                f"{port.path} is held by {holder.program or 'a program'} (pid {holder.pid}, user "
                f"{holder.user}): two programs at one radio take each other's answers",
                f"kill {holder.pid}",
            )


def port_missing(facts: Facts) -> Iterator[Said]:
    """What is configured is plugged in."""
    for port in _configured(facts):
        if not port.exists:
            yield warn(
                f"{port.path} is not there: is the radio plugged in? It is looked for again every "
                "5 s",
                f"ls -l {shlex.quote(os.path.dirname(port.path))}",
            )


def interface_modes(facts: Facts) -> Iterator[Said]:
    """Modes and announce caps."""
    return _traps(facts, _MODE_TRAPS)


def airtime_limit(facts: Facts) -> Iterator[Said]:
    """The radio's own limit, which holds whatever a program does."""
    return _traps(facts, _AIRTIME_TRAPS)


def interface_settings(facts: Facts) -> Iterator[Said]:
    """Every other trap."""
    names = {trap.name for trap in facts.reticulum.traps}
    return _traps(facts, frozenset(names) - _MODE_TRAPS - _AIRTIME_TRAPS - _ELSEWHERE)


def _traps(facts: Facts, names: frozenset[str]) -> Iterator[Said]:
    if facts.reticulum.problem:
        yield skip("Reticulum's configuration cannot be read")
        return
    for trap in facts.reticulum.traps:
        if trap.name in names:
            yield _of_trap(trap, facts.reticulum.config)


def _of_trap(trap: Trap, config: str) -> Said:
    text = f"{trap.interface}: {trap.text} ({trap.name})"
    match trap.level:
        case Level.ERROR:
            return fail(text, _edit(config))
        case Level.WARNING:
            return warn(text, _edit(config))
        case Level.ADVICE:
            return note(text, _edit(config))


def _configured(facts: Facts) -> tuple[SerialPort, ...]:
    return facts.reticulum.ports


def _is_ours(facts: Facts, pid: int) -> bool:
    shared = facts.reticulum.shared
    return pid == facts.node.pid or (shared is not None and pid == shared.pid)


def _is_held_by_shared(facts: Facts, port: SerialPort) -> bool:
    """Another program opens it for us: then this user need not be able to."""
    shared = facts.reticulum.shared
    return shared is not None and shared.rpc is Rpc.ACCEPTED and shared.pid != facts.node.pid


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _upgrade(facts: Facts) -> str:
    """Whatever environment this runs in, its own interpreter knows the way into it."""
    low, high = (".".join(map(str, each)) for each in RNS_TESTED)
    return f"{shlex.quote(facts.python)} -m pip install --upgrade 'rns>={low},<{high}'"


def _edit(path: str) -> str:
    return f"${{EDITOR:-nano}} {shlex.quote(path)}"
