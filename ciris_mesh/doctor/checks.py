"""The table of checks: a name, what it says when all is well, and a pure function of the facts.

Names are stable: scripts and `ciris-mesh explain` use them. A check that finds nothing is one line
that says so; each thing it finds is a line with one command that helps. Adding a check is a
function and a row; its name needs an entry in `ui.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ciris_mesh.doctor import machine, network, node
from ciris_mesh.doctor.facts import Facts, Word
from ciris_mesh.doctor.saying import Said

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer.

    Attributes:
        name: of the check.
        command: what helps, to be typed as it is; empty when nothing is to be done.
    """

    name: str
    word: Word
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One row. `fine`: what is said when `judge` finds nothing."""

    name: str
    fine: str
    judge: Callable[[Facts], Iterable[Said]]


CHECKS: Final = (
    Check("home", "the node's directory and configuration can be used", machine.home),
    Check("key_files", "nobody else can read keys or change decisions", machine.key_files),
    Check("clock", "the clock can date signatures", machine.clock),
    Check("disk", "there is room, and it can be written", machine.disk),
    Check("database", "the record store is whole", machine.database),
    Check("writes", "little is written to the disk", machine.writes),
    Check("reticulum", "Reticulum's configuration can be read", network.reticulum),
    Check("reticulum_version", "Reticulum is one this program was tested with", network.version),
    Check("other_rnsd", "no other user's Reticulum is in the way", network.other_rnsd),
    Check("instance_name", "no other configuration has the instance name", network.instance_name),
    Check("port_permission", "serial ports may be opened by this user", network.port_permission),
    Check("port_held", "no other program holds a serial port", network.port_held),
    Check("port_missing", "every configured serial port is there", network.port_missing),
    Check("interface_modes", "modes and caps do what they seem to", network.interface_modes),
    Check("interface_settings", "no setting is known to bite", network.interface_settings),
    Check("airtime_limit", "radios keep the law by themselves", network.airtime_limit),
    Check("node", "the node runs and answers", node.running),
    Check("node_version", "the running node is of this version", node.version),
    Check("interfaces_down", "every interface is up", node.interfaces_down),
    Check("radio_deaf", "radios hear something", node.radio_deaf),
    Check("rns_inbound", "Reticulum drops nothing that comes in", node.rns_inbound),
    Check("airtime_used", "radios are within their duty", node.airtime_used),
    Check("peers_path", "there is a way to every peer", node.peers_path),
    Check("peers_stale", "every peer agreed with this node lately", node.peers_stale),
    Check("peers_version", "peers speak what this node speaks", node.peers_version),
    Check("peers_clock", "peers have the same day", node.peers_clock),
)  # fmt: skip


def examine(facts: Facts) -> tuple[Finding, ...]:
    """Judge by every row, in their order. What is wrong with one check stays with it."""
    found: list[Finding] = []
    for check in CHECKS:
        said = [Finding(check.name, *each) for each in check.judge(facts)]
        found += said or [Finding(check.name, Word.OK, check.fine)]
    return tuple(found)


def is_healthy(findings: Iterable[Finding]) -> bool:
    """False when anything fails or warns."""
    return not any(each.word in (Word.FAIL, Word.WARN) for each in findings)
